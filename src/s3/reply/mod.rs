//! Answers: headers of an object, and the documents, exactly as S3 writes them.

mod conditions;
mod documents;
mod object;

pub use conditions::{Outcome, evaluate};
pub use documents::{
    DeletedEntry, ListedBucket, ListedObject, ListedPart, ListedUpload, ObjectPage, Owner, PartPage,
    UploadPage, bucket_location, completed, created_upload, deleted, list_buckets, list_multipart_uploads,
    list_objects, list_parts,
};
pub use object::{ObjectHead, Written, not_modified, object_head, written};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

/// 200 with a document.
fn document(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// An answer with a status and nothing else: 204 of the deletes, 200 of `HeadBucket`, `CreateBucket`.
pub fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
