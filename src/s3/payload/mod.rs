//! The body of a request: framing off, signatures and checksums verified, streamed without a copy.
//!
//! Bytes are handed out before the last of them is verified; whoever consumes them commits nothing until
//! [`Payload::next`] has said `None`, which it says only when everything holds.

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;

use crate::model::{Checksum, ChecksumAlgorithm};

use super::call::Call;
use super::error::S3Error;
use super::sigv4::Verified;

/// How a body is framed and what vouches for it: `x-amz-content-sha256` (S3 API reference, "SigV4 payload options").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadMode {
    /// A digest of the whole body, signed with the headers.
    Signed([u8; 32]),
    /// `UNSIGNED-PAYLOAD`, and every presigned URL.
    Unsigned,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`: aws-chunked, each chunk signed.
    SignedChunks,
    /// `STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER`: the same, with a signed trailer.
    SignedChunksTrailer,
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER`: aws-chunked, unsigned, with a trailer.
    UnsignedChunksTrailer,
}

/// What the headers promise of the body.
#[derive(Clone, Debug)]
pub struct PayloadPlan {
    mode: PayloadMode,
}

impl PayloadPlan {
    /// Reads the promises. `call` says whether checksum headers speak of this body or, on Complete, of the object.
    ///
    /// # Errors
    /// `MissingContentLength` for a record of unknown length, `InvalidDigest`, `InvalidRequest`, `NotImplemented`
    /// for the asymmetric (ECDSA) modes, `EntityTooLarge` over 5 GiB.
    pub fn from_parts(parts: &Parts, call: &Call) -> Result<Self, S3Error> {
        todo!()
    }

    /// The mode.
    pub const fn mode(&self) -> PayloadMode {
        self.mode
    }

    /// The length of the decoded body in bytes, always known for a record.
    pub const fn decoded_bytes(&self) -> u64 {
        todo!()
    }

    /// The checksum algorithm the client chose, if any: for `UploadPart` to compare with the upload's.
    pub fn checksum_algorithm(&self) -> Option<ChecksumAlgorithm> {
        todo!()
    }
}

/// A body being read. Also an [`http_body::Body`] of data frames with [`S3Error`] for its error.
#[derive(Debug)]
pub struct Payload<B> {
    body: B,
}

/// What a completely read and verified body was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Decoded length in bytes.
    pub bytes: u64,
    /// The checksums that the client sent and that hold, `FullObject` all of them.
    pub checksums: Vec<Checksum>,
}

impl<B> Payload<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Starts reading `body` under `plan`.
    pub fn new(body: B, plan: PayloadPlan, verified: &Verified) -> Self {
        todo!()
    }

    /// The next decoded bytes, never empty; `None` when the body is complete and everything about it holds.
    ///
    /// # Errors
    /// `IncompleteBody`, `BadDigest`, `XAmzContentSHA256Mismatch`, `SignatureDoesNotMatch`, `InvalidRequest`. After an
    /// error every further call returns the same error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        todo!()
    }

    /// What was received; `None` until [`Payload::next`] has said `None`.
    pub fn received(&self) -> Option<&Received> {
        todo!()
    }

    /// Reads a whole small body (a document) of at most `bytes_max`.
    pub async fn collect(mut self, bytes_max: usize) -> Result<Bytes, S3Error> {
        todo!()
    }
}
