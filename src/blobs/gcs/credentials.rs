//! Who we are to Google: one of four kinds, each named in the region's file. Nothing is discovered. A file is read again
//! while the store is in use, and checked like the first time.
//!
//! What a credentials file may make the client do is narrowed first: only known fields are handed on, addresses are held
//! against the region's token hosts, and sources that run a program or read the environment are refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use google_cloud_auth::credentials::{
    CacheableResource, Credentials, CredentialsProvider, anonymous, external_account, mds, service_account,
};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_gax::retry_policy::NeverRetry;
use http::{Extensions, HeaderMap};
use serde_json::{Map, Value};
use tokio::time::{Duration, Instant, timeout};

use crate::identity::{Identity, Source};
use crate::model::Secret;

use super::egress::{EgressRefusal, TokenHosts};

/// All that the driver's calls need; narrower than the client's default, which is every service of the project.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// The only universe whose endpoints the catalogue knows.
const UNIVERSE: &str = "googleapis.com";

/// The client's token task ends for good with the first refusal it takes for final. After this time it is made anew.
const RENEW_AFTER: Duration = Duration::from_secs(10);

/// Who we are to Google Cloud Storage. Resolved by the caller: this driver looks for credentials nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GcsCredentials {
    /// A service account's key, as the JSON that the console gives out. Tokens are signed here; no host is asked for one.
    ServiceAccount(Secret<String>),
    /// Workload identity federation: an `external_account` JSON whose subject token comes from a file or a listed host.
    WorkloadIdentity(Secret<String>),
    /// The metadata server of the machine, at the one token host.
    MetadataServer,
    /// Nobody: for a store on this machine.
    Anonymous,
}

/// Why credentials are not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsRefusal {
    /// Not JSON of the kind that was named. Says nothing of the content, which is secret.
    #[error("the credentials are not JSON of type {0:?}")]
    Kind(&'static str),
    /// Made for another universe than the endpoint's.
    #[error("the credentials are for another universe than googleapis.com")]
    Universe,
    /// A source of subject tokens that runs a program or reads the environment.
    #[error("the credentials take their subject token from something else than a file or a listed host")]
    Source,
    /// No credentials, and a store on another machine.
    #[error("anonymous access is for a store on this machine only")]
    AnonymousAbroad,
    /// The metadata server needs one token host, others need none or some.
    #[error("the number of token-hosts does not fit the kind of credentials")]
    TokenHosts,
    /// An address that is not allowed.
    #[error("the credentials would ask another host for tokens")]
    Egress(#[from] EgressRefusal),
    /// The client does not take them.
    #[error("the client does not accept the credentials")]
    Unusable,
    /// They would take the place of others that work, and bring no token.
    #[error("the credentials bring no token")]
    NoToken,
}

/// What a file held, and what the client makes of it.
#[derive(Clone, Debug)]
pub(super) struct Access {
    from: GcsCredentials,
    made: Credentials,
}

/// What is made of a file that did not change has not changed either: it holds a token.
impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        self.from == other.from
    }
}

/// How long a file that took another's place may take to bring its first token.
const TOKEN_MAX: Duration = Duration::from_secs(10);

/// The files as they are read, each checked before it counts; one that takes another's place has to bring a token, too.
pub(super) fn checked(
    source: Source<GcsCredentials>,
    token_hosts: TokenHosts,
    store_is_loopback: bool,
) -> Source<Access> {
    let (token_hosts, is_first) = (Arc::new(token_hosts), AtomicBool::new(true));
    source.then(None, move |from| {
        let (token_hosts, is_first) = (Arc::clone(&token_hosts), is_first.swap(false, Ordering::Relaxed));
        async move {
            let made = resolve(&from, &token_hosts, store_is_loopback).await?;
            if !is_first {
                let token = timeout(TOKEN_MAX, made.headers(Extensions::new())).await;
                token.ok().and_then(Result::ok).ok_or(CredentialsRefusal::NoToken)?;
            }
            Ok(Access { from, made })
        }
    })
}

/// What the client asks for its headers: whoever we are at that moment.
pub(super) fn current(identity: Identity<Access>) -> Credentials {
    Current(identity).into()
}

#[derive(Debug)]
struct Current(Identity<Access>);

impl CredentialsProvider for Current {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        self.0.current().made.headers(extensions).await
    }

    async fn universe_domain(&self) -> Option<String> {
        Some(UNIVERSE.to_owned())
    }
}

/// Credentials for the client, checked.
async fn resolve(
    from: &GcsCredentials,
    token_hosts: &TokenHosts,
    store_is_loopback: bool,
) -> Result<Credentials, CredentialsRefusal> {
    match from {
        GcsCredentials::Anonymous if !store_is_loopback => Err(CredentialsRefusal::AnonymousAbroad),
        GcsCredentials::Anonymous if token_hosts.0.is_empty() => Ok(anonymous::Builder::new().build()),
        GcsCredentials::ServiceAccount(key) if token_hosts.0.is_empty() => service_account(key).await,
        GcsCredentials::Anonymous | GcsCredentials::ServiceAccount(_) => Err(CredentialsRefusal::TokenHosts),
        GcsCredentials::WorkloadIdentity(config) => {
            let config = external_account_fields(config, token_hosts)?;
            renewed(move || {
                external_account::Builder::new(config.clone())
                    .with_scopes([SCOPE])
                    .with_universe_domain(UNIVERSE)
                    .with_retry_policy(NeverRetry)
                    .build()
                    .map_err(|_| CredentialsRefusal::Unusable)
            })
        }
        GcsCredentials::MetadataServer => {
            let [host] = token_hosts.0.as_slice() else { return Err(CredentialsRefusal::TokenHosts) };
            let endpoint = format!("http://{host}");
            token_hosts.admit(&endpoint, true)?;
            renewed(move || {
                mds::Builder::default()
                    .with_endpoint(endpoint.clone())
                    .with_scopes([SCOPE])
                    .with_universe_domain(UNIVERSE)
                    .with_retry_policy(NeverRetry)
                    .build()
                    .map_err(|_| CredentialsRefusal::Unusable)
            })
        }
    }
}

async fn service_account(key: &Secret<String>) -> Result<Credentials, CredentialsRefusal> {
    let mut fields = object(key, "service_account")?;
    // Without its `token_uri`: this client does not go there, and no later one shall.
    fields.retain(|name, _| {
        ["client_email", "private_key_id", "private_key", "project_id"].contains(&name.as_str())
    });
    let credentials = service_account::Builder::new(Value::Object(fields))
        .with_access_specifier(service_account::AccessSpecifier::from_scopes([SCOPE]))
        .with_universe_domain(UNIVERSE)
        .build()
        .map_err(|_| CredentialsRefusal::Unusable)?;
    // Signed here and now, so that a key that signs nothing is found at start.
    credentials.headers(Extensions::new()).await.map_err(|_| CredentialsRefusal::Unusable)?;
    Ok(credentials)
}

/// The fields that are handed on, each address in them checked.
fn external_account_fields(
    config: &Secret<String>,
    token_hosts: &TokenHosts,
) -> Result<Value, CredentialsRefusal> {
    const KIND: &str = "external_account";
    let mut fields = object(config, KIND)?;
    fields.retain(|name, _| {
        [
            "audience",
            "subject_token_type",
            "token_url",
            "service_account_impersonation_url",
            "client_id",
            "client_secret",
            "workforce_pool_user_project",
            "credential_source",
        ]
        .contains(&name.as_str())
    });
    let url = |name: &str| fields.get(name).and_then(Value::as_str);
    token_hosts.admit(url("token_url").ok_or(CredentialsRefusal::Kind(KIND))?, false)?;
    if let Some(impersonation) = fields.get("service_account_impersonation_url") {
        token_hosts.admit(impersonation.as_str().ok_or(CredentialsRefusal::Kind(KIND))?, false)?;
    }
    let source = fields.get("credential_source").and_then(Value::as_object);
    let source = source.ok_or(CredentialsRefusal::Kind(KIND))?;
    let allowed = |name: &String| ["file", "url", "headers", "format"].contains(&name.as_str());
    if !source.keys().all(allowed) || source.contains_key("file") == source.contains_key("url") {
        return Err(CredentialsRefusal::Source);
    }
    if let Some(from) = source.get("url") {
        // A cloud's metadata service is asked in clear; its host must be listed all the same.
        token_hosts.admit(from.as_str().ok_or(CredentialsRefusal::Kind(KIND))?, true)?;
    }
    Ok(Value::Object(fields))
}

fn object(text: &Secret<String>, kind: &'static str) -> Result<Map<String, Value>, CredentialsRefusal> {
    // Without the parser's error, which quotes what it read.
    let value: Value = serde_json::from_str(text.expose()).map_err(|_| CredentialsRefusal::Kind(kind))?;
    let Value::Object(fields) = value else { return Err(CredentialsRefusal::Kind(kind)) };
    if fields.get("type").and_then(Value::as_str) != Some(kind) {
        return Err(CredentialsRefusal::Kind(kind));
    }
    match fields.get("universe_domain").map(Value::as_str) {
        None | Some(Some(UNIVERSE)) => Ok(fields),
        _ => Err(CredentialsRefusal::Universe),
    }
}

type Make = Box<dyn Fn() -> Result<Credentials, CredentialsRefusal> + Send + Sync>;

/// Credentials that are made anew when their token task has given up.
fn renewed(
    make: impl Fn() -> Result<Credentials, CredentialsRefusal> + Send + Sync + 'static,
) -> Result<Credentials, CredentialsRefusal> {
    let current = Mutex::new((make()?, Instant::now()));
    Ok(Renewed { make: Box::new(make), current }.into())
}

struct Renewed {
    make: Make,
    current: Mutex<(Credentials, Instant)>,
}

impl Renewed {
    fn current(&self) -> Credentials {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn renew(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.elapsed() >= RENEW_AFTER
            && let Ok(made) = (self.make)()
        {
            *current = (made, Instant::now());
        }
    }
}

impl CredentialsProvider for Renewed {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let answer = self.current().headers(extensions).await;
        if answer.as_ref().is_err_and(|error| !error.is_transient()) {
            self.renew();
        }
        answer
    }

    async fn universe_domain(&self) -> Option<String> {
        Some(UNIVERSE.to_owned())
    }
}

impl std::fmt::Debug for Renewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renewed")
    }
}
