//! Who we are to the store, as of now: credentials that are read again while the store is in use.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_sdk_s3::config::{Credentials, ProvideCredentials};
use tokio::time::Instant;

use crate::model::Secret;

/// Between two readings that a refusal of the store asked for: a store that refuses everything must not make us read files
/// as often as we are asked for blobs.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Who we are to the store. Resolved by the caller: this driver looks for credentials nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Secret<String>,
}

/// Why credentials could not be read again. The reader's own error; it names places, never contents.
pub type RereadError = Box<dyn std::error::Error + Send + Sync>;

/// Where credentials are read again. Blocks, and is called where that is allowed.
pub type Reread = Box<dyn Fn() -> Result<S3Credentials, RereadError> + Send + Sync>;

/// Credentials that may be replaced while they are used: every request is signed with what they are at that moment.
#[derive(Clone)]
pub struct S3Identity(Arc<Inner>);

struct Inner {
    current: RwLock<S3Credentials>,
    reread: Option<Reread>,
    /// When a refusal last made us read: held while reading, so that many refusals at once make one reading.
    refused: tokio::sync::Mutex<Option<Instant>>,
}

impl S3Identity {
    /// Credentials that `reread` gives now, and may give otherwise later. Blocks.
    pub fn rotating(reread: Reread) -> Result<Self, RereadError> {
        let current = reread()?;
        Ok(Self::with(current, Some(reread)))
    }

    fn with(current: S3Credentials, reread: Option<Reread>) -> Self {
        let refused = tokio::sync::Mutex::new(None);
        Self(Arc::new(Inner { current: RwLock::new(current), reread, refused }))
    }

    /// What the next request is signed with.
    pub fn current(&self) -> S3Credentials {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads again. Whether something changed; on an error the credentials stay.
    pub async fn reread(&self) -> Result<bool, RereadError> {
        let inner = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || inner.reread.as_ref().map(|reread| reread())).await?;
        let Some(fresh) = read.transpose()? else { return Ok(false) };
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != fresh;
        *current = fresh;
        Ok(changed)
    }

    /// The store refused a request that was signed with `used`. Whether there are others by now: then it is worth one more try.
    pub(in crate::blobs) async fn refused(&self, used: &S3Credentials) -> bool {
        if self.0.reread.is_none() {
            return false;
        }
        let mut refused = self.0.refused.lock().await;
        if refused.is_none_or(|last| last.elapsed() >= REFUSED_PAUSE) && self.current() == *used {
            *refused = Some(Instant::now());
            // An unreadable file is found, logged and counted by whoever looks at it in turn.
            let _ = self.reread().await;
        }
        self.current() != *used
    }
}

impl From<S3Credentials> for S3Identity {
    /// Credentials that stay as they are.
    fn from(credentials: S3Credentials) -> Self {
        Self::with(credentials, None)
    }
}

impl ProvideCredentials for S3Identity {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let S3Credentials { access_key_id, secret_access_key } = self.current();
        let secret = secret_access_key.expose().as_str();
        let signing = Credentials::new(access_key_id, secret, None, None, "region-file");
        aws_credential_types::provider::future::ProvideCredentials::ready(Ok(signing))
    }
}

impl fmt::Debug for S3Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Identity").field("rotating", &self.0.reread.is_some()).finish_non_exhaustive()
    }
}
