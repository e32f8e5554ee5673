//! What operations cost, counted by a relay between the index and its server, and where the server looks for rows.

use std::sync::Arc;

use terroir::index::{Index, PostgresOptions, Precondition, ReclaimReason};
use terroir::index::{NewPart, PostgresIndex};
use terroir::telemetry::{IndexVerb, Metrics};

use super::super::fixture::*;
use super::{open, open_with, options};
use crate::support::postgres::shared;
use crate::support::relay::Relay;

/// One connection, so that every statement is prepared after its first use.
fn alone(options: PostgresOptions) -> PostgresOptions {
    let mut options = options;
    options.pool.connections_max = 1;
    options
}

async fn cost<T>(relay: &Relay, operation: impl Future<Output = T>) -> u64 {
    let before = relay.turns();
    operation.await;
    relay.turns() - before
}

async fn put(index: &PostgresIndex, text: &str) {
    committed(index.commit_put(version("records", text), Precondition::None, NOW).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_or_a_put_is_one_round_trip() {
    let database = shared().database().await;
    let relay = Relay::to(database.port()).await;
    let index = open_with(alone(options(database.address_through(relay.port)))).await.unwrap();
    let (name, old) = (bucket("records"), key("1/1"));
    // The second round is counted: by then the statements are prepared.
    for round in 0..2 {
        let is_counted = round == 1;
        let must = |what: &str, turns: u64, most: u64| {
            assert!(turns <= most || !is_counted, "{what} took {turns} round trips, not {most}");
            assert!(turns >= 1, "{what} was not seen by the relay");
            if is_counted {
                println!("{what}: {turns}");
            }
        };
        let made = cost(&relay, index.create_bucket(&name, OURS, None, NOW)).await;
        must("create bucket", made, 6);
        must("put, new key", cost(&relay, put(&index, "1/1")).await, 1);
        must("put, replacing", cost(&relay, put(&index, "1/1")).await, 1);
        must("get, head", cost(&relay, index.lookup(OURS, &name, &old)).await, 1);
        must("bucket", cost(&relay, index.bucket(&name)).await, 1);
        must("list", cost(&relay, index.list(OURS, &name, &request("", "", None, 1000))).await, 1);
        must(
            "list, delimiter",
            cost(&relay, index.list(OURS, &name, &request("", "/", None, 1000))).await,
            1,
        );
        must("delete", cost(&relay, index.delete(OURS, &name, &old, Precondition::None, NOW)).await, 1);
        put(&index, "1/1").await;
        let keys = vec![old.clone(), key("nothing")];
        must("delete many", cost(&relay, index.delete_many(OURS, &name, keys, NOW)).await, 1);
        let open = upload("records", "big");
        must("create upload", cost(&relay, index.create_upload(open.clone())).await, 1);
        must("upload", cost(&relay, index.upload(OURS, &name, &open.key, open.upload)).await, 1);
        let one: NewPart = part(&open, 1);
        must("put part", cost(&relay, index.put_part(OURS, &name, &open.key, one.clone(), NOW)).await, 1);
        must(
            "list parts",
            cost(&relay, index.list_parts(OURS, &name, &open.key, open.upload, 0, 9)).await,
            1,
        );
        must("list uploads", cost(&relay, index.list_uploads(OURS, &name, "", None, 9)).await, 1);
        let chosen = vec![(1, one.etag)];
        let complete =
            index.complete_upload(open.upload, chosen, completion(&open, 10), Precondition::None, NOW);
        must("complete", cost(&relay, complete).await, 8);
        let other = upload("records", "other");
        index.create_upload(other.clone()).await.unwrap();
        must("abort", cost(&relay, index.abort_upload(OURS, &name, &other.key, other.upload, NOW)).await, 4);
        let given_up = ids(&blobs(3));
        let enqueue = index.enqueue_reclaim(given_up.clone(), OURS, NOW, ReclaimReason::FailedWrite);
        must("enqueue reclaim", cost(&relay, enqueue).await, 1);
        must("due", cost(&relay, index.due(NOW, 10)).await, 1);
        must("standing", cost(&relay, index.blob_standing(&given_up)).await, 1);
        must("forget", cost(&relay, index.forget(given_up)).await, 1);
        must("counters", cost(&relay, index.counters(OURS)).await, 1);
        let row = index.put_row("tenant", "clinic", round, bytes::Bytes::from_static(b"x"));
        must("directory row", cost(&relay, row).await, 1);
        must("directory poll", cost(&relay, index.directory_change()).await, 1);
        must("health", cost(&relay, index.health()).await, 1);
        index.delete_many(OURS, &name, vec![key("big"), key("1/1")], NOW).await.unwrap();
        must("delete bucket", cost(&relay, index.delete_bucket(&name, OURS)).await, 1);
    }
    assert_eq!(
        relay.connections(),
        3,
        "one that looked at the settings, one of the directory, and one for everything else"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_parts_far_apart_brought_every_part_between_them() {
    let database = shared().database().await;
    let relay = Relay::to(database.port()).await;
    let index = open_with(alone(options(database.address_through(relay.port)))).await.unwrap();
    make_bucket(&index, "records").await;
    let open = upload("records", "big");
    index.create_upload(open.clone()).await.unwrap();
    for number in [1, 5000, 10_000] {
        let length = if number == 5000 { 1 << 20 } else { 100 };
        let one = NewPart { descriptor: bytes::Bytes::from(vec![7; length]), ..part(&open, number) };
        index.put_part(OURS, &open.bucket, &open.key, one, NOW).await.unwrap();
    }
    relay.cut_after(64 << 10);
    let rows = index.parts(open.upload, &[10_000, 1]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 10_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_scans_a_table() {
    let database = shared().database().await;
    let index = open(&database).await;
    make_bucket(&index, "records").await;
    // Rows enough that a scan would be the planner's choice if there were no other way.
    let rows = "INSERT INTO terroir_index.heads (bucket_no, key, seq, version_id, etag, size, modified_ms, class) \
             SELECT b.bucket_no, convert_to(lpad(n::text, 6, '0') || '/x', 'UTF8'), n, decode(md5(n::text), 'hex'), \
                md5(n::text), 1, 1, 'health' FROM terroir_index.buckets b, generate_series(1, 20000) n; \
             INSERT INTO terroir_index.versions (version_id, bucket_no, key, seq, is_null, etag, size, sealed_bytes, \
                modified_ms, class, class_code, kek_id, kek_epoch, record) \
             SELECT version_id, bucket_no, key, seq, 1, etag, 1, 1, 1, class, 1, version_id, 1, 'x' FROM terroir_index.heads; \
             INSERT INTO terroir_index.blobs (blob_id, tenant, version_id, part, ordinal, stored_bytes) \
             SELECT version_id, version_id, version_id, 0, 0, 1 FROM terroir_index.heads; ANALYZE"
    .to_owned();
    let mut conn = database.raw().await;
    // What this connection scanned is told before everything is forgotten.
    for script in [rows, "SELECT pg_stat_force_next_flush()".to_owned(), "SELECT pg_stat_reset()".to_owned()]
    {
        sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut conn).await.unwrap();
    }
    index.close().await;
    let index = open(&database).await;
    let name = bucket("records");
    for _ in 0..3 {
        put(&index, "new").await;
        assert_eq!(page(&index, "records", &request("", "", None, 10)).await.entries.len(), 10);
        assert_eq!(page(&index, "records", &request("", "/", None, 10)).await.prefixes.len(), 10);
        let after = Some(terroir::index::Position::AfterKey("015000/x".to_owned()));
        assert_eq!(page(&index, "records", &request("", "/", after, 10)).await.prefixes.len(), 10);
        found(&index, "records", "000007/x").await.unwrap_or_else(|| panic!("a row made by hand is a row"));
        index.delete_many(OURS, &name, vec![key("new"), key("000008/x")], NOW).await.unwrap();
        index.due(NOW, 10).await.unwrap();
        index.blob_standing(&ids(&blobs(2))).await.unwrap();
        index.forget(ids(&blobs(2))).await.unwrap();
    }
    // What a connection counted is told when it ends.
    index.close().await;
    let mut conn = database.raw().await;
    let question = "SELECT relname::text, seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables \
        WHERE schemaname = 'terroir_index' AND relname IN ('heads', 'versions', 'blobs')";
    let mut told = Vec::new();
    for _ in 0..100 {
        told = sqlx::query_as::<_, (String, i64, i64)>(question).fetch_all(&mut conn).await.unwrap();
        if told.iter().all(|(_, _, sought)| *sought > 0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for (table, scanned, sought) in told {
        assert_eq!(scanned, 0, "{table} was scanned");
        // A page of 11 rows, three times each of three listings, and a few more.
        assert!(sought > 0 && sought < 600, "{table}: {sought} rows were looked at");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_histogram_of_round_trips_knew_nothing_of_postgres() {
    let database = shared().database().await;
    let metrics = Arc::new(Metrics::default());
    let index =
        open_with(PostgresOptions { metrics: Arc::clone(&metrics), ..options(database.address()) }).await;
    let index = index.unwrap();
    make_bucket(&index, "records").await;
    put(&index, "1").await;
    found(&index, "records", "1").await.unwrap();
    index.health().await.unwrap();
    for (verb, counted) in [(IndexVerb::Write, 2), (IndexVerb::Read, 2)] {
        assert_eq!(metrics.index_round_trips(verb).value(), counted, "{verb:?}");
        assert_eq!(metrics.index_durations(verb).count(), counted, "{verb:?}");
    }
    // What failed took its time as well.
    index.close().await;
    index.bucket(&bucket("records")).await.unwrap_err();
    assert_eq!(metrics.index_durations(IndexVerb::Read).count(), 3);
}
