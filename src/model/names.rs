//! Names that people and clients choose, each checked once, where it enters.

use std::fmt;
use std::str::FromStr;

use super::entropy::{Entropy, EntropyError};

/// A name that breaks its rule. Never quotes the name: it may be a patient's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
}

impl InvalidName {
    pub(super) const fn new(what: &'static str, rule: &'static str) -> Self {
        Self { what, rule }
    }

    /// The rule that was broken, as a phrase that starts with "must".
    pub const fn rule(&self) -> &'static str {
        self.rule
    }
}

/// Lowercase letters, digits and inner hyphens, starting with a letter: safe in file names, hosts, labels and logs.
fn is_slug(text: &str, max: usize) -> bool {
    let bytes = text.as_bytes();
    (2..=max).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[bytes.len() - 1] != b'-'
        && !text.contains("--")
}

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The longest one allowed, in bytes.
            pub const BYTES_MAX: usize = $max;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_slug(text, $max) { Ok(Self(text.into())) } else { Err(InvalidName::new($what, $rule)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

slug! {
    /// A region: the stem of its file in `regions/`, its signing scope and its `LocationConstraint`.
    RegionId, "region", 16, "must be 2 to 16 lowercase letters, digits and single hyphens, starting with a letter"
}
slug! {
    /// A tenant as operators name it.
    TenantId, "tenant", 40, "must be 2 to 40 lowercase letters, digits and single hyphens, starting with a letter"
}
slug! {
    /// A class of the data register: the stem of its file in `regions/register/`.
    ClassId, "class", 32, "must be 2 to 32 lowercase letters, digits and single hyphens, starting with a letter"
}
slug! {
    /// Which deployment this is (`prod`, `test`, `dev`). Part of every derivation: one cannot open another's records.
    Environment, "environment", 16, "must be 2 to 16 lowercase letters, digits and single hyphens, starting with a letter"
}

/// A class as the envelope's clear header spells it. Given in the class's register file, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassCode(pub u16);

/// An S3 bucket name, by the general-purpose rules of the S3 User Guide ("Bucket naming rules").
///
/// Tenants name their buckets as they like, after a ward or a person too: `Debug`, which goes wherever something is logged,
/// shows only the length. `Display` is for answers to whoever asked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Box<str>);

impl BucketName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BucketName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const RULE: &str = "must be 3 to 63 lowercase letters, digits, dots and hyphens, start and end with a letter or digit, \
             hold no two adjacent dots, and not look like an IP address";
        let bytes = text.as_bytes();
        let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ok = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|b| edge(b) || matches!(b, b'.' | b'-'))
            && bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && !text.contains("..")
            && text.parse::<std::net::Ipv4Addr>().is_err();
        if ok { Ok(Self(text.into())) } else { Err(InvalidName::new("bucket name", RULE)) }
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketName({} bytes)", self.0.len())
    }
}

/// An S3 object key: 1 to 1,024 bytes of UTF-8, compared bytewise, never normalised.
///
/// Names of health records are health data, so a key has no `Display` and its `Debug` shows only the length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// The longest key, in bytes of UTF-8 (S3 API reference, "Object key naming guidelines").
    pub const BYTES_MAX: usize = 1024;

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as the bytes by which it is ordered.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if (1..=Self::BYTES_MAX).contains(&text.len()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::new("object key", "must be 1 to 1024 bytes of UTF-8"))
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({} bytes)", self.0.len())
    }
}

/// The public half of an S3 credential: `TK`, the region in capitals, 16 random characters of base 32.
///
/// It carries the region so that a proxy can redirect a caller of another region before it authenticates anything, with
/// no directory of all tenants. `TKFR` plus 16 is 20 characters, as long as the ids SDKs are used to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKeyId {
    text: Box<str>,
    region: RegionId,
}

impl AccessKeyId {
    const PREFIX: &str = "TK";
    const RANDOM_CHARS: usize = 16;
    /// RFC 4648 base 32: no 0, 1, 8, 9, so nothing is misread.
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

    /// A fresh id (80 random bits) for a credential of `region`.
    pub fn random(region: &RegionId, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut random = [0; Self::RANDOM_CHARS];
        entropy.fill(&mut random)?;
        let tail: String = random.iter().map(|b| char::from(Self::ALPHABET[usize::from(b & 31)])).collect();
        let text = format!("{}{}{tail}", Self::PREFIX, region.as_str().to_ascii_uppercase());
        Ok(Self { text: text.into(), region: region.clone() })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The region the id names. Unauthenticated: good for a redirect, not for a decision.
    pub fn region(&self) -> &RegionId {
        &self.region
    }
}

impl FromStr for AccessKeyId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = InvalidName::new(
            "access key id",
            "must be TK, a region in capitals, and 16 characters of base 32",
        );
        let rest = text.strip_prefix(Self::PREFIX).filter(|rest| rest.is_ascii()).ok_or(invalid)?;
        let border = rest.len().checked_sub(Self::RANDOM_CHARS).ok_or(invalid)?;
        let (region, tail) = rest.split_at(border);
        let region_is_capital = region.bytes().all(|b| !b.is_ascii_lowercase());
        if !region_is_capital || !tail.bytes().all(|b| Self::ALPHABET.contains(&b)) {
            return Err(invalid);
        }
        let region = region.to_ascii_lowercase().parse().map_err(|_| invalid)?;
        Ok(Self { text: text.into(), region })
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemEntropy;

    #[test]
    fn bucket_names_follow_the_s3_rules() {
        for good in ["abc", "a-b.c", "0records", "a".repeat(63).as_str()] {
            assert!(good.parse::<BucketName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "Abc",
            "-abc",
            "abc-",
            "a..b",
            "a_b",
            "10.0.0.1",
            "a/b",
            "é12",
            "a".repeat(64).as_str(),
        ] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_one_to_1024_bytes_and_is_never_printed() {
        assert!("".parse::<ObjectKey>().is_err());
        assert!("é".repeat(512).parse::<ObjectKey>().is_ok());
        assert!("é".repeat(513).parse::<ObjectKey>().is_err());
        let key: ObjectKey = "jeanne-martin/2026/ecg".parse().unwrap();
        assert!(!format!("{key:?}").contains("martin"));
    }

    #[test]
    fn an_access_key_id_carries_its_region() {
        for region in ["fr", "us", "eu-west-1"] {
            let region: RegionId = region.parse().unwrap();
            let id = AccessKeyId::random(&region, &SystemEntropy).unwrap();
            assert_eq!(id.as_str().parse::<AccessKeyId>().unwrap(), id);
            assert_eq!(id.region(), &region);
        }
        for bad in [
            "",
            "TK",
            "TKFR",
            "tkFRAAAAAAAAAAAAAAAA",
            "TKfrAAAAAAAAAAAAAAAA",
            "TKFRAAAAAAAAAAAAAAA1",
            "AKIAIOSFODNN7EXAMPLE",
            "TKAAAAAAAAAAAAAAAA",
        ] {
            assert!(bad.parse::<AccessKeyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn slugs_are_safe_in_file_names_and_labels() {
        for bad in ["", "a", "Fr", "fr-", "-fr", "f--r", "1fr", "../x", "f r", "frfrfrfrfrfrfrfrf"] {
            assert!(bad.parse::<RegionId>().is_err(), "{bad}");
        }
    }
}
