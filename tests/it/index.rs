//! Integration tests of `index`: the contract on every implementation, and what is `SQLite`'s alone.

mod contract;
mod fixture;
mod postgres;
mod reference;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, TestRunner};
use sqlx::{ConnectOptions, Connection};
use terroir::index::{
    Index, IndexError, NewVersion, Opening, Precondition, PutOutcome, SqliteIndex, SqliteOptions,
};
use terroir::model::{ManualClock, SystemEntropy};

use crate::support::contract::held;
use fixture::*;

/// Buckets of one tenant in the indexes under test.
const BUCKETS_MAX: u32 = 5;

/// Open uploads of one tenant in those under the contract.
const UPLOADS_MAX: u32 = 40;

fn options(path: &Path) -> SqliteOptions {
    SqliteOptions {
        reclaim_delay: RECLAIM_DELAY,
        buckets_per_tenant_max: BUCKETS_MAX,
        ..SqliteOptions::new(
            path.to_owned(),
            "fr".parse().unwrap(),
            "test".parse().unwrap(),
            Opening::CreateIfMissing,
        )
    }
}

async fn open_with(options: SqliteOptions) -> Result<SqliteIndex, IndexError> {
    SqliteIndex::open(options, &ManualClock::at(NOW), &SystemEntropy).await
}

async fn open(path: &Path) -> SqliteIndex {
    open_with(options(path)).await.unwrap()
}

async fn raw(path: &Path) -> sqlx::SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// A folder and the database in it.
fn home() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    (folder, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_contract() {
    for (name, check) in contract::CHECKS {
        let (_folder, path) = home();
        let options = SqliteOptions { uploads_per_tenant_max: UPLOADS_MAX, ..options(&path) };
        let index: Shared = Arc::new(open_with(options).await.unwrap());
        let outcome = tokio::spawn(check(index)).await;
        assert!(outcome.is_ok(), "contract check failed: {name}");
    }
    held("index × sqlite", contract::CHECKS.len());
}

#[test]
fn sqlite_answers_as_a_plain_map_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_folder, path) = home();
    let index = runtime.block_on(async {
        open_with(SqliteOptions { buckets_per_tenant_max: 1000, ..options(&path) }).await.unwrap()
    });
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&proptest::collection::vec(reference::op(), 1..60), |ops| {
        runtime.block_on(async {
            make_bucket(&index, "records").await;
            let mut reference = reference::Reference::default();
            for op in ops {
                reference.step(&index, "records", op).await;
            }
            reference.audit(&index, "records").await;
            empty(&index).await;
        });
        Ok(())
    });
    outcome.unwrap();
}

/// Back to an index without buckets, versions or queued blobs.
async fn empty(index: &dyn Index) {
    let all = page(index, "records", &request("", "", None, 1000)).await;
    let keys = all.entries.into_iter().map(|entry| entry.key).collect();
    index.delete_many(OURS, &bucket("records"), keys, NOW).await.unwrap();
    index.forget(queued(index).await).await.unwrap();
    index.delete_bucket(&bucket("records"), OURS).await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_drop_without_close() {
    let (_folder, path) = home();
    let incarnation;
    {
        let index = open(&path).await;
        incarnation = index.incarnation();
        make_bucket(&index, "records").await;
        for n in 0..20 {
            put(&index, "records", &format!("key-{n}")).await;
        }
    }
    let index = open(&path).await;
    assert_eq!(index.incarnation(), incarnation);
    assert_eq!(page(&index, "records", &request("", "", None, 1000)).await.entries.len(), 20);
    let last = found(&index, "records", "key-19").await.unwrap().seq;
    assert!(
        committed(index.commit_put(version("records", "x"), Precondition::None, NOW).await.unwrap()) > last
    );
}

const CHILD: &str = "TERROIR_TEST_INDEX_CHILD";

/// Not a test of its own: the process that the next test kills. Writes until it dies, telling each acknowledged commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_killed() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let index: Shared = Arc::new(open(Path::new(&path)).await);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let index = index.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let text = format!("{writer}/{}", n % 7);
                    let new = version("records", &text);
                    let seq = committed(index.commit_put(new, Precondition::None, NOW).await.unwrap());
                    println!("acked {text} {}", seq.0);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_process_killed_mid_write_loses_nothing_it_acknowledged() {
    let (_folder, path) = home();
    let index = open(&path).await;
    make_bucket(&index, "records").await;
    drop(index);
    let mut acknowledged = std::collections::BTreeMap::new();
    for round in 0..5_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["index::child_that_writes_until_killed", "--exact", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while let Some(Ok(line)) = lines.next() {
            // The harness may print in front of the first line.
            if let Some((_, rest)) = line.split_once("acked ")
                && let Some((text, seq)) = rest.split_once(' ')
                && let Ok(seq) = seq.parse::<u64>()
            {
                let newest = acknowledged.entry(text.to_owned()).or_insert(0);
                *newest = seq.max(*newest);
                seen += 1;
            }
            if seen == 40 + round * 17 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 40, "round {round}: only {seen} writes before the end");

        let index = open(&path).await;
        let mut objects = 0;
        for (text, acknowledged) in &acknowledged {
            let row = found(&index, "records", text).await.expect("an acknowledged version is gone");
            // A later version of the same key may have been committed without its answer being seen.
            assert!(row.seq.0 >= *acknowledged, "an acknowledged version was rolled back");
            assert_eq!(index.version(row.version).await.unwrap().unwrap().row, row);
        }
        for entry in page(&index, "records", &request("", "", None, 1000)).await.entries {
            assert!(found(&index, "records", entry.key.as_str()).await.is_some(), "a head without a version");
            objects += 1;
        }
        assert_eq!(index.counters(OURS).await.unwrap()[0].objects, objects, "counters are not torn");
        let mut conn = raw(&path).await;
        let check: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut conn).await.unwrap();
        assert_eq!(check, "ok");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_handles_on_one_file_see_one_index() {
    let (_folder, path) = home();
    let (one, two): (Shared, Shared) = (Arc::new(open(&path).await), Arc::new(open(&path).await));
    assert_eq!(one.incarnation(), two.incarnation());
    make_bucket(&*one, "records").await;
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let index = if n % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                let outcome = index.commit_put(
                    version("records", &format!("{}", n / 2)),
                    Precondition::IfNoneMatchStar,
                    NOW,
                );
                outcome.await.unwrap()
            })
        })
        .collect();
    let mut seqs = Vec::new();
    for task in tasks {
        if let PutOutcome::Committed { seq, .. } = task.await.unwrap() {
            seqs.push(seq);
        }
    }
    assert_eq!(seqs.len(), 30, "one creator per key, whichever handle");
    seqs.sort();
    seqs.dedup();
    assert_eq!(seqs.len(), 30, "no sequence is given twice");
    put(&*one, "records", "seen").await;
    assert!(found(&*two, "records", "seen").await.is_some());
}

#[tokio::test]
async fn several_openings_of_a_new_file_make_one_schema() {
    let (_folder, path) = home();
    let opened = futures_util::future::join_all((0..6).map(|_| open_with(options(&path)))).await;
    let mut incarnations: Vec<_> = opened.into_iter().map(|index| index.unwrap().incarnation()).collect();
    incarnations.dedup();
    assert_eq!(incarnations.len(), 1);
}

#[tokio::test]
async fn a_database_of_another_region_or_environment_is_refused() {
    let (_folder, path) = home();
    open(&path).await.close().await;
    let before = std::fs::read(&path).unwrap();
    let other_region = SqliteOptions { region: "us".parse().unwrap(), ..options(&path) };
    let refused = open_with(other_region).await;
    assert!(matches!(&refused, Err(IndexError::WrongRegion { found, .. }) if found == "fr"), "{refused:?}");
    let other_environment = SqliteOptions { environment: "prod".parse().unwrap(), ..options(&path) };
    let refused = open_with(other_environment).await;
    assert!(
        matches!(&refused, Err(IndexError::WrongEnvironment { found, .. }) if found == "test"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before, "a database that is not ours is left as it is");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (_folder, path) = home();
    open(&path).await.close().await;
    let mut conn = raw(&path).await;
    sqlx::query("INSERT INTO migrations (version, applied_ms) VALUES (99, 0)")
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
    let refused = open_with(options(&path)).await;
    assert!(matches!(refused, Err(IndexError::NewerSchema { found: 99, known: 2 })), "{refused:?}");
}

#[tokio::test]
async fn a_missing_database_is_not_an_empty_region() {
    let (_folder, path) = home();
    let existing = SqliteOptions { opening: Opening::Existing, ..options(&path) };
    assert!(matches!(open_with(existing.clone()).await, Err(IndexError::Missing)));
    assert!(!path.exists());
    std::fs::write(&path, b"").unwrap();
    assert!(
        matches!(open_with(existing.clone()).await, Err(IndexError::Missing)),
        "an empty file is no index either"
    );
    std::fs::write(&path, vec![7; 8192]).unwrap();
    let refused = open_with(existing).await;
    assert!(matches!(refused, Err(IndexError::Corrupt { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_database_removed_under_us_is_noticed() {
    let (_folder, path) = home();
    let index = open(&path).await;
    index.health().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(index.health().await.is_err());
    std::fs::write(&path, b"another").unwrap();
    assert!(matches!(index.health().await, Err(IndexError::Corrupt { .. })));
}

#[tokio::test]
async fn a_database_swapped_under_us_is_neither_read_nor_written() {
    let (_folder, path) = home();
    let (_other_folder, other_path) = home();
    let other = open(&other_path).await;
    make_bucket(&other, "records").await;
    put(&other, "records", "of-another-life").await;
    other.close().await;
    let index = open_with(SqliteOptions { busy_timeout: Duration::from_millis(200), ..options(&path) })
        .await
        .unwrap();
    make_bucket(&index, "records").await;
    for file in ["index.db-wal", "index.db-shm"] {
        std::fs::remove_file(path.with_file_name(file)).unwrap();
    }
    std::fs::rename(&other_path, &path).unwrap();
    // The pool connects on first use, which is now, and goes on trying for the bounded wait.
    let answer = index.lookup(OURS, &bucket("records"), &key("of-another-life")).await;
    assert!(matches!(answer, Err(IndexError::Overloaded { .. })), "{answer:?}");
    drop(index);
    let other = open(&path).await;
    assert_eq!(keys(&page(&other, "records", &request("", "", None, 10)).await), ["of-another-life"]);
}

#[tokio::test]
async fn a_damaged_row_is_an_error_not_an_absence() {
    let (_folder, path) = home();
    let index = open(&path).await;
    make_bucket(&index, "records").await;
    put(&index, "records", "a").await;
    let mut conn = raw(&path).await;
    sqlx::query("UPDATE versions SET etag = 'not a tag'").execute(&mut conn).await.unwrap();
    let answer = index.lookup(OURS, &bucket("records"), &key("a")).await;
    assert!(matches!(answer, Err(IndexError::Corrupt { .. })), "{answer:?}");
    sqlx::raw_sql("ALTER TABLE heads RENAME TO lost").execute(&mut conn).await.unwrap();
    let answer = index.lookup(OURS, &bucket("records"), &key("a")).await;
    assert!(matches!(answer, Err(IndexError::Unavailable { .. })), "{answer:?}");
    assert!(index.commit_put(version("records", "b"), Precondition::None, NOW).await.is_err());
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_no_longer_than_allowed() {
    let (_folder, path) = home();
    let index =
        open_with(SqliteOptions { busy_timeout: Duration::from_millis(50), ..options(&path) }).await.unwrap();
    make_bucket(&index, "records").await;
    let mut other = raw(&path).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let refused = index.commit_put(version("records", "a"), Precondition::None, NOW).await;
    assert!(matches!(refused, Err(IndexError::Overloaded { .. })), "{refused:?}");
    assert!(found(&index, "records", "a").await.is_none(), "reading goes on meanwhile");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    put(&index, "records", "a").await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_recovers() {
    let (_folder, path) = home();
    let index = open_with(SqliteOptions { queue_max: 4, batch_max: 2, ..options(&path) }).await.unwrap();
    make_bucket(&index, "records").await;
    let writes =
        (0..64).map(|n| index.commit_put(version("records", &format!("{n}")), Precondition::None, NOW));
    let outcomes = futures_util::future::join_all(writes).await;
    let refused =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(IndexError::Overloaded { .. }))).count();
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(refused + done, 64, "{outcomes:?}");
    assert!(refused >= 32 && done >= 4, "{refused} refused, {done} done");
    assert_eq!(page(&index, "records", &request("", "", None, 1000)).await.entries.len(), done);
    put(&index, "records", "later").await;
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_withdraw_its_change() {
    let (_folder, path) = home();
    let index = open(&path).await;
    make_bucket(&index, "records").await;
    let new = version("records", "a");
    let mut leaving = Box::pin(index.commit_put(new.clone(), Precondition::None, NOW));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    drop(leaving);
    // Queued behind it, so answered after it.
    put(&index, "records", "b").await;
    assert_eq!(found(&index, "records", "a").await.unwrap().version, new.version);
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let (_folder, path) = home();
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let index = open(&path).await;
    make_bucket(&index, "records").await;
    for file in ["index.db", "index.db-wal", "index.db-shm"] {
        let mode = std::fs::metadata(path.with_file_name(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_deleted_name_does_not_stay_in_the_file() {
    const MARKER: &str = "zz-jeanne-martin-zz";
    let (_folder, path) = home();
    let index = open(&path).await;
    make_bucket(&index, "records").await;
    put(&index, "records", MARKER).await;
    index.close().await;
    let contains = |bytes: Vec<u8>| bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
    assert!(contains(std::fs::read(&path).unwrap()), "the search would find it");
    let index = open(&path).await;
    index.delete(OURS, &bucket("records"), &key(MARKER), Precondition::None, NOW).await.unwrap();
    index.close().await;
    assert!(!contains(std::fs::read(&path).unwrap()));
    assert!(!path.with_file_name("index.db-wal").exists(), "closing checkpoints the log");
}

/// Trips to the engine's thread that one operation makes, each a statement or a script. To begin a transaction and to commit it are 2
/// of a change that stands alone.
async fn cost<T>(index: &SqliteIndex, operation: impl Future<Output = T>) -> u64 {
    let before = index.statements();
    operation.await;
    index.statements() - before
}

#[tokio::test]
async fn the_cost_of_an_operation_is_bounded() {
    let (_folder, path) = home();
    let index = open(&path).await;
    make_bucket(&index, "records").await;
    for n in 0..50 {
        put(&index, "records", &format!("{}/{n}", n % 10)).await;
    }
    let (name, old) = (bucket("records"), key("1/1"));
    assert_eq!(cost(&index, index.lookup(OURS, &name, &old)).await, 1);
    assert_eq!(cost(&index, index.list(OURS, &name, &request("", "", None, 1000))).await, 1);
    assert_eq!(cost(&index, index.list(OURS, &name, &request("", "/", None, 1000))).await, 1);
    assert_eq!(cost(&index, index.bucket(&name)).await, 1);
    assert_eq!(cost(&index, index.blob_standing(&ids(&blobs(1000)))).await, 1);
    assert_eq!(
        cost(&index, index.commit_put(version("records", "new"), Precondition::None, NOW)).await,
        2 + 2
    );
    assert_eq!(
        cost(&index, index.commit_put(version("records", "new"), Precondition::None, NOW)).await,
        2 + 2,
        "in place of another"
    );
    assert_eq!(cost(&index, index.delete(OURS, &name, &old, Precondition::None, NOW)).await, 2 + 2);
    let open = upload("records", "big");
    assert_eq!(cost(&index, index.create_upload(open.clone())).await, 2 + 4);
    let one = NewPartWithOneBlob(&open).part();
    assert_eq!(cost(&index, index.put_part(OURS, &name, &open.key, one, NOW)).await, 2 + 3);
    assert_eq!(cost(&index, index.upload(OURS, &name, &open.key, open.upload)).await, 1);
    assert_eq!(cost(&index, index.list_parts(OURS, &name, &open.key, open.upload, 0, 1000)).await, 1);
    assert_eq!(cost(&index, index.list_uploads(OURS, &name, "", None, 1000)).await, 1);
}

struct NewPartWithOneBlob<'u>(&'u terroir::index::NewUpload);

impl NewPartWithOneBlob<'_> {
    fn part(&self) -> terroir::index::NewPart {
        terroir::index::NewPart { blobs: blobs(1), ..part(self.0, 1) }
    }
}

#[tokio::test]
async fn changes_that_wait_together_share_one_transaction() {
    let (_folder, path) = home();
    let index = open(&path).await;
    make_bucket(&index, "records").await;
    let writes =
        (0..100).map(|n| index.commit_put(version("records", &format!("{n}")), Precondition::None, NOW));
    let sent = cost(&index, futures_util::future::join_all(writes)).await;
    // 4 each (target, savepoint, script, release), and a few transactions' own.
    assert!(sent <= 100 * 4 + 5 * 4, "{sent} statements");
}

/// CPU time of this process so far, milliseconds (proc(5): fields 14 and 15 of stat, ticks of 10 ms).
fn cpu_ms() -> u32 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    stat.rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u32>().unwrap() * 10)
        .sum()
}

/// Figures for a person to read: `cargo test --test it index::rates -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn rates() {
    const WRITES: u32 = 4000;
    let (_folder, path) = home();
    let index: Shared = Arc::new(open(&path).await);
    make_bucket(&*index, "records").await;
    for writers in [1, 8, 64] {
        let (started, cpu) = (Instant::now(), cpu_ms());
        let writes = if writers == 1 { WRITES / 10 } else { WRITES };
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let index = index.clone();
                tokio::spawn(async move {
                    for n in 0..writes / writers {
                        let record = vec![0x5a; 700].into();
                        let new = NewVersion {
                            record,
                            ..version("records", &format!("patients/{writers}/{writer}/{n}"))
                        };
                        committed(index.commit_put(new, Precondition::None, NOW).await.unwrap());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let cpu = f64::from(cpu_ms() - cpu) * 1000.0 / f64::from(writes);
        println!(
            "put, {writers} writers: {:.0}/s, {cpu:.0} µs of CPU each",
            f64::from(writes) / started.elapsed().as_secs_f64()
        );
    }
    for readers in [1, 4] {
        let (started, cpu) = (Instant::now(), cpu_ms());
        let tasks: Vec<_> = (0..readers)
            .map(|reader| {
                let index = index.clone();
                tokio::spawn(async move {
                    for n in 0..5000 / readers {
                        let text = format!("patients/64/{}/{}", (reader + n) % 64, n % 62);
                        assert!(found(&*index, "records", &text).await.is_some());
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let cpu = f64::from(cpu_ms() - cpu) / 5.0;
        println!(
            "lookup, {readers} readers: {:.0}/s, {cpu:.0} µs of CPU each",
            5000.0 / started.elapsed().as_secs_f64()
        );
    }
    for (what, asked) in
        [("flat", request("", "", None, 1000)), ("delimiter", request("patients/64/", "/", None, 1000))]
    {
        let started = Instant::now();
        for _ in 0..20 {
            page(&*index, "records", &asked).await;
        }
        println!("list page, {what}: {:.2} ms", started.elapsed().as_secs_f64() * 1000.0 / 20.0);
    }
}
