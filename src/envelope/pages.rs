//! Pages: the entries of a version with many bodies, sealed apart, so that a ranged read opens the root and what it needs.

use std::ops::Range;

use sha2::{Digest, Sha384};

use super::cipher::{open_small, seal_small};
use super::codec::{Reader, Writer};
use super::derive::equal;
use super::error::{EnvelopeError, Random};
use super::keys::Dek;
use super::labels::{ENTRY_BYTES, PAGE_DIGEST_BYTES, SEAL_OVERHEAD_BYTES};
use super::manifest::{BlobEntry, Totals};
use super::manifest_codec::{decode_entry, encode_entry};

/// What the root says of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageDescriptor {
    /// Clear bytes of the object in the page's bodies.
    pub plaintext_bytes: u64,
    /// SHA-384 of the sealed page.
    pub digest: [u8; PAGE_DIGEST_BYTES],
}

/// Where the pages are. All but the last hold [`PageTable::entries_per_page`] entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageTable {
    /// Entries of every page but the last.
    pub entries_per_page: u16,
    /// The pages in order.
    pub pages: Vec<PageDescriptor>,
    pub(super) blob_count: u32,
    /// Offset of the first page in the stored record: the record's own length.
    pub(super) first_offset: u64,
}

/// One opened page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where in the object the page's first body begins.
    pub first_plaintext_offset: u64,
    /// The page's bodies.
    pub entries: Vec<BlobEntry>,
}

impl PageTable {
    /// The bytes of page `page` in the stored record blob; `None` if there is no such page.
    pub fn location(&self, page: u32) -> Option<Range<u64>> {
        let entries = entries_of(page, self.entries_per_page, self.blob_count)?;
        let before = u64::from(page) * sealed_page_bytes(u32::from(self.entries_per_page));
        let start = self.first_offset + before;
        Some(start..start + sealed_page_bytes(entries))
    }

    /// The pages that hold bodies of the clear bytes `range`.
    pub fn pages_for(&self, range: &Range<u64>) -> Range<u32> {
        let (mut offset, mut wanted) = (0_u64, 0..0);
        for (page, descriptor) in (0_u32..).zip(&self.pages) {
            let end = offset.saturating_add(descriptor.plaintext_bytes);
            if offset < range.end && end > range.start {
                wanted = if wanted.is_empty() { page..page + 1 } else { wanted.start..page + 1 };
            }
            offset = end;
        }
        wanted
    }

    /// Opens page `page` out of its bytes: first compared with the root, then authenticated under the version's key.
    pub fn open(&self, dek: &Dek, page: u32, sealed: &[u8]) -> Result<Page, EnvelopeError> {
        let wrong = EnvelopeError::PageAuth { page };
        let descriptor = self.pages.get(page as usize).ok_or(wrong)?;
        let entries = entries_of(page, self.entries_per_page, self.blob_count).ok_or(wrong)?;
        if !equal(&digest(sealed), &descriptor.digest) {
            return Err(wrong);
        }
        let clear = open_small(&*dek.page_key(page)?, &page_aad(dek, page), sealed, wrong)?;
        let entries = decode_page(&clear, entries)?;
        if Totals::of(&entries)?.plaintext_bytes != descriptor.plaintext_bytes {
            return Err(EnvelopeError::InvalidManifest { field: "page total" });
        }
        let first_plaintext_offset = self.pages.iter().take(page as usize).map(|p| p.plaintext_bytes).sum();
        Ok(Page { first_plaintext_offset, entries })
    }
}

/// Seals the pages; returns them concatenated, and what the root says of them.
pub(super) fn seal_pages(
    dek: &Dek,
    entries: &[BlobEntry],
    entries_per_page: u16,
    random: &mut Random<'_>,
) -> Result<(Vec<u8>, Vec<PageDescriptor>), EnvelopeError> {
    let mut sealed_pages = Vec::new();
    let mut descriptors = Vec::new();
    for (page, entries) in (0_u32..).zip(entries.chunks(usize::from(entries_per_page.max(1)))) {
        let mut writer = Writer::with_capacity(entries.len() * ENTRY_BYTES);
        for entry in entries {
            encode_entry(&mut writer, entry);
        }
        let sealed = seal_small(&*dek.page_key(page)?, &page_aad(dek, page), writer.into_vec(), random)?;
        let plaintext_bytes = Totals::of(entries)?.plaintext_bytes;
        descriptors.push(PageDescriptor { plaintext_bytes, digest: digest(&sealed) });
        sealed_pages.extend_from_slice(&sealed);
    }
    Ok((sealed_pages, descriptors))
}

/// Length of all pages together.
pub(super) fn pages_bytes(blob_count: u32, entries_per_page: u16) -> u64 {
    let pages = u64::from(blob_count.div_ceil(u32::from(entries_per_page.max(1))));
    u64::from(blob_count) * ENTRY_BYTES as u64 + pages * SEAL_OVERHEAD_BYTES as u64
}

fn sealed_page_bytes(entries: u32) -> u64 {
    u64::from(entries) * ENTRY_BYTES as u64 + SEAL_OVERHEAD_BYTES as u64
}

fn entries_of(page: u32, entries_per_page: u16, blob_count: u32) -> Option<u32> {
    let first = page.checked_mul(u32::from(entries_per_page))?;
    let left = blob_count.checked_sub(first).filter(|left| *left > 0)?;
    Some(left.min(u32::from(entries_per_page)))
}

pub(super) fn decode_page(clear: &[u8], entries: u32) -> Result<Vec<BlobEntry>, EnvelopeError> {
    let mut reader = Reader::new(clear);
    let entries = (0..entries).map(|_| decode_entry(&mut reader)).collect::<Result<Vec<_>, _>>();
    let invalid = EnvelopeError::InvalidManifest { field: "page" };
    reader.end().map_err(|_| invalid)?;
    entries
}

fn page_aad(dek: &Dek, page: u32) -> [u8; 20] {
    let mut aad = [0; 20];
    aad[..16].copy_from_slice(&dek.binding().version);
    aad[16..].copy_from_slice(&page.to_be_bytes());
    aad
}

fn digest(sealed: &[u8]) -> [u8; PAGE_DIGEST_BYTES] {
    Sha384::digest(sealed).into()
}
