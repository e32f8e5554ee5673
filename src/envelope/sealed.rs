//! `Sealed`: bytes that only the envelope can have made, so a store that takes nothing else never holds plaintext.

use std::fmt;

use bytes::Bytes;

use super::error::EnvelopeError;
use super::header::{Header, Kind};

/// One stored blob, complete. It has no public constructor, so plaintext cannot be passed off as one:
///
/// ```compile_fail,E0624
/// use terroir::envelope::{Header, Sealed};
/// fn stored(header: &Header) -> Sealed {
///     Sealed::new(bytes::Bytes::from_static(b"plaintext"), header).unwrap()
/// }
/// ```
///
/// The same with something the envelope sealed:
///
/// ```
/// use terroir::envelope::{SealedVersion, Sealed};
/// fn stored(version: SealedVersion) -> Sealed {
///     version.blob
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    bytes: Bytes,
    blob: [u8; 16],
    kind: Kind,
}

impl Sealed {
    /// Takes what the envelope has just sealed behind `header`.
    pub(super) fn new(bytes: Bytes, header: &Header) -> Result<Self, EnvelopeError> {
        header.check_stored_bytes(bytes.len() as u64)?;
        Ok(Self { bytes, blob: header.blob, kind: header.kind })
    }

    /// What a test of a store says was sealed: any bytes, of any length.
    #[cfg(feature = "testing")]
    pub fn for_tests(blob: [u8; 16], bytes: Bytes) -> Self {
        Self { bytes, blob, kind: Kind::Body }
    }

    /// Length in the store.
    #[expect(clippy::len_without_is_empty, reason = "never empty: it starts with a header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes to store, without copying.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The blob's identity, as its header says.
    pub const fn blob(&self) -> &[u8; 16] {
        &self.blob
    }

    /// What it holds.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {:?}, {} bytes)", hex::encode(self.blob), self.kind, self.bytes.len())
    }
}

/// A sealed record as the index keeps it: header, locator, wrapped DEK, commitment, root; no pages, no body.
#[derive(Clone, PartialEq, Eq)]
pub struct Record(Bytes);

impl Record {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, without copying. In a blob of kind `RecordAndBody` they share the body's memory.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} bytes)", self.0.len())
    }
}
