//! For tests: one of the two AEAD implementations broken on purpose, and the encodings of what is sealed read and written again.
//!
//! Compiled only with feature `testing`. An implementation is broken for chosen blobs, because tests run side by side in one
//! process and must see which of the two opens what.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::cipher::Implementation;
use super::codec::Writer;
use super::error::EnvelopeError;
use super::header::Header;
use super::labels::HEADER_BYTES;
use super::locator::Locator;
use super::manifest_codec::{decode_root, encode_entry, encode_root};
use super::pages::decode_page;

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

/// The bytes of a header that was read.
pub fn header_again(header: &Header) -> [u8; HEADER_BYTES] {
    header.to_bytes()
}

/// Reads the clear bytes of a locator and writes them again.
///
/// # Errors
/// Those of reading; it is never sealed.
pub fn locator_again(clear: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    Locator::decode(clear)?.encode()
}

/// Reads the clear bytes of a root behind `header` and writes them again.
///
/// # Errors
/// Those of reading; it is never sealed.
pub fn root_again(clear: &[u8], header: &Header) -> Result<Vec<u8>, EnvelopeError> {
    encode_root(&decode_root(clear, header)?, header.binding.class)
}

/// Reads the clear bytes of a page of `entries` entries and writes them again.
///
/// # Errors
/// Those of reading; it is never sealed.
pub fn entries_again(clear: &[u8], entries: u32) -> Result<Vec<u8>, EnvelopeError> {
    let mut writer = Writer::default();
    for entry in decode_page(clear, entries)? {
        encode_entry(&mut writer, &entry);
    }
    Ok(writer.into_vec())
}
