//! A server that is killed, frozen, cut off or turned read-only: what was acknowledged is there, what was not is whole or absent,
//! and nothing is ever answered wrongly.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sqlx::PgConnection;
use terroir::index::{
    BlobStanding, Index, IndexError, Lookup, NewVersion, PostgresIndex, PostgresOptions, Precondition,
    PutOutcome,
};
use terroir::model::{Entropy, SystemEntropy};

use super::super::fixture::*;
use super::{IMPATIENT_MAX, impatient, open, open_with, options};
use crate::support::postgres::{Own, shared};
use crate::support::relay::Relay;

/// Of everything that was tried: the acknowledged is there, the rest is there whole or not at all, and the books balance.
async fn audit(index: &PostgresIndex, tried: &[(NewVersion, bool)]) {
    let mut live = 0;
    for (new, is_acknowledged) in tried {
        let named = index.version(new.version).await.unwrap();
        let head = found(index, "records", new.key.as_str()).await;
        let standing = index.blob_standing(&ids(&new.blobs)).await.unwrap();
        assert!(named.is_some() || !is_acknowledged, "an acknowledged version is gone");
        assert_eq!(head.as_ref(), named.as_ref().map(|named| &named.row), "a head and its version");
        let expected = if named.is_some() { BlobStanding::Live } else { BlobStanding::Unknown };
        assert!(standing.iter().all(|standing| *standing == expected), "{standing:?}, not {expected:?}");
        live += u64::from(named.is_some());
    }
    let counters = index.counters(OURS).await.unwrap();
    let counted: u64 =
        counters.iter().filter(|c| c.bucket.as_str() == "records").map(|counter| counter.objects).sum();
    assert_eq!(counted, live, "the counters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_mid_commit_keeps_what_it_acknowledged_and_tears_nothing() {
    let mut server = Own::start(&[]);
    let database = server.database().await;
    let index = Arc::new(open_with(impatient(database.address())).await.unwrap());
    make_bucket(&*index, "records").await;
    let mut tried: Vec<(NewVersion, bool)> = Vec::new();
    for round in 0..3_u64 {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let (index, stop, acknowledged) =
                    (Arc::clone(&index), Arc::clone(&stop), Arc::clone(&acknowledged));
                tokio::spawn(async move {
                    let mut tried = Vec::new();
                    for n in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let new = NewVersion {
                            blobs: blobs(3),
                            ..version("records", &format!("{round}/{writer}/{n}"))
                        };
                        let outcome = index.commit_put(new.clone(), Precondition::None, NOW).await;
                        let is_acknowledged = matches!(outcome, Ok(PutOutcome::Committed { .. }));
                        acknowledged.fetch_add(u64::from(is_acknowledged), Ordering::SeqCst);
                        if let Err(error) = &outcome {
                            assert!(error.is_retryable(), "{error:?}");
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        tried.push((new, is_acknowledged));
                    }
                    tried
                })
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        while acknowledged.load(Ordering::SeqCst) < 60 + 17 * round {
            assert!(Instant::now() < deadline, "nothing is written");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill();
        stop.store(true, Ordering::SeqCst);
        let (before, mut unanswered) = (tried.len(), 0);
        for writer in writers {
            tried.extend(writer.await.unwrap());
        }
        unanswered += tried[before..].iter().filter(|(_, is_acknowledged)| !is_acknowledged).count();
        let refused = index.lookup(OURS, &bucket("records"), &key("x")).await;
        assert!(matches!(refused, Err(IndexError::Unavailable { .. })), "a dead server answers: {refused:?}");
        server.restart();
        println!("round {round}: killed with {unanswered} unanswered of {}", tried.len() - before);
        audit(&index, &tried).await;
        put(&*index, "records", &format!("after/{round}")).await;
        index
            .delete(OURS, &bucket("records"), &key(&format!("after/{round}")), Precondition::None, NOW)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_any_byte_loses_nothing_and_lies_about_nothing() {
    let database = shared().database().await;
    let direct = open(&database).await;
    make_bucket(&direct, "records").await;
    make_bucket(&direct, "warm-up").await;
    let relay = Relay::to(database.port()).await;
    let index = open_with(impatient(database.address_through(relay.port))).await.unwrap();
    let mut tried = Vec::new();
    let (mut acknowledged, mut ambiguous, mut absent) = (0, 0, 0);
    for n in 0..120 {
        relay.mend();
        // Cold every third time: the connection is gone, and the cut falls into making and preparing another. Warm otherwise,
        // so that it falls into the commit.
        let is_cold = n % 3 == 0;
        if is_cold {
            relay.cut_after(0);
            assert!(index.lookup(OURS, &bucket("records"), &key("x")).await.is_err());
        } else {
            for _ in 0..2 {
                _ = index.commit_put(version("warm-up", "x"), Precondition::None, NOW).await;
            }
        }
        let mut random = [0; 2];
        SystemEntropy.fill(&mut random).unwrap();
        relay.cut_after(i64::from(u16::from_be_bytes(random) % if is_cold { 9000 } else { 1100 }));
        let new = version("records", &format!("{n}"));
        match index.commit_put(new.clone(), Precondition::IfNoneMatchStar, NOW).await {
            Ok(PutOutcome::Committed { .. }) => {
                acknowledged += 1;
                tried.push((new, true));
            }
            Err(IndexError::Ambiguous) => {
                ambiguous += 1;
                // What the trait says to do: repeat it with the same identifiers.
                relay.mend();
                if n % 2 == 0 {
                    let again =
                        index.commit_put(new.clone(), Precondition::IfNoneMatchStar, NOW).await.unwrap();
                    assert!(matches!(again, PutOutcome::Committed { replaced: false, .. }), "{again:?}");
                    tried.push((new, true));
                } else {
                    tried.push((new, false));
                }
            }
            Err(IndexError::Unavailable { .. } | IndexError::Overloaded { .. }) => {
                absent += 1;
                relay.mend();
                assert_eq!(
                    direct.version(new.version).await.unwrap(),
                    None,
                    "it said that nothing was changed"
                );
                tried.push((new, false));
            }
            other => panic!("{other:?}"),
        }
        let answer = index.lookup(OURS, &bucket("records"), &key("never")).await;
        assert!(matches!(answer, Ok(Lookup::NoKey) | Err(IndexError::Unavailable { .. })), "{answer:?}");
    }
    println!("{acknowledged} acknowledged, {ambiguous} ambiguous, {absent} certainly absent");
    assert!(acknowledged > 0 && ambiguous > 0 && absent > 0, "the cuts did not fall everywhere");
    relay.mend();
    // A server may still be at work on what a dead connection asked for.
    put(&direct, "records", "settled").await;
    direct.delete(OURS, &bucket("records"), &key("settled"), Precondition::None, NOW).await.unwrap();
    audit(&direct, &tried).await;
    put(&index, "records", "mended").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_an_error_in_time_and_no_harm_afterwards() {
    let server = Own::start(&[]);
    let database = server.database().await;
    let index = open_with(impatient(database.address())).await.unwrap();
    make_bucket(&index, "records").await;
    let kept = put(&index, "records", "a").await;
    server.freeze();
    let started = Instant::now();
    let read = index.lookup(OURS, &bucket("records"), &key("a")).await;
    assert!(read.as_ref().is_err_and(IndexError::is_retryable), "{read:?}");
    let new = version("records", "b");
    let write = index.commit_put(new.clone(), Precondition::None, NOW).await;
    assert!(write.as_ref().is_err_and(IndexError::is_retryable), "{write:?}");
    let health = index.health().await;
    assert!(health.is_err());
    let took = started.elapsed();
    assert!(took < 3 * IMPATIENT_MAX, "{took:?}");
    println!("three refusals of a frozen server took {took:?}");
    server.thaw();
    let deadline = Instant::now() + Duration::from_secs(20);
    while index.health().await.is_err() {
        assert!(Instant::now() < deadline, "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(found(&index, "records", "a").await.unwrap().version, kept.version);
    committed(index.commit_put(new, Precondition::None, NOW).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_turns_read_only_refuses_writes_and_is_not_opened() {
    let database = shared().database().await;
    let index = open_with(impatient(database.address())).await.unwrap();
    make_bucket(&index, "records").await;
    database.run(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name)).await;
    database
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
              WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    let write = index.commit_put(version("records", "a"), Precondition::None, NOW).await;
    assert!(write.as_ref().is_err_and(IndexError::is_retryable), "{write:?}");
    let write = index.commit_put(version("records", "a"), Precondition::None, NOW).await;
    assert!(matches!(write, Err(IndexError::Unavailable { .. })), "{write:?}");
    assert!(index.health().await.is_err());
    let refused = open_with(impatient(database.address())).await;
    assert!(
        matches!(&refused, Err(IndexError::Demand(demand)) if demand.setting == "transaction_read_only"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_would_lose_acknowledged_writes_is_refused() {
    for level in ["off", "local", "remote_write"] {
        let database = shared().database().await;
        database.run(&format!("ALTER DATABASE {} SET synchronous_commit = {level}", database.name)).await;
        let refused = open_with(options(database.address())).await;
        let Err(IndexError::Demand(demand)) = refused else { panic!("{level}: {refused:?}") };
        assert_eq!((demand.setting, demand.found.as_str()), ("synchronous_commit", level));
        assert!(demand.to_string().contains("set it to on"), "{demand}");
        // Nothing was made in it.
        let mut conn = database.raw().await;
        let made: bool = sqlx::query_scalar("SELECT to_regnamespace('terroir_index') IS NOT NULL")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert!(!made);
    }
    let database = shared().database().await;
    database.run(&format!("ALTER DATABASE {} SET synchronous_commit = remote_apply", database.name)).await;
    open(&database).await.health().await.unwrap();
    for setting in ["fsync", "full_page_writes"] {
        let server = Own::start(&[&format!("{setting}=off")]);
        let refused = open_with(options(server.database().await.address())).await;
        let Err(IndexError::Demand(demand)) = refused else { panic!("{setting}: {refused:?}") };
        assert_eq!((demand.setting, demand.found.as_str()), (setting, "off"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_is_waited_for_no_longer_than_allowed() {
    let database = shared().database().await;
    let index = open_with(impatient(database.address())).await.unwrap();
    make_bucket(&index, "records").await;
    let mut other = database.raw().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE terroir_index.heads IN SHARE MODE").execute(&mut other).await.unwrap();
    let refused = index.commit_put(version("records", "a"), Precondition::None, NOW).await;
    assert!(matches!(refused, Err(IndexError::Overloaded { .. })), "{refused:?}");
    assert!(found(&index, "records", "a").await.is_none(), "reading goes on meanwhile");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    put(&index, "records", "a").await;
}

/// Until so many connections of the database wait for a lock.
async fn until_waiting(look: &mut PgConnection, count: i64) {
    let deadline = Instant::now() + Duration::from_secs(4);
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut *look)
        .await
        .unwrap();
        if waiting == count {
            return;
        }
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_used_up_refuses_in_time_and_recovers() {
    let database = shared().database().await;
    let mut few: PostgresOptions = impatient(database.address());
    few.pool.connections_max = 2;
    few.pool.statement_ms_max = 5_000;
    let index = Arc::new(open_with(few).await.unwrap());
    make_bucket(&*index, "records").await;
    // Two connections: within a transaction the server shows the activity of its first look again and again.
    let (mut other, mut look) = (database.raw().await, database.raw().await);
    sqlx::raw_sql("BEGIN; LOCK TABLE terroir_index.heads IN SHARE MODE").execute(&mut other).await.unwrap();
    let held: Vec<_> = (0..2)
        .map(|n| {
            let index = Arc::clone(&index);
            tokio::spawn(async move {
                index.commit_put(version("records", &format!("{n}")), Precondition::None, NOW).await
            })
        })
        .collect();
    until_waiting(&mut look, 2).await;
    let refused = index.lookup(OURS, &bucket("records"), &key("a")).await;
    assert!(matches!(refused, Err(IndexError::Overloaded { .. })), "{refused:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    for put in held {
        committed(put.await.unwrap().unwrap());
    }
    put(&*index, "records", "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_read_while_every_connection_is_taken() {
    let database = shared().database().await;
    let mut few: PostgresOptions = impatient(database.address());
    few.pool.connections_max = 2;
    few.pool.statement_ms_max = 10_000;
    let index = Arc::new(open_with(few).await.unwrap());
    make_bucket(&*index, "records").await;
    index.put_row("credential", "one", 0, Bytes::from_static(b"sealed")).await.unwrap();
    let (mut other, mut look) = (database.raw().await, database.raw().await);
    sqlx::raw_sql("BEGIN; LOCK TABLE terroir_index.heads IN SHARE MODE").execute(&mut other).await.unwrap();
    let crowd: Vec<_> = (0..2)
        .map(|n| {
            let index = Arc::clone(&index);
            tokio::spawn(async move {
                index.commit_put(version("records", &format!("{n}")), Precondition::None, NOW).await
            })
        })
        .collect();
    until_waiting(&mut look, 2).await;
    assert_ne!(index.directory_change().await.unwrap(), 0);
    assert_eq!(index.rows_changed(0, 10).await.unwrap().len(), 1);
    let refused = index.lookup(OURS, &bucket("records"), &key("a")).await;
    assert!(matches!(refused, Err(IndexError::Overloaded { .. })), "the others are taken: {refused:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    for put in crowd {
        committed(put.await.unwrap().unwrap());
    }
    index.close().await;
    assert!(matches!(index.directory_change().await, Err(IndexError::Closed)));
}

/// A trigger that fails the first `count` writes as the database does when transactions stand in each other's way.
fn stumbling(count: u32, code: &str) -> String {
    format!(
        "CREATE SEQUENCE public.stumbles; CREATE FUNCTION public.stumble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('public.stumbles') <= {count} THEN RAISE EXCEPTION 'stumbled' USING ERRCODE = '{code}'; END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER stumble BEFORE INSERT ON terroir_index.heads FOR EACH ROW EXECUTE FUNCTION public.stumble()"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serialisation_failures_and_deadlocks_are_tried_again_within_bounds() {
    for code in ["40001", "40P01"] {
        let database = shared().database().await;
        let index = open(&database).await;
        make_bucket(&index, "records").await;
        database.run(&stumbling(3, code)).await;
        let before = index.statements();
        put(&index, "records", "a").await;
        assert_eq!(index.statements() - before, 4, "three failures and a success");
        assert_eq!(index.counters(OURS).await.unwrap()[0].objects, 1);
    }
    let database = shared().database().await;
    let index = open_with(PostgresOptions { attempts_max: 5, ..options(database.address()) }).await.unwrap();
    make_bucket(&index, "records").await;
    database.run(&stumbling(u32::MAX, "40001")).await;
    let before = index.statements();
    let refused = index.commit_put(version("records", "a"), Precondition::None, NOW).await;
    assert!(matches!(refused, Err(IndexError::Overloaded { .. })), "{refused:?}");
    assert_eq!(index.statements() - before, 5);
    // What is no such failure is not tried again.
    let database = shared().database().await;
    let index = open(&database).await;
    make_bucket(&index, "records").await;
    database.run(&stumbling(1, "22000")).await;
    let refused = index.commit_put(version("records", "a"), Precondition::None, NOW).await;
    assert!(matches!(refused, Err(IndexError::Unavailable { .. })), "{refused:?}");
    let printed = format!("{refused:?}");
    assert!(!printed.contains("records"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_does_not_withdraw_its_change() {
    let database = shared().database().await;
    let index = open(&database).await;
    make_bucket(&index, "records").await;
    let new = version("records", "a");
    let mut leaving = Box::pin(index.commit_put(new.clone(), Precondition::None, NOW));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    drop(leaving);
    index.close().await;
    let index = open(&database).await;
    assert_eq!(found(&index, "records", "a").await.unwrap().version, new.version);
    // A reader who leaves takes nobody else's answer.
    let seen: HashSet<_> = futures_util::future::join_all((0..20).map(|_| async {
        let (name, a) = (bucket("records"), key("a"));
        let mut leaving = Box::pin(index.lookup(OURS, &name, &a));
        _ = futures_util::poll!(&mut leaving);
        drop(leaving);
        index.bucket(&name).await.unwrap().unwrap().name
    }))
    .await
    .into_iter()
    .collect();
    assert_eq!(seen, HashSet::from([bucket("records")]));
}
