//! What a ring is built from and asked with: specs, bounds, parts, and the handle it gives.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::cache::Window;
use super::{KeyStore, KeysError, Kms, RootScope};
use crate::envelope;
use crate::model::{ClassCode, Clock, Entropy, Environment, KekId, RegionId, Secret, TenantCode};

/// The region's own KEK, for sealed fields: no tenant, no class.
pub(super) const SYSTEM_TENANT: TenantCode = TenantCode::from_bytes([0; 16]);
pub(super) const SYSTEM: KekSpec = KekSpec {
    class: ClassCode(0),
    root: RootScope::Region,
    ttl: Duration::from_hours(1),
    stale: Duration::from_hours(12),
};

const DAY: Duration = Duration::from_hours(24);

/// What whoever says nothing about writes is taken to mean: the longest that the usual settings let a write be, half of the 30
/// days after which its blobs could be removed.
const WRITE_MAX: Duration = Duration::from_hours(15 * 24);

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

impl KekSpec {
    pub(super) fn check(&self) -> Result<(), KeysError> {
        if self.class == SYSTEM.class {
            return Err(KeysError::ReservedClass);
        }
        let ok = (Duration::from_secs(1)..=DAY).contains(&self.ttl) && self.stale <= DAY;
        if ok { Ok(()) } else { Err(KeysError::Settings("a class's ttl or stale window")) }
    }

    pub(super) const fn window(&self) -> Window {
        Window { ttl: self.ttl, stale: self.stale }
    }
}

/// Bounds of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Which deployment.
    pub environment: Environment,
    /// The one region served.
    pub region: RegionId,
    /// How long a write may take from asking for a KEK to its commit. The same at every process that serves the region: an
    /// epoch is retired only once no such write can be under way.
    pub write_max: Duration,
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
    /// The defaults for a region: writes of up to 15 days, 16,384 keys (1,000 tenants × 4 classes × 4 epochs), 2 s a call, 3
    /// attempts 100 ms apart, 1 s to 30 s of backoff.
    pub fn new(environment: Environment, region: RegionId) -> Self {
        Self {
            environment,
            region,
            write_max: WRITE_MAX,
            kek_count_max: 16_384,
            call_ms_max: 2_000,
            attempts_max: 3,
            pause_ms: 100,
            backoff_ms: 1_000,
            backoff_ms_max: 30_000,
        }
    }

    pub(super) fn check(&self) -> Result<(), KeysError> {
        if !(1..=1_000_000).contains(&self.kek_count_max) {
            return Err(KeysError::Settings("kek_count_max"));
        }
        if !(1..=60_000).contains(&self.call_ms_max)
            || !(1..=5).contains(&self.attempts_max)
            || self.pause_ms > 10_000
        {
            return Err(KeysError::Settings("calls and pauses"));
        }
        if self.backoff_ms == 0 || self.backoff_ms > self.backoff_ms_max || self.backoff_ms_max > 600_000 {
            return Err(KeysError::Settings("backoff"));
        }
        Ok(())
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
    pub(super) id: KekId,
    pub(super) epoch: u32,
    pub(super) root_version: u32,
    pub(super) key: Secret<[u8; 32]>,
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

    /// The key as the envelope takes it: a copy, wiped when dropped.
    pub fn to_envelope(&self) -> envelope::Kek {
        envelope::Kek::new(
            *self.id.as_bytes(),
            self.epoch,
            self.root_version,
            Zeroizing::new(*self.key.expose()),
        )
    }

    /// The key itself.
    pub fn key(&self) -> &Secret<[u8; 32]> {
        &self.key
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
