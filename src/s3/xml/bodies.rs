//! The three XML bodies of the operations we serve.

use std::fmt;

use crate::model::{Checksum, ObjectKey};

use super::super::error::S3Error;

/// The body of `DeleteObjects`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// What to delete, in the order sent; 1..=1,000.
    pub keys: Vec<KeyToDelete>,
    /// `Quiet`: answer only with errors.
    pub quiet: bool,
}

/// One entry of a [`Delete`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyToDelete {
    /// Which key.
    pub key: ObjectKey,
    /// Why this one cannot be done although the rest can (a version id, a condition): answer it with this.
    pub refusal: Option<S3Error>,
}

/// One part of a `CompleteMultipartUpload`.
#[derive(Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// 1..=10,000, ascending.
    pub number: u16,
    /// Unquoted; perhaps not one of ours.
    pub etag: String,
    /// The checksum the client remembers for the part.
    pub checksum: Option<Checksum>,
}

impl fmt::Debug for CompletedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompletedPart({})", self.number)
    }
}

/// Reads the body of `CreateBucket`: the constraint, or `None` for an empty body or none inside.
pub fn location_constraint(body: &[u8]) -> Result<Option<String>, S3Error> {
    todo!()
}

/// Reads the body of `DeleteObjects`.
pub fn delete(body: &[u8]) -> Result<Delete, S3Error> {
    todo!()
}

/// Reads the body of `CompleteMultipartUpload`: at least one part, ascending ([`super::super::Code::InvalidPartOrder`]).
pub fn complete_multipart_upload(body: &[u8]) -> Result<Vec<CompletedPart>, S3Error> {
    todo!()
}
