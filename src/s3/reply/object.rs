//! The headers of one object's answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::model::{ByteRange, Checksum, ContentHeaders, ETag, ObjectMeta, Timestamp};

use super::super::call::ReadObject;
use super::super::checksum;

/// What S3 answers where no type was stored.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

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
    let mut response = Response::new(());
    let length = range.map_or(head.size_bytes, |range| range.len());
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    if let Some(range) = range {
        let value = format!("bytes {}-{}/{}", range.start(), range.end() - 1, head.size_bytes);
        put(headers, header::CONTENT_RANGE, &value);
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    validators(headers, head);
    content(headers, &head.meta.content, &read.overrides);
    for (name, value) in &head.meta.user.0 {
        if let Ok(name) = HeaderName::try_from(format!("x-amz-meta-{name}")) {
            put(headers, name, &metadata_value(value));
        }
    }
    // A checksum of the whole beside a part of it would make SDKs fail the part.
    if read.with_checksums && range.is_none() {
        checksums(headers, &head.meta.checksums, head.etag);
    }
    sse(headers, head.kms_key_id);
    response
}

/// 304, with the headers RFC 9110 §15.4.5 wants.
pub fn not_modified(head: &ObjectHead<'_>) -> Response<Bytes> {
    let mut response = super::empty(StatusCode::NOT_MODIFIED);
    let headers = response.headers_mut();
    validators(headers, head);
    if let Some(value) = &head.meta.content.cache_control {
        put(headers, header::CACHE_CONTROL, value);
    }
    if let Some(value) = &head.meta.content.expires {
        put(headers, header::EXPIRES, value);
    }
    response
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
    let mut response = super::empty(StatusCode::OK);
    let headers = response.headers_mut();
    put(headers, header::ETAG, &written.etag.to_string());
    checksums(headers, written.checksums, written.etag);
    version_and_sse(headers, written);
    response
}

/// What tells clients that the `ETag` is no MD5: they compare it otherwise.
pub(super) fn sse(headers: &mut HeaderMap, kms_key_id: &str) {
    headers
        .insert(HeaderName::from_static("x-amz-server-side-encryption"), HeaderValue::from_static("aws:kms"));
    put(headers, HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id"), kms_key_id);
}

pub(super) fn version_and_sse(headers: &mut HeaderMap, written: &Written<'_>) {
    version(headers, written.version_id);
    sse(headers, written.kms_key_id);
}

fn validators(headers: &mut HeaderMap, head: &ObjectHead<'_>) {
    put(headers, header::ETAG, &head.etag.to_string());
    let modified = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(head.modified.seconds()));
    // The year 9999 is where HTTP dates end, and `httpdate` panics beyond it.
    if let Some(modified) = modified.filter(|_| head.modified.seconds() < 253_402_300_800) {
        put(headers, header::LAST_MODIFIED, &httpdate::fmt_http_date(modified));
    }
    version(headers, head.version_id);
}

fn version(headers: &mut HeaderMap, version_id: Option<&str>) {
    if let Some(id) = version_id {
        put(headers, HeaderName::from_static("x-amz-version-id"), id);
    }
}

fn content(headers: &mut HeaderMap, stored: &ContentHeaders, overrides: &ContentHeaders) {
    let pick = |over: &Option<String>, stored: &Option<String>| over.clone().or_else(|| stored.clone());
    let content_type = pick(&overrides.content_type, &stored.content_type);
    put(headers, header::CONTENT_TYPE, content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE));
    let optional = [
        (header::CONTENT_ENCODING, pick(&overrides.content_encoding, &stored.content_encoding)),
        (header::CONTENT_DISPOSITION, pick(&overrides.content_disposition, &stored.content_disposition)),
        (header::CONTENT_LANGUAGE, pick(&overrides.content_language, &stored.content_language)),
        (header::CACHE_CONTROL, pick(&overrides.cache_control, &stored.cache_control)),
        (header::EXPIRES, pick(&overrides.expires, &stored.expires)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            put(headers, name, &value);
        }
    }
}

/// Checksums as headers. A composite one ends in the number of parts, which the entity tag of the object holds.
fn checksums(headers: &mut HeaderMap, checksums: &[Checksum], etag: &ETag) {
    for sum in checksums {
        let text = super::checksum_text(sum, etag);
        put(headers, HeaderName::from_static(checksum::header_name(sum.algorithm)), &text);
        put(headers, HeaderName::from_static("x-amz-checksum-type"), checksum::kind_name(sum.kind));
    }
}

/// A value as S3 answers it: ASCII as it is, anything else as one RFC 2047 word.
fn metadata_value(value: &str) -> String {
    if value.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return value.to_owned();
    }
    format!("=?UTF-8?B?{}?=", STANDARD.encode(value))
}

/// Sets a header from text that came from one. What cannot be a header value is left out, never cut or altered.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}
