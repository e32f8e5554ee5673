//! Answers, byte for byte.

use bytes::Bytes;
use http::{Response, StatusCode};
use proptest::prelude::*;

use crate::model::{
    Checksum, ChecksumAlgorithm, ChecksumKind, ContentHeaders, ETag, ObjectMeta, RangeSpec, Resolved,
    Timestamp, UploadId, UserMetadata,
};

use super::super::call::{
    ETagMatch, ListBuckets, ListMultipartUploads, ListObjects, ListParts, ListVersion, ObjectId,
    ReadConditions, ReadObject, UploadRef,
};
use super::super::error::{Code, RequestIds, S3Error};
use super::super::token::Position;
use super::*;

const MODIFIED: Timestamp = Timestamp::from_millis(1_795_458_123_045);
const OWNER: Owner<'static> = Owner { id: "clinic", display_name: "Clinic & Co" };

fn etag() -> ETag {
    "0123456789abcdef0123456789abcdef".parse().unwrap()
}

fn object_id(key: &str) -> ObjectId {
    ObjectId { bucket: "bucket".parse().unwrap(), key: key.parse().unwrap() }
}

fn upload() -> UploadRef {
    UploadRef { object: object_id("a&b"), upload: UploadId::from_bytes([0xab; 16]) }
}

fn body(response: &Response<Bytes>) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/xml");
    let text = String::from_utf8(response.body().to_vec()).unwrap();
    text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").unwrap().to_owned()
}

fn read() -> ReadObject {
    ReadObject {
        object: object_id("key"),
        range: None,
        conditions: ReadConditions::default(),
        overrides: ContentHeaders::default(),
        with_checksums: false,
    }
}

fn crc(kind: ChecksumKind) -> Checksum {
    Checksum { algorithm: ChecksumAlgorithm::Crc32, kind, digest: vec![0; 4].into() }
}

fn with_head<T>(meta: &ObjectMeta, size_bytes: u64, then: impl FnOnce(&ObjectHead<'_>) -> T) -> T {
    let etag = etag();
    then(&ObjectHead {
        size_bytes,
        etag: &etag,
        modified: MODIFIED,
        meta,
        version_id: None,
        kms_key_id: "fr/ecg",
    })
}

fn ids() -> RequestIds {
    RequestIds { request: "0A1B".to_owned(), host: "host".to_owned() }
}

#[test]
fn head_has_length_etag_and_date_and_says_that_the_etag_is_no_md5() {
    let meta = ObjectMeta::default();
    let response = with_head(&meta, 0, |head| object_head(head, &read(), None));
    let headers = response.headers();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(headers["content-length"], "0");
    assert_eq!(headers["etag"], "\"0123456789abcdef0123456789abcdef\"");
    assert_eq!(headers["last-modified"], "Mon, 23 Nov 2026 18:22:03 GMT");
    assert_eq!(headers["content-type"], "binary/octet-stream");
    assert_eq!(headers["accept-ranges"], "bytes");
    assert_eq!(headers["x-amz-server-side-encryption"], "aws:kms");
    assert_eq!(headers["x-amz-server-side-encryption-aws-kms-key-id"], "fr/ecg");
    assert!(!headers.contains_key("content-range") && !headers.contains_key("x-amz-version-id"));
}

#[test]
fn bytes_0_is_206_with_content_range_and_a_suffix_of_nothing_is_200() {
    let meta = ObjectMeta::default();
    let answer = |spec: RangeSpec, size: u64| {
        let range = match spec.resolve(size) {
            Resolved::Partial(range) => Some(range),
            Resolved::Whole => None,
            Resolved::Unsatisfiable => return (416, String::new(), String::new()),
        };
        let response = with_head(&meta, size, |head| object_head(head, &read(), range));
        let text = |name: &str| response.headers().get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
        (response.status().as_u16(), text("content-range"), text("content-length"))
    };
    let of = |status, range: &str, length: &str| (status, range.to_owned(), length.to_owned());
    assert_eq!(answer(RangeSpec::From(0), 10), of(206, "bytes 0-9/10", "10"));
    assert_eq!(answer(RangeSpec::Inclusive(2, 99), 10), of(206, "bytes 2-9/10", "8"));
    assert_eq!(answer(RangeSpec::Suffix(3), 10), of(206, "bytes 7-9/10", "3"));
    assert_eq!(answer(RangeSpec::Suffix(3), 0), of(200, "", "0"));
    assert_eq!(answer(RangeSpec::From(10), 10).0, 416);
    assert_eq!(answer(RangeSpec::Suffix(0), 10).0, 416);
}

#[test]
fn stored_headers_come_back_unless_overridden() {
    let content = ContentHeaders {
        content_type: Some("application/dicom".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        content_disposition: Some("attachment; filename=\"é.dcm\"".to_owned()),
        content_language: Some("fr".to_owned()),
        cache_control: Some("no-store".to_owned()),
        expires: Some("never".to_owned()),
    };
    let meta = ObjectMeta { content, ..ObjectMeta::default() };
    let mut read = read();
    read.overrides.content_type = Some("text/plain".to_owned());
    let response = with_head(&meta, 1, |head| object_head(head, &read, None));
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/plain");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["content-disposition"].as_bytes(), "attachment; filename=\"é.dcm\"".as_bytes());
    assert_eq!(headers["content-language"], "fr");
    assert_eq!(
        (&headers["cache-control"], &headers["expires"]),
        (&"no-store".parse().unwrap(), &"never".parse().unwrap())
    );
    let unchanged = with_head(&meta, 1, not_modified);
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(unchanged.headers()["cache-control"], "no-store");
    assert!(unchanged.headers().contains_key("etag") && unchanged.body().is_empty());
}

#[test]
fn non_ascii_metadata_is_answered_as_an_encoded_word() {
    let pairs =
        [("plain", "a b"), ("name", "Zoë"), ("split", "a\r\nset-cookie: b"), ("word", "=?UTF-8?B?w4Q=?=")];
    let user = UserMetadata(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
    let meta = ObjectMeta { user, ..ObjectMeta::default() };
    let response = with_head(&meta, 1, |head| object_head(head, &read(), None));
    let headers = response.headers();
    assert_eq!(headers["x-amz-meta-plain"], "a b");
    assert_eq!(headers["x-amz-meta-name"], "=?UTF-8?B?Wm/Dqw==?=");
    assert_eq!(headers["x-amz-meta-word"], "=?UTF-8?B?w4Q=?=", "what was sent comes back");
    assert!(headers["x-amz-meta-split"].to_str().unwrap().starts_with("=?UTF-8?B?"));
    assert!(!headers.contains_key("set-cookie"));
}

#[test]
fn checksums_are_answered_where_asked_for_and_never_beside_a_part_of_the_bytes() {
    let meta = ObjectMeta { checksums: vec![crc(ChecksumKind::FullObject)], ..ObjectMeta::default() };
    let asked = ReadObject { with_checksums: true, ..read() };
    let range = crate::model::ByteRange::new(0, 1);
    let has = |read: &ReadObject, range| {
        let response = with_head(&meta, 2, |head| object_head(head, read, range));
        response.headers().contains_key("x-amz-checksum-crc32")
    };
    assert!(has(&asked, None));
    assert!(!has(&read(), None));
    assert!(!has(&asked, range));
}

#[test]
fn a_composite_checksum_says_of_how_many_parts() {
    let etag: ETag = "0123456789abcdef0123456789abcdef-3".parse().unwrap();
    let sums = [crc(ChecksumKind::Composite)];
    let written = Written { etag: &etag, checksums: &sums, version_id: None, kms_key_id: "k" };
    let text = body(&completed(&upload(), "https://s3.example/bucket/a%26b", &written));
    assert_eq!(
        text,
        "<CompleteMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Location>https://s3.example/bucket/a%26b</Location><Bucket>bucket</Bucket><Key>a&amp;b</Key>\
         <ETag>&quot;0123456789abcdef0123456789abcdef-3&quot;</ETag><ChecksumCRC32>AAAAAA==-3</ChecksumCRC32>\
         <ChecksumType>COMPOSITE</ChecksumType></CompleteMultipartUploadResult>"
    );
    let part = self::etag();
    let full = [crc(ChecksumKind::FullObject)];
    let response =
        super::written(&Written { etag: &part, checksums: &full, version_id: Some("v"), kms_key_id: "k" });
    assert_eq!(response.headers()["x-amz-checksum-crc32"], "AAAAAA==");
    assert_eq!(response.headers()["x-amz-version-id"], "v");
}

#[test]
fn conditions_are_evaluated_in_the_order_of_rfc_9110() {
    let mine = || Some(ETagMatch::OneOf(vec![etag().as_str().to_owned()]));
    let other = || Some(ETagMatch::OneOf(vec!["x".to_owned()]));
    let at = |seconds: u64| Some(Timestamp::from_seconds(seconds));
    let now = MODIFIED.seconds();
    let cases = [
        (None, None, None, None, Outcome::Proceed),
        (mine(), None, None, None, Outcome::Proceed),
        (other(), None, None, None, Outcome::Failed),
        (Some(ETagMatch::Any), None, None, None, Outcome::Proceed),
        // A date says nothing beside its tag.
        (mine(), None, None, at(now - 1), Outcome::Proceed),
        (None, None, None, at(now - 1), Outcome::Failed),
        (None, None, None, at(now), Outcome::Proceed),
        (None, mine(), None, None, Outcome::NotModified),
        (None, Some(ETagMatch::Any), None, None, Outcome::NotModified),
        (None, other(), at(now), None, Outcome::Proceed),
        (None, None, at(now), None, Outcome::NotModified),
        (None, None, at(now - 1), None, Outcome::Proceed),
        // Failing goes before not being modified.
        (other(), mine(), None, None, Outcome::Failed),
        (mine(), mine(), None, None, Outcome::NotModified),
    ];
    for (at_case, (if_match, if_none_match, if_modified_since, if_unmodified_since, expected)) in
        cases.into_iter().enumerate()
    {
        let conditions = ReadConditions { if_match, if_none_match, if_modified_since, if_unmodified_since };
        assert_eq!(evaluate(&conditions, &etag(), MODIFIED), expected, "case {at_case}");
    }
}

fn list(version: ListVersion, url_encoded: bool) -> ListObjects {
    ListObjects {
        bucket: "bucket".parse().unwrap(),
        version,
        prefix: "a b/".to_owned(),
        delimiter: Some("&".to_owned()),
        keys_max: 2,
        url_encoded,
    }
}

fn page() -> ObjectPage {
    ObjectPage {
        objects: vec![ListedObject {
            key: "a b/<é>\u{1}+".parse().unwrap(),
            modified: MODIFIED,
            etag: etag(),
            size_bytes: 7,
            checksums: vec![(ChecksumAlgorithm::Crc64Nvme, ChecksumKind::FullObject)],
        }],
        common_prefixes: vec!["a b/x&".to_owned()],
        next: Some(Position::AfterPrefix("a b/x&".to_owned())),
    }
}

#[test]
fn encoding_type_url_encodes_names_and_not_the_token() {
    let token = Position::AfterKey("a b/".to_owned()).to_token();
    let version = ListVersion::V2 {
        start_after: Some("a b".to_owned()),
        token: Some((token.clone(), Position::AfterKey("a b/".to_owned()))),
        fetch_owner: false,
    };
    let next = Position::AfterPrefix("a b/x&".to_owned()).to_token();
    let text = body(&list_objects(&list(version, true), &OWNER, &page()));
    assert_eq!(
        text,
        format!(
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket</Name>\
             <Prefix>a%20b/</Prefix><ContinuationToken>{token}</ContinuationToken>\
             <NextContinuationToken>{next}</NextContinuationToken><StartAfter>a%20b</StartAfter><KeyCount>2</KeyCount>\
             <MaxKeys>2</MaxKeys><Delimiter>%26</Delimiter><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <Contents><Key>a%20b/%3C%C3%A9%3E%01%2B</Key><LastModified>2026-11-23T18:22:03.045Z</LastModified>\
             <ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType><Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>\
             <CommonPrefixes><Prefix>a%20b/x%26</Prefix></CommonPrefixes></ListBucketResult>"
        )
    );
}

#[test]
fn version_one_names_the_owner_and_gives_a_marker_with_a_delimiter_only() {
    let with_delimiter = list(ListVersion::V1 { marker: Some("a".to_owned()) }, false);
    let text = body(&list_objects(&with_delimiter, &OWNER, &page()));
    assert!(
        text.contains("<Marker>a</Marker><NextMarker>a b/x&amp;</NextMarker><MaxKeys>2</MaxKeys>"),
        "{text}"
    );
    assert!(text.contains("<Key>a b/&lt;é&gt;&#1;+</Key>"), "{text}");
    assert!(text.contains("<Owner><ID>clinic</ID><DisplayName>Clinic &amp; Co</DisplayName></Owner>"));
    assert!(!text.contains("KeyCount") && !text.contains("Token"));
    let without = ListObjects { delimiter: None, ..with_delimiter };
    assert!(!body(&list_objects(&without, &OWNER, &page())).contains("NextMarker"));
    let owned = ListVersion::V2 { start_after: None, token: None, fetch_owner: true };
    let text = body(&list_objects(&list(owned, false), &OWNER, &ObjectPage::default()));
    assert!(text.contains("<KeyCount>0</KeyCount>") && text.contains("<IsTruncated>false</IsTruncated>"));
    assert!(
        body(&list_objects(
            &list(ListVersion::V2 { start_after: None, token: None, fetch_owner: true }, false),
            &OWNER,
            &page()
        ))
        .contains("<Owner>")
    );
}

#[test]
fn buckets_are_filtered_and_paged() {
    let bucket = |name: &str| ListedBucket { name: name.parse().unwrap(), created: MODIFIED };
    let all = [bucket("alpha"), bucket("beta"), bucket("bravo"), bucket("charlie")];
    let call = |prefix: Option<&str>, buckets_max, after: Option<&str>| {
        let call = ListBuckets { prefix: prefix.map(Into::into), buckets_max, after: after.map(Into::into) };
        body(&list_buckets(&call, &OWNER, "fr", &all))
    };
    let plain = call(None, None, None);
    assert_eq!(plain.matches("<Bucket><Name>").count(), 4);
    assert!(plain.starts_with(
        "<ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>clinic</ID>"
    ));
    assert!(plain.contains(
        "<CreationDate>2026-11-23T18:22:03.045Z</CreationDate><BucketRegion>fr</BucketRegion></Bucket>"
    ));
    assert!(!plain.contains("ContinuationToken"));
    let first = call(Some("b"), Some(1), None);
    assert!(first.contains("<Name>beta</Name>") && !first.contains("bravo"));
    let token = Position::AfterKey("beta".to_owned()).to_token();
    assert!(first.contains(&format!("<ContinuationToken>{token}</ContinuationToken>")));
    let last = call(Some("b"), Some(1), Some("beta"));
    assert!(last.contains("<Name>bravo</Name>") && !last.contains("ContinuationToken"));
}

#[test]
fn documents_of_uploads_are_those_of_s3() {
    let created = created_upload(&upload(), Some((ChecksumAlgorithm::Crc32, ChecksumKind::Composite)), "k");
    assert_eq!(created.headers()["x-amz-checksum-algorithm"], "CRC32");
    assert_eq!(created.headers()["x-amz-checksum-type"], "COMPOSITE");
    assert_eq!(
        body(&created),
        format!(
            "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>bucket</Bucket>\
             <Key>a&amp;b</Key><UploadId>{}</UploadId></InitiateMultipartUploadResult>",
            "ab".repeat(16)
        )
    );
    let parts = PartPage {
        parts: vec![ListedPart {
            number: 7,
            modified: MODIFIED,
            etag: etag(),
            size_bytes: 5,
            checksums: vec![crc(ChecksumKind::FullObject)],
        }],
        truncated: true,
        checksum: None,
    };
    let call = ListParts { upload: upload(), after: 6, parts_max: 1, url_encoded: true };
    let text = body(&list_parts(&call, &OWNER, &parts));
    assert!(text.contains("<Key>a%26b</Key>"));
    assert!(text.contains(
        "<PartNumberMarker>6</PartNumberMarker><NextPartNumberMarker>7</NextPartNumberMarker><MaxParts>1</MaxParts>\
         <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><Part><PartNumber>7</PartNumber>"
    ));
    assert!(text.contains("<Size>5</Size><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>"));
}

#[test]
fn the_next_marker_of_uploads_is_the_later_of_upload_and_prefix() {
    let call = ListMultipartUploads {
        bucket: "bucket".parse().unwrap(),
        prefix: String::new(),
        delimiter: Some("/".to_owned()),
        key_marker: None,
        upload_id_marker: None,
        uploads_max: 2,
        url_encoded: false,
    };
    let upload = ListedUpload {
        key: "m".parse().unwrap(),
        upload: UploadId::from_bytes([1; 16]),
        created: MODIFIED,
        checksum: None,
    };
    let of = |prefix: &str| {
        let page = UploadPage {
            uploads: vec![upload.clone()],
            common_prefixes: vec![prefix.to_owned()],
            truncated: true,
        };
        body(&list_multipart_uploads(&call, &OWNER, &page))
    };
    assert!(of("z/").contains("<NextKeyMarker>z/</NextKeyMarker><NextUploadIdMarker></NextUploadIdMarker>"));
    assert!(of("a/").contains(&format!(
        "<NextKeyMarker>m</NextKeyMarker><NextUploadIdMarker>{}</NextUploadIdMarker>",
        "01".repeat(16)
    )));
    let paged = ListMultipartUploads { key_marker: Some("z/".to_owned()), ..call };
    assert_eq!(paged.start(), Some(Position::AfterPrefix("z/".to_owned())));
}

#[test]
fn a_quiet_delete_answers_only_with_errors() {
    let entries = [
        DeletedEntry { key: "a".parse().unwrap(), result: Ok(()) },
        DeletedEntry { key: "b".parse().unwrap(), result: Err(Code::InternalError.into()) },
    ];
    let loud = body(&deleted(&entries, false));
    assert!(
        loud.contains(
            "<Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>InternalError</Code><Message>"
        )
    );
    assert!(!body(&deleted(&entries, true)).contains("<Deleted>"));
    assert!(body(&bucket_location("fr")).ends_with("/\">fr</LocationConstraint>"));
}

#[test]
fn an_error_says_what_s3_says_and_head_says_it_without_a_body() {
    let error = S3Error::new(Code::PermanentRedirect)
        .with_bucket("bucket")
        .with_region("us")
        .with_endpoint("s3.us.example.org")
        .with_exception("RX-7")
        .with_retry_after_s(3)
        .closing();
    let response = error.clone().into_response(&ids(), false);
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    let headers = response.headers();
    assert_eq!(headers["x-amz-bucket-region"], "us");
    assert_eq!(headers["x-terroir-exception"], "RX-7");
    assert_eq!(
        (&headers["retry-after"], &headers["connection"]),
        (&"3".parse().unwrap(), &"close".parse().unwrap())
    );
    assert_eq!(
        (&headers["x-amz-request-id"], &headers["x-amz-id-2"]),
        (&"0A1B".parse().unwrap(), &"host".parse().unwrap())
    );
    assert_eq!(
        std::str::from_utf8(response.body()).unwrap(),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>PermanentRedirect</Code><Message>The bucket that you are \
         attempting to access must be addressed using the specified endpoint. Send all future requests to this \
         endpoint.</Message><BucketName>bucket</BucketName><Region>us</Region><Endpoint>s3.us.example.org</Endpoint>\
         <RequestId>0A1B</RequestId><HostId>host</HostId></Error>"
    );
    let head = error.into_response(&ids(), true);
    assert!(head.body().is_empty());
    assert_eq!(head.headers()["x-amz-bucket-region"], "us");
}

#[test]
fn every_code_is_an_error_with_a_name_of_its_own_and_a_message() {
    for (at, code) in Code::ALL.iter().enumerate() {
        assert!(
            code.status().is_client_error()
                || code.status().is_server_error()
                || *code == Code::PermanentRedirect
        );
        assert!(!code.message().is_empty());
        assert!(Code::ALL[..at].iter().all(|other| other.as_str() != code.as_str()), "{code:?}");
    }
    assert_eq!(Code::IncompleteBody.status(), StatusCode::BAD_REQUEST, "never a 500");
    let absent = Code::NoSuchKey.status();
    assert_eq!(absent, StatusCode::NOT_FOUND, "If-Match on an absent key is 404, not 412");
}

proptest! {
    #[test]
    fn any_text_is_escaped_so_that_a_parser_reads_it_back(text in "\\PC{0,60}") {
        let error = S3Error::because(Code::InvalidArgument, text.clone());
        let response = error.into_response(&ids(), false);
        let xml = std::str::from_utf8(response.body()).unwrap().to_owned();
        let mut found = None;
        super::super::xml::walk_for_tests(xml.as_bytes(), "Error", |path, value| {
            if path == ["Message"] { found = value; }
        });
        prop_assert_eq!(found.unwrap_or_default(), text);
    }
}
