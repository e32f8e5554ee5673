//! HKDF-SHA-384 (RFC 5869), the one derivation of the format, and the commitment comparison.

use hkdf::HkdfExtract;
use sha2::Sha384;
use subtle::ConstantTimeEq;

use super::error::EnvelopeError;

/// HKDF-SHA-384 of the concatenation of `ikm` with `salt`; `info` is the concatenation of its parts. `out` is at most 12,240
/// bytes (255 blocks, RFC 5869 §2.3).
///
/// Parts are concatenated without lengths: callers see to it that all but the last have a fixed length, or end in a zero byte
/// that cannot occur in them.
pub(super) fn derive(
    ikm: &[&[u8]],
    salt: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) -> Result<(), EnvelopeError> {
    let mut extract = HkdfExtract::<Sha384>::new(Some(salt));
    for part in ikm {
        extract.input_ikm(part);
    }
    let (mut prk, hkdf) = extract.finalize();
    zeroize::Zeroize::zeroize(prk.as_mut_slice());
    hkdf.expand_multi_info(info, out).map_err(|_| EnvelopeError::Cipher)
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
pub(super) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}
