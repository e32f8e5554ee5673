//! Opaque 16-byte identifiers: random, never reused, printed as 32 lowercase hex digits.

use std::fmt;
use std::str::FromStr;

use super::entropy::{Entropy, EntropyError};
use super::names::InvalidName;

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A fresh identifier: 128 random bits, so a collision is not expected before 2^64 of them.
            pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
                let mut bytes = [0; 16];
                entropy.fill(&mut bytes)?;
                Ok(Self(bytes))
            }

            /// The identifier with exactly these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let mut bytes = [0; 16];
                // `hex` also takes capitals; one identifier must have one spelling.
                if text.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut bytes).is_err() {
                    return Err(InvalidName::new(stringify!($name), "must be 32 lowercase hex digits"));
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidName;

            fn try_from(bytes: &[u8]) -> Result<Self, InvalidName> {
                bytes.try_into().map(Self).map_err(|_| InvalidName::new(stringify!($name), "must be 16 bytes"))
            }
        }
    };
}

opaque_id! {
    /// One sealed thing in a store. Chosen before the upload; an attempt that is repeated keeps it, a new attempt does not.
    BlobId
}
opaque_id! {
    /// One version of one object, for ever: the identity inside the envelope. What S3 shows as `null` has one too.
    VersionId
}
opaque_id! {
    /// One multipart upload.
    UploadId
}
opaque_id! {
    /// One key-encryption key across its epochs.
    KekId
}
opaque_id! {
    /// A tenant as stores and envelopes see it: says nothing about who that is.
    TenantCode
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_exactly_one_spelling() {
        let id = BlobId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("AB".repeat(16).parse::<BlobId>().is_err());
        assert!("ab".repeat(15).parse::<BlobId>().is_err());
        assert!("ab".repeat(17).parse::<BlobId>().is_err());
        assert!("zz".repeat(16).parse::<BlobId>().is_err());
    }
}
