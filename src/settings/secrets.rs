//! Following a reference to the secret it names.

use std::io::Read;
use std::path::PathBuf;

use zeroize::{Zeroize, Zeroizing};

use crate::model::{Secret, SecretRef};

/// The longest secret, in bytes: a service account's JSON key is under 3 KiB, a PEM chain under 16.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Why a secret could not be read. Names the place, never the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set, or not UTF-8.
    #[error("environment variable {0} is not set, or is not UTF-8")]
    Env(String),
    /// The file could not be read, or is not UTF-8.
    #[error("cannot read the secret at {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// More than any secret needs.
    #[error("the secret at {0} holds more than {SECRET_BYTES_MAX} bytes")]
    TooLong(SecretRef),
    /// Nothing at all: an empty secret signs nothing and protects nothing.
    #[error("the secret at {0} is empty")]
    Empty(SecretRef),
}

/// Reads the secret at `reference`: a file's content less one final line break, or a variable's value.
pub fn read_secret(reference: &SecretRef) -> Result<Secret<String>, SecretError> {
    let mut text = Zeroizing::new(match reference {
        SecretRef::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?,
        SecretRef::File(path) => {
            read_file(path).map_err(|source| SecretError::File { path: path.clone(), source })?
        }
    });
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::TooLong(reference.clone()));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(SecretError::Empty(reference.clone()));
    }
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// Sized beforehand, so that no half-grown copy of the secret is left in freed memory.
fn read_file(path: &std::path::Path) -> std::io::Result<String> {
    let capacity = usize::try_from(SECRET_BYTES_MAX + 1).unwrap_or(usize::MAX);
    let mut text = String::with_capacity(capacity);
    let read = std::fs::File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text);
    if read.is_err() {
        text.zeroize();
    }
    read.map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &[u8]) -> (tempfile::TempDir, SecretRef) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        (folder, SecretRef::File(path))
    }

    #[test]
    fn one_final_line_break_is_the_editors_not_the_secrets() {
        for (content, secret) in
            [("s3cr3t", "s3cr3t"), ("s3cr3t\n", "s3cr3t"), ("s3cr3t\r\n", "s3cr3t"), ("a\n\n", "a\n")]
        {
            let (_folder, reference) = written(content.as_bytes());
            assert_eq!(read_secret(&reference).unwrap().expose(), secret);
        }
    }

    #[test]
    fn an_absent_empty_endless_or_binary_secret_is_an_error_that_shows_nothing() {
        assert!(matches!(
            read_secret(&SecretRef::Env("TERROIR_NO_SUCH_VARIABLE".into())),
            Err(SecretError::Env(_))
        ));
        assert!(matches!(
            read_secret(&SecretRef::File("/no/such/file".into())),
            Err(SecretError::File { .. })
        ));
        let (_folder, reference) = written(b"\n");
        assert!(matches!(read_secret(&reference), Err(SecretError::Empty(_))));
        let (_folder, reference) = written(&vec![b'x'; 64 * 1024 + 1]);
        let error = read_secret(&reference).unwrap_err();
        assert!(matches!(error, SecretError::TooLong(_)) && !error.to_string().contains("xx"));
        let (_folder, reference) = written(b"hunter2\xff");
        let error = read_secret(&reference).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
