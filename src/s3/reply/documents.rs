//! The XML documents of successful answers.

use bytes::Bytes;
use http::Response;

use crate::model::{
    BucketName, Checksum, ChecksumAlgorithm, ChecksumKind, ETag, ObjectKey, Timestamp, UploadId,
};

use super::super::call::{ListBuckets, ListMultipartUploads, ListObjects, ListParts, UploadRef};
use super::super::error::S3Error;
use super::super::token::Position;
use super::Written;

/// Who owns what is listed: the tenant, under a name that says nothing more.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    /// `<ID>`.
    pub id: &'a str,
    /// `<DisplayName>`.
    pub display_name: &'a str,
}

/// One bucket of `ListBuckets`.
#[derive(Clone, Debug)]
pub struct ListedBucket {
    /// Name.
    pub name: BucketName,
    /// When it was created.
    pub created: Timestamp,
}

/// `ListAllMyBucketsResult`. `buckets` are all the caller's, ascending: prefix, start and maximum are applied here.
pub fn list_buckets(
    call: &ListBuckets,
    owner: &Owner<'_>,
    region: &str,
    buckets: &[ListedBucket],
) -> Response<Bytes> {
    todo!()
}

/// One key on a page.
#[derive(Clone, Debug)]
pub struct ListedObject {
    /// Key.
    pub key: ObjectKey,
    /// When it was written.
    pub modified: Timestamp,
    /// Entity tag.
    pub etag: ETag,
    /// Plaintext length in bytes.
    pub size_bytes: u64,
    /// Which checksums it has.
    pub checksums: Vec<(ChecksumAlgorithm, ChecksumKind)>,
}

/// A page of `ListObjects`.
#[derive(Clone, Default)]
pub struct ObjectPage {
    /// Keys, ascending.
    pub objects: Vec<ListedObject>,
    /// Common prefixes, ascending.
    pub common_prefixes: Vec<String>,
    /// Where the next page starts, if there is one.
    pub next: Option<Position>,
}

/// `ListBucketResult`, version 1 or 2.
pub fn list_objects(call: &ListObjects, owner: &Owner<'_>, page: &ObjectPage) -> Response<Bytes> {
    todo!()
}

/// `LocationConstraint`.
pub fn bucket_location(region: &str) -> Response<Bytes> {
    todo!()
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
    todo!()
}

/// `InitiateMultipartUploadResult`.
pub fn created_upload(
    upload: &UploadRef,
    checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    kms_key_id: &str,
) -> Response<Bytes> {
    todo!()
}

/// `CompleteMultipartUploadResult`; `location` is the object's URL.
pub fn completed(upload: &UploadRef, location: &str, written: &Written<'_>) -> Response<Bytes> {
    todo!()
}

/// One part on a page.
#[derive(Clone, Debug)]
pub struct ListedPart {
    /// Part number.
    pub number: u16,
    /// When it was written.
    pub modified: Timestamp,
    /// Entity tag.
    pub etag: ETag,
    /// Plaintext length in bytes.
    pub size_bytes: u64,
    /// Its checksums.
    pub checksums: Vec<Checksum>,
}

/// A page of `ListParts`.
#[derive(Clone, Debug, Default)]
pub struct PartPage {
    /// Parts, ascending.
    pub parts: Vec<ListedPart>,
    /// Whether more follow.
    pub truncated: bool,
    /// What the upload was created with.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// `ListPartsResult`.
pub fn list_parts(call: &ListParts, owner: &Owner<'_>, page: &PartPage) -> Response<Bytes> {
    todo!()
}

/// One upload on a page.
#[derive(Clone, Debug)]
pub struct ListedUpload {
    /// Where it goes to.
    pub key: ObjectKey,
    /// Which one.
    pub upload: UploadId,
    /// When it was created.
    pub created: Timestamp,
    /// What it was created with.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// A page of `ListMultipartUploads`.
#[derive(Clone, Default)]
pub struct UploadPage {
    /// Uploads, ascending by key, then by age.
    pub uploads: Vec<ListedUpload>,
    /// Common prefixes, ascending.
    pub common_prefixes: Vec<String>,
    /// Whether more follow; the markers are the last entry's.
    pub truncated: bool,
}

/// `ListMultipartUploadsResult`.
pub fn list_multipart_uploads(
    call: &ListMultipartUploads,
    owner: &Owner<'_>,
    page: &UploadPage,
) -> Response<Bytes> {
    todo!()
}
