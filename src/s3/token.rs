//! Continuation tokens: opaque to clients, versioned for us.
//!
//! A token says where the next page starts and nothing the client does not know already: it was told that key. It is
//! not authenticated, because whoever may list may start anywhere (`start-after` says so).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::ObjectKey;

use super::error::{Code, S3Error};

/// The first byte of a token: another release may need another form.
const VERSION: u8 = 1;
const AFTER_KEY: u8 = b'k';
const AFTER_PREFIX: u8 = b'p';
/// A token holds two bytes and at most a key; base64 makes four characters of three bytes.
const TOKEN_CHARS_MAX: usize = (ObjectKey::BYTES_MAX + 2).div_ceil(3) * 4;

/// Where a page of a listing starts.
#[derive(Clone, PartialEq, Eq)]
pub enum Position {
    /// After this key.
    AfterKey(String),
    /// After every key that starts with this (a common prefix that was on the page before).
    AfterPrefix(String),
}

impl Position {
    /// The token for it.
    pub fn to_token(&self) -> String {
        let (kind, text) = match self {
            Self::AfterKey(text) => (AFTER_KEY, text),
            Self::AfterPrefix(text) => (AFTER_PREFIX, text),
        };
        let mut bytes = vec![VERSION, kind];
        bytes.extend_from_slice(text.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token; [`Code::InvalidArgument`] if it is none of ours.
    pub fn from_token(token: &str) -> Result<Self, S3Error> {
        let invalid =
            || S3Error::because(Code::InvalidArgument, "The continuation token provided is incorrect");
        if token.len() > TOKEN_CHARS_MAX {
            return Err(invalid());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let [VERSION, kind, text @ ..] = bytes.as_slice() else { return Err(invalid()) };
        let text = String::from_utf8(text.to_vec()).map_err(|_| invalid())?;
        match *kind {
            AFTER_KEY => Ok(Self::AfterKey(text)),
            AFTER_PREFIX => Ok(Self::AfterPrefix(text)),
            _ => Err(invalid()),
        }
    }

    /// The key or the prefix.
    pub fn text(&self) -> &str {
        match self {
            Self::AfterKey(text) | Self::AfterPrefix(text) => text,
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AfterKey(_) => "AfterKey",
            Self::AfterPrefix(_) => "AfterPrefix",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_foreign_or_truncated_token_is_refused() {
        for bad in ["", "x", "AQ", "AmthYmM", "AXhhYmM", "a b", "AWth\u{e9}"] {
            let error = Position::from_token(bad).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{bad}");
        }
        assert!(Position::from_token(&"A".repeat(TOKEN_CHARS_MAX + 4)).is_err());
    }

    proptest! {
        #[test]
        fn a_token_is_read_back(text in ".{0,200}", prefix: bool) {
            let position = if prefix { Position::AfterPrefix(text) } else { Position::AfterKey(text) };
            let token = position.to_token();
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(Position::from_token(&token).unwrap(), position);
        }

        #[test]
        fn any_text_is_a_token_or_an_error(text in ".{0,100}") {
            let _ = Position::from_token(&text);
        }
    }
}
