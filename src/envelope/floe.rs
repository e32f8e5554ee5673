//! FLOE (C2SP `FLOE.md`; Fábrega, Len, Ristenpart, Rubin, IACR ePrint 2025/2275): AES-256-GCM in committed, randomly accessible segments.
//!
//! The encrypted segment length and the rotation of segment keys are parameters here only so that the published known
//! answers can be run; bodies use [`Params::BODY`].

use std::fmt;

use hkdf::hmac::{Hmac, KeyInit, Mac};
use sha2::Sha384;
use zeroize::Zeroizing;

use super::cipher::{Aead, Implementation};
use super::derive::equal;
use super::error::EnvelopeError;
use super::labels::{
    FLOE_HEADER_BYTES, FLOE_HEADER_TAG, FLOE_IV_BYTES, FLOE_MESSAGE_KEY, FLOE_PARAMS_BYTES,
    FLOE_ROTATION_BITS, FLOE_SEGMENT_KEY, FLOE_TAG_BYTES, KEY_BYTES, NONCE_BYTES, SEGMENT_BYTES,
    SEGMENT_OVERHEAD_BYTES, TAG_BYTES,
};

/// Bytes of a segment in front of its ciphertext: length word and nonce.
pub(super) const SEGMENT_FRONT_BYTES: usize = 4 + NONCE_BYTES;
/// Length word of every segment but the last.
const NOT_FINAL: [u8; 4] = [0xff; 4];
/// [`SEGMENT_BYTES`] as it stands in the parameters.
const SEGMENT_BYTES_U32: u32 = 65_568;
/// [`FLOE_IV_BYTES`] as it stands in the parameters.
const FLOE_IV_BYTES_U32: u32 = 32;
const _: () =
    assert!(SEGMENT_BYTES_U32 as usize == SEGMENT_BYTES && FLOE_IV_BYTES_U32 as usize == FLOE_IV_BYTES);
/// FLOE's message key is as long as its hash.
const MESSAGE_KEY_BYTES: usize = 48;

/// A body's FLOE header: parameters (10), IV (32), header tag (32). Says nothing about the plaintext.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FloeHeader([u8; FLOE_HEADER_BYTES]);

impl FloeHeader {
    /// The header with exactly these bytes; nothing is checked before a body is opened with it.
    pub const fn from_bytes(bytes: [u8; FLOE_HEADER_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; FLOE_HEADER_BYTES] {
        &self.0
    }

    fn params(&self) -> &[u8] {
        &self.0[..FLOE_PARAMS_BYTES]
    }

    fn iv(&self) -> &[u8] {
        &self.0[FLOE_PARAMS_BYTES..FLOE_PARAMS_BYTES + FLOE_IV_BYTES]
    }

    fn tag(&self) -> &[u8] {
        &self.0[FLOE_PARAMS_BYTES + FLOE_IV_BYTES..]
    }
}

impl fmt::Debug for FloeHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FloeHeader({}…)", hex::encode(&self.iv()[..4]))
    }
}

/// What of FLOE varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Params {
    /// Encrypted segment length.
    pub(super) segment_bytes: u32,
    /// Positions that differ only in so many low bits share a segment key.
    pub(super) rotation_bits: u32,
}

impl Params {
    /// Those of bodies.
    pub(super) const BODY: Self =
        Self { segment_bytes: SEGMENT_BYTES_U32, rotation_bits: FLOE_ROTATION_BITS };

    /// AEAD id 0 (AES-256-GCM), KDF id 0 (HKDF-SHA-384), segment length, IV length.
    fn to_bytes(self) -> [u8; FLOE_PARAMS_BYTES] {
        let mut bytes = [0; FLOE_PARAMS_BYTES];
        bytes[2..6].copy_from_slice(&self.segment_bytes.to_be_bytes());
        bytes[6..].copy_from_slice(&FLOE_IV_BYTES_U32.to_be_bytes());
        bytes
    }
}

/// One FLOE ciphertext being sealed or opened: its parameters, IV and AAD have been turned into keys.
pub(super) struct Message {
    params: Params,
    iv: [u8; FLOE_IV_BYTES],
    aad: Box<[u8]>,
    key: Zeroizing<[u8; MESSAGE_KEY_BYTES]>,
    implementation: Implementation,
    /// The key of the first group of positions, which is the only one in bodies of our sizes.
    first_group: Aead,
}

impl Message {
    /// Begins a ciphertext under `key` with a fresh random `iv`.
    pub(super) fn seal(
        implementation: Implementation,
        params: Params,
        key: &[u8; KEY_BYTES],
        iv: [u8; FLOE_IV_BYTES],
        aad: &[u8],
    ) -> Result<(Self, FloeHeader), EnvelopeError> {
        let mut header = [0; FLOE_HEADER_BYTES];
        header[..FLOE_PARAMS_BYTES].copy_from_slice(&params.to_bytes());
        header[FLOE_PARAMS_BYTES..FLOE_PARAMS_BYTES + FLOE_IV_BYTES].copy_from_slice(&iv);
        header[FLOE_PARAMS_BYTES + FLOE_IV_BYTES..].copy_from_slice(&header_tag(params, key, &iv, aad)?);
        Ok((Self::new(implementation, params, key, iv, aad)?, FloeHeader(header)))
    }

    /// Begins to open a ciphertext. Nothing can be decrypted before its header tag was found right.
    pub(super) fn open(
        implementation: Implementation,
        params: Params,
        key: &[u8; KEY_BYTES],
        header: &FloeHeader,
        aad: &[u8],
    ) -> Result<Self, EnvelopeError> {
        if header.params() != params.to_bytes() {
            return Err(EnvelopeError::FloeParameters);
        }
        let mut iv = [0; FLOE_IV_BYTES];
        iv.copy_from_slice(header.iv());
        if !equal(&header_tag(params, key, &iv, aad)?, header.tag()) {
            return Err(EnvelopeError::HeaderTag);
        }
        Self::new(implementation, params, key, iv, aad)
    }

    fn new(
        implementation: Implementation,
        params: Params,
        key: &[u8; KEY_BYTES],
        iv: [u8; FLOE_IV_BYTES],
        aad: &[u8],
    ) -> Result<Self, EnvelopeError> {
        let mut message_key = Zeroizing::new([0; MESSAGE_KEY_BYTES]);
        floe_kdf(key, params, &iv, &[FLOE_MESSAGE_KEY], aad, message_key.as_mut())?;
        let first_group = segment_aead(implementation, params, &message_key, &iv, aad, 0)?;
        Ok(Self { params, iv, aad: aad.into(), key: message_key, implementation, first_group })
    }

    /// Seals `segment`, whose clear bytes stand between 16 bytes for length word and nonce and 16 bytes for the tag.
    pub(super) fn seal_in_place(
        &self,
        position: u64,
        last: bool,
        nonce: &[u8; NONCE_BYTES],
        segment: &mut [u8],
    ) -> Result<(), EnvelopeError> {
        let word = self.length_word(segment.len(), last)?;
        let (front, clear, tag_out) = split_mut(segment).ok_or(EnvelopeError::Cipher)?;
        let tag =
            self.with_key(position, |key| key.seal_in_place(nonce, &segment_aad(position, last), clear))??;
        write_ends(front, tag_out, word, nonce, &tag);
        Ok(())
    }

    /// Seals `clear` into `segment`, which is [`SEGMENT_OVERHEAD_BYTES`] longer.
    pub(super) fn seal_into(
        &self,
        position: u64,
        last: bool,
        nonce: &[u8; NONCE_BYTES],
        clear: &[u8],
        segment: &mut [u8],
    ) -> Result<(), EnvelopeError> {
        let word = self.length_word(segment.len(), last)?;
        let (front, out, tag_out) = split_mut(segment).ok_or(EnvelopeError::Cipher)?;
        let tag =
            self.with_key(position, |key| key.seal_into(nonce, &segment_aad(position, last), clear, out))??;
        write_ends(front, tag_out, word, nonce, &tag);
        Ok(())
    }

    /// Opens the segment at `position` where it lies; the clear bytes are those between the first 16 and the last 16.
    pub(super) fn open_in_place<'s>(
        &self,
        position: u64,
        last: bool,
        segment: &'s mut [u8],
    ) -> Result<&'s mut [u8], EnvelopeError> {
        let nonce = self.check_front(position, last, segment)?;
        let (_, sealed, tag) = split_mut(segment).ok_or(EnvelopeError::SegmentAuth { position })?;
        let tag: [u8; TAG_BYTES] = *tag;
        self.with_key(position, |key| key.open_in_place(&nonce, &segment_aad(position, last), sealed, &tag))?
            .map_err(|_| EnvelopeError::SegmentAuth { position })?;
        Ok(sealed)
    }

    /// Opens the segment at `position` into `out`, which is [`SEGMENT_OVERHEAD_BYTES`] shorter.
    pub(super) fn open_into(
        &self,
        position: u64,
        last: bool,
        segment: &[u8],
        out: &mut [u8],
    ) -> Result<(), EnvelopeError> {
        let nonce = self.check_front(position, last, segment)?;
        let tampered = EnvelopeError::SegmentAuth { position };
        let (sealed, tag) =
            segment.get(SEGMENT_FRONT_BYTES..).and_then(<[u8]>::split_last_chunk).ok_or(tampered)?;
        self.with_key(position, |key| key.open_into(&nonce, &segment_aad(position, last), sealed, tag, out))?
            .map_err(|_| tampered)
    }

    /// The word a segment of `bytes` starts with: all ones, or its own length if it is the last.
    fn length_word(&self, bytes: usize, last: bool) -> Result<[u8; 4], EnvelopeError> {
        let full = self.params.segment_bytes as usize;
        if bytes < SEGMENT_OVERHEAD_BYTES || bytes > full || (!last && bytes != full) {
            return Err(EnvelopeError::LengthMismatch { what: "segment" });
        }
        let length = u32::try_from(bytes).map_err(|_| EnvelopeError::LengthMismatch { what: "segment" })?;
        Ok(if last { length.to_be_bytes() } else { NOT_FINAL })
    }

    /// The nonce, if the segment's length word is the one that belongs at `position`.
    fn check_front(
        &self,
        position: u64,
        last: bool,
        segment: &[u8],
    ) -> Result<[u8; NONCE_BYTES], EnvelopeError> {
        let expected = self.length_word(segment.len(), last)?;
        let (word, rest) = segment.split_first_chunk::<4>().ok_or(EnvelopeError::Truncated)?;
        if *word != expected {
            return Err(EnvelopeError::SegmentOrder { position });
        }
        rest.first_chunk().copied().ok_or(EnvelopeError::Truncated)
    }

    fn with_key<T>(&self, position: u64, f: impl FnOnce(&Aead) -> T) -> Result<T, EnvelopeError> {
        if position >> self.params.rotation_bits == 0 {
            return Ok(f(&self.first_group));
        }
        let key = segment_aead(self.implementation, self.params, &self.key, &self.iv, &self.aad, position)?;
        Ok(f(&key))
    }
}

type SegmentParts<'s> = (&'s mut [u8; SEGMENT_FRONT_BYTES], &'s mut [u8], &'s mut [u8; TAG_BYTES]);

fn split_mut(segment: &mut [u8]) -> Option<SegmentParts<'_>> {
    let (front, rest) = segment.split_first_chunk_mut()?;
    let (middle, tag) = rest.split_last_chunk_mut()?;
    Some((front, middle, tag))
}

fn write_ends(
    front: &mut [u8; SEGMENT_FRONT_BYTES],
    tag_out: &mut [u8; TAG_BYTES],
    word: [u8; 4],
    nonce: &[u8; NONCE_BYTES],
    tag: &[u8; TAG_BYTES],
) {
    front[..4].copy_from_slice(&word);
    front[4..].copy_from_slice(nonce);
    *tag_out = *tag;
}

/// A segment's associated data: its position, and whether it is the last.
fn segment_aad(position: u64, last: bool) -> [u8; 9] {
    let mut aad = [0; 9];
    aad[..8].copy_from_slice(&position.to_be_bytes());
    aad[8] = u8::from(last);
    aad
}

fn segment_aead(
    implementation: Implementation,
    params: Params,
    message_key: &[u8; MESSAGE_KEY_BYTES],
    iv: &[u8; FLOE_IV_BYTES],
    aad: &[u8],
    position: u64,
) -> Result<Aead, EnvelopeError> {
    let group = (position >> params.rotation_bits) << params.rotation_bits;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    floe_kdf(message_key, params, iv, &[FLOE_SEGMENT_KEY, &group.to_be_bytes()], aad, key.as_mut())?;
    Aead::new(implementation, &key)
}

fn header_tag(
    params: Params,
    key: &[u8; KEY_BYTES],
    iv: &[u8; FLOE_IV_BYTES],
    aad: &[u8],
) -> Result<[u8; FLOE_TAG_BYTES], EnvelopeError> {
    let mut tag = [0; FLOE_TAG_BYTES];
    floe_kdf(key, params, iv, &[FLOE_HEADER_TAG], aad, &mut tag)?;
    Ok(tag)
}

/// FLOE's KDF: HKDF-Expand-SHA-384 with `key` as the pseudorandom key and info = params ‖ iv ‖ purpose ‖ aad.
///
/// Never more than one block, so it is one HMAC over info ‖ 1. (The `hkdf` crate refuses 32-byte pseudorandom keys.)
fn floe_kdf(
    key: &[u8],
    params: Params,
    iv: &[u8; FLOE_IV_BYTES],
    purpose: &[&[u8]],
    aad: &[u8],
    out: &mut [u8],
) -> Result<(), EnvelopeError> {
    let mut mac = Hmac::<Sha384>::new_from_slice(key).map_err(|_| EnvelopeError::Cipher)?;
    mac.update(&params.to_bytes());
    mac.update(iv);
    for part in purpose {
        mac.update(part);
    }
    mac.update(aad);
    mac.update(&[1]);
    let mut block = mac.finalize().into_bytes();
    let taken = block.get(..out.len()).ok_or(EnvelopeError::Cipher)?;
    out.copy_from_slice(taken);
    zeroize::Zeroize::zeroize(block.as_mut_slice());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_BYTES] = [0; KEY_BYTES];
    const AAD: &[u8] = b"This is AAD";

    /// Opens a whole ciphertext of any parameters by its own length words, as FLOE's `kats/` need.
    fn open_all(
        ciphertext: &[u8],
        rotation_bits: u32,
        implementation: Implementation,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let (header, mut rest) = ciphertext.split_first_chunk().ok_or(EnvelopeError::Truncated)?;
        let segment_bytes = u32::from_be_bytes(header[2..6].try_into().unwrap());
        let params = Params { segment_bytes, rotation_bits };
        let message = Message::open(implementation, params, &KEY, &FloeHeader::from_bytes(*header), AAD)?;
        let mut clear = Vec::new();
        for position in 0.. {
            let word = rest.first_chunk().ok_or(EnvelopeError::Truncated)?;
            let last = *word != NOT_FINAL;
            let length = if last { u32::from_be_bytes(*word) } else { segment_bytes };
            let (segment, after) = rest.split_at_checked(length as usize).ok_or(EnvelopeError::Truncated)?;
            let mut out = vec![0; segment.len().saturating_sub(SEGMENT_OVERHEAD_BYTES)];
            message.open_into(position, last, segment, &mut out)?;
            let mut in_place = segment.to_vec();
            assert_eq!(message.open_in_place(position, last, &mut in_place)?, out);
            clear.extend_from_slice(&out);
            rest = after;
            if last {
                return if rest.is_empty() { Ok(clear) } else { Err(EnvelopeError::TrailingBytes) };
            }
        }
        Err(EnvelopeError::Truncated)
    }

    struct KnownAnswer {
        name: String,
        rotation_bits: u32,
        plaintext: Vec<u8>,
        ciphertext: Vec<u8>,
    }

    fn known_answers() -> Vec<KnownAnswer> {
        let json: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/floe.json")).unwrap();
        let field = |case: &serde_json::Value, name: &str| hex::decode(case[name].as_str().unwrap()).unwrap();
        let cases = json["cases"].as_array().unwrap().iter();
        cases
            .map(|case| KnownAnswer {
                name: case["name"].to_string(),
                rotation_bits: u32::try_from(case["rotation_bits"].as_u64().unwrap()).unwrap(),
                plaintext: field(case, "plaintext"),
                ciphertext: field(case, "ciphertext"),
            })
            .collect()
    }

    #[test]
    fn published_known_answers_open_with_both_implementations() {
        let cases = known_answers();
        assert_eq!(cases.len(), 11);
        for KnownAnswer { name, rotation_bits, plaintext, ciphertext } in cases {
            for implementation in [Implementation::AwsLc, Implementation::AesGcm] {
                let opened = open_all(&ciphertext, rotation_bits, implementation);
                assert_eq!(opened.as_ref(), Ok(&plaintext), "{name}");
            }
        }
    }

    #[test]
    fn every_changed_byte_of_a_known_answer_is_refused() {
        let KnownAnswer { name, ciphertext, .. } = known_answers().remove(0);
        for at in 0..ciphertext.len() {
            let mut changed = ciphertext.clone();
            changed[at] ^= 1;
            assert!(open_all(&changed, FLOE_ROTATION_BITS, Implementation::AwsLc).is_err(), "{name} at {at}");
        }
    }

    #[test]
    fn segment_keys_rotate_with_the_position() {
        let params = Params { segment_bytes: 64, rotation_bits: 2 };
        let (sealer, header) = Message::seal(Implementation::AesGcm, params, &KEY, [5; 32], AAD).unwrap();
        let mut body = header.as_bytes().to_vec();
        for position in 0..20 {
            let mut segment = [u8::try_from(position).unwrap(); 64];
            sealer.seal_in_place(position, position == 19, &[1; 12], &mut segment).unwrap();
            body.extend_from_slice(&segment);
        }
        let clear = open_all(&body, 2, Implementation::AwsLc).unwrap();
        assert_eq!(clear.len(), 20 * 32);
        assert_eq!(clear[13 * 32..14 * 32], [13; 32]);
        assert_eq!(
            open_all(&body, 3, Implementation::AwsLc),
            Err(EnvelopeError::SegmentAuth { position: 4 })
        );
    }

    #[test]
    fn a_segment_must_have_its_length() {
        let params = Params { segment_bytes: 64, rotation_bits: 20 };
        let (message, _) = Message::seal(Implementation::AwsLc, params, &KEY, [5; 32], AAD).unwrap();
        let mismatch = Err(EnvelopeError::LengthMismatch { what: "segment" });
        for (bytes, last) in [(0, true), (31, true), (63, false), (65, true), (65, false)] {
            assert_eq!(message.seal_in_place(0, last, &[0; 12], &mut vec![0; bytes]), mismatch);
            assert_eq!(message.open_into(0, last, &vec![0; bytes], &mut []), mismatch);
        }
    }

    /// Runs the published files with long segments, which are too large to carry: `FLOE_KATS=<dir> cargo test -- --ignored floe`.
    #[test]
    #[ignore = "needs the FLOE specification's kats/ directory in FLOE_KATS"]
    fn published_files_open() {
        let dir = std::path::PathBuf::from(std::env::var_os("FLOE_KATS").unwrap());
        let mut opened = 0;
        for entry in std::fs::read_dir(&dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(stem) = name.strip_suffix("_ct.txt") else { continue };
            let rotation_bits = if stem.ends_with("rotation") { 2 } else { FLOE_ROTATION_BITS };
            let read = |suffix: &str| {
                let text = std::fs::read_to_string(dir.join(format!("{stem}{suffix}"))).unwrap();
                hex::decode(text.trim()).unwrap()
            };
            for implementation in [Implementation::AwsLc, Implementation::AesGcm] {
                assert_eq!(
                    open_all(&read("_ct.txt"), rotation_bits, implementation),
                    Ok(read("_pt.txt")),
                    "{stem}"
                );
            }
            opened += 1;
        }
        assert!(opened >= 17, "{opened} files");
    }
}
