//! Who we are to the database, replaced while the index is in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Row};
use terroir::database::Address;
use terroir::identity::{Identity, Rotating as _, Source};
use terroir::index::{Index, IndexError, PostgresOptions};
use terroir::model::Secret;

use super::super::fixture::*;
use super::{open_with, options};
use crate::support::postgres::{Database, shared};

/// Two roles of one database, and the file that says which one we are.
struct Roles {
    database: Database,
    file: Arc<Mutex<String>>,
    readings: Arc<AtomicUsize>,
}

impl Roles {
    async fn made() -> Self {
        let database = shared().database().await;
        for role in ["one", "two"] {
            database.run(&format!("CREATE ROLE {}_{role} LOGIN SUPERUSER", database.name)).await;
        }
        let file = Arc::new(Mutex::new(String::new()));
        let roles = Self { database, file, readings: Arc::default() };
        roles.write("one");
        roles
    }

    fn write(&self, role: &str) {
        let Database { name, .. } = &self.database;
        *self.file.lock().unwrap() =
            format!("postgres://{name}_{role}@127.0.0.1:{}/{name}", self.database.port());
    }

    async fn identity(&self) -> Identity<Address> {
        let (file, readings) = (Arc::clone(&self.file), Arc::clone(&self.readings));
        let source = Source::reading(move || {
            readings.fetch_add(1, Ordering::Relaxed);
            Ok(Address::parse(&Secret::new(file.lock().unwrap().clone()))?)
        });
        Identity::open(source).await.unwrap()
    }

    /// `role` may no longer connect, and whoever is connected as it is thrown out.
    async fn shut(&self, role: &str) {
        let name = &self.database.name;
        self.database
            .run(&format!(
                "ALTER ROLE {name}_{role} NOLOGIN; SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                 WHERE usename = '{name}_{role}'"
            ))
            .await;
    }

    /// Waits until so many connections of `role` are `such`.
    async fn until(&self, what: &str, role: &str, such: &str, count: i64) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let ask = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND {such}");
        let mut look = self.database.raw().await;
        loop {
            let found =
                sqlx::query(AssertSqlSafe(ask.clone())).bind(format!("{}_{role}", self.database.name));
            if found.fetch_one(&mut look).await.unwrap().get::<i64, _>(0) == count {
                return;
            }
            assert!(Instant::now() < deadline, "waited for {what}");
            tokio::task::yield_now().await;
        }
    }

    /// Connections of `role`.
    async fn connections(&self, role: &str) -> i64 {
        let counted = sqlx::query("SELECT count(*) FROM pg_stat_activity WHERE usename = $1")
            .bind(format!("{}_{role}", self.database.name))
            .fetch_one(&mut self.database.raw().await)
            .await;
        counted.unwrap().get(0)
    }
}

fn named(identity: &Identity<Address>, role: Address) -> PostgresOptions {
    PostgresOptions { address: identity.clone(), ..options(role) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_knows_us_by_another_name_by_now_is_asked_under_that_name() {
    let roles = Roles::made().await;
    let identity = roles.identity().await;
    let index = Arc::new(open_with(named(&identity, roles.database.address())).await.unwrap());
    make_bucket(&*index, "records").await;
    assert!(roles.connections("one").await > 0);
    roles.write("two");
    roles.shut("one").await;
    // Many at once: all are answered, and the file is read once for all of them.
    let asked = (0..16).map(|_| {
        let index = Arc::clone(&index);
        tokio::spawn(async move { index.counters(OURS).await })
    });
    for answer in asked.collect::<Vec<_>>() {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(roles.readings.load(Ordering::Relaxed), 2);
    assert!(roles.connections("two").await > 0);
    index.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_took_away_the_right_to_connect_was_asked_under_the_old_name_until_somebody_looked() {
    let roles = Roles::made().await;
    let name = &roles.database.name;
    roles
        .database
        .run(&format!("ALTER ROLE {name}_one NOSUPERUSER; GRANT ALL ON DATABASE {name} TO {name}_one"))
        .await;
    let identity = roles.identity().await;
    let index = open_with(named(&identity, roles.database.address())).await.unwrap();
    roles.write("two");
    roles
        .database
        .run(&format!(
            "REVOKE ALL ON DATABASE {name} FROM PUBLIC, {name}_one; SELECT pg_terminate_backend(pid, 5000) \
             FROM pg_stat_activity WHERE usename = '{name}_one'"
        ))
        .await;
    index.counters(OURS).await.unwrap();
    assert_eq!(identity.changes(), 1);
    index.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_made_under_the_name_before_are_closed_when_another_was_read() {
    let roles = Roles::made().await;
    let identity = roles.identity().await;
    let index = Arc::new(open_with(named(&identity, roles.database.address())).await.unwrap());
    make_bucket(&*index, "records").await;
    // One that is at work when the file changes, and is let go of then; one that waits.
    let mut lock = roles.database.raw().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE terroir_index.buckets").execute(&mut lock).await.unwrap();
    let at_work = tokio::spawn({
        let index = Arc::clone(&index);
        async move { index.list_buckets(OURS, None, 10).await }
    });
    roles.until("a statement at work", "one", "wait_event_type = 'Lock'", 1).await;
    roles.write("two");
    identity.reread().await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut lock).await.unwrap();
    assert_eq!(at_work.await.unwrap().unwrap().len(), 1, "what was under way is not cut off");
    roles.until("the name before to be gone", "one", "true", 0).await;
    index.counters(OURS).await.unwrap();
    assert!(roles.connections("two").await > 0);
    index.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_us_is_unavailable_and_the_file_is_read_once_a_second() {
    let roles = Roles::made().await;
    let identity = roles.identity().await;
    let index = open_with(named(&identity, roles.database.address())).await.unwrap();
    roles.shut("one").await;
    let begun = Instant::now();
    for _ in 0..20 {
        let refused = index.counters(OURS).await.unwrap_err();
        assert!(matches!(refused, IndexError::Unavailable { .. }) && refused.is_retryable(), "{refused:?}");
    }
    let readings = roles.readings.load(Ordering::Relaxed);
    let most = 2 + begun.elapsed().as_secs();
    assert!(readings >= 2 && readings as u64 <= most, "{readings}, at most {most}");
    // A file that leads nowhere changes nothing, and shows nothing of what it held.
    "postgres://u:hunter2@db.example/x".clone_into(&mut roles.file.lock().unwrap());
    let told = format!("{:?}", identity.reread().await.unwrap_err());
    assert!(told.contains("verify-full") && !told.contains("hunter2"), "{told}");
    assert_eq!(identity.changes(), 0);
    index.close().await;
}
