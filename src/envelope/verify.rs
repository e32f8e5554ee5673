//! Verifying a stored blob whole: every byte of it, and that it is the one its version lists. For scrubbing, drills and rescue.

use super::body::BodyOpener;
use super::cipher::Implementation;
use super::error::EnvelopeError;
use super::header::{Expected, Kind};
use super::keys::{Kek, SubjectKey};
use super::manifest::BlobEntry;
use super::open::{Closed, OpenVersion};

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
        let closed = Closed::blob(blob)?;
        let header = *closed.header();
        let located = closed.locate(&Expected::exactly(&self.header.binding, entry.blob), kek)?;
        let confirmed = located.confirm(&self.locator.bucket, &self.locator.key)?;
        if !header.kind.has_body() {
            return Err(EnvelopeError::WrongKind);
        }
        let agree = header.ordinal == entry.ordinal
            && header.body_offset() == u64::from(entry.body_offset_bytes)
            && u64::from(header.body_bytes) == entry.body_bytes();
        if !agree {
            return Err(EnvelopeError::LengthMismatch { what: "body" });
        }
        if header.kind == Kind::RecordAndBody && confirmed.open_version(kek, subject_key)?.root != self.root {
            return Err(EnvelopeError::LengthMismatch { what: "root" });
        }
        let body = usize::try_from(header.body_offset()).ok().and_then(|offset| blob.get(offset..));
        BodyOpener::new(&self.dek, entry, implementation)?
            .open_body(body.ok_or(EnvelopeError::Truncated)?, out)
    }
}
