//! Names on the wire: a key or a prefix is what the client meant, however it was escaped; a continuation token has one spelling.

use std::fmt::Write as _;

use super::client::{encode, parse_head};
use super::input::Input;
use crate::model::ObjectKey;
use crate::s3::{Call, Domains, ListVersion, Position, decode};
use crate::testing::signer::HOST;

/// Keys in tokens: as long as a key can be.
const TOKEN_CHARS_MAX: usize = 1368;

/// The first byte chooses how much is escaped; the rest is a name, and a token.
pub fn names(data: &[u8]) {
    let mut input = Input::new(data);
    let style = input.byte();
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    token(text);
    if (1..=ObjectKey::BYTES_MAX).contains(&text.len()) {
        position(text);
        key(text, style);
        prefix(text);
    }
}

/// What reads as a token is the token that we write for it.
fn token(text: &str) {
    if let Ok(position) = Position::from_token(text) {
        assert!(text.len() <= TOKEN_CHARS_MAX, "a token of {} characters", text.len());
        assert!(position.to_token() == text, "a token with two spellings");
    }
}

fn position(text: &str) {
    for position in [Position::AfterKey(text.to_owned()), Position::AfterPrefix(text.to_owned())] {
        let token = position.to_token();
        assert!(
            token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')),
            "a token's character"
        );
        assert!(Position::from_token(&token) == Ok(position), "a token names another place");
    }
}

/// Path style and virtual-host style, with everything escaped or only what must be.
fn key(text: &str, style: u8) {
    let path = if style & 1 == 0 { encode(text, true) } else { every_byte(text) };
    let domains = Domains::new([HOST]);
    let paths =
        [format!("GET /records/{path}\nhost:{HOST}\n"), format!("GET /{path}\nhost:records.{HOST}\n")];
    for head in paths {
        let parts = parse_head(head.as_bytes()).expect("an escaped path is a path");
        let call = decode(&parts, &domains).expect("a key of at most 1024 bytes");
        let Call::GetObject(read) = call else { panic!("{} for GetObject", call.name()) };
        assert!(read.object.key.as_str() == text, "another key than was meant");
        assert_eq!(read.object.bucket.as_str(), "records");
    }
}

/// As prefix, delimiter, place to start after, and token of one listing.
fn prefix(text: &str) {
    let (name, token) = (encode(text, false), Position::AfterKey(text.to_owned()).to_token());
    let target = format!(
        "/records?list-type=2&prefix={name}&delimiter={name}&start-after={name}&continuation-token={token}"
    );
    let head = format!("GET {target}\nhost:{HOST}\n");
    let parts = parse_head(head.as_bytes()).expect("an escaped query is a query");
    let call = decode(&parts, &Domains::default()).expect("a listing");
    let Call::ListObjects(list) = call else { panic!("{} for ListObjectsV2", call.name()) };
    let ListVersion::V2 { start_after, token: read, .. } = &list.version else { panic!("ListObjects") };
    assert!(list.prefix == text && list.delimiter.as_deref() == Some(text), "another prefix than was meant");
    assert!(start_after.as_deref() == Some(text), "another place than was meant");
    assert!(
        read.as_ref().is_some_and(|(echo, position)| *echo == token && position.text() == text),
        "a token"
    );
}

fn every_byte(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02x}");
        out
    })
}
