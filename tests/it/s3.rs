//! Integration tests of `s3`: a client written apart from it signs, frames and mangles; what `s3` makes of that is judged.

mod payload;
mod signature;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Request;
use http::request::Parts;
use http_body::Frame;
use http_body_util::StreamBody;
use terroir::model::Timestamp;
use terroir::s3::{
    Call, Code, Domains, Payload, PayloadPlan, Presented, Received, S3Error, Verified, decode, verify,
};
use terroir::testing::signer::{
    self, EMPTY_SHA256, HOST, KEY_ID, NOW, SECRET, region, sha256, signed_chunks, signing_key,
    unsigned_chunks,
};

/// A request as a client makes it: `target` is in canonical form already, every header is signed.
fn signed(method: &str, target: &str, payload: &str, headers: &[(&str, &str)]) -> (Parts, String) {
    let (headers, signature) = signer::headers(method, target, payload, headers);
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(name, value.as_bytes());
    }
    (builder.body(()).unwrap().into_parts().0, signature)
}

/// A URL as a client presigns it, with `query` already in canonical form and sorting after `X-Amz-`.
fn presigned(method: &str, path: &str, expires: &str, query: &str, headers: &[(&str, &str)]) -> Parts {
    let target = signer::presigned(method, path, expires, query);
    let mut builder = Request::builder().method(method).uri(target).header("host", HOST);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn authenticate_at(parts: &Parts, now: Timestamp) -> Result<Verified, S3Error> {
    let presented = Presented::from_parts(parts)?;
    let key = signing_key(presented.date(), "fr");
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
