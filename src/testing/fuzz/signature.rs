//! A signed request, edited on its way: refused, or still asking for the same. Headers that nobody signed do not count.

use http::header::{HeaderMap, HeaderValue};
use http::request::Parts;

use super::client::{parse_head, presigned, signed};
use super::input::Input;
use crate::s3::{Call, Domains, PayloadPlan, Presented, S3Error, decode, verify};
use crate::testing::signer::{self, NOW, UNSIGNED, region};

/// What is asked for, as far as it was signed.
type Asked = (Call, Option<String>);

/// The first byte chooses a request, the rest edits its head.
pub fn signature(data: &[u8]) {
    let mut input = Input::new(data);
    let head = template(input.byte());
    let original = parse_head(head.as_bytes()).expect("the client writes heads that can be read");
    let wanted = asked(&original).expect("the client asks for what there is");
    assert!(is_believed(&original), "a good signature was refused");
    let edited = input.edited(head.as_bytes());
    let Some(parts) = parse_head(&edited).filter(is_believed) else { return };
    let parts = as_signed(parts, &original.headers);
    if let Ok(found) = asked(&parts) {
        assert!(
            found == wanted,
            "a changed request was believed: {} for {}",
            found.0.name(),
            wanted.0.name()
        );
    }
}

fn template(choice: u8) -> String {
    let tagged = [
        ("content-type", "application/fhir+json"),
        ("content-length", "3"),
        ("if-none-match", "*"),
        ("x-amz-meta-terroir-class", "health"),
        ("x-amz-meta-ward", "ward 3"),
        ("x-amz-tagging", "terroir%3Asubject=patient-42"),
    ];
    let upload = "0123456789abcdef0123456789abcdef";
    match choice % 8 {
        0 => signed("PUT", "/records/p/42/o%201.json", UNSIGNED, &tagged).0,
        1 => signed("GET", "/records/p/42/o%201.json", UNSIGNED, &[("range", "bytes=0-9")]).0,
        2 => {
            let query = "delimiter=%2F&list-type=2&max-keys=7&prefix=p%2F&start-after=p%2F4";
            signed("GET", &format!("/records?{query}"), UNSIGNED, &[]).0
        }
        3 => presigned("GET", "/records/p/42/o.json", "&response-content-type=text%2Fplain"),
        4 => presigned(
            "PUT",
            "/records/p/42/o.json",
            "&x-amz-meta-ward=3&x-amz-tagging=terroir%3Aclass%3Dhealth",
        ),
        5 => signed("DELETE", "/records/p//../42", UNSIGNED, &[]).0,
        6 => {
            let target = format!("/records/k?partNumber=7&uploadId={upload}");
            let streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
            signed("PUT", &target, streaming, &[("x-amz-decoded-content-length", "9")]).0
        }
        _ => {
            let sum = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-mp-object-size", "5")];
            signed("POST", &format!("/records/k?uploadId={upload}"), &signer::sha256(b"<a/>"), &sum).0
        }
    }
}

/// What the request asks for, once in words and once for its body.
fn asked(parts: &Parts) -> Result<Asked, S3Error> {
    let call = decode(parts, &Domains::default())?;
    let plan = PayloadPlan::from_parts(parts, &call)
        .ok()
        .map(|plan| format!("{:?} {} {:?}", plan.mode(), plan.decoded_bytes(), plan.checksum_algorithm()));
    Ok((call, plan))
}

fn is_believed(parts: &Parts) -> bool {
    let Ok(presented) = Presented::from_parts(parts) else { return false };
    let key = signer::signing_key(presented.date(), presented.region());
    verify(&presented, &key, parts, NOW, &region()).is_ok()
}

/// The request without the headers that nobody signed, and with the white space that a signature does not see as one space
/// (S3 API reference, "Create a canonical request": `Trim`). `signed` are the client's headers: it signs all it sends.
fn as_signed(mut parts: Parts, signed: &HeaderMap) -> Parts {
    let mut headers = HeaderMap::new();
    for (name, value) in &parts.headers {
        // The payload's digest is a line of what is signed, whether or not its header is listed.
        if signed.contains_key(name) || name.as_str() == "x-amz-content-sha256" {
            headers.append(name, collapsed(value));
        }
    }
    parts.headers = headers;
    parts
}

fn collapsed(value: &HeaderValue) -> HeaderValue {
    let words = value.as_bytes().split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
    let joined = words.collect::<Vec<_>>().join(&b' ');
    HeaderValue::from_bytes(&joined).expect("parts of a header's value")
}
