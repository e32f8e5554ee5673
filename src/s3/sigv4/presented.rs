//! What a request presents as proof: the `Authorization` header or the `X-Amz-*` query parameters, parsed.

use std::fmt;

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

use crate::model::{AccessKeyId, RegionId, Timestamp};

use super::super::error::{Code, S3Error};
use super::super::uri::Query;
use super::{
    ALGORITHM, EXPIRES_S_MAX, PAYLOAD_HASH_HEADER, SERVICE, SKEW_S_MAX, TERMINATOR, UNSIGNED_PAYLOAD,
    parse_signature,
};

/// Names in `SignedHeaders`: as many as a request may have headers.
const SIGNED_HEADERS_MAX: usize = 100;
/// What SDKs send with a presigned request and do not sign (aws-sigv4 1.6, `canonical_request.rs`): neither changes what is
/// done or whose it is.
const UNSIGNED_IN_URLS: [&str; 2] = ["x-amz-user-agent", "x-amz-checksum-mode"];

/// What a request presents as proof, parsed and not yet believed.
#[derive(Clone)]
pub struct Presented {
    key_id: String,
    date: String,
    region: String,
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
    /// `YYYYMMDDTHHMMSSZ`, as it stands in the string to sign.
    pub(super) timestamp: String,
    moment: Timestamp,
    /// The last line of the canonical request, as sent.
    pub(super) payload_hash: String,
    form: Form,
}

/// Where the signature stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Header,
    Query { expires_s: u64 },
}

impl Presented {
    /// Parses the header form or the query form.
    ///
    /// # Errors
    /// `AccessDenied` for an anonymous request, `InvalidRequest` for signature V2, `InvalidArgument` for two proofs at
    /// once, `InvalidToken` for a session token (terroir issues none), `NotImplemented` for `SigV4a`, and
    /// `AuthorizationHeaderMalformed` or `AuthorizationQueryParametersError`.
    pub fn from_parts(parts: &Parts) -> Result<Self, S3Error> {
        let query = Query::parse(parts.uri.query())?;
        let in_query =
            query.has("X-Amz-Algorithm") || query.has("X-Amz-Signature") || query.has("X-Amz-Credential");
        let v2_in_query = query.has("AWSAccessKeyId") || query.has("Signature");
        let in_header = parts.headers.contains_key(header::AUTHORIZATION);
        match (in_header, in_query, v2_in_query) {
            (false, false, false) => Err(Code::AccessDenied.into()),
            (true, false, false) => Self::from_header(&parts.headers),
            (false, true, false) => Self::from_query(&query, &parts.headers),
            (false, false, true) => Err(v2()),
            _ => Err(S3Error::because(
                Code::InvalidArgument,
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                 parameter or the Authorization header should be specified",
            )),
        }
    }

    /// The access key id as text.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The scope's date, `YYYYMMDD`: with the key id, what a [`super::SigningKey`] may be cached under.
    pub fn date(&self) -> &str {
        &self.date
    }

    /// The scope's region, as sent.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether this is the query form.
    pub const fn is_presigned(&self) -> bool {
        matches!(self.form, Form::Query { .. })
    }

    /// All that can be refused without a secret: region, time, expiry, what has to be signed. [`super::verify`] asks it
    /// too; ask before looking a secret up.
    ///
    /// # Errors
    /// `AuthorizationHeaderMalformed` (or its query twin) with the region to sign for, `RequestTimeTooSkewed`,
    /// `AccessDenied` for an expired URL or an `x-amz-*` header that is not signed.
    pub fn admissible(&self, parts: &Parts, now: Timestamp, region: &RegionId) -> Result<(), S3Error> {
        if self.region != region.as_str() {
            let message =
                format!("The authorization is malformed; the region is wrong; expecting '{region}'");
            return Err(S3Error::because(self.malformed_code(), message).with_region(region.as_str()));
        }
        self.check_time(now)?;
        // An unsigned header could be added by anybody on the way. S3 wants no more than this signed: DuckDB for one does
        // not sign its `Content-Type`. The payload's digest is a line of the canonical request in any case.
        let is_signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        let must_be_signed = |name: &str| {
            let exempt =
                name == PAYLOAD_HASH_HEADER || (self.is_presigned() && UNSIGNED_IN_URLS.contains(&name));
            !exempt && (name.starts_with("x-amz-") || name == "content-md5")
        };
        let unsigned =
            parts.headers.keys().map(HeaderName::as_str).any(|n| must_be_signed(n) && !is_signed(n));
        if unsigned || !is_signed("host") {
            let message = "There were headers present in the request which were not signed";
            return Err(S3Error::because(Code::AccessDenied, message));
        }
        Ok(())
    }

    /// The scope line of the string to sign.
    pub(super) fn scope(&self) -> String {
        format!("{}/{}/{SERVICE}/{TERMINATOR}", self.date, self.region)
    }

    fn check_time(&self, now: Timestamp) -> Result<(), S3Error> {
        let (now, then) = (now.seconds(), self.moment.seconds());
        match self.form {
            Form::Header if now.abs_diff(then) > SKEW_S_MAX => Err(Code::RequestTimeTooSkewed.into()),
            Form::Query { .. } if then > now.saturating_add(SKEW_S_MAX) => {
                Err(S3Error::because(Code::AccessDenied, "Request is not valid yet"))
            }
            Form::Query { expires_s } if now >= then.saturating_add(expires_s) => {
                Err(S3Error::because(Code::AccessDenied, "Request has expired"))
            }
            Form::Header | Form::Query { .. } => Ok(()),
        }
    }

    const fn malformed_code(&self) -> Code {
        match self.form {
            Form::Header => Code::AuthorizationHeaderMalformed,
            Form::Query { .. } => Code::AuthorizationQueryParametersError,
        }
    }

    fn from_header(headers: &HeaderMap) -> Result<Self, S3Error> {
        let malformed = || S3Error::new(Code::AuthorizationHeaderMalformed);
        let authorization =
            single(headers, "authorization", Code::AuthorizationHeaderMalformed)?.unwrap_or_default();
        let (algorithm, fields) = authorization.split_once(' ').ok_or_else(malformed)?;
        check_algorithm(algorithm)?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim_matches(' ').split_once('=').ok_or_else(malformed)?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(malformed()),
            };
            if slot.replace(value).is_some() {
                return Err(malformed());
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature)) =
            (credential, signed_headers, signature)
        else {
            return Err(malformed());
        };
        if headers.contains_key("x-amz-security-token") {
            return Err(Code::InvalidToken.into());
        }
        let payload_hash = single(headers, PAYLOAD_HASH_HEADER, Code::InvalidRequest)?.ok_or_else(|| {
            S3Error::because(
                Code::InvalidRequest,
                "Missing required header for this request: x-amz-content-sha256",
            )
        })?;
        let timestamp = header_timestamp(headers)?;
        Fields { credential, signed_headers, signature, timestamp, payload_hash }.read(Form::Header)
    }

    fn from_query(query: &Query, headers: &HeaderMap) -> Result<Self, S3Error> {
        let malformed = |message| S3Error::because(Code::AuthorizationQueryParametersError, message);
        let required = |name: &str| {
            query.value(name)?.ok_or_else(|| {
                malformed(
                    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                     X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
                )
            })
        };
        check_algorithm(required("X-Amz-Algorithm")?)?;
        let expires = required("X-Amz-Expires")?;
        let expires_s = expires.parse().ok().filter(|s| (1..=EXPIRES_S_MAX).contains(s));
        let expires_s = expires_s
            .filter(|_| expires.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| malformed("X-Amz-Expires must be a number of seconds between 1 and 604800"))?;
        if query.has("X-Amz-Security-Token") || headers.contains_key("x-amz-security-token") {
            return Err(Code::InvalidToken.into());
        }
        let from_header = single(headers, PAYLOAD_HASH_HEADER, Code::InvalidRequest)?;
        let payload_hash = from_header.or(query.value("X-Amz-Content-Sha256")?).unwrap_or(UNSIGNED_PAYLOAD);
        let fields = Fields {
            credential: required("X-Amz-Credential")?,
            signed_headers: required("X-Amz-SignedHeaders")?,
            signature: required("X-Amz-Signature")?,
            timestamp: required("X-Amz-Date")?.to_owned(),
            payload_hash,
        };
        fields.read(Form::Query { expires_s })
    }
}

/// The parts of a proof as text.
struct Fields<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    timestamp: String,
    payload_hash: &'a str,
}

impl Fields<'_> {
    fn read(self, form: Form) -> Result<Presented, S3Error> {
        let code = match form {
            Form::Header => Code::AuthorizationHeaderMalformed,
            Form::Query { .. } => Code::AuthorizationQueryParametersError,
        };
        let mut credential = self.credential.rsplitn(5, '/');
        let (terminator, service) = (credential.next(), credential.next());
        let (Some(region), Some(date), Some(key_id)) =
            (credential.next(), credential.next(), credential.next())
        else {
            return Err(S3Error::because(
                code,
                "The Credential is malformed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            ));
        };
        if terminator != Some(TERMINATOR) || service != Some(SERVICE) || key_id.is_empty() {
            return Err(S3Error::because(code, "The Credential is for another service than s3."));
        }
        let moment = parse_timestamp(&self.timestamp)
            .ok_or_else(|| S3Error::because(code, "The date of the request is malformed."))?;
        if self.timestamp.get(..8) != Some(date) {
            return Err(S3Error::because(code, "The date of the Credential is not that of the request."));
        }
        let signed_headers: Vec<String> = self.signed_headers.split(';').map(str::to_owned).collect();
        let is_name = |name: &String| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
        // Ascending without repetition: the one spelling that clients produce.
        let ascending = signed_headers.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || !signed_headers.iter().all(is_name) || signed_headers.len() > SIGNED_HEADERS_MAX {
            return Err(S3Error::because(code, "SignedHeaders must be lowercase names in ascending order."));
        }
        Ok(Presented {
            key_id: key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            signed_headers,
            signature: parse_signature(self.signature.as_bytes()).ok_or(Code::SignatureDoesNotMatch)?,
            timestamp: self.timestamp,
            moment,
            payload_hash: self.payload_hash.to_owned(),
            form,
        })
    }
}

/// The access key id a request claims, cheaply and unauthenticated: good for a redirect and for nothing else.
///
/// `None` if it claims none, or one that is not terroir's.
pub fn key_id(parts: &Parts) -> Option<AccessKeyId> {
    let credential = match parts.headers.get(header::AUTHORIZATION) {
        Some(value) => value.to_str().ok()?.split_once("Credential=")?.1.to_owned(),
        None => Query::parse(parts.uri.query()).ok()?.value("X-Amz-Credential").ok()??.to_owned(),
    };
    credential.split_once('/')?.0.parse().ok()
}

fn v2() -> S3Error {
    let message =
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
    S3Error::because(Code::InvalidRequest, message)
}

fn check_algorithm(algorithm: &str) -> Result<(), S3Error> {
    match algorithm {
        ALGORITHM => Ok(()),
        "AWS" => Err(v2()),
        "AWS4-ECDSA-P256-SHA256" => Err(S3Error::not_implemented("Signature Version 4A is not implemented.")),
        _ => Err(S3Error::because(Code::InvalidArgument, "Unsupported Authorization Type")),
    }
}

/// The one value of a header, as ASCII text.
fn single<'a>(headers: &'a HeaderMap, name: &'static str, code: Code) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| code.into()),
        (Some(_), Some(_)) => {
            Err(S3Error::because(code, "A header of the signature is given more than once."))
        }
    }
}

/// `x-amz-date`, or `Date` where that is missing, as it goes into the string to sign.
fn header_timestamp(headers: &HeaderMap) -> Result<String, S3Error> {
    let missing = || {
        S3Error::because(Code::AccessDenied, "AWS authentication requires a valid Date or x-amz-date header")
    };
    if let Some(text) = single(headers, "x-amz-date", Code::AccessDenied)? {
        return Ok(text.to_owned());
    }
    let text = single(headers, "date", Code::AccessDenied)?.ok_or_else(missing)?;
    if parse_timestamp(text).is_some() {
        return Ok(text.to_owned());
    }
    let moment = httpdate::parse_http_date(text).map_err(|_| missing())?;
    let moment = jiff::Timestamp::try_from(moment).map_err(|_| missing())?;
    Ok(moment.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// Reads `YYYYMMDDTHHMMSSZ`, nothing else of ISO 8601.
fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 16
        && bytes.iter().enumerate().all(|(at, b)| match at {
            8 => *b == b'T',
            15 => *b == b'Z',
            _ => b.is_ascii_digit(),
        });
    if !shaped {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let small = |from| number(from, from + 2).and_then(|n| i8::try_from(n).ok());
    let (hour, minute, second) = (small(9)?, small(11)?, small(13)?);
    let civil = jiff::civil::DateTime::new(number(0, 4)?, small(4)?, small(6)?, hour, minute, second, 0);
    let moment = jiff::tz::TimeZone::UTC.to_timestamp(civil.ok()?).ok()?;
    u64::try_from(moment.as_second()).ok().map(Timestamp::from_seconds)
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("key_id", &self.key_id)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
