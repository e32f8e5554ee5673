//! Answers: headers of an object, and the documents, exactly as S3 writes them.

mod conditions;
mod documents;
mod listings;
mod object;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::model::{Checksum, ChecksumKind, ETag};

use super::checksum;

pub use conditions::{Outcome, evaluate};
pub use documents::{DeletedEntry, bucket_location, completed, created_upload, deleted};
pub use listings::{
    ListedBucket, ListedObject, ListedPart, ListedUpload, ObjectPage, Owner, PartPage, UploadPage,
    list_buckets, list_multipart_uploads, list_objects, list_parts,
};
pub use object::{ObjectHead, Written, not_modified, object_head, written};

/// An answer with a status and nothing else: 204 of the deletes, 200 of `HeadBucket`, `CreateBucket`.
pub fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// 200 with a document.
fn document(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// A checksum's text; a composite one ends in `-parts`, as the entity tag of the same object does.
fn checksum_text(sum: &Checksum, etag: &ETag) -> String {
    let digest = checksum::to_text(sum);
    match (sum.kind, etag.as_str().split_once('-')) {
        (ChecksumKind::Composite, Some((_, parts))) => format!("{digest}-{parts}"),
        _ => digest,
    }
}
