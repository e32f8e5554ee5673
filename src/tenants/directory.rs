//! The snapshot that requests are identified by, and the poller that keeps it true.

use std::sync::Arc;
use std::time::Duration;

use super::TenantsError;
use crate::index::Index;
use crate::keys::Ring;
use crate::model::{AccessKeyId, Clock, Credential, Entropy, Secret, Tenant};

/// Bounds of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectorySettings {
    /// How often the index is asked whether something changed. 100 ms to 2 s, so that a proxy obeys within 5 s.
    pub poll: Duration,
    /// How long the snapshot answers while the index cannot be read; afterwards every lookup is [`Reason::Stale`] (503). At
    /// most 60 s: without an index no S3 request can be served anyway, and a credential disabled meanwhile must not go on.
    pub stale_max: Duration,
}

impl Default for DirectorySettings {
    /// 1 s and 30 s.
    fn default() -> Self {
        Self { poll: Duration::from_secs(1), stale_max: Duration::from_secs(30) }
    }
}

/// Who a key id belongs to. Nothing is authenticated yet.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The tenant, active.
    pub tenant: Arc<Tenant>,
    /// The credential, active, with its secret.
    pub credential: Arc<Credential>,
}

/// Why a key id has no identity. For logs and counters: the public answer to the first three is one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No such key id.
    UnknownKey,
    /// The credential is disabled.
    CredentialDisabled,
    /// The tenant is suspended.
    TenantSuspended,
    /// The directory has not been read for too long: 503, not 403.
    Stale,
}

/// No identity, and a secret to verify the signature against all the same, so that a stranger cannot tell by the time
/// taken whether a key id exists.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the access key id has no active credential")]
pub struct Unidentified {
    /// Why, for ourselves.
    pub reason: Reason,
    decoy: Arc<Secret<String>>,
}

impl Unidentified {
    /// A random secret of the usual length that belongs to nobody.
    pub fn decoy(&self) -> &Secret<String> {
        &self.decoy
    }
}

/// The tenants and credentials of one region, in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {}

impl Directory {
    /// Reads everything once; fails if it cannot.
    pub async fn open(
        index: Arc<dyn Index>,
        ring: Ring,
        settings: DirectorySettings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, TenantsError> {
        todo!()
    }

    /// Who `key_id` belongs to. Takes no lock over an await, no I/O.
    pub fn lookup(&self, key_id: &AccessKeyId) -> Result<Identity, Unidentified> {
        todo!()
    }

    /// Asks the index whether something changed, and takes it over. True if something did.
    pub async fn refresh(&self) -> Result<bool, TenantsError> {
        todo!()
    }

    /// Refreshes every [`DirectorySettings::poll`] until the returned guard is dropped.
    pub fn watch(&self) -> Watch {
        todo!()
    }
}

/// Stops the poller when dropped.
#[derive(Debug)]
pub struct Watch {}
