//! The whole proxy with the region `us` on the Google driver: its real S3 front, its real index, the double behind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use base64::Engine as _;
use terroir::catalogue::{GcsCredentials, GcsStore, Store};
use terroir::testing::{Setup, TestApp};

use super::noise;
use crate::gcs_double::bucket::{Bucket, find};
use crate::gcs_double::faults::{Call, Fault};
use crate::gcs_double::{Double, Seen, Settings};

const BUCKET: &str = "terroir-us";
const MARKER: &str = "PATIENT-4711-MARKER";

struct World {
    double: Double,
    app: TestApp,
    dir: tempfile::TempDir,
}

async fn world() -> World {
    world_that(|_| {}).await
}

async fn world_that(change: impl FnOnce(&mut Setup)) -> World {
    let double = Double::start(Settings::default()).await;
    double.put_bucket(Bucket::new(BUCKET, "US-CENTRAL1"));
    let store = Store::Gcs(GcsStore {
        endpoint: double.url().parse().unwrap(),
        control_endpoint: None,
        bucket: BUCKET.to_owned(),
        prefix: "blobs/".to_owned(),
        credentials: GcsCredentials::Anonymous {},
        token_hosts: vec![],
        expected_location: "US-CENTRAL1".to_owned(),
    });
    let stores = BTreeMap::from([("us".parse().unwrap(), store)]);
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup { stores, ..Setup::default() };
    change(&mut setup);
    let app = TestApp::start(dir.path(), &setup).await;
    World { double, app, dir }
}

async fn put(s3: &Client, bucket: &str, key: &str, body: &[u8]) {
    s3.put_object().bucket(bucket).key(key).body(body.to_vec().into()).send().await.unwrap();
}

async fn get(s3: &Client, bucket: &str, key: &str, range: Option<&str>) -> Vec<u8> {
    let range = range.map(str::to_owned);
    let got = s3.get_object().bucket(bucket).key(key).set_range(range).send().await.unwrap();
    got.body.collect().await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_region_on_google_are_written_read_listed_and_deleted() {
    let World { double, app, dir: _dir } = world().await;
    let clinic = app.tenant("us", "boston", "health").await;
    let s3 = &clinic.s3;
    s3.create_bucket().bucket("boston").send().await.unwrap();

    let small = noise(1, 4096);
    put(s3, "boston", "small", &small).await;
    assert_eq!(get(s3, "boston", "small", None).await, small);
    // More than two blobs of 8 MiB, so that a range can touch several.
    let large = noise(2, 17 * 1024 * 1024 + 123);
    put(s3, "boston", "large", &large).await;
    assert!(get(s3, "boston", "large", None).await == large);
    for (start, end) in
        [(0, 0), (5, 70_000), (8 * 1024 * 1024 - 7, 8 * 1024 * 1024 + 7), (100, large.len() - 1)]
    {
        let range = format!("bytes={start}-{end}");
        assert!(get(s3, "boston", "large", Some(&range)).await == large[start..=end], "{range}");
    }

    let upload = s3.create_multipart_upload().bucket("boston").key("parts").send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let parts = [noise(3, 5 * 1024 * 1024), noise(4, 6 * 1024 * 1024 + 1), noise(5, 77)];
    let mut done = CompletedMultipartUpload::builder();
    for (number, part) in (1..).zip(&parts) {
        let call = s3.upload_part().bucket("boston").key("parts").upload_id(id).part_number(number);
        let tag = call.body(part.to_vec().into()).send().await.unwrap().e_tag;
        done = done.parts(CompletedPart::builder().part_number(number).set_e_tag(tag).build());
    }
    let call = s3.complete_multipart_upload().bucket("boston").key("parts").upload_id(id);
    call.multipart_upload(done.build()).send().await.unwrap();
    assert!(get(s3, "boston", "parts", None).await == parts.concat());

    let listed = s3.list_objects_v2().bucket("boston").send().await.unwrap();
    let sizes: Vec<_> = listed.contents().iter().map(|it| (it.key().unwrap(), it.size().unwrap())).collect();
    let total = |bytes: &[u8]| i64::try_from(bytes.len()).unwrap();
    assert_eq!(sizes, [("large", total(&large)), ("parts", total(&parts.concat())), ("small", 4096)]);

    let stored = double.bucket(BUCKET).names();
    assert!(stored.len() >= 7 && stored.iter().all(|name| name.starts_with("blobs/")), "{stored:?}");
    let place = app.site("us").store_place(stored[0].strip_prefix("blobs/").unwrap());
    assert_eq!(place, format!("gs://{BUCKET}/{}", stored[0]));

    s3.delete_object().bucket("boston").key("small").send().await.unwrap();
    assert!(s3.get_object().bucket("boston").key("small").send().await.is_err());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_of_the_other_region_and_no_plaintext_or_name_reaches_google() {
    let World { double, app, dir } = world().await;
    let american = app.tenant("us", "boston", "health").await;
    let french = app.tenant("fr", "lyon", "health").await;
    let body = |seed| [MARKER.as_bytes(), &noise(seed, 40_000), MARKER.as_bytes()].concat();
    for (clinic, bucket) in [(&american, "boston-bucket"), (&french, "lyon-bucket")] {
        clinic.s3.create_bucket().bucket(bucket).send().await.unwrap();
        for seed in 0..5 {
            let call = clinic.s3.put_object().bucket(bucket).key(format!("{MARKER}/{seed}"));
            let call = call.metadata("patient", MARKER).content_type("application/fhir+json");
            call.body(body(seed).into()).send().await.unwrap();
            assert_eq!(get(&clinic.s3, bucket, &format!("{MARKER}/{seed}"), None).await, body(seed));
        }
    }
    let before = double.seen().len();
    // What is sent to the wrong door goes nowhere.
    let lost = app.client("us", &french.credential);
    assert!(lost.put_object().bucket("lyon-bucket").key("x").body(body(9).into()).send().await.is_err());
    put(&french.s3, "lyon-bucket", "more", &body(10)).await;
    assert_eq!(double.seen().len(), before, "a request of fr reached us' store");
    assert!(double.seen().iter().filter(|it| it.call == Call::Upload).count() >= 5);
    assert!(!app.blobs("fr").is_empty() && app.blobs("us").is_empty(), "us has no folder of blobs");

    let words = [MARKER, "boston-bucket", "lyon-bucket", "boston", "lyon", "fhir", "patient"];
    assert_eq!(found_in(&double.seen(), &words), Vec::<String>::new());
    // The search finds what is there: a plain marker sent by hand.
    let raw = super::gcs_double::Raw::at(&double);
    raw.upload(BUCKET, "planted", format!("xx{MARKER}xx").as_bytes()).await;
    assert_eq!(found_in(&double.seen(), &words), [MARKER]);
    drop(dir);
}

/// Which of the words stand in any request: as they are, in base64 at any alignment, in hex.
fn found_in(seen: &[Seen], words: &[&str]) -> Vec<String> {
    let forms = |word: &str| {
        let mut forms = vec![word.as_bytes().to_vec(), hex::encode(word).into_bytes()];
        for shift in 0..3 {
            let shifted = [&vec![b' '; shift], word.as_bytes()].concat();
            let text = base64::prelude::BASE64_STANDARD.encode(shifted);
            // Without the characters that what stands beside the word changes too.
            forms.push(
                text.as_bytes()[(shift * 4).div_ceil(3)..text.trim_end_matches('=').len() - 1].to_vec(),
            );
        }
        forms
    };
    let mut found = Vec::new();
    for word in words {
        // Four letters turn up in noise by chance, in base64 all the sooner: short words are searched in what is not body.
        let forms = forms(word);
        let is_long = word.len() > 6;
        let hit = seen.iter().any(|it| {
            let texts = [it.target.as_bytes(), it.headers.as_bytes()];
            let body = is_long.then_some(&it.body[..]);
            forms.iter().any(|form| texts.into_iter().chain(body).any(|text| find(text, form).is_some()))
        });
        if hit {
            found.push((*word).to_owned());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn google_in_trouble_costs_no_acknowledged_record() {
    let World { double, app, dir: _dir } = world().await;
    let clinic = app.tenant("us", "boston", "health").await;
    clinic.s3.create_bucket().bucket("boston").send().await.unwrap();
    double.fault_rate(Call::Upload, Fault::LoseAnswer, 150);
    double.fault_rate(Call::Upload, Fault::Refuse { status: 503 }, 150);
    double.fault_rate(Call::Download, Fault::BreakOff { after_bytes: 50 }, 150);
    let mut kept = Vec::new();
    for seed in 0..30 {
        let (key, body) = (format!("key-{seed}"), noise(seed, 9000));
        let call = clinic.s3.put_object().bucket("boston").key(&key).body(body.to_vec().into());
        match call.send().await {
            Ok(_) => kept.push((key, body)),
            Err(error) => assert_eq!(error.raw_response().map(|it| it.status().as_u16()), Some(503)),
        }
    }
    assert!(kept.len() > 20 && double.injected() > 5, "{} kept", kept.len());
    double.heal();
    for (key, body) in kept {
        assert_eq!(get(&clinic.s3, "boston", &key, None).await, body, "{key}");
    }
    // A refusal of us is 503 to the client, and says nothing of Google.
    double.fault(Call::Upload, Fault::Refuse { status: 403 }, None);
    let call = clinic.s3.put_object().bucket("boston").key("x").body(vec![1; 100].into());
    let answer = call.send().await.unwrap_err();
    let answer = answer.raw_response().unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    let text = String::from_utf8_lossy(answer.body().bytes().unwrap_or_default()).to_lowercase();
    assert!(
        !text.contains("google") && !text.contains("gcs") && !text.contains("refused on purpose"),
        "{text}"
    );
}

/// What a scrape says of the store.
fn gauge(world: &World, name: &str) -> i64 {
    let site = world.app.site("us");
    site.refresh_metrics();
    let page = site.metrics().expose();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    value.parse().unwrap()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_moves_abroad_while_we_serve_takes_no_more_writes_until_it_is_back() {
    let world = world_that(|setup| setup.limits.whereabouts_check_ms = 100).await;
    let clinic = world.app.tenant("us", "clinic", "health").await;
    clinic.s3.create_bucket().bucket("records").send().await.unwrap();
    put(&clinic.s3, "records", "before", b"1").await;
    assert_eq!(gauge(&world, "terroir_store_deleted_kept_seconds"), 604_800);
    assert!(gauge(&world, "terroir_store_located_seconds") > 1_700_000_000);
    let written = || world.double.bucket(BUCKET).names().len();

    for (what, wrong) in [
        ("another location", (|bucket| bucket.location = "EUROPE-WEST9".to_owned()) as fn(&mut Bucket)),
        ("old generations", |bucket| bucket.versioning = true),
    ] {
        let mut bucket = world.double.bucket(BUCKET);
        let right = (bucket.location.clone(), bucket.versioning);
        wrong(&mut bucket);
        world.double.put_bucket(bucket);
        until(what, || gauge(&world, "terroir_store_adrift") == 1).await;
        let before = written();
        let refused =
            clinic.s3.put_object().bucket("records").key("k").body(b"2".to_vec().into()).send().await;
        let status = refused.unwrap_err().raw_response().unwrap().status().as_u16();
        assert_eq!((status, written()), (503, before), "{what}");
        // What lies there is still read, and may be deleted.
        assert_eq!(get(&clinic.s3, "records", "before", None).await, b"1");

        let mut bucket = world.double.bucket(BUCKET);
        (bucket.location, bucket.versioning) = right;
        world.double.put_bucket(bucket);
        until("the bucket to be back", || gauge(&world, "terroir_store_adrift") == 0).await;
        put(&clinic.s3, "records", "k", b"3").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_say_where_it_is_just_now_goes_on_taking_writes() {
    let world = world_that(|setup| setup.limits.whereabouts_check_ms = 100).await;
    let clinic = world.app.tenant("us", "clinic", "health").await;
    clinic.s3.create_bucket().bucket("records").send().await.unwrap();
    world.double.fault(Call::Control, Fault::Refuse { status: 503 }, None);
    let asked = || world.double.seen().iter().filter(|it| it.call == Call::Control).count();
    let before = asked();
    until("looks", || asked() > before + 6).await;
    put(&clinic.s3, "records", "k", b"1").await;
    assert_eq!(gauge(&world, "terroir_store_adrift"), 0);
}
