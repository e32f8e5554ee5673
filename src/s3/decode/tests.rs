//! Decoding: what becomes which call, and everything that must not.

use http::Request as HttpRequest;
use http::request::Parts;
use proptest::prelude::*;

use crate::model::{ChecksumAlgorithm, ChecksumKind, ETag, RangeSpec, Timestamp};

use super::super::call::{BodyKind, Call, ETagMatch, ListVersion, PutObject, ReadObject, WriteCondition};
use super::super::error::{Code, S3Error};
use super::super::token::Position;
use super::{Domains, decode};

const UPLOAD: &str = "00112233445566778899aabbccddeeff";

fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder =
        HttpRequest::builder().method(method).uri(target).header("host", "s3.fr.example.org:8443");
    for (name, value) in headers {
        builder = builder.header(*name, value.as_bytes());
    }
    builder.body(()).unwrap().into_parts().0
}

fn domains() -> Domains {
    Domains::new(["S3.fr.example.org", "fr.example.org"])
}

fn call(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Call, S3Error> {
    decode(&parts(method, target, headers), &domains())
}

fn code(method: &str, target: &str, headers: &[(&str, &str)]) -> Code {
    call(method, target, headers).unwrap_err().code()
}

fn name(method: &str, target: &str) -> &'static str {
    let call = call(method, target, &[]).unwrap();
    assert!(!matches!(call, Call::Unsupported(_)), "{method} {target}");
    call.name()
}

fn key(target: &str) -> String {
    call("GET", target, &[]).unwrap().key().unwrap().as_str().to_owned()
}

fn put(headers: &[(&str, &str)]) -> PutObject {
    match call("PUT", "/bucket/key", headers).unwrap() {
        Call::PutObject(put) => put,
        other => panic!("{other:?}"),
    }
}

fn get(headers: &[(&str, &str)]) -> ReadObject {
    match call("GET", "/bucket/key", headers).unwrap() {
        Call::GetObject(read) => read,
        other => panic!("{other:?}"),
    }
}

fn unsupported(method: &str, target: &str, headers: &[(&str, &str)]) -> (&'static str, String) {
    match call(method, target, headers) {
        Ok(Call::Unsupported(unsupported)) => (unsupported.name, unsupported.reason),
        other => panic!("{method} {target} {headers:?}: {other:?}"),
    }
}

#[test]
fn every_operation_is_told_from_its_neighbours() {
    let in_upload = format!("/bucket/key?uploadId={UPLOAD}");
    let part = format!("/bucket/key?partNumber=7&uploadId={UPLOAD}");
    let cases = [
        ("GET", "/", "ListBuckets"),
        ("PUT", "/bucket", "CreateBucket"),
        ("PUT", "/bucket/", "CreateBucket"),
        ("HEAD", "/bucket", "HeadBucket"),
        ("DELETE", "/bucket", "DeleteBucket"),
        ("GET", "/bucket?location", "GetBucketLocation"),
        ("GET", "/bucket?location=", "GetBucketLocation"),
        ("GET", "/bucket", "ListObjects"),
        ("GET", "/bucket/?prefix=a&x-id=ListObjects", "ListObjects"),
        ("GET", "/bucket?list-type=2", "ListObjectsV2"),
        ("GET", "/bucket?uploads", "ListMultipartUploads"),
        ("POST", "/bucket?delete", "DeleteObjects"),
        ("PUT", "/bucket/key", "PutObject"),
        ("PUT", "/bucket/key?x-id=PutObject", "PutObject"),
        ("GET", "/bucket/key", "GetObject"),
        ("GET", "/bucket/key?versionId=null", "GetObject"),
        ("HEAD", "/bucket/key", "HeadObject"),
        ("DELETE", "/bucket/key", "DeleteObject"),
        ("POST", "/bucket/key?uploads", "CreateMultipartUpload"),
        ("PUT", &part, "UploadPart"),
        ("POST", &in_upload, "CompleteMultipartUpload"),
        ("DELETE", &in_upload, "AbortMultipartUpload"),
        ("GET", &in_upload, "ListParts"),
    ];
    for (method, target, expected) in cases {
        assert_eq!(name(method, target), expected, "{method} {target}");
        let call = call(method, target, &[]).unwrap();
        assert_eq!(call.bucket().is_some(), target != "/");
        assert_eq!(call.key().is_some(), target.starts_with("/bucket/key"));
        assert_eq!(call.writes(), method != "GET" && method != "HEAD");
    }
    assert_eq!(call("PUT", "/bucket/key", &[]).unwrap().body(), BodyKind::Record);
    assert_eq!(call("POST", "/bucket?delete", &[]).unwrap().body(), BodyKind::Xml);
    assert_eq!(call("GET", "/bucket/key", &[]).unwrap().body(), BodyKind::Ignored);
}

#[test]
fn a_subresource_is_never_taken_for_a_plain_get_or_put() {
    let cases = [
        ("GET", "/bucket?versioning", "GetBucketVersioning"),
        ("PUT", "/bucket?versioning", "PutBucketVersioning"),
        ("GET", "/bucket?versions&prefix=a", "ListObjectVersions"),
        ("PUT", "/bucket?policy", "PutBucketPolicy"),
        ("DELETE", "/bucket?lifecycle", "DeleteBucketLifecycle"),
        ("PUT", "/bucket?acl", "PutBucketAcl"),
        ("GET", "/bucket?cors", "GetBucketCors"),
        ("PUT", "/bucket/key?acl", "PutObjectAcl"),
        ("PUT", "/bucket/key?tagging", "PutObjectTagging"),
        ("DELETE", "/bucket/key?tagging", "DeleteObjectTagging"),
        ("GET", "/bucket/key?attributes", "GetObjectAttributes"),
        ("PUT", "/bucket/key?legal-hold", "PutObjectLegalHold"),
        ("POST", "/bucket/key?restore", "RestoreObject"),
        ("POST", "/bucket/key?select&select-type=2", "SelectObjectContent"),
        ("POST", "/bucket", "PostObject"),
        ("GET", "/bucket/key?partNumber=1", "GetObject"),
        ("DELETE", "/bucket/key?versionId=abc", "DeleteObject"),
        ("GET", "/bucket/key?somethingNew", "GetObject"),
        ("PUT", "/bucket/key?somethingNew=1", "PutObject"),
        ("DELETE", "/bucket?somethingNew", "DeleteBucket"),
        ("PUT", "/bucket?uploads", "CreateBucket"),
    ];
    for (method, target, expected) in cases {
        let (name, reason) = unsupported(method, target, &[]);
        assert_eq!(name, expected, "{method} {target}");
        assert!(reason.ends_with("implemented.") || reason.contains("not implemented"), "{reason}");
        assert!(!reason.contains("somethingNew"), "what a stranger wrote is not echoed");
    }
    assert_eq!(code("DELETE", "/bucket?acl", &[]), Code::MethodNotAllowed);
    assert_eq!(code("POST", "/bucket/key", &[]), Code::MethodNotAllowed);
    assert_eq!(code("PATCH", "/bucket/key", &[]), Code::MethodNotAllowed);
    assert_eq!(code("PUT", "/", &[]), Code::MethodNotAllowed);
}

#[test]
fn cors_preflight_is_answered_before_any_signature() {
    assert_eq!(code("OPTIONS", "/bucket/key", &[("origin", "https://a.example")]), Code::AccessDenied);
}

#[test]
fn a_wish_that_cannot_be_honoured_is_refused() {
    let headers = [
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
        ("x-amz-server-side-encryption", "aws:kms:dsse"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "id=1"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-copy-source", "/a/b"),
        ("x-amz-expected-bucket-owner", "123456789012"),
        ("x-amz-write-offset-bytes", "0"),
        ("x-amz-tagging", "project=blue"),
        ("x-amz-something-new", "1"),
        ("if-match", "*"),
        ("if-none-match", "\"abc\""),
        ("if-unmodified-since", "Fri, 24 May 2013 00:00:00 GMT"),
    ];
    for header in headers {
        unsupported("PUT", "/bucket/key", &[header]);
    }
    unsupported("PUT", "/bucket/key", &[("if-match", "a"), ("if-none-match", "*")]);
    unsupported("GET", "/bucket/key", &[("x-amz-server-side-encryption-customer-key", "k")]);
    unsupported("PUT", "/bucket", &[("x-amz-bucket-object-lock-enabled", "true")]);
    unsupported("DELETE", "/bucket/key", &[("if-match", "a")]);
    unsupported("DELETE", "/bucket/key", &[("x-amz-mfa", "1 2")]);
    assert_eq!(unsupported("PUT", "/bucket/key", &[("x-amz-copy-source", "/a/b")]).0, "CopyObject");
    let part = format!("/bucket/key?partNumber=1&uploadId={UPLOAD}");
    assert_eq!(
        unsupported("PUT", &part, &[("x-amz-copy-source", "/a/anyfilename%.txt")]).0,
        "UploadPartCopy"
    );
    assert_eq!(code("PUT", "/bucket/key", &[("x-amz-storage-class", "CHEAP")]), Code::InvalidStorageClass);
    assert_eq!(
        code("PUT", "/bucket/key", &[("x-amz-server-side-encryption", "rot13")]),
        Code::InvalidArgument
    );
    for harmless in [
        ("x-amz-acl", "private"),
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-server-side-encryption", "AES256"),
    ] {
        put(&[harmless]);
    }
    put(&[("x-amz-server-side-encryption", "aws:kms")]);
    get(&[("x-amz-api-version", "2006-03-01"), ("amz-sdk-invocation-id", "x"), ("x-amzn-trace-id", "y")]);
}

#[test]
fn a_wish_hoisted_into_a_presigned_query_is_refused_as_well() {
    assert_eq!(unsupported("PUT", "/bucket/key?X-Amz-Acl=public-read&X-Amz-Signature=s", &[]).0, "PutObject");
    match call("PUT", "/bucket/key?x-amz-meta-terroir-class=ecg&X-Amz-Signature=s&x-amz-meta-a=1", &[])
        .unwrap()
    {
        Call::PutObject(put) => {
            assert_eq!(put.labels.class.as_deref(), Some("ecg"));
            assert_eq!(put.metadata.value("a"), Some("1"));
        }
        other => panic!("{other:?}"),
    }
    let twice =
        call("PUT", "/bucket/key?x-amz-acl=private&X-Amz-Signature=s", &[("x-amz-acl", "public-read")]);
    assert_eq!(twice.unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn plus_space_and_encoded_plus_in_a_key_are_three_things() {
    assert_eq!(key("/bucket/a+b"), "a+b");
    assert_eq!(key("/bucket/a%2Bb"), "a+b");
    assert_eq!(key("/bucket/a%20b"), "a b");
}

#[test]
fn a_key_is_not_normalised() {
    for raw in ["/a", "a//b", "./a", "../a", "a/..", "a/./b", "//", "a/", "...", "a\\b"] {
        let target = format!("/bucket/{}", raw.replace('\\', "%5C"));
        assert_eq!(key(&target), raw);
    }
}

#[test]
fn an_encoded_percent_is_not_decoded_twice() {
    assert_eq!(key("/bucket/a%252Fb"), "a%2Fb");
    assert_eq!(key("/bucket/a%2Fb"), "a/b");
    assert_eq!(code("GET", "/bucket%2Fkey", &[]), Code::InvalidBucketName);
}

#[test]
fn controls_are_taken_in_keys_and_broken_escapes_are_not() {
    assert_eq!(key("/bucket/a%01%0D%0Ab"), "a\u{1}\r\nb");
    for bad in ["/bucket/%", "/bucket/%f", "/bucket/%gg", "/bucket/%ff", "/bucket/%c3%28"] {
        assert_eq!(code("GET", bad, &[]), Code::InvalidUri, "{bad}");
    }
}

#[test]
fn a_key_has_at_most_1024_bytes_of_utf8() {
    assert_eq!(key(&format!("/bucket/{}", "k".repeat(1024))).len(), 1024);
    assert_eq!(code("PUT", &format!("/bucket/{}", "k".repeat(1025)), &[]), Code::KeyTooLong);
    assert_eq!(key(&format!("/bucket/{}", "%C3%A9".repeat(512))).len(), 1024);
    assert_eq!(code("PUT", &format!("/bucket/{}", "%C3%A9".repeat(513)), &[]), Code::KeyTooLong);
}

#[test]
fn virtual_hosts_and_paths_address_the_same_object() {
    let of = |host: &str, target: &str| {
        let parts = HttpRequest::get(target).header("host", host).body(()).unwrap().into_parts().0;
        decode(&parts, &domains()).map(|call| {
            (call.bucket().map(|b| b.as_str().to_owned()), call.key().map(|k| k.as_str().to_owned()))
        })
    };
    let object = |bucket: &str, key: &str| Ok((Some(bucket.to_owned()), Some(key.to_owned())));
    assert_eq!(of("bucket.s3.fr.example.org", "/a/b"), object("bucket", "a/b"));
    assert_eq!(of("BUCKET.S3.FR.example.org:443", "/a/b"), object("bucket", "a/b"));
    assert_eq!(of("my.dotted.bucket.s3.fr.example.org", "/k"), object("my.dotted.bucket", "k"));
    assert_eq!(of("bucket.s3.fr.example.org", "//"), object("bucket", "/"));
    assert_eq!(of("bucket.s3.fr.example.org", "/"), Ok((Some("bucket".to_owned()), None)));
    assert_eq!(
        of("s3.fr.example.org", "/bucket/a/b"),
        object("bucket", "a/b"),
        "the longest domain is no bucket"
    );
    assert_eq!(of("10.0.0.1:9000", "/bucket/a"), object("bucket", "a"));
    assert_eq!(of("[::1]:9000", "/bucket/a"), object("bucket", "a"));
    assert_eq!(of("nots3.fr.example.org.evil.example", "/bucket/a"), object("bucket", "a"));
    assert_eq!(of("Bad_.s3.fr.example.org", "/a").unwrap_err().code(), Code::InvalidBucketName);
    assert_eq!(of("s3.fr.example.org", "/ab/x").unwrap_err().code(), Code::InvalidBucketName);
    assert_eq!(of("s3.fr.example.org", "//key").unwrap_err().code(), Code::InvalidBucketName);
}

#[test]
fn two_hosts_in_one_request_are_refused() {
    let absolute = HttpRequest::get("http://b.s3.fr.example.org/k").header("host", "a.s3.fr.example.org");
    let absolute = absolute.body(()).unwrap().into_parts().0;
    assert_eq!(decode(&absolute, &domains()).unwrap_err().code(), Code::InvalidRequest);
    let twice =
        HttpRequest::get("/k").header("host", "a.s3.fr.example.org").header("host", "b.s3.fr.example.org");
    assert!(decode(&twice.body(()).unwrap().into_parts().0, &domains()).is_err());
    let none = HttpRequest::get("/bucket/k").body(()).unwrap().into_parts().0;
    assert!(decode(&none, &domains()).is_err());
}

#[test]
fn ranges_are_one_range_or_nothing() {
    let range = |text: &str| get(&[("range", text)]).range;
    assert_eq!(range("bytes=0-"), Some(RangeSpec::From(0)));
    assert_eq!(range("bytes=2-5"), Some(RangeSpec::Inclusive(2, 5)));
    assert_eq!(range("Bytes = 2 - 5"), Some(RangeSpec::Inclusive(2, 5)));
    assert_eq!(range("bytes=-0"), Some(RangeSpec::Suffix(0)));
    assert_eq!(range("bytes=-7"), Some(RangeSpec::Suffix(7)));
    assert_eq!(range("bytes=5-99999999999999999999999"), Some(RangeSpec::Inclusive(5, u64::MAX)));
    for ignored in [
        "bytes=5-2",
        "bytes=0-1,3-4",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "items=0-1",
        "0-1",
        "bytes=+1-2",
        "bytes=1--2",
    ] {
        assert_eq!(range(ignored), None, "{ignored}");
    }
    assert_eq!(get(&[("range", "bytes=0-1"), ("range", "bytes=2-3")]).range, None);
    assert_eq!(get(&[("range", "bytes=0-1"), ("if-range", "\"x\"")]).range, None, "half of another version");
}

#[test]
fn conditions_of_reads_take_lists_weak_tags_and_unquoted_ones() {
    let tag = "0".repeat(32);
    let etag: ETag = tag.parse().unwrap();
    for text in [
        tag.clone(),
        format!("\"{tag}\""),
        format!("W/\"{tag}\""),
        format!("\"x\", \"{tag}\""),
        "*".to_owned(),
    ] {
        let read = get(&[("if-none-match", &text)]);
        assert!(read.conditions.if_none_match.unwrap().matches(&etag), "{text}");
    }
    let unreadable = get(&[("if-match", "\u{e9}")]).conditions.if_match;
    assert_eq!(unreadable, Some(ETagMatch::OneOf(vec![String::new()])), "matches nothing, is not absent");
    let dated =
        get(&[("if-modified-since", "Fri, 24 May 2013 00:00:00 GMT"), ("if-unmodified-since", "yesterday")]);
    assert_eq!(dated.conditions.if_modified_since, Some(Timestamp::from_seconds(1_369_353_600)));
    assert_eq!(dated.conditions.if_unmodified_since, None);
}

#[test]
fn conditions_of_writes_are_the_two_that_s3_has() {
    assert_eq!(put(&[]).condition, WriteCondition::None);
    assert_eq!(put(&[("if-none-match", "*")]).condition, WriteCondition::IfAbsent);
    assert_eq!(put(&[("if-match", "\"abc\"")]).condition, WriteCondition::IfMatch("abc".to_owned()));
    let target = format!("/bucket/key?uploadId={UPLOAD}");
    match call("POST", &target, &[("if-match", "abc")]).unwrap() {
        Call::CompleteMultipartUpload(complete) => {
            assert_eq!(
                complete.condition,
                WriteCondition::IfMatch("abc".to_owned()),
                "if-match on Complete counts"
            );
        }
        other => panic!("{other:?}"),
    }
    let etag: ETag = "0".repeat(32).parse().unwrap();
    assert!(!WriteCondition::IfMatch("abc".to_owned()).holds(Some(&etag)));
    assert!(!WriteCondition::IfMatch("0".repeat(32)).holds(None));
    assert!(WriteCondition::IfMatch("0".repeat(32)).holds(Some(&etag)));
    assert!(WriteCondition::IfAbsent.holds(None) && !WriteCondition::IfAbsent.holds(Some(&etag)));
}

#[test]
fn aws_chunked_is_not_replayed_as_content_encoding() {
    let coding = |values: &[&str]| {
        let headers: Vec<_> = values.iter().map(|value| ("content-encoding", *value)).collect();
        put(&headers).content.content_encoding
    };
    assert_eq!(coding(&["aws-chunked"]), None);
    assert_eq!(coding(&["aws-chunked,gzip"]).as_deref(), Some("gzip"));
    assert_eq!(coding(&["gzip, AWS-Chunked"]).as_deref(), Some("gzip"));
    assert_eq!(coding(&["aws-chunked", "gzip, br"]).as_deref(), Some("gzip,br"));
    assert_eq!(coding(&["gzip"]).as_deref(), Some("gzip"));
}

#[test]
fn non_ascii_metadata_is_kept_as_text() {
    let put = put(&[
        ("x-amz-meta-name", "ÄMÄZÕÑ"),
        ("x-amz-meta-word", "=?UTF-8?B?w4Q=?="),
        ("x-amz-meta-a", "1"),
        ("x-amz-meta-a", "2"),
    ]);
    assert_eq!(put.metadata.value("name"), Some("ÄMÄZÕÑ"));
    assert_eq!(put.metadata.value("word"), Some("=?UTF-8?B?w4Q=?="));
    assert_eq!(put.metadata.value("a"), Some("1,2"));
}

#[test]
fn metadata_has_at_most_two_kibibytes() {
    let value = "v".repeat(2045);
    put(&[("x-amz-meta-abc", &value)]);
    let value = "v".repeat(2046);
    assert_eq!(code("PUT", "/bucket/key", &[("x-amz-meta-abc", &value)]), Code::MetadataTooLarge);
    let create = call("POST", "/bucket/key?uploads", &[("x-amz-meta-abc", &value)]);
    assert_eq!(create.unwrap_err().code(), Code::MetadataTooLarge);
}

#[test]
fn labels_come_from_metadata_or_tags_and_must_not_contradict() {
    let class = ("x-amz-meta-terroir-class", "ecg");
    assert_eq!(put(&[class]).labels.class.as_deref(), Some("ecg"));
    let tagged = put(&[("x-amz-tagging", "terroir%3Aclass=ecg&terroir:subject=p+1")]).labels;
    assert_eq!((tagged.class.as_deref(), tagged.subject.as_deref()), (Some("ecg"), Some("p 1")));
    assert_eq!(put(&[class, ("x-amz-tagging", "terroir:class=ecg")]).labels.class.as_deref(), Some("ecg"));
    for bad in [
        &[class, ("x-amz-tagging", "terroir:class=fhir")][..],
        &[("x-amz-tagging", "terroir:class=a&terroir:class=a")],
        &[("x-amz-tagging", "terroir:class=")],
        &[("x-amz-tagging", "terroir:clas=a")],
        &[("x-amz-tagging", "terroir:class=%zz")],
        &[("x-amz-meta-terroir-klass", "a")],
        &[("x-amz-meta-terroir-class", "")],
    ] {
        assert_eq!(code("PUT", "/bucket/key", bad), Code::InvalidArgument, "{bad:?}");
    }
    assert!(!format!("{:?}", put(&[("x-amz-meta-terroir-subject", "martin")])).contains("martin"));
}

/// Found by the fuzz target `request`.
#[test]
fn debug_of_a_call_showed_buckets_their_prefixes_and_conditions() {
    let shown = [
        call("PUT", "/martin", &[]),
        call("GET", "/martin?list-type=2&prefix=martin", &[]),
        call("GET", "/?prefix=martin", &[]),
        call("GET", &format!("/?continuation-token={}", Position::AfterKey("martin".into()).to_token()), &[]),
        call("PUT", "/martin/martin", &[("if-match", "\"martin\"")]),
        call("GET", "/martin/martin", &[("if-match", "martin"), ("if-none-match", "martin")]),
    ];
    for call in shown.map(Result::unwrap) {
        assert!(!format!("{call:?}").contains("martin"), "{}", call.name());
    }
}

fn list(target: &str) -> super::super::call::ListObjects {
    match call("GET", target, &[]).unwrap() {
        Call::ListObjects(list) => list,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_delimiter_is_none_and_max_keys_is_cut_to_a_thousand() {
    let plain = list("/bucket?delimiter=&prefix=&marker=");
    assert_eq!((plain.delimiter, plain.prefix.as_str(), plain.keys_max), (None, "", 1000));
    assert_eq!(plain.version, ListVersion::V1 { marker: None });
    assert_eq!(list("/bucket?max-keys=0").keys_max, 0);
    assert_eq!(list("/bucket?max-keys=5000").keys_max, 1000);
    assert_eq!(list("/bucket?max-keys=2147483647").keys_max, 1000);
    for bad in [
        "max-keys=-1",
        "max-keys=x",
        "max-keys=2147483648",
        "encoding-type=base64",
        "list-type=3",
        "list-type=2&continuation-token=",
        "list-type=2&fetch-owner=1",
    ] {
        assert_eq!(code("GET", &format!("/bucket?{bad}"), &[]), Code::InvalidArgument, "{bad}");
    }
}

#[test]
fn a_token_goes_before_start_after_and_is_compared_raw() {
    let position = Position::AfterKey("a b/é".to_owned());
    let listed =
        list(&format!("/bucket?list-type=2&start-after=z&continuation-token={}", position.to_token()));
    assert_eq!(listed.start(), Some(position));
    assert_eq!(list("/bucket?list-type=2&start-after=z").start(), Some(Position::AfterKey("z".to_owned())));
    assert_eq!(list("/bucket?list-type=2").start(), None);
}

#[test]
fn a_marker_that_is_a_common_prefix_skips_all_of_it() {
    let start = |query: &str| list(&format!("/bucket?{query}")).start().unwrap();
    assert_eq!(start("delimiter=/&marker=a/"), Position::AfterPrefix("a/".to_owned()));
    assert_eq!(start("delimiter=/&prefix=x/&marker=x/a/"), Position::AfterPrefix("x/a/".to_owned()));
    assert_eq!(start("delimiter=/&marker=a/b"), Position::AfterKey("a/b".to_owned()));
    assert_eq!(start("marker=a/"), Position::AfterKey("a/".to_owned()));
    assert_eq!(start("delimiter=/&prefix=a/&marker=a/"), Position::AfterKey("a/".to_owned()));
}

#[test]
fn an_upload_id_that_is_none_of_ours_names_no_upload() {
    assert_eq!(code("DELETE", "/bucket/key?uploadId=abc", &[]), Code::NoSuchUpload);
    assert_eq!(code("PUT", "/bucket/key?partNumber=1", &[]), Code::InvalidArgument);
    for bad in ["0", "10001", "x", "", "-1"] {
        let target = format!("/bucket/key?partNumber={bad}&uploadId={UPLOAD}");
        assert_eq!(code("PUT", &target, &[]), Code::InvalidArgument, "{bad}");
    }
    let twice = format!("/bucket/key?uploadId={UPLOAD}&uploadId={UPLOAD}");
    assert_eq!(code("GET", &twice, &[]), Code::InvalidArgument);
}

#[test]
fn an_upload_remembers_algorithm_and_kind_of_its_checksum() {
    let create = |headers: &[(&str, &str)]| match call("POST", "/bucket/key?uploads", headers) {
        Ok(Call::CreateMultipartUpload(create)) => Ok(create.checksum),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code()),
    };
    let algorithm = |name| ("x-amz-checksum-algorithm", name);
    let kind = |name| ("x-amz-checksum-type", name);
    assert_eq!(create(&[]), Ok(None));
    assert_eq!(
        create(&[algorithm("CRC64NVME")]),
        Ok(Some((ChecksumAlgorithm::Crc64Nvme, ChecksumKind::FullObject)))
    );
    assert_eq!(create(&[algorithm("CRC32")]), Ok(Some((ChecksumAlgorithm::Crc32, ChecksumKind::Composite))));
    assert_eq!(
        create(&[algorithm("crc32c"), kind("FULL_OBJECT")]),
        Ok(Some((ChecksumAlgorithm::Crc32c, ChecksumKind::FullObject)))
    );
    for bad in [
        &[algorithm("SHA256"), kind("FULL_OBJECT")][..],
        &[algorithm("CRC64NVME"), kind("COMPOSITE")],
        &[algorithm("MD5")],
        &[kind("COMPOSITE")],
        &[algorithm("CRC32"), kind("PARTIAL")],
    ] {
        assert_eq!(create(bad), Err(Code::InvalidRequest), "{bad:?}");
    }
}

#[test]
fn composite_and_full_object_checksums_on_complete_are_told_apart() {
    let target = format!("/bucket/key?uploadId={UPLOAD}");
    let complete = |headers: &[(&str, &str)]| match call("POST", &target, headers).unwrap() {
        Call::CompleteMultipartUpload(complete) => complete,
        other => panic!("{other:?}"),
    };
    let composite = complete(&[("x-amz-checksum-crc32", "AAAAAA==-2"), ("x-amz-mp-object-size", "10")]);
    assert_eq!(composite.checksum.unwrap().kind, ChecksumKind::Composite);
    assert_eq!(composite.size_bytes, Some(10));
    let full = complete(&[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-type", "FULL_OBJECT")]);
    assert_eq!(full.checksum.unwrap().kind, ChecksumKind::FullObject);
    assert_eq!(full.checksum_kind, Some(ChecksumKind::FullObject));
    let two =
        call("POST", &target, &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")]);
    assert_eq!(two.unwrap_err().code(), Code::InvalidRequest);
}

#[test]
fn response_overrides_cannot_split_headers() {
    match call("GET", "/bucket/key?response-content-type=text%2Fplain&response-expires=never", &[]).unwrap() {
        Call::GetObject(read) => {
            assert_eq!(read.overrides.content_type.as_deref(), Some("text/plain"));
            assert_eq!(read.overrides.expires.as_deref(), Some("never"));
        }
        other => panic!("{other:?}"),
    }
    let split = call("GET", "/bucket/key?response-content-type=a%0D%0Aset-cookie:b", &[]);
    assert_eq!(split.unwrap_err().code(), Code::InvalidArgument);
}

proptest! {
    #[test]
    fn any_target_and_header_is_a_call_or_an_error(
        method in "(GET|PUT|POST|DELETE|HEAD|OPTIONS|PATCH)",
        path in "/[ -~&&[^ \"<>`{}\\\\^|#?]]{0,40}",
        query in "(|\\?[a-zA-Z0-9=&%+/-]{0,60})",
        name in "(x-amz-[a-z-]{1,20}|range|if-match|if-none-match|if-modified-since|content-encoding|x-amz-tagging)",
        value in "[ -~é]{0,40}",
    ) {
        let built = HttpRequest::builder()
            .method(method.as_str())
            .uri(format!("{path}{query}"))
            .header("host", "s3.fr.example.org")
            .header(name, value.as_bytes())
            .body(());
        if let Ok(request) = built {
            let _ = decode(&request.into_parts().0, &domains());
        }
    }

    #[test]
    fn any_key_is_addressed_exactly(key in "\\PC{1,80}") {
        let target = format!("/bucket/{}", super::super::uri::encode_path(&key));
        // The client library may not be able to say `//` first; everything else arrives as it was meant.
        if let Ok(request) = HttpRequest::get(&target).header("host", "x").body(()) {
            let call = decode(&request.into_parts().0, &Domains::default()).unwrap();
            prop_assert_eq!(call.key().unwrap().as_str(), key.as_str());
        }
    }
}
