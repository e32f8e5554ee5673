//! A store in memory that counts, hangs and fails as a test tells it to, and the stack in front of it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use terroir::blobs::testing::{Faults, FaultyStore};
use terroir::blobs::{
    BlobInfo, BlobStore, CircuitSettings, Cursor, Description, Error, LimitSettings, Location, MemoryStore,
    Outbound, OutboundSettings, Page, RetrySettings,
};
use terroir::envelope::Sealed;
use terroir::model::SystemEntropy;
use terroir::placement::Placement;
use terroir::telemetry::Metrics;

use super::region;

/// Nothing gets in the way but what a test sets: no circuit, room for all, any number of retries.
pub(super) const OPEN_HANDED: OutboundSettings = OutboundSettings {
    deadline_ms: 20_000,
    attempt_ms: 10_000,
    retry: RetrySettings { attempts_max: 3, pause_ms: 1, budget_percent: 100, reserve_per_s: 100_000 },
    limit: LimitSettings { in_flight_max: 10_000, waiting_max: 10_000, wait_ms_max: 10_000 },
    circuit: CircuitSettings {
        window_ms: 30_000,
        outcomes_min: u32::MAX,
        failures_percent: 100,
        rest_ms: 50,
    },
};

/// What the test holds of the store behind the stack.
#[derive(Debug)]
pub(super) struct Puppet {
    pub(super) store: FaultyStore<MemoryStore>,
    hangs: AtomicBool,
    host: Option<String>,
    calls: AtomicU64,
    under_way: AtomicU64,
    most: AtomicU64,
}

/// A stack on a puppet of its own.
pub(super) fn stage(settings: OutboundSettings) -> (Outbound, Arc<Puppet>, Arc<Metrics>) {
    stage_at(None, settings)
}

/// The same, the puppet saying that it is at `host`.
pub(super) fn stage_at(
    host: Option<&str>,
    settings: OutboundSettings,
) -> (Outbound, Arc<Puppet>, Arc<Metrics>) {
    let puppet = Arc::new(Puppet {
        store: FaultyStore::new(MemoryStore::new(region()), Faults::default(), 1),
        hangs: AtomicBool::new(false),
        host: host.map(str::to_owned),
        calls: AtomicU64::new(0),
        under_way: AtomicU64::new(0),
        most: AtomicU64::new(0),
    });
    let metrics = Arc::new(Metrics::default());
    let store =
        Outbound::new(Arc::clone(&puppet) as Arc<dyn BlobStore>, settings, &metrics, Arc::new(SystemEntropy));
    (store, puppet, metrics)
}

impl Puppet {
    /// From now on whoever calls waits for ever, or does not.
    pub(super) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    /// From now on everything fails, or nothing does.
    pub(super) fn fail(&self, fails: bool) {
        self.store.set(Faults { error_before: if fails { 1000 } else { 0 }, ..Faults::default() });
    }

    /// Calls that reached it.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Calls that are in it now.
    pub(super) fn under_way(&self) -> u64 {
        self.under_way.load(Ordering::SeqCst)
    }

    /// Calls that were in it at once, at most.
    pub(super) fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }

    async fn enter(&self) -> Inside<'_> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let inside = Inside(self);
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        inside
    }
}

/// Counts a call out, also one that is dropped.
struct Inside<'a>(&'a Puppet);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl BlobStore for Puppet {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        let _inside = self.enter().await;
        self.store.put(at, sealed).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        let _inside = self.enter().await;
        self.store.read(at, range).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        let _inside = self.enter().await;
        self.store.head(at).await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        let _inside = self.enter().await;
        self.store.delete(at).await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        let _inside = self.enter().await;
        self.store.list(placed, after, limit).await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        let _inside = self.enter().await;
        self.store.locate().await
    }

    fn describe(&self) -> Description {
        Description { endpoint_host: self.host.clone(), ..self.store.describe() }
    }
}
