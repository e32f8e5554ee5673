//! S3 error codes and how an error looks on the wire. No other file of the crate spells an S3 code.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::xml::Writer;

/// The region a client has to sign for; on errors (S3 API reference, "`HeadBucket`") and on bucket answers.
pub const BUCKET_REGION_HEADER: HeaderName = HeaderName::from_static("x-amz-bucket-region");
/// The id of the exception (`RX-…`) a refusal cites.
pub const EXCEPTION_HEADER: HeaderName = HeaderName::from_static("x-terroir-exception");
/// The id of one request, on every answer.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-amz-request-id");
/// The id of the host that answered, on every answer.
pub const HOST_ID_HEADER: HeaderName = HeaderName::from_static("x-amz-id-2");

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $message:literal;)*) => {
        /// Every S3 error code terroir answers with (S3 API reference, "Error responses").
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as `<Code>` spells it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What `<Message>` says unless the place that refuses knows better.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

codes! {
    /// Not allowed, or no (usable) proof of who is asking.
    AccessDenied = "AccessDenied", FORBIDDEN, "Access Denied";
    /// `Authorization` cannot be read or names another scope.
    AuthorizationHeaderMalformed = "AuthorizationHeaderMalformed", BAD_REQUEST, "The authorization header that you provided is not valid.";
    /// The query form of a signature cannot be read.
    AuthorizationQueryParametersError = "AuthorizationQueryParametersError", BAD_REQUEST, "The authorization query parameters that you provided are not valid.";
    /// A checksum that the client sent is not that of the bytes it sent.
    BadDigest = "BadDigest", BAD_REQUEST, "The Content-MD5 or checksum value that you specified did not match what the server received.";
    /// Somebody else's bucket has this name.
    BucketAlreadyExists = "BucketAlreadyExists", CONFLICT, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Specify a different name and try again.";
    /// The caller's own bucket has this name.
    BucketAlreadyOwnedByYou = "BucketAlreadyOwnedByYou", CONFLICT, "The bucket that you tried to create already exists, and you own it.";
    /// A bucket is deleted only when nothing is in it.
    BucketNotEmpty = "BucketNotEmpty", CONFLICT, "The bucket that you tried to delete is not empty.";
    /// A conditional write met another write.
    ConditionalRequestConflict = "ConditionalRequestConflict", CONFLICT, "The conditional request cannot succeed due to a conflicting operation against this resource.";
    /// Longer than an S3 object may be.
    EntityTooLarge = "EntityTooLarge", BAD_REQUEST, "Your proposed upload exceeds the maximum allowed object size.";
    /// A part other than the last is under the minimum.
    EntityTooSmall = "EntityTooSmall", BAD_REQUEST, "Your proposed upload is smaller than the minimum allowed object size.";
    /// The region asked for is not one the caller may use here.
    IllegalLocationConstraint = "IllegalLocationConstraintException", BAD_REQUEST, "The specified location constraint is not valid for this endpoint.";
    /// Fewer (or more) bytes than announced, or framing that does not add up.
    IncompleteBody = "IncompleteBody", BAD_REQUEST, "You did not provide the number of bytes specified by the Content-Length HTTP header.";
    /// Ours, and not the caller's fault.
    InternalError = "InternalError", INTERNAL_SERVER_ERROR, "An internal error occurred. Try again.";
    /// No such access key, or one that is disabled.
    InvalidAccessKeyId = "InvalidAccessKeyId", FORBIDDEN, "The access key ID that you provided does not exist in our records.";
    /// A header or parameter has a value it cannot have.
    InvalidArgument = "InvalidArgument", BAD_REQUEST, "Invalid Argument";
    /// A bucket name against the naming rules.
    InvalidBucketName = "InvalidBucketName", BAD_REQUEST, "The specified bucket is not valid.";
    /// `Content-MD5` is not a digest at all.
    InvalidDigest = "InvalidDigest", BAD_REQUEST, "The Content-MD5 or checksum value that you specified is not valid.";
    /// A `LocationConstraint` that names nothing.
    InvalidLocationConstraint = "InvalidLocationConstraint", BAD_REQUEST, "The specified location constraint is not valid.";
    /// A part list names a part that is not there, or another version of it.
    InvalidPart = "InvalidPart", BAD_REQUEST, "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.";
    /// A part list is not ascending.
    InvalidPartOrder = "InvalidPartOrder", BAD_REQUEST, "The list of parts was not in ascending order. Parts must be ordered by part number.";
    /// A range that holds no byte of the object.
    InvalidRange = "InvalidRange", RANGE_NOT_SATISFIABLE, "The requested range is not satisfiable";
    /// A request that contradicts itself or a rule.
    InvalidRequest = "InvalidRequest", BAD_REQUEST, "Invalid Request";
    /// A storage class that does not exist.
    InvalidStorageClass = "InvalidStorageClass", BAD_REQUEST, "The storage class you specified is not valid";
    /// A tag that breaks S3's rules.
    InvalidTag = "InvalidTag", BAD_REQUEST, "The tag provided was not a valid tag.";
    /// A session token; terroir issues none.
    InvalidToken = "InvalidToken", BAD_REQUEST, "The provided token is malformed or otherwise not valid.";
    /// A path that cannot be decoded.
    InvalidUri = "InvalidURI", BAD_REQUEST, "Couldn't parse the specified URI.";
    /// Over 1,024 bytes of UTF-8.
    KeyTooLong = "KeyTooLongError", BAD_REQUEST, "Your key is too long.";
    /// A trailer that was not declared, is missing, or cannot be read.
    MalformedTrailer = "MalformedTrailerError", BAD_REQUEST, "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    /// Not XML, not this schema, or over a cap.
    MalformedXml = "MalformedXML", BAD_REQUEST, "The XML that you provided was not well formed or did not validate against our published schema.";
    /// An XML body over its cap.
    MaxMessageLengthExceeded = "MaxMessageLengthExceeded", BAD_REQUEST, "Your request was too large.";
    /// User metadata over 2 KiB.
    MetadataTooLarge = "MetadataTooLarge", BAD_REQUEST, "Your metadata headers exceed the maximum allowed metadata size.";
    /// This method means nothing on this resource.
    MethodNotAllowed = "MethodNotAllowed", METHOD_NOT_ALLOWED, "The specified method is not allowed against this resource.";
    /// A write without a length.
    MissingContentLength = "MissingContentLength", LENGTH_REQUIRED, "You must provide the Content-Length HTTP header.";
    /// A body that has to be there is not.
    MissingRequestBody = "MissingRequestBodyError", BAD_REQUEST, "Request body is empty.";
    /// A header that protects the caller is missing.
    MissingSecurityHeader = "MissingSecurityHeader", BAD_REQUEST, "Your request was missing a required header.";
    /// The bucket is not there (or not the caller's to know of).
    NoSuchBucket = "NoSuchBucket", NOT_FOUND, "The specified bucket does not exist";
    /// The key is not there.
    NoSuchKey = "NoSuchKey", NOT_FOUND, "The specified key does not exist.";
    /// The upload is not there, was completed, or aborted.
    NoSuchUpload = "NoSuchUpload", NOT_FOUND, "The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have been aborted or completed.";
    /// The version is not there.
    NoSuchVersion = "NoSuchVersion", NOT_FOUND, "The version ID specified in the request does not match an existing version.";
    /// S3 has it and terroir does not; the message says which and why.
    NotImplemented = "NotImplemented", NOT_IMPLEMENTED, "A header or query you provided implies functionality that is not implemented.";
    /// Another operation on the same thing is under way.
    OperationAborted = "OperationAborted", CONFLICT, "A conflicting conditional operation is currently in progress against this resource. Try again.";
    /// The records live in another region; the answer says which and where.
    PermanentRedirect = "PermanentRedirect", MOVED_PERMANENTLY, "The bucket that you are attempting to access must be addressed using the specified endpoint. Send all future requests to this endpoint.";
    /// A condition of a conditional request does not hold.
    PreconditionFailed = "PreconditionFailed", PRECONDITION_FAILED, "At least one of the preconditions that you specified did not hold.";
    /// The body did not arrive in time.
    RequestTimeout = "RequestTimeout", BAD_REQUEST, "Your socket connection to the server was not read from or written to within the timeout period.";
    /// The client's clock and ours differ by more than 15 minutes.
    RequestTimeTooSkewed = "RequestTimeTooSkewed", FORBIDDEN, "The difference between the request time and the server's time is too large.";
    /// Something this depends on is down. Never a reason to look elsewhere.
    ServiceUnavailable = "ServiceUnavailable", SERVICE_UNAVAILABLE, "Service is unable to handle request.";
    /// The signature is not the one this request and secret make.
    SignatureDoesNotMatch = "SignatureDoesNotMatch", FORBIDDEN, "The request signature that the server calculated does not match the signature that you provided. Check your secret access key and signing method.";
    /// Too many requests; come back later.
    SlowDown = "SlowDown", SERVICE_UNAVAILABLE, "Please reduce your request rate.";
    /// The tenant has as many buckets as it may have.
    TooManyBuckets = "TooManyBuckets", BAD_REQUEST, "You have attempted to create more buckets than are allowed.";
    /// The signed digest of the body is not that of the body.
    XAmzContentSha256Mismatch = "XAmzContentSHA256Mismatch", BAD_REQUEST, "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

/// An S3 error as the client sees it: a code and a public message. What went wrong inside is logged by whoever handled it.
///
/// Holds no key, header value, or anything else of a record; a bucket name only where S3 echoes one.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Error {
    code: Code,
    message: Cow<'static, str>,
    details: Option<Box<Details>>,
}

/// What only some errors carry.
#[derive(Clone, Default, PartialEq, Eq)]
struct Details {
    region: Option<String>,
    endpoint: Option<String>,
    bucket: Option<String>,
    exception: Option<String>,
    retry_after_s: Option<u32>,
    close: bool,
}

/// The identifiers that every answer carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// This request; also in the audit log.
    pub request: String,
    /// The host that answered.
    pub host: String,
}

impl S3Error {
    /// The error with its usual message.
    pub const fn new(code: Code) -> Self {
        Self { code, message: Cow::Borrowed(code.message()), details: None }
    }

    /// The error with a message of its own. The message is public: no key, value or secret in it.
    pub fn because(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    /// A 501 that names what is not there.
    pub fn not_implemented(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::because(Code::NotImplemented, reason)
    }

    /// Which code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The public message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Names the region to sign for: `<Region>` and `x-amz-bucket-region`.
    #[must_use]
    pub fn with_region(mut self, region: impl Into<String>) -> Self {
        self.details_mut().region = Some(region.into());
        self
    }

    /// Names the host to ask: `<Endpoint>`.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.details_mut().endpoint = Some(endpoint.into());
        self
    }

    /// Names the bucket: `<BucketName>`. Only one the caller named.
    #[must_use]
    pub fn with_bucket(mut self, bucket: impl Into<String>) -> Self {
        self.details_mut().bucket = Some(bucket.into());
        self
    }

    /// Cites an exception of the register: `x-terroir-exception`.
    #[must_use]
    pub fn with_exception(mut self, exception: impl Into<String>) -> Self {
        self.details_mut().exception = Some(exception.into());
        self
    }

    /// Says when to come back: `Retry-After`, in seconds.
    #[must_use]
    pub fn with_retry_after_s(mut self, seconds: u32) -> Self {
        self.details_mut().retry_after_s = Some(seconds);
        self
    }

    /// Says `Connection: close`: the rest of the body will not be read.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.details_mut().close = true;
        self
    }

    /// The answer. `head` leaves the body out, as an answer to HEAD must.
    pub fn into_response(self, ids: &RequestIds, head: bool) -> Response<Bytes> {
        let body = if head { Bytes::new() } else { self.to_xml(ids) };
        let mut response = Response::new(body);
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        // S3 announces XML on HEAD errors too; hyper adds the length of the (empty) body.
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(REQUEST_ID_HEADER, &ids.request);
        put(HOST_ID_HEADER, &ids.host);
        if let Some(details) = &self.details {
            if let Some(region) = &details.region {
                put(BUCKET_REGION_HEADER, region);
            }
            if let Some(exception) = &details.exception {
                put(EXCEPTION_HEADER, exception);
            }
            if let Some(seconds) = details.retry_after_s {
                put(header::RETRY_AFTER, &seconds.to_string());
            }
            if details.close {
                put(header::CONNECTION, "close");
            }
        }
        response
    }

    /// The `<Error>` document (S3 API reference, "REST error responses"): no namespace, unlike every other document.
    fn to_xml(&self, ids: &RequestIds) -> Bytes {
        let mut xml = Writer::document_without_namespace("Error");
        xml.text("Code", self.code.as_str()).text("Message", &self.message);
        if let Some(details) = &self.details {
            let named = [
                ("BucketName", &details.bucket),
                ("Region", &details.region),
                ("Endpoint", &details.endpoint),
            ];
            for (name, value) in named {
                if let Some(value) = value {
                    xml.text(name, value);
                }
            }
        }
        xml.text("RequestId", &ids.request).text("HostId", &ids.host);
        xml.finish()
    }

    fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }
}

impl From<Code> for S3Error {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl fmt::Debug for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Error({self})")
    }
}

impl std::error::Error for S3Error {}
