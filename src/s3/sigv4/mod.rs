//! AWS Signature Version 4, as S3 has it: header form, query form, signed chunks. No other way of proving who one is.
//!
//! Sources: "Authenticating Requests (AWS Signature Version 4)" in the S3 API reference, with its examples as tests.

mod verify;

use std::fmt;

use http::request::Parts;

use crate::model::{AccessKeyId, RegionId, Secret, Timestamp};

use super::error::S3Error;

/// How far the client's clock and ours may be apart, in seconds (S3 API reference, `RequestTimeTooSkewed`).
pub const SKEW_S_MAX: u64 = 15 * 60;
/// The longest life of a presigned URL, in seconds: seven days (S3 API reference, `X-Amz-Expires`).
pub const EXPIRES_S_MAX: u64 = 604_800;

/// What a request presents as proof, parsed and not yet believed.
#[derive(Clone)]
pub struct Presented {
    key_id: String,
}

impl Presented {
    /// Parses the header form or the query form. Anonymous requests, signature V2, and both forms at once are refused.
    pub fn from_parts(parts: &Parts) -> Result<Self, S3Error> {
        todo!()
    }

    /// The access key id as text.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The scope's date, `YYYYMMDD`: with the key id, what a [`SigningKey`] may be cached under.
    pub fn date(&self) -> &str {
        todo!()
    }

    /// The scope's region, as sent.
    pub fn region(&self) -> &str {
        todo!()
    }

    /// Whether this is the query form.
    pub fn is_presigned(&self) -> bool {
        todo!()
    }

    /// All that can be refused without a secret: scope, time, expiry, what has to be signed. [`verify`] asks again.
    pub fn admissible(&self, parts: &Parts, now: Timestamp, region: &RegionId) -> Result<(), S3Error> {
        todo!()
    }
}

/// The access key id a request claims, cheaply and unauthenticated: good for a redirect and for nothing else.
///
/// `None` if it claims none, or one that is not terroir's.
pub fn key_id(parts: &Parts) -> Option<AccessKeyId> {
    todo!()
}

/// A secret bound to date, region and service: what signs. Good for that day; cache it under key id and date.
#[derive(Clone)]
pub struct SigningKey(aws_lc_rs::hmac::Key);

impl SigningKey {
    /// Derives it: four HMACs (S3 API reference, "Calculate the signing key").
    pub fn derive(secret: &Secret<String>, date: &str, region: &str) -> Self {
        todo!()
    }
}

/// A request whose signature holds. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    presigned: bool,
    chunks: ChunkSigner,
}

impl Verified {
    /// What verifies the body's chunks and trailer; hand it to [`super::Payload::new`].
    pub fn chunk_signer(&self) -> &ChunkSigner {
        &self.chunks
    }

    /// Whether it came in the query form.
    pub fn is_presigned(&self) -> bool {
        self.presigned
    }
}

/// Verifies the signature chain of a body: each chunk is signed over the signature before it.
#[derive(Clone)]
pub struct ChunkSigner {
    key: SigningKey,
}

/// Verifies the request's signature in constant time, with everything [`Presented::admissible`] asks.
pub fn verify(
    presented: &Presented,
    key: &SigningKey,
    parts: &Parts,
    now: Timestamp,
    region: &RegionId,
) -> Result<Verified, S3Error> {
    todo!()
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

impl fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkSigner(***)")
    }
}
