//! A client written apart from `s3`: it signs requests and frames bodies, and reads a request head as a server would.

use std::borrow::Cow;
use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::model::{RegionId, Secret, Timestamp};
use crate::s3::SigningKey;

pub(super) const DATE: &str = "20261123";
pub(super) const TIME: &str = "20261123T120000Z";
/// [`TIME`]
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_795_435_200);
pub(super) const HOST: &str = "s3.fr.example.org";
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const KEY_ID: &str = "TKFRAAAAAAAAAAAAAAAA";
const SECRET: &str = "a made-up secret that no input of the corpus was signed with";
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// As many as the server takes (`http::HeaderMap` has no such limit of its own that is low enough for a fuzzer).
const HEADERS_MAX: usize = 100;

/// The region that everything is signed for.
pub(super) fn region() -> RegionId {
    "fr".parse().expect("a region's id")
}

/// The key that `secret` becomes on `date` in `region`.
pub(super) fn signing_key(date: &str, region: &str) -> SigningKey {
    SigningKey::derive(&Secret::new(SECRET.to_owned()), date, region)
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn scope() -> String {
    format!("{DATE}/fr/s3/aws4_request")
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}

/// The client's own derivation and signature.
fn signature_of(message: &str) -> String {
    let steps = [DATE, "fr", "s3", "aws4_request"];
    let key = steps.iter().fold(format!("AWS4{SECRET}").into_bytes(), |key, step| mac(&key, step));
    hex::encode(mac(&key, message))
}

fn sign(canonical: &str) -> String {
    signature_of(&format!("AWS4-HMAC-SHA256\n{TIME}\n{}\n{}", scope(), sha256(canonical.as_bytes())))
}

/// The head of a request in the header form, with its signature. `target` is canonical already; every header is signed.
pub(super) fn signed(
    method: &str,
    target: &str,
    payload: &str,
    headers: &[(&str, &str)],
) -> (String, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut all = vec![("host", HOST), ("x-amz-content-sha256", payload), ("x-amz-date", TIME)];
    all.extend_from_slice(headers);
    all.sort_unstable();
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines = all.iter().fold(String::new(), |mut lines, (name, value)| {
        let _ = writeln!(lines, "{name}:{value}");
        lines
    });
    let signature = sign(&format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"));
    let head = format!(
        "{method} {target}\n{lines}authorization:AWS4-HMAC-SHA256 Credential={KEY_ID}/{}, SignedHeaders={names}, \
         Signature={signature}\n",
        scope()
    );
    (head, signature)
}

/// The head of a request in the query form. `query` is canonical already and sorts behind `X-Amz-`.
pub(super) fn presigned(method: &str, path: &str, query: &str) -> String {
    let parameters = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY_ID}%2F{DATE}%2Ffr%2Fs3%2Faws4_request&X-Amz-Date={TIME}\
         &X-Amz-Expires=900&X-Amz-SignedHeaders=host{query}"
    );
    let signature = sign(&format!("{method}\n{path}\n{parameters}\nhost:{HOST}\n\nhost\n{UNSIGNED}"));
    format!("{method} {path}?{parameters}&X-Amz-Signature={signature}\nhost:{HOST}\n")
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

/// A body in chunks of `size`, each signed after `seed`; `trailer` is `name:value`.
pub(super) fn signed_chunks(seed: &str, data: &[u8], size: usize, trailer: Option<&str>) -> Vec<u8> {
    let (mut body, mut previous) = (Vec::new(), seed.to_owned());
    for chunk in data.chunks(size.max(1)).chain([&b""[..]]) {
        let message = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{TIME}\n{}\n{previous}\n{EMPTY_SHA256}\n{}",
            scope(),
            sha256(chunk)
        );
        previous = signature_of(&message);
        body.extend_from_slice(format!("{:x};chunk-signature={previous}\r\n", chunk.len()).as_bytes());
        if !chunk.is_empty() {
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
    }
    if let Some(trailer) = trailer {
        let hash = sha256(format!("{trailer}\n").as_bytes());
        let message = format!("AWS4-HMAC-SHA256-TRAILER\n{TIME}\n{}\n{previous}\n{hash}", scope());
        let signature = signature_of(&message);
        body.extend_from_slice(format!("{trailer}\r\nx-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body
}

/// A body in unsigned chunks of `size` with a trailer, `name:value`.
pub(super) fn unsigned_chunks(data: &[u8], size: usize, trailer: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in data.chunks(size.max(1)) {
        body.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0\r\n{trailer}\r\n\r\n").as_bytes());
    body
}
