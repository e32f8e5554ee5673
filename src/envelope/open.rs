//! Opening a blob's head, one step after the other, each step a type: nothing can be skipped, and nothing is decrypted early.
//!
//! [`Closed`] (header parsed, lengths right) → [`Located`] (binding as expected, locator authentic) → [`Confirmed`] (it is what was
//! asked for) → [`OpenVersion`] or [`OpenUpload`] (data key unwrapped and committed to; manifest authentic).

use super::cipher::open_small;
use super::derive::equal;
use super::error::EnvelopeError;
use super::header::{Expected, Header, Kind};
use super::keys::{Dek, Kek, SubjectKey, take_key};
use super::labels::{COMMITMENT_BYTES, HEADER_BYTES, WRAP_BYTES};
use super::locator::{Locator, open_locator};
use super::manifest::{Blobs, Root};
use super::manifest_codec::decode_root;
use super::record::wrap_key;

/// A blob's head whose header was parsed; nothing is authenticated yet.
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    header: Header,
    head: &'a [u8],
}

impl<'a> Closed<'a> {
    /// From a record as the index keeps it: exactly header, locator, wrapped key, commitment, root.
    pub fn record(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let header = Header::peek(bytes)?;
        match (bytes.len() as u64).cmp(&header.record_bytes()) {
            std::cmp::Ordering::Less => Err(EnvelopeError::Truncated),
            std::cmp::Ordering::Greater => Err(EnvelopeError::TrailingBytes),
            std::cmp::Ordering::Equal => Ok(Self { header, head: bytes }),
        }
    }

    /// From a whole stored blob.
    pub fn blob(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let header = Header::peek(bytes)?;
        header.check_stored_bytes(bytes.len() as u64)?;
        Self::front(bytes)
    }

    /// From the first bytes of a stored blob: at least [`Header::record_bytes`] of them; more are ignored.
    pub fn front(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let header = Header::peek(bytes)?;
        let head = usize::try_from(header.record_bytes()).ok().and_then(|length| bytes.get(..length));
        Ok(Self { header, head: head.ok_or(EnvelopeError::Truncated)? })
    }

    /// The header, not yet authenticated.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Compares the header with what the caller knows, then opens the locator, which authenticates the header.
    pub fn locate(self, expected: &Expected, kek: &Kek) -> Result<Located<'a>, EnvelopeError> {
        self.header.check(expected)?;
        self.header.check_kek(kek)?;
        let (header_bytes, rest) =
            self.head.split_at_checked(HEADER_BYTES).ok_or(EnvelopeError::Truncated)?;
        let sealed = rest.get(..self.header.locator_bytes as usize).ok_or(EnvelopeError::Truncated)?;
        let locator = open_locator(kek, &self.header, header_bytes, sealed)?;
        Ok(Located { closed: self, locator })
    }
}

/// A blob's head whose header and locator are authentic.
#[derive(Clone, Debug)]
pub struct Located<'a> {
    closed: Closed<'a>,
    locator: Locator,
}

impl<'a> Located<'a> {
    /// The header.
    pub const fn header(&self) -> &Header {
        &self.closed.header
    }

    /// What the blob says it is the bytes of.
    pub const fn locator(&self) -> &Locator {
        &self.locator
    }

    /// Goes on only if the blob is of the object asked for.
    pub fn confirm(self, bucket: &str, key: &[u8]) -> Result<Confirmed<'a>, EnvelopeError> {
        let same = self.locator.bucket == bucket && self.locator.key == key;
        if same { Ok(Confirmed(self)) } else { Err(EnvelopeError::WrongLocator) }
    }

    /// Goes on with whatever object the blob says: for rescue and scrubbing, which start from the store. Never to serve.
    pub const fn take_its_word(self) -> Confirmed<'a> {
        Confirmed(self)
    }
}

/// A blob's head that is what was asked for.
#[derive(Clone, Debug)]
pub struct Confirmed<'a>(Located<'a>);

impl Confirmed<'_> {
    /// Opens a version record: unwraps the data key, checks the commitment, opens the root.
    pub fn open_version(
        self,
        kek: &Kek,
        subject_key: Option<&SubjectKey>,
    ) -> Result<OpenVersion, EnvelopeError> {
        let Closed { header, head } = self.0.closed;
        if !header.kind.has_root() {
            return Err(EnvelopeError::WrongKind);
        }
        let dek = self.unwrap(kek, subject_key)?;
        let root_start =
            usize::try_from(header.locator_end()).unwrap_or(usize::MAX) + WRAP_BYTES + COMMITMENT_BYTES;
        let (bound, sealed) = head.split_at_checked(root_start).ok_or(EnvelopeError::Truncated)?;
        let clear = open_small(&*dek.root_key()?, bound, sealed, EnvelopeError::ManifestAuth)?;
        let root = decode_root(&clear, &header)?;
        if header.kind == Kind::RecordAndBody {
            check_only_body(&header, &root)?;
        }
        Ok(OpenVersion { header, locator: self.0.locator, dek, root })
    }

    /// Opens an upload record: unwraps the data key and checks the commitment.
    pub fn open_upload(
        self,
        kek: &Kek,
        subject_key: Option<&SubjectKey>,
    ) -> Result<OpenUpload, EnvelopeError> {
        if self.0.closed.header.kind != Kind::Upload {
            return Err(EnvelopeError::WrongKind);
        }
        let dek = self.unwrap(kek, subject_key)?;
        Ok(OpenUpload { header: self.0.closed.header, locator: self.0.locator, dek })
    }

    fn unwrap(&self, kek: &Kek, subject_key: Option<&SubjectKey>) -> Result<Dek, EnvelopeError> {
        let Closed { header, head } = self.0.closed;
        header.check_kek(kek)?;
        header.check_subject_key(subject_key)?;
        let wrap_start = usize::try_from(header.locator_end()).unwrap_or(usize::MAX);
        let (bound, rest) = head.split_at_checked(wrap_start).ok_or(EnvelopeError::Truncated)?;
        let (wrapped, rest) = rest.split_at_checked(WRAP_BYTES).ok_or(EnvelopeError::Truncated)?;
        let committed = rest.get(..COMMITMENT_BYTES).ok_or(EnvelopeError::Truncated)?;
        let key = wrap_key(kek, subject_key, &header.binding)?;
        let mut clear = open_small(&key, bound, wrapped, EnvelopeError::WrapAuth)?;
        let dek = Dek::from_parts(header.binding, take_key(&mut clear)?);
        if equal(&dek.commitment()?, committed) { Ok(dek) } else { Err(EnvelopeError::Commitment) }
    }
}

/// An opened version record.
#[derive(Clone, Debug)]
pub struct OpenVersion {
    /// The header, authentic.
    pub header: Header,
    /// The locator, authentic.
    pub locator: Locator,
    /// The data key.
    pub dek: Dek,
    /// The manifest's root.
    pub root: Root,
}

/// An opened upload record.
#[derive(Clone, Debug)]
pub struct OpenUpload {
    /// The header, authentic.
    pub header: Header,
    /// The locator, authentic.
    pub locator: Locator,
    /// The data key.
    pub dek: Dek,
}

/// A record with its body behind it lists exactly that body.
fn check_only_body(header: &Header, root: &Root) -> Result<(), EnvelopeError> {
    let invalid = Err(EnvelopeError::InvalidManifest { field: "only body" });
    let Blobs::Inline(entries) = &root.blobs else { return invalid };
    let [entry] = entries.as_slice() else { return invalid };
    let same = entry.blob == header.blob
        && entry.ordinal == header.ordinal
        && u64::from(entry.body_offset_bytes) == header.body_offset()
        && entry.body_bytes() == u64::from(header.body_bytes);
    if same { Ok(()) } else { invalid }
}
