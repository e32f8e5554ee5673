//! Who we are to the database, replaced while the index is in use.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::Row;
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
async fn connections_made_under_the_name_before_are_closed_when_another_was_read() {
    let roles = Roles::made().await;
    let identity = roles.identity().await;
    let index = open_with(named(&identity, roles.database.address())).await.unwrap();
    index.counters(OURS).await.unwrap();
    let before = roles.connections("one").await;
    roles.write("two");
    identity.reread().await.unwrap();
    index.counters(OURS).await.unwrap();
    assert_eq!(roles.connections("two").await, 1);
    // Those of the directory's pool go when the directory is read.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while roles.connections("one").await >= before {
        assert!(tokio::time::Instant::now() < deadline, "a connection of the name before stays");
        tokio::task::yield_now().await;
    }
    index.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_us_is_unavailable_and_the_file_is_read_once_a_second() {
    let roles = Roles::made().await;
    let identity = roles.identity().await;
    let index = open_with(named(&identity, roles.database.address())).await.unwrap();
    roles.shut("one").await;
    for _ in 0..20 {
        let refused = index.counters(OURS).await.unwrap_err();
        assert!(matches!(refused, IndexError::Unavailable { .. }) && refused.is_retryable(), "{refused:?}");
    }
    let readings = roles.readings.load(Ordering::Relaxed);
    assert!((2..=4).contains(&readings), "{readings}");
    // A file that leads nowhere changes nothing, and shows nothing of what it held.
    "postgres://u:hunter2@db.example/x".clone_into(&mut roles.file.lock().unwrap());
    let told = format!("{:?}", identity.reread().await.unwrap_err());
    assert!(told.contains("verify-full") && !told.contains("hunter2"), "{told}");
    assert_eq!(identity.changes(), 0);
    index.close().await;
}
