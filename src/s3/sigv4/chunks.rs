//! The signature chain of a body in signed chunks (S3 API reference, "Transferring payload in multiple chunks").

use std::fmt;

use aws_lc_rs::digest;

use super::super::error::{Code, S3Error};
use super::{Presented, SigningKey};

/// SHA-256 of nothing, in hex: a constant line of every chunk's string to sign.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Verifies the signature chain of a body: each chunk is signed over the signature before it.
#[derive(Clone)]
pub(in crate::s3) struct ChunkSigner {
    key: SigningKey,
    timestamp: String,
    scope: String,
    previous: [u8; 32],
}

impl ChunkSigner {
    /// A chain that starts at the request's own signature, which must have been verified.
    pub(super) fn new(key: SigningKey, presented: &Presented) -> Self {
        let (timestamp, scope) = (presented.timestamp.clone(), presented.scope());
        Self { key, timestamp, scope, previous: presented.signature }
    }

    /// Verifies the next chunk by the digest of its data.
    pub(in crate::s3) fn chunk(
        &mut self,
        signature: &[u8; 32],
        data: &digest::Digest,
    ) -> Result<(), S3Error> {
        let tail = format!("{EMPTY_SHA256}\n{}", hex::encode(data));
        self.link("AWS4-HMAC-SHA256-PAYLOAD", signature, &tail)
    }

    /// Verifies the trailer: `lines` are `name:value\n`, one after another, in the order sent.
    pub(in crate::s3) fn trailer(&mut self, signature: &[u8; 32], lines: &[u8]) -> Result<(), S3Error> {
        let tail = hex::encode(digest::digest(&digest::SHA256, lines));
        self.link("AWS4-HMAC-SHA256-TRAILER", signature, &tail)
    }

    fn link(&mut self, what: &str, signature: &[u8; 32], tail: &str) -> Result<(), S3Error> {
        let previous = hex::encode(self.previous);
        let message = format!("{what}\n{}\n{}\n{previous}\n{tail}", self.timestamp, self.scope);
        if !self.key.holds(message.as_bytes(), signature) {
            return Err(Code::SignatureDoesNotMatch.into());
        }
        self.previous = *signature;
        Ok(())
    }
}

impl fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkSigner(***)")
    }
}
