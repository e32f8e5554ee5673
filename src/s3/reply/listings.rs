//! The documents of the list operations.
//!
//! `encoding-type=url` encodes keys, prefixes, delimiter, markers and start-after, and not the continuation tokens, which
//! are plain ASCII anyway (S3 API reference, `ListObjectsV2`).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::Response;

use crate::model::{
    BucketName, Checksum, ChecksumAlgorithm, ChecksumKind, ETag, ObjectKey, Timestamp, UploadId,
};

use super::super::call::{ListBuckets, ListMultipartUploads, ListObjects, ListParts, ListVersion};
use super::super::checksum;
use super::super::token::Position;
use super::super::uri::encode_path;
use super::super::xml::Writer;
use super::{checksum_text, document};

/// Who owns what is listed: the tenant, under a name that says nothing more.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    /// `<ID>`.
    pub id: &'a str,
    /// `<DisplayName>`.
    pub display_name: &'a str,
}

impl Owner<'_> {
    fn write(&self, xml: &mut Writer, element: &str) {
        xml.nest(element, |xml| {
            xml.text("ID", self.id).text("DisplayName", self.display_name);
        });
    }
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
    let wanted = |bucket: &&ListedBucket| {
        let name = bucket.name.as_str();
        call.prefix.as_deref().is_none_or(|prefix| name.starts_with(prefix))
            && call.after.as_deref().is_none_or(|after| name > after)
    };
    let mut rest = buckets.iter().filter(wanted).peekable();
    let most = call.buckets_max.map_or(usize::MAX, |max| max as usize);
    let page: Vec<&ListedBucket> = rest.by_ref().take(most).collect();
    let next = rest.peek().and(page.last()).map(|last| Position::AfterKey(last.name.as_str().to_owned()));
    let mut xml = Writer::document("ListAllMyBucketsResult");
    owner.write(&mut xml, "Owner");
    xml.nest("Buckets", |xml| {
        for bucket in &page {
            xml.nest("Bucket", |xml| {
                xml.text("Name", bucket.name.as_str()).text("CreationDate", &bucket.created.to_string());
                xml.text("BucketRegion", region);
            });
        }
    });
    if let Some(prefix) = &call.prefix {
        xml.text("Prefix", prefix);
    }
    if let Some(next) = next {
        xml.text("ContinuationToken", &next.to_token());
    }
    document(xml.finish())
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

impl fmt::Debug for ObjectPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectPage({} objects, {} prefixes)", self.objects.len(), self.common_prefixes.len())
    }
}

/// `ListBucketResult`, version 1 or 2.
pub fn list_objects(call: &ListObjects, owner: &Owner<'_>, page: &ObjectPage) -> Response<Bytes> {
    let name = |text| encoded(text, call.url_encoded);
    let mut xml = Writer::document("ListBucketResult");
    xml.text("Name", call.bucket.as_str()).text("Prefix", &name(&call.prefix));
    match &call.version {
        ListVersion::V1 { marker } => {
            xml.text("Marker", &name(marker.as_deref().unwrap_or_default()));
            // Only with a delimiter (S3 API reference): without one the last key is the next marker.
            if let (Some(next), Some(_)) = (&page.next, &call.delimiter) {
                xml.text("NextMarker", &name(next.text()));
            }
        }
        ListVersion::V2 { start_after, token, .. } => {
            if let Some((token, _)) = token {
                xml.text("ContinuationToken", token);
            }
            if let Some(next) = &page.next {
                xml.text("NextContinuationToken", &next.to_token());
            }
            if let Some(start_after) = start_after {
                xml.text("StartAfter", &name(start_after));
            }
            xml.text("KeyCount", &(page.objects.len() + page.common_prefixes.len()).to_string());
        }
    }
    xml.text("MaxKeys", &call.keys_max.to_string());
    delimiter_and_encoding(&mut xml, call.delimiter.as_deref(), call.url_encoded);
    xml.text("IsTruncated", boolean(page.next.is_some()));
    // Version 1 always names the owner, version 2 where it is asked for.
    let with_owner = !matches!(call.version, ListVersion::V2 { fetch_owner: false, .. });
    for object in &page.objects {
        xml.nest("Contents", |xml| {
            xml.text("Key", &name(object.key.as_str())).text("LastModified", &object.modified.to_string());
            xml.text("ETag", &object.etag.to_string());
            for (algorithm, kind) in &object.checksums {
                xml.text("ChecksumAlgorithm", checksum::algorithm_name(*algorithm));
                xml.text("ChecksumType", checksum::kind_name(*kind));
            }
            xml.text("Size", &object.size_bytes.to_string());
            if with_owner {
                owner.write(xml, "Owner");
            }
            xml.text("StorageClass", "STANDARD");
        });
    }
    common_prefixes(&mut xml, &page.common_prefixes, call.url_encoded);
    document(xml.finish())
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
    let object = &call.upload.object;
    let mut xml = Writer::document("ListPartsResult");
    xml.text("Bucket", object.bucket.as_str()).text("Key", &encoded(object.key.as_str(), call.url_encoded));
    xml.text("UploadId", &call.upload.upload.to_string());
    owner.write(&mut xml, "Initiator");
    owner.write(&mut xml, "Owner");
    xml.text("StorageClass", "STANDARD").text("PartNumberMarker", &call.after.to_string());
    // Where a next page would start, also on the last one: S3 answers it there too.
    let last = page.parts.last().map_or(call.after, |part| part.number);
    xml.text("NextPartNumberMarker", &last.to_string()).text("MaxParts", &call.parts_max.to_string());
    if call.url_encoded {
        xml.text("EncodingType", "url");
    }
    xml.text("IsTruncated", boolean(page.truncated));
    if let Some((algorithm, kind)) = page.checksum {
        xml.text("ChecksumAlgorithm", checksum::algorithm_name(algorithm));
        xml.text("ChecksumType", checksum::kind_name(kind));
    }
    for part in &page.parts {
        xml.nest("Part", |xml| {
            xml.text("PartNumber", &part.number.to_string()).text("LastModified", &part.modified.to_string());
            xml.text("ETag", &part.etag.to_string()).text("Size", &part.size_bytes.to_string());
            for sum in &part.checksums {
                xml.text(checksum::element_name(sum.algorithm), &checksum_text(sum, &part.etag));
            }
        });
    }
    document(xml.finish())
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

impl fmt::Debug for UploadPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UploadPage({} uploads, {} prefixes)", self.uploads.len(), self.common_prefixes.len())
    }
}

/// `ListMultipartUploadsResult`.
pub fn list_multipart_uploads(
    call: &ListMultipartUploads,
    owner: &Owner<'_>,
    page: &UploadPage,
) -> Response<Bytes> {
    let name = |text| encoded(text, call.url_encoded);
    let mut xml = Writer::document("ListMultipartUploadsResult");
    xml.text("Bucket", call.bucket.as_str());
    xml.text("KeyMarker", &name(call.key_marker.as_deref().unwrap_or_default()));
    xml.text("UploadIdMarker", &call.upload_id_marker.map(|id| id.to_string()).unwrap_or_default());
    if page.truncated {
        let (key, upload) = page.next_markers();
        xml.text("NextKeyMarker", &name(key)).text("NextUploadIdMarker", &upload);
    }
    xml.text("Prefix", &name(&call.prefix));
    delimiter_and_encoding(&mut xml, call.delimiter.as_deref(), call.url_encoded);
    xml.text("MaxUploads", &call.uploads_max.to_string()).text("IsTruncated", boolean(page.truncated));
    for upload in &page.uploads {
        xml.nest("Upload", |xml| {
            xml.text("Key", &name(upload.key.as_str())).text("UploadId", &upload.upload.to_string());
            owner.write(xml, "Initiator");
            owner.write(xml, "Owner");
            xml.text("StorageClass", "STANDARD").text("Initiated", &upload.created.to_string());
            if let Some((algorithm, kind)) = upload.checksum {
                xml.text("ChecksumAlgorithm", checksum::algorithm_name(algorithm));
                xml.text("ChecksumType", checksum::kind_name(kind));
            }
        });
    }
    common_prefixes(&mut xml, &page.common_prefixes, call.url_encoded);
    document(xml.finish())
}

impl UploadPage {
    /// The later of the last upload and the last common prefix; a prefix has no upload id.
    fn next_markers(&self) -> (&str, String) {
        let prefix = self.common_prefixes.last().map(String::as_str);
        match (self.uploads.last(), prefix) {
            (Some(upload), prefix) if prefix.is_none_or(|prefix| upload.key.as_str() > prefix) => {
                (upload.key.as_str(), upload.upload.to_string())
            }
            (_, prefix) => (prefix.unwrap_or_default(), String::new()),
        }
    }
}

/// A name in a listing: raw, or encoded on request.
fn encoded(text: &str, url_encoded: bool) -> Cow<'_, str> {
    if url_encoded { encode_path(text) } else { Cow::Borrowed(text) }
}

fn delimiter_and_encoding(xml: &mut Writer, delimiter: Option<&str>, url_encoded: bool) {
    if let Some(delimiter) = delimiter {
        xml.text("Delimiter", &encoded(delimiter, url_encoded));
    }
    if url_encoded {
        xml.text("EncodingType", "url");
    }
}

fn common_prefixes(xml: &mut Writer, prefixes: &[String], url_encoded: bool) {
    for prefix in prefixes {
        xml.nest("CommonPrefixes", |xml| {
            xml.text("Prefix", &encoded(prefix, url_encoded));
        });
    }
}

const fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
