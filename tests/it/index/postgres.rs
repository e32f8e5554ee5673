//! The index in `PostgreSQL`: the contract on a real server, and what is this implementation's alone.

mod cost;
mod faults;
mod life;
mod races;
mod rotation;

use std::sync::Arc;
use std::time::Duration;

use proptest::test_runner::{Config, TestRunner};
use terroir::database::Address;
use terroir::index::{IndexError, Opening, PostgresIndex, PostgresOptions};
use terroir::model::{ManualClock, SystemEntropy};

use super::fixture::*;
use super::{contract, reference};
use crate::support::contract::held;
use crate::support::postgres::{Database, shared};

pub(super) fn options(address: Address) -> PostgresOptions {
    PostgresOptions {
        reclaim_delay: RECLAIM_DELAY,
        buckets_per_tenant_max: super::BUCKETS_MAX,
        ..PostgresOptions::new(
            address,
            "fr".parse().unwrap(),
            "test".parse().unwrap(),
            Opening::CreateIfMissing,
        )
    }
}

pub(super) async fn open_with(options: PostgresOptions) -> Result<PostgresIndex, IndexError> {
    PostgresIndex::open(options, &ManualClock::at(NOW), Arc::new(SystemEntropy)).await
}

pub(super) async fn open(database: &Database) -> PostgresIndex {
    open_with(options(database.address())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_contract() {
    let database = shared().database().await;
    for (name, check) in contract::CHECKS {
        database.run("DROP SCHEMA IF EXISTS terroir_index CASCADE").await;
        let options =
            PostgresOptions { uploads_per_tenant_max: super::UPLOADS_MAX, ..options(database.address()) };
        let index: Shared = Arc::new(open_with(options).await.unwrap());
        let outcome = tokio::spawn(check(index.clone())).await;
        assert!(outcome.is_ok(), "contract check failed: {name}");
        index.close().await;
    }
    held("index × postgres", contract::CHECKS.len());
}

#[test]
fn postgres_answers_as_a_plain_map_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let index = runtime.block_on(async {
        let database = shared().database().await;
        open_with(PostgresOptions { buckets_per_tenant_max: 1000, ..options(database.address()) })
            .await
            .unwrap()
    });
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&proptest::collection::vec(reference::op(), 1..60), |ops| {
        runtime.block_on(async {
            make_bucket(&index, "records").await;
            let mut reference = reference::Reference::default();
            for op in ops {
                reference.step(&index, "records", op).await;
            }
            reference.audit(&index, "records").await;
            super::empty(&index).await;
        });
        Ok(())
    });
    outcome.unwrap();
}

/// Short waits, for tests of what happens when they end.
pub(super) fn impatient(address: Address) -> PostgresOptions {
    let mut options = options(address);
    options.pool.acquire_ms_max = 500;
    options.pool.connect_ms_max = 500;
    options.pool.statement_ms_max = 500;
    options
}

/// How long an impatient index may take to say no: its waits one after the other, and the margin of an answer.
pub(super) const IMPATIENT_MAX: Duration = Duration::from_secs(6);
