//! The `s3` driver against a real store.

use std::sync::Arc;

use terroir::blobs::{
    BlobStore, ErrorKind, Observation, S3Credentials, S3Quirks, S3Settings, S3Store, StoreKind, probe,
    whereabouts,
};
use terroir::model::{Secret, SystemClock, Timestamp};

use super::{Store, contract, noise, placed, quirks, region, sealed, somewhere};
use crate::support::seaweed::{self, Seaweed};

/// One test, because each test is a process under nextest and each process would start a server of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_s3_driver_on_seaweedfs() {
    let server = seaweed::shared().await;
    contract::run("blobs × s3-seaweedfs-http", folders(server.bucket(&region()).await)).await;
    contract::run("blobs × s3-seaweedfs-https", folders(server.bucket_over_tls(&region()).await)).await;
    quirks::are_as_declared(server.bucket(&region()).await).await;
    quirks::are_as_declared(server.bucket_over_tls(&region()).await).await;
    quirks::a_certificate_of_nobody_we_trust_is_refused(server.bucket_over_tls(&region()).await).await;
    conditions_switched_off_overwrite_and_the_probe_says_so(server).await;
    a_range_of_connections_is_reused(server).await;
    our_own_credentials_refused_is_denied_by_every_verb(server).await;
    a_bucket_that_is_missing_is_our_misconfiguration(server).await;
    a_name_that_is_not_ours_is_counted_and_hides_nothing(server).await;
    two_prefixes_of_one_bucket_do_not_see_each_other(server).await;
    a_store_that_does_not_say_where_it_is_stays_declared(server).await;
}

/// One bucket with a folder for each check: `SeaweedFS` gives every bucket volumes of its own, and has as many as the disk has
/// room for.
fn folders(bucket: S3Settings) -> impl AsyncFnMut() -> Store {
    let mut checks = 0;
    async move || {
        checks += 1;
        store(S3Settings { prefix: format!("check-{checks}/"), ..bucket.clone() })
    }
}

fn store(settings: S3Settings) -> Store {
    Arc::new(S3Store::new(settings).unwrap())
}

async fn conditions_switched_off_overwrite_and_the_probe_says_so(server: &Seaweed) {
    let store = store(S3Settings {
        quirks: S3Quirks { ignores_create_if_absent: true, ..S3Quirks::default() },
        ..server.bucket(&region()).await
    });
    let at = somewhere();
    let throwaway = (sealed(&at, 1, 300), sealed(&at, 2, 300));
    let report = probe(&*store, &placed(), at.id(), throwaway, &SystemClock).await.unwrap();
    assert!(!report.create_if_absent);
}

async fn a_range_of_connections_is_reused(server: &Seaweed) {
    let store = store(S3Settings { idle_connections_max: 1, ..server.bucket(&region()).await });
    for seed in 0..20 {
        let at = somewhere();
        store.put(&at, sealed(&at, seed, 100)).await.unwrap();
        assert_eq!(store.read(&at, 10..20).await.unwrap(), noise(seed, 100).slice(10..20));
    }
}

async fn our_own_credentials_refused_is_denied_by_every_verb(server: &Seaweed) {
    let settings = server.bucket(&region()).await;
    let at = somewhere();
    store(settings.clone()).put(&at, sealed(&at, 1, 100)).await.unwrap();
    let mut wrong = settings;
    let secret_access_key = Secret::new("not-the-secret".to_owned());
    wrong.credentials = S3Credentials { secret_access_key, ..wrong.credentials.current() }.into();
    let store = store(wrong);
    let mut kinds = vec![
        store.put(&at, sealed(&at, 1, 100)).await.unwrap_err(),
        store.read(&at, 0..100).await.unwrap_err(),
        store.head(&at).await.unwrap_err(),
        store.delete(&at).await.unwrap_err(),
        store.list(&placed(), None, 10).await.unwrap_err(),
    ];
    kinds.extend(store.locate().await.err());
    for error in kinds {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
        assert!(!error.is_retryable());
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret") && !shown.contains("Signature="), "{shown}");
    }
}

async fn a_bucket_that_is_missing_is_our_misconfiguration(server: &Seaweed) {
    let store = store(S3Settings { bucket: "nobody-made-this".to_owned(), ..server.bucket(&region()).await });
    let at = somewhere();
    for error in [
        store.put(&at, sealed(&at, 1, 100)).await.unwrap_err(),
        store.list(&placed(), None, 10).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    }
}

async fn a_name_that_is_not_ours_is_counted_and_hides_nothing(server: &Seaweed) {
    let settings = server.bucket(&region()).await;
    for name in ["terroir/blobs/00/readme.txt", "terroir/blobs/zz", "elsewhere/x"] {
        let put = server.client().put_object().bucket(&settings.bucket).key(name);
        put.body(b"foreign".to_vec().into()).send().await.unwrap();
    }
    let store = store(settings);
    let mut put = Vec::new();
    for _ in 0..5 {
        let at = somewhere();
        store.put(&at, sealed(&at, 1, 10)).await.unwrap();
        put.push(at.id());
    }
    put.sort();
    for limit in [1, 2, 100] {
        let (mut ids, mut foreign, mut after) = (Vec::new(), 0, None);
        loop {
            let page = store.list(&placed(), after.as_ref(), limit).await.unwrap();
            ids.extend(page.ids);
            foreign += page.foreign;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((ids, foreign), (put.clone(), 2), "pages of {limit}");
    }
}

async fn two_prefixes_of_one_bucket_do_not_see_each_other(server: &Seaweed) {
    let settings = server.bucket(&region()).await;
    let one = store(S3Settings { prefix: "one/".to_owned(), ..settings.clone() });
    let two = store(S3Settings { prefix: String::new(), ..settings });
    let at = somewhere();
    one.put(&at, sealed(&at, 1, 10)).await.unwrap();
    assert_eq!(two.head(&at).await.unwrap_err().kind(), ErrorKind::NotFound);
    let page = two.list(&placed(), None, 10).await.unwrap();
    assert_eq!((page.ids.len(), page.foreign), (0, 1));
}

/// `SeaweedFS` answers every `GetBucketLocation` with an empty location.
async fn a_store_that_does_not_say_where_it_is_stays_declared(server: &Seaweed) {
    let declared_location = Some("gra".to_owned());
    let store =
        store(S3Settings { declared_location: declared_location.clone(), ..server.bucket(&region()).await });
    assert_eq!(store.locate().await.unwrap(), None);
    let found = whereabouts(&*store, &SystemClock).await.unwrap();
    assert_eq!((found.declared, found.observed), (declared_location, Observation::Silent));
    assert!(found.asked > Timestamp::from_millis(0));
    let about = store.describe();
    assert_eq!((about.kind, about.endpoint_host.as_deref()), (StoreKind::S3, Some("127.0.0.1")));
}

/// Not a check: prints what a put and a read of 4 KiB cost through each driver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it alone, with --nocapture"]
async fn rates() {
    let temp = tempfile::tempdir().unwrap();
    let server = seaweed::shared().await;
    let stores: [(&str, Store); 3] = [
        ("memory", Arc::new(terroir::blobs::MemoryStore::new(region()))),
        ("fs", Arc::new(super::fs_store(&temp.path().join("store")).await)),
        ("s3-seaweedfs", store(server.bucket(&region()).await)),
    ];
    for (kind, store) in stores {
        for tasks in [1_u32, 16] {
            rate(kind, &store, tasks).await;
        }
    }
}

async fn rate(kind: &str, store: &Store, tasks: u32) {
    const EACH: u32 = 200;
    let places: Vec<Vec<_>> = (0..tasks).map(|_| (0..EACH).map(|_| somewhere()).collect()).collect();
    for verb in ["put", "read"] {
        let (cpu, started) = (cpu_seconds(), std::time::Instant::now());
        let work = places.iter().cloned().map(|places| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for at in places {
                    if verb == "put" {
                        store.put(&at, sealed(&at, 1, 4096)).await.unwrap();
                    } else {
                        store.read(&at, 0..4096).await.unwrap();
                    }
                }
            })
        });
        futures_util::future::join_all(work).await;
        let (wall, n) = (started.elapsed().as_secs_f64(), f64::from(tasks * EACH));
        let cpu = (cpu_seconds() - cpu) / n * 1e6;
        println!("rate {kind} {verb} 4 KiB x{tasks}: {:.0}/s, {cpu:.0} us of CPU each", n / wall);
    }
}

/// Time this process has spent on a CPU (proc(5), `stat`: user and system, in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
