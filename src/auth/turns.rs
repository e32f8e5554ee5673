//! How many requests of one tenant may be under way: a flood of one tenant's leaves places for the others.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::TenantCode;

/// The places of every tenant. One entry for each tenant that ever called, so at most as many as the directory holds.
#[derive(Debug)]
pub struct Turns {
    tenants: DashMap<TenantCode, Arc<Semaphore>>,
    requests_max: usize,
}

/// One place, given back when dropped: with the request, once its answer's head is made.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turns {
    /// `requests_max` places for each tenant.
    pub fn new(requests_max: usize) -> Self {
        Self { tenants: DashMap::new(), requests_max }
    }

    /// A place for a request of an authenticated tenant, if one is free now.
    pub(super) fn take(&self, tenant: TenantCode) -> Option<Turn> {
        let places = match self.tenants.get(&tenant) {
            Some(places) => Arc::clone(&places),
            None => Arc::clone(
                &self.tenants.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(self.requests_max))),
            ),
        };
        places.try_acquire_owned().ok().map(|permit| Turn { _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_tenant_leaves_the_places_of_another() {
        let turns = Turns::new(2);
        let (loud, quiet) = (TenantCode::from_bytes([1; 16]), TenantCode::from_bytes([2; 16]));
        let held = [turns.take(loud), turns.take(loud)];
        assert!(held.iter().all(Option::is_some));
        assert!(turns.take(loud).is_none());
        assert!(turns.take(quiet).is_some());
        drop(held);
        assert!(turns.take(loud).is_some());
    }
}
