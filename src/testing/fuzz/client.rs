//! What stands around a request in the corpus: heads as text, read as a server would, and texts inside paths and documents.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::testing::signer::{self, HOST};

/// As many as the server takes (`http::HeaderMap` has no such limit of its own that is low enough for a fuzzer).
const HEADERS_MAX: usize = 100;

/// The head of a request in the header form, with its signature. `target` is canonical already; every header is signed.
pub(super) fn signed(
    method: &str,
    target: &str,
    payload: &str,
    headers: &[(&str, &str)],
) -> (String, String) {
    let (headers, signature) = signer::headers(method, target, payload, headers);
    let lines = headers.iter().fold(String::new(), |mut lines, (name, value)| {
        let _ = writeln!(lines, "{name}:{value}");
        lines
    });
    (format!("{method} {target}\n{lines}"), signature)
}

/// The head of a request in the query form. `query` is canonical already and sorts behind `X-Amz-`.
pub(super) fn presigned(method: &str, path: &str, query: &str) -> String {
    format!("{method} {}\nhost:{HOST}\n", signer::presigned(method, path, "900", query))
}

/// Reads a head: `method target`, then `name:value` lines. `None` for what no HTTP server would hand on.
pub(super) fn parse_head(head: &[u8]) -> Option<Parts> {
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = lines.next()?;
    let space = line.iter().position(|b| *b == b' ')?;
    let method = Method::from_bytes(&line[..space]).ok()?;
    let target = Uri::try_from(&line[space + 1..]).ok()?;
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri) = (method, target);
    for line in lines.filter(|line| !line.is_empty()).take(HEADERS_MAX) {
        let colon = line.iter().position(|b| *b == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        parts.headers.append(name, value);
    }
    Some(parts)
}

/// Percent-encodes all but what never needs it; `/` stays where `is_path`.
pub(super) fn encode(text: &str, is_path: bool) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if is_path => out.push('/'),
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

/// Text inside an XML element. A carriage return would be read as a line feed unless it is a reference (XML 1.0 §2.11).
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '\r');
    if !text.contains(special) {
        return text.into();
    }
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;").into()
}
