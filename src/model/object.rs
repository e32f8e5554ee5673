//! What S3 knows of an object beside its bytes.

use std::fmt;
use std::str::FromStr;

use super::entropy::{Entropy, EntropyError};
use super::names::InvalidName;

/// Names and values of user metadata together, in bytes (S3 User Guide, "Working with object metadata").
pub const USER_METADATA_BYTES_MAX: usize = 2048;

/// User metadata under this prefix (after `x-amz-meta-`) speaks to terroir: `terroir-class`, `terroir-subject`.
pub const SYSTEM_METADATA_PREFIX: &str = "terroir-";

/// An entity tag: 32 random lowercase hex digits and `-parts`, where an object written in one piece has one part.
///
/// Random, not a digest: a digest of a short record in clear can be guessed at millions of tries a second. Always with
/// `-parts`: a tag of 32 hex digits alone is an MD5 to clients that look (rclone compares it with the file's and reports
/// corruption), and S3's own tags of this form never are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(Box<str>);

impl ETag {
    /// A fresh tag for an object written in one piece.
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Self::random_multipart(entropy, 1)
    }

    /// A fresh tag for an object completed from `parts` parts.
    pub fn random_multipart(entropy: &dyn Entropy, parts: usize) -> Result<Self, EntropyError> {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes)?;
        Ok(Self(format!("{}-{parts}", hex::encode(bytes)).into()))
    }

    /// The tag without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ETag {
    type Err = InvalidName;

    /// Parses the unquoted form.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = InvalidName::new(
            "entity tag",
            "must be 32 lowercase hex digits, with -parts for multipart objects",
        );
        let (hex, parts) = text.split_once('-').map_or((text, None), |(hex, parts)| (hex, Some(parts)));
        let hex_ok = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let parts_ok =
            parts.is_none_or(|p| (1..=5).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
        if hex_ok && parts_ok { Ok(Self(text.into())) } else { Err(invalid) }
    }
}

impl fmt::Display for ETag {
    /// The quoted form, as in the `ETag` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// The five checksums S3 clients send (S3 User Guide, "Checking object integrity").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32,
    /// CRC-32C (Castagnoli, RFC 3720), 4 bytes.
    Crc32c,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

impl ChecksumAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

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

/// Over what a checksum was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumKind {
    /// Over the whole object's bytes.
    FullObject,
    /// Over the parts' checksums.
    Composite,
}

/// A checksum of clear bytes. It is stored sealed: a digest of a short record in clear gives the record away.
#[derive(Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Which function.
    pub algorithm: ChecksumAlgorithm,
    /// Over what.
    pub kind: ChecksumKind,
    /// The digest, exactly [`ChecksumAlgorithm::digest_bytes`] long.
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

/// The HTTP headers S3 stores with an object and gives back unchanged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ContentHeaders {
    /// `Content-Type`; S3 answers `binary/octet-stream` where none was given.
    pub content_type: Option<String>,
    /// `Content-Encoding`, less the `aws-chunked` framing.
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as it was written.
    pub expires: Option<String>,
}

/// `x-amz-meta-*`: names lowercase without the prefix, in the order sent, values as decoded text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserMetadata(pub Vec<(String, String)>);

impl UserMetadata {
    /// The first value under `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Bytes of names and values, what [`USER_METADATA_BYTES_MAX`] bounds.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(n, v)| n.len() + v.len()).sum()
    }
}

// Metadata names patients; neither type may reach a log.
impl fmt::Debug for ContentHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentHeaders(..)")
    }
}

impl fmt::Debug for UserMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserMetadata({} entries)", self.0.len())
    }
}

/// Everything about a record that is sealed with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Content headers.
    pub content: ContentHeaders,
    /// User metadata.
    pub user: UserMetadata,
    /// Checksums the client sent and we verified.
    pub checksums: Vec<Checksum>,
}
