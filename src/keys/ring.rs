//! The ring: the only place where an open KEK is handed out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Canary, Description, KeyStore, KeysError, Kms, RootScope};
use crate::model::{ClassCode, Clock, Entropy, Environment, KekId, RegionId, Secret, TenantCode};

/// What a class says about its KEKs: the register's values, without the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KekSpec {
    /// The class. Code 0 is the region's own and refused here.
    pub class: ClassCode,
    /// Which root its KEKs hang from.
    pub root: RootScope,
    /// How long the KMS's word holds: at most one call per KEK and `ttl`. 1 s to 24 h.
    pub ttl: Duration,
    /// How long after that an open KEK may still be used while the KMS cannot be *reached*. 0 to 24 h. A KMS that denies is
    /// obeyed at once, whatever this says.
    pub stale: Duration,
}

/// Bounds of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Which deployment.
    pub environment: Environment,
    /// The one region served.
    pub region: RegionId,
    /// Open KEKs held at most; the least recently used goes first. 1 to 1,000,000.
    pub kek_count_max: usize,
    /// Longest wait for one call to the KMS.
    pub call_ms_max: u64,
    /// Calls for one refresh at most, the first one counted. 1 to 5.
    pub attempts_max: u32,
    /// First pause between attempts; doubles each time, jittered by half.
    pub pause_ms: u64,
    /// After a failed refresh nobody asks the KMS for the same key for this long, doubling up to
    /// [`RingSettings::backoff_ms_max`], jittered by half.
    pub backoff_ms: u64,
    /// The longest such time.
    pub backoff_ms_max: u64,
}

impl RingSettings {
    /// The defaults for a region: 16,384 keys (1,000 tenants × 4 classes × 4 epochs), 2 s a call, 3 attempts 100 ms apart,
    /// 1 s to 30 s of backoff.
    pub fn new(environment: Environment, region: RegionId) -> Self {
        Self {
            environment,
            region,
            kek_count_max: 16_384,
            call_ms_max: 2_000,
            attempts_max: 3,
            pause_ms: 100,
            backoff_ms: 1_000,
            backoff_ms_max: 30_000,
        }
    }
}

/// What a ring is built from.
#[derive(Clone, Debug)]
pub struct RingParts {
    /// Holds the roots.
    pub kms: Arc<dyn Kms>,
    /// Holds the wrapped KEKs.
    pub store: Arc<dyn KeyStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// An open KEK. Wiped when the last holder drops it.
#[derive(Debug)]
pub struct KekHandle {
    id: KekId,
    epoch: u32,
    root_version: u32,
    key: Secret<[u8; 32]>,
}

impl KekHandle {
    /// Which KEK.
    pub fn id(&self) -> KekId {
        self.id
    }

    /// Which epoch of it.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The version of the root that wraps it in the key store; 0 where the KMS does not tell.
    pub fn root_version(&self) -> u32 {
        self.root_version
    }

    /// The key itself, for the envelope.
    pub fn key(&self) -> &Secret<[u8; 32]> {
        &self.key
    }
}

/// A key for small sealed fields of one purpose (directory rows, locks, pseudonyms), from the region's own KEK.
#[derive(Debug)]
pub struct FieldKey {
    epoch: u32,
    secret: Secret<[u8; 32]>,
    entropy: Arc<dyn Entropy>,
}

impl FieldKey {
    /// The epoch of the region's KEK it comes from. Sealed fields carry it.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The epoch a sealed field was sealed under; `None` if it is not a sealed field.
    pub fn epoch_of(sealed: &[u8]) -> Option<u32> {
        todo!()
    }

    /// Seals `clear`, bound to every part of `bound_to` (each with its length).
    pub fn seal(&self, bound_to: &[&[u8]], clear: &[u8]) -> Result<Vec<u8>, KeysError> {
        todo!()
    }

    /// Opens what [`FieldKey::seal`] made with a key of the same purpose and epoch and the same `bound_to`.
    pub fn open(&self, bound_to: &[&[u8]], sealed: &[u8]) -> Result<Secret<Vec<u8>>, KeysError> {
        todo!()
    }

    /// A derived key for keyed hashes (HMAC) of names in logs and records. Stable for the epoch.
    pub fn pseudonym_key(&self) -> Result<Secret<[u8; 32]>, KeysError> {
        todo!()
    }
}

/// How a re-wrapping went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Records now under the newest root version.
    pub rewrapped: u64,
    /// Records that were already, are retired, or that somebody else re-wrapped meanwhile.
    pub unchanged: u64,
}

/// Hands out open KEKs of one environment and region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ring {}

impl Ring {
    /// Opens the ring: makes the region's root, own KEK and canary on first use; afterwards refuses unless the key store's
    /// canary names this environment and region and opens under this KMS, and unless every one of `foreign` does **not**.
    pub async fn open(parts: RingParts, settings: RingSettings, foreign: &[Canary]) -> Result<Self, KeysError> {
        todo!()
    }

    /// The KEK new records of that tenant and class are sealed under; makes the first epoch when there is none.
    pub async fn current(&self, tenant: TenantCode, spec: &KekSpec) -> Result<Arc<KekHandle>, KeysError> {
        todo!()
    }

    /// The KEK a stored record names. [`KeysError::UnknownKek`] unless it is that tenant's and class's.
    pub async fn by_id(
        &self,
        tenant: TenantCode,
        spec: &KekSpec,
        kek_id: KekId,
        epoch: u32,
    ) -> Result<Arc<KekHandle>, KeysError> {
        todo!()
    }

    /// Starts a new epoch for new records; old records keep theirs. Returns the new epoch. Other processes follow within
    /// [`super::ring::POINTER_TTL`].
    pub async fn rotate(&self, tenant: TenantCode, spec: &KekSpec) -> Result<u32, KeysError> {
        todo!()
    }

    /// Erases an old epoch. `records` is how many records the index says still name it: refused unless 0.
    pub async fn retire(&self, tenant: TenantCode, spec: &KekSpec, epoch: u32, records: u64) -> Result<(), KeysError> {
        todo!()
    }

    /// Wraps every KEK again that is not under the newest version of its root.
    pub async fn rewrap(&self) -> Result<Rewrapped, KeysError> {
        todo!()
    }

    /// The newest key for sealed fields of `purpose`. Purposes are constants of the callers.
    pub async fn field_key(&self, purpose: &'static str) -> Result<Arc<FieldKey>, KeysError> {
        todo!()
    }

    /// The key for sealed fields of `purpose` of an older epoch.
    pub async fn field_key_at(&self, purpose: &'static str, epoch: u32) -> Result<Arc<FieldKey>, KeysError> {
        todo!()
    }

    /// Opens a sealed field of whatever epoch.
    pub async fn open_field(
        &self,
        purpose: &'static str,
        bound_to: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, KeysError> {
        todo!()
    }

    /// This fleet's canary, for the settings of the others.
    pub fn canary(&self) -> &Canary {
        todo!()
    }

    /// The region this ring serves.
    pub fn region(&self) -> &RegionId {
        todo!()
    }

    /// Which deployment.
    pub fn environment(&self) -> &Environment {
        todo!()
    }

    /// Where the roots are and who can use them.
    pub fn describe(&self) -> Description {
        todo!()
    }
}
