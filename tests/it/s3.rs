//! Integration tests of `s3`: a client written apart from it signs, frames and mangles; what `s3` makes of that is judged.

mod payload;
mod signature;

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Request;
use http::request::Parts;
use http_body::Frame;
use http_body_util::StreamBody;
use terroir::model::{RegionId, Secret, Timestamp};
use terroir::s3::{
    Call, Code, Domains, Payload, PayloadPlan, Presented, Received, S3Error, SigningKey, Verified, decode,
    verify,
};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const KEY_ID: &str = "TKFRAAAAAAAAAAAAAAAA";
const DATE: &str = "20261123";
const TIME: &str = "20261123T120000Z";
/// [`TIME`]
const NOW: Timestamp = Timestamp::from_seconds(1_795_435_200);
const HOST: &str = "s3.fr.example.org";
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn region() -> RegionId {
    "fr".parse().unwrap()
}

fn sha256(data: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, data))
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
}

/// The client's own derivation and signature.
fn signature_of(message: &str) -> String {
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for step in [DATE, "fr", "s3", "aws4_request"] {
        key = mac(&key, step);
    }
    hex::encode(mac(&key, message))
}

fn scope() -> String {
    format!("{DATE}/fr/s3/aws4_request")
}

/// A request as a client makes it: `target` is in canonical form already, every header is signed.
fn signed(method: &str, target: &str, payload: &str, headers: &[(&str, &str)]) -> (Parts, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut all: Vec<(&str, &str)> =
        vec![("host", HOST), ("x-amz-content-sha256", payload), ("x-amz-date", TIME)];
    all.extend_from_slice(headers);
    all.sort_unstable();
    let lines: Vec<String> = all.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let lines = lines.concat();
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
    let signature =
        signature_of(&format!("AWS4-HMAC-SHA256\n{TIME}\n{}\n{}", scope(), sha256(canonical.as_bytes())));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={KEY_ID}/{}, SignedHeaders={names}, Signature={signature}",
        scope()
    );
    let mut builder = Request::builder().method(method).uri(target).header("authorization", authorization);
    for (name, value) in all {
        builder = builder.header(name, value.as_bytes());
    }
    (builder.body(()).unwrap().into_parts().0, signature)
}

/// A URL as a client presigns it, with `query` already in canonical form and sorting after `X-Amz-`.
fn presigned(method: &str, path: &str, expires: &str, query: &str, headers: &[(&str, &str)]) -> Parts {
    let parameters = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY_ID}%2F{DATE}%2Ffr%2Fs3%2Faws4_request&X-Amz-Date={TIME}\
         &X-Amz-Expires={expires}&X-Amz-SignedHeaders=host{query}"
    );
    let canonical = format!("{method}\n{path}\n{parameters}\nhost:{HOST}\n\nhost\nUNSIGNED-PAYLOAD");
    let signature =
        signature_of(&format!("AWS4-HMAC-SHA256\n{TIME}\n{}\n{}", scope(), sha256(canonical.as_bytes())));
    let target = format!("{path}?{parameters}&X-Amz-Signature={signature}");
    let mut builder = Request::builder().method(method).uri(target).header("host", HOST);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn authenticate_at(parts: &Parts, now: Timestamp) -> Result<Verified, S3Error> {
    let presented = Presented::from_parts(parts)?;
    let key = SigningKey::derive(&Secret::new(SECRET.to_owned()), presented.date(), "fr");
    verify(&presented, &key, parts, now, &region())
}

fn authenticate(parts: &Parts) -> Result<Verified, S3Error> {
    authenticate_at(parts, NOW)
}

fn decoded(parts: &Parts) -> Result<Call, S3Error> {
    decode(parts, &Domains::default())
}

/// Reads a body to its end through everything `s3` has: decode, verify, plan, payload.
fn read<E>(parts: &Parts, frames: Vec<Result<Bytes, E>>) -> Result<(Vec<u8>, Received), S3Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let verified = authenticate(parts)?;
    let plan = PayloadPlan::from_parts(parts, &decoded(parts)?)?;
    let frames = frames.into_iter().map(|frame| frame.map(Frame::data));
    let mut payload = Payload::new(StreamBody::new(futures_util::stream::iter(frames)), &plan, &verified);
    let mut whole = Vec::new();
    while let Some(bytes) = payload.next().now_or_never().expect("the frames are there")? {
        assert!(!bytes.is_empty());
        assert!(payload.received().is_none(), "nothing is complete before the end");
        whole.extend_from_slice(&bytes);
    }
    let received = payload.received().expect("complete").clone();
    assert_eq!(received.bytes, whole.len() as u64);
    Ok((whole, received))
}

/// Cuts bytes into frames of at most `size`.
fn frames(body: &[u8], size: usize) -> Vec<Result<Bytes, std::io::Error>> {
    body.chunks(size.max(1)).map(|frame| Ok(Bytes::copy_from_slice(frame))).collect()
}

fn read_whole(parts: &Parts, body: &[u8]) -> Result<(Vec<u8>, Received), S3Error> {
    read(parts, frames(body, usize::MAX))
}

fn code_of<T: std::fmt::Debug>(result: Result<T, S3Error>) -> Code {
    result.unwrap_err().code()
}
