//! Small sealed fields outside blobs: rows of the directory, wrapped keys, names in the audit log; and keyed pseudonyms.
//!
//! Each field has its own key, from a random salt, so no number of fields wears a key out; and it commits to that key.

use std::fmt;

use hkdf::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::cipher::{open_small, seal_small};
use super::derive::{derive, equal};
use super::error::{EnvelopeError, Random, random_bytes};
use super::labels::{
    COMMITMENT_BYTES, FIELD_BYTES_MAX, FIELD_OVERHEAD_BYTES, FIELD_SALT_BYTES, FIELD_VERSION, KEY_BYTES,
    LABEL_FIELD, LABEL_FIELD_PURPOSE, LABEL_PSEUDONYM,
};

/// The key of a family of fields: one secret and one purpose.
#[derive(Clone, ZeroizeOnDrop)]
pub struct FieldKey([u8; KEY_BYTES]);

impl FieldKey {
    /// Derives the family's key. Different purposes under one secret have unrelated keys.
    pub fn derive(secret: &[u8; KEY_BYTES], purpose: &str) -> Result<Self, EnvelopeError> {
        let mut key = [0; KEY_BYTES];
        derive(&[secret], &[], &[LABEL_FIELD_PURPOSE, &[0], purpose.as_bytes()], &mut key)?;
        Ok(Self(key))
    }

    /// Seals `clear`, bound to `aad`, whose parts and their number are all unambiguous.
    pub fn seal(
        &self,
        aad: &[&[u8]],
        clear: &[u8],
        random: &mut Random<'_>,
    ) -> Result<Vec<u8>, EnvelopeError> {
        if clear.len() > FIELD_BYTES_MAX {
            return Err(EnvelopeError::LimitExceeded { what: "field" });
        }
        let salt: [u8; FIELD_SALT_BYTES] = random_bytes(random)?;
        let (key, commitment) = self.one(&salt)?;
        let mut sealed = Vec::with_capacity(clear.len() + FIELD_OVERHEAD_BYTES);
        sealed.push(FIELD_VERSION);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(&commitment);
        sealed.append(&mut seal_small(&key, &encode_parts(aad)?, clear.to_vec(), random)?);
        Ok(sealed)
    }

    /// Opens what [`FieldKey::seal`] sealed with the same `aad`.
    pub fn open(&self, aad: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let sane = (FIELD_OVERHEAD_BYTES..=FIELD_OVERHEAD_BYTES + FIELD_BYTES_MAX).contains(&sealed.len());
        let (version, rest) = sealed.split_first().filter(|_| sane).ok_or(EnvelopeError::InvalidField)?;
        if *version != FIELD_VERSION {
            return Err(EnvelopeError::InvalidField);
        }
        let (salt, rest) = rest.split_first_chunk().ok_or(EnvelopeError::InvalidField)?;
        let (committed, rest) = rest.split_at_checked(COMMITMENT_BYTES).ok_or(EnvelopeError::InvalidField)?;
        let (key, commitment) = self.one(salt)?;
        if !equal(&commitment, committed) {
            return Err(EnvelopeError::FieldCommitment);
        }
        open_small(&key, &encode_parts(aad)?, rest, EnvelopeError::FieldAuth).map(Zeroizing::new)
    }

    /// A keyed hash (HMAC-SHA-256) of `parts`: the same parts give the same pseudonym under this key, and nothing without it.
    pub fn pseudonym(&self, parts: &[&[u8]]) -> Result<[u8; 32], EnvelopeError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        derive(&[self.0.as_slice()], &[], &[LABEL_PSEUDONYM, &[0]], key.as_mut())?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).map_err(|_| EnvelopeError::Cipher)?;
        mac.update(&encode_parts(parts)?);
        Ok(mac.finalize().into_bytes().into())
    }

    fn one(
        &self,
        salt: &[u8; FIELD_SALT_BYTES],
    ) -> Result<(Zeroizing<[u8; KEY_BYTES]>, [u8; COMMITMENT_BYTES]), EnvelopeError> {
        let mut both = Zeroizing::new([0; KEY_BYTES + COMMITMENT_BYTES]);
        derive(&[self.0.as_slice()], salt, &[LABEL_FIELD, &[0]], both.as_mut())?;
        let (mut key, mut commitment) = (Zeroizing::new([0; KEY_BYTES]), [0; COMMITMENT_BYTES]);
        key.copy_from_slice(&both[..KEY_BYTES]);
        commitment.copy_from_slice(&both[KEY_BYTES..]);
        Ok((key, commitment))
    }
}

impl fmt::Debug for FieldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FieldKey(..)")
    }
}

/// The number of parts, then each behind its length, all as four bytes: two different lists never give the same bytes.
fn encode_parts(parts: &[&[u8]]) -> Result<Vec<u8>, EnvelopeError> {
    let length = |bytes: usize| super::codec::length_u32(bytes, "associated data").map(u32::to_be_bytes);
    let mut encoded = length(parts.len())?.to_vec();
    for part in parts {
        encoded.extend_from_slice(&length(part.len())?);
        encoded.extend_from_slice(part);
    }
    Ok(encoded)
}
