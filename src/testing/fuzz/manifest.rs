//! What stands inside sealed parts, and the clear header: what is read is written again byte for byte, or it is refused.
//!
//! Only who holds a key can get other bytes here, so this is the second line: one value has one encoding, and no count that
//! is declared makes anybody allocate for it.

use super::input::Input;
use crate::envelope::labels::{
    BLOB_PLAINTEXT_BYTES_MAX, ENTRY_BYTES, HEADER_BYTES, PAD_MULTIPLE_BYTES, SEAL_OVERHEAD_BYTES,
};
use crate::envelope::{Binding, Header, Kind, testing};

/// Where in a root the number of blobs and the entries of a page stand (docs/format.md, section 5).
const COUNT: std::ops::Range<usize> = 22..26;
const PER_PAGE: std::ops::Range<usize> = 26..28;

/// The first byte chooses which part the rest is. Its high bit pads, so that a fuzzer need not: no header lets a length pass
/// that is no multiple, nor one of nothing.
pub fn manifest(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let mut clear = input.rest().to_vec();
    match choice % 4 {
        0 => return header(&clear),
        1 => return entries(&clear),
        _ => {}
    }
    if choice & 0x80 != 0 {
        clear.resize(clear.len().next_multiple_of(PAD_MULTIPLE_BYTES), 0);
    }
    if clear.is_empty() || !clear.len().is_multiple_of(PAD_MULTIPLE_BYTES) {
        return;
    }
    let again = if choice.is_multiple_of(2) {
        testing::locator_again(&clear)
    } else {
        testing::root_again(&clear, &header_of(&clear))
    };
    if let Ok(again) = again {
        assert!(again == clear, "a sealed part with two encodings");
    }
}

fn header(bytes: &[u8]) {
    let Ok(header) = Header::peek(bytes) else { return };
    let again = testing::header_again(&header);
    assert!(bytes.get(..HEADER_BYTES) == Some(&again), "a header with two encodings");
    // No length in it leads beyond what a blob can be: 64 MiB of plaintext, a root of 4 MiB, pages of u32.
    let most = 2 * BLOB_PLAINTEXT_BYTES_MAX as u64 + u64::from(header.pages_bytes);
    assert!(header.blob_bytes() <= most, "a blob of {} bytes", header.blob_bytes());
    assert!(header.record_bytes() <= header.body_offset() && header.body_offset() <= header.blob_bytes());
}

/// A page's entries, as many as there could be.
fn entries(clear: &[u8]) {
    let count = u32::try_from(clear.len() / ENTRY_BYTES).unwrap_or(u32::MAX);
    if let Ok(again) = testing::entries_again(clear, count) {
        assert!(again == clear, "a page with two encodings");
    }
    assert!(testing::entries_again(clear, u32::MAX).is_err(), "more entries than there are bytes");
}

/// A header that goes with a root: with the length of pages that the root's own numbers ask for.
fn header_of(clear: &[u8]) -> Header {
    let number = |range| {
        clear.get(range).map_or(0, |bytes: &[u8]| bytes.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)))
    };
    let (count, per_page): (u64, u64) = (number(COUNT), number(PER_PAGE));
    let pages = count * ENTRY_BYTES as u64 + count.div_ceil(per_page.max(1)) * SEAL_OVERHEAD_BYTES as u64;
    let pages = if per_page == 0 { 0 } else { pages };
    Header {
        kind: Kind::Record,
        binding: Binding {
            environment: "test".parse().expect("an environment"),
            region: "fr".parse().expect("a region"),
            tenant: [0xC3; 16],
            class: 3,
            version: [0xD4; 16],
        },
        kek_id: [0xA1; 16],
        kek_epoch: 7,
        wrapping_version: 2,
        subject_key_id: None,
        blob: [0xE5; 16],
        ordinal: 0,
        locator_bytes: 284,
        root_bytes: 284,
        pages_bytes: u32::try_from(pages).unwrap_or(u32::MAX),
        body_bytes: 0,
    }
}
