//! What a manifest says: the version's facts, its bodies, its parts. The bytes are in `manifest_codec`, the pages in `pages`.

use std::fmt;

use super::error::EnvelopeError;
use super::floe::FloeHeader;
use super::pages::PageTable;

/// Functions whose digests S3 clients send. The discriminant is the code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32, 4 bytes.
    Crc32 = 1,
    /// CRC-32C, 4 bytes.
    Crc32c = 2,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme = 3,
    /// SHA-1, 20 bytes.
    Sha1 = 4,
    /// SHA-256, 32 bytes.
    Sha256 = 5,
}

impl ChecksumAlgorithm {
    /// The digest's length in bytes.
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// Over what a checksum was computed. The discriminant is the code on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumKind {
    /// The whole.
    FullObject = 1,
    /// The checksums of the parts.
    Composite = 2,
}

/// A digest of clear bytes: sealed, never in clear.
#[derive(Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Which function.
    pub algorithm: ChecksumAlgorithm,
    /// Over what.
    pub kind: ChecksumKind,
    /// Exactly [`ChecksumAlgorithm::digest_bytes`] long.
    pub digest: Box<[u8]>,
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checksum")
            .field("algorithm", &self.algorithm)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// One S3 part of a multipart version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Part number; ascending, not necessarily without gaps.
    pub number: u16,
    /// Clear length.
    pub plaintext_bytes: u64,
    /// What the client sent and was verified.
    pub checksums: Vec<Checksum>,
}

/// The HTTP headers kept with an object.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ContentHeaders {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`.
    pub expires: Option<String>,
}

/// What the caller says of a version; the envelope adds the bodies.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the data register that the class was decided by.
    pub register_version: u32,
    /// Entity tag, unquoted.
    pub entity_tag: String,
    /// Parts; empty for an object written in one piece.
    pub parts: Vec<Part>,
    /// Content headers.
    pub content: ContentHeaders,
    /// User metadata: names without prefix, in the order sent.
    pub user_metadata: Vec<(String, String)>,
    /// Checksums of the whole object.
    pub checksums: Vec<Checksum>,
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manifest({} parts, ..)", self.parts.len())
    }
}

/// Where one body of a version is, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// The stored blob.
    pub blob: [u8; 16],
    /// The body's ordinal; strictly ascending in a manifest.
    pub ordinal: u32,
    /// Clear bytes of the object in it.
    pub plaintext_bytes: u32,
    /// Zeros sealed behind them to hide the length.
    pub padding_bytes: u32,
    /// Where the FLOE body starts in the stored blob.
    pub body_offset_bytes: u32,
    /// The body's FLOE header: pins key, IV and parameters, so an older body cannot take its place.
    pub floe_header: FloeHeader,
}

impl BlobEntry {
    /// Clear bytes and padding together: what the FLOE body seals.
    pub fn sealed_plaintext_bytes(&self) -> u64 {
        u64::from(self.plaintext_bytes) + u64::from(self.padding_bytes)
    }

    /// Length of the FLOE body.
    pub fn body_bytes(&self) -> u64 {
        super::body::body_bytes(self.sealed_plaintext_bytes())
    }

    /// Length of the stored blob.
    pub fn stored_bytes(&self) -> u64 {
        u64::from(self.body_offset_bytes) + self.body_bytes()
    }
}

/// An opened root: everything but the entries of the pages, if there are pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// What the writer said.
    pub manifest: Manifest,
    /// Clear length of the version.
    pub plaintext_bytes: u64,
    /// Padding in all bodies together.
    pub padding_bytes: u64,
    /// How many bodies the version has; at least one.
    pub blob_count: u32,
    /// The entries, or where their pages are.
    pub blobs: Blobs,
}

/// The bodies of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blobs {
    /// Few enough to stand in the root.
    Inline(Vec<BlobEntry>),
    /// In pages behind the root in the stored record.
    Paged(PageTable),
}

/// Sums over entries, checked while they are read or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) plaintext_bytes: u64,
    pub(super) padding_bytes: u64,
}

impl Totals {
    pub(super) fn of(entries: &[BlobEntry]) -> Result<Self, EnvelopeError> {
        let mut totals = Self::default();
        for entry in entries {
            totals.plaintext_bytes += u64::from(entry.plaintext_bytes);
            totals.padding_bytes += u64::from(entry.padding_bytes);
        }
        if entries.windows(2).any(|pair| pair[0].ordinal >= pair[1].ordinal) {
            return Err(EnvelopeError::InvalidManifest { field: "ordinals" });
        }
        Ok(totals)
    }
}
