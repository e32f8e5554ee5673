//! Any request head: read the same way every time, within its limits, without a name in what is logged, and never believed.

use http::request::Parts;

use super::client::parse_head;
use crate::model::{ObjectKey, USER_METADATA_BYTES_MAX};
use crate::s3::{Call, Domains, PayloadPlan, Presented, RECORD_BYTES_MAX, S3Error, decode, key_id, verify};
use crate::testing::signer::{self, NOW};

/// A name that must not come up in `Debug` or `Display`. Seeds have it where names of records stand.
const MARKER: &str = "zqmarker";

/// Reads `data` as the head of a request, path style and virtual-host style.
pub fn request(data: &[u8]) {
    let Some(parts) = parse_head(data) else { return };
    for domains in [Domains::default(), Domains::new([signer::HOST])] {
        let call = decode(&parts, &domains);
        assert!(call == decode(&parts, &domains), "two readings of one request differ");
        match &call {
            Ok(call) => {
                limits(call);
                assert!(!format!("{call:?}").contains(MARKER), "a name in Debug of {}", call.name());
                plan(&parts, call);
            }
            Err(error) => no_name_in(error),
        }
    }
    let _ = key_id(&parts);
    match Presented::from_parts(&parts) {
        Ok(presented) => never_believed(&presented, &parts),
        Err(error) => no_name_in(&error),
    }
}

/// What a decoded call may hold at most (S3 API reference).
fn limits(call: &Call) {
    if let Some(bucket) = call.bucket() {
        let name = bucket.as_str();
        assert!((3..=63).contains(&name.len()), "a bucket's name of {} bytes", name.len());
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        assert!(name.bytes().all(allowed), "a bucket's name with other characters");
    }
    if let Some(key) = call.key() {
        assert!((1..=ObjectKey::BYTES_MAX).contains(&key.as_bytes().len()), "a key too long, or empty");
    }
    match call {
        Call::PutObject(put) => {
            assert!(put.metadata.bytes() <= USER_METADATA_BYTES_MAX, "more metadata than is kept");
        }
        Call::CreateMultipartUpload(create) => {
            assert!(create.metadata.bytes() <= USER_METADATA_BYTES_MAX, "more metadata than is kept");
        }
        Call::UploadPart(part) => assert!((1..=10_000).contains(&part.number), "part {}", part.number),
        Call::ListObjects(list) => assert!(list.keys_max <= 1000, "a page of {}", list.keys_max),
        Call::ListParts(list) => assert!(list.parts_max <= 1000, "a page of {}", list.parts_max),
        Call::ListMultipartUploads(list) => {
            assert!(list.uploads_max <= 1000, "a page of {}", list.uploads_max);
        }
        Call::ListBuckets(list) => {
            assert!(list.buckets_max.is_none_or(|max| (1..=10_000).contains(&max)), "a page of buckets");
        }
        _ => {}
    }
}

fn plan(parts: &Parts, call: &Call) {
    match PayloadPlan::from_parts(parts, call) {
        Ok(plan) => {
            assert!(plan.decoded_bytes() <= RECORD_BYTES_MAX, "a body of {} bytes", plan.decoded_bytes());
            let announced = plan.checksum_algorithm().is_some();
            assert!(announced || !plan.mode().has_trailer(), "a trailer of no algorithm");
        }
        Err(error) => no_name_in(&error),
    }
}

/// At the time and in the region the request itself asks for, so that nothing but the signature stands in its way.
fn never_believed(presented: &Presented, parts: &Parts) {
    let Ok(region) = presented.region().parse() else { return };
    let key = signer::signing_key(presented.date(), presented.region());
    match verify(presented, &key, parts, NOW, &region) {
        Ok(_) => panic!("a signature of somebody without the secret was believed"),
        Err(error) => no_name_in(&error),
    }
}

fn no_name_in(error: &S3Error) {
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(MARKER), "a name in an error: {:?}", error.code());
}
