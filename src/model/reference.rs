//! Where a secret is kept, never the secret: what configuration files hold in its place.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The place of a secret: `env:NAME` or `file:PATH`. Safe to print; the value is read by whoever builds the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file, whose content (less one final line break) is the secret.
    File(PathBuf),
}

/// Text that is not a reference. Never quotes it: it may well be the secret itself, pasted in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reference to a secret: must be env:NAME or file:PATH, never the secret itself")]
pub struct InvalidSecretRef;

impl FromStr for SecretRef {
    type Err = InvalidSecretRef;

    fn from_str(text: &str) -> Result<Self, InvalidSecretRef> {
        let name_is_sound = |name: &str| {
            name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
                && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
        };
        match text.split_once(':') {
            Some(("env", name)) if name_is_sound(name) => Ok(Self::Env(name.into())),
            Some(("file", path)) if !path.is_empty() && !path.contains('\0') => Ok(Self::File(path.into())),
            _ => Err(InvalidSecretRef),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_one_spelling_and_a_pasted_secret_is_not_one() {
        for good in ["env:S3_SECRET", "file:/run/secrets/s3", "file:relative/too"] {
            assert_eq!(good.parse::<SecretRef>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "env:",
            "file:",
            "env:lower",
            "env:1X",
            "env:A B",
            "hunter2",
            "ENV:X",
            "vault:x",
            "file:a\0b",
        ] {
            assert_eq!(bad.parse::<SecretRef>(), Err(InvalidSecretRef), "{bad}");
        }
        assert!(!InvalidSecretRef.to_string().contains("hunter2"));
    }
}
