//! The whole application while the files that say who it is to its services are replaced.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::Row;
use tempfile::TempDir;
use terroir::catalogue::{GcsCredentials, GcsStore, Store};
use terroir::index::{Index as _, Opening, PostgresIndex, PostgresOptions};
use terroir::keys::PostgresKeyStore;
use terroir::model::{SystemClock, SystemEntropy};
use terroir::testing::{Setup, SharedParts, TestApp};

use super::{get, put, until};
use crate::gcs_double::bucket::Bucket;
use crate::gcs_double::faults::Call;
use crate::gcs_double::{Double, SUBJECT_TOKEN, Settings};
use crate::support::postgres::{Database, shared};

/// A file that is replaced as a keeper of secrets does it: whole, or not at all.
struct File(PathBuf);

impl File {
    fn write(&self, text: &str) {
        let fresh = self.0.with_extension("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, &self.0).unwrap();
    }
}

/// Waits until credentials were replaced, or kept, so often.
async fn counted(app: &TestApp, region: &str, replaced: u64, kept: u64) {
    let lines = [
        format!("terroir_credential_reloads_total {replaced}"),
        format!("terroir_credential_reloads_failed_total {kept}"),
    ];
    until(&format!("{lines:?}"), async || {
        let page = app.site(region).metrics().expose();
        lines.iter().all(|line| page.lines().any(|told| told == line)).then_some(())
    })
    .await;
}

/// Connections of one role to one database.
async fn connections(database: &Database, role: &str) -> i64 {
    let counted = sqlx::query("SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = $2")
        .bind(role)
        .bind(&database.name)
        .fetch_one(&mut database.raw().await)
        .await;
    counted.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_of_index_and_key_store_are_replaced_under_a_proxy_that_notices_nothing() {
    let (dir, database, other) =
        (TempDir::new().unwrap(), shared().database().await, shared().database().await);
    let roles = ["one", "two"].map(|role| format!("{}_{role}", database.name));
    for role in &roles {
        database.run(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await;
    }
    let url = |role: &str, database: &Database| {
        format!("postgres://{role}@127.0.0.1:{}/{}", database.port(), database.name)
    };
    let file = File(dir.path().join("url"));
    file.write(&url(&roles[0], &database));
    let mut setup = Setup {
        regions: vec!["fr".parse().unwrap()],
        shared: Some(SharedParts {
            host: format!("127.0.0.1:{}", database.port()),
            url_file: file.0.clone(),
            store: dir.path().join("store"),
            roots: dir.path().join("keys/roots"),
        }),
        ..Setup::default()
    };
    setup.limits.reload_check_ms = 100;
    let app = TestApp::start(&dir.path().join("app"), &setup).await;
    let clinic = app.tenant("fr", "clinic", "health").await;
    clinic.s3.create_bucket().bucket("clinic").send().await.unwrap();
    put(&clinic.s3, "clinic", "before", b"1").await;

    // Both read the one file, and each counts.
    file.write(&url(&roles[1], &database));
    counted(&app, "fr", 2, 0).await;
    database.run(&format!("ALTER ROLE {} NOLOGIN", roles[0])).await;
    // A tenant's first record takes a new key, and so the key store.
    let doctor = app.tenant("fr", "doctor", "health").await;
    doctor.s3.create_bucket().bucket("doctor").send().await.unwrap();
    put(&doctor.s3, "doctor", "k", b"2").await;
    assert!(connections(&database, &roles[1]).await > 0);
    until("the role before to be gone", async || {
        // What waits in the directory's pool goes when the directory is read.
        (connections(&database, &roles[0]).await == 0).then_some(())
    })
    .await;

    // As whole as ours: an older copy, or another environment's.
    let clock = SystemClock;
    PostgresKeyStore::open(other.address(), &clock).await.unwrap().close().await;
    let (region, environment) = ("fr".parse().unwrap(), "test".parse().unwrap());
    let options = PostgresOptions::new(other.address(), region, environment, Opening::CreateIfMissing);
    PostgresIndex::open(options, &clock, Arc::new(SystemEntropy)).await.unwrap().close().await;
    // Mistakes cost nothing, and nobody is asked anything elsewhere.
    for (replaced, wrong) in [
        (4, url(&roles[1], &other)),
        (6, url(&roles[0], &database)),
        (8, url("nobody_of_this_name", &database)),
        (10, url(&roles[1], &database).replace("127.0.0.1", "127.0.0.2")),
        (12, "postgres://".to_owned()),
    ] {
        let kept = replaced - 2;
        file.write(&wrong);
        counted(&app, "fr", kept, kept).await;
        assert_eq!(get(&clinic.s3, "clinic", "before").await, b"1");
        assert_eq!(connections(&other, &roles[1]).await, 0, "another database was asked");
        // Another spelling of what is in use: a file that was put right is taken again, and counted.
        let spelling = if replaced % 4 == 0 { "?sslmode=prefer" } else { "" };
        file.write(&(url(&roles[1], &database) + spelling));
        counted(&app, "fr", replaced, kept).await;
    }
    assert_eq!(get(&doctor.s3, "doctor", "k").await, b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_workload_identity_that_names_another_token_host_is_not_followed() {
    let double = Double::start(Settings { demand_token: true, ..Settings::default() }).await;
    double.put_bucket(Bucket::new("terroir-us", "US-CENTRAL1"));
    let decoy = Double::start(Settings { demand_token: true, ..Settings::default() }).await;
    let dir = TempDir::new().unwrap();
    let subject = dir.path().join("subject");
    std::fs::write(&subject, SUBJECT_TOKEN).unwrap();
    let config = |token_host: &Double, audience: &str| {
        serde_json::json!({
            "type": "external_account",
            "audience": format!("//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/{audience}"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{}/v1/token", token_host.url()),
            "credential_source": { "file": &subject },
        })
        .to_string()
    };
    let file = File(dir.path().join("external.json"));
    file.write(&config(&double, "one"));
    let store = Store::Gcs(GcsStore {
        endpoint: double.url().parse().unwrap(),
        control_endpoint: None,
        bucket: "terroir-us".to_owned(),
        prefix: "blobs/".to_owned(),
        credentials: GcsCredentials::WorkloadIdentity(format!("file:{}", file.0.display()).parse().unwrap()),
        token_hosts: vec![double.address().to_string().parse().unwrap()],
        expected_location: "US-CENTRAL1".to_owned(),
    });
    let mut setup = Setup {
        regions: vec!["us".parse().unwrap()],
        stores: BTreeMap::from([("us".parse().unwrap(), store)]),
        ..Setup::default()
    };
    setup.limits.reload_check_ms = 100;
    let app = TestApp::start(&dir.path().join("app"), &setup).await;
    let clinic = app.tenant("us", "clinic", "health").await;
    clinic.s3.create_bucket().bucket("clinic").send().await.unwrap();
    put(&clinic.s3, "clinic", "k", b"1").await;
    let tokens = || double.seen().iter().filter(|it| it.call == Call::Token).count();
    let before = tokens();

    file.write(&config(&double, "two"));
    counted(&app, "us", 1, 0).await;
    assert!(tokens() > before, "the new file brought a token before it counted");
    file.write(&config(&decoy, "two"));
    counted(&app, "us", 1, 1).await;
    put(&clinic.s3, "clinic", "k", b"2").await;
    assert_eq!(get(&clinic.s3, "clinic", "k").await, b"2");
    assert!(decoy.seen().is_empty(), "another host was asked for a token");
    // What is put right is taken again; one that brings no token does not take the place of one that does.
    file.write(&config(&double, "four"));
    counted(&app, "us", 2, 1).await;
    file.write(&config(&double, "five").replace(&subject.display().to_string(), "/no/such/subject"));
    counted(&app, "us", 2, 2).await;
    put(&clinic.s3, "clinic", "k", b"3").await;
}
