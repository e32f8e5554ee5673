//! Integration tests of `keys`: contracts, root files, the ring under faults, the canary.

mod canary;
mod contracts;
mod faults;
mod local_file;
mod ring;

use std::sync::Arc;
use std::time::Duration;

use terroir::keys::testing::{MemoryKeyStore, ScriptedKms};
use terroir::keys::{KekSpec, Ring, RingParts, RingSettings, RootScope};
use terroir::model::{ClassCode, ManualClock, SystemEntropy, TenantCode, Timestamp};

pub(crate) const TTL: Duration = Duration::from_secs(100);
pub(crate) const STALE: Duration = Duration::from_secs(50);

/// A ring whose time, KMS and key store are in the test's hands.
pub(crate) struct Bench {
    pub(crate) ring: Ring,
    pub(crate) kms: ScriptedKms,
    pub(crate) store: MemoryKeyStore,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn settings() -> RingSettings {
    RingSettings {
        write_max: Duration::ZERO,
        pause_ms: 0,
        attempts_max: 2,
        call_ms_max: 10_000,
        ..RingSettings::new("test".parse().unwrap(), "fr".parse().unwrap())
    }
}

pub(crate) fn spec() -> KekSpec {
    KekSpec { class: ClassCode(3), root: RootScope::Tenant, ttl: TTL, stale: STALE }
}

pub(crate) fn tenant(name: u8) -> TenantCode {
    TenantCode::from_bytes([name; 16])
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: RingSettings) -> Self {
        let (kms, store) = (ScriptedKms::new(), MemoryKeyStore::new());
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000_000)));
        let parts = parts(&kms, &store, &clock);
        let ring = Ring::open(parts, settings, &[]).await.unwrap();
        Self { ring, kms, store, clock }
    }

    /// Another process over the same KMS and key store.
    pub(crate) async fn sibling(&self) -> Ring {
        Ring::open(parts(&self.kms, &self.store, &self.clock), settings(), &[]).await.unwrap()
    }

    /// Calls for keys so far.
    pub(crate) fn calls(&self) -> usize {
        self.kms.counts().wraps + self.kms.counts().unwraps
    }
}

pub(crate) fn parts(kms: &ScriptedKms, store: &MemoryKeyStore, clock: &Arc<ManualClock>) -> RingParts {
    RingParts {
        kms: Arc::new(kms.clone()),
        store: Arc::new(store.clone()),
        clock: Arc::clone(clock) as _,
        entropy: Arc::new(SystemEntropy),
    }
}

/// A millisecond, the clock's resolution, before `end`.
pub(crate) fn just_before(end: Duration) -> Duration {
    end.saturating_sub(Duration::from_millis(1))
}

/// Lets spawned tasks run until `done`; fails after 10,000 turns.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never happened: {what}");
}
