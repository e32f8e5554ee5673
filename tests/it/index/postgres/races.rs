//! Several replicas on one database, all at once on the same few things.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use terroir::index::{
    AbortOutcome, BlobStanding, CompleteOutcome, CreateUpload, DeleteBucket, DeleteOutcome, Index,
    IndexError, NewVersion, PostgresIndex, PostgresOptions, Precondition, PutOutcome, PutPart, ReclaimReason,
    Sequence,
};
use terroir::model::{ETag, Entropy, SystemEntropy};

use super::super::fixture::*;
use super::{open, open_with, options};
use crate::support::postgres::{Database, shared};

async fn replicas(database: &Database, count: usize) -> Vec<Arc<PostgresIndex>> {
    let mut replicas = Vec::new();
    for _ in 0..count {
        replicas.push(Arc::new(open(database).await));
    }
    replicas
}

fn random(below: u32) -> u32 {
    let mut bytes = [0; 4];
    SystemEntropy.fill(&mut bytes).unwrap();
    u32::from_be_bytes(bytes) % below
}

/// What one successful change did to a key: what it found there, what it left, when.
#[derive(Clone, Debug)]
struct Won {
    text: String,
    before: Option<ETag>,
    after: Option<NewVersion>,
    seq: Sequence,
}

/// A history to read: in which order, what each found, what each left.
fn steps(history: &[Won]) -> Vec<String> {
    let step = |won: &Won| {
        format!("{:?}: {:?} to {:?}", won.seq, won.before, won.after.as_ref().map(|new| &new.etag))
    };
    history.iter().map(step).collect()
}

/// Reads a key and changes it on the condition that it still is what was read.
async fn contend(index: &PostgresIndex, text: &str) -> Option<Won> {
    let before = found(index, "records", text).await.map(|row| row.etag);
    let condition = before.clone().map_or(Precondition::IfNoneMatchStar, Precondition::IfMatch);
    let won = |after, seq| Some(Won { text: text.to_owned(), before: before.clone(), after, seq });
    if before.is_some() && random(4) == 0 {
        return match index.delete(OURS, &bucket("records"), &key(text), condition, NOW).await.unwrap() {
            DeleteOutcome::Deleted { seq, .. } => won(None, seq),
            DeleteOutcome::PreconditionFailed | DeleteOutcome::NoKey => None,
            other => panic!("{other:?}"),
        };
    }
    let class = class(["health", "personal"][random(2) as usize]);
    let new = NewVersion { class, size: u64::from(random(1000)), ..version("records", text) };
    match index.commit_put(new.clone(), condition, NOW).await.unwrap() {
        PutOutcome::Committed { seq, replaced } => {
            assert_eq!(replaced, before.is_some());
            won(Some(new), seq)
        }
        PutOutcome::PreconditionFailed | PutOutcome::NoSuchKey => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rivals_of_four_replicas_leave_one_history_per_key() {
    const WRITERS: usize = 12;
    const CHANGES: usize = 60;
    let database = shared().database().await;
    let replicas = replicas(&database, 4).await;
    make_bucket(&*replicas[0], "records").await;
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let index = Arc::clone(&replicas[writer % replicas.len()]);
            tokio::spawn(async move {
                let mut won = Vec::new();
                for _ in 0..CHANGES {
                    won.extend(contend(&index, ["a", "b", "c"][random(3) as usize]).await);
                }
                won
            })
        })
        .collect();
    let mut histories: BTreeMap<String, Vec<Won>> = BTreeMap::new();
    let mut total = 0;
    // A change that loses to itself would be tried again until its time is up, and there are hundreds.
    let all = tokio::time::timeout(Duration::from_secs(90), futures_util::future::join_all(tasks));
    for task in all.await.expect("changes that never get through") {
        for won in task.unwrap() {
            total += 1;
            histories.entry(won.text.clone()).or_default().push(won);
        }
    }
    assert!(total > CHANGES, "only {total} of {} changes won: no race", WRITERS * CHANGES);
    println!("{total} of {} changes won", WRITERS * CHANGES);
    let mut seqs = HashSet::new();
    let (mut counted, mut retired) = (HashMap::new(), Vec::new());
    for (text, history) in &mut histories {
        history.sort_by_key(|won| won.seq);
        let mut current: Option<NewVersion> = None;
        for won in history.iter() {
            assert!(seqs.insert(won.seq), "a sequence was given twice");
            // In the order of sequences, each found what the one before left: one winner each time, nothing lost.
            let found = current.as_ref().map(|new| new.etag.clone());
            assert_eq!(won.before, found, "of {text}: {:#?}", steps(history));
            retired.extend(current.iter().flat_map(|new| ids(&new.blobs)));
            current.clone_from(&won.after);
        }
        let row = found(&*replicas[1], "records", text).await;
        assert_eq!(row.as_ref().map(|row| row.version), current.as_ref().map(|new| new.version));
        if let Some(new) = current {
            let counter = counted.entry(new.class.clone()).or_insert((0, 0));
            *counter = (counter.0 + 1, counter.1 + new.size);
            assert_eq!(replicas[2].blob_standing(&ids(&new.blobs)).await.unwrap(), [BlobStanding::Live]);
        }
    }
    let counters = replicas[3].counters(OURS).await.unwrap();
    assert_eq!(
        counters.into_iter().map(|c| (c.class, (c.objects, c.bytes))).collect::<HashMap<_, _>>(),
        counted
    );
    let queued: HashSet<_> = queued(&*replicas[0]).await.into_iter().collect();
    assert_eq!(
        queued,
        retired.into_iter().collect(),
        "what was replaced waits to be deleted, and nothing else"
    );
}

/// Waits until `count` of a database's connections wait for a lock that is asked for by number.
async fn wait_for_waiters(watcher: &mut PgConnection, count: i64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let waiting = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *watcher).await.unwrap() < count {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// First writes of this size, and of one byte more, wait in front of their row for the locks (1, 0) and (1, 1).
const SLOW: u64 = 4242;

/// Holds first writes of [`SLOW`] up: where a machine under load may leave a writer for long.
async fn hold_slow_first_writes(database: &Database) {
    database
        .run(&format!(
            "SET search_path = terroir_index; \
             CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.size BETWEEN {SLOW} AND {SLOW} + 1 THEN \
             PERFORM pg_advisory_xact_lock(1, (NEW.size - {SLOW})::INT); END IF; RETURN NEW; END $$; \
             CREATE TRIGGER hold BEFORE INSERT ON heads FOR EACH ROW EXECUTE FUNCTION hold()"
        ))
        .await;
}

/// The first write of the key `a` with `size`, under way.
fn first_write(index: &Arc<PostgresIndex>, size: u64) -> tokio::task::JoinHandle<Sequence> {
    let index = Arc::clone(index);
    tokio::spawn(async move {
        let new = NewVersion { size, ..version("records", "a") };
        committed(index.commit_put(new, Precondition::None, NOW).await.unwrap())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_write_held_up_behind_its_sequence_had_a_lower_number_than_the_writes_before_it() {
    let database = shared().database().await;
    let replicas = replicas(&database, 2).await;
    make_bucket(&*replicas[0], "records").await;
    hold_slow_first_writes(&database).await;
    let (mut holder, mut watcher) = (database.raw().await, database.raw().await);
    sqlx::query("SELECT pg_advisory_lock(1, 0)").execute(&mut holder).await.unwrap();
    let slow = first_write(&replicas[0], SLOW);
    wait_for_waiters(&mut watcher, 1).await;
    let other = Arc::clone(&replicas[1]);
    let mut quick = tokio::spawn(async move {
        let (name, a) = (bucket("records"), key("a"));
        let put = other.commit_put(version("records", "a"), Precondition::None, NOW).await.unwrap();
        match other.delete(OURS, &name, &a, Precondition::None, NOW).await.unwrap() {
            DeleteOutcome::Deleted { seq, .. } => (committed(put), seq),
            other => panic!("{other:?}"),
        }
    });
    // It comes to its end at once, or waits for the slow one.
    let done = tokio::select! {
        done = &mut quick => Some(done.unwrap()),
        () = wait_for_waiters(&mut watcher, 2) => None,
    };
    sqlx::query("SELECT pg_advisory_unlock(1, 0)").execute(&mut holder).await.unwrap();
    let slow = slow.await.unwrap();
    let (put, deleted) = match done {
        Some(done) => done,
        None => quick.await.unwrap(),
    };
    let mut seqs = vec![(put, "put"), (deleted, "deleted"), (slow, "slow")];
    seqs.sort_unstable();
    let there = found(&*replicas[0], "records", "a").await;
    // The last in the order of sequences is what is there.
    assert_eq!(there.map(|row| row.seq), (seqs[2].1 == "slow").then_some(slow), "{seqs:?}");
}

/// Waits until somebody waits for the lock (1, `number`).
async fn wait_for_waiter_of(watcher: &mut PgConnection, number: i32) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
        AND classid = 1 AND objid::INT = $1 AND objsubid = 2";
    while sqlx::query_scalar::<_, i64>(waiting).bind(number).fetch_one(&mut *watcher).await.unwrap() == 0 {
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_write_behind_a_delete_had_the_lower_number() {
    let database = shared().database().await;
    let replicas = replicas(&database, 3).await;
    make_bucket(&*replicas[0], "records").await;
    hold_slow_first_writes(&database).await;
    let (mut holder, mut watcher) = (database.raw().await, database.raw().await);
    sqlx::query("SELECT pg_advisory_lock(1, 0), pg_advisory_lock(1, 1)").execute(&mut holder).await.unwrap();
    // Both find the key without a head.
    let first = first_write(&replicas[0], SLOW);
    wait_for_waiters(&mut watcher, 1).await;
    let second = first_write(&replicas[1], SLOW + 1);
    wait_for_waiters(&mut watcher, 2).await;
    sqlx::query("SELECT pg_advisory_unlock(1, 0)").execute(&mut holder).await.unwrap();
    let first = first.await.unwrap();
    wait_for_waiter_of(&mut watcher, 1).await;
    // What the first wrote is gone before the second has its row, so nothing is in its way.
    let (name, a) = (bucket("records"), key("a"));
    let deleted = match replicas[2].delete(OURS, &name, &a, Precondition::None, NOW).await.unwrap() {
        DeleteOutcome::Deleted { seq, .. } => seq,
        other => panic!("{other:?}"),
    };
    sqlx::query("SELECT pg_advisory_unlock(1, 1)").execute(&mut holder).await.unwrap();
    let second = second.await.unwrap();
    assert!(first < deleted, "{first:?} was there to be deleted by {deleted:?}");
    let there = found(&*replicas[0], "records", "a").await;
    assert_eq!(there.map(|row| row.seq), Some(second));
    assert!(deleted < second, "{second:?} is there, so {deleted:?} was before it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_key_without_a_condition_all_get_their_turn() {
    let database = shared().database().await;
    let replicas = replicas(&database, 3).await;
    make_bucket(&*replicas[0], "records").await;
    let tasks: Vec<_> = (0..36)
        .map(|n| {
            let index = Arc::clone(&replicas[n % 3]);
            tokio::spawn(async move {
                committed(index.commit_put(version("records", "hot"), Precondition::None, NOW).await.unwrap())
            })
        })
        .collect();
    let mut seqs = HashSet::new();
    for task in tasks {
        assert!(seqs.insert(task.await.unwrap()));
    }
    assert_eq!(replicas[0].reclaim_depth().await.unwrap(), 35);
    assert_eq!(replicas[0].counters(OURS).await.unwrap()[0].objects, 1);
    let last = found(&*replicas[0], "records", "hot").await.unwrap();
    assert_eq!(Some(&last.seq), seqs.iter().max());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_is_given_up_or_live_never_both() {
    let database = shared().database().await;
    let replicas = replicas(&database, 2).await;
    make_bucket(&*replicas[0], "records").await;
    let (mut lived, mut died) = (0, 0);
    for n in 0..60 {
        let new = version("records", &format!("{n}"));
        let given_up = ids(&new.blobs);
        let (one, other) = (Arc::clone(&replicas[0]), Arc::clone(&replicas[1]));
        let (again, blobs) = (new.clone(), given_up.clone());
        let put = tokio::spawn(async move { one.commit_put(again, Precondition::None, NOW).await });
        let give_up = tokio::spawn(async move {
            other.enqueue_reclaim(blobs, OURS, NOW, ReclaimReason::FailedWrite).await.unwrap()
        });
        let (put, queued) = (put.await.unwrap(), give_up.await.unwrap());
        let standing = replicas[0].blob_standing(&given_up).await.unwrap()[0];
        let has_head = found(&*replicas[0], "records", new.key.as_str()).await.is_some();
        match put {
            Ok(PutOutcome::Committed { .. }) => {
                lived += 1;
                assert_eq!((queued, standing, has_head), (0, BlobStanding::Live, true));
            }
            Err(IndexError::Reclaimed) => {
                died += 1;
                assert_eq!((queued, standing, has_head), (1, BlobStanding::Reclaiming, false));
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{lived} lived, {died} were given up first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_deleted_or_written_never_both() {
    let database = shared().database().await;
    let replicas = replicas(&database, 2).await;
    for _ in 0..30 {
        make_bucket(&*replicas[0], "records").await;
        let (one, other) = (Arc::clone(&replicas[0]), Arc::clone(&replicas[1]));
        let put = tokio::spawn(async move {
            one.commit_put(version("records", "a"), Precondition::None, NOW).await.unwrap()
        });
        let delete =
            tokio::spawn(async move { other.delete_bucket(&bucket("records"), OURS).await.unwrap() });
        match (put.await.unwrap(), delete.await.unwrap()) {
            (PutOutcome::Committed { .. }, DeleteBucket::NotEmpty) => {
                let (name, a) = (bucket("records"), key("a"));
                let gone = replicas[0].delete(OURS, &name, &a, Precondition::None, NOW).await.unwrap();
                assert!(matches!(gone, DeleteOutcome::Deleted { .. }));
                assert_eq!(
                    replicas[0].delete_bucket(&bucket("records"), OURS).await.unwrap(),
                    DeleteBucket::Deleted
                );
            }
            (PutOutcome::NoBucket, DeleteBucket::Deleted) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(replicas[0].counters(OURS).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_part_belongs_to_the_upload_or_to_nothing() {
    let database = shared().database().await;
    let replicas = replicas(&database, 2).await;
    make_bucket(&*replicas[0], "records").await;
    // Of 40 rounds, one in two runs showed a part whose blobs an abort had not seen.
    for round in 0..160 {
        let open = upload("records", "big");
        replicas[0].create_upload(open.clone()).await.unwrap();
        let (first, late) = (part(&open, 1), part(&open, 1 + round % 2));
        replicas[0].put_part(OURS, &open.bucket, &open.key, first.clone(), NOW).await.unwrap();
        let (one, other) = (Arc::clone(&replicas[0]), Arc::clone(&replicas[1]));
        let (to_put, of) = (late.clone(), open.clone());
        let put =
            tokio::spawn(async move { one.put_part(OURS, &of.bucket, &of.key, to_put, NOW).await.unwrap() });
        let (of, tag) = (open.clone(), first.etag.clone());
        let is_abort = round % 4 < 2;
        let end = tokio::spawn(async move {
            if is_abort {
                let aborted = other.abort_upload(OURS, &of.bucket, &of.key, of.upload, NOW).await.unwrap();
                assert_eq!(aborted, AbortOutcome::Aborted);
                return false;
            }
            let new = completion(&of, 10);
            let chosen = vec![(1, tag)];
            match other.complete_upload(of.upload, chosen, new, Precondition::None, NOW).await.unwrap() {
                CompleteOutcome::Completed { .. } => true,
                CompleteOutcome::InvalidPart { number: 1 } => false,
                other => panic!("{other:?}"),
            }
        });
        let (put, completed) = (put.await.unwrap(), end.await.unwrap());
        let late_standing = replicas[0].blob_standing(&ids(&late.blobs)).await.unwrap();
        let first_standing = replicas[0].blob_standing(&ids(&first.blobs)).await.unwrap();
        match put {
            // It came too late: its blobs are the caller's to give up.
            PutPart::NoUpload => assert_eq!(late_standing, [BlobStanding::Unknown; 2]),
            // Not chosen, or aborted with the rest.
            PutPart::Stored { .. } if is_abort || completed => {
                assert_eq!(late_standing, [BlobStanding::Reclaiming; 2]);
            }
            PutPart::Stored { .. } => assert_eq!(late_standing, [BlobStanding::Live; 2]),
            other => panic!("{other:?}"),
        }
        let expected = if completed { BlobStanding::Live } else { BlobStanding::Reclaiming };
        assert_eq!(first_standing, [expected; 2], "round {round}: {put:?}");
        if completed {
            replicas[0].delete(OURS, &open.bucket, &open.key, Precondition::None, NOW).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_of_overlapping_lists_delete_each_key_once() {
    let database = shared().database().await;
    let replicas = replicas(&database, 3).await;
    make_bucket(&*replicas[0], "records").await;
    let names: Vec<String> = (0..120).map(|n| format!("{n:03}")).collect();
    for name in &names {
        put(&*replicas[0], "records", name).await;
    }
    let tasks: Vec<_> = (0..9)
        .map(|n| {
            let index = Arc::clone(&replicas[n % 3]);
            let mut keys: Vec<_> = names.iter().map(|name| key(name)).collect();
            keys.rotate_left(n * 13);
            if n % 2 == 0 {
                keys.reverse();
            }
            tokio::spawn(async move { index.delete_many(OURS, &bucket("records"), keys, NOW).await.unwrap() })
        })
        .collect();
    let mut deleted = 0;
    for task in tasks {
        let terroir::index::DeleteMany::Keys(outcomes) = task.await.unwrap() else { panic!() };
        deleted += outcomes.iter().filter(|outcome| matches!(outcome, DeleteOutcome::Deleted { .. })).count();
    }
    assert_eq!(deleted, names.len());
    assert_eq!(replicas[0].counters(OURS).await.unwrap(), []);
    assert_eq!(replicas[0].reclaim_depth().await.unwrap(), names.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_of_several_replicas_has_no_more_buckets_than_allowed() {
    let database = shared().database().await;
    let replicas = replicas(&database, 3).await;
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let index = Arc::clone(&replicas[n % 3]);
            tokio::spawn(async move {
                let made = index.create_bucket(&bucket(&format!("bucket-{n}")), OURS, None, NOW).await;
                made.unwrap() == terroir::index::CreateBucket::Created
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += u32::from(task.await.unwrap());
    }
    assert_eq!(made, super::super::BUCKETS_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_together_opened_more_uploads_than_a_tenant_may_have() {
    const MAX: u32 = 1040;
    let begin = async |replicas: &[Arc<PostgresIndex>], count: usize| {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..count {
            let index = Arc::clone(&replicas[n % 2]);
            tasks.spawn(async move { index.create_upload(upload("records", "big")).await.unwrap() });
        }
        let outcomes = tasks.join_all().await;
        let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        (count(CreateUpload::Created), count(CreateUpload::TooMany))
    };
    let database = shared().database().await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let options = PostgresOptions { uploads_per_tenant_max: MAX, ..options(database.address()) };
        replicas.push(Arc::new(open_with(options).await.unwrap()));
    }
    make_bucket(&*replicas[0], "records").await;
    // The first of them far enough below the bound to need no lock.
    assert_eq!(begin(&replicas, 60).await, (60, 0));
    let rows = format!(
        "INSERT INTO terroir_index.uploads (upload_id, bucket_no, key, tenant, version_id, class, class_code, kek_id, \
            kek_epoch, created_ms, record, metadata) SELECT decode(md5(n::text), 'hex'), b.bucket_no, 'k', b.owner, \
            decode(md5('v' || n::text), 'hex'), 'health', 3, b.owner, 1, 1, 'x', 'x' \
         FROM terroir_index.buckets b, generate_series(1, {}) n",
        MAX - 120
    );
    database.run(&rows).await;
    assert_eq!(begin(&replicas, 100).await, (60, 40));
}
