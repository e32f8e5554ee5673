//! The verdict on a request's signature.

use http::request::Parts;

use crate::model::{RegionId, Timestamp};

use super::super::error::{Code, S3Error};
use super::{ChunkSigner, Presented, SigningKey, canonical};

/// A request whose signature holds. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    presigned: bool,
    chunks: ChunkSigner,
}

impl Verified {
    /// What verifies the chunks and the trailer of the body.
    pub(in crate::s3) fn chunk_signer(&self) -> &ChunkSigner {
        &self.chunks
    }

    /// Whether it came in the query form.
    pub const fn is_presigned(&self) -> bool {
        self.presigned
    }
}

/// Verifies the request's signature in constant time, with everything [`Presented::admissible`] asks.
///
/// `key` is the one for the presented key id and date and for `region`. Nobody may have touched method, target or
/// headers since they arrived.
///
/// # Errors
/// `SignatureDoesNotMatch`, and those of [`Presented::admissible`].
pub fn verify(
    presented: &Presented,
    key: &SigningKey,
    parts: &Parts,
    now: Timestamp,
    region: &RegionId,
) -> Result<Verified, S3Error> {
    presented.admissible(parts, now, region)?;
    let message = canonical::string_to_sign(presented, parts)?;
    if !key.holds(message.as_bytes(), &presented.signature) {
        return Err(Code::SignatureDoesNotMatch.into());
    }
    let chunks = ChunkSigner::new(key.clone(), presented);
    Ok(Verified { presigned: presented.is_presigned(), chunks })
}
