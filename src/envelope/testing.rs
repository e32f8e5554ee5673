//! One of the two AEAD implementations, broken on purpose for the bodies of chosen blobs: how a test shows which of them opens what.
//!
//! Compiled only with feature `testing`. By blob, because tests run side by side in one process.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::cipher::Implementation;
use super::error::EnvelopeError;

/// Which implementation is broken for which blob.
type Broken = HashSet<(Implementation, [u8; 16])>;

static BROKEN: Mutex<Option<Broken>> = Mutex::new(None);

/// From now on `implementation` opens no body of `blob`, or does again.
pub fn break_for(implementation: Implementation, blob: [u8; 16], is_broken: bool) {
    let mut broken = BROKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let broken = broken.get_or_insert_default();
    if is_broken {
        broken.insert((implementation, blob));
    } else {
        broken.remove(&(implementation, blob));
    }
}

pub(super) fn may_open(implementation: Implementation, blob: &[u8; 16]) -> Result<(), EnvelopeError> {
    let broken = BROKEN.lock().unwrap_or_else(PoisonError::into_inner);
    match &*broken {
        Some(broken) if broken.contains(&(implementation, *blob)) => Err(EnvelopeError::Cipher),
        _ => Ok(()),
    }
}
