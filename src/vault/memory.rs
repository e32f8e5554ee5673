//! The budget of bytes that bodies may occupy, over all requests of a region, in weighted shares of its tenants.
//!
//! A request waits while it holds nothing, then grows only by what is free at that moment: so no two requests can hold what
//! the other waits for, and the budget cannot deadlock. Who gets what is [`crate::shares`]' rule.
//!
//! Documents (lists of parts, of keys) have a part of their own. A request holds its document, or what it was read into, while
//! it waits for memory to work on it: out of one budget, those that hold some would wait for each other. Out of two, taken in
//! one order (documents first, and no second one), whoever holds a document waits for those who wait for nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::blobs::claimant;
use crate::placement::Placement;
use crate::shares::{Claimant, Refusal, Share, ShareLimits, Shares, away};
use crate::telemetry::{Metrics, Shared};

/// A tenant that holds no more than this waits for nobody: two writes of one 64 KiB segment, of 96 KiB each, and a read, of 66 KiB.
const FLOOR_BYTES: u64 = 264 * 1024;

/// The part of the budget that is the documents'. In the default budget a tenant that takes all the documents' memory it may
/// leaves 6.4 MiB, of which another gets four fifths: the longest document (2 MiB), twice over for what it is read into.
const DOCUMENTS_PART: u64 = 8;

/// The bounds of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// All there is, in bytes.
    pub bytes: u64,
    /// Requests that wait for some, of all tenants.
    pub waiters_max: u64,
    /// How long one waits.
    pub wait: Duration,
}

/// Bytes of memory for bodies, shared by every request of a region.
#[derive(Clone, Debug)]
pub struct Memory {
    shares: Shares,
    documents: Shares,
}

/// Some of the budget, given back on drop.
pub type Lease = Share;

/// The budget had nothing for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget for bodies is exhausted")]
pub struct Exhausted(#[from] Refusal);

impl Memory {
    /// A budget within `limits`, counted in `metrics`.
    pub fn new(limits: MemoryLimits, metrics: Arc<Metrics>) -> Self {
        let documents = limits.bytes / DOCUMENTS_PART;
        let of = |capacity| ShareLimits {
            capacity,
            party_max: u64::MAX,
            floor: FLOOR_BYTES,
            waiting_max: limits.waiters_max,
            wait: limits.wait,
        };
        Self {
            shares: Shares::new(Shared::Memory, of(limits.bytes - documents), Arc::clone(&metrics)),
            documents: Shares::new(Shared::Documents, of(documents), metrics),
        }
    }

    /// Waits for `bytes` of the documents' part, before anything of the document is read; as [`Memory::lease_most`]. Nothing is
    /// placed yet: what is asked may depend on it. For a request that holds no lease at all; it may wait for memory afterwards.
    pub async fn document(&self, claimant: Claimant, bytes: u64) -> Result<Lease, Exhausted> {
        let bytes = bytes.min(self.documents.most(claimant));
        Ok(away(self.documents.acquire(claimant, bytes)).await?)
    }

    /// Waits for `bytes`, away from the request's turn: whoever holds the memory may need one to give it back. For a request
    /// that holds no other lease, but for its document's.
    pub async fn lease(&self, placement: &Placement, bytes: u64) -> Result<Lease, Exhausted> {
        Ok(away(self.shares.acquire(claimant(placement), bytes)).await?)
    }

    /// As [`Memory::lease`], but of what is more than the tenant may ever hold only as much as it may. For the few things whose
    /// size is given and cannot be cut: they run one at a time, and may exceed the budget by what it is short of.
    pub async fn lease_most(&self, placement: &Placement, bytes: u64) -> Result<Lease, Exhausted> {
        self.lease(placement, bytes.min(self.shares.most(claimant(placement)))).await
    }

    /// `bytes` more, if they are free now and nobody waits. For a request that already holds a lease.
    pub fn try_lease(&self, placement: &Placement, bytes: u64) -> Option<Lease> {
        self.shares.try_acquire(claimant(placement), bytes).ok()
    }

    /// Bytes leased at this moment.
    pub fn used_bytes(&self) -> u64 {
        self.shares.used() + self.documents.used()
    }

    /// Requests that wait at this moment.
    pub fn waiting(&self) -> u64 {
        self.shares.waiting() + self.documents.waiting()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::placement::testing::placement;

    /// Of which `bytes` are for bodies.
    fn memory(bytes: u64, wait: Duration) -> Memory {
        let bytes = bytes / (DOCUMENTS_PART - 1) * DOCUMENTS_PART;
        Memory::new(MemoryLimits { bytes, waiters_max: 10, wait }, Arc::default())
    }

    #[tokio::test]
    async fn a_lease_comes_back_when_dropped() {
        let (memory, clinic) = (memory(35 << 20, Duration::from_secs(5)), placement(&"fr".parse().unwrap()));
        let lease = memory.lease(&clinic, 28 << 20).await.unwrap();
        assert_eq!(memory.used_bytes(), 28 << 20);
        assert!(memory.try_lease(&clinic, 1).is_none());
        drop(lease);
        assert_eq!(memory.used_bytes(), 0);
        assert!(memory.try_lease(&clinic, 28 << 20).is_some());
    }

    #[tokio::test]
    async fn a_waiter_is_refused_after_the_wait_and_not_kept_forever() {
        let (memory, clinic) =
            (memory(35 << 20, Duration::from_millis(5)), placement(&"fr".parse().unwrap()));
        let _held = memory.lease(&clinic, 28 << 20).await.unwrap();
        assert_eq!(memory.lease(&clinic, 1).await.unwrap_err(), Exhausted(Refusal::Late));
    }

    #[tokio::test]
    async fn more_than_one_tenant_may_hold_is_refused_at_once_or_cut_to_it() {
        let (memory, clinic) = (memory(35 << 20, Duration::from_hours(1)), placement(&"fr".parse().unwrap()));
        assert_eq!(memory.lease(&clinic, 29 << 20).await.unwrap_err(), Exhausted(Refusal::TooMuch));
        assert_eq!(memory.lease_most(&clinic, 29 << 20).await.unwrap().units(), 28 << 20);
    }

    #[tokio::test]
    async fn whoever_holds_a_document_may_wait_for_memory_and_the_other_way_round_nobody_waits() {
        let (memory, clinic) =
            (memory(35 << 20, Duration::from_millis(5)), placement(&"fr".parse().unwrap()));
        let claimant = claimant(&clinic);
        let document = memory.document(claimant, u64::MAX).await.unwrap();
        assert_eq!(document.units(), 4 << 20, "four fifths of the documents' 5 MiB");
        assert_eq!(memory.used_bytes(), 4 << 20);
        let body = memory.lease(&clinic, 28 << 20).await.unwrap();
        let late = memory.document(claimant, 1 << 20).await;
        assert_eq!(late.unwrap_err(), Exhausted(Refusal::Late), "documents do not take the bodies' memory");
        drop((document, body));
        assert_eq!(memory.used_bytes(), 0);
    }
}
