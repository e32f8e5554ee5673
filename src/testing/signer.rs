//! A client of Signature Version 4 written apart from `s3`: it signs requests and frames bodies, for the tests and fuzz
//! targets that judge what `s3` makes of them.
//!
//! It always signs at [`TIME`], for the region `fr`, with one made-up credential. Sources: AWS General Reference, "Signature
//! Version 4 signing process"; Amazon S3 API Reference, "Signature calculations: transferring payload in multiple chunks".

use aws_lc_rs::{digest, hmac};

use crate::model::{RegionId, Secret, Timestamp};
use crate::s3::SigningKey;

/// The day of [`TIME`], as a scope has it.
pub const DATE: &str = "20261123";
/// When everything is signed.
pub const TIME: &str = "20261123T120000Z";
/// [`TIME`]
pub const NOW: Timestamp = Timestamp::from_seconds(1_795_435_200);
/// The host that is signed.
pub const HOST: &str = "s3.fr.example.org";
/// The key id of the one credential.
pub const KEY_ID: &str = "TKFRAAAAAAAAAAAAAAAA";
/// Its secret.
pub const SECRET: &str = "a made-up secret that no input of the corpus was signed with";
/// In place of a hash: the payload is not signed.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The SHA-256 of nothing.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The region that everything is signed for.
pub fn region() -> RegionId {
    "fr".parse().expect("a region's id")
}

/// The key that the secret becomes on `date` in `region`, as `s3` derives it.
pub fn signing_key(date: &str, region: &str) -> SigningKey {
    SigningKey::derive(&Secret::new(SECRET.to_owned()), date, region)
}

/// In hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// The headers of a request that signs them all, `authorization` last, and its signature. `target` is canonical already.
pub fn headers(
    method: &str,
    target: &str,
    payload: &str,
    more: &[(&str, &str)],
) -> (Vec<(String, String)>, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut all = vec![("host", HOST), ("x-amz-content-sha256", payload), ("x-amz-date", TIME)];
    all.extend_from_slice(more);
    all.sort_unstable();
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = all.iter().flat_map(|(name, value)| [name, ":", value.trim(), "\n"]).collect();
    let signature = sign(&format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={KEY_ID}/{}, SignedHeaders={names}, Signature={signature}",
        scope()
    );
    all.push(("authorization", &authorization));
    (all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), signature)
}

/// The target of a presigned request that signs [`HOST`] alone. `query` is canonical already and sorts behind `X-Amz-`;
/// `expires` is in seconds.
pub fn presigned(method: &str, path: &str, expires: &str, query: &str) -> String {
    let parameters = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY_ID}%2F{DATE}%2Ffr%2Fs3%2Faws4_request&X-Amz-Date={TIME}\
         &X-Amz-Expires={expires}&X-Amz-SignedHeaders=host{query}"
    );
    let signature = sign(&format!("{method}\n{path}\n{parameters}\nhost:{HOST}\n\nhost\n{UNSIGNED}"));
    format!("{path}?{parameters}&X-Amz-Signature={signature}")
}

/// A body in chunks of `size` bytes, each signed after `seed`; `trailer` is `name:value`.
pub fn signed_chunks(seed: &str, data: &[u8], size: usize, trailer: Option<&str>) -> Vec<u8> {
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

/// A body in unsigned chunks of `size` bytes with a trailer, `name:value`.
pub fn unsigned_chunks(data: &[u8], size: usize, trailer: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in data.chunks(size.max(1)) {
        body.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0\r\n{trailer}\r\n\r\n").as_bytes());
    body
}

fn sign(canonical: &str) -> String {
    signature_of(&format!("AWS4-HMAC-SHA256\n{TIME}\n{}\n{}", scope(), sha256(canonical.as_bytes())))
}

fn scope() -> String {
    format!("{DATE}/fr/s3/aws4_request")
}

/// The client's own derivation and signature.
fn signature_of(message: &str) -> String {
    let steps = [DATE, "fr", "s3", "aws4_request"];
    let key = steps.iter().fold(format!("AWS4{SECRET}").into_bytes(), |key, step| mac(&key, step));
    hex::encode(mac(&key, message))
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes()).as_ref().to_vec()
}
