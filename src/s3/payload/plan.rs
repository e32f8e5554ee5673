//! What the headers promise of a body: framing, length, checksums.

use http::header;
use http::request::Parts;

use crate::model::{Checksum, ChecksumAlgorithm};

use super::super::call::{BodyKind, Call};
use super::super::checksum;
use super::super::error::{Code, S3Error};
use super::super::headers::RequestHeaders;
use super::super::uri::Query;

/// The longest body of one `PutObject` or `UploadPart`, in bytes: 5 GiB (S3 User Guide, "Uploading objects").
pub const RECORD_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// How a body is framed and what vouches for it: `x-amz-content-sha256` (S3 API reference, "Authenticating Requests", the payload options).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadMode {
    /// A digest of the whole body, signed with the headers.
    Signed([u8; 32]),
    /// `UNSIGNED-PAYLOAD`, and every presigned URL that says nothing else.
    Unsigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: aws-chunked, each chunk signed.
    SignedChunks,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: the same, with a signed trailer.
    SignedChunksTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: aws-chunked, unsigned, with a trailer.
    UnsignedChunksTrailer,
}

impl PayloadMode {
    /// Whether chunk headers stand in the body. Only this decides: `Content-Encoding: aws-chunked` on a plain body is
    /// legal, and means nothing.
    pub const fn is_chunked(self) -> bool {
        matches!(self, Self::SignedChunks | Self::SignedChunksTrailer | Self::UnsignedChunksTrailer)
    }

    /// Whether a trailer follows the last chunk.
    pub const fn has_trailer(self) -> bool {
        matches!(self, Self::SignedChunksTrailer | Self::UnsignedChunksTrailer)
    }

    fn parse(text: &str) -> Result<Self, S3Error> {
        match text {
            "UNSIGNED-PAYLOAD" => Ok(Self::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::SignedChunks),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::SignedChunksTrailer),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::UnsignedChunksTrailer),
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
            | "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER" => Err(S3Error::not_implemented(
                "Payloads signed with Signature Version 4A (ECDSA) are not implemented.",
            )),
            text => {
                let mut digest = [0; 32];
                let message = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- value that S3 knows, or a \
                               SHA256 digest in hex";
                hex::decode_to_slice(text, &mut digest)
                    .map_err(|_| S3Error::because(Code::InvalidArgument, message))?;
                Ok(Self::Signed(digest))
            }
        }
    }
}

/// What the headers promise of the body.
#[derive(Clone, Debug)]
pub struct PayloadPlan {
    pub(super) mode: PayloadMode,
    pub(super) decoded_bytes: u64,
    pub(super) md5: Option<[u8; 16]>,
    pub(super) checksum: Option<Checksum>,
    pub(super) trailer: Option<ChecksumAlgorithm>,
}

impl PayloadPlan {
    /// Reads the promises. `call` says whether checksum headers speak of this body or, on Complete, of the object.
    ///
    /// # Errors
    /// `MissingContentLength` for a body of unknown length, `InvalidDigest`, `InvalidRequest`, `InvalidArgument`,
    /// `NotImplemented` for the asymmetric (ECDSA) modes, `EntityTooLarge` over [`RECORD_BYTES_MAX`].
    pub fn from_parts(parts: &Parts, call: &Call) -> Result<Self, S3Error> {
        let query = Query::parse(parts.uri.query())?;
        let headers = RequestHeaders::new(parts, &query);
        let mode = match headers.value("x-amz-content-sha256")? {
            Some(text) => PayloadMode::parse(&text)?,
            None => {
                query.value("X-Amz-Content-Sha256")?.map_or(Ok(PayloadMode::Unsigned), PayloadMode::parse)?
            }
        };
        let of_body = call.body() != BodyKind::Ignored && !matches!(call, Call::CompleteMultipartUpload(_));
        let plan = Self {
            mode,
            decoded_bytes: decoded_length(&headers, mode, call.body())?,
            md5: parts.headers.get("content-md5").map(|v| checksum::parse_md5(v.as_bytes())).transpose()?,
            checksum: if of_body { header_checksum(&headers)? } else { None },
            trailer: trailer(&headers, mode)?,
        };
        if of_body {
            plan.check_algorithm(&headers)?;
        }
        if matches!(call, Call::DeleteObjects(_)) && !plan.is_protected() {
            let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
            return Err(S3Error::because(Code::InvalidRequest, message));
        }
        Ok(plan)
    }

    /// The mode.
    pub const fn mode(&self) -> PayloadMode {
        self.mode
    }

    /// The length of the decoded body in bytes.
    pub const fn decoded_bytes(&self) -> u64 {
        self.decoded_bytes
    }

    /// The checksum algorithm the client chose, if any: for `UploadPart` to compare with the upload's.
    pub fn checksum_algorithm(&self) -> Option<ChecksumAlgorithm> {
        self.checksum.as_ref().map(|checksum| checksum.algorithm).or(self.trailer)
    }

    /// Whether anything says that the body is what was sent. A damaged list of keys would delete others.
    fn is_protected(&self) -> bool {
        let by_mode = matches!(self.mode, PayloadMode::Signed(_) | PayloadMode::SignedChunks);
        by_mode || self.md5.is_some() || self.checksum_algorithm().is_some()
    }

    /// `x-amz-sdk-checksum-algorithm` announces a checksum, which must then be there.
    fn check_algorithm(&self, headers: &RequestHeaders<'_>) -> Result<(), S3Error> {
        if self.checksum.is_some() && self.trailer.is_some() {
            return Err(S3Error::because(Code::InvalidRequest, "Expecting a single x-amz-checksum- header"));
        }
        let Some(name) = headers.value("x-amz-sdk-checksum-algorithm")? else { return Ok(()) };
        let announced = checksum::algorithm_named(&name).ok_or_else(|| {
            S3Error::because(
                Code::InvalidRequest,
                "Value for x-amz-sdk-checksum-algorithm header is invalid.",
            )
        })?;
        if self.checksum_algorithm() == Some(announced) {
            return Ok(());
        }
        let message = "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                       headers were found.";
        Err(S3Error::because(Code::InvalidRequest, message))
    }
}

/// The length of the body without framing.
fn decoded_length(headers: &RequestHeaders<'_>, mode: PayloadMode, kind: BodyKind) -> Result<u64, S3Error> {
    let number = |name: &str| -> Result<Option<u64>, S3Error> {
        let Some(text) = headers.value(name)? else { return Ok(None) };
        let is_decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_decimal);
        number
            .map(Some)
            .ok_or_else(|| S3Error::because(Code::InvalidArgument, "A length must be a decimal number."))
    };
    let (wire, decoded) = (number("content-length")?, number("x-amz-decoded-content-length")?);
    let known = match (mode.is_chunked(), wire, decoded) {
        (true, _, decoded) => decoded,
        // A plain body announced twice; two different lengths are one lie.
        (false, Some(wire), Some(decoded)) if wire != decoded => return Err(Code::IncompleteBody.into()),
        (false, wire, decoded) => wire.or(decoded),
    };
    // Without either header a request has no body (RFC 9112 §6.3), which is right for all but a record.
    let has_body =
        headers.has(header::TRANSFER_ENCODING.as_str()) || kind == BodyKind::Record || mode.is_chunked();
    let bytes = match known {
        Some(bytes) => bytes,
        None if has_body => return Err(Code::MissingContentLength.into()),
        None => 0,
    };
    if bytes > RECORD_BYTES_MAX { Err(Code::EntityTooLarge.into()) } else { Ok(bytes) }
}

/// The one `x-amz-checksum-<algorithm>` header.
fn header_checksum(headers: &RequestHeaders<'_>) -> Result<Option<Checksum>, S3Error> {
    let mut found = None;
    for name in headers.names_with("x-amz-checksum-") {
        // `-mode`, `-type` and `-algorithm` are no checksums.
        let Some(algorithm) = checksum::algorithm_of_header(&name) else { continue };
        let Some(text) = headers.value(&name)? else { continue };
        if found.replace(checksum::parse(algorithm, &text)?).is_some() {
            let message =
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
            return Err(S3Error::because(Code::InvalidRequest, message));
        }
    }
    Ok(found)
}

/// The one checksum that `x-amz-trailer` declares.
fn trailer(headers: &RequestHeaders<'_>, mode: PayloadMode) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let invalid = || {
        S3Error::because(
            Code::InvalidRequest,
            "The value specified in the x-amz-trailer header is not supported",
        )
    };
    match headers.value("x-amz-trailer")? {
        None if mode.has_trailer() => Err(invalid()),
        None => Ok(None),
        Some(_) if !mode.has_trailer() => Err(invalid()),
        Some(name) => checksum::algorithm_of_header(name.trim()).map(Some).ok_or_else(invalid),
    }
}
