//! The Google driver over its real protocols, on the strict double: the contract, what it sends, what the bucket says.

use std::sync::Arc;

use terroir::blobs::{
    BlobStore, ErrorKind, GcsCredentials, GcsSettings, GcsStore, Location, StoreKind, probe, whereabouts,
};
use terroir::model::{BlobId, SystemClock, SystemEntropy};

use super::{Store, contract, noise, placed, region, sealed, somewhere};
use crate::gcs_double::bucket::Bucket;
use crate::gcs_double::faults::Call;
use crate::gcs_double::{Double, Settings};

pub(crate) const BUCKET: &str = "terroir-tests";
pub(crate) const PREFIX: &str = "terroir/blobs/";

pub(crate) fn settings(double: &Double, bucket: &str) -> GcsSettings {
    GcsSettings {
        region: region(),
        endpoint: double.url(),
        control_endpoint: None,
        bucket: bucket.to_owned(),
        prefix: PREFIX.to_owned(),
        credentials: GcsCredentials::Anonymous.into(),
        token_hosts: vec![],
        declared_location: Some("US-CENTRAL1".to_owned()),
        attempt_ms: 20_000,
    }
}

/// A double with an empty bucket, and a driver on it.
pub(crate) async fn started() -> (Double, GcsStore) {
    let double = Double::start(Settings::default()).await;
    double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    let store = GcsStore::open(settings(&double, BUCKET)).await.unwrap();
    (double, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_on_google_cloud_storage_keeps_the_contract() {
    let double = Double::start(Settings::default()).await;
    let mut buckets = 0;
    contract::run("blobs × gcs", async || {
        buckets += 1;
        let name = format!("contract-{buckets}");
        double.put_bucket(Bucket::new(&name, "US-CENTRAL1"));
        Arc::new(GcsStore::open(settings(&double, &name)).await.unwrap()) as Store
    })
    .await;
    let seen = double.seen();
    let uploads: Vec<_> = seen.iter().filter(|it| it.call == Call::Upload).collect();
    assert!(uploads.len() > 100, "{} uploads", uploads.len());
    for upload in uploads {
        assert!(
            upload.target.contains("uploadType=multipart") && upload.target.contains("ifGenerationMatch=0")
        );
        assert!(upload.body.windows(9).take(2000).any(|it| it == b"\"crc32c\":"), "no checksum was sent");
    }
    // The bucket's settings are asked for where something is not found, and listings are few; nothing else is ever called.
    assert!(seen.iter().all(|it| it.host == "127.0.0.1" && it.call != Call::Other && it.call != Call::Token));
}

#[tokio::test]
async fn the_bucket_tells_where_it_is_and_how_long_it_keeps_what_was_deleted() {
    let (double, store) = started().await;
    let about = store.describe();
    assert_eq!((about.kind, about.endpoint_host.as_deref()), (StoreKind::Gcs, Some("127.0.0.1")));
    assert_eq!(about.deleted_kept_s, None, "nobody has asked yet");

    let id = BlobId::random(&SystemEntropy).unwrap();
    let at = Location::of(&placed(), id);
    let pair = (sealed(&at, 1, 100), sealed(&at, 2, 100));
    let report = probe(&store, &placed(), id, pair, &SystemClock).await.unwrap();
    assert!(report.create_if_absent);
    assert_eq!(report.deleted_kept_s, Some(604_800));
    assert_eq!(store.describe().deleted_kept_s, Some(604_800));

    // It can be changed while we run; the question that is repeated sees it.
    let mut bucket = double.bucket(BUCKET);
    bucket.soft_delete_s = 0;
    double.put_bucket(bucket);
    whereabouts(&store, &SystemClock).await.unwrap();
    assert_eq!(store.describe().deleted_kept_s, Some(0));
}

#[tokio::test]
async fn a_bucket_that_is_elsewhere_or_keeps_old_generations_is_refused() {
    let (double, store) = started().await;
    double.put_bucket(Bucket::new(BUCKET, "EUROPE-WEST9"));
    let error = whereabouts(&store, &SystemClock).await.unwrap_err();
    assert!(
        matches!(&error, terroir::blobs::ProbeError::Elsewhere { observed, .. } if observed == "EUROPE-WEST9")
    );

    let mut bucket = Bucket::new(BUCKET, "US-CENTRAL1");
    bucket.versioning = true;
    double.put_bucket(bucket);
    let error = store.locate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(terroir::telemetry::event::chain(&error).contains("versioning"));
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_a_misconfiguration_and_no_missing_blob() {
    let (double, store) = started().await;
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    double.remove_bucket(BUCKET);
    assert_eq!(store.put(&at, sealed(&at, 1, 100)).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(store.read(&at, 0..100).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(store.head(&at).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(store.delete(&at).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(store.list(&placed(), None, 10).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(store.locate().await.unwrap_err().kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn what_lies_beside_our_prefix_is_not_listed_and_what_lies_in_it_is_foreign() {
    let (double, store) = started().await;
    let client = super::gcs_double::Raw::at(&double);
    for name in ["other", "terroir/blobs", "terroir/blobsy/x", "terroir/blobs/stray", "terroir/blobs/zz/zz"] {
        client.upload(BUCKET, name, b"x").await;
    }
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 10)).await.unwrap();
    let page = store.list(&placed(), None, 10).await.unwrap();
    assert_eq!((page.ids, page.foreign, page.next), (vec![at.id()], 2, None));
    // Page by page the same, with no foreign name twice and no round without end.
    let (mut foreign, mut ids, mut after) = (0, 0, None);
    for _ in 0..10 {
        let page = store.list(&placed(), after.as_ref(), 1).await.unwrap();
        (foreign, ids) = (foreign + page.foreign, ids + page.ids.len());
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!((ids, foreign), (1, 2));
}

#[tokio::test]
async fn no_request_shows_more_than_an_opaque_name_and_sealed_bytes() {
    let (double, store) = started().await;
    let at = somewhere();
    store.put(&at, sealed(&at, 5, 4096)).await.unwrap();
    store.read(&at, 7..99).await.unwrap();
    store.head(&at).await.unwrap();
    store.list(&placed(), None, 10).await.unwrap();
    store.locate().await.unwrap();
    store.delete(&at).await.unwrap();
    let name = format!("{PREFIX}{}", at.name());
    let encoded = name.replace('/', "%2F");
    for seen in double.seen() {
        let rest = seen.target.replace(&encoded, "").replace(BUCKET, "");
        // What remains of an address is the API's own words and numbers.
        assert!(rest.len() < 140, "{rest}");
        for header in seen.headers.lines() {
            let (header, value) = header.split_once(": ").unwrap();
            let known = [
                "host",
                "accept",
                "user-agent",
                "content-type",
                "content-length",
                "transfer-encoding",
                "te",
                "range",
                "accept-encoding",
                "x-goog-api-client",
                "x-goog-request-params",
                "x-goog-gcs-idempotency-token",
                "grpc-timeout",
                "grpc-accept-encoding",
            ];
            assert!(known.contains(&header), "an unknown header is sent: {header}: {value}");
        }
    }
    let upload = double.seen().into_iter().find(|it| it.call == Call::Upload).unwrap();
    let bytes = noise(5, 4096);
    let at_byte = upload.body.windows(4096).position(|it| it == &bytes[..]).expect("the sealed bytes");
    let around = [&upload.body[..at_byte], &upload.body[at_byte + 4096..]].concat();
    assert!(around.len() < 700, "{}", String::from_utf8_lossy(&around));
}
