//! Answers: JSON as Google words its errors, and gRPC frames with their trailers.

use std::convert::Infallible;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};

use super::bucket::Refusal;

/// The connection is to break.
#[derive(Debug, thiserror::Error)]
#[error("the connection is broken on purpose")]
pub(crate) struct Broken;

pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;
pub(crate) type Answer = Response<Body>;

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that breaks off after `bytes`.
pub(crate) fn broken_after(bytes: Bytes) -> Body {
    let frames = [Ok(Frame::data(bytes)), Err(Broken)];
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

pub(crate) fn json(value: &Value) -> Answer {
    let mut answer = Response::new(whole(value.to_string()));
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/json; charset=UTF-8"));
    answer
}

pub(crate) fn status(status: u16) -> Answer {
    let mut answer = Response::new(whole(""));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// Cloud Storage documentation, "HTTP status and error codes for JSON".
pub(crate) fn refused(refusal: &Refusal) -> Answer {
    let Refusal { status, reason, message } = refusal;
    let error = json!({ "domain": "global", "reason": reason, "message": message });
    let mut answer = json(&json!({ "error": { "code": status, "message": message, "errors": [error] } }));
    *answer.status_mut() = StatusCode::from_u16(*status).unwrap();
    answer
}

/// One gRPC message and the trailers of success.
pub(crate) fn message(encoded: &[u8]) -> Answer {
    let mut frame = BytesMut::with_capacity(encoded.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(encoded.len()).unwrap());
    frame.put_slice(encoded);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(frame.freeze())), Ok(Frame::trailers(trailers))];
    let mut answer = Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

/// The gRPC code that stands for a status (`google.rpc.Code`), in the headers of an answer without a body.
pub(crate) fn grpc_refused(refusal: &Refusal) -> Answer {
    let code = match refusal.status {
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 10,
        412 => 9,
        416 => 11,
        429 => 8,
        500 => 13,
        501 => 12,
        503 => 14,
        504 => 4,
        _ => 3,
    };
    let mut answer = Response::new(whole(""));
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code));
    headers.insert("grpc-message", HeaderValue::from_str(&refusal.message.replace(' ', "%20")).unwrap());
    answer
}
