//! The budget of bytes that bodies may occupy, over all requests of a region, in weighted shares of its tenants.
//!
//! A request waits while it holds nothing, then grows only by what is free at that moment: so no two requests can hold what
//! the other waits for, and the budget cannot deadlock. Who gets what is [`crate::shares`]' rule.

use std::sync::Arc;
use std::time::Duration;

use crate::placement::Placement;
use crate::shares::{Claimant, Refusal, Share, ShareLimits, Shares, away};
use crate::telemetry::{Metrics, Shared};

/// A tenant that holds no more than this waits for nobody: a write or a read of one 64 KiB segment takes at most 132 KiB of
/// memory, so two of them.
const FLOOR_BYTES: u64 = 264 * 1024;

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
        let limits = ShareLimits {
            capacity: limits.bytes,
            party_max: u64::MAX,
            floor: FLOOR_BYTES,
            waiting_max: limits.waiters_max,
            wait: limits.wait,
        };
        Self { shares: Shares::new(Shared::Memory, limits, metrics) }
    }

    /// Waits for `bytes`, away from the request's turn: whoever holds the memory may need one to give it back. For a request
    /// that holds no other lease.
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
        self.shares.used()
    }

    /// Requests that wait at this moment.
    pub fn waiting(&self) -> u64 {
        self.shares.waiting()
    }
}

fn claimant(placement: &Placement) -> Claimant {
    Claimant::tenant(placement.tenant_code(), placement.weight())
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::placement::testing::placement;

    fn memory(bytes: u64, wait: Duration) -> Memory {
        Memory::new(MemoryLimits { bytes, waiters_max: 10, wait }, Arc::default())
    }

    #[tokio::test]
    async fn a_lease_comes_back_when_dropped() {
        let (memory, clinic) = (memory(10 << 20, Duration::from_secs(5)), placement(&"fr".parse().unwrap()));
        let lease = memory.lease(&clinic, 8 << 20).await.unwrap();
        assert_eq!(memory.used_bytes(), 8 << 20);
        assert!(memory.try_lease(&clinic, 1).is_none());
        drop(lease);
        assert_eq!(memory.used_bytes(), 0);
        assert!(memory.try_lease(&clinic, 8 << 20).is_some());
    }

    #[tokio::test]
    async fn a_waiter_is_refused_after_the_wait_and_not_kept_forever() {
        let (memory, clinic) =
            (memory(10 << 20, Duration::from_millis(5)), placement(&"fr".parse().unwrap()));
        let _held = memory.lease(&clinic, 8 << 20).await.unwrap();
        assert_eq!(memory.lease(&clinic, 1).await.unwrap_err(), Exhausted(Refusal::Late));
    }

    #[tokio::test]
    async fn more_than_one_tenant_may_hold_is_refused_at_once_or_cut_to_it() {
        let (memory, clinic) = (memory(10 << 20, Duration::from_hours(1)), placement(&"fr".parse().unwrap()));
        assert_eq!(memory.lease(&clinic, 9 << 20).await.unwrap_err(), Exhausted(Refusal::TooMuch));
        assert_eq!(memory.lease_most(&clinic, 9 << 20).await.unwrap().units(), 8 << 20);
    }
}
