//! The wire: http ⇄ [`Call`] and answers, Signature V4, aws-chunked, XML, error codes. Strict and small on purpose.
//!
//! It knows no tenant, no catalogue and no store. A request goes through it in this order:
//! 1. [`key_id`]: whose region? Unauthenticated, for a redirect only.
//! 2. [`decode`]: which [`Call`]?
//! 3. [`Presented::from_parts`], then [`verify`] with a [`SigningKey`]: who?
//! 4. [`PayloadPlan::from_parts`] and [`Payload`]: the body, verified as it streams; documents through [`xml`].
//! 5. [`reply`] for the answer, or [`S3Error::into_response`].

mod call;
mod checksum;
mod decode;
mod error;
mod headers;
mod payload;
pub mod reply;
mod sigv4;
mod token;
mod uri;
mod whole;
pub mod xml;

pub use call::{
    BodyKind, Call, CompleteMultipartUpload, CreateMultipartUpload, ETagMatch, Labels, ListBuckets,
    ListMultipartUploads, ListObjects, ListParts, ListVersion, ObjectId, PutObject, ReadConditions,
    ReadObject, Unsupported, UploadPart, UploadRef, WriteCondition,
};
pub use decode::{Domains, decode};
pub use error::{
    BUCKET_REGION_HEADER, Code, EXCEPTION_HEADER, HOST_ID_HEADER, REQUEST_ID_HEADER, RequestIds, S3Error,
};
pub use payload::{Payload, PayloadMode, PayloadPlan, RECORD_BYTES_MAX, Received};
pub use sigv4::{EXPIRES_S_MAX, Presented, SKEW_S_MAX, SigningKey, Verified, key_id, verify};
pub use token::Position;
pub use whole::whole_checksum;
