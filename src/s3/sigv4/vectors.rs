//! The examples of the S3 API reference, byte for byte: "Signature Calculations for the Authorization Header" (single
//! chunk, multiple chunks, trailing headers) and "Using Query Parameters".

use http::Request;
use http::request::Parts;

use crate::model::{RegionId, Secret, Timestamp};

use super::super::error::Code;
use super::*;

/// 2013-05-24T00:00:00Z
const THEN: Timestamp = Timestamp::from_seconds(1_369_353_600);
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn region() -> RegionId {
    "us-east-1".parse().unwrap()
}

fn key() -> SigningKey {
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
    SigningKey::derive(&secret, "20130524", "us-east-1")
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},\
         Signature={signature}"
    )
}

fn verdict(parts: &Parts, now: Timestamp) -> Result<Verified, Code> {
    let presented = Presented::from_parts(parts).map_err(|error| error.code())?;
    verify(&presented, &key(), parts, now, &region()).map_err(|error| error.code())
}

#[test]
fn published_example_get_object() {
    let signed = "host;range;x-amz-content-sha256;x-amz-date";
    let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    let parts = request(
        "GET",
        "/test.txt",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("authorization", &authorization(signed, signature)),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ],
    );
    let presented = Presented::from_parts(&parts).unwrap();
    assert_eq!(
        (presented.key_id(), presented.date(), presented.region()),
        ("AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1")
    );
    let canonical = String::from_utf8(canonical::request(&presented, &parts).unwrap()).unwrap();
    assert_eq!(
        canonical,
        format!(
            "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\nx-amz-content-sha256:{EMPTY}\n\
             x-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n{EMPTY}"
        )
    );
    assert_eq!(verdict(&parts, THEN).map(|v| v.is_presigned()), Ok(false));
}

#[test]
fn published_example_put_object() {
    let digest = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let signed = "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class";
    let signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
    let parts = request(
        "PUT",
        "/test$file.text",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("authorization", &authorization(signed, signature)),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", digest),
        ],
    );
    assert!(verdict(&parts, THEN).is_ok());
}

#[test]
fn published_examples_get_lifecycle_and_list() {
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let cases = [
        ("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ];
    for (target, signature) in cases {
        let parts = request(
            "GET",
            target,
            &[
                ("host", "examplebucket.s3.amazonaws.com"),
                ("authorization", &authorization(signed, signature)),
                ("x-amz-date", "20130524T000000Z"),
                ("x-amz-content-sha256", EMPTY),
            ],
        );
        assert!(verdict(&parts, THEN).is_ok(), "{target}");
    }
}

#[test]
fn published_example_presigned_get() {
    let target = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F\
                  us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                  &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let parts = request("GET", target, &[("host", "examplebucket.s3.amazonaws.com")]);
    assert_eq!(verdict(&parts, THEN).map(|v| v.is_presigned()), Ok(true));
    let at = |seconds| verdict(&parts, Timestamp::from_seconds(THEN.seconds() + seconds)).err();
    assert_eq!(at(86_399), None);
    assert_eq!(at(86_400), Some(Code::AccessDenied), "expired on the second");
    let early = Timestamp::from_seconds(THEN.seconds() - 901);
    assert_eq!(verdict(&parts, early).err(), Some(Code::AccessDenied), "not valid yet");
}

fn chunk_signature(hex: &str) -> [u8; 32] {
    parse_signature(hex.as_bytes()).unwrap()
}

fn digest_of(data: &[u8]) -> aws_lc_rs::digest::Digest {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data)
}

#[test]
fn published_example_chunked_upload() {
    let signed = "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
                  x-amz-storage-class";
    let signature = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    let parts = request(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("authorization", &authorization(signed, signature)),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
        ],
    );
    let mut chain = verdict(&parts, THEN).unwrap().chunk_signer().clone();
    let chunks = [
        (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ];
    for (length, signature) in chunks {
        chain.chunk(&chunk_signature(signature), &digest_of(&vec![b'a'; length])).unwrap();
    }
    let again = chain.chunk(&chunk_signature(chunks[2].1), &digest_of(b""));
    assert_eq!(again.unwrap_err().code(), Code::SignatureDoesNotMatch, "a chunk replayed");
}

#[test]
fn published_example_trailing_checksum() {
    let signed = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
                  x-amz-storage-class;x-amz-trailer";
    let signature = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
    let parts = request(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("authorization", &authorization(signed, signature)),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
            ("content-length", "66824"),
        ],
    );
    let mut chain = verdict(&parts, THEN).unwrap().chunk_signer().clone();
    let chunks = [
        (65_536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        (1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
        (0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
    ];
    for (length, signature) in chunks {
        chain.chunk(&chunk_signature(signature), &digest_of(&vec![b'a'; length])).unwrap();
    }
    let trailer = chunk_signature("d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
    let other = chain.clone().trailer(&trailer, b"x-amz-checksum-crc32c:sOO8/A==\n");
    assert_eq!(other.unwrap_err().code(), Code::SignatureDoesNotMatch);
    chain.trailer(&trailer, b"x-amz-checksum-crc32c:sOO8/Q==\n").unwrap();
}
