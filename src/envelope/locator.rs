//! The locator: what a blob is the bytes of, sealed under a key derived from the KEK, its length hidden.

use std::fmt;

use zeroize::Zeroizing;

use super::cipher::{open_small, seal_small};
use super::codec::{Reader, Writer, padding_is_canonical};
use super::derive::derive;
use super::error::{EnvelopeError, Random};
use super::header::Header;
use super::keys::Kek;
use super::labels::{
    BUCKET_BYTES_MAX, HEADER_BYTES, KEY_BYTES, LABEL_LOCATOR, OBJECT_KEY_BYTES_MAX, PAD_MULTIPLE_BYTES,
    S3_VERSION_BYTES_MAX, SEAL_OVERHEAD_BYTES, SUBJECT_BYTES_MAX,
};

/// Bytes of a locator's fixed fields and length prefixes.
const FIXED_BYTES: usize = 1 + 2 + 1 + 1 + 8 + 2;
/// Longest sealed locator.
pub(super) const LOCATOR_SEALED_BYTES_MAX: usize =
    (FIXED_BYTES + BUCKET_BYTES_MAX + OBJECT_KEY_BYTES_MAX + S3_VERSION_BYTES_MAX + SUBJECT_BYTES_MAX)
        .next_multiple_of(PAD_MULTIPLE_BYTES)
        + SEAL_OVERHEAD_BYTES;

/// What a blob is the bytes of. Never in a log: `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Locator {
    /// Bucket name, 1 to 63 bytes.
    pub bucket: String,
    /// Object key, 1 to 1,024 bytes.
    pub key: Vec<u8>,
    /// The version id S3 clients see, up to 64 bytes; empty where none was assigned yet.
    pub s3_version: String,
    /// Whether it is the `null` version.
    pub null_version: bool,
    /// When the write began, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_ms: u64,
    /// The person concerned, up to 256 bytes; empty for none.
    pub subject: Vec<u8>,
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locator(..)")
    }
}

impl Locator {
    /// Length of this locator sealed.
    pub fn sealed_bytes(&self) -> usize {
        let names = self.bucket.len() + self.key.len() + self.s3_version.len() + self.subject.len();
        (FIXED_BYTES + names).next_multiple_of(PAD_MULTIPLE_BYTES) + SEAL_OVERHEAD_BYTES
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        let mut writer = Writer::with_capacity(self.sealed_bytes());
        if self.bucket.is_empty() || self.key.is_empty() {
            return Err(EnvelopeError::InvalidLocator { field: "name" });
        }
        writer.short(self.bucket.as_bytes(), BUCKET_BYTES_MAX, "bucket")?;
        writer.long(&self.key, OBJECT_KEY_BYTES_MAX, "key")?;
        writer.short(self.s3_version.as_bytes(), S3_VERSION_BYTES_MAX, "version id")?;
        writer.u8(u8::from(self.null_version));
        writer.u64(self.created_ms);
        writer.long(&self.subject, SUBJECT_BYTES_MAX, "subject")?;
        writer.pad_to_multiple(PAD_MULTIPLE_BYTES);
        Ok(writer.into_vec())
    }

    pub(super) fn decode(clear: &[u8]) -> Result<Self, EnvelopeError> {
        let invalid = |field| EnvelopeError::InvalidLocator { field };
        let mut reader = Reader::new(clear);
        let bucket = bounded(&mut reader, Prefix::Short, 1..=BUCKET_BYTES_MAX).ok_or(invalid("bucket"))?;
        let key = bounded(&mut reader, Prefix::Long, 1..=OBJECT_KEY_BYTES_MAX).ok_or(invalid("key"))?;
        let s3_version =
            bounded(&mut reader, Prefix::Short, 0..=S3_VERSION_BYTES_MAX).ok_or(invalid("version id"))?;
        let null_version = match reader.u8() {
            Ok(0) => false,
            Ok(1) => true,
            _ => return Err(invalid("null flag")),
        };
        let created_ms = reader.u64().map_err(|_| invalid("created"))?;
        let subject = bounded(&mut reader, Prefix::Long, 0..=SUBJECT_BYTES_MAX).ok_or(invalid("subject"))?;
        if !padding_is_canonical(reader.rest(), PAD_MULTIPLE_BYTES) {
            return Err(invalid("padding"));
        }
        Ok(Self {
            bucket: String::from_utf8(bucket).map_err(|_| invalid("bucket"))?,
            key,
            s3_version: String::from_utf8(s3_version).map_err(|_| invalid("version id"))?,
            null_version,
            created_ms,
            subject,
        })
    }
}

#[derive(Clone, Copy)]
enum Prefix {
    Short,
    Long,
}

fn bounded(
    reader: &mut Reader<'_>,
    prefix: Prefix,
    allowed: std::ops::RangeInclusive<usize>,
) -> Option<Vec<u8>> {
    let length = match prefix {
        Prefix::Short => usize::from(reader.u8().ok()?),
        Prefix::Long => usize::from(reader.u16().ok()?),
    };
    if !allowed.contains(&length) {
        return None;
    }
    reader.bytes(length).ok().map(<[u8]>::to_vec)
}

/// Seals `locator` behind `header`, whose bytes are the associated data.
pub(super) fn seal_locator(
    kek: &Kek,
    header: &Header,
    header_bytes: &[u8; HEADER_BYTES],
    locator: &Locator,
    random: &mut Random<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    seal_small(&*locator_key(kek, header)?, header_bytes, locator.encode()?, random)
}

/// Opens the locator behind `header`.
pub(super) fn open_locator(
    kek: &Kek,
    header: &Header,
    header_bytes: &[u8],
    sealed: &[u8],
) -> Result<Locator, EnvelopeError> {
    let clear = open_small(&*locator_key(kek, header)?, header_bytes, sealed, EnvelopeError::LocatorAuth)?;
    Locator::decode(&clear)
}

fn locator_key(kek: &Kek, header: &Header) -> Result<Zeroizing<[u8; KEY_BYTES]>, EnvelopeError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let mut salt = [0; 32];
    salt[..16].copy_from_slice(&header.binding.version);
    salt[16..].copy_from_slice(&header.blob);
    derive(&[kek.key()], &salt, &[LABEL_LOCATOR, &[0], &header.binding.context()], key.as_mut())?;
    Ok(key)
}
