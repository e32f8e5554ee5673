//! Hashes, MACs, and the shape of a line: how one record holds on to the one before it.

use aws_lc_rs::{digest, hmac};

use super::AuditKeys;

/// A SHA-256 or HMAC-SHA256 value.
pub(super) type Digest = [u8; 32];

/// What the first record names as the hash before it.
pub(super) const GENESIS: Digest = [0; 32];

/// The longest line, in bytes, its newline not counted. Fields that callers fill are cut long before (`record.rs`).
pub(super) const LINE_BYTES_MAX: usize = 4 * 1024;

const MAC_OPEN: &[u8] = b",\"mac\":\"";
const HASH_OPEN: &[u8] = b",\"hash\":\"";
const HEX_BYTES: usize = 64;
/// `,"hash":"` 64 digits `"}`
const HASH_FIELD_BYTES: usize = HASH_OPEN.len() + HEX_BYTES + 2;
/// `,"mac":"` 64 digits `"`
const MAC_FIELD_BYTES: usize = MAC_OPEN.len() + HEX_BYTES + 1;

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// The chain key, bound to one environment and region: a record of another log does not pass here even under the same key.
pub(super) struct Chain {
    key: hmac::Key,
    label: Vec<u8>,
}

/// What a MAC is for; part of what it covers.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Record,
    Head,
}

impl Chain {
    pub(super) fn new(keys: &AuditKeys, environment: &str, region: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, keys.chain.expose());
        // Names are slugs, so the separators cannot occur in them.
        Self { key, label: format!("\0{environment}\0{region}\0").into_bytes() }
    }

    fn mac(&self, purpose: Purpose, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(match purpose {
            Purpose::Record => b"terroir-audit-record/1",
            Purpose::Head => b"terroir-audit-head/1",
        });
        context.update(&self.label);
        context.update(body);
        context.sign()
    }

    /// Closes a JSON object whose last `}` is still missing with MAC and hash, and a newline. Answers the hash.
    pub(super) fn close(&self, purpose: Purpose, line: &mut Vec<u8>, start: usize) -> Digest {
        let mac = self.mac(purpose, &line[start..]);
        line.extend_from_slice(MAC_OPEN);
        line.extend_from_slice(hex::encode(mac).as_bytes());
        line.push(b'"');
        let hash = sha256(&line[start..]);
        line.extend_from_slice(HASH_OPEN);
        line.extend_from_slice(hex::encode(hash).as_bytes());
        line.extend_from_slice(b"\"}\n");
        hash
    }

    /// Whether the MAC of a line that [`split`] took apart is ours.
    pub(super) fn authentic(&self, purpose: Purpose, line: &Split<'_>) -> bool {
        // Constant time is not needed to verify a file, but costs nothing.
        subtle::ConstantTimeEq::ct_eq(self.mac(purpose, line.body).as_ref(), &line.mac[..]).into()
    }
}

/// A line that has the shape of one and carries the right hash.
pub(super) struct Split<'a> {
    /// The bytes that the MAC covers.
    pub(super) body: &'a [u8],
    pub(super) mac: Digest,
    pub(super) hash: Digest,
}

/// Takes a line (without its newline) apart and checks its hash. `None` if any byte of it is wrong.
pub(super) fn split(line: &[u8]) -> Option<Split<'_>> {
    let hashed_len = line.len().checked_sub(HASH_FIELD_BYTES)?;
    let (hashed, hash_field) = line.split_at(hashed_len);
    let (body, mac_field) = hashed.split_at(hashed_len.checked_sub(MAC_FIELD_BYTES)?);
    let mac = mac_field.strip_prefix(MAC_OPEN)?.strip_suffix(b"\"")?;
    let hash = hash_field.strip_prefix(HASH_OPEN)?.strip_suffix(b"\"}")?;
    let split = Split { body, mac: lower_hex(mac)?, hash: lower_hex(hash)? };
    (sha256(hashed) == split.hash).then_some(split)
}

/// 64 lowercase hex digits. Capitals are refused: one digest has one spelling, or a changed byte could go unseen.
pub(super) fn lower_hex(text: &[u8]) -> Option<Digest> {
    let mut out = [0; 32];
    let lower = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (lower && hex::decode_to_slice(text, &mut out).is_ok()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn chain(key: u8, environment: &str, region: &str) -> Chain {
        let keys = AuditKeys { chain: Secret::new([key; 32]), pseudonym: Secret::new([0; 32]) };
        Chain::new(&keys, environment, region)
    }

    #[test]
    fn every_flipped_bit_of_a_line_is_seen_without_the_key() {
        let mut line = b"{\"v\":1,\"seq\":1".to_vec();
        chain(1, "dev", "fr").close(Purpose::Record, &mut line, 0);
        assert_eq!(line.pop(), Some(b'\n'));
        assert!(split(&line).is_some());
        for bit in 0..line.len() * 8 {
            let mut bad = line.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(split(&bad).is_none(), "bit {bit}");
        }
        for len in 0..line.len() {
            assert!(split(&line[..len]).is_none(), "cut to {len}");
        }
    }

    #[test]
    fn a_mac_holds_for_one_key_environment_region_and_purpose() {
        let mut line = b"{\"v\":1".to_vec();
        chain(1, "dev", "fr").close(Purpose::Record, &mut line, 0);
        line.pop();
        let split = split(&line).unwrap();
        assert!(chain(1, "dev", "fr").authentic(Purpose::Record, &split));
        assert!(!chain(2, "dev", "fr").authentic(Purpose::Record, &split));
        assert!(!chain(1, "prod", "fr").authentic(Purpose::Record, &split));
        assert!(!chain(1, "dev", "us").authentic(Purpose::Record, &split));
        assert!(!chain(1, "dev", "fr").authentic(Purpose::Head, &split));
    }
}
