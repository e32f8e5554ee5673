//! The canonical request (S3 API reference, "Create a canonical request"): one encoding, no normalisation.

use aws_lc_rs::digest;
use http::header;
use http::request::Parts;

use super::super::error::{Code, S3Error};
use super::super::uri::{Query, decode_path, encode_path};
use super::Presented;

/// The string to sign of a request.
pub(super) fn string_to_sign(presented: &Presented, parts: &Parts) -> Result<String, S3Error> {
    let canonical = request(presented, parts)?;
    let hash = hex::encode(digest::digest(&digest::SHA256, &canonical));
    Ok(format!("{}\n{}\n{}\n{hash}", super::ALGORITHM, presented.timestamp, presented.scope()))
}

/// The canonical request. Bytes, not text: header values need not be UTF-8.
pub(super) fn request(presented: &Presented, parts: &Parts) -> Result<Vec<u8>, S3Error> {
    let path = decode_path(parts.uri.path())?;
    let query = Query::parse(parts.uri.query())?;
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b'\n');
    out.extend_from_slice(encode_path(&path).as_bytes());
    out.push(b'\n');
    out.extend_from_slice(query.canonical("X-Amz-Signature").as_bytes());
    out.push(b'\n');
    for name in &presented.signed_headers {
        header_line(&mut out, name, parts)?;
    }
    out.push(b'\n');
    out.extend_from_slice(presented.signed_headers.join(";").as_bytes());
    out.push(b'\n');
    out.extend_from_slice(presented.payload_hash.as_bytes());
    Ok(out)
}

/// `name:value\n`, several values joined by commas in the order sent.
fn header_line(out: &mut Vec<u8>, name: &str, parts: &Parts) -> Result<(), S3Error> {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut values = parts.headers.get_all(name).iter().peekable();
    if values.peek().is_none() {
        // In HTTP/2 the host is in the request target.
        let authority = parts.uri.authority().filter(|_| name == header::HOST.as_str());
        // A header that was signed and has not arrived: somebody took it away.
        collapse(out, authority.ok_or(Code::SignatureDoesNotMatch)?.as_str().as_bytes());
    }
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        collapse(out, value.as_bytes());
    }
    out.push(b'\n');
    Ok(())
}

/// Trims, and makes one space of several, as every SDK does before it signs.
fn collapse(out: &mut Vec<u8>, value: &[u8]) {
    let mut words = value.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
    if let Some(first) = words.next() {
        out.extend_from_slice(first);
    }
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}
