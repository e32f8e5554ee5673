//! What a client asks for, typed: one variant per operation, each with everything its request line and headers say.
//!
//! A body that is XML (`CreateBucket`, `DeleteObjects`, `CompleteMultipartUpload`) is read later, by [`super::xml`],
//! once somebody has been authenticated.

use std::fmt;

use crate::model::{
    BucketName, Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders, ETag, ObjectKey, RangeSpec,
    Timestamp, UploadId, UserMetadata,
};

use super::token::Position;

/// One S3 operation, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET /`: the caller's own buckets.
    ListBuckets(ListBuckets),
    /// `PUT /bucket`; the body may hold a location constraint ([`super::xml::location_constraint`]).
    CreateBucket(BucketName),
    /// `HEAD /bucket`.
    HeadBucket(BucketName),
    /// `DELETE /bucket`.
    DeleteBucket(BucketName),
    /// `GET /bucket?location`.
    BucketLocation(BucketName),
    /// `GET /bucket`, either version.
    ListObjects(ListObjects),
    /// `PUT /bucket/key`.
    PutObject(PutObject),
    /// `GET /bucket/key`.
    GetObject(ReadObject),
    /// `HEAD /bucket/key`.
    HeadObject(ReadObject),
    /// `DELETE /bucket/key`.
    DeleteObject(ObjectId),
    /// `POST /bucket?delete`; the body is [`super::xml::delete`].
    DeleteObjects(BucketName),
    /// `POST /bucket/key?uploads`.
    CreateMultipartUpload(CreateMultipartUpload),
    /// `PUT /bucket/key?partNumber&uploadId`.
    UploadPart(UploadPart),
    /// `POST /bucket/key?uploadId`; the body is [`super::xml::complete_multipart_upload`].
    CompleteMultipartUpload(CompleteMultipartUpload),
    /// `DELETE /bucket/key?uploadId`.
    AbortMultipartUpload(UploadRef),
    /// `GET /bucket/key?uploadId`.
    ListParts(ListParts),
    /// `GET /bucket?uploads`.
    ListMultipartUploads(ListMultipartUploads),
    /// An operation (or a way to ask for one) that S3 knows and terroir does not: 501.
    Unsupported(Unsupported),
}

/// One object's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectId {
    /// In which bucket.
    pub bucket: BucketName,
    /// Under which key.
    pub key: ObjectKey,
}

/// `ListBuckets`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ListBuckets {
    /// Only names that start with this.
    pub prefix: Option<String>,
    /// At most this many, 1..=10,000; without it, all.
    pub buckets_max: Option<u32>,
    /// Start after this name.
    pub after: Option<String>,
}

/// Which of the two list calls, and where it starts.
#[derive(Clone, PartialEq, Eq)]
pub enum ListVersion {
    /// `ListObjects`, with the `marker` as sent.
    V1 {
        /// `marker`, if not empty.
        marker: Option<String>,
    },
    /// `ListObjectsV2`.
    V2 {
        /// `start-after`, if not empty.
        start_after: Option<String>,
        /// `continuation-token`, as sent and decoded.
        token: Option<(String, Position)>,
        /// `fetch-owner=true`.
        fetch_owner: bool,
    },
}

/// `ListObjects` and `ListObjectsV2`.
#[derive(Clone, PartialEq, Eq)]
pub struct ListObjects {
    /// Which bucket.
    pub bucket: BucketName,
    /// Which version of the call.
    pub version: ListVersion,
    /// Only keys that start with this; empty if none was given.
    pub prefix: String,
    /// Roll up keys that share what lies between prefix and this; an empty delimiter is none.
    pub delimiter: Option<String>,
    /// Keys and common prefixes together on a page: 0..=1,000, cut down to 1,000 as S3 does.
    pub keys_max: u16,
    /// `encoding-type=url`.
    pub url_encoded: bool,
}

impl ListObjects {
    /// Where the page starts, token before start-after; `None` is the beginning.
    pub fn start(&self) -> Option<Position> {
        match &self.version {
            ListVersion::V1 { marker } => {
                marker_position(marker.as_ref(), &self.prefix, self.delimiter.as_ref())
            }
            ListVersion::V2 { token: Some((_, position)), .. } => Some(position.clone()),
            ListVersion::V2 { start_after, .. } => start_after.clone().map(Position::AfterKey),
        }
    }
}

/// Where a listing without tokens goes on: a marker that is a common prefix (the next marker of the page before) means
/// "after all of it".
fn marker_position(marker: Option<&String>, prefix: &str, delimiter: Option<&String>) -> Option<Position> {
    let marker = marker?;
    let is_prefix = match (delimiter, marker.strip_prefix(prefix)) {
        (Some(delimiter), Some(rest)) => {
            rest.find(delimiter.as_str()).is_some_and(|at| at + delimiter.len() == rest.len())
        }
        _ => false,
    };
    Some(if is_prefix { Position::AfterPrefix(marker.clone()) } else { Position::AfterKey(marker.clone()) })
}

/// What a write says of the record's class and subject, before anybody has checked them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// `x-amz-meta-terroir-class` or the tag `terroir:class`.
    pub class: Option<String>,
    /// `x-amz-meta-terroir-subject` or the tag `terroir:subject`.
    pub subject: Option<String>,
}

/// What has to hold for a write to happen.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// Nothing.
    #[default]
    None,
    /// `If-None-Match: *`: nothing may be there; 412 if there is.
    IfAbsent,
    /// `If-Match`: exactly this (unquoted, perhaps not one of ours) must be there; 412 if another, 404 if nothing.
    IfMatch(String),
}

impl WriteCondition {
    /// Whether it holds, given what is there now. To be asked inside the transaction that writes, nowhere else.
    pub fn holds(&self, present: Option<&ETag>) -> bool {
        match self {
            Self::None => true,
            Self::IfAbsent => present.is_none(),
            Self::IfMatch(wanted) => present.is_some_and(|etag| etag.as_str() == wanted),
        }
    }
}

/// `PutObject`. The body, its framing, length and checksums are [`super::PayloadPlan`]'s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutObject {
    /// Where to.
    pub object: ObjectId,
    /// `Content-*`, `Cache-Control`, `Expires`.
    pub content: ContentHeaders,
    /// `x-amz-meta-*`, the labels included.
    pub metadata: UserMetadata,
    /// Class and subject asked for.
    pub labels: Labels,
    /// When not to.
    pub condition: WriteCondition,
}

/// A list of entity tags of a conditional read.
#[derive(Clone, PartialEq, Eq)]
pub enum ETagMatch {
    /// `*`.
    Any,
    /// Any of these, unquoted; a weak tag is kept without its mark.
    OneOf(Vec<String>),
}

impl ETagMatch {
    /// Whether `etag` is meant.
    pub fn matches(&self, etag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|tag| tag == etag.as_str()),
        }
    }
}

/// The four conditions of a read (RFC 9110 §13.1); dates that do not parse are ignored as the RFC says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// `If-Match`.
    pub if_match: Option<ETagMatch>,
    /// `If-None-Match`.
    pub if_none_match: Option<ETagMatch>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<Timestamp>,
}

/// `GetObject` and `HeadObject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadObject {
    /// Which one.
    pub object: ObjectId,
    /// `Range`, if it is one that S3 honours.
    pub range: Option<RangeSpec>,
    /// Conditions.
    pub conditions: ReadConditions,
    /// `response-*`: headers to answer with instead of the stored ones. Only of an authenticated request.
    pub overrides: ContentHeaders,
    /// `x-amz-checksum-mode: ENABLED`.
    pub with_checksums: bool,
}

/// `CreateMultipartUpload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateMultipartUpload {
    /// Where to.
    pub object: ObjectId,
    /// `Content-*`, `Cache-Control`, `Expires`.
    pub content: ContentHeaders,
    /// `x-amz-meta-*`, the labels included.
    pub metadata: UserMetadata,
    /// Class and subject asked for.
    pub labels: Labels,
    /// `x-amz-checksum-algorithm` with `x-amz-checksum-type` or that algorithm's default.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// One upload's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadRef {
    /// Where it goes to.
    pub object: ObjectId,
    /// Which one.
    pub upload: UploadId,
}

/// `UploadPart`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadPart {
    /// Of which upload.
    pub upload: UploadRef,
    /// 1..=10,000.
    pub number: u16,
}

/// `CompleteMultipartUpload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    /// Which upload.
    pub upload: UploadRef,
    /// When not to.
    pub condition: WriteCondition,
    /// `x-amz-checksum-*`: what the whole object's checksum has to be. A composite one ends in `-parts` on the wire.
    pub checksum: Option<Checksum>,
    /// `x-amz-checksum-type`.
    pub checksum_kind: Option<ChecksumKind>,
    /// `x-amz-mp-object-size`: what the whole object's length has to be, in bytes.
    pub size_bytes: Option<u64>,
}

/// `ListParts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListParts {
    /// Of which upload.
    pub upload: UploadRef,
    /// Start after this number; 0 is the beginning.
    pub after: u16,
    /// Parts on a page: 0..=1,000.
    pub parts_max: u16,
    /// `encoding-type=url`.
    pub url_encoded: bool,
}

/// `ListMultipartUploads`.
#[derive(Clone, PartialEq, Eq)]
pub struct ListMultipartUploads {
    /// Which bucket.
    pub bucket: BucketName,
    /// Only keys that start with this.
    pub prefix: String,
    /// Roll up keys; an empty delimiter is none.
    pub delimiter: Option<String>,
    /// Start after this key (or in it, with the next field).
    pub key_marker: Option<String>,
    /// With a key marker: start after this upload of that key.
    pub upload_id_marker: Option<UploadId>,
    /// Uploads and common prefixes on a page: 0..=1,000.
    pub uploads_max: u16,
    /// `encoding-type=url`.
    pub url_encoded: bool,
}

impl ListMultipartUploads {
    /// Where the page starts, by key: with an upload id marker it is *in* that key, at later uploads of it.
    pub fn start(&self) -> Option<Position> {
        marker_position(self.key_marker.as_ref(), &self.prefix, self.delimiter.as_ref())
    }
}

/// What was recognised and is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The S3 operation's name, for the audit record and the answer.
    pub name: &'static str,
    /// Why, as a public sentence that names the feature and no value.
    pub reason: String,
    /// On which bucket, if on one.
    pub bucket: Option<BucketName>,
}

impl Call {
    /// The operation's name in the S3 API reference.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ListBuckets(_) => "ListBuckets",
            Self::CreateBucket(_) => "CreateBucket",
            Self::HeadBucket(_) => "HeadBucket",
            Self::DeleteBucket(_) => "DeleteBucket",
            Self::BucketLocation(_) => "GetBucketLocation",
            Self::ListObjects(list) => match list.version {
                ListVersion::V1 { .. } => "ListObjects",
                ListVersion::V2 { .. } => "ListObjectsV2",
            },
            Self::PutObject(_) => "PutObject",
            Self::GetObject(_) => "GetObject",
            Self::HeadObject(_) => "HeadObject",
            Self::DeleteObject(_) => "DeleteObject",
            Self::DeleteObjects(_) => "DeleteObjects",
            Self::CreateMultipartUpload(_) => "CreateMultipartUpload",
            Self::UploadPart(_) => "UploadPart",
            Self::CompleteMultipartUpload(_) => "CompleteMultipartUpload",
            Self::AbortMultipartUpload(_) => "AbortMultipartUpload",
            Self::ListParts(_) => "ListParts",
            Self::ListMultipartUploads(_) => "ListMultipartUploads",
            Self::Unsupported(unsupported) => unsupported.name,
        }
    }

    /// The bucket it is about.
    pub const fn bucket(&self) -> Option<&BucketName> {
        match self {
            Self::ListBuckets(_) => None,
            Self::CreateBucket(bucket)
            | Self::HeadBucket(bucket)
            | Self::DeleteBucket(bucket)
            | Self::BucketLocation(bucket)
            | Self::DeleteObjects(bucket) => Some(bucket),
            Self::ListObjects(list) => Some(&list.bucket),
            Self::ListMultipartUploads(list) => Some(&list.bucket),
            Self::Unsupported(unsupported) => unsupported.bucket.as_ref(),
            _ => match self.object() {
                Some(object) => Some(&object.bucket),
                None => None,
            },
        }
    }

    /// The object it is about.
    pub const fn object(&self) -> Option<&ObjectId> {
        match self {
            Self::PutObject(put) => Some(&put.object),
            Self::GetObject(read) | Self::HeadObject(read) => Some(&read.object),
            Self::DeleteObject(object) => Some(object),
            Self::CreateMultipartUpload(create) => Some(&create.object),
            Self::UploadPart(part) => Some(&part.upload.object),
            Self::CompleteMultipartUpload(complete) => Some(&complete.upload.object),
            Self::AbortMultipartUpload(upload) => Some(&upload.object),
            Self::ListParts(list) => Some(&list.upload.object),
            _ => None,
        }
    }

    /// The key it is about.
    pub fn key(&self) -> Option<&ObjectKey> {
        self.object().map(|object| &object.key)
    }

    /// Whether it changes anything.
    pub const fn writes(&self) -> bool {
        match self {
            Self::CreateBucket(_)
            | Self::DeleteBucket(_)
            | Self::PutObject(_)
            | Self::DeleteObject(_)
            | Self::DeleteObjects(_)
            | Self::CreateMultipartUpload(_)
            | Self::UploadPart(_)
            | Self::CompleteMultipartUpload(_)
            | Self::AbortMultipartUpload(_) => true,
            Self::ListBuckets(_)
            | Self::HeadBucket(_)
            | Self::BucketLocation(_)
            | Self::ListObjects(_)
            | Self::GetObject(_)
            | Self::HeadObject(_)
            | Self::ListParts(_)
            | Self::ListMultipartUploads(_)
            | Self::Unsupported(_) => false,
        }
    }

    /// What the request's body is.
    pub const fn body(&self) -> BodyKind {
        match self {
            Self::PutObject(_) | Self::UploadPart(_) => BodyKind::Record,
            Self::CreateBucket(_) | Self::DeleteObjects(_) | Self::CompleteMultipartUpload(_) => {
                BodyKind::Xml
            }
            _ => BodyKind::Ignored,
        }
    }
}

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// The bytes of a record: streamed.
    Record,
    /// A document: collected, at most [`super::xml::DOCUMENT_BYTES_MAX`].
    Xml,
    /// Nothing the operation reads.
    Ignored,
}

// What a list, a label or a condition holds is the client's text, and may name a patient.
impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Labels(class: {}, subject: {})", self.class.is_some(), self.subject.is_some())
    }
}

impl fmt::Debug for ListBuckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListBuckets").field("buckets_max", &self.buckets_max).finish_non_exhaustive()
    }
}

impl fmt::Debug for WriteCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::IfAbsent => "IfAbsent",
            Self::IfMatch(_) => "IfMatch",
        })
    }
}

impl fmt::Debug for ETagMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::OneOf(tags) => write!(f, "OneOf({} tags)", tags.len()),
        }
    }
}

impl fmt::Debug for ListVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 { .. } => "V1",
            Self::V2 { .. } => "V2",
        })
    }
}

impl fmt::Debug for ListObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListObjects")
            .field("bucket", &self.bucket)
            .field("version", &self.version)
            .field("keys_max", &self.keys_max)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ListMultipartUploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListMultipartUploads")
            .field("bucket", &self.bucket)
            .field("uploads_max", &self.uploads_max)
            .finish_non_exhaustive()
    }
}
