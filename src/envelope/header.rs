//! The clear header: what anybody can read of a stored blob, and what everything sealed behind it is bound to.

use std::fmt;
use std::str::FromStr;

use super::codec::{Reader, Writer};
use super::error::EnvelopeError;
use super::keys::{Kek, SubjectKey};
use super::labels::{
    BLOB_PLAINTEXT_BYTES_MAX, COMMITMENT_BYTES, CONTEXT_BYTES, FLAGS, FORMAT_VERSION, HEADER_BYTES, MAGIC,
    PAD_MULTIPLE_BYTES, ROOT_BYTES_MAX, SEAL_OVERHEAD_BYTES, SLUG_BYTES_MAX, SUITE, WRAP_BYTES,
};

/// An environment or region code: 1 to 16 of `a`–`z`, `0`–`9` and `-`. On the wire: its length, then 16 bytes, zeros behind.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slug([u8; SLUG_BYTES_MAX + 1]);

impl Slug {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so the fallback is never taken.
        self.0.get(1..=usize::from(self.0[0])).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn from_wire(wire: [u8; SLUG_BYTES_MAX + 1], field: &'static str) -> Result<Self, EnvelopeError> {
        let slug = Self(wire);
        match slug.as_str().parse() {
            Ok(canonical) if slug == canonical => Ok(slug),
            _ => Err(EnvelopeError::InvalidHeader { field }),
        }
    }
}

impl FromStr for Slug {
    type Err = EnvelopeError;

    fn from_str(text: &str) -> Result<Self, EnvelopeError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        if !(1..=SLUG_BYTES_MAX).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(EnvelopeError::InvalidHeader { field: "slug" });
        }
        let mut wire = [0; SLUG_BYTES_MAX + 1];
        wire[0] = length;
        wire[1..=text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(wire))
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slug({})", self.as_str())
    }
}

/// What a version is bound to, before any key: part of every header and of every derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Environment (`prod`, `test`, …): a test proxy cannot open production records.
    pub environment: Slug,
    /// Region.
    pub region: Slug,
    /// Opaque tenant id.
    pub tenant: [u8; 16],
    /// Class code.
    pub class: u16,
    /// Internal version id: random, never reused.
    pub version: [u8; 16],
}

impl Binding {
    /// The derivation context: environment ‖ region ‖ tenant ‖ class, as they stand in the header.
    pub(super) fn context(&self) -> [u8; CONTEXT_BYTES] {
        let mut context = [0; CONTEXT_BYTES];
        context[..17].copy_from_slice(&self.environment.0);
        context[17..34].copy_from_slice(&self.region.0);
        context[34..50].copy_from_slice(&self.tenant);
        context[50..].copy_from_slice(&self.class.to_be_bytes());
        context
    }
}

/// What a stored blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Version record in front of the body of the version's only blob.
    RecordAndBody = 1,
    /// Version record alone, with the pages of its manifest behind it if it has any.
    Record = 2,
    /// One body of a version of several blobs, or of an upload's part.
    Body = 3,
    /// Upload record: the DEK of an upload, before there is a version record.
    Upload = 4,
}

impl Kind {
    /// Whether a wrapped DEK follows the locator.
    pub const fn has_wrap(self) -> bool {
        !matches!(self, Self::Body)
    }

    /// Whether a FLOE body ends the blob.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::RecordAndBody | Self::Body)
    }

    /// Whether a root follows the wrapped DEK.
    pub const fn has_root(self) -> bool {
        matches!(self, Self::RecordAndBody | Self::Record)
    }
}

impl TryFrom<u8> for Kind {
    type Error = EnvelopeError;

    fn try_from(found: u8) -> Result<Self, EnvelopeError> {
        Ok(match found {
            1 => Self::RecordAndBody,
            2 => Self::Record,
            3 => Self::Body,
            4 => Self::Upload,
            _ => return Err(EnvelopeError::UnknownKind { found }),
        })
    }
}

/// A parsed clear header. Readable without keys, and therefore **not authenticated** until the locator has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the blob holds.
    pub kind: Kind,
    /// What it is bound to.
    pub binding: Binding,
    /// The KEK's identity.
    pub kek_id: [u8; 16],
    /// The KEK's epoch.
    pub kek_epoch: u32,
    /// Version of the key that wraps the KEK's own record (0: not stated).
    pub wrapping_version: u32,
    /// The subject key's identity; `None` if the DEK is wrapped under the KEK alone.
    pub subject_key_id: Option<[u8; 16]>,
    /// The blob's identity.
    pub blob: [u8; 16],
    /// The body's place among the bodies of its version; 0 where there is no body.
    pub ordinal: u32,
    /// Length of the sealed locator.
    pub locator_bytes: u32,
    /// Length of the sealed root; 0 where there is none.
    pub root_bytes: u32,
    /// Length of the sealed pages; 0 where there are none.
    pub pages_bytes: u32,
    /// Length of the FLOE body; 0 where there is none.
    pub body_bytes: u32,
}

impl Header {
    /// Reads the header off the front of a stored blob, needing its first [`HEADER_BYTES`] bytes and no key.
    pub fn peek(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(bytes);
        // Foreign bytes, however short, are foreign before they are truncated.
        if bytes.len() < MAGIC.len() || reader.array()? != MAGIC {
            return Err(EnvelopeError::BadMagic);
        }
        check_preface(&mut reader.clone())?;
        let (_version, _suite) = (reader.u16()?, reader.u8()?);
        let kind = Kind::try_from(reader.u8()?)?;
        let _flags = reader.u16()?;
        let environment = Slug::from_wire(reader.array()?, "environment")?;
        let region = Slug::from_wire(reader.array()?, "region")?;
        let (tenant, class) = (reader.array()?, reader.u16()?);
        let (kek_id, kek_epoch, wrapping_version) = (reader.array()?, reader.u32()?, reader.u32()?);
        let subject_key_id = Some(reader.array()?).filter(|id| *id != [0; 16]);
        let version = reader.array()?;
        let header = Self {
            kind,
            binding: Binding { environment, region, tenant, class, version },
            kek_id,
            kek_epoch,
            wrapping_version,
            subject_key_id,
            blob: reader.array()?,
            ordinal: reader.u32()?,
            locator_bytes: reader.u32()?,
            root_bytes: reader.u32()?,
            pages_bytes: reader.u32()?,
            body_bytes: reader.u32()?,
        };
        header.check_lengths()?;
        Ok(header)
    }

    /// The header's bytes.
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut writer = Writer::with_capacity(HEADER_BYTES);
        writer.bytes(&MAGIC);
        writer.u16(FORMAT_VERSION);
        writer.u8(SUITE);
        writer.u8(self.kind as u8);
        writer.u16(FLAGS);
        writer.bytes(&self.binding.context());
        writer.bytes(&self.kek_id);
        writer.u32(self.kek_epoch);
        writer.u32(self.wrapping_version);
        writer.bytes(&self.subject_key_id.unwrap_or_default());
        writer.bytes(&self.binding.version);
        writer.bytes(&self.blob);
        for number in [self.ordinal, self.locator_bytes, self.root_bytes, self.pages_bytes, self.body_bytes] {
            writer.u32(number);
        }
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(&writer.into_vec());
        bytes
    }

    /// Offset of the wrapped DEK, or of the body where there is no wrapped DEK.
    pub fn locator_end(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.locator_bytes)
    }

    /// Length of the record: header, locator, wrapped DEK and commitment, root. What the index keeps.
    pub fn record_bytes(&self) -> u64 {
        let wrap = if self.kind.has_wrap() { (WRAP_BYTES + COMMITMENT_BYTES) as u64 } else { 0 };
        self.locator_end() + wrap + u64::from(self.root_bytes)
    }

    /// Offset of the body in the stored blob.
    pub fn body_offset(&self) -> u64 {
        self.record_bytes() + u64::from(self.pages_bytes)
    }

    /// Length of the whole stored blob.
    pub fn blob_bytes(&self) -> u64 {
        self.body_offset() + u64::from(self.body_bytes)
    }

    /// Checks that `stored_bytes`, what a store says of the blob's length, is [`Header::blob_bytes`].
    pub fn check_stored_bytes(&self, stored_bytes: u64) -> Result<(), EnvelopeError> {
        match stored_bytes.cmp(&self.blob_bytes()) {
            std::cmp::Ordering::Less => Err(EnvelopeError::Truncated),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(EnvelopeError::TrailingBytes),
        }
    }

    /// Checks the binding against what the caller knows.
    pub fn check(&self, expected: &Expected) -> Result<(), EnvelopeError> {
        let binding = &self.binding;
        let checks = [
            (binding.environment == expected.environment, EnvelopeError::WrongEnvironment),
            (binding.region == expected.region, EnvelopeError::WrongRegion),
            (binding.tenant == expected.tenant, EnvelopeError::WrongTenant),
            (expected.class.is_none_or(|class| class == binding.class), EnvelopeError::WrongClass),
            (expected.version.is_none_or(|version| version == binding.version), EnvelopeError::WrongVersion),
            (expected.blob.is_none_or(|blob| blob == self.blob), EnvelopeError::WrongBlob),
        ];
        checks.into_iter().try_for_each(|(right, error)| if right { Ok(()) } else { Err(error) })
    }

    /// Checks that `kek` is the one the header names.
    pub(super) fn check_kek(&self, kek: &Kek) -> Result<(), EnvelopeError> {
        let same = self.kek_id == *kek.id() && self.kek_epoch == kek.epoch();
        if same { Ok(()) } else { Err(EnvelopeError::WrongKek) }
    }

    /// Checks that `subject_key` is the one the header names, or that both say none.
    pub(super) fn check_subject_key(&self, subject_key: Option<&SubjectKey>) -> Result<(), EnvelopeError> {
        let same = self.subject_key_id == subject_key.map(|key| *key.id());
        if same { Ok(()) } else { Err(EnvelopeError::WrongSubjectKey) }
    }

    fn check_lengths(&self) -> Result<(), EnvelopeError> {
        let invalid = |field| Err(EnvelopeError::InvalidHeader { field });
        let padded = |bytes: u32, max: usize| {
            let bytes = bytes as usize;
            bytes > SEAL_OVERHEAD_BYTES
                && bytes <= max
                && (bytes - SEAL_OVERHEAD_BYTES).is_multiple_of(PAD_MULTIPLE_BYTES)
        };
        if !padded(self.locator_bytes, super::locator::LOCATOR_SEALED_BYTES_MAX) {
            return invalid("locator length");
        }
        if self.kind.has_root() != (self.root_bytes != 0)
            || (self.root_bytes != 0 && !padded(self.root_bytes, ROOT_BYTES_MAX))
        {
            return invalid("root length");
        }
        if self.pages_bytes != 0 && self.kind != Kind::Record {
            return invalid("pages length");
        }
        let body_max = super::body::body_bytes(BLOB_PLAINTEXT_BYTES_MAX as u64);
        if self.kind.has_body() != (self.body_bytes != 0) || u64::from(self.body_bytes) > body_max {
            return invalid("body length");
        }
        if self.kind != Kind::Body && self.ordinal != 0 {
            return invalid("ordinal");
        }
        Ok(())
    }
}

/// What a caller knows of a blob before opening it. `None` means "whatever the blob says", for tools that start from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Environment.
    pub environment: Slug,
    /// Region.
    pub region: Slug,
    /// Opaque tenant id.
    pub tenant: [u8; 16],
    /// Class code.
    pub class: Option<u16>,
    /// Internal version id.
    pub version: Option<[u8; 16]>,
    /// Blob id.
    pub blob: Option<[u8; 16]>,
}

impl Expected {
    /// Everything that `binding` says, and `blob`.
    pub const fn exactly(binding: &Binding, blob: [u8; 16]) -> Self {
        Self {
            environment: binding.environment,
            region: binding.region,
            tenant: binding.tenant,
            class: Some(binding.class),
            version: Some(binding.version),
            blob: Some(blob),
        }
    }
}

fn check_preface(reader: &mut Reader<'_>) -> Result<(), EnvelopeError> {
    match reader.u16()? {
        FORMAT_VERSION => {}
        found => return Err(EnvelopeError::UnknownVersion { found }),
    }
    match reader.u8()? {
        SUITE => {}
        found => return Err(EnvelopeError::UnknownSuite { found }),
    }
    Kind::try_from(reader.u8()?)?;
    match reader.u16()? {
        FLAGS => Ok(()),
        found => Err(EnvelopeError::UnknownFlags { found }),
    }
}
