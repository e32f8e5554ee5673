//! The one budget of bytes that bodies may occupy, over all requests of a process.
//!
//! A request waits while it holds nothing, then grows only by [`Memory::try_lease`]: so no two requests can hold what
//! the other waits for, and the budget cannot deadlock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget counts in units of this many bytes, rounded up: a tokio semaphore hands out at most `u32::MAX` at once.
const UNIT_BYTES: u64 = 1024;

/// Bytes of memory for bodies, shared by every request of a process.
#[derive(Clone, Debug)]
pub struct Memory {
    free: Arc<Semaphore>,
    units: u32,
    wait: Duration,
}

/// A share of the budget, given back on drop.
#[derive(Debug)]
pub struct Lease {
    _permit: OwnedSemaphorePermit,
}

/// No share became free within the wait, or the request asks for more than the whole budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget for bodies is exhausted")]
pub struct Exhausted;

impl Memory {
    /// A budget of `bytes`, rounded up to whole KiB. A request that holds nothing waits for at most `wait`.
    pub fn new(bytes: u64, wait: Duration) -> Self {
        let units = units(bytes);
        Self { free: Arc::new(Semaphore::new(units as usize)), units, wait }
    }

    /// Waits for `bytes`. For a request that holds no other lease.
    pub async fn lease(&self, bytes: u64) -> Result<Lease, Exhausted> {
        let wanted = units(bytes);
        if wanted > self.units {
            return Err(Exhausted);
        }
        let permit = tokio::time::timeout(self.wait, Arc::clone(&self.free).acquire_many_owned(wanted)).await;
        match permit {
            Ok(Ok(permit)) => Ok(Lease { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(Exhausted),
        }
    }

    /// `bytes` more, if they are free now. For a request that already holds a lease.
    pub fn try_lease(&self, bytes: u64) -> Option<Lease> {
        Arc::clone(&self.free)
            .try_acquire_many_owned(units(bytes))
            .ok()
            .map(|permit| Lease { _permit: permit })
    }

    /// Bytes leased at this moment.
    pub fn used_bytes(&self) -> u64 {
        u64::from(self.units).saturating_sub(self.free.available_permits() as u64) * UNIT_BYTES
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_comes_back_when_dropped() {
        let memory = Memory::new(4096, Duration::from_secs(5));
        let lease = memory.lease(4000).await.unwrap();
        assert_eq!(memory.used_bytes(), 4096);
        assert!(memory.try_lease(1).is_none());
        drop(lease);
        assert_eq!(memory.used_bytes(), 0);
        assert!(memory.try_lease(4096).is_some());
    }

    #[tokio::test]
    async fn a_waiter_is_refused_after_the_wait_and_not_kept_forever() {
        let memory = Memory::new(1024, Duration::from_millis(5));
        let _held = memory.lease(1).await.unwrap();
        assert_eq!(memory.lease(1).await.unwrap_err(), Exhausted);
    }

    #[tokio::test]
    async fn more_than_the_whole_budget_is_refused_at_once() {
        let memory = Memory::new(1024, Duration::from_hours(1));
        assert_eq!(memory.lease(1025).await.unwrap_err(), Exhausted);
    }
}
