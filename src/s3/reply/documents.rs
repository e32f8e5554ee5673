//! The documents of single operations.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};

use crate::model::{ChecksumAlgorithm, ChecksumKind, ObjectKey};

use super::super::call::UploadRef;
use super::super::checksum;
use super::super::error::S3Error;
use super::super::xml::Writer;
use super::object::{Written, sse, version_and_sse};
use super::{checksum_text, document};

/// `LocationConstraint`.
pub fn bucket_location(region: &str) -> Response<Bytes> {
    let mut xml = Writer::document("LocationConstraint");
    xml.characters(region);
    document(xml.finish())
}

/// One entry of a `DeleteResult`.
#[derive(Clone, Debug)]
pub struct DeletedEntry {
    /// Which key.
    pub key: ObjectKey,
    /// Deleted (or not there, which is the same to S3), or why not.
    pub result: Result<(), S3Error>,
}

/// `DeleteResult`; `quiet` leaves out what was deleted.
pub fn deleted(entries: &[DeletedEntry], quiet: bool) -> Response<Bytes> {
    let mut xml = Writer::document("DeleteResult");
    for entry in entries {
        match &entry.result {
            Ok(()) if quiet => {}
            Ok(()) => {
                xml.nest("Deleted", |xml| {
                    xml.text("Key", entry.key.as_str());
                });
            }
            Err(error) => {
                xml.nest("Error", |xml| {
                    xml.text("Key", entry.key.as_str());
                    xml.text("Code", error.code().as_str()).text("Message", error.message());
                });
            }
        }
    }
    document(xml.finish())
}

/// `InitiateMultipartUploadResult`.
pub fn created_upload(
    upload: &UploadRef,
    checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    kms_key_id: &str,
) -> Response<Bytes> {
    let mut xml = Writer::document("InitiateMultipartUploadResult");
    xml.text("Bucket", upload.object.bucket.as_str());
    xml.text("Key", upload.object.key.as_str());
    xml.text("UploadId", &upload.upload.to_string());
    let mut response = document(xml.finish());
    let headers = response.headers_mut();
    if let Some((algorithm, kind)) = checksum {
        let put = [
            ("x-amz-checksum-algorithm", checksum::algorithm_name(algorithm)),
            ("x-amz-checksum-type", checksum::kind_name(kind)),
        ];
        for (name, value) in put {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    sse(headers, kms_key_id);
    response
}

/// `CompleteMultipartUploadResult`; `location` is the object's URL.
pub fn completed(upload: &UploadRef, location: &str, written: &Written<'_>) -> Response<Bytes> {
    let mut xml = Writer::document("CompleteMultipartUploadResult");
    xml.text("Location", location);
    xml.text("Bucket", upload.object.bucket.as_str());
    xml.text("Key", upload.object.key.as_str());
    xml.text("ETag", &written.etag.to_string());
    for sum in written.checksums {
        xml.text(checksum::element_name(sum.algorithm), &checksum_text(sum, written.etag));
        xml.text("ChecksumType", checksum::kind_name(sum.kind));
    }
    let mut response = document(xml.finish());
    version_and_sse(response.headers_mut(), written);
    response
}
