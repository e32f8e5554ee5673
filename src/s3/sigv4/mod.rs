//! AWS Signature Version 4, as S3 has it: header form, query form, signed chunks. No other way of proving who one is.
//!
//! Sources: "Authenticating Requests (AWS Signature Version 4)" in the S3 API reference, with its examples as tests.

mod canonical;
mod chunks;
mod presented;
#[cfg(test)]
mod vectors;
mod verify;

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::model::Secret;

pub(super) use chunks::ChunkSigner;
pub use presented::{Presented, key_id};
pub use verify::{Verified, verify};

/// How far the client's clock and ours may be apart, in seconds (S3 API reference, `RequestTimeTooSkewed`).
pub const SKEW_S_MAX: u64 = 15 * 60;
/// The longest life of a presigned URL, in seconds: seven days (S3 API reference, `X-Amz-Expires`).
pub const EXPIRES_S_MAX: u64 = 604_800;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";
const TERMINATOR: &str = "aws4_request";
const PAYLOAD_HASH_HEADER: &str = "x-amz-content-sha256";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A secret bound to date, region and service: what signs. Good for that day; cache it under key id and date.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Derives it: four HMACs (S3 API reference, "Calculate the signing key"). `date` is `YYYYMMDD`.
    pub fn derive(secret: &Secret<String>, date: &str, region: &str) -> Self {
        let start = Zeroizing::new([b"AWS4", secret.expose().as_bytes()].concat());
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, &start);
        for step in [date, region, SERVICE, TERMINATOR] {
            let tag = hmac::sign(&key, step.as_bytes());
            key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
        }
        Self(key)
    }

    /// Whether `signature` is this key's over `message`; constant time.
    fn holds(&self, message: &[u8], signature: &[u8; 32]) -> bool {
        hmac::verify(&self.0, message, signature).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

/// Reads a signature: 64 lowercase hex digits, one spelling only.
pub(super) fn parse_signature(text: &[u8]) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    let is_lower = text.iter().all(|b| !b.is_ascii_uppercase());
    (is_lower && hex::decode_to_slice(text, &mut signature).is_ok()).then_some(signature)
}
