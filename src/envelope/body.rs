//! Bodies: clear bytes in as they arrive, one FLOE ciphertext out, with room in front for the blob's head; and back, segment by segment.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::cipher::Implementation;
use super::error::{EnvelopeError, Random, random_bytes};
use super::floe::{FloeHeader, Message, Params, SEGMENT_FRONT_BYTES};
use super::keys::Dek;
use super::labels::{
    BLOB_PLAINTEXT_BYTES_MAX, FLOE_HEADER_BYTES, SEGMENT_BYTES, SEGMENT_OVERHEAD_BYTES,
    SEGMENT_PLAINTEXT_BYTES, TAG_BYTES,
};
use super::manifest::BlobEntry;

/// Length of the FLOE body of `plaintext_bytes` (padding included): 74 + p + 32 · max(1, ⌈p / 65,536⌉).
pub const fn body_bytes(plaintext_bytes: u64) -> u64 {
    FLOE_HEADER_BYTES as u64
        + plaintext_bytes
        + SEGMENT_OVERHEAD_BYTES as u64 * segment_count(plaintext_bytes)
}

/// How many segments a body of `plaintext_bytes` has: at least one.
pub const fn segment_count(plaintext_bytes: u64) -> u64 {
    if plaintext_bytes == 0 { 1 } else { plaintext_bytes.div_ceil(SEGMENT_PLAINTEXT_BYTES as u64) }
}

/// Seals a body while it arrives. One copy, from the caller's bytes into the blob; none at all for whole segments pushed at once.
pub struct BodySealer {
    message: Message,
    floe_header: FloeHeader,
    blob: [u8; 16],
    ordinal: u32,
    version: [u8; 16],
    headroom_bytes: usize,
    /// Headroom, FLOE header, sealed segments, and the segment being filled (its first 16 bytes reserved).
    buffer: Vec<u8>,
    segment_start: usize,
    position: u64,
    plaintext_bytes: usize,
    /// An earlier call failed: lengths and segments may no longer agree.
    broken: bool,
}

impl BodySealer {
    /// Starts the body of `blob`, the `ordinal`th of its version. `headroom_bytes` are kept free in front for what
    /// [`super::Sealer`] writes there ([`super::Sealer::headroom_bytes`]); `expected_bytes` of plaintext and padding get
    /// their memory at once, more is allowed and makes the buffer grow.
    pub fn new(
        dek: &Dek,
        blob: [u8; 16],
        ordinal: u32,
        headroom_bytes: usize,
        expected_bytes: usize,
        random: &mut Random<'_>,
    ) -> Result<Self, EnvelopeError> {
        let aad = body_aad(&dek.binding().version, &blob, ordinal);
        let iv = random_bytes(random)?;
        let (message, floe_header) =
            Message::seal(Implementation::AwsLc, Params::BODY, &*dek.body_key()?, iv, &aad)?;
        let expected_bytes = expected_bytes.min(BLOB_PLAINTEXT_BYTES_MAX);
        let body_capacity = usize::try_from(body_bytes(expected_bytes as u64)).unwrap_or(usize::MAX);
        let mut buffer = Vec::with_capacity(headroom_bytes.saturating_add(body_capacity));
        buffer.resize(headroom_bytes, 0);
        buffer.extend_from_slice(floe_header.as_bytes());
        let segment_start = buffer.len();
        buffer.extend_from_slice(&[0; SEGMENT_FRONT_BYTES]);
        let version = dek.binding().version;
        Ok(Self {
            message,
            floe_header,
            blob,
            ordinal,
            version,
            headroom_bytes,
            buffer,
            segment_start,
            position: 0,
            plaintext_bytes: 0,
            broken: false,
        })
    }

    /// Clear bytes taken so far.
    pub const fn plaintext_bytes(&self) -> usize {
        self.plaintext_bytes
    }

    /// Memory held, in bytes.
    pub const fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Takes the next clear bytes. After an error (no random bytes; more than [`BLOB_PLAINTEXT_BYTES_MAX`]) every further call fails.
    pub fn push(&mut self, clear: &[u8], random: &mut Random<'_>) -> Result<(), EnvelopeError> {
        if self.broken {
            return Err(EnvelopeError::Cipher);
        }
        let result = self.take(clear, random);
        self.broken = result.is_err();
        result
    }

    fn take(&mut self, mut clear: &[u8], random: &mut Random<'_>) -> Result<(), EnvelopeError> {
        if clear.len() > BLOB_PLAINTEXT_BYTES_MAX - self.plaintext_bytes {
            return Err(EnvelopeError::LimitExceeded { what: "blob" });
        }
        self.plaintext_bytes += clear.len();
        while !clear.is_empty() {
            // A full segment is sealed only when another byte follows: before that it may be the last.
            if self.filled_bytes() == SEGMENT_PLAINTEXT_BYTES {
                self.seal_filled(false, random)?;
                self.buffer.extend_from_slice(&[0; SEGMENT_FRONT_BYTES]);
            }
            if self.filled_bytes() == 0 && clear.len() > SEGMENT_PLAINTEXT_BYTES {
                let (segment, rest) = clear.split_at(SEGMENT_PLAINTEXT_BYTES);
                self.seal_directly(segment, random)?;
                clear = rest;
            } else {
                let room = SEGMENT_PLAINTEXT_BYTES - self.filled_bytes();
                let (taken, rest) = clear.split_at(room.min(clear.len()));
                self.buffer.extend_from_slice(taken);
                clear = rest;
            }
        }
        Ok(())
    }

    /// Adds `padding_bytes` zeros that are not part of the object, and seals the last segment.
    pub fn finish(
        mut self,
        padding_bytes: usize,
        random: &mut Random<'_>,
    ) -> Result<SealedBody, EnvelopeError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let plaintext_bytes = self.plaintext_bytes;
        if self.broken {
            return Err(EnvelopeError::Cipher);
        }
        let mut left = padding_bytes;
        while left > 0 {
            let some = left.min(ZEROS.len());
            self.push(&ZEROS[..some], random)?;
            left -= some;
        }
        self.seal_filled(true, random)?;
        let length = |bytes: usize| super::codec::length_u32(bytes, "blob");
        Ok(SealedBody {
            buffer: self.buffer,
            headroom_bytes: self.headroom_bytes,
            version: self.version,
            entry: BlobEntry {
                blob: self.blob,
                ordinal: self.ordinal,
                plaintext_bytes: length(plaintext_bytes)?,
                padding_bytes: length(padding_bytes)?,
                body_offset_bytes: 0,
                floe_header: self.floe_header,
            },
        })
    }

    fn filled_bytes(&self) -> usize {
        self.buffer.len() - self.segment_start - SEGMENT_FRONT_BYTES
    }

    fn seal_filled(&mut self, last: bool, random: &mut Random<'_>) -> Result<(), EnvelopeError> {
        let nonce = random_bytes(random)?;
        self.buffer.extend_from_slice(&[0; TAG_BYTES]);
        let segment = self.buffer.get_mut(self.segment_start..).ok_or(EnvelopeError::Cipher)?;
        self.message.seal_in_place(self.position, last, &nonce, segment)?;
        self.next_segment();
        Ok(())
    }

    /// Seals a whole segment that is not the last out of the caller's bytes: half the memory traffic of copying it first.
    fn seal_directly(&mut self, clear: &[u8], random: &mut Random<'_>) -> Result<(), EnvelopeError> {
        let nonce = random_bytes(random)?;
        self.buffer.resize(self.segment_start + SEGMENT_BYTES, 0);
        let segment = self.buffer.get_mut(self.segment_start..).ok_or(EnvelopeError::Cipher)?;
        self.message.seal_into(self.position, false, &nonce, clear, segment)?;
        self.next_segment();
        self.buffer.extend_from_slice(&[0; SEGMENT_FRONT_BYTES]);
        Ok(())
    }

    fn next_segment(&mut self) {
        self.position += 1;
        self.segment_start = self.buffer.len();
    }
}

impl fmt::Debug for BodySealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodySealer({}, {} bytes)", hex::encode(self.blob), self.plaintext_bytes)
    }
}

/// A finished body that still lacks its blob's head. Only [`super::Sealer`] turns it into something to store.
pub struct SealedBody {
    buffer: Vec<u8>,
    headroom_bytes: usize,
    version: [u8; 16],
    entry: BlobEntry,
}

impl SealedBody {
    /// Clear bytes of the object in it.
    pub const fn plaintext_bytes(&self) -> u32 {
        self.entry.plaintext_bytes
    }

    /// Zeros sealed behind them.
    pub const fn padding_bytes(&self) -> u32 {
        self.entry.padding_bytes
    }

    /// Length of the FLOE body.
    pub fn body_bytes(&self) -> usize {
        self.buffer.len() - self.headroom_bytes
    }

    /// Its FLOE header.
    pub const fn floe_header(&self) -> &FloeHeader {
        &self.entry.floe_header
    }

    pub(super) const fn version(&self) -> &[u8; 16] {
        &self.version
    }

    /// The entry, with the offset at which the body will stand.
    pub(super) fn entry_at(&self, body_offset_bytes: usize) -> Result<BlobEntry, EnvelopeError> {
        let body_offset_bytes = super::codec::length_u32(body_offset_bytes, "body offset")?;
        Ok(BlobEntry { body_offset_bytes, ..self.entry })
    }

    /// The blob: `head`, then the body. No copy of the body if the headroom is large enough.
    pub(super) fn behind(mut self, head: &[u8]) -> Bytes {
        if let Some(start) = self.headroom_bytes.checked_sub(head.len()) {
            self.buffer[start..self.headroom_bytes].copy_from_slice(head);
            return Bytes::from(self.buffer).slice(start..);
        }
        let body = &self.buffer[self.headroom_bytes..];
        let mut blob = Vec::with_capacity(head.len() + body.len());
        blob.extend_from_slice(head);
        blob.extend_from_slice(body);
        Bytes::from(blob)
    }
}

impl fmt::Debug for SealedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedBody({}, {} bytes)", hex::encode(self.entry.blob), self.body_bytes())
    }
}

/// Opens segments of one body, in any order. Made only once the FLOE header tag was found right.
pub struct BodyOpener {
    message: Message,
    entry: BlobEntry,
    segments: u64,
}

impl BodyOpener {
    /// Checks the FLOE header in `entry` against the version's key and the entry's own identity.
    pub fn new(dek: &Dek, entry: &BlobEntry, implementation: Implementation) -> Result<Self, EnvelopeError> {
        #[cfg(feature = "testing")]
        super::testing::may_open(implementation, &entry.blob)?;
        let aad = body_aad(&dek.binding().version, &entry.blob, entry.ordinal);
        let message =
            Message::open(implementation, Params::BODY, &*dek.body_key()?, &entry.floe_header, &aad)?;
        Ok(Self { message, entry: *entry, segments: segment_count(entry.sealed_plaintext_bytes()) })
    }

    /// How many segments the body has.
    pub const fn segments(&self) -> u64 {
        self.segments
    }

    /// Length of the segment at `position`, sealed; an error if there is none.
    pub fn segment_bytes(&self, position: u64) -> Result<usize, EnvelopeError> {
        let last = self.is_last(position)?;
        if !last {
            return Ok(SEGMENT_BYTES);
        }
        let before = position * SEGMENT_PLAINTEXT_BYTES as u64;
        let left = self.entry.sealed_plaintext_bytes() - before;
        Ok(usize::try_from(left).unwrap_or(usize::MAX) + SEGMENT_OVERHEAD_BYTES)
    }

    /// Opens the segment at `position` and appends its clear bytes, less padding, to `out`. On error `out` is as before.
    pub fn open_segment(&self, position: u64, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let last = self.check(position, sealed.len())?;
        let start = out.len();
        out.resize(start + sealed.len() - SEGMENT_OVERHEAD_BYTES, 0);
        let opened = out
            .get_mut(start..)
            .ok_or(EnvelopeError::Cipher)
            .and_then(|clear| self.message.open_into(position, last, sealed, clear));
        let keep = if opened.is_ok() { self.clear_bytes(position) } else { 0 };
        out.truncate(start + keep);
        opened
    }

    /// Opens the segment at `position` where it lies and returns where in it the clear bytes, less padding, are. On error the
    /// segment is wiped or untouched, never half opened.
    pub fn open_segment_in_place(
        &self,
        position: u64,
        sealed: &mut [u8],
    ) -> Result<Range<usize>, EnvelopeError> {
        let last = self.check(position, sealed.len())?;
        self.message.open_in_place(position, last, sealed)?;
        Ok(SEGMENT_FRONT_BYTES..SEGMENT_FRONT_BYTES + self.clear_bytes(position))
    }

    /// Opens a whole body, FLOE header included, and appends its clear bytes to `out`. For small bodies.
    pub fn open_body(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        self.each_segment(body, |position, segment| self.open_segment(position, segment, out))
    }

    /// Opens a whole body, FLOE header included, and keeps none of it: memory for one clear segment, which is wiped.
    pub fn verify_body(&self, body: &[u8]) -> Result<(), EnvelopeError> {
        let mut clear = Zeroizing::new(Vec::with_capacity(SEGMENT_PLAINTEXT_BYTES));
        self.each_segment(body, |position, segment| {
            clear.clear();
            self.open_segment(position, segment, &mut clear)
        })
    }

    fn each_segment(
        &self,
        body: &[u8],
        mut open: impl FnMut(u64, &[u8]) -> Result<(), EnvelopeError>,
    ) -> Result<(), EnvelopeError> {
        let expected = self.entry.body_bytes();
        match (body.len() as u64).cmp(&expected) {
            std::cmp::Ordering::Less => return Err(EnvelopeError::Truncated),
            std::cmp::Ordering::Greater => return Err(EnvelopeError::TrailingBytes),
            std::cmp::Ordering::Equal => {}
        }
        let (header, mut segments) = body.split_at(FLOE_HEADER_BYTES);
        // The stored copy is redundant with the manifest's, but a changed byte of a blob must never pass unseen.
        if header != self.entry.floe_header.as_bytes() {
            return Err(EnvelopeError::HeaderTag);
        }
        for position in 0..self.segments {
            let (segment, rest) =
                segments.split_at_checked(self.segment_bytes(position)?).ok_or(EnvelopeError::Truncated)?;
            open(position, segment)?;
            segments = rest;
        }
        Ok(())
    }

    fn is_last(&self, position: u64) -> Result<bool, EnvelopeError> {
        if position < self.segments {
            Ok(position + 1 == self.segments)
        } else {
            Err(EnvelopeError::SegmentOrder { position })
        }
    }

    fn check(&self, position: u64, sealed_bytes: usize) -> Result<bool, EnvelopeError> {
        let last = self.is_last(position)?;
        match sealed_bytes.cmp(&self.segment_bytes(position)?) {
            std::cmp::Ordering::Less => Err(EnvelopeError::Truncated),
            std::cmp::Ordering::Greater => Err(EnvelopeError::TrailingBytes),
            std::cmp::Ordering::Equal => Ok(last),
        }
    }

    /// Bytes of the object, not padding, in the segment at `position`.
    fn clear_bytes(&self, position: u64) -> usize {
        let before = position * SEGMENT_PLAINTEXT_BYTES as u64;
        let left = u64::from(self.entry.plaintext_bytes).saturating_sub(before);
        usize::try_from(left).unwrap_or(usize::MAX).min(SEGMENT_PLAINTEXT_BYTES)
    }
}

impl fmt::Debug for BodyOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyOpener({}, {} segments)", hex::encode(self.entry.blob), self.segments)
    }
}

/// What a body's FLOE ciphertext is bound to: version, blob, ordinal.
fn body_aad(version: &[u8; 16], blob: &[u8; 16], ordinal: u32) -> [u8; 36] {
    let mut aad = [0; 36];
    aad[..16].copy_from_slice(version);
    aad[16..32].copy_from_slice(blob);
    aad[32..].copy_from_slice(&ordinal.to_be_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Binding, Kek, Locator, Manifest, Sealer};

    fn dek() -> Dek {
        let slug = |text: &str| text.parse().unwrap();
        let (environment, region) = (slug("test"), slug("fr"));
        let binding = Binding { environment, region, tenant: [1; 16], class: 1, version: [2; 16] };
        Dek::generate(binding, &mut counting()).unwrap()
    }

    fn counting() -> impl FnMut(&mut [u8]) -> Result<(), crate::envelope::RandomFailed> {
        let mut next = 0_u8;
        move |out| {
            next = next.wrapping_add(1);
            out.fill(next);
            Ok(())
        }
    }

    #[test]
    fn a_body_of_the_expected_length_is_neither_moved_nor_copied() {
        let dek = dek();
        let kek = Kek::new([3; 16], 1, 0, Zeroizing::new([4; 32]));
        let locator = Locator {
            bucket: "b".into(),
            key: b"k".to_vec(),
            s3_version: String::new(),
            null_version: true,
            created_ms: 0,
            subject: Vec::new(),
        };
        let sealer = Sealer { dek: &dek, kek: &kek, subject_key: None, locator: &locator };
        let manifest = Manifest { entity_tag: "0".repeat(32), ..Manifest::default() };
        for (bytes, piece) in [(0, 1), (65_536, 4_096), (200_000, 1_500), (200_000, 200_000)] {
            let random = &mut counting();
            let headroom = sealer.headroom_bytes(Some(&manifest));
            let mut body = BodySealer::new(&dek, [5; 16], 0, headroom, bytes, random).unwrap();
            let (start, capacity) = (body.buffer.as_ptr(), body.capacity_bytes());
            for clear in vec![7; bytes].chunks(piece) {
                body.push(clear, random).unwrap();
            }
            assert_eq!((body.buffer.as_ptr(), body.capacity_bytes()), (start, capacity), "the buffer grew");
            let body = body.finish(0, random).unwrap();
            assert_eq!(body.buffer.len(), body.buffer.capacity(), "exactly as long as foreseen");
            let sealed_at = body.buffer[headroom..].as_ptr();
            let version = sealer.version_with_body(manifest.clone(), body, random).unwrap();
            let record_bytes = version.record.as_bytes().len();
            assert!(record_bytes <= headroom, "{record_bytes} > {headroom}");
            assert_eq!(version.blob.as_bytes()[record_bytes..].as_ptr(), sealed_at, "the body was copied");
        }
    }

    #[test]
    fn the_headroom_foreseen_holds_any_record_of_that_metadata() {
        let dek = dek();
        let kek = Kek::new([3; 16], 1, 0, Zeroizing::new([4; 32]));
        let locator = Locator {
            bucket: "bucket".into(),
            key: vec![b'k'; 1_024],
            s3_version: "v".repeat(64),
            null_version: false,
            created_ms: 1,
            subject: vec![b's'; 256],
        };
        let sealer = Sealer { dek: &dek, kek: &kek, subject_key: None, locator: &locator };
        let sha256 = crate::envelope::Checksum {
            algorithm: crate::envelope::ChecksumAlgorithm::Sha256,
            kind: crate::envelope::ChecksumKind::FullObject,
            digest: [0; 32].into(),
        };
        for text_bytes in [0, 1, 100, 255, 256, 2_000] {
            let mut manifest = Manifest { entity_tag: "0".repeat(32), ..Manifest::default() };
            manifest.user_metadata = vec![("n".repeat(text_bytes), "v".repeat(text_bytes))];
            manifest.content.content_type = Some("t".repeat(text_bytes));
            let headroom = sealer.headroom_bytes(Some(&manifest));
            // Checksums become known when the body has ended.
            manifest.checksums = vec![sha256.clone(); 5];
            let random = &mut counting();
            let body =
                BodySealer::new(&dek, [5; 16], 0, headroom, 0, random).unwrap().finish(0, random).unwrap();
            let version = sealer.version_with_body(manifest, body, random).unwrap();
            assert!(version.record.as_bytes().len() <= headroom, "{text_bytes}");
        }
    }
}
