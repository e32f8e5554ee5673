//! AES-256-GCM twice: `aws-lc-rs` for bulk, `aes-gcm` for what is small and as the implementation that did not seal.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::error::{EnvelopeError, Random, random_bytes};
use super::labels::{KEY_BYTES, NONCE_BYTES, SEAL_OVERHEAD_BYTES, TAG_BYTES};

/// Which library does the work. Both speak the same AES-256-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Implementation {
    /// `aws-lc-rs`: several times faster on long inputs.
    AwsLc,
    /// `aes-gcm`: pure Rust, opens what the other sealed when bytes are verified rather than served.
    AesGcm,
}

/// A ciphertext did not authenticate. Callers say of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unauthentic;

/// A key ready for use.
pub(super) enum Aead {
    AwsLc(Box<LessSafeKey>),
    AesGcm(Box<Aes256Gcm>),
}

impl Aead {
    pub(super) fn new(implementation: Implementation, key: &[u8; KEY_BYTES]) -> Result<Self, EnvelopeError> {
        match implementation {
            Implementation::AwsLc => {
                let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| EnvelopeError::Cipher)?;
                Ok(Self::AwsLc(Box::new(LessSafeKey::new(key))))
            }
            Implementation::AesGcm => Ok(Self::AesGcm(Box::new(Aes256Gcm::new(key.into())))),
        }
    }

    /// Seals `in_out` where it lies.
    pub(super) fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], EnvelopeError> {
        match self {
            Self::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), in_out);
                tag.ok().and_then(|tag| tag.as_ref().try_into().ok()).ok_or(EnvelopeError::Cipher)
            }
            Self::AesGcm(key) => key
                .encrypt_inout_detached(nonce.into(), aad, in_out.into())
                .map(Into::into)
                .map_err(|_| EnvelopeError::Cipher),
        }
    }

    /// Seals `clear` into `out`, which is as long, without touching `clear`.
    pub(super) fn seal_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        clear: &[u8],
        out: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], EnvelopeError> {
        match self {
            Self::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let mut tag = [0; TAG_BYTES];
                key.seal_out_of_place_scatter(nonce, Aad::from(aad), clear, out, &[], &mut tag)
                    .map_err(|_| EnvelopeError::Cipher)?;
                Ok(tag)
            }
            Self::AesGcm(key) => {
                let buffer = InOutBuf::new(clear, out).map_err(|_| EnvelopeError::Cipher)?;
                key.encrypt_inout_detached(nonce.into(), aad, buffer)
                    .map(Into::into)
                    .map_err(|_| EnvelopeError::Cipher)
            }
        }
    }

    /// Opens `in_out` where it lies; wipes it if it does not authenticate.
    pub(super) fn open_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Unauthentic> {
        let opened = match self {
            Self::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, in_out)
                    .map(drop)
                    .map_err(|_| Unauthentic)
            }
            Self::AesGcm(key) => key
                .decrypt_inout_detached(nonce.into(), aad, (&mut *in_out).into(), tag.into())
                .map_err(|_| Unauthentic),
        };
        if opened.is_err() {
            in_out.zeroize();
        }
        opened
    }

    /// Opens `sealed` into `out`, which is as long; wipes `out` if it does not authenticate.
    pub(super) fn open_into(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<(), Unauthentic> {
        let opened = match self {
            Self::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                key.open_separate_gather(nonce, Aad::from(aad), sealed, tag, out).map_err(|_| Unauthentic)
            }
            Self::AesGcm(key) => InOutBuf::new(sealed, out).map_err(|_| Unauthentic).and_then(|buffer| {
                key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).map_err(|_| Unauthentic)
            }),
        };
        if opened.is_err() {
            out.zeroize();
        }
        opened
    }
}

/// Seals something small with `aes-gcm`: nonce ‖ ciphertext ‖ tag.
pub(super) fn seal_small(
    key: &[u8; KEY_BYTES],
    aad: &[u8],
    mut clear: Vec<u8>,
    random: &mut Random<'_>,
) -> Result<Vec<u8>, EnvelopeError> {
    let nonce: [u8; NONCE_BYTES] = random_bytes(random)?;
    let tag = Aead::new(Implementation::AesGcm, key)?.seal_in_place(&nonce, aad, &mut clear)?;
    let mut sealed = Vec::with_capacity(clear.len() + SEAL_OVERHEAD_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.append(&mut clear);
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens what [`seal_small`] sealed; `failure` says of what it was.
pub(super) fn open_small(
    key: &[u8; KEY_BYTES],
    aad: &[u8],
    sealed: &[u8],
    failure: EnvelopeError,
) -> Result<Vec<u8>, EnvelopeError> {
    let (nonce, rest) = sealed.split_first_chunk().ok_or(failure)?;
    let (ciphertext, tag) = rest.split_last_chunk().ok_or(failure)?;
    let mut clear = ciphertext.to_vec();
    Aead::new(Implementation::AesGcm, key)?
        .open_in_place(nonce, aad, &mut clear, tag)
        .map_err(|_| failure)?;
    Ok(clear)
}

/// Seals with each implementation and opens with the other, and checks that both refuse a changed byte. Run before serving.
pub fn self_test() -> Result<(), EnvelopeError> {
    let failed = |what| EnvelopeError::SelfTest { what };
    let pairs =
        [(Implementation::AwsLc, Implementation::AesGcm), (Implementation::AesGcm, Implementation::AwsLc)];
    let clear: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    let (key, nonce, aad) = ([7; KEY_BYTES], [9; NONCE_BYTES], b"terroir self test".as_slice());
    for (sealer, opener) in pairs {
        let (sealer, opener) = (Aead::new(sealer, &key)?, Aead::new(opener, &key)?);
        let mut buffer = clear.clone();
        let tag = sealer.seal_in_place(&nonce, aad, &mut buffer)?;
        let mut clear_again = vec![0; buffer.len()];
        let mut apart = vec![0; clear.len()];
        let tag_apart = sealer.seal_into(&nonce, aad, &clear, &mut apart)?;
        if buffer == clear || apart != buffer || tag_apart != tag {
            return Err(failed("seal"));
        }
        opener.open_into(&nonce, aad, &buffer, &tag, &mut clear_again).map_err(|_| failed("open"))?;
        if clear_again != clear {
            return Err(failed("open"));
        }
        let mut wrong = tag;
        wrong[0] ^= 1;
        if opener.open_in_place(&nonce, aad, &mut buffer, &wrong).is_ok() {
            return Err(failed("refuse"));
        }
    }
    Ok(())
}
