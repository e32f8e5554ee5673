//! What an insider with keys can do: take a record apart, change what is sealed in it, and seal it again, by the letter of the format.
//! It shares no code with the envelope.

use aes_gcm::aead::Aead;
use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha384;

use super::fixture::seeded_bytes;

const HEADER: usize = 158;
const NONCE: [u8; 12] = [0x77; 12];

/// A record taken apart. What follows the root (body, pages) is kept as it is.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) header: Vec<u8>,
    pub(crate) locator: Vec<u8>,
    pub(crate) dek: Vec<u8>,
    pub(crate) commitment: Option<[u8; 32]>,
    pub(crate) root: Vec<u8>,
    pub(crate) rest: Vec<u8>,
    kek: [u8; 32],
    subject_key: Option<[u8; 32]>,
}

impl Parts {
    /// Opens `blob` with everything one can have.
    pub(crate) fn of(blob: &[u8], kek: [u8; 32], subject_key: Option<[u8; 32]>) -> Self {
        let number = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize;
        let header = &blob[..HEADER];
        let wrap = HEADER + number(142);
        let root = wrap + 92;
        let end = root + number(146);
        let context = &header[14..66];
        let locator = open(&locator_key(&kek, header), header, &blob[HEADER..wrap]);
        let dek = open(&wrap_key(&kek, subject_key.as_ref(), header), &blob[..wrap], &blob[wrap..wrap + 60]);
        let root_key = kdf(&dek, &header[106..122], &[b"terroir/1 root\0", context].concat());
        Self {
            header: header.to_vec(),
            locator,
            commitment: None,
            root: open(&root_key, &blob[..root], &blob[root..end]),
            rest: blob[end..].to_vec(),
            dek,
            kek,
            subject_key,
        }
    }

    /// Seals it again.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut blob = self.header.clone();
        let put = |blob: &mut Vec<u8>, at: usize, length: usize| {
            blob[at..at + 4].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        };
        put(&mut blob, 142, self.locator.len() + 28);
        put(&mut blob, 146, self.root.len() + 28);
        let header = blob.clone();
        let context = &header[14..66];
        let sealed = seal(&locator_key(&self.kek, &header), &blob, &self.locator);
        blob.extend(sealed);
        let sealed = seal(&wrap_key(&self.kek, self.subject_key.as_ref(), &header), &blob, &self.dek);
        blob.extend(sealed);
        let sub = |label: &[u8]| kdf(&self.dek, &header[106..122], &[label, context].concat());
        blob.extend(self.commitment.unwrap_or_else(|| sub(b"terroir/1 commitment\0")));
        let sealed = seal(&sub(b"terroir/1 root\0"), &blob, &self.root);
        blob.extend(sealed);
        blob.extend(&self.rest);
        blob
    }
}

/// An upload record whose wrapped key opens under two subject keys, to two data keys; it commits to the first one's.
pub(crate) fn two_key_upload(upload: &[u8], kek: [u8; 32], first: [u8; 32], second: [u8; 32]) -> Vec<u8> {
    let header = &upload[..HEADER];
    let wrap = upload.len() - 92;
    let keys = [wrap_key(&kek, Some(&first), header), wrap_key(&kek, Some(&second), header)];
    let aad = &upload[..wrap];
    let c1 = u128::from_be_bytes(seeded_bytes("two keys"));
    // Tags are equal when GHASH₁ ⊕ E₁(J0) = GHASH₂ ⊕ E₂(J0); the second ciphertext block enters as C2·H², so solve for it.
    let [(h1, without1), (h2, without2)] = [0, 1].map(|i| {
        let h = block(&keys[i], 0);
        let mut acc = aad.chunks(16).fold(0, |acc, chunk| {
            let mut padded = [0; 16];
            padded[..chunk.len()].copy_from_slice(chunk);
            multiply(acc ^ u128::from_be_bytes(padded), h)
        });
        acc = multiply(acc ^ c1, h);
        acc = multiply(acc, h);
        let lengths = ((aad.len() as u128 * 8) << 64) | (32 * 8);
        (h, multiply(acc ^ lengths, h) ^ block(&keys[i], counter(1)))
    });
    let c2 = multiply(without1 ^ without2, invert(multiply(h1, h1) ^ multiply(h2, h2)));
    let tag = without1 ^ multiply(c2, multiply(h1, h1));
    let dek =
        [c1 ^ block(&keys[0], counter(2)), c2 ^ block(&keys[0], counter(3))].map(u128::to_be_bytes).concat();
    let commitment = kdf(&dek, &header[106..122], &[b"terroir/1 commitment\0", &header[14..66]].concat());
    let mut forged = aad.to_vec();
    forged.extend(NONCE);
    forged.extend([c1, c2, tag].map(u128::to_be_bytes).concat());
    forged.extend(commitment);
    forged
}

fn locator_key(kek: &[u8], header: &[u8]) -> [u8; 32] {
    kdf(kek, &header[106..138], &[b"terroir/1 locator\0", &header[14..66]].concat())
}

fn wrap_key(kek: &[u8], subject_key: Option<&[u8; 32]>, header: &[u8]) -> [u8; 32] {
    let context = &header[14..66];
    match subject_key {
        None => kdf(kek, &header[106..122], &[b"terroir/1 wrap\0", context].concat()),
        Some(sk) => {
            kdf(&[kek, sk].concat(), &header[106..122], &[b"terroir/1 wrap+subject\0", context].concat())
        }
    }
}

/// The key of page `page`, and its associated data.
pub(crate) fn seal_page(parts: &Parts, page: u32, clear: &[u8]) -> Vec<u8> {
    let (version, context) = (&parts.header[106..122], &parts.header[14..66]);
    let info = [b"terroir/1 page\0", context, &page.to_be_bytes()].concat();
    seal(&kdf(&parts.dek, version, &info), &[version, &page.to_be_bytes()].concat(), clear)
}

/// Opens page `page`.
pub(crate) fn open_page(parts: &Parts, page: u32, sealed: &[u8]) -> Vec<u8> {
    let (version, context) = (&parts.header[106..122], &parts.header[14..66]);
    let info = [b"terroir/1 page\0", context, &page.to_be_bytes()].concat();
    open(&kdf(&parts.dek, version, &info), &[version, &page.to_be_bytes()].concat(), sealed)
}

fn kdf(ikm: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha384>::new(Some(salt), ikm).expand(info, &mut out).unwrap();
    out
}

fn seal(key: &[u8; 32], aad: &[u8], clear: &[u8]) -> Vec<u8> {
    let payload = aes_gcm::aead::Payload { msg: clear, aad };
    [NONCE.to_vec(), Aes256Gcm::new(key.into()).encrypt(&NONCE.into(), payload).unwrap()].concat()
}

fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
    let nonce: [u8; 12] = sealed[..12].try_into().unwrap();
    let payload = aes_gcm::aead::Payload { msg: &sealed[12..], aad };
    Aes256Gcm::new(key.into()).decrypt(&nonce.into(), payload).unwrap()
}

fn counter(value: u128) -> u128 {
    let mut block = [0; 16];
    block[..12].copy_from_slice(&NONCE);
    u128::from_be_bytes(block) | value
}

fn block(key: &[u8; 32], input: u128) -> u128 {
    let mut block = input.to_be_bytes().into();
    Aes256::new(key.into()).encrypt_block(&mut block);
    u128::from_be_bytes(block.into())
}

/// Multiplication in GCM's field (NIST SP 800-38D §6.3).
fn multiply(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0, y);
    for i in (0..128).rev() {
        if x >> i & 1 == 1 {
            z ^= v;
        }
        v = if v & 1 == 1 { v >> 1 ^ 0xe1 << 120 } else { v >> 1 };
    }
    z
}

/// x^(2^128 − 2).
fn invert(x: u128) -> u128 {
    let mut square = multiply(x, x);
    let mut result = square;
    for _ in 0..126 {
        square = multiply(square, square);
        result = multiply(result, square);
    }
    result
}
