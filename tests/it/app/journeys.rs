//! Records from a client and back: every class, both regions, every way of asking.

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, Delete, EncodingType, ObjectIdentifier, ServerSideEncryption,
};
use terroir::testing::{Embedded, Setup};

use super::{CLASSES, World, a_minute, exchange, fetch, fetch_object, get, is, keys_of, noise, put, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_every_class_comes_back_in_both_regions_and_says_where_it_is() {
    let world = World::new().await;
    for region in ["fr", "us"] {
        let clinic = world.tenant(region, &format!("clinic-{region}"), "operational").await;
        let bucket = clinic.tenant.id.as_str();
        for class in CLASSES {
            for size in [0, 1, 65_535, 65_536, 65_537, 200_000] {
                let (key, body) = (format!("{class}/{size}"), noise(size as u64, size));
                let sent = clinic.s3.put_object().bucket(bucket).key(&key).metadata("terroir-class", class);
                let sent = sent.body(ByteStream::from(body.clone())).send().await.unwrap();
                assert_eq!(sent.server_side_encryption(), Some(&ServerSideEncryption::AwsKms));
                assert!(sent.ssekms_key_id().is_some_and(|id| !id.is_empty()));
                assert!(get(&clinic.s3, bucket, &key).await == body, "{region} {key}");

                let signed = clinic.s3.head_object().bucket(bucket).key(&key).presigned(a_minute()).await;
                let head = fetch(&signed.unwrap(), b"").await.unwrap();
                let of = |name: &str| head.headers.get(name).map(String::as_str);
                assert_eq!(head.status, 200);
                assert_eq!(of("x-terroir-region"), Some(region));
                assert_eq!(of("x-terroir-class"), Some(class));
                assert_eq!(of("x-amz-server-side-encryption"), Some("aws:kms"));
                assert!(of("x-amz-server-side-encryption-aws-kms-key-id").is_some());
                assert_eq!(of("content-length"), Some(size.to_string().as_str()), "{key}");
                assert_eq!(of("etag"), sent.e_tag());
            }
        }
        let listed = clinic.s3.list_objects_v2().bucket(bucket).prefix("health/").send().await.unwrap();
        let sizes: Vec<i64> = listed.contents().iter().map(|entry| entry.size().unwrap()).collect();
        // By bytes of the key: 0, 1, 200000, 65535, 65536, 65537.
        assert_eq!(sizes, [0, 1, 200_000, 65_535, 65_536, 65_537]);
        let location = clinic.s3.get_bucket_location().bucket(bucket).send().await.unwrap();
        assert_eq!(location.location_constraint().unwrap().as_str(), region);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_record_is_gone_and_an_overwritten_one_is_the_newest() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("fr", "clinic", "personal").await;
    let first = put(&clinic.s3, "clinic", "a", b"first").await;
    let second = put(&clinic.s3, "clinic", "a", b"second").await;
    assert_ne!(first, second, "two writes, two tags");
    assert_eq!(get(&clinic.s3, "clinic", "a").await, b"second");
    let again = put(&clinic.s3, "clinic", "a", b"second").await;
    assert_ne!(second, again, "a tag tells nothing about the bytes");
    clinic.s3.delete_object().bucket("clinic").key("a").send().await.unwrap();
    let absent = clinic.s3.get_object().bucket("clinic").key("a").send().await;
    assert_eq!(refusal(absent), is(404, "NoSuchKey"));
    // S3: deleting what is not there is success.
    clinic.s3.delete_object().bucket("clinic").key("a").send().await.unwrap();
    assert!(keys_of(&clinic.s3, "clinic").await.is_empty());
    clinic.s3.delete_bucket().bucket("clinic").send().await.unwrap();
    let gone = clinic.s3.head_bucket().bucket("clinic").send().await;
    assert_eq!(refusal(gone).0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_records_is_not_deleted() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("us", "clinic", "personal").await;
    put(&clinic.s3, "clinic", "a", b"kept").await;
    let refused = clinic.s3.delete_bucket().bucket("clinic").send().await;
    assert_eq!(refusal(refused), is(409, "BucketNotEmpty"));
    assert_eq!(get(&clinic.s3, "clinic", "a").await, b"kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_equal_the_slices_of_the_record() {
    let mut setup = Setup::default();
    setup.limits.blob_bytes_max = 128 * 1024;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health-sensitive").await;
    let body = noise(7, 400_000);
    put(&clinic.s3, "clinic", "ecg", &body).await;
    let end = body.len();
    for (asked, from, to) in [
        ("bytes=0-", 0, end),
        ("bytes=0-0", 0, 1),
        ("bytes=65535-65536", 65_535, 65_537),
        ("bytes=131071-131072", 131_071, 131_073),
        ("bytes=100000-300000", 100_000, 300_001),
        ("bytes=399999-", 399_999, end),
        ("bytes=-1", end - 1, end),
        ("bytes=-999999999", 0, end),
        ("bytes=262144-999999999", 262_144, end),
    ] {
        let got = clinic.s3.get_object().bucket("clinic").key("ecg").range(asked).send().await.unwrap();
        assert_eq!(got.content_range(), Some(format!("bytes {from}-{}/{end}", to - 1).as_str()), "{asked}");
        assert_eq!(got.content_length(), Some(i64::try_from(to - from).unwrap()));
        assert!(got.body.collect().await.unwrap().to_vec() == body[from..to], "{asked}");
    }
    for outside in ["bytes=400000-", "bytes=-0"] {
        let refused = clinic.s3.get_object().bucket("clinic").key("ecg").range(outside).send().await;
        assert_eq!(refusal(refused), is(416, "InvalidRange"), "{outside}");
    }
    for ignored in ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=x-"] {
        let got = clinic.s3.get_object().bucket("clinic").key("ecg").range(ignored).send().await.unwrap();
        assert_eq!((got.content_range(), got.content_length()), (None, Some(400_000)), "{ignored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_headers_metadata_and_checksums_come_back_as_they_went() {
    let world = World::new().await;
    let clinic = world.tenant("us", "clinic", "health").await;
    for (algorithm, header) in [
        (ChecksumAlgorithm::Crc32, "x-amz-checksum-crc32"),
        (ChecksumAlgorithm::Crc32C, "x-amz-checksum-crc32c"),
        (ChecksumAlgorithm::Crc64Nvme, "x-amz-checksum-crc64nvme"),
        (ChecksumAlgorithm::Sha1, "x-amz-checksum-sha1"),
        (ChecksumAlgorithm::Sha256, "x-amz-checksum-sha256"),
    ] {
        let put = clinic.s3.put_object().bucket("clinic").key("report").checksum_algorithm(algorithm);
        put.content_type("application/fhir+json")
            .content_language("fr")
            .content_disposition("attachment; filename=\"r.json\"")
            .cache_control("no-store")
            .content_encoding("identity")
            .expires(DateTime::from_secs(1_900_000_000))
            .metadata("ward", "3B")
            .metadata("doctor", "=?UTF-8?B?Wm/Dqw==?=")
            .body(ByteStream::from_static(b"{\"resourceType\":\"Observation\"}"))
            .send()
            .await
            .unwrap();
        let get = clinic.s3.get_object().bucket("clinic").key("report").checksum_mode(ChecksumMode::Enabled);
        let got = get.send().await.unwrap();
        assert_eq!(got.content_type(), Some("application/fhir+json"));
        assert_eq!(got.content_language(), Some("fr"));
        assert_eq!(got.content_disposition(), Some("attachment; filename=\"r.json\""));
        assert_eq!(got.cache_control(), Some("no-store"));
        assert_eq!(got.content_encoding(), Some("identity"));
        let metadata = got.metadata().unwrap();
        assert_eq!(metadata.get("ward").map(String::as_str), Some("3B"));
        assert_eq!(metadata.get("doctor").map(String::as_str), Some("=?UTF-8?B?Wm/Dqw==?="));
        // The SDK checks the sum of what it reads.
        assert_eq!(got.body.collect().await.unwrap().to_vec(), b"{\"resourceType\":\"Observation\"}");

        let asked = clinic.s3.get_object().bucket("clinic").key("report");
        let signed = asked.checksum_mode(ChecksumMode::Enabled).presigned(a_minute()).await.unwrap();
        let fetched = fetch(&signed, b"").await.unwrap();
        assert!(
            fetched.headers.contains_key(header),
            "{header}: {fetched:?} {}",
            String::from_utf8_lossy(&fetched.body)
        );
        let unasked = fetch_object(&clinic.s3, "clinic", "report").await.unwrap();
        assert!(!unasked.headers.contains_key(header), "only who asks gets it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_put_takes_a_body_and_a_wrong_checksum_leaves_nothing() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let signed = clinic.s3.put_object().bucket("clinic").key("a").presigned(a_minute()).await.unwrap();
    assert_eq!(fetch(&signed, b"by url").await.unwrap().status, 200);
    assert_eq!(get(&clinic.s3, "clinic", "a").await, b"by url");

    let wrong = clinic.s3.put_object().bucket("clinic").key("b").checksum_sha256("A".repeat(43) + "=");
    let refused = wrong.body(ByteStream::from_static(b"not zeroes")).send().await;
    assert_eq!(refusal(refused).0, 400);
    let absent = clinic.s3.head_object().bucket("clinic").key("b").send().await;
    assert_eq!(refusal(absent).0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_that_create_one_key_exactly_one_wins() {
    let world = World::new().await;
    for region in ["fr", "us"] {
        let clinic = world.tenant(region, &format!("clinic-{region}"), "health").await;
        let bucket = clinic.tenant.id.to_string();
        let tries = (0..16).map(|number| {
            let (s3, bucket) = (clinic.s3.clone(), bucket.clone());
            tokio::spawn(async move {
                let body = ByteStream::from(format!("writer {number}").into_bytes());
                let put =
                    s3.put_object().bucket(bucket).key("one").if_none_match("*").body(body).send().await;
                put.map(|_| number).map_err(|error| refusal::<(), _>(Err(error)))
            })
        });
        let mut winners = Vec::new();
        for ended in futures_util::future::join_all(tries).await {
            match ended.unwrap() {
                Ok(number) => winners.push(number),
                Err(refused) => {
                    assert!(refused == is(412, "PreconditionFailed") || refused.0 == 409, "{refused:?}");
                }
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(get(&clinic.s3, &bucket, "one").await, format!("writer {}", winners[0]).into_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_on_writes_and_on_reads() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("fr", "clinic", "personal").await;
    let s3 = &clinic.s3;
    let old = put(s3, "clinic", "a", b"old").await;
    let write = |tag: &str| {
        let body = ByteStream::from_static(b"new");
        s3.put_object().bucket("clinic").key("a").if_match(tag).body(body).send()
    };
    assert_eq!(refusal(write("\"00000000000000000000000000000000\"").await), is(412, "PreconditionFailed"));
    let new = write(&old).await.unwrap().e_tag.unwrap();
    assert_eq!(refusal(write(&old).await), is(412, "PreconditionFailed"));
    let absent = s3.put_object().bucket("clinic").key("none").if_match(&new).send().await;
    assert_eq!(refusal(absent).0, 404, "If-Match on a key that is not there");

    let read = || s3.get_object().bucket("clinic").key("a");
    assert!(read().if_match(&new).send().await.is_ok());
    assert_eq!(refusal(read().if_match(&old).send().await).0, 412);
    assert!(read().if_none_match(&old).send().await.is_ok());
    assert_eq!(refusal(read().if_none_match(&new).send().await).0, 304);
    let (past, future) = (DateTime::from_secs(1_000_000_000), DateTime::from_secs(4_000_000_000));
    assert_eq!(refusal(read().if_unmodified_since(past).send().await).0, 412);
    assert!(read().if_unmodified_since(future).send().await.is_ok());
    assert!(read().if_modified_since(past).send().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_by_bytes_fold_prefixes_and_keep_strange_keys() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("us", "clinic", "operational").await;
    let mut keys = ["a b", "a+b", "a/1", "a/2", "a//3", "b%2Fc", "b/c", "z/é", "ß", ".", "x/../y"];
    for key in keys {
        put(&clinic.s3, "clinic", key, key.as_bytes()).await;
    }
    keys.sort_unstable();
    let mut listed = Vec::new();
    let mut pages = clinic.s3.list_objects_v2().bucket("clinic").max_keys(3).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.contents().len() <= 3);
        listed.extend(page.contents().iter().map(|entry| entry.key().unwrap().to_owned()));
    }
    assert_eq!(listed, keys);
    for key in keys {
        assert_eq!(get(&clinic.s3, "clinic", key).await, key.as_bytes(), "{key}");
    }
    let folded = clinic.s3.list_objects_v2().bucket("clinic").delimiter("/").send().await.unwrap();
    let prefixes: Vec<_> = folded.common_prefixes().iter().map(|one| one.prefix().unwrap()).collect();
    assert_eq!(prefixes, ["a/", "b/", "x/", "z/"]);
    let encoded = clinic.s3.list_objects_v2().bucket("clinic").prefix("z/").encoding_type(EncodingType::Url);
    assert_eq!(encoded.send().await.unwrap().contents()[0].key(), Some("z/%C3%A9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_deleted_by_one_request_and_the_rest_stays() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("fr", "clinic", "operational").await;
    for number in 0..12 {
        put(&clinic.s3, "clinic", &format!("k{number:02}"), b"x").await;
    }
    let id = |key: String| ObjectIdentifier::builder().key(key).build().unwrap();
    let wanted = (0..10).map(|number| id(format!("k{number:02}"))).chain([id("absent".to_owned())]).collect();
    let delete = Delete::builder().set_objects(Some(wanted)).build().unwrap();
    let done = clinic.s3.delete_objects().bucket("clinic").delete(delete).send().await.unwrap();
    assert_eq!((done.deleted().len(), done.errors().len()), (11, 0));
    assert_eq!(keys_of(&clinic.s3, "clinic").await, ["k10", "k11"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_after_a_restart() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health-sensitive").await;
    let body = noise(3, 100_000);
    put(&clinic.s3, "clinic", "kept", &body).await;
    let World { app, dir } = world;
    app.stop().await;
    let app = terroir::testing::TestApp::start(dir.path(), &Setup::default()).await;
    let s3 = app.client("fr", &clinic.credential);
    assert!(get(&s3, "clinic", "kept").await == body);
}

/// SDKs leave `x-amz-checksum-mode` and `x-amz-user-agent` out of a presigned URL's signature; we once refused such URLs.
#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_get_whose_checksum_mode_is_not_signed_is_served_and_unsigned_metadata_is_not() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("fr", "clinic", "personal").await;
    put(&clinic.s3, "clinic", "a", b"x").await;
    let asked = clinic.s3.get_object().bucket("clinic").key("a").checksum_mode(ChecksumMode::Enabled);
    let signed = asked.presigned(a_minute()).await.unwrap();
    assert!(
        !signed.uri().to_lowercase().contains("checksum-mode"),
        "the SDK signs it now: this test has no case"
    );
    assert_eq!(fetch(&signed, b"").await.unwrap().status, 200);

    let signed = clinic.s3.put_object().bucket("clinic").key("b").presigned(a_minute()).await.unwrap();
    let (host, path) = signed.uri().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let head = format!(
        "PUT /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 1\r\n\
         x-amz-meta-terroir-class: operational\r\n\r\nx"
    );
    assert_eq!(exchange(host, head.as_bytes(), false).await.unwrap().status, 403);
    assert_eq!(keys_of(&clinic.s3, "clinic").await, ["a"]);
}
