//! Regions on real stores: one over https under an authority of its own, and one that is stopped where it stands beside a
//! region that must not notice.

use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use futures_util::future::join_all;
use tempfile::TempDir;
use terroir::blobs::S3Settings;
use terroir::catalogue;
use terroir::model::{RegionId, SecretRef};
use terroir::settings::Limits;
use terroir::telemetry::{CircuitState, StoreRefusal};
use terroir::testing::{Embedded, Setup};

use super::{World, get, noise, put};
use crate::support::{rgw, seaweed::Seaweed};

const REST_MS: u64 = 1_500;
const ATTEMPT_MS: u64 = 1_000;

/// The bucket as a region's file would name it; its secrets lie in `dir`.
fn declared(bucket: &S3Settings, quirks: &[catalogue::S3Quirk], dir: &TempDir) -> catalogue::Store {
    let secret = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        SecretRef::File(path)
    };
    catalogue::Store::S3(catalogue::S3Store {
        endpoint: bucket.endpoint.parse().unwrap(),
        bucket: bucket.bucket.clone(),
        prefix: bucket.prefix.clone(),
        signing_region: bucket.signing_region.clone(),
        access_key_id: secret("access-key", &bucket.credentials.current().access_key_id),
        secret_access_key: secret("secret-key", bucket.credentials.current().secret_access_key.expose()),
        expected_location: None,
        path_style: true,
        ca_file: bucket.ca_file.clone(),
        quirks: quirks.iter().copied().collect(),
    })
}

/// A refused GET: how long it took, its code, and when to come back.
async fn refused(s3: &Client) -> (Duration, String, Option<u64>) {
    let started = Instant::now();
    let error = s3.get_object().bucket("clinic").key("a").send().await.unwrap_err();
    let took = started.elapsed();
    let answer = error.raw_response().unwrap_or_else(|| panic!("no answer: {error:?}"));
    assert_eq!(answer.status().as_u16(), 503);
    let retry_after = answer.headers().get("retry-after").and_then(|after| after.parse().ok());
    let code = aws_sdk_s3::error::ProvideErrorMetadata::code(&error).unwrap_or_default().to_owned();
    (took, code, retry_after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_store_costs_its_region_fast_503s_the_other_region_nothing_and_ends_when_it_thaws() {
    let server = Seaweed::start().await;
    let secrets = TempDir::new().unwrap();
    let fr: RegionId = "fr".parse().unwrap();
    let store = declared(&server.bucket(&fr).await, &[], &secrets);
    let limits = Limits {
        store_attempt_ms_max: ATTEMPT_MS,
        store_deadline_ms_max: 5_000,
        store_rest_ms: REST_MS,
        ..Limits::default()
    };
    let stores = [(fr, store)].into();
    let world = World::of(&Setup { store: Embedded::Memory, stores, limits, ..Setup::default() }).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    let ward = world.tenant("us", "ward", "health").await;
    let record = noise(1, 4096);
    put(&clinic.s3, "clinic", "a", &record).await;
    put(&ward.s3, "ward", "a", &record).await;
    let metrics = world.app.site("fr").metrics();

    server.freeze();
    let first = join_all((0..12).map(|_| refused(&clinic.s3))).await;
    let slowest = first.iter().map(|(took, ..)| *took).max().unwrap();
    assert_eq!(metrics.store_circuit_state(), CircuitState::Open);
    // While it is open, over two rests and the probes between them: at once, with a time to come back.
    let mut fast = Vec::new();
    let frozen = Instant::now();
    while frozen.elapsed() < Duration::from_millis(2 * (REST_MS + ATTEMPT_MS)) {
        let before = metrics.store_refusals(StoreRefusal::CircuitOpen).value();
        let (took, code, retry_after) = refused(&clinic.s3).await;
        if metrics.store_refusals(StoreRefusal::CircuitOpen).value() > before {
            assert!(matches!(retry_after, Some(1..=2)), "{retry_after:?}");
            assert_eq!(code, "ServiceUnavailable");
            fast.push(took);
        }
        // The other region's requests do not notice.
        assert_eq!(get(&ward.s3, "ward", "a").await, record);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fast.sort();
    let (median, last) = (fast[fast.len() / 2], *fast.last().unwrap());
    assert!(fast.len() > 30, "{} refusals", fast.len());
    assert!(median < Duration::from_millis(150), "{median:?}");
    let us = world.app.site("us").metrics();
    assert_eq!(us.store_circuit_state(), CircuitState::Closed);
    assert_eq!(us.store_retries().value(), 0);

    server.thaw();
    let thawed = Instant::now();
    let mut asked = 0;
    while clinic.s3.get_object().bucket("clinic").key("a").send().await.is_err() {
        asked += 1;
        assert!(thawed.elapsed() < Duration::from_secs(20), "it never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let back = thawed.elapsed();
    println!(
        "frozen: first refusals within {slowest:?}; while open {} refusals, median {median:?}, slowest {last:?}; \
         back {back:?} after the thaw, {asked} refusals in between",
        fast.len()
    );
    // What is left of the rest, and one probe; the store needs a moment to come to itself.
    assert!(back < Duration::from_millis(REST_MS + ATTEMPT_MS + 1_500), "{back:?}");
    assert_eq!(metrics.store_circuit_state(), CircuitState::Closed);
    assert_eq!(get(&clinic.s3, "clinic", "a").await, record);
    put(&clinic.s3, "clinic", "b", &record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_on_a_store_with_a_certificate_of_its_own_and_known_quirks_serves() {
    let server = rgw::shared().await;
    let secrets = TempDir::new().unwrap();
    let fr: RegionId = "fr".parse().unwrap();
    let quirks = [catalogue::S3Quirk::BareEtags, catalogue::S3Quirk::RefusesChecksumTrailers];
    let store = declared(&server.bucket(&fr, true).await, &quirks, &secrets);
    let setup = Setup { regions: vec![fr.clone()], stores: [(fr, store)].into(), ..Setup::default() };
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    for (key, len) in [("empty", 0), ("small", 4096), ("large", 20 << 20)] {
        let record = noise(len as u64, len);
        put(&clinic.s3, "clinic", key, &record).await;
        assert!(get(&clinic.s3, "clinic", key).await == record, "{key}");
    }
    assert!(world.app.blobs("fr").is_empty(), "nothing went to a folder");
}
