//! The `s3` driver against Ceph RGW.

use std::sync::Arc;

use terroir::blobs::{Observation, ProbeError, S3Quirks, S3Settings, S3Store, whereabouts};
use terroir::model::SystemClock;

use super::{Store, contract, quirks, region};
use crate::support::rgw::{self, Rgw};

/// What RGW 16 is known for: found by the probe, so that a newer one is noticed here first.
const QUIRKS: S3Quirks =
    S3Quirks { ignores_create_if_absent: false, bare_etags: true, refuses_checksum_trailers: true };

/// One test, because each test is a process under nextest and each process would start a cluster of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_s3_driver_on_ceph_rgw() {
    let server = rgw::shared().await;
    contract::run("blobs × s3-rgw-http", async || store(settings(server, false).await)).await;
    contract::run("blobs × s3-rgw-https", async || store(settings(server, true).await)).await;
    quirks::are_as_declared(settings(server, false).await).await;
    quirks::are_as_declared(settings(server, true).await).await;
    quirks::a_certificate_of_nobody_we_trust_is_refused(settings(server, true).await).await;
    a_file_that_declares_no_quirks_is_told_which_there_are(server).await;
    it_says_where_it_is_and_another_place_than_declared_is_refused(server).await;
}

async fn settings(server: &Rgw, tls: bool) -> S3Settings {
    S3Settings { quirks: QUIRKS, ..server.bucket(&region(), tls).await }
}

fn store(settings: S3Settings) -> Store {
    Arc::new(S3Store::new(settings).unwrap())
}

async fn a_file_that_declares_no_quirks_is_told_which_there_are(server: &Rgw) {
    let observed = quirks::observed(server.bucket(&region(), true).await).await;
    let told = S3Quirks::default().held_against(&observed).unwrap();
    assert_eq!(told, ["bare-etags", "refuses-checksum-trailers"]);
}

async fn it_says_where_it_is_and_another_place_than_declared_is_refused(server: &Rgw) {
    let says = async |declared: &str| {
        let declared_location = Some(declared.to_owned());
        let store = store(S3Settings { declared_location, ..settings(server, true).await });
        whereabouts(&*store, &SystemClock).await
    };
    // The `api_name` of the zone group that Ceph makes by itself.
    assert_eq!(says("default").await.unwrap().observed, Observation::Agrees("default".to_owned()));
    assert!(matches!(says("gra").await, Err(ProbeError::Elsewhere { .. })));
}
