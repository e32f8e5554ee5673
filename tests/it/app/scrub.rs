//! Passes of the scrubber over running regions: every kind of damage found as what it is, nothing removed that may be wanted.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use sqlx::{ConnectOptions, Connection};
use terroir::app::{Begin, ScrubRequest, Scrubbed};
use terroir::envelope::{Implementation, testing::break_for};
use terroir::model::{Clock, ManualClock, SystemClock};
use terroir::placement::Operation;
use terroir::settings::Scrub;
use terroir::testing::{Setup, TestTenant};
use terroir::vault::{Outcome, Pass, Phase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{World, a_minute, get, noise, put, until};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const HORIZON: Duration = Duration::from_hours(24 * 30);

/// A region whose time stands still until it is moved, with records of every shape in it.
struct Kept {
    world: World,
    clinic: TestTenant,
    clock: Arc<ManualClock>,
}

impl Kept {
    async fn empty() -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let mut setup = Setup { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Setup::default() };
        setup.limits.blob_bytes_max = 64 * KIB as u64;
        setup.scrub = Scrub { interval_s: 0, restore_horizon_s: HORIZON.as_secs(), ..Scrub::default() };
        let world = World::of(&setup).await;
        let clinic = world.tenant("fr", "clinic", "health").await;
        Self { world, clinic, clock }
    }

    /// As [`small`](Self::small), and a record of many blobs that was uploaded in parts.
    async fn full() -> Self {
        let kept = Self::small().await;
        super::corruption::in_parts(&kept.clinic, "clinic", "parts", &noise(3, 5 * MIB + 3 * KIB)).await;
        kept
    }

    /// One empty record, one of one blob, one of several, and an upload that nobody has completed.
    async fn small() -> Self {
        let kept = Self::empty().await;
        let s3 = &kept.clinic.s3;
        put(s3, "clinic", "empty", b"").await;
        put(s3, "clinic", "one", &noise(1, 40 * KIB)).await;
        put(s3, "clinic", "several", &noise(2, 150 * KIB)).await;
        let open = s3.create_multipart_upload().bucket("clinic").key("open").send().await.unwrap();
        let part = s3.upload_part().bucket("clinic").key("open").part_number(3);
        let part = part.upload_id(open.upload_id().unwrap()).body(ByteStream::from(noise(4, 100 * KIB)));
        part.send().await.unwrap();
        kept
    }

    fn blobs(&self) -> Vec<PathBuf> {
        self.world.app.blobs("fr").into_keys().filter(|path| is_blob(path)).collect()
    }

    fn request(&self, begin: Begin) -> ScrubRequest {
        let request = self.world.app.site("fr").scrub_request(begin);
        ScrubRequest { bytes_per_s_max: 1 << 40, blobs_per_s_max: 1 << 20, ..request }
    }

    async fn scrub(&self, request: ScrubRequest) -> Scrubbed {
        self.world.app.site("fr").scrub(request, &|_| {}).await.unwrap()
    }

    async fn pass(&self) -> Pass {
        ended(self.scrub(self.request(Begin::Fresh)).await)
    }

    async fn removing_pass(&self) -> Pass {
        let request = ScrubRequest { remove_unknown: true, ..self.request(Begin::Fresh) };
        ended(self.scrub(request).await)
    }

    /// The index forgets a record as if it had never been committed, as after a kill between store and index.
    async fn forget(&self, key: &str) {
        let path = self.world.app.index_path("fr");
        let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        for statement in [
            "DELETE FROM blobs WHERE version_id IN (SELECT version_id FROM versions WHERE key = $1)",
            "DELETE FROM heads WHERE key = $1",
            "DELETE FROM versions WHERE key = $1",
        ] {
            let done = sqlx::query(statement).bind(key.as_bytes()).execute(&mut conn).await.unwrap();
            assert!(done.rows_affected() > 0, "{statement}");
        }
        conn.close().await.unwrap();
    }

    /// What a reader gets who has the keys, whatever the time is.
    async fn size_of(&self, key: &str) -> Option<u64> {
        let site = self.world.app.site("fr");
        let decided = site.admit(&self.clinic.tenant, &Operation::Read, "read").await.unwrap();
        let opened =
            site.vault().open(&decided, &"clinic".parse().unwrap(), &key.parse().unwrap()).await.ok()?;
        let mut reading = opened.read(None).await.ok()?;
        let mut size = 0;
        while let Some(piece) = reading.next().await {
            size += piece.ok()?.len() as u64;
        }
        Some(size)
    }
}

fn ended(scrubbed: Scrubbed) -> Pass {
    match scrubbed {
        Scrubbed::Ended(pass) => pass,
        other => panic!("the pass did not end: {other:?}"),
    }
}

fn is_blob(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.len() == 32)
}

fn id_of(path: &Path) -> [u8; 16] {
    let mut id = [0; 16];
    hex::decode_to_slice(path.file_name().unwrap().to_str().unwrap(), &mut id).unwrap();
    id
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_verifies_every_blob_of_every_kind_of_record() {
    let kept = Kept::full().await;
    let pass = kept.pass().await;
    let blobs = kept.blobs();
    assert!(blobs.len() > 80, "{} blobs", blobs.len());
    let counts = pass.counts;
    assert_eq!((counts.verified, counts.listed), (blobs.len() as u64, blobs.len() as u64), "{pass:?}");
    let stored: u64 = blobs.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(counts.verified_bytes, stored);
    assert_eq!(pass.findings, [], "{pass:?}");
    assert_eq!((pass.number, pass.phase), (1, Phase::Done));
    let metrics = kept.world.app.site("fr").metrics().expose();
    let expected = format!("terroir_scrub_blobs_total{{outcome=\"verified\"}} {}\n", blobs.len());
    assert!(metrics.contains(&expected), "{metrics}");
    assert!(
        metrics.contains("terroir_scrub_damaged_blobs 0\n")
            && metrics.contains(&format!("terroir_scrub_bytes_total {stored}\n"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_every_kind_is_found_as_what_it_is_in_every_blob() {
    let kept = Kept::small().await;
    let blobs = kept.blobs();
    // One file of each length, so that every shape of blob is in it.
    let mut lengths = BTreeSet::new();
    let chosen: Vec<&PathBuf> =
        blobs.iter().filter(|path| lengths.insert(path.metadata().unwrap().len())).collect();
    assert!(chosen.len() >= 5, "{chosen:?}");
    let mut seed = super::Random(7);
    for path in chosen {
        let whole = std::fs::read(path).unwrap();
        let other = blobs.iter().find(|other| *other != path).unwrap();
        let at = [0, 200, whole.len() / 2, whole.len() - 1, seed.below(whole.len())];
        let mut damages: Vec<(String, Option<Vec<u8>>)> = at
            .iter()
            .map(|at| {
                let mut flipped = whole.clone();
                flipped[*at] ^= 1 << seed.below(8);
                (format!("byte {at} of {}", whole.len()), Some(flipped))
            })
            .collect();
        damages.push(("cut".to_owned(), Some(whole[..whole.len() - 1].to_vec())));
        damages.push(("emptied".to_owned(), Some(Vec::new())));
        damages.push(("lengthened".to_owned(), Some([&whole[..], b"\0"].concat())));
        damages.push(("swapped".to_owned(), Some(std::fs::read(other).unwrap())));
        damages.push(("removed".to_owned(), None));
        for (what, bytes) in damages {
            let expected = if bytes.is_some() { Outcome::Corrupt } else { Outcome::Missing };
            std::fs::remove_file(path).unwrap();
            if let Some(bytes) = bytes {
                std::fs::write(path, bytes).unwrap();
            }
            let pass = kept.pass().await;
            let found: Vec<_> =
                pass.findings.iter().map(|found| (found.outcome, found.blob.clone())).collect();
            assert_eq!(found, [(expected, name_of(path))], "{what}: {pass:?}");
            assert_eq!(pass.counts.verified, blobs.len() as u64 - 1, "{what}");
            std::fs::write(path, &whole).unwrap();
        }
    }
    assert_eq!(kept.pass().await.findings, [], "all put back");
    let lines = kept.world.app.audit_lines("fr");
    let findings = lines.iter().filter(|line| line["operation"] == "scrub.finding");
    let with_key = findings.filter(|line| line["key"].is_string() && line["tenant"] == "clinic").count();
    assert!(with_key > 40, "{with_key} findings are in the audit log under their hashed names");
    assert!(lines.iter().any(|line| line["outcome"] == "corrupt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_verifies_is_not_what_sealed() {
    let kept = Kept::empty().await;
    put(&kept.clinic.s3, "clinic", "one", &noise(1, 40 * KIB)).await;
    let blobs = kept.blobs();
    let [path] = blobs.as_slice() else { panic!("{blobs:?}") };
    let reads = async || kept.clinic.s3.get_object().bucket("clinic").key("one").send().await.is_ok();
    break_for(Implementation::AwsLc, id_of(path), true);
    assert!(!reads().await, "requests are served by the implementation that sealed: the break works");
    assert_eq!(kept.pass().await.counts.verified, 1, "and the scrubber does not notice that it is broken");
    break_for(Implementation::AwsLc, id_of(path), false);
    break_for(Implementation::AesGcm, id_of(path), true);
    assert!(reads().await, "requests do not need the verifier");
    assert_eq!(kept.pass().await.counts.corrupt, 1, "the scrubber does");
    break_for(Implementation::AesGcm, id_of(path), false);
    assert_eq!(kept.pass().await.counts.verified, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_reached_is_unreadable_for_now_and_never_damage() {
    let kept = Kept::full().await;
    let tap = kept.world.app.tap("fr");
    tap.down(true);
    let Scrubbed::Interrupted { pass, .. } = kept.scrub(kept.request(Begin::Fresh)).await else {
        panic!("a pass over a store that is down ended")
    };
    assert!(pass.counts.unreadable > 0 && !pass.counts.has_damage(), "{pass:?}");
    assert!(pass.counts.unreadable < 50, "it does not ask for every blob in vain: {pass:?}");
    tap.down(false);
    let pass = ended(kept.scrub(kept.request(Begin::Resume)).await);
    assert_eq!(pass.counts.verified, kept.blobs().len() as u64, "{pass:?}");
    assert_eq!((pass.counts.unreadable, pass.number), (0, 1), "what was done again is not counted twice");
    assert!(matches!(kept.scrub(kept.request(Begin::Resume)).await, Scrubbed::NothingToResume));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_damaged_on_their_way_once_are_read_again_before_anything_is_said() {
    let kept = Kept::full().await;
    let faults = terroir::blobs::testing::Faults { bit_flip: 100, ..Default::default() };
    kept.world.app.tap("fr").fail(faults);
    let pass = kept.pass().await;
    let struck = kept.world.app.tap("fr").struck();
    assert!(struck > 0, "the faults struck");
    assert!(pass.counts.corrupt < struck, "{struck} strikes, {pass:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_was_dropped_goes_on_where_it_was() {
    let kept = Kept::full().await;
    let total = kept.blobs().len() as u64;
    // A third of the blobs in a little more than the time between two keepings of the state.
    let slow = ScrubRequest { blobs_per_s_max: total / 12, ..kept.request(Begin::Fresh) };
    let site = kept.world.app.site("fr");
    assert!(tokio::time::timeout(Duration::from_secs(4), site.scrub(slow, &|_| {})).await.is_err());
    assert!(
        matches!(kept.scrub(kept.request(Begin::Resume)).await, Scrubbed::Busy),
        "it still has the lease"
    );
    kept.clock.advance(Duration::from_mins(1));
    let before = kept.world.app.tap("fr").asked();
    let pass = ended(kept.scrub(kept.request(Begin::Resume)).await);
    let asked = kept.world.app.tap("fr").asked() - before;
    assert_eq!((pass.number, pass.counts.verified, pass.findings.len()), (1, total, 0), "{pass:?}");
    assert!(asked.reads < total - 5, "{} reads for the rest of {total} blobs", asked.reads);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pass_at_a_time() {
    let kept = Kept::full().await;
    let slow = ScrubRequest { blobs_per_s_max: 20, ..kept.request(Begin::Fresh) };
    let site = kept.world.app.site("fr");
    let (first, second) = tokio::join!(site.scrub(slow, &|_| {}), async {
        // Once the first has it.
        until("a first blob", async || (kept.world.app.tap("fr").asked().heads > 0).then_some(())).await;
        kept.scrub(kept.request(Begin::Fresh)).await
    });
    ended(first.unwrap());
    assert!(matches!(second, Scrubbed::Busy), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_runs_a_pass_when_one_is_due() {
    let mut setup = Setup::default();
    setup.scrub.interval_s = 1;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    put(&clinic.s3, "clinic", "one", &noise(1, 1000)).await;
    until("two passes of the schedule, with the record in one", async || {
        let verified = world.app.site("fr").metrics().scrubbed(terroir::telemetry::ScrubOutcome::Verified);
        (verified.value() >= 2).then_some(())
    })
    .await;
    assert!(world.app.site("fr").metrics().scrub_ended_seconds().value() > 0);
    assert_eq!(world.app.site("fr").metrics().scrub_damaged().value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_no_row_names_is_reported_and_by_default_never_removed() {
    let kept = Kept::full().await;
    let all = kept.blobs().len() as u64;
    kept.forget("one").await;
    for days in [0, 1, 31, 4_000] {
        kept.clock.advance(Duration::from_hours(24 * days));
        let pass = kept.pass().await;
        assert_eq!((pass.counts.unknown, pass.counts.given_up, pass.counts.reclaimed), (1, 0, 0), "{pass:?}");
        assert_eq!((pass.counts.listed, pass.counts.verified), (all, all - 1));
        let [found] = pass.findings.as_slice() else { panic!("{pass:?}") };
        assert!(found.age_s.unwrap() >= days * 86_400, "{found:?}");
    }
    assert_eq!(kept.blobs().len() as u64, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_blob_is_removed_when_told_to_after_two_passes_the_horizon_apart() {
    let kept = Kept::full().await;
    let all = kept.blobs().len();
    kept.forget("one").await;
    // Years after it was sealed, but never seen before.
    kept.clock.advance(HORIZON * 40);
    assert_eq!(kept.removing_pass().await.counts.given_up, 0, "seen for the first time");
    kept.clock.advance(HORIZON.saturating_sub(Duration::from_secs(1)));
    assert_eq!(kept.removing_pass().await.counts.given_up, 0, "a second too early");
    kept.clock.advance(Duration::from_secs(1));
    let pass = kept.removing_pass().await;
    assert_eq!((pass.counts.given_up, pass.counts.reclaimed), (1, 1), "{pass:?}");
    assert_eq!(kept.blobs().len(), all - 1);
    let pass = kept.removing_pass().await;
    assert_eq!((pass.findings.len(), pass.counts.verified), (0, all as u64 - 1), "nothing else was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_put_back_begins_to_count_anew() {
    let kept = Kept::full().await;
    kept.forget("one").await;
    assert_eq!(kept.removing_pass().await.counts.unknown, 1);
    kept.clock.advance(HORIZON * 2);
    // A later pass was run from here than this index remembers.
    std::fs::write(kept.world.app.dir("fr").join("scrub-pass"), "99\n").unwrap();
    let pass = kept.removing_pass().await;
    assert_eq!((pass.counts.unknown, pass.counts.given_up), (1, 0), "{pass:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_another_region_and_files_that_are_none_are_reported_and_never_removed() {
    let kept = Kept::full().await;
    let clinique = kept.world.tenant("us", "hospital", "health").await;
    put(&clinique.s3, "hospital", "abroad", &noise(9, 1000)).await;
    let abroad: Vec<PathBuf> = kept.world.app.blobs("us").into_keys().filter(|path| is_blob(path)).collect();
    let [abroad] = abroad.as_slice() else { panic!("{abroad:?}") };
    let store = kept.world.app.store_dir("fr");
    let strayed = store.join(&name_of(abroad)[..2]).join(name_of(abroad));
    std::fs::copy(abroad, &strayed).unwrap();
    let garbage = store.join("00").join("00".repeat(16));
    std::fs::write(&garbage, b"no blob").unwrap();
    // Our own bytes under another name: whoever reads that name gets another blob.
    let renamed = store.join("01").join("01".repeat(16));
    std::fs::copy(&kept.blobs()[5], &renamed).unwrap();
    for _ in 0..3 {
        let pass = kept.removing_pass().await;
        assert_eq!((pass.counts.elsewhere, pass.counts.unknown, pass.counts.given_up), (3, 0, 0), "{pass:?}");
        assert!(pass.findings.iter().any(|found| found.what.contains("region us")), "{pass:?}");
        kept.clock.advance(HORIZON * 2);
    }
    assert!(strayed.exists() && garbage.exists() && renamed.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_the_index_lost_from_a_version_it_still_has_is_damage_and_never_removed() {
    let kept = Kept::full().await;
    let path = kept.world.app.index_path("fr");
    let mut conn = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let lost = "DELETE FROM blobs WHERE blob_id = (SELECT blob_id FROM blobs JOIN versions USING (version_id) \
                WHERE key = $1 AND ordinal = 1)";
    let done = sqlx::query(lost).bind(&b"several"[..]).execute(&mut conn).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
    conn.close().await.unwrap();
    for _ in 0..3 {
        let pass = kept.removing_pass().await;
        assert_eq!((pass.counts.corrupt, pass.counts.unknown, pass.counts.given_up), (1, 1, 0), "{pass:?}");
        kept.clock.advance(HORIZON * 2);
    }
    assert_eq!(kept.size_of("several").await, Some(150 * KIB as u64), "the version names it, and reads it");
}

/// A PUT that has sent half of its body and waits.
struct InFlight {
    socket: TcpStream,
    rest: Vec<u8>,
}

impl InFlight {
    async fn begin(kept: &Kept, key: &str, body: &[u8]) -> Self {
        let before = kept.blobs().len();
        let signed =
            kept.clinic.s3.put_object().bucket("clinic").key(key).presigned(a_minute()).await.unwrap();
        let (host, path) = signed.uri().strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut head = format!("PUT /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in signed.headers().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"))
        {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        let mut socket = TcpStream::connect(host).await.unwrap();
        let (first, rest) = body.split_at(body.len() / 2);
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(first).await.unwrap();
        until("a blob of a write that is under way", async || (kept.blobs().len() > before).then_some(()))
            .await;
        Self { socket, rest: rest.to_vec() }
    }

    async fn end(mut self) -> String {
        self.socket.write_all(&self.rest).await.unwrap();
        let mut answer = Vec::new();
        self.socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_a_write_that_is_under_way_is_never_removed_and_the_write_ends_well() {
    let kept = Kept::empty().await;
    let body = noise(5, 600 * KIB);
    let write = InFlight::begin(&kept, "slow", &body).await;
    let pass = kept.removing_pass().await;
    assert!(pass.counts.unknown > 0 && pass.counts.given_up == 0, "{pass:?}");
    // As long as a write may last: half the horizon.
    kept.clock.advance((HORIZON / 2).saturating_sub(Duration::from_secs(10)));
    let pass = kept.removing_pass().await;
    assert!(pass.counts.unknown > 0 && pass.counts.given_up == 0 && pass.counts.reclaimed == 0, "{pass:?}");
    let answer = write.end().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(kept.size_of("slow").await, Some(body.len() as u64));
    kept.clock.advance(HORIZON);
    let pass = kept.removing_pass().await;
    assert_eq!((pass.findings.len(), pass.counts.given_up), (0, 0), "{pass:?}");
    assert_eq!(kept.size_of("slow").await, Some(body.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_outlives_the_horizon_is_refused_and_never_acknowledged_without_its_bytes() {
    let kept = Kept::empty().await;
    let write = InFlight::begin(&kept, "slow", &noise(5, 600 * KIB)).await;
    kept.removing_pass().await;
    kept.clock.advance(HORIZON * 2);
    let pass = kept.removing_pass().await;
    assert!(pass.counts.given_up > 0, "{pass:?}");
    let answer = write.end().await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(kept.size_of("slow").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_replaced_while_it_is_scrubbed_is_no_damage() {
    let mut setup = Setup::default();
    // Deleted at once: the worst that can happen to somebody who holds an old list.
    setup.limits.reclaim_delay_s = 0;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    for n in 0..40 {
        put(&clinic.s3, "clinic", &format!("record {n}"), &noise(n, 3000)).await;
    }
    let site = world.app.site("fr");
    let request =
        ScrubRequest { blobs_per_s_max: 40, bytes_per_s_max: 1 << 40, ..site.scrub_request(Begin::Fresh) };
    let passes = async {
        let pass = ended(site.scrub(request, &|_| {}).await.unwrap());
        assert!(!pass.counts.has_damage(), "{pass:?}");
    };
    let writes = async {
        for n in 0..40 {
            put(&clinic.s3, "clinic", &format!("record {n}"), &noise(100 + n, 3000)).await;
            // Empties the queue as the housekeeping would.
            let decided = site.admit(&clinic.tenant, &Operation::Maintain, "reclaim").await.unwrap();
            let due = site.vault().due(&[], None).await.unwrap();
            site.vault().reclaim(&decided, &due).await.unwrap();
        }
    };
    tokio::join!(passes, writes);
    assert_eq!(get(&clinic.s3, "clinic", "record 7").await, noise(107, 3000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_given_up_and_deleted_after_its_record_was_opened_is_no_damage() {
    let mut setup = Setup::default();
    setup.limits.reclaim_delay_s = 0;
    let world = World::of(&setup).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    put(&clinic.s3, "clinic", "record", &noise(1, 3000)).await;
    let site = world.app.site("fr");
    let vault = site.vault();
    let live = vault.live_blobs(None).await.unwrap().remove(0);
    let row = vault.owner_row(live.at.version).await.unwrap().unwrap();
    let decided = site.admit(&clinic.tenant, &Operation::Maintain, "scrub").await.unwrap();
    let mut owner = vault.open_owner(&decided, row).await.unwrap();
    put(&clinic.s3, "clinic", "record", &noise(2, 3000)).await;
    let due = vault.due(&[], None).await.unwrap();
    assert_eq!(vault.reclaim(&decided, &due).await.unwrap().deleted, 1);
    let checked = vault.check(&decided, &mut owner, &live).await.unwrap();
    assert!(matches!(checked, terroir::vault::Checked::Gone), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_suspended_is_skipped_not_called_damaged() {
    let kept = Kept::full().await;
    let registry = kept.world.app.site("fr").registry();
    registry.suspend_tenant(&kept.clinic.tenant.id).await.unwrap();
    let pass = kept.pass().await;
    assert_eq!((pass.counts.skipped, pass.counts.verified), (kept.blobs().len() as u64, 0), "{pass:?}");
    assert_eq!(pass.findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_ahead_had_replaced_blobs_deleted_long_before_their_delay_was_over() {
    let kept = Kept::small().await;
    let site = kept.world.app.site("fr");
    put(&kept.clinic.s3, "clinic", "one", &noise(5, 40 * KIB)).await;
    let held = kept.blobs();
    let reclaim = async || {
        let decided = site.admit(&kept.clinic.tenant, &Operation::Maintain, "reclaim").await.unwrap();
        let due = site.vault().due(&[], None).await.unwrap();
        site.vault().reclaim(&decided, &due).await.unwrap().deleted
    };
    let delay = Duration::from_secs(terroir::settings::Limits::default().reclaim_delay_s);
    kept.clock.advance(Duration::from_mins(1));
    kept.clock.set_ahead(delay * 3);
    assert_eq!(reclaim().await, 0);
    kept.clock.advance(delay.saturating_sub(Duration::from_mins(2)));
    assert_eq!(reclaim().await, 0, "two minutes before the end of what it really takes");
    assert_eq!(kept.blobs(), held);
    kept.clock.advance(Duration::from_mins(2));
    assert_eq!(reclaim().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_ahead_made_a_blob_unknown_since_yesterday_one_of_last_month() {
    let kept = Kept::small().await;
    kept.forget("one").await;
    assert_eq!(kept.removing_pass().await.counts.unknown, 1);
    kept.clock.advance(Duration::from_hours(24));
    kept.clock.set_ahead(HORIZON);
    assert_eq!(kept.removing_pass().await.counts.given_up, 0);
    kept.clock.advance(HORIZON);
    assert_eq!(
        kept.removing_pass().await.counts.given_up,
        1,
        "by then it has really been unknown for so long"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_took_the_places_of_requests_at_the_store() {
    let kept = Kept::small().await;
    let tap = kept.world.app.tap("fr");
    let before = tap.asked();
    kept.forget("several").await;
    let pass = kept.pass().await;
    assert!(pass.counts.verified > 0 && pass.counts.unknown > 0, "{pass:?}");
    let asked = tap.asked() - before;
    assert!(asked.reads > 0 && asked.heads > 0);
    assert_eq!(asked.background, asked.store(), "verifying blobs and telling unknown ones apart");
    kept.size_of("one").await.unwrap();
    assert_eq!((tap.asked() - before).background, asked.background, "a request is none of it");
}
