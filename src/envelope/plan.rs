//! From a range of clear bytes to the least ciphertext that covers it, blob by blob.

use std::ops::Range;

use super::body::{BodyOpener, segment_count};
use super::error::EnvelopeError;
use super::labels::{FLOE_HEADER_BYTES, SEGMENT_BYTES, SEGMENT_PLAINTEXT_BYTES};
use super::manifest::{BlobEntry, Blobs, Root};
use super::pages::Page;

/// What to fetch of one blob, and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRange {
    /// The body.
    pub entry: BlobEntry,
    /// Bytes to fetch from the stored blob: whole segments, no more than needed.
    pub stored: Range<u64>,
    /// Their positions.
    pub segments: Range<u64>,
    /// Clear bytes of the first segment before the wanted ones.
    pub skip_bytes: u64,
    /// Wanted clear bytes.
    pub take_bytes: u64,
}

impl BlobRange {
    /// Opens what was fetched for this range and appends the wanted bytes to `out`, which is as before on error.
    pub fn open(&self, opener: &BodyOpener, fetched: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let start = out.len();
        let result = self.open_segments(opener, fetched, out);
        if result.is_err() {
            out.truncate(start);
            return result;
        }
        let (skip, take) = (to_usize(self.skip_bytes), to_usize(self.take_bytes));
        if out.len() - start < skip + take {
            out.truncate(start);
            return Err(EnvelopeError::LengthMismatch { what: "range" });
        }
        out.drain(start..start + skip);
        out.truncate(start + take);
        Ok(())
    }

    fn open_segments(
        &self,
        opener: &BodyOpener,
        mut fetched: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        for position in self.segments.clone() {
            let (segment, rest) =
                fetched.split_at_checked(opener.segment_bytes(position)?).ok_or(EnvelopeError::Truncated)?;
            opener.open_segment(position, segment, out)?;
            fetched = rest;
        }
        if fetched.is_empty() { Ok(()) } else { Err(EnvelopeError::TrailingBytes) }
    }
}

impl Root {
    /// The blobs to read for the clear bytes `range`, which must lie inside the object. For a root with pages: none; plan with
    /// each [`Page`] of [`super::PageTable::pages_for`] instead.
    ///
    /// An empty range of an object that has bodies yields nothing: there is nothing to fetch.
    pub fn plan(&self, range: &Range<u64>) -> Result<Vec<BlobRange>, EnvelopeError> {
        if range.start > range.end || range.end > self.plaintext_bytes {
            return Err(EnvelopeError::RangeOutside);
        }
        match &self.blobs {
            Blobs::Inline(entries) => Ok(plan(entries, 0, range)),
            Blobs::Paged(_) => Ok(Vec::new()),
        }
    }
}

impl Page {
    /// The blobs of this page to read for the clear bytes `range` of the object.
    pub fn plan(&self, range: &Range<u64>) -> Vec<BlobRange> {
        plan(&self.entries, self.first_plaintext_offset, range)
    }
}

impl BlobEntry {
    /// What to fetch for the clear bytes `range` of this body; an empty range fetches nothing.
    pub fn plan(&self, range: &Range<u64>) -> Option<BlobRange> {
        let end = range.end.min(u64::from(self.plaintext_bytes));
        if range.start >= end {
            return None;
        }
        let segment = SEGMENT_PLAINTEXT_BYTES as u64;
        let segments = range.start / segment..end.div_ceil(segment);
        Some(BlobRange {
            entry: *self,
            stored: self.stored_segment(segments.start)..self.stored_segment(segments.end),
            skip_bytes: range.start - segments.start * segment,
            take_bytes: end - range.start,
            segments,
        })
    }

    /// Where the segment at `position` starts in the stored blob; the blob's end for a position behind the last.
    fn stored_segment(&self, position: u64) -> u64 {
        if position >= segment_count(self.sealed_plaintext_bytes()) {
            return self.stored_bytes();
        }
        u64::from(self.body_offset_bytes) + FLOE_HEADER_BYTES as u64 + position * SEGMENT_BYTES as u64
    }
}

fn plan(entries: &[BlobEntry], first_offset: u64, range: &Range<u64>) -> Vec<BlobRange> {
    let mut offset = first_offset;
    let mut planned = Vec::new();
    for entry in entries {
        let inside = range.start.saturating_sub(offset)..range.end.saturating_sub(offset);
        planned.extend(entry.plan(&inside));
        offset = offset.saturating_add(u64::from(entry.plaintext_bytes));
    }
    planned
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
