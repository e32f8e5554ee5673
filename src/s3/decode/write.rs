//! Arguments of writes: content headers, user metadata, labels, conditions, checksum choices.

use http::HeaderName;

use crate::model::{
    ChecksumAlgorithm, ChecksumKind, ContentHeaders, SYSTEM_METADATA_PREFIX, USER_METADATA_BYTES_MAX,
    UserMetadata,
};

use super::super::call::{
    Call, CompleteMultipartUpload, CreateMultipartUpload, Labels, ObjectId, PutObject, WriteCondition,
};
use super::super::checksum;
use super::super::error::{Code, S3Error};
use super::super::headers::RequestHeaders;
use super::super::uri::Query;
use super::super::xml::unquote;
use super::Request;

const META: &str = "x-amz-meta-";
const CLASS: &str = "class";
const SUBJECT: &str = "subject";

/// `PutObject`.
pub(super) fn put_object(request: &Request<'_>, object: ObjectId) -> Result<Call, S3Error> {
    request.only(&[])?;
    let metadata = metadata(&request.headers)?;
    Ok(Call::PutObject(PutObject {
        object,
        content: content(&request.headers)?,
        labels: labels(&request.headers, &metadata)?,
        metadata,
        condition: condition(request)?,
    }))
}

/// `CreateMultipartUpload`.
pub(super) fn create_upload(request: &Request<'_>, object: ObjectId) -> Result<Call, S3Error> {
    request.only(&["uploads"])?;
    request.refuse_conditions()?;
    let metadata = metadata(&request.headers)?;
    Ok(Call::CreateMultipartUpload(CreateMultipartUpload {
        object,
        content: content(&request.headers)?,
        labels: labels(&request.headers, &metadata)?,
        metadata,
        checksum: checksum_choice(&request.headers)?,
    }))
}

/// `CompleteMultipartUpload`.
pub(super) fn complete_upload(request: &Request<'_>, object: ObjectId) -> Result<Call, S3Error> {
    request.only(&["uploadId"])?;
    let headers = &request.headers;
    let mut found = None;
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(text) = headers.value(checksum::header_name(algorithm))? else { continue };
        if found.replace(checksum::parse_of_object(algorithm, &text)?).is_some() {
            return Err(S3Error::because(Code::InvalidRequest, "Expecting a single x-amz-checksum- header"));
        }
    }
    let size_bytes = headers.value("x-amz-mp-object-size")?.map(|text| {
        let is_decimal = text.bytes().all(|b| b.is_ascii_digit());
        let invalid =
            || S3Error::because(Code::InvalidArgument, "x-amz-mp-object-size must be a number of bytes");
        text.parse().ok().filter(|_| is_decimal).ok_or_else(invalid)
    });
    Ok(Call::CompleteMultipartUpload(CompleteMultipartUpload {
        upload: request.upload(object)?,
        condition: condition(request)?,
        checksum: found,
        checksum_kind: checksum_kind(headers)?,
        size_bytes: size_bytes.transpose()?,
    }))
}

/// The headers S3 keeps. `aws-chunked` is framing of this request, not a coding of the record.
fn content(headers: &RequestHeaders<'_>) -> Result<ContentHeaders, S3Error> {
    let text = |name| Ok::<_, S3Error>(headers.value(name)?.map(std::borrow::Cow::into_owned));
    let codings = headers.joined("content-encoding");
    let codings: Vec<&str> = codings
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    Ok(ContentHeaders {
        content_type: text("content-type")?,
        content_encoding: (!codings.is_empty()).then(|| codings.join(",")),
        content_disposition: text("content-disposition")?,
        content_language: text("content-language")?,
        cache_control: text("cache-control")?,
        expires: text("expires")?,
    })
}

/// `x-amz-meta-*`, as they were sent: an RFC 2047 word is ASCII and comes back as that word.
fn metadata(headers: &RequestHeaders<'_>) -> Result<UserMetadata, S3Error> {
    let mut metadata = UserMetadata::default();
    for header in headers.names_with(META) {
        let name = header.strip_prefix(META).unwrap_or_default();
        // Names from a presigned query have not been through a header parser.
        if name.is_empty() || HeaderName::from_bytes(header.as_bytes()).is_err() {
            return Err(S3Error::because(
                Code::InvalidArgument,
                "The name of a metadata header is not valid.",
            ));
        }
        metadata.0.push((name.to_owned(), headers.joined(&header)));
    }
    if metadata.bytes() > USER_METADATA_BYTES_MAX { Err(Code::MetadataTooLarge.into()) } else { Ok(metadata) }
}

/// Class and subject, from metadata and tags, which must not contradict each other.
fn labels(headers: &RequestHeaders<'_>, metadata: &UserMetadata) -> Result<Labels, S3Error> {
    let mut labels = Labels::default();
    for (name, value) in &metadata.0 {
        if let Some(label) = name.strip_prefix(SYSTEM_METADATA_PREFIX) {
            labels.set(label, value)?;
        }
    }
    let Some(tags) = headers.value("x-amz-tagging")? else { return Ok(labels) };
    let invalid = || {
        S3Error::because(
            Code::InvalidArgument,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then \
                                       URLEncoded URL query parameters without tag name duplicates.",
        )
    };
    let tags = Query::parse(Some(&tags)).map_err(|_| invalid())?;
    for (name, _) in tags.pairs() {
        let Some(label) = name.strip_prefix("terroir:") else {
            return Err(S3Error::not_implemented(
                "Tags other than terroir:class and terroir:subject are not implemented.",
            ));
        };
        labels.set(label, tags.value(name).map_err(|_| invalid())?.unwrap_or_default())?;
    }
    Ok(labels)
}

impl Labels {
    fn set(&mut self, label: &str, value: &str) -> Result<(), S3Error> {
        let slot = match label {
            CLASS => &mut self.class,
            SUBJECT => &mut self.subject,
            _ => {
                return Err(S3Error::because(
                    Code::InvalidArgument,
                    "A terroir label must be class or subject.",
                ));
            }
        };
        if value.is_empty() {
            return Err(S3Error::because(Code::InvalidArgument, "A terroir label must not be empty."));
        }
        match slot {
            Some(other) if other != value => {
                let message = "The tag and the metadata of a terroir label contradict each other.";
                Err(S3Error::because(Code::InvalidArgument, message))
            }
            slot => {
                *slot = Some(value.to_owned());
                Ok(())
            }
        }
    }
}

/// The condition of a write: what S3 has, and nothing else.
fn condition(request: &Request<'_>) -> Result<WriteCondition, S3Error> {
    let headers = &request.headers;
    if headers.has("if-modified-since") || headers.has("if-unmodified-since") {
        return Err(S3Error::not_implemented("Conditions on time are not implemented for writes."));
    }
    match (
        headers.value("if-none-match")?.as_deref().map(str::trim),
        headers.value("if-match")?.as_deref().map(str::trim),
    ) {
        (None, None) => Ok(WriteCondition::None),
        (Some("*"), None) => Ok(WriteCondition::IfAbsent),
        (Some(_), None) => {
            Err(S3Error::not_implemented("If-None-Match with anything but * is not implemented for writes."))
        }
        (None, Some("*")) => Err(S3Error::not_implemented("If-Match with * is not implemented for writes.")),
        (None, Some(etag)) => Ok(WriteCondition::IfMatch(unquote(etag).to_owned())),
        (Some(_), Some(_)) => {
            Err(S3Error::not_implemented("If-Match together with If-None-Match is not implemented."))
        }
    }
}

/// `x-amz-checksum-algorithm` and `-type` (S3 User Guide, "Checking object integrity": which goes with which).
fn checksum_choice(
    headers: &RequestHeaders<'_>,
) -> Result<Option<(ChecksumAlgorithm, ChecksumKind)>, S3Error> {
    let kind = checksum_kind(headers)?;
    let Some(name) = headers.value("x-amz-checksum-algorithm")? else {
        if kind.is_none() {
            return Ok(None);
        }
        let message =
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
        return Err(S3Error::because(Code::InvalidRequest, message));
    };
    let invalid = || S3Error::because(Code::InvalidRequest, "Checksum algorithm provided is unsupported.");
    let algorithm = checksum::algorithm_named(&name).ok_or_else(invalid)?;
    let default = match algorithm {
        ChecksumAlgorithm::Crc64Nvme => ChecksumKind::FullObject,
        _ => ChecksumKind::Composite,
    };
    let impossible = matches!(
        (algorithm, kind),
        (ChecksumAlgorithm::Crc64Nvme, Some(ChecksumKind::Composite))
            | (ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256, Some(ChecksumKind::FullObject))
    );
    if impossible {
        let message = "The x-amz-checksum-type cannot be used with this checksum algorithm.";
        return Err(S3Error::because(Code::InvalidRequest, message));
    }
    Ok(Some((algorithm, kind.unwrap_or(default))))
}

fn checksum_kind(headers: &RequestHeaders<'_>) -> Result<Option<ChecksumKind>, S3Error> {
    let Some(name) = headers.value("x-amz-checksum-type")? else { return Ok(None) };
    let kinds = [ChecksumKind::FullObject, ChecksumKind::Composite];
    let kind = kinds.into_iter().find(|kind| checksum::kind_name(*kind).eq_ignore_ascii_case(&name));
    kind.map(Some).ok_or_else(|| {
        S3Error::because(Code::InvalidRequest, "Value for x-amz-checksum-type header is invalid.")
    })
}
