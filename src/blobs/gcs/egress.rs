//! Where the Google client may go. It builds its own connections, so what could send them elsewhere is settled before it is
//! made: the endpoints, the hosts that issue tokens, and the environment.

use std::ffi::OsString;

use http::Uri;

use crate::egress::{Endpoint, EndpointError};

/// Variables that would send requests through or to another host, or write them down, with what each does. The client
/// reads them by itself and cannot be told not to, so a process that has one does not start.
const REFUSED: [(&str, &str); 10] = [
    ("http_proxy", "sends requests through a proxy"),
    ("HTTP_PROXY", "sends requests through a proxy"),
    ("https_proxy", "sends requests through a proxy"),
    ("HTTPS_PROXY", "sends requests through a proxy"),
    ("all_proxy", "sends requests through a proxy"),
    ("ALL_PROXY", "sends requests through a proxy"),
    ("GCE_METADATA_HOST", "asks another host for tokens"),
    ("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "moves every endpoint"),
    // Spans that hold whole requests, at a level that a filter may let through.
    ("GOOGLE_CLOUD_RUST_LOGGING", "writes requests to the log"),
    // The client at hand ignores it; others of Google's do not, and whoever sets it means to move the endpoint.
    ("STORAGE_EMULATOR_HOST", "moves the store's endpoint"),
];

/// Why the client is not made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EgressRefusal {
    /// A variable of the environment.
    #[error("the environment variable {name} {does}: unset it")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What it would do.
        does: &'static str,
    },
    /// A host that tokens would be asked from.
    #[error("the credentials name a host that is not among the region's token-hosts")]
    TokenHost,
    /// Not a URL, or not one over TLS.
    #[error("the credentials name a token address that is not https")]
    TokenAddress,
}

/// The two addresses of a store: one for bodies (JSON), one for the rest (gRPC).
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) bodies: Endpoint,
    pub(super) control: Endpoint,
}

impl Endpoints {
    pub(super) fn parse(bodies: &str, control: Option<&str>) -> Result<Self, EndpointError> {
        let bodies = Endpoint::parse(bodies)?;
        let control = control.map_or_else(|| Ok(bodies.clone()), Endpoint::parse)?;
        Ok(Self { bodies, control })
    }

    /// Whether nothing leaves this machine.
    pub(super) fn are_loopback(&self) -> bool {
        self.bodies.is_loopback() && self.control.is_loopback()
    }
}

/// Refuses an environment that would move or show requests.
pub(super) fn refuse_variables(set: impl Iterator<Item = (OsString, OsString)>) -> Result<(), EgressRefusal> {
    for (name, value) in set {
        let refused = REFUSED.iter().find(|(refused, _)| name == *refused);
        if let Some(&(name, does)) = refused.filter(|_| !value.is_empty()) {
            return Err(EgressRefusal::Variable { name, does });
        }
    }
    Ok(())
}

/// The hosts that may be asked for tokens, as the region's file names them: `host` or `host:port`.
#[derive(Clone, Debug)]
pub(super) struct TokenHosts(pub(super) Vec<String>);

impl TokenHosts {
    /// Holds an address against the list. In clear only to this machine, or where `clear_text` allows it: cloud metadata
    /// services have no certificate.
    pub(super) fn admit(&self, url: &str, clear_text: bool) -> Result<(), EgressRefusal> {
        let uri: Uri = url.parse().map_err(|_| EgressRefusal::TokenAddress)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(EgressRefusal::TokenAddress),
        };
        let authority = uri.authority().ok_or(EgressRefusal::TokenAddress)?;
        if authority.as_str().contains('@') {
            return Err(EgressRefusal::TokenAddress);
        }
        if !tls && !clear_text && Endpoint::parse(&format!("http://{authority}")).is_err() {
            return Err(EgressRefusal::TokenAddress);
        }
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let is = |listed: &String| *listed == format!("{host}:{port}") || (port == 443 && *listed == host);
        if self.0.iter().any(is) { Ok(()) } else { Err(EgressRefusal::TokenHost) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_moves_requests_is_refused_and_an_empty_one_is_none() {
        let set = |name: &str, value: &str| refuse_variables([(name.into(), value.into())].into_iter());
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "GCE_METADATA_HOST",
            "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
            "GOOGLE_CLOUD_RUST_LOGGING",
            "STORAGE_EMULATOR_HOST",
        ] {
            let refusal = set(name, "http://127.0.0.1:1").unwrap_err();
            assert!(refusal.to_string().contains(name) && !refusal.to_string().contains("127.0.0.1"));
            assert_eq!(set(name, ""), Ok(()));
        }
        for name in ["PATH", "NO_PROXY", "GOOGLE_APPLICATION_CREDENTIALS", "SSL_CERT_FILE"] {
            assert_eq!(set(name, "x"), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_token_address_is_https_at_a_listed_host_and_port() {
        let hosts =
            TokenHosts(vec!["sts.googleapis.com".into(), "127.0.0.1:7".into(), "meta.internal:80".into()]);
        for good in
            ["https://sts.googleapis.com/v1/token", "https://STS.googleapis.com:443/", "http://127.0.0.1:7/t"]
        {
            assert_eq!(hosts.admit(good, false), Ok(()), "{good}");
        }
        assert_eq!(hosts.admit("http://meta.internal/token", true), Ok(()));
        for (bad, why) in [
            ("https://sts.googleapis.com:444/", EgressRefusal::TokenHost),
            ("https://sts.googleapis.com.evil.net/", EgressRefusal::TokenHost),
            ("https://evil.net/?https://sts.googleapis.com", EgressRefusal::TokenHost),
            ("https://sts.googleapis.com@evil.net/", EgressRefusal::TokenAddress),
            ("http://sts.googleapis.com/", EgressRefusal::TokenAddress),
            ("http://meta.internal/token", EgressRefusal::TokenAddress),
            ("file:///etc/passwd", EgressRefusal::TokenAddress),
            ("sts.googleapis.com", EgressRefusal::TokenAddress),
            ("", EgressRefusal::TokenAddress),
        ] {
            assert_eq!(hosts.admit(bad, false), Err(why), "{bad}");
        }
    }

    #[test]
    fn the_control_endpoint_is_the_other_ones_unless_named() {
        let both = Endpoints::parse("https://a.example", None).unwrap();
        assert_eq!(both.bodies, both.control);
        let two = Endpoints::parse("http://127.0.0.1:1", Some("https://b.example")).unwrap();
        assert!(!two.are_loopback());
        assert!(Endpoints::parse("https://a.example", Some("http://b.example")).is_err());
    }
}
