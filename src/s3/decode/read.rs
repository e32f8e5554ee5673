//! Arguments of reads: range, conditions, `response-*`.

use http::{HeaderMap, HeaderValue, header};

use crate::model::{ContentHeaders, RangeSpec, Timestamp};

use super::super::call::{ETagMatch, ObjectId, ReadConditions, ReadObject};
use super::super::error::{Code, S3Error};
use super::super::xml::unquote;
use super::Request;

/// `GetObject` and `HeadObject`.
pub(super) fn object(request: &Request<'_>, object: ObjectId) -> Result<ReadObject, S3Error> {
    if request.query.has("partNumber") {
        return Err(S3Error::not_implemented("Reading an object by part number is not implemented."));
    }
    request.only(&[
        "versionId",
        "response-content-type",
        "response-content-language",
        "response-expires",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
    ])?;
    request.refuse_versions()?;
    let headers = &request.parts.headers;
    let with_checksums = match request.headers.value("x-amz-checksum-mode")?.as_deref() {
        None => false,
        Some(mode) if mode.eq_ignore_ascii_case("enabled") => true,
        Some(_) => {
            return Err(S3Error::because(Code::InvalidArgument, "x-amz-checksum-mode must be ENABLED"));
        }
    };
    Ok(ReadObject {
        object,
        range: range(headers),
        conditions: ReadConditions {
            if_match: etags(headers, &header::IF_MATCH),
            if_none_match: etags(headers, &header::IF_NONE_MATCH),
            if_modified_since: date(headers, &header::IF_MODIFIED_SINCE),
            if_unmodified_since: date(headers, &header::IF_UNMODIFIED_SINCE),
        },
        overrides: ContentHeaders {
            content_type: request.response("response-content-type")?,
            content_encoding: request.response("response-content-encoding")?,
            content_disposition: request.response("response-content-disposition")?,
            content_language: request.response("response-content-language")?,
            cache_control: request.response("response-cache-control")?,
            expires: request.response("response-expires")?,
        },
        with_checksums,
    })
}

impl Request<'_> {
    /// A header to answer with, which must be one.
    fn response(&self, name: &str) -> Result<Option<String>, S3Error> {
        let Some(text) = self.query.value(name)? else { return Ok(None) };
        match HeaderValue::from_str(text) {
            Ok(_) => Ok(Some(text.to_owned())),
            Err(_) => {
                Err(S3Error::because(Code::InvalidArgument, "A response- parameter is not a header value."))
            }
        }
    }
}

/// The range, if it is a single one that can be read. S3 ignores all others (RFC 9110 §14.2 allows it).
///
/// With `If-Range` it is ignored as well: a full answer is always right, half of another version never.
fn range(headers: &HeaderMap) -> Option<RangeSpec> {
    let mut values = headers.get_all(header::RANGE).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() || headers.contains_key(header::IF_RANGE) {
        return None;
    }
    let (unit, range) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", length) => position(length).map(RangeSpec::Suffix),
        (first, "") => position(first).map(RangeSpec::From),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(RangeSpec::Inclusive(first, last))
        }
    }
}

/// A position in decimal digits; one too big to count with is past every end.
fn position(text: &str) -> Option<u64> {
    let is_decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_decimal.then(|| text.parse().unwrap_or(u64::MAX))
}

/// A list of entity tags. S3's hold no comma; the mark of weak ones is dropped, as S3 compares.
fn etags(headers: &HeaderMap, name: &header::HeaderName) -> Option<ETagMatch> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return Some(ETagMatch::Any);
            }
            tags.push(unquote(tag.strip_prefix("W/").unwrap_or(tag)).to_owned());
        }
    }
    // A condition that cannot be read matches nothing, rather than being no condition.
    headers.contains_key(name).then_some(ETagMatch::OneOf(tags))
}

/// An HTTP date; one that is none is ignored (RFC 9110 §13.1.3).
fn date(headers: &HeaderMap, name: &header::HeaderName) -> Option<Timestamp> {
    let moment = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    let since_epoch = moment.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Some(Timestamp::from_seconds(since_epoch.as_secs()))
}
