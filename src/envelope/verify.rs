//! Verifying a stored blob whole: every byte of it, and that it is the one its version lists. For scrubbing, drills and rescue.

use super::body::BodyOpener;
use super::cipher::Implementation;
use super::error::EnvelopeError;
use super::header::{Expected, Header, Kind};
use super::keys::{Dek, Kek, SubjectKey};
use super::labels::HEADER_BYTES;
use super::locator::{LOCATOR_SEALED_BYTES_MAX, Locator, open_locator};
use super::manifest::{BlobEntry, Blobs, Root};
use super::open::{Closed, OpenUpload, OpenVersion};

/// From the first bytes of a stored blob, this many hold its header and its locator, whatever its kind.
pub const LOCATOR_END_BYTES_MAX: usize = HEADER_BYTES + LOCATOR_SEALED_BYTES_MAX;

/// Opens the locator out of the first bytes of a stored blob, which authenticates its header; the rest of the blob is not
/// looked at. For tools that start from the store: says what the blob is, never that it is whole.
pub fn open_front(front: &[u8], expected: &Expected, kek: &Kek) -> Result<(Header, Locator), EnvelopeError> {
    let header = Header::peek(front)?;
    header.check(expected)?;
    header.check_kek(kek)?;
    let (header_bytes, rest) = front.split_at_checked(HEADER_BYTES).ok_or(EnvelopeError::Truncated)?;
    let sealed = rest.get(..header.locator_bytes as usize).ok_or(EnvelopeError::Truncated)?;
    Ok((header, open_locator(kek, &header, header_bytes, sealed)?))
}

impl OpenVersion {
    /// Opens the stored blob of `entry` from its first byte to its last, and appends its clear bytes, less padding, to `out`.
    ///
    /// Pass the implementation that did not seal ([`Implementation::AesGcm`]) when the point is to verify.
    pub fn open_blob(
        &self,
        entry: &BlobEntry,
        blob: &[u8],
        kek: &Kek,
        subject_key: Option<&SubjectKey>,
        implementation: Implementation,
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        let (opener, body) = self.listed().body(entry, blob, kek, subject_key, implementation)?;
        opener.open_body(body, out)
    }

    /// As [`open_blob`](Self::open_blob), keeping no clear byte.
    pub fn verify_blob(
        &self,
        entry: &BlobEntry,
        blob: &[u8],
        kek: &Kek,
        subject_key: Option<&SubjectKey>,
        implementation: Implementation,
    ) -> Result<(), EnvelopeError> {
        let (opener, body) = self.listed().body(entry, blob, kek, subject_key, implementation)?;
        opener.verify_body(body)
    }

    /// Checks the stored blob that holds this version's record and no body: byte for byte the `record` that was opened, and
    /// behind it every page of the manifest, whole and authentic.
    pub fn verify_record(&self, record: &[u8], blob: &[u8]) -> Result<(), EnvelopeError> {
        if self.header.kind != Kind::Record {
            return Err(EnvelopeError::WrongKind);
        }
        Closed::blob(blob)?;
        // The record was opened already: whatever differs from it would not open, or is not this version's.
        if !blob.starts_with(record) {
            return Err(EnvelopeError::ManifestAuth);
        }
        let Blobs::Paged(table) = &self.root.blobs else { return Ok(()) };
        for page in (0_u32..).take(table.pages.len()) {
            let range = table.location(page).ok_or(EnvelopeError::PageAuth { page })?;
            let end = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let sealed = blob.get(end(range.start)..end(range.end)).ok_or(EnvelopeError::Truncated)?;
            table.open(&self.dek, page, sealed)?;
        }
        Ok(())
    }

    const fn listed(&self) -> Listed<'_> {
        Listed { header: &self.header, locator: &self.locator, dek: &self.dek, root: Some(&self.root) }
    }
}

impl OpenUpload {
    /// Opens the stored blob of a part's `entry` from its first byte to its last, keeping no clear byte.
    pub fn verify_blob(
        &self,
        entry: &BlobEntry,
        blob: &[u8],
        kek: &Kek,
        subject_key: Option<&SubjectKey>,
        implementation: Implementation,
    ) -> Result<(), EnvelopeError> {
        let listed = Listed { header: &self.header, locator: &self.locator, dek: &self.dek, root: None };
        let (opener, body) = listed.body(entry, blob, kek, subject_key, implementation)?;
        opener.verify_body(body)
    }
}

/// What lists a blob: an opened version, or an opened upload, which has no root yet.
struct Listed<'a> {
    header: &'a Header,
    locator: &'a Locator,
    dek: &'a Dek,
    root: Option<&'a Root>,
}

impl Listed<'_> {
    /// Everything in front of the body checked (format, section 6, "to verify a stored blob whole"); what opens the body, and the body.
    fn body<'b>(
        &self,
        entry: &BlobEntry,
        blob: &'b [u8],
        kek: &Kek,
        subject_key: Option<&SubjectKey>,
        implementation: Implementation,
    ) -> Result<(BodyOpener, &'b [u8]), EnvelopeError> {
        let closed = Closed::blob(blob)?;
        let header = *closed.header();
        let located = closed.locate(&Expected::exactly(&self.header.binding, entry.blob), kek)?;
        let confirmed = located.confirm(&self.locator.bucket, &self.locator.key)?;
        if !header.kind.has_body() || (self.root.is_none() && header.kind.has_root()) {
            return Err(EnvelopeError::WrongKind);
        }
        let agree = header.ordinal == entry.ordinal
            && header.body_offset() == u64::from(entry.body_offset_bytes)
            && u64::from(header.body_bytes) == entry.body_bytes();
        if !agree {
            return Err(EnvelopeError::LengthMismatch { what: "body" });
        }
        if header.kind == Kind::RecordAndBody
            && Some(&confirmed.open_version(kek, subject_key)?.root) != self.root
        {
            return Err(EnvelopeError::LengthMismatch { what: "root" });
        }
        let body = usize::try_from(header.body_offset()).ok().and_then(|offset| blob.get(offset..));
        let opener = BodyOpener::new(self.dek, entry, implementation)?;
        Ok((opener, body.ok_or(EnvelopeError::Truncated)?))
    }
}
