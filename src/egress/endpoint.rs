//! The one address that a connector may talk to, as parsed from the region's file.

use http::Uri;
use rustls::pki_types::pem;

/// What makes the endpoint unusable before anything is sent.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not of the form.
    #[error("the endpoint is not of the form https://host[:port]")]
    Malformed,
    /// No TLS to another machine.
    #[error("an endpoint without TLS is allowed on loopback addresses only")]
    ClearText,
    /// The file of CA certificates could not be read.
    #[error("the CA certificates cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// It is not PEM. The reader's own error is not kept: it quotes the line it stumbled on, and somebody may have named the file
    /// of a key.
    #[error("the CA certificates are not PEM")]
    Roots,
    /// Nobody would be trusted.
    #[error("there is no usable CA certificate")]
    NoRoots,
    /// rustls refuses the set-up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl From<pem::Error> for EndpointError {
    fn from(error: pem::Error) -> Self {
        match error {
            pem::Error::Io(source) => Self::Unreadable(source),
            _ => Self::Roots,
        }
    }
}

/// The one place a connector talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Parses `https://host[:port]`, or `http://` with a loopback address.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError::Malformed)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(EndpointError::Malformed),
        };
        let authority = uri.authority().ok_or(EndpointError::Malformed)?;
        let bare =
            matches!(uri.path(), "" | "/") && uri.query().is_none() && !authority.as_str().contains('@');
        let host = authority.host().to_ascii_lowercase();
        if !bare || host.is_empty() {
            return Err(EndpointError::Malformed);
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let endpoint = Self { tls, host, port };
        if tls || endpoint.is_loopback() { Ok(endpoint) } else { Err(EndpointError::ClearText) }
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        let literal = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost" || literal.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    /// The same service under `bucket.host`, for buckets addressed by host.
    #[must_use]
    pub fn with_bucket_host(&self, bucket: &str) -> Self {
        Self { host: format!("{bucket}.{}", self.host), ..self.clone() }
    }

    /// Whether TLS is spoken.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host, for reports.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `scheme://host[:port]`; the default port is left out, because it is part of what S3 signs.
    pub fn url(&self) -> String {
        let (scheme, default) = if self.tls { ("https", 443) } else { ("http", 80) };
        let port = if self.port == default { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{}{port}", self.host)
    }

    /// Name or address, and port, as a connection needs them: without the brackets of an IPv6 address.
    pub fn address(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// Whether a request may go there.
    pub fn admits(&self, uri: &Uri) -> bool {
        let scheme = if self.tls { "https" } else { "http" };
        let port = uri.port_u16().unwrap_or(if self.tls { 443 } else { 80 });
        uri.scheme_str() == Some(scheme)
            && port == self.port
            && uri.host().is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_bare_https_host_or_a_loopback_address() {
        for bad in [
            "",
            "s3.example.org",
            "ftp://s3.example.org",
            "https://",
            "https://s3.example.org/path",
            "https://s3.example.org/?q",
            "https://user@s3.example.org",
            "http://s3.example.org",
            "http://10.0.0.1:9000",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
        for good in [
            "https://s3.example.org",
            "https://S3.example.org:8443",
            "http://127.0.0.1:9000",
            "http://[::1]:9",
        ] {
            let endpoint = Endpoint::parse(good).unwrap();
            assert!(endpoint.url().eq_ignore_ascii_case(good));
        }
        assert_eq!(Endpoint::parse("https://s3.example.org:443").unwrap().url(), "https://s3.example.org");
    }

    #[test]
    fn only_the_configured_scheme_host_and_port_are_admitted() {
        let endpoint = Endpoint::parse("https://s3.example.org").unwrap();
        for good in ["https://s3.example.org/b/k", "https://S3.EXAMPLE.ORG:443/"] {
            assert!(endpoint.admits(&good.parse().unwrap()), "{good}");
        }
        for bad in [
            "http://s3.example.org/",
            "https://s3.example.org:444/",
            "https://s3.example.org.evil.net/",
            "https://evil.s3.example.org/",
            "https://example.org/",
            "/only/a/path",
        ] {
            assert!(!endpoint.admits(&bad.parse().unwrap()), "{bad}");
        }
    }
}
