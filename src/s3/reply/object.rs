//! The headers of one object's answers.

use bytes::Bytes;
use http::Response;

use crate::model::{ByteRange, Checksum, ETag, ObjectMeta, Timestamp};

use super::super::call::ReadObject;

/// What is known of the version that is answered.
#[derive(Clone, Debug)]
pub struct ObjectHead<'a> {
    /// Plaintext length in bytes.
    pub size_bytes: u64,
    /// Entity tag.
    pub etag: &'a ETag,
    /// When it was written.
    pub modified: Timestamp,
    /// Its headers, metadata and checksums.
    pub meta: &'a ObjectMeta,
    /// `x-amz-version-id`, in versioned buckets.
    pub version_id: Option<&'a str>,
    /// `x-amz-server-side-encryption-aws-kms-key-id`: a name for the key that says nothing secret.
    pub kms_key_id: &'a str,
}

/// The answer's head for GET and HEAD: 206 with `Content-Range` for `range`, 200 with everything without one.
/// `Content-Length` is set, for HEAD too.
pub fn object_head(head: &ObjectHead<'_>, read: &ReadObject, range: Option<ByteRange>) -> Response<()> {
    todo!()
}

/// 304, with the headers RFC 9110 §15.4.5 wants.
pub fn not_modified(head: &ObjectHead<'_>) -> Response<Bytes> {
    todo!()
}

/// What a write (`PutObject`, `UploadPart`) is answered with.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    /// Entity tag of object or part.
    pub etag: &'a ETag,
    /// Verified checksums: echoed.
    pub checksums: &'a [Checksum],
    /// `x-amz-version-id`, in versioned buckets.
    pub version_id: Option<&'a str>,
    /// As in [`ObjectHead::kms_key_id`].
    pub kms_key_id: &'a str,
}

/// 200 for a write.
pub fn written(written: &Written<'_>) -> Response<Bytes> {
    todo!()
}
