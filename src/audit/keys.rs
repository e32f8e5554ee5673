//! The audit keys of a region, and the pseudonyms that stand for names.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::hmac;

use crate::model::{BucketName, ObjectKey, Secret};

/// The two keys of a region's audit log, 32 bytes each, unwrapped by its key service at start.
///
/// They are independent, so that an auditor can be given one: the chain key to check MACs, the pseudonym key to find a name.
#[derive(Clone, Debug)]
pub struct AuditKeys {
    /// Under which records and head are authenticated.
    pub chain: Secret<[u8; 32]>,
    /// Under which names become pseudonyms.
    pub pseudonym: Secret<[u8; 32]>,
}

/// A name as the log shows it: 16 bytes of a keyed hash, as 32 hex digits. The same name gives the same pseudonym in one
/// region; without the key it cannot be guessed back.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pseudonym([u8; 16]);

impl Pseudonym {
    fn of(keys: &AuditKeys, room: &str, parts: &[&[u8]]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, keys.pseudonym.expose());
        let mut context = hmac::Context::with_key(&key);
        context.update(b"terroir-audit-pseudonym/1\0");
        context.update(room.as_bytes());
        for part in parts {
            // Lengths in front keep ("ab", "c") and ("a", "bc") apart.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 16];
        out.copy_from_slice(&context.sign().as_ref()[..16]);
        Self(out)
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pseudonym({self})")
    }
}

impl AuditKeys {
    /// The pseudonym of a bucket.
    pub fn bucket(&self, bucket: &BucketName) -> Pseudonym {
        Pseudonym::of(self, "bucket", &[bucket.as_str().as_bytes()])
    }

    /// The pseudonym of a key in its bucket: equal keys of two buckets do not look alike.
    pub fn key(&self, bucket: &BucketName, key: &ObjectKey) -> Pseudonym {
        Pseudonym::of(self, "key", &[bucket.as_str().as_bytes(), key.as_bytes()])
    }

    /// The pseudonym of a caller's address, without its port.
    pub fn peer(&self, address: IpAddr) -> Pseudonym {
        // An IPv4 caller on a dual-stack socket is the same caller.
        Pseudonym::of(self, "peer", &[address.to_canonical().to_string().as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> AuditKeys {
        AuditKeys { chain: Secret::new([byte; 32]), pseudonym: Secret::new([byte; 32]) }
    }

    #[test]
    fn a_pseudonym_depends_on_key_room_and_bucket() {
        let (a, b): (BucketName, BucketName) = ("abc".parse().unwrap(), "abd".parse().unwrap());
        let key: ObjectKey = "abc".parse().unwrap();
        assert_eq!(keys(1).key(&a, &key), keys(1).key(&a, &key));
        assert_ne!(keys(1).key(&a, &key), keys(2).key(&a, &key));
        assert_ne!(keys(1).key(&a, &key), keys(1).key(&b, &key));
        assert_ne!(keys(1).bucket(&a), keys(1).key(&a, &key));
        assert_eq!(keys(1).bucket(&a).to_string().len(), 32);
    }

    #[test]
    fn borders_between_parts_count() {
        let of = |bucket: &str, key: &str| keys(1).key(&bucket.parse().unwrap(), &key.parse().unwrap());
        assert_ne!(of("abcd", "e"), of("abc", "de"));
    }

    #[test]
    fn an_ipv4_caller_is_the_same_on_a_dual_stack_socket() {
        assert_eq!(
            keys(1).peer("10.0.0.1".parse().unwrap()),
            keys(1).peer("::ffff:10.0.0.1".parse().unwrap())
        );
    }
}
