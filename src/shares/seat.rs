//! A connection's place among its tenant's: known to the server when it accepts, to be taken when a request is identified.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Refusal, Share};

/// Made for each connection, and given to each of its requests. What is put in it is given back when the connection and
/// its requests are gone.
#[derive(Clone, Debug, Default)]
pub struct Seat(Arc<Mutex<Option<Share>>>);

impl Seat {
    /// Puts in what `demand` gets, if nothing is in it yet: the first identified request speaks for its connection, also where
    /// a proxy in front sends requests of several tenants over one.
    pub fn take(&self, demand: impl FnOnce() -> Result<Share, Refusal>) -> Result<(), Refusal> {
        let mut seat = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seat.is_none() {
            *seat = Some(demand()?);
        }
        Ok(())
    }

    /// Whether a tenant has it.
    pub fn is_taken(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}
