//! Integration tests of `audit`: what is durable when, what a crash leaves, and that no single change goes unseen.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use terroir::audit::{
    AuditError, AuditKeys, Decision, Ended, Fault, Log, Options, Outcome, Source, Stranger, Verdict, verify,
};
use terroir::model::{ManualClock, Secret, SystemClock, Timestamp};

const PLENTY: Duration = Duration::from_secs(30);

fn keys() -> AuditKeys {
    AuditKeys { chain: Secret::new([7; 32]), pseudonym: Secret::new([8; 32]) }
}

fn open_with(dir: &Path, options: Options) -> Result<Log, AuditError> {
    let (region, environment) = ("fr".parse().unwrap(), "test".parse().unwrap());
    Log::open_with(dir, &region, &environment, keys(), Arc::new(SystemClock), options)
}

fn open(dir: &Path) -> Result<Log, AuditError> {
    open_with(dir, Options::default())
}

fn small_segments() -> Options {
    Options { segment_bytes_max: 2000, ..Options::default() }
}

fn decision(request: &str) -> Decision {
    Decision::new(request, "PutObject", Verdict::Placed, "fr".parse().unwrap(), Source::Http)
}

const OK: Ended = Ended::new(Outcome::Ok, Some(200));

/// All records of a log as text, in order.
fn lines(dir: &Path) -> Vec<String> {
    segments(dir)
        .iter()
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    paths
}

fn faults(dir: &Path) -> Vec<Fault> {
    verify(dir, Some(&keys())).unwrap().findings.iter().map(|finding| finding.fault).collect()
}

fn clean(dir: &Path) {
    for keys in [None, Some(&keys())] {
        let report = verify(dir, keys).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
    }
}

/// A closed log of `count` requests in a few batches and segments.
async fn written(dir: &Path, count: usize) {
    let log = open_with(dir, small_segments()).unwrap();
    for batch in (0..count).collect::<Vec<_>>().chunks(4) {
        let recorded = join_all(batch.iter().map(|n| log.record(decision(&format!("r{n}")), ()))).await;
        for one in recorded {
            one.unwrap().into_parts().1.finish(OK);
        }
    }
    assert_eq!(log.close(PLENTY).await.unwrap().unfinished, 0);
}

#[tokio::test]
async fn a_decision_is_in_the_file_before_its_value_comes_back() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    let recorded = log.record(decision("r1"), "value").await.unwrap();
    assert_eq!(*recorded, "value");
    let line = lines(dir.path()).into_iter().find(|line| line.contains("\"request\":\"r1\"")).unwrap();
    assert!(line.contains(&format!("\"seq\":{},", recorded.sequence())), "{line}");
}

#[tokio::test]
async fn every_way_to_end_is_recorded_and_silence_is_dropped() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    let endings = [
        (Outcome::Ok, "\"outcome\":\"ok\""),
        (Outcome::Error { code: "NoSuchKey" }, "\"outcome\":\"error\",\"code\":\"NoSuchKey\""),
        (Outcome::Corrupt, "\"outcome\":\"corrupt\""),
        (Outcome::Aborted, "\"outcome\":\"aborted\""),
        (Outcome::Dropped, "\"outcome\":\"dropped\""),
    ];
    let mut expected = Vec::new();
    for (outcome, text) in endings {
        let ((), completion) = log.record(decision("r"), ()).await.unwrap().into_parts();
        expected.push(format!("\"decision\":{},\"request\":\"r\",{text}", completion.decision()));
        if outcome == Outcome::Dropped {
            drop(completion);
        } else {
            completion.finish(Ended { outcome, status: Some(200), bytes_in: 1, bytes_out: 2 });
        }
    }
    // A whole `Recorded` that goes out of scope says so too.
    let recorded = log.record(decision("r"), ()).await.unwrap();
    expected.push(format!("\"decision\":{},\"request\":\"r\",\"outcome\":\"dropped\"", recorded.sequence()));
    drop(recorded);
    log.wait_until(|counts| counts.unfinished == 0).await.unwrap();
    let all = lines(dir.path()).join("\n");
    for text in expected {
        assert!(all.contains(&text), "{text} in {all}");
    }
}

#[tokio::test]
async fn a_caller_who_went_away_while_waiting_is_recorded_as_dropped() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    // Holding the lock keeps the commit from happening until the caller is gone.
    let lock = fs::File::open(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let mut waiting = Box::pin(log.record(decision("gone"), ()));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(waiting);
    lock.unlock().unwrap();
    log.wait_until(|counts| counts.completions == 1).await.unwrap();
    let all = lines(dir.path()).join("\n");
    assert!(all.contains("\"request\":\"gone\",\"outcome\":\"dropped\""), "{all}");
}

#[tokio::test]
async fn durations_come_from_the_injected_clock() {
    let dir = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000)));
    let (region, environment) = ("fr".parse().unwrap(), "test".parse().unwrap());
    let log = Log::open(dir.path(), &region, &environment, keys(), clock.clone()).unwrap();
    let ((), completion) = log.record(decision("r"), ()).await.unwrap().into_parts();
    clock.advance(Duration::from_millis(1234));
    completion.finish(OK);
    log.close(PLENTY).await.unwrap();
    assert!(lines(dir.path()).iter().any(|line| line.contains("\"duration_ms\":1234,")));
}

#[tokio::test]
async fn a_closed_log_of_many_segments_verifies_with_and_without_the_key() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 40).await;
    assert!(segments(dir.path()).len() > 5);
    clean(dir.path());
    let report = verify(dir.path(), Some(&keys())).unwrap();
    assert_eq!((report.decisions, report.completions, report.beyond_head), (40, 40, 0));
    // opened + 40 × 2 + closed
    assert_eq!((report.records, report.last_sequence), (82, 82));
    assert_eq!((report.region.as_deref(), report.environment.as_deref()), (Some("fr"), Some("test")));
}

#[tokio::test]
async fn another_key_finds_every_record_forged() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 3).await;
    let others = AuditKeys { chain: Secret::new([9; 32]), pseudonym: Secret::new([8; 32]) };
    let report = verify(dir.path(), Some(&others)).unwrap();
    assert_eq!(report.findings.iter().filter(|finding| finding.fault == Fault::Forged).count(), 8);
    assert!(report.findings.iter().any(|finding| finding.fault == Fault::NoHead));
}

#[tokio::test]
async fn a_record_added_without_the_key_is_found_with_it() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 3).await;
    // Another log under another key, made to follow: the forger knows everything but the key.
    let elsewhere = TempDir::new().unwrap();
    copy_dir(dir.path(), elsewhere.path());
    let last = lines(dir.path()).pop().unwrap();
    let hash = &last[last.len() - 66..last.len() - 2];
    let body = format!(
        "{{\"v\":1,\"seq\":9,\"time\":\"x\",\"prev\":\"{hash}\",\"kind\":\"decision\",\"mac\":\"{}\"",
        "0".repeat(64)
    );
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    let forged = format!("{body},\"hash\":\"{}\"}}\n", hex::encode(digest.as_ref()));
    append(segments(dir.path()).last().unwrap(), forged.as_bytes());
    let plain = verify(dir.path(), None).unwrap();
    assert!(plain.is_clean() && plain.beyond_head == 1, "the chain alone cannot tell: {plain:?}");
    assert_eq!(faults(dir.path()), [Fault::Forged]);
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn a_torn_write_behind_the_head_is_cut_off_and_recorded() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 3).await;
    append(segments(dir.path()).last().unwrap(), b"{\"v\":1,\"seq\":9,\"ti");
    assert_eq!(faults(dir.path()), [Fault::Torn]);
    open(dir.path()).unwrap().close(PLENTY).await.unwrap();
    clean(dir.path());
    assert!(
        lines(dir.path())
            .iter()
            .any(|line| line.contains("\"kind\":\"opened\"") && line.contains("\"cut_bytes\":18,"))
    );
}

#[tokio::test]
async fn more_damage_than_a_crash_can_leave_is_not_repaired() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 3).await;
    append(segments(dir.path()).last().unwrap(), &vec![b'x'; terroir::audit::BATCH_BYTES_MAX + 1]);
    assert!(matches!(open(dir.path()), Err(AuditError::Tampered { .. })));
}

#[tokio::test]
async fn whole_records_behind_an_old_head_are_kept() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 3).await;
    let head = fs::read(dir.path().join("head")).unwrap();
    let log = open_with(dir.path(), small_segments()).unwrap();
    for n in 0..20 {
        log.record(decision(&format!("later{n}")), ()).await.unwrap().into_parts().1.finish(OK);
    }
    log.close(PLENTY).await.unwrap();
    // As after a power cut: the records are on the disk, the head is not.
    fs::write(dir.path().join("head"), head).unwrap();
    let before = lines(dir.path());
    assert!(verify(dir.path(), Some(&keys())).unwrap().beyond_head > 0);
    open(dir.path()).unwrap().close(PLENTY).await.unwrap();
    assert_eq!(lines(dir.path())[..before.len()], before);
    clean(dir.path());
}

#[tokio::test]
async fn a_log_that_is_shorter_than_its_head_is_not_opened() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 3).await;
    let last = segments(dir.path()).pop().unwrap();
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(open(dir.path()), Err(AuditError::Tampered { .. })));
    assert!(faults(dir.path()).contains(&Fault::Short));
    fs::remove_file(&last).unwrap();
    assert!(matches!(open(dir.path()), Err(AuditError::Tampered { .. })));
    assert!(faults(dir.path()).contains(&Fault::Short));
}

/// Found by the fuzz target `audit`.
#[tokio::test]
async fn bytes_behind_the_heads_slots_were_not_seen() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 3).await;
    let head = dir.path().join("head");
    let bytes = fs::read(&head).unwrap();
    for more in ["\n", " ", "{\"v\":1"] {
        fs::write(&head, [&bytes, more.as_bytes()].concat()).unwrap();
        assert_eq!(faults(dir.path()), [Fault::HeadDamaged], "{more:?}");
    }
    // No reason to stop: the slots say where the log ends.
    drop(open(dir.path()).unwrap());
}

#[tokio::test]
async fn a_log_without_head_or_of_another_region_or_key_is_not_opened() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 3).await;
    let environment = "test".parse().unwrap();
    let other = |region: &str, key: u8| {
        let keys = AuditKeys { chain: Secret::new([key; 32]), pseudonym: Secret::new([8; 32]) };
        Log::open(dir.path(), &region.parse().unwrap(), &environment, keys, Arc::new(SystemClock))
    };
    assert!(matches!(other("us", 7), Err(AuditError::Tampered { .. })));
    assert!(matches!(other("fr", 9), Err(AuditError::Tampered { .. })));
    drop(other("fr", 7).unwrap());
    fs::remove_file(dir.path().join("head")).unwrap();
    assert!(matches!(other("fr", 7), Err(AuditError::Tampered { .. })));
}

#[tokio::test]
async fn a_directory_taken_away_stops_every_record_until_it_is_back() {
    let home = TempDir::new().unwrap();
    let (dir, away) = (home.path().join("audit"), home.path().join("away"));
    let log = open(&dir).unwrap();
    let recorded = log.record(decision("before"), ()).await.unwrap();
    fs::rename(&dir, &away).unwrap();
    assert!(matches!(log.record(decision("during"), ()).await, Err(AuditError::Commit(_))));
    assert!(log.counts().failing);
    // A completion is not lost while the log cannot be written.
    recorded.into_parts().1.finish(OK);
    assert!(log.record(decision("during"), ()).await.is_err());
    fs::rename(&away, &dir).unwrap();
    drop(log.record(decision("after"), ()).await.unwrap());
    let counts = log.close(PLENTY).await.unwrap();
    assert_eq!((counts.decisions, counts.completions, counts.failing), (2, 2, false));
    clean(&dir);
    let all = lines(&dir).join("\n");
    assert!(all.contains("\"before\"") && all.contains("\"after\"") && !all.contains("\"during\""));
}

#[tokio::test]
async fn another_log_put_in_the_place_of_ours_is_not_written_to() {
    let home = TempDir::new().unwrap();
    let dir = home.path().join("audit");
    let log = open(&dir).unwrap();
    fs::rename(&dir, home.path().join("away")).unwrap();
    written(&dir, 3).await;
    let theirs = lines(&dir);
    assert!(log.record(decision("ours"), ()).await.is_err());
    assert!(log.close(Duration::ZERO).await.is_err());
    assert_eq!(lines(&dir), theirs);
}

#[tokio::test]
async fn a_log_put_back_under_a_running_process_stops_it() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    let segment = segments(dir.path()).pop().unwrap();
    let (head, records) = (fs::read(dir.path().join("head")).unwrap(), fs::read(&segment).unwrap());
    drop(log.record(decision("r1"), ()).await.unwrap());
    log.wait_until(|counts| counts.completions == 1).await.unwrap();
    // In place, so that the files are the same.
    fs::write(dir.path().join("head"), head).unwrap();
    fs::write(&segment, records).unwrap();
    assert!(log.record(decision("r2"), ()).await.is_err());
}

#[tokio::test]
async fn several_writers_share_one_chain() {
    let dir = TempDir::new().unwrap();
    let logs: Vec<_> = (0..3).map(|_| open_with(dir.path(), small_segments()).unwrap()).collect();
    for round in 0..10 {
        let all =
            logs.iter().enumerate().map(|(who, log)| log.record(decision(&format!("w{who}-{round}")), ()));
        for recorded in join_all(all).await {
            recorded.unwrap().into_parts().1.finish(OK);
        }
    }
    for log in &logs {
        log.close(PLENTY).await.unwrap();
    }
    clean(dir.path());
    let report = verify(dir.path(), Some(&keys())).unwrap();
    assert_eq!((report.decisions, report.completions), (30, 30));
}

#[tokio::test]
async fn a_process_that_died_in_a_write_is_repaired_by_the_next_writer() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    drop(log.record(decision("r1"), ()).await.unwrap());
    log.wait_until(|counts| counts.completions == 1).await.unwrap();
    append(&segments(dir.path())[0], b"{\"torn");
    drop(log.record(decision("r2"), ()).await.unwrap());
    log.close(PLENTY).await.unwrap();
    clean(dir.path());
    assert!(lines(dir.path()).iter().any(|line| line.contains("\"kind\":\"repaired\",\"cut_bytes\":6,")));
}

#[tokio::test]
async fn a_full_queue_refuses_instead_of_growing() {
    let dir = TempDir::new().unwrap();
    let log =
        open_with(dir.path(), Options { waiting_records_max: 3, lock_ms_max: 60_000, ..Options::default() })
            .unwrap();
    let lock = fs::File::open(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let mut waiting: Vec<_> = (0..3).map(|n| Box::pin(log.record(decision(&n.to_string()), ()))).collect();
    for one in &mut waiting {
        assert!(futures_util::poll!(one).is_pending());
    }
    assert!(matches!(log.record(decision("4"), ()).await, Err(AuditError::Full)));
    lock.unlock().unwrap();
    for one in join_all(waiting).await {
        drop(one.unwrap());
    }
    drop(log.record(decision("5"), ()).await.unwrap());
}

#[tokio::test]
async fn a_log_that_another_process_holds_fails_in_bounded_time() {
    let dir = TempDir::new().unwrap();
    let log = open_with(dir.path(), Options { lock_ms_max: 50, ..Options::default() }).unwrap();
    let lock = fs::File::open(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let Err(AuditError::Commit(why)) = log.record(decision("r"), ()).await else { panic!("must fail") };
    assert!(matches!(*why, AuditError::Locked));
    lock.unlock().unwrap();
    drop(log.record(decision("r"), ()).await.unwrap());
}

#[tokio::test]
async fn a_disk_that_hangs_fails_in_bounded_time() {
    let dir = TempDir::new().unwrap();
    let log = open_with(dir.path(), Options { commit_ms_max: 50, ..Options::default() }).unwrap();
    let lock = fs::File::open(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(log.record(decision("r"), ()).await, Err(AuditError::Slow)));
}

#[tokio::test]
async fn requests_that_do_not_end_are_bounded() {
    let dir = TempDir::new().unwrap();
    let log = open_with(dir.path(), Options { unfinished_max: 2, ..Options::default() }).unwrap();
    let held = [log.record(decision("1"), ()).await.unwrap(), log.record(decision("2"), ()).await.unwrap()];
    assert!(matches!(log.record(decision("3"), ()).await, Err(AuditError::Full)));
    drop(held);
    log.wait_until(|counts| counts.unfinished == 0).await.unwrap();
    drop(log.record(decision("3"), ()).await.unwrap());
}

#[tokio::test]
async fn closing_waits_for_what_runs_and_takes_nothing_new() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    let running = log.record(decision("running"), ()).await.unwrap();
    let closing = log.clone();
    let mut closing = Box::pin(closing.close(PLENTY));
    assert!(futures_util::poll!(&mut closing).is_pending());
    assert!(matches!(log.record(decision("late"), ()).await, Err(AuditError::Closed)));
    running.into_parts().1.finish(OK);
    assert_eq!(closing.await.unwrap().unfinished, 0);
    assert!(lines(dir.path()).pop().unwrap().contains("\"kind\":\"closed\",\"unfinished\":0"));
    clean(dir.path());
}

#[tokio::test]
async fn closing_does_not_wait_for_ever() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    let _stuck = log.record(decision("stuck"), ()).await.unwrap();
    assert_eq!(log.close(Duration::from_millis(20)).await.unwrap().unfinished, 1);
    assert!(lines(dir.path()).pop().unwrap().contains("\"unfinished\":1"));
}

#[tokio::test]
async fn a_flood_of_strangers_costs_a_few_lines() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    for _ in 0..25_000 {
        log.count_stranger(Stranger::BadSignature);
    }
    log.count_stranger(Stranger::Anonymous);
    log.wait_until(|counts| counts.summaries >= 1).await.unwrap();
    log.close(PLENTY).await.unwrap();
    let summaries: Vec<serde_json::Value> = lines(dir.path())
        .iter()
        .filter(|line| line.contains("\"kind\":\"strangers\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(summaries.len() <= 3, "{}", summaries.len());
    let sum = |field: &str| summaries.iter().map(|line| line[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("bad_signature"), sum("anonymous"), sum("expired")), (25_000, 1, 0));
}

#[tokio::test]
async fn a_single_stranger_is_summed_up_after_the_interval() {
    let dir = TempDir::new().unwrap();
    let log = open_with(dir.path(), Options { strangers_interval_ms: 20, ..Options::default() }).unwrap();
    log.count_stranger(Stranger::Expired);
    log.wait_until(|counts| counts.summaries == 1).await.unwrap();
}

#[tokio::test]
async fn names_are_in_no_file_of_the_log() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path()).unwrap();
    let (bucket, key) = ("markerbucket".parse().unwrap(), "markerkey/jeanne".parse().unwrap());
    let mut one = decision("control-marker");
    one.bucket = Some(log.keys().bucket(&bucket));
    one.key = Some(log.keys().key(&bucket, &key));
    one.peer = Some(log.keys().peer("203.0.113.77".parse().unwrap()));
    drop(log.record(one, ()).await.unwrap());
    log.close(PLENTY).await.unwrap();
    let all = lines(dir.path()).join("\n");
    assert!(all.contains("control-marker"), "the search itself works");
    assert!(!all.contains("markerbucket") && !all.contains("markerkey") && !all.contains("203.0.113.77"));
    // An auditor with the key finds the record again.
    assert!(all.contains(&keys().key(&bucket, &key).to_string()));
}

/// One change to a log's files.
#[derive(Clone, Debug)]
enum Mutation {
    FlipBit(Index, Index, u8),
    DeleteLine(Index),
    SwapLines(Index, Index),
    DuplicateLine(Index, Index),
    ChangeLength(Index, bool, Index),
    DeleteFile(Index),
    SwapFiles(Index, Index),
    ReplaceFile(Index, Index),
    ForeignLine(Index, Index),
    Rename(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let i = any::<Index>;
    prop_oneof![
        4 => (i(), i(), 0..8_u8).prop_map(|(file, at, bit)| Mutation::FlipBit(file, at, bit)),
        1 => i().prop_map(Mutation::DeleteLine),
        1 => (i(), i()).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
        1 => (i(), i()).prop_map(|(a, b)| Mutation::DuplicateLine(a, b)),
        2 => (i(), any::<bool>(), i()).prop_map(|(file, last, cut)| Mutation::ChangeLength(file, last, cut)),
        1 => i().prop_map(Mutation::DeleteFile),
        1 => (i(), i()).prop_map(|(a, b)| Mutation::SwapFiles(a, b)),
        1 => (i(), i()).prop_map(|(a, b)| Mutation::ReplaceFile(a, b)),
        1 => (i(), i()).prop_map(|(a, b)| Mutation::ForeignLine(a, b)),
        1 => i().prop_map(Mutation::Rename),
    ]
}

type Files = BTreeMap<String, Vec<u8>>;

fn load(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let kept = entries.filter(|path| !path.ends_with("lock"));
    kept.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// Applies the mutation; `foreign` is another log under the same keys.
fn mutate(files: &mut Files, foreign: &Files, mutation: &Mutation) {
    let mut names: Vec<String> = files.keys().cloned().collect();
    let segments: Vec<String> = names.iter().filter(|name| name.as_str() != "head").cloned().collect();
    let mut lines: Vec<(String, String)> = Vec::new();
    for name in &segments {
        let text = String::from_utf8(files[name].clone()).unwrap();
        lines.extend(text.split_inclusive('\n').map(|line| (name.clone(), line.to_owned())));
    }
    let mut relined = true;
    match mutation {
        Mutation::DeleteLine(at) => drop(lines.remove(at.index(lines.len()))),
        Mutation::SwapLines(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            let (line_a, line_b) = (lines[a].1.clone(), lines[b].1.clone());
            (lines[a].1, lines[b].1) = (line_b, line_a);
        }
        Mutation::DuplicateLine(from, to) => {
            let line = lines[from.index(lines.len())].1.clone();
            let to = to.index(lines.len());
            let name = lines[to].0.clone();
            lines.insert(to, (name, line));
        }
        Mutation::ForeignLine(from, to) => {
            let theirs = foreign.iter().filter(|(name, _)| name.as_str() != "head");
            let text: String = theirs.map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect();
            let theirs: Vec<&str> = text.split_inclusive('\n').collect();
            let to = to.index(lines.len());
            from.get(&theirs).to_string().clone_into(&mut lines[to].1);
        }
        _ => relined = false,
    }
    if relined {
        for name in &segments {
            let text: String =
                lines.iter().filter(|(of, _)| of == name).map(|(_, line)| line.as_str()).collect();
            files.insert(name.clone(), text.into_bytes());
        }
        return;
    }
    match mutation {
        Mutation::FlipBit(file, at, bit) => {
            let bytes = files.get_mut(file.get(&names)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Mutation::ChangeLength(file, last, cut) => {
            let name = if *last { segments.last().unwrap() } else { file.get(&names) };
            let bytes = files.get_mut(name).unwrap();
            bytes.truncate(cut.index(bytes.len()));
        }
        Mutation::DeleteFile(file) => drop(files.remove(&names.remove(file.index(names.len())))),
        Mutation::SwapFiles(a, b) => {
            let (a, b) = (a.get(&segments).clone(), b.get(&segments).clone());
            let (bytes_a, bytes_b) = (files[&a].clone(), files[&b].clone());
            files.insert(a, bytes_b);
            files.insert(b, bytes_a);
        }
        Mutation::ReplaceFile(ours, from) => {
            let theirs: Vec<&Vec<u8>> =
                foreign.iter().filter(|(name, _)| name.as_str() != "head").map(|(_, b)| b).collect();
            files.insert(ours.get(&segments).clone(), (*from.get(&theirs)).clone());
        }
        Mutation::Rename(file) => {
            let bytes = files.remove(file.get(&segments)).unwrap();
            files.insert("00000000000000000999.jsonl".to_owned(), bytes);
        }
        _ => unreachable!(),
    }
}

fn store(dir: &Path, files: &Files) {
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn any_single_change_to_a_log_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Logs of several lengths; each is mutated many times.
    let logs: Vec<Files> = [0, 1, 7, 23]
        .into_iter()
        .map(|count| {
            let dir = TempDir::new().unwrap();
            runtime.block_on(written(dir.path(), count));
            clean(dir.path());
            load(dir.path())
        })
        .collect();
    let changed = std::cell::Cell::new(0_u32);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    });
    runner
        .run(&(any::<Index>(), mutation()), |(which, mutation)| {
            let original = which.get(&logs);
            let foreign = &logs[(which.index(logs.len()) + 1) % logs.len()];
            let mut files = original.clone();
            mutate(&mut files, foreign, &mutation);
            if files == *original {
                return Ok(());
            }
            changed.set(changed.get() + 1);
            let dir = TempDir::new().unwrap();
            store(dir.path(), &files);
            prop_assert!(!verify(dir.path(), None).unwrap().is_clean(), "not found without key");
            prop_assert!(!verify(dir.path(), Some(&keys())).unwrap().is_clean(), "not found with key");
            Ok(())
        })
        .unwrap();
    assert!(changed.get() > 1500, "the mutations mutate: {}", changed.get());
}

const CHILD_DIR: &str = "TERROIR_TEST_AUDIT_DIR";

/// Not a test: what [`a_killed_writer_loses_no_acknowledged_record`] runs in a process of its own.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open_with(Path::new(&dir), small_segments()).unwrap();
        let writer = |who: usize| {
            let log = log.clone();
            async move {
                for n in 0.. {
                    let name = format!("w{who}-{n}");
                    let recorded = log.record(decision(&name), ()).await.unwrap();
                    // One write, so that lines of several writers do not mix.
                    std::io::stdout()
                        .write_all(format!("acked {} {name}\n", recorded.sequence()).as_bytes())
                        .unwrap();
                    recorded.into_parts().1.finish(OK);
                }
            }
        };
        join_all((0..8).map(writer)).await;
    });
}

#[tokio::test]
async fn a_killed_writer_loses_no_acknowledged_record() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = Vec::new();
    for kill in 0..12 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "audit::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut acks = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Killed after a number of acknowledgements that differs from run to run; those in the pipe count as well.
        let mut of_this =
            acks.by_ref().filter(|line| line.contains("acked ")).take(kill * 37 + 5).collect::<Vec<_>>();
        child.kill().unwrap();
        of_this.extend(acks);
        child.wait().unwrap();
        acknowledged.extend(of_this.into_iter().filter_map(|line| {
            let mut words = line.split_once("acked ")?.1.split(' ').map(str::to_owned);
            Some((words.next()?.parse::<u64>().ok()?, words.next()?))
        }));
    }
    let log = open(dir.path()).unwrap();
    log.close(PLENTY).await.unwrap();
    clean(dir.path());
    let all = lines(dir.path());
    assert!(acknowledged.len() > 2000, "{}", acknowledged.len());
    for (sequence, name) in acknowledged {
        let line = &all[usize::try_from(sequence).unwrap() - 1];
        assert!(
            line.contains(&format!("\"seq\":{sequence},"))
                && line.contains(&format!("\"request\":\"{name}\"")),
            "{line}"
        );
    }
}

/// A measurement, run by hand: `cargo test --test it audit::rate -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn rate_with_64_writers() {
    let dir =
        TempDir::new_in(std::env::var_os("TERROIR_RATE_DIR").unwrap_or_else(|| std::env::temp_dir().into()))
            .unwrap();
    let log = open(dir.path()).unwrap();
    for writers in [1_u32, 64, 256] {
        let begun = std::time::Instant::now();
        let before = log.counts();
        let each = 6400 / writers.max(16);
        let tasks = (0..writers).map(|who| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0..each {
                    let recorded = log.record(decision(&format!("{who}-{n}")), ()).await.unwrap();
                    recorded.into_parts().1.finish(OK);
                }
            })
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
        let counts = log.wait_until(|counts| counts.unfinished == 0).await.unwrap();
        let requests = counts.decisions - before.decisions;
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap().max(1);
        let (decided, written) =
            (requests * 1000 / millis, (counts.sequence - before.sequence) * 1000 / millis);
        println!(
            "{writers} writers: {requests} requests in {millis} ms: {decided} decisions/s, {written} records/s"
        );
    }
    log.close(PLENTY).await.unwrap();
    clean(dir.path());
}
