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
    /// Opens what was fetched for this range where it lies, and answers where in it the wanted bytes are: a piece of each segment.
    /// After an error some segments are open; nothing of it may be used.
    pub fn open(&self, opener: &BodyOpener, fetched: &mut [u8]) -> Result<Vec<Range<usize>>, EnvelopeError> {
        let mut pieces = Vec::with_capacity(to_usize(self.segments.end - self.segments.start));
        let (mut start, mut skip, mut take) = (0, to_usize(self.skip_bytes), to_usize(self.take_bytes));
        for position in self.segments.clone() {
            let end = start + opener.segment_bytes(position)?;
            let segment = fetched.get_mut(start..end).ok_or(EnvelopeError::Truncated)?;
            let clear = opener.open_segment_in_place(position, segment)?;
            let from = clear.end.min(clear.start + skip);
            let to = clear.end.min(from.saturating_add(take));
            skip -= from - clear.start;
            take -= to - from;
            pieces.push(start + from..start + to);
            start = end;
        }
        if start < fetched.len() {
            return Err(EnvelopeError::TrailingBytes);
        }
        if skip > 0 || take > 0 {
            return Err(EnvelopeError::LengthMismatch { what: "range" });
        }
        Ok(pieces)
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
