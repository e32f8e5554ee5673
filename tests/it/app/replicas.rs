//! Two replicas of one region: one index and key store in `PostgreSQL`, one store, the same root keys; each with its own listeners
//! and its own audit log.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tempfile::TempDir;
use terroir::placement::Operation;
use terroir::testing::{Setup, SharedParts, TestApp, TestTenant};

use super::{get, is, keys_of, noise, put, refusal, until};
use crate::support::postgres::{Database, shared};

/// What the product promises: a running proxy obeys within this.
const OBEYS_WITHIN: Duration = Duration::from_secs(5);

struct Replicas {
    one: TestApp,
    two: TestApp,
    setup: Setup,
    database: Database,
    dir: TempDir,
}

impl Replicas {
    async fn start(reclaim_delay_s: u64) -> Self {
        let (dir, database) = (TempDir::new().unwrap(), shared().database().await);
        let url_file = dir.path().join("url");
        std::fs::write(&url_file, database.url()).unwrap();
        let mut setup = Setup {
            regions: vec!["fr".parse().unwrap()],
            shared: Some(SharedParts {
                host: format!("127.0.0.1:{}", database.port()),
                url_file,
                store: dir.path().join("store"),
                roots: dir.path().join("keys/roots"),
            }),
            ..Setup::default()
        };
        setup.limits.reclaim_delay_s = reclaim_delay_s;
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        // At once: both make the schemas, the roots and the region's own key.
        let (one, two) =
            tokio::join!(Box::pin(TestApp::start(&one, &setup)), Box::pin(TestApp::start(&two, &setup)));
        Self { one, two, setup, database, dir }
    }

    /// A tenant with a bucket of its name, and its clients at both doors.
    async fn tenant(&self, id: &str, class: &str) -> (TestTenant, TestTenant) {
        let at_one = self.one.tenant("fr", id, class).await;
        let s3 = self.two.client("fr", &at_one.credential);
        let at_two = TestTenant { s3, ..at_one.clone() };
        at_one.s3.create_bucket().bucket(id).send().await.unwrap();
        until("the other replica to know the tenant", async || at_two.s3.list_buckets().send().await.ok())
            .await;
        (at_one, at_two)
    }

    fn blob_files(&self) -> BTreeSet<std::path::PathBuf> {
        let mut files = BTreeSet::new();
        let mut folders = vec![self.dir.path().join("store")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    files.insert(entry.path());
                }
            }
        }
        // What says whose the folder is, and writes under way, are no blobs.
        let store = self.dir.path().join("store");
        files.retain(|path| !path.starts_with(store.join("temp")) && *path != store.join("region"));
        files
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_writes_the_other_reads_lists_and_deletes() {
    let world = Replicas::start(3600).await;
    let (one, two) = world.tenant("clinic", "health").await;
    let body = noise(3, 9 << 20);
    put(&one.s3, "clinic", "ecg/1", &body).await;
    assert!(get(&two.s3, "clinic", "ecg/1").await == body);
    let tag = put(&two.s3, "clinic", "ecg/1", b"overwritten by the other").await;
    assert_eq!(get(&one.s3, "clinic", "ecg/1").await, b"overwritten by the other");
    put(&two.s3, "clinic", "ecg/2", b"x").await;
    assert_eq!(keys_of(&one.s3, "clinic").await, ["ecg/1", "ecg/2"]);
    // A condition holds across replicas.
    let stale =
        one.s3.put_object().bucket("clinic").key("ecg/1").if_none_match("*").body(b"y".to_vec().into());
    assert_eq!(refusal(stale.send().await).0, 412);
    let right = one.s3.put_object().bucket("clinic").key("ecg/1").if_match(tag).body(b"z".to_vec().into());
    right.send().await.unwrap();
    assert_eq!(get(&two.s3, "clinic", "ecg/1").await, b"z");
    two.s3.delete_object().bucket("clinic").key("ecg/1").send().await.unwrap();
    let gone = one.s3.get_object().bucket("clinic").key("ecg/1").send().await;
    assert_eq!(refusal(gone), is(404, "NoSuchKey"));
    // A replica that starts later finds everything.
    let later = TestApp::start(&world.dir.path().join("three"), &world.setup).await;
    assert_eq!(get(&later.client("fr", &one.credential), "clinic", "ecg/2").await, b"x");
    // Each has an audit log of its own, and only its own requests in it.
    for (app, operation) in [(&world.one, "CreateBucket"), (&world.two, "DeleteObject")] {
        let lines = app.audit_lines("fr");
        assert!(lines.iter().any(|line| line["operation"] == operation), "{operation}");
    }
    let strangers = world.two.audit_lines("fr");
    assert!(strangers.iter().all(|line| line["operation"] != "CreateBucket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_one_replica_is_obeyed_by_the_other_within_five_seconds() {
    let world = Replicas::start(3600).await;
    let (one, two) = world.tenant("clinic", "personal").await;
    let registry = world.one.site("fr").registry();
    let rotated = registry.rotate_credential(&one.credential.key_id, false).await.unwrap().new;
    let new = world.two.client("fr", &rotated);
    let begun = Instant::now();
    until("the new key to be known", async || new.list_buckets().send().await.ok()).await;
    assert!(begun.elapsed() < OBEYS_WITHIN, "{:?}", begun.elapsed());
    registry.disable_credential(&one.credential.key_id).await.unwrap();
    let begun = Instant::now();
    let refused = until("the old key to be refused", async || two.s3.list_buckets().send().await.err()).await;
    assert!(begun.elapsed() < OBEYS_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(refusal::<(), _>(Err(refused)), is(403, "InvalidAccessKeyId"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_begun_at_one_replica_is_filled_and_completed_at_both() {
    let world = Replicas::start(3600).await;
    let (one, two) = world.tenant("clinic", "health-sensitive").await;
    let body = noise(5, (10 << 20) + 77);
    let begun = one.s3.create_multipart_upload().bucket("clinic").key("big").send().await.unwrap();
    let id = begun.upload_id.unwrap();
    let part = async |at: &TestTenant, number: i32, bytes: &[u8]| {
        let part = at.s3.upload_part().bucket("clinic").key("big").upload_id(&id).part_number(number);
        let done = part.body(bytes.to_vec().into()).send().await.unwrap();
        CompletedPart::builder()
            .part_number(number)
            .set_e_tag(done.e_tag)
            .set_checksum_crc32(done.checksum_crc32)
            .build()
    };
    let parts = vec![
        part(&two, 1, &body[..5 << 20]).await,
        part(&one, 2, &body[5 << 20..10 << 20]).await,
        part(&two, 3, &body[10 << 20..]).await,
    ];
    let chosen = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = |at: &TestTenant| {
        let complete = at.s3.complete_multipart_upload().bucket("clinic").key("big").upload_id(&id);
        complete.multipart_upload(chosen.clone()).send()
    };
    let (first, second) = tokio::join!(complete(&one), complete(&two));
    assert_eq!(first.unwrap().e_tag, second.unwrap().e_tag, "completed at both doors at once: one answer");
    assert!(get(&one.s3, "clinic", "big").await == body);
    assert!(get(&two.s3, "clinic", "big").await == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn housekeeping_of_two_replicas_deletes_nothing_live_and_forgets_nothing_twice() {
    let world = Replicas::start(0).await;
    let (one, two) = world.tenant("clinic", "health").await;
    for n in 0..30 {
        let at = if n % 2 == 0 { &one } else { &two };
        put(&at.s3, "clinic", &format!("{}", n % 10), format!("body {n}").as_bytes()).await;
    }
    let before = world.blob_files();
    let round = async |app: &TestApp| {
        let site = app.site("fr");
        let due = site.vault().due(&[], None).await.unwrap();
        let decided = site.admit(&one.tenant, &Operation::Maintain, "reclaim").await.unwrap();
        site.vault().reclaim(&decided, &due).await.unwrap()
    };
    // Both at once while both go on writing.
    let writing = async {
        for n in 30..50 {
            let at = if n % 2 == 0 { &two } else { &one };
            put(&at.s3, "clinic", &format!("{}", n % 10), format!("body {n}").as_bytes()).await;
        }
    };
    let (mut deleted, mut failed) = (0, 0);
    let rounds = async {
        for _ in 0..4 {
            let (a, b) = tokio::join!(round(&world.one), round(&world.two));
            deleted += a.deleted + b.deleted;
            failed += a.failed + b.failed;
        }
    };
    tokio::join!(writing, rounds);
    let last = [round(&world.one).await, round(&world.two).await];
    assert_eq!((last[1].deleted, last[1].failed + failed), (0, 0), "the second finds nothing left");
    assert!(deleted + last[0].deleted >= 40, "{deleted} of the 40 that were replaced");
    for n in 40..50 {
        let at = if n % 2 == 0 { &one } else { &two };
        assert_eq!(get(&at.s3, "clinic", &format!("{}", n % 10)).await, format!("body {n}").as_bytes());
    }
    assert!(world.blob_files().intersection(&before).count() < before.len(), "something was deleted");
    let mut conn = world.database.raw().await;
    let live: i64 =
        sqlx::query_scalar("SELECT count(*) FROM terroir_index.blobs").fetch_one(&mut conn).await.unwrap();
    assert_eq!(
        usize::try_from(live).unwrap(),
        world.blob_files().len(),
        "every blob of the store is in the index, once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_503_and_never_a_wrong_answer() {
    let world = Replicas::start(3600).await;
    let (one, two) = world.tenant("clinic", "health").await;
    put(&one.s3, "clinic", "a", b"kept").await;
    let cut = format!(
        "ALTER DATABASE {0} ALLOW_CONNECTIONS false; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = '{0}' AND pid <> pg_backend_pid()",
        world.database.name
    );
    let mut operator = crate::support::postgres::operator(&world.database).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(cut)).execute(&mut operator).await.unwrap();
    for at in [&one, &two] {
        assert_eq!(refusal(at.s3.get_object().bucket("clinic").key("a").send().await).0, 503);
        assert_eq!(refusal(at.s3.get_object().bucket("clinic").key("never").send().await).0, 503);
        assert_eq!(refusal(at.s3.list_objects_v2().bucket("clinic").send().await).0, 503);
        let put = at.s3.put_object().bucket("clinic").key("a").body(b"lost".to_vec().into());
        assert_eq!(refusal(put.send().await).0, 503);
    }
    let mend = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", world.database.name);
    sqlx::raw_sql(sqlx::AssertSqlSafe(mend)).execute(&mut operator).await.unwrap();
    for at in [&one, &two] {
        let read = until("the database to be back", async || {
            at.s3.get_object().bucket("clinic").key("a").send().await.ok()
        });
        assert_eq!(read.await.body.collect().await.unwrap().to_vec(), b"kept");
    }
}
