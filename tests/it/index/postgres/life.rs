//! Whose a database is, and how its schema changes while replicas use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use terroir::database::Migration;
use terroir::index::{Index, IndexError, Opening, PostgresOptions, Precondition};

use super::super::fixture::*;
use super::{impatient, open, open_with, options};
use crate::support::postgres::{Database, shared};

/// What a later release would add: it only expands.
const NEXT: &[Migration] = &[Migration {
    version: 2,
    ddl: "ALTER TABLE versions ADD COLUMN retained_until_ms BIGINT; \
          CREATE TABLE holds (version_id BYTEA PRIMARY KEY, placed_ms BIGINT NOT NULL); \
          CREATE INDEX versions_by_retention ON versions (retained_until_ms) WHERE retained_until_ms IS NOT NULL;",
}];

/// And the one after that.
const AFTER_NEXT: &[Migration] =
    &[NEXT[0], Migration { version: 3, ddl: "ALTER TABLE holds ADD COLUMN placed_by TEXT" }];

fn next(database: &Database) -> PostgresOptions {
    PostgresOptions { later: NEXT, ..options(database.address()) }
}

async fn migrations(database: &Database) -> Vec<i64> {
    let mut conn = database.raw().await;
    sqlx::query_scalar("SELECT version FROM terroir_index.migrations ORDER BY version")
        .fetch_all(&mut conn)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_replicas_that_start_at_once_make_one_schema() {
    let database = shared().database().await;
    let opened = futures_util::future::join_all((0..8).map(|_| open_with(options(database.address())))).await;
    let mut incarnations: Vec<_> = opened.into_iter().map(|index| index.unwrap().incarnation()).collect();
    incarnations.dedup();
    assert_eq!(incarnations.len(), 1);
    assert_eq!(migrations(&database).await, [1]);
    let upgraded = futures_util::future::join_all((0..8).map(|_| open_with(next(&database)))).await;
    assert!(upgraded.into_iter().all(|index| index.unwrap().incarnation() == incarnations[0]));
    assert_eq!(migrations(&database).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_whose_tables_could_not_be_seen_yet_was_an_error() {
    let database = shared().database().await;
    let incarnation = open(&database).await.incarnation();
    // A moment after another replica's migration, held still.
    database.run("ALTER TABLE terroir_index.meta RENAME TO unseen").await;
    let mut opening = Box::pin(open_with(options(database.address())));
    let mut conn = database.raw().await;
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND pid <> pg_backend_pid() AND query LIKE '%terroir_index.meta%'";
    loop {
        assert!(futures_util::poll!(&mut opening).is_pending(), "it did not look again");
        if sqlx::query_scalar::<_, i64>(asked).fetch_one(&mut conn).await.unwrap() > 0 {
            break;
        }
    }
    database.run("ALTER TABLE terroir_index.unseen RENAME TO meta").await;
    assert_eq!(opening.await.unwrap().incarnation(), incarnation);
    // One that stays away is not waited for.
    database.run("ALTER TABLE terroir_index.meta RENAME TO lost").await;
    let refused = open_with(options(database.address())).await.map(|_| ());
    assert!(matches!(refused, Err(IndexError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_upgrade_stops_nobody() {
    let database = shared().database().await;
    let old = Arc::new(open(&database).await);
    make_bucket(&*old, "records").await;
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (old, stop) = (Arc::clone(&old), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut written = 0_u64;
                while !stop.load(Ordering::SeqCst) {
                    let text = format!("{worker}/{written}");
                    put(&*old, "records", &text).await;
                    assert!(found(&*old, "records", &text).await.is_some());
                    page(&*old, "records", &request("", "/", None, 10)).await;
                    written += 1;
                }
                written
            })
        })
        .collect();
    while old.counters(OURS).await.unwrap().first().is_none_or(|counter| counter.objects < 20) {
        tokio::task::yield_now().await;
    }
    let new = open_with(next(&database)).await.unwrap();
    let before = new.counters(OURS).await.unwrap()[0].objects;
    // The old replica goes on after the new one has migrated, and each sees what the other writes.
    put(&new, "records", "from-the-new-one").await;
    assert!(found(&*old, "records", "from-the-new-one").await.is_some());
    while old.counters(OURS).await.unwrap()[0].objects < before + 40 {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut written = 1;
    for worker in workers {
        written += worker.await.unwrap();
    }
    assert_eq!(new.counters(OURS).await.unwrap()[0].objects, written);
    // An old one may start again beside it, and does not undo anything.
    let again = open(&database).await;
    put(&again, "records", "from-an-old-one").await;
    assert!(found(&new, "records", "from-an-old-one").await.is_some());
    assert_eq!(migrations(&database).await, [1, 2]);
    // One release further is too far for the old one, and not for the next.
    open_with(PostgresOptions { later: AFTER_NEXT, ..options(database.address()) }).await.unwrap();
    let refused = open_with(options(database.address())).await;
    assert!(matches!(refused, Err(IndexError::NewerSchema { found: 3, known: 1 })), "{refused:?}");
    open_with(next(&database)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_fails_changes_nothing() {
    const BROKEN: &[Migration] = &[Migration {
        version: 2,
        ddl: "CREATE TABLE holds (version_id BYTEA PRIMARY KEY); ALTER TABLE nothing ADD COLUMN x BIGINT",
    }];
    let database = shared().database().await;
    let index = open(&database).await;
    make_bucket(&index, "records").await;
    let refused = open_with(PostgresOptions { later: BROKEN, ..options(database.address()) }).await;
    assert!(matches!(refused, Err(IndexError::Unavailable { .. })), "{refused:?}");
    assert_eq!(migrations(&database).await, [1]);
    open_with(next(&database)).await.unwrap();
    assert_eq!(migrations(&database).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_region_or_environment_is_refused() {
    let database = shared().database().await;
    open(&database).await.close().await;
    let other_region = PostgresOptions { region: "us".parse().unwrap(), ..next(&database) };
    let refused = open_with(other_region).await;
    assert!(matches!(&refused, Err(IndexError::WrongRegion { found, .. }) if found == "fr"), "{refused:?}");
    let other_environment = PostgresOptions { environment: "prod".parse().unwrap(), ..next(&database) };
    let refused = open_with(other_environment).await;
    assert!(
        matches!(&refused, Err(IndexError::WrongEnvironment { found, .. }) if found == "test"),
        "{refused:?}"
    );
    assert_eq!(migrations(&database).await, [1], "a database that is not ours is left as it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_refused_and_a_missing_one_is_not_an_empty_region() {
    let database = shared().database().await;
    let existing = PostgresOptions { opening: Opening::Existing, ..options(database.address()) };
    let refused = open_with(existing.clone()).await;
    assert!(matches!(refused, Err(IndexError::Missing)), "{refused:?}");
    open(&database).await.close().await;
    open_with(existing).await.unwrap();
    database.run("INSERT INTO terroir_index.migrations (version, applied_ms) VALUES (99, 0)").await;
    let refused = open_with(options(database.address())).await;
    assert!(matches!(refused, Err(IndexError::NewerSchema { found: 99, known: 1 })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_swapped_under_us_is_neither_read_nor_written() {
    let database = shared().database().await;
    let index = open_with(impatient(database.address())).await.unwrap();
    make_bucket(&index, "records").await;
    put(&index, "records", "a").await;
    // A restored copy gets a new incarnation, and the connections of the old one end.
    database
        .run(
            "UPDATE terroir_index.meta SET incarnation = decode(md5('another'), 'hex'); \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    let read = index.lookup(OURS, &bucket("records"), &key("a")).await;
    assert!(matches!(read, Err(IndexError::Unavailable { .. })), "{read:?}");
    let write = index.commit_put(version("records", "b"), Precondition::None, NOW).await;
    assert!(matches!(write, Err(IndexError::Unavailable { .. })), "{write:?}");
    let other = open(&database).await;
    assert_eq!(keys(&page(&other, "records", &request("", "", None, 10)).await), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_changed_under_an_open_connection_is_noticed() {
    let database = shared().database().await;
    let index = open(&database).await;
    index.health().await.unwrap();
    database.run("UPDATE terroir_index.meta SET incarnation = decode(md5('another'), 'hex')").await;
    let health = index.health().await;
    assert!(matches!(health, Err(IndexError::Corrupt { .. })), "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_row_is_an_error_not_an_absence() {
    let database = shared().database().await;
    let index = open(&database).await;
    make_bucket(&index, "records").await;
    put(&index, "records", "a").await;
    database.run("UPDATE terroir_index.versions SET etag = 'not a tag'").await;
    let answer = index.lookup(OURS, &bucket("records"), &key("a")).await;
    assert!(matches!(answer, Err(IndexError::Corrupt { .. })), "{answer:?}");
    database.run("ALTER TABLE terroir_index.heads RENAME TO lost").await;
    let answer = index.lookup(OURS, &bucket("records"), &key("a")).await;
    assert!(matches!(answer, Err(IndexError::Unavailable { .. })), "{answer:?}");
    assert!(index.commit_put(version("records", "b"), Precondition::None, NOW).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_the_same_name_elsewhere_are_not_ours() {
    let database = shared().database().await;
    let index = open(&database).await;
    make_bucket(&index, "records").await;
    database.run("CREATE SCHEMA other; CREATE TABLE public.buckets (x BIGINT); CREATE TABLE public.heads (x BIGINT)").await;
    put(&index, "records", "a").await;
    assert!(found(&index, "records", "a").await.is_some());
}
