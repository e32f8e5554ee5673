//! A body in the framings of S3: however it is cut into frames it says the same, never more than was promised, and in signed
//! chunks nothing but what was signed.

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::Frame;
use http_body_util::StreamBody;

use super::client::{parse_head, signed};
use super::input::Input;
use crate::s3::{Code, Domains, Payload, PayloadPlan, Presented, Received, Verified, decode, verify};
use crate::testing::signer::{NOW, region, signed_chunks, signing_key, unsigned_chunks};

const DATA: &[u8] = b"{\"resourceType\":\"Observation\"}\r\n0\r\n\r\nof a made-up patient";
const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const SUMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];
/// Frames of one reading: more would only be slower.
const FRAMES_MAX: usize = 64;

/// What a reading gave: the bytes handed out, and the verdict.
type Outcome = (Vec<u8>, Result<Received, Code>);

/// The first bytes choose mode, trailer, promised length and cuts; the rest is the body, or edits of one that is right.
pub fn chunked(data: &[u8]) {
    let mut input = Input::new(data);
    let (choice, chunk) = (input.byte(), usize::from(input.byte()) % 80);
    let mode = [SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, "UNSIGNED-PAYLOAD"][usize::from(choice % 4)];
    let is_raw = choice & 0x80 != 0;
    let declared = if is_raw { input.number(600) } else { DATA.len() };
    let sum = SUMS[usize::from(input.byte()) % SUMS.len()];
    let cuts = [usize::from(input.byte()), usize::from(input.byte())];
    let (plan, verified, seed) = promised(mode, sum, declared);
    let body = if is_raw {
        input.rest().to_vec()
    } else {
        let right = framed(mode, &format!("x-amz-checksum-{sum}:{}", checksum_text(sum)), &seed, chunk);
        let edited = input.edited(&right);
        if edited == right {
            assert_eq!(read(&plan, &verified, &[&right]).0, DATA, "a right body was not read");
        }
        edited
    };
    let whole = read(&plan, &verified, &[&body]);
    judge(&whole, mode, declared, is_raw);
    for cut in cuts {
        let frames: Vec<&[u8]> = body.chunks((cut + 1).max(body.len().div_ceil(FRAMES_MAX))).collect();
        let again = read(&plan, &verified, &frames);
        assert!(again.1 == whole.1, "another verdict in frames of {cut}: {:?}, {:?}", again.1, whole.1);
        // A plain body that is too long is refused before its first frame, or behind it.
        assert!(again.0 == whole.0 || mode == "UNSIGNED-PAYLOAD", "other bytes in frames of {cut}");
        judge(&again, mode, declared, is_raw);
    }
}

fn judge((bytes, verdict): &Outcome, mode: &str, declared: usize, is_raw: bool) {
    assert!(bytes.len() <= declared, "{} bytes of {declared}", bytes.len());
    let Ok(received) = verdict else { return };
    assert_eq!(bytes.len(), declared, "whole, and not whole");
    assert_eq!(received.bytes, declared as u64);
    if mode == SIGNED || mode == SIGNED_TRAILER {
        // An input holds no signature that is right, so a raw one ends in an error whatever it says.
        assert!(!is_raw && bytes == DATA, "signed chunks with bytes that nobody signed");
    }
}

/// What the request says of its body, and its signature.
fn promised(mode: &str, sum: &str, declared: usize) -> (PayloadPlan, Verified, String) {
    let (length, trailer) = (declared.to_string(), format!("x-amz-checksum-{sum}"));
    let headers = match mode {
        "UNSIGNED-PAYLOAD" => vec![("content-length", length.as_str())],
        SIGNED => vec![("x-amz-decoded-content-length", length.as_str())],
        _ => vec![("x-amz-decoded-content-length", length.as_str()), ("x-amz-trailer", trailer.as_str())],
    };
    let (head, seed) = signed("PUT", "/records/k", mode, &headers);
    let parts = parse_head(head.as_bytes()).expect("the client writes heads that can be read");
    let call = decode(&parts, &Domains::default()).expect("a PutObject");
    let plan = PayloadPlan::from_parts(&parts, &call).expect("promises that can be kept");
    let presented = Presented::from_parts(&parts).expect("a proof");
    let key = signing_key(presented.date(), presented.region());
    let verified = verify(&presented, &key, &parts, NOW, &region()).expect("a good signature");
    (plan, verified, seed)
}

fn framed(mode: &str, trailer: &str, seed: &str, chunk: usize) -> Vec<u8> {
    match mode {
        SIGNED => signed_chunks(seed, DATA, chunk, None),
        SIGNED_TRAILER => signed_chunks(seed, DATA, chunk, Some(trailer)),
        UNSIGNED_TRAILER => unsigned_chunks(DATA, chunk, trailer),
        _ => DATA.to_vec(),
    }
}

/// The checksums of [`DATA`], worked out by Python's `hashlib` and `zlib` and by bitwise CRCs, not by the product.
fn checksum_text(sum: &str) -> &'static str {
    match sum {
        "crc32" => "yD1gSQ==",
        "crc32c" => "DvN0Bw==",
        "crc64nvme" => "djEbCVAhQ+c=",
        "sha1" => "Jb32cekYgLy2FIk6cS2urSZDvKY=",
        _ => "e6GO0MI+M/cmee+KVysIXj7DsT/bYYNnSTqfMjO9A0A=",
    }
}

/// Reads a body that comes in `frames`.
fn read(plan: &PayloadPlan, verified: &Verified, frames: &[&[u8]]) -> Outcome {
    let frames: Vec<_> = frames
        .iter()
        .map(|frame| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(frame))))
        .collect();
    let mut payload = Payload::new(StreamBody::new(futures_util::stream::iter(frames)), plan, verified);
    let mut bytes = Vec::new();
    loop {
        match payload.next().now_or_never().expect("every frame is there") {
            Ok(Some(data)) => {
                assert!(!data.is_empty(), "handed out nothing");
                assert!(payload.received().is_none(), "complete before the end");
                bytes.extend_from_slice(&data);
            }
            Ok(None) => {
                let received = payload.received().expect("complete at the end").clone();
                return (bytes, Ok(received));
            }
            Err(error) => {
                let again = payload.next().now_or_never().expect("an error is at hand");
                assert_eq!(again.err().map(|again| again.code()), Some(error.code()), "an error that passes");
                return (bytes, Err(error.code()));
            }
        }
    }
}
