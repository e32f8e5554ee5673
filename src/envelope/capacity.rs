//! How many bodies one record has room for, whatever else is sealed in it.

use super::labels::{
    ATTRIBUTE_BYTES_MAX, CHECKSUMS_MAX, COMMITMENT_BYTES, ENTRY_BYTES, HEADER_BYTES, PAD_MULTIPLE_BYTES,
    PAGE_DESCRIPTOR_BYTES, PAGE_ENTRIES_MAX, PAGES_MAX, PARTS_MAX, SEAL_OVERHEAD_BYTES, WRAP_BYTES,
};
use super::locator::LOCATOR_SEALED_BYTES_MAX;
use super::manifest::ChecksumAlgorithm;

/// A checksum list with every algorithm once.
const CHECKSUMS_BYTES: usize = 1
    + CHECKSUMS_MAX * 2
    + ChecksumAlgorithm::Crc32.digest_bytes()
    + ChecksumAlgorithm::Crc32c.digest_bytes()
    + ChecksumAlgorithm::Crc64Nvme.digest_bytes()
    + ChecksumAlgorithm::Sha1.digest_bytes()
    + ChecksumAlgorithm::Sha256.digest_bytes();

/// The attributes: eight as long as they may be, and the checksums of the object; each behind its tag and length.
const ATTRIBUTES_BYTES: usize = 8 * (6 + ATTRIBUTE_BYTES_MAX) + 6 + CHECKSUMS_BYTES;

/// The parts: number, plaintext, checksums.
const PARTS_BYTES: usize = PARTS_MAX * (2 + 8 + CHECKSUMS_BYTES);

/// The longest record, less what it and its pages take for each entry and each page. A root's fixed fields are its totals,
/// register version, class, and four counts.
const FRONT_BYTES: usize = HEADER_BYTES
    + LOCATOR_SEALED_BYTES_MAX
    + WRAP_BYTES
    + COMMITMENT_BYTES
    + (8 + 8 + 4 + 2 + 4 + 2 + 2 + 2)
    + PARTS_BYTES
    + ATTRIBUTES_BYTES
    + (PAD_MULTIPLE_BYTES - 1)
    + SEAL_OVERHEAD_BYTES;

/// The most entries of a version whose record, pages included, is a blob of at most `blob_bytes`: with as many parts as there can
/// be, their checksums, and the longest names and metadata.
pub const fn record_entries_max(blob_bytes: u64) -> u64 {
    let entry = ENTRY_BYTES as u64;
    let around = (SEAL_OVERHEAD_BYTES + PAGE_DESCRIPTOR_BYTES) as u64;
    let page = PAGE_ENTRIES_MAX as u64 * entry + around;
    let left = blob_bytes.saturating_sub(FRONT_BYTES as u64);
    let (pages, rest) = (left / page, left % page);
    if pages >= PAGES_MAX as u64 {
        return (PAGES_MAX * PAGE_ENTRIES_MAX) as u64;
    }
    pages * PAGE_ENTRIES_MAX as u64 + rest.saturating_sub(around) / entry
}

#[cfg(test)]
mod tests {
    use super::super::labels::ROOT_BYTES_MAX;
    use super::*;

    #[test]
    fn the_root_of_such_a_record_is_within_its_own_limit() {
        const { assert!(FRONT_BYTES + PAGES_MAX * PAGE_DESCRIPTOR_BYTES <= ROOT_BYTES_MAX) };
    }

    #[test]
    fn a_blob_without_room_has_no_entries_and_a_huge_one_as_many_as_there_are_pages() {
        assert_eq!(record_entries_max(0), 0);
        assert_eq!(record_entries_max(FRONT_BYTES as u64), 0);
        assert_eq!(record_entries_max(u64::MAX), (PAGES_MAX * PAGE_ENTRIES_MAX) as u64);
    }
}
