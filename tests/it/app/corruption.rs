//! A store or an index that lies: the answer is an error or a broken connection, never wrong bytes, never a clean end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use terroir::blobs::testing::Faults;
use terroir::envelope::body_bytes;
use terroir::envelope::labels::{FLOE_HEADER_BYTES, SEGMENT_BYTES};
use terroir::telemetry::MetBy;
use terroir::testing::{Setup, TestTenant};

use super::{Random, World, fetch_object, noise, put, until};

const MIB: usize = 1 << 20;

/// How a read of a damaged record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// All of it, right.
    Right,
    /// An error before the first byte.
    Refused,
    /// A head and then a broken connection.
    Broken,
}

/// Three records whose blobs differ in shape, and which file belongs to which.
struct Stored {
    world: World,
    clinic: TestTenant,
    bodies: BTreeMap<&'static str, Vec<u8>>,
    files: BTreeMap<PathBuf, &'static str>,
}

impl Stored {
    async fn new(region: &str) -> Self {
        let mut setup = Setup::default();
        setup.limits.blob_bytes_max = MIB as u64;
        let world = World::of(&setup).await;
        let clinic = world.tenant(region, "clinic", "health").await;
        let mut stored = Self { world, clinic, bodies: BTreeMap::new(), files: BTreeMap::new() };
        stored.add(region, "one blob", noise(1, 200_000)).await;
        stored.add(region, "another blob", noise(2, 200_000)).await;
        stored.add(region, "many blobs", noise(3, 2 * MIB + 300_000)).await;
        stored.add(region, "multipart", noise(4, 5 * MIB + 70_000)).await;
        stored
    }

    async fn add(&mut self, region: &str, key: &'static str, body: Vec<u8>) {
        let before: BTreeSet<PathBuf> = self.world.app.blobs(region).into_keys().collect();
        if key == "multipart" {
            in_parts(&self.clinic, "clinic", key, &body).await;
        } else {
            put(&self.clinic.s3, "clinic", key, &body).await;
        }
        let after = self.world.app.blobs(region).into_keys();
        self.files.extend(after.filter(|path| !before.contains(path)).map(|path| (path, key)));
        self.bodies.insert(key, body);
    }

    async fn read(&self, key: &str) -> Ending {
        let Some(answer) = fetch_object(&self.clinic.s3, "clinic", key).await else { return Ending::Broken };
        let body = &self.bodies[key];
        if answer.status >= 500 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(text.contains("InternalError") && answer.whole, "{key}: an outage is no finding: {text}");
            return Ending::Refused;
        }
        assert_eq!(answer.status, 200, "{key}");
        // Wherever it stops, what came is what was written.
        assert!(body.starts_with(&answer.body), "WRONG BYTES of {key}");
        if answer.body.len() == body.len() && answer.whole {
            return Ending::Right;
        }
        assert!(!answer.whole, "{key} ended cleanly after {} of {} bytes", answer.body.len(), body.len());
        Ending::Broken
    }

    /// Damages a file, expects its record to fail, puts it back. `Right` is allowed where `unread` says so: of a blob that holds
    /// nothing but a copy of the record, since readers have the one in the index.
    async fn damaged(&self, path: &Path, what: &str, unread: bool, damage: impl FnOnce(&Path)) {
        let original = std::fs::read(path).unwrap();
        damage(path);
        let key = self.files[path];
        let ending = self.read(key).await;
        assert!(unread || ending != Ending::Right, "{what} of a blob of {key} went unnoticed");
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
        std::fs::write(path, original).unwrap();
    }

    async fn all_right(&self) {
        for key in self.bodies.keys() {
            assert_eq!(self.read(key).await, Ending::Right, "{key}");
        }
    }
}

pub(super) async fn in_parts(clinic: &TestTenant, bucket: &str, key: &str, body: &[u8]) {
    let s3 = &clinic.s3;
    let upload = s3.create_multipart_upload().bucket(bucket).key(key).send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let mut list = CompletedMultipartUpload::builder();
    for (number, part) in (1..).zip(body.chunks(5 * MIB)) {
        let sent = s3.upload_part().bucket(bucket).key(key).upload_id(id).part_number(number);
        let sent = sent.body(ByteStream::from(part.to_vec())).send().await.unwrap();
        let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
        list = list.parts(part.set_checksum_crc32(sent.checksum_crc32).build());
    }
    let complete = s3.complete_multipart_upload().bucket(bucket).key(key).upload_id(id);
    complete.multipart_upload(list.build()).send().await.unwrap();
}

fn positions(random: &mut Random, len: usize, segments: usize) -> BTreeSet<usize> {
    let mut found: BTreeSet<usize> = (segments..len)
        .step_by(SEGMENT_BYTES)
        .flat_map(|border| [-17, -16, -1, 0, 1, 15, 16].map(|offset| border.saturating_add_signed(offset)))
        .collect();
    found.extend([0, 1, 3, 4, 5, 6, 20, 40, 73, 74, len - 17, len - 16, len - 1]);
    found.extend((0..6).map(|_| random.below(len)));
    found.retain(|at| *at < len);
    found
}

fn flip(path: &Path, at: usize, bit: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_anywhere_in_a_blob_is_an_error_or_a_broken_answer_never_bytes() {
    let stored = Stored::new("fr").await;
    let mut random = Random(41);
    let mut flips = 0;
    for (path, key) in &stored.files {
        let len = usize::try_from(std::fs::metadata(path).unwrap().len()).unwrap();
        let segments = stored.segments_of(path).await;
        let mut picked: Vec<usize> = positions(&mut random, len, segments).into_iter().collect();
        // The large ones are read whole each time: a sample of their places, the borders' kinds all in it.
        while picked.len() > 24 && *key != "one blob" {
            picked.remove(random.below(picked.len()));
        }
        for at in picked {
            let bit = random.below(8);
            stored.damaged(path, &format!("byte {at}"), segments == len, |path| flip(path, at, bit)).await;
            flips += 1;
        }
    }
    assert!(flips > 100, "{flips}");
    stored.all_right().await;
    corrupt_is_in_the_log(&stored.world, "fr").await;
}

impl Stored {
    /// Where the segments of a blob begin, from what the sealed manifest says is in it.
    async fn segments_of(&self, path: &Path) -> usize {
        let site = self.world.app.site("fr");
        let read = terroir::placement::Operation::Read;
        let decided = site.admit(&self.clinic.tenant, &read, "where").await.unwrap();
        let (bucket, key) = ("clinic".parse().unwrap(), self.files[path].parse().unwrap());
        let opened = site.vault().open(&decided, &bucket, &key).await.unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let traces = site.vault().trace(&decided, &opened).await.unwrap();
        let trace = traces.iter().find(|trace| trace.name.ends_with(name)).expect("a blob of the record");
        // A blob that only holds the record is read for its pages, if it has any.
        if trace.clear_bytes == 0 {
            return usize::try_from(trace.stored_bytes).unwrap();
        }
        usize::try_from(trace.stored_bytes - body_bytes(trace.clear_bytes)).unwrap() + FLOE_HEADER_BYTES
    }
}

async fn corrupt_is_in_the_log(world: &World, region: &str) {
    until("the outcome `corrupt` in the audit log", async || {
        world.app.audit_lines(region).iter().any(|line| line["outcome"] == "corrupt").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_row_looked_like_an_outage() {
    let world = World::of(&Setup::default()).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    put(&clinic.s3, "clinic", "a", b"a record").await;
    let path = world.app.index_path("fr");
    let mut index: SqliteConnection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    edited(&mut index, "UPDATE versions SET class_code = -1").await;
    let answer = fetch_object(&clinic.s3, "clinic", "a").await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status == 500 && text.contains("<Code>InternalError</Code>"), "{} {text}", answer.status);
    assert_eq!(answer.headers.get("retry-after"), None, "no other try makes it right");
    assert_eq!(world.app.site("fr").metrics().records_corrupt(MetBy::Read).value(), 1);
    corrupt_is_in_the_log(&world, "fr").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_other_try_makes_right_asked_for_another_try() {
    let world = World::of(&Setup::default()).await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    put(&clinic.s3, "clinic", "a", b"a record").await;
    for (faults, status, retry_after) in [
        (Faults { internal: 1000, ..Faults::default() }, 500, None),
        (Faults { error_before: 1000, ..Faults::default() }, 503, Some("1")),
        (Faults { denied: 1000, ..Faults::default() }, 503, Some("1")),
    ] {
        world.app.tap("fr").fail(faults);
        let answer = fetch_object(&clinic.s3, "clinic", "a").await.unwrap();
        let told = answer.headers.get("retry-after").map(String::as_str);
        assert_eq!((answer.status, told), (status, retry_after), "{faults:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_record_that_a_read_met_was_counted_nowhere() {
    let stored = Stored::new("fr").await;
    let counted = || {
        let metrics = stored.world.app.site("fr").metrics();
        [MetBy::Read, MetBy::Scrub].map(|by| metrics.records_corrupt(by).value())
    };
    stored.all_right().await;
    assert_eq!(counted(), [0, 0]);
    // Before the answer's head, and behind it.
    for (met, key, ending) in [(1, "one blob", Ending::Refused), (2, "many blobs", Ending::Broken)] {
        let length = |path: &Path| usize::try_from(std::fs::metadata(path).unwrap().len()).unwrap();
        let files = stored.files.iter().filter(|(_, of)| **of == key).map(|(path, _)| path);
        // The rest behind the full ones, or the only one; not the one that has the record alone.
        let last = files.filter(|path| length(path) > 100_000).min_by_key(|path| length(path)).unwrap();
        flip(last, length(last) - 1, 3);
        assert_eq!(stored.read(key).await, ending, "{key}");
        assert_eq!(counted(), [met, 0], "{key}");
    }
    let page = stored.world.app.site("fr").metrics().expose();
    assert!(page.contains("terroir_records_corrupt_total{met_by=\"read\"} 2"), "{page}");
    // What is damaged is not what is absent, or what another may not see.
    assert_eq!(fetch_object(&stored.clinic.s3, "clinic", "absent").await.unwrap().status, 404);
    assert_eq!(counted(), [2, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_swapped_renamed_cut_lengthened_or_gone_are_errors_never_bytes() {
    let stored = Stored::new("fr").await;
    let paths: Vec<&PathBuf> = stored.files.keys().collect();
    for (number, path) in paths.iter().enumerate() {
        let len = usize::try_from(std::fs::metadata(path).unwrap().len()).unwrap();
        let segments = stored.segments_of(path).await;
        let is_read = segments < len;
        // Of the many-blob records' equal blobs: the next of the same length, so that only identity differs.
        let other = paths.iter().cycle().skip(number + 1).take(paths.len() - 1);
        let other =
            other.min_by_key(|other| std::fs::metadata(other).unwrap().len().abs_diff(len as u64)).unwrap();
        let others = std::fs::read(other).unwrap();
        stored
            .damaged(path, "another's bytes", !is_read, |path| std::fs::write(path, &others).unwrap())
            .await;
        stored.damaged(path, "absence", !is_read, |path| std::fs::remove_file(path).unwrap()).await;
        stored
            .damaged(path, "renaming", !is_read, |path| {
                std::fs::rename(path, path.with_file_name("0".repeat(32))).unwrap();
            })
            .await;
        let _ = std::fs::remove_file(path.with_file_name("0".repeat(32)));
        for cut in [
            0,
            1,
            FLOE_HEADER_BYTES,
            segments,
            segments + 1,
            SEGMENT_BYTES,
            segments + SEGMENT_BYTES,
            len - 1,
        ] {
            if cut < len {
                let file = |path: &Path| std::fs::OpenOptions::new().write(true).open(path).unwrap();
                stored
                    .damaged(path, &format!("a cut at {cut}"), !is_read, |path| {
                        file(path).set_len(cut as u64).unwrap();
                    })
                    .await;
            }
        }
        // Bytes behind the end are never read; they must not reach a reader either.
        stored
            .damaged(path, "more bytes", true, |path| {
                let longer = [std::fs::read(path).unwrap(), noise(9, SEGMENT_BYTES)].concat();
                std::fs::write(path, longer).unwrap();
            })
            .await;
    }
    stored.all_right().await;
    // Two blobs of one record, each in the other's place.
    let many: Vec<&PathBuf> =
        stored.files.iter().filter(|(_, key)| **key == "multipart").map(|(path, _)| path).collect();
    let (a, b) = (many[0], many[1]);
    let (of_a, of_b) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    std::fs::write(a, &of_b).unwrap();
    std::fs::write(b, &of_a).unwrap();
    assert_ne!(stored.read("multipart").await, Ending::Right);
    corrupt_is_in_the_log(&stored.world, "fr").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_behind_the_first_blob_breaks_the_connection_after_right_bytes() {
    let stored = Stored::new("fr").await;
    let mut endings = BTreeSet::new();
    for path in stored.files.iter().filter(|(_, key)| **key == "multipart").map(|(path, _)| path) {
        let bytes = std::fs::read(path).unwrap();
        // The blob that only holds the record is not read.
        if stored.segments_of(path).await == bytes.len() {
            continue;
        }
        flip(path, bytes.len() - 1, 0);
        endings.insert(format!("{:?}", stored.read("multipart").await));
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(
        endings.into_iter().collect::<Vec<_>>(),
        ["Broken", "Refused"],
        "first blob refused, later ones broken off"
    );
}

async fn edited(index: &mut SqliteConnection, statement: &'static str) {
    let changed = sqlx::query(statement).execute(index).await.unwrap().rows_affected();
    assert!(changed > 0, "{statement} changed nothing");
}

/// Each edit is what somebody who can write to the index, but has no keys, would try. `undo` puts it back.
const EDITS: &[(&str, &str)] = &[
    ("another size", "UPDATE versions SET size = size - 1"),
    ("another size, also in the listing", "UPDATE heads SET size = size + 1"),
    ("another tag", "UPDATE versions SET etag = '00000000000000000000000000000000'"),
    ("another class", "UPDATE versions SET class = 'operational', class_code = 1"),
    ("another epoch", "UPDATE versions SET kek_epoch = kek_epoch + 1"),
    ("one record for all", "UPDATE versions SET record = (SELECT record FROM versions ORDER BY seq LIMIT 1)"),
    (
        "the newest's record for all",
        "UPDATE versions SET record = (SELECT record FROM versions ORDER BY seq DESC LIMIT 1)",
    ),
    ("a cut record", "UPDATE versions SET record = substr(record, 1, length(record) - 1)"),
    ("no record", "UPDATE versions SET record = x''"),
    ("a longer record", "UPDATE versions SET record = CAST(record || x'00' AS BLOB)"),
];

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_index_that_were_edited_serve_no_wrong_bytes() {
    let stored = Stored::new("fr").await;
    let path = stored.world.app.index_path("fr");
    let mut index: SqliteConnection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    for (what, edit) in EDITS {
        for table in ["versions", "heads"] {
            keep(&mut index, table).await;
        }
        edited(&mut index, edit).await;
        let mut failed = 0;
        for key in stored.bodies.keys() {
            // A record that stayed in its own row may be read; `read` panics on wrong bytes and clean ends.
            failed += usize::from(stored.read(key).await != Ending::Right);
        }
        let all = stored.bodies.len();
        let expected = match *what {
            "one record for all" | "the newest's record for all" => all - 1,
            // Listings show the head's size; reads do not ask it.
            "another size, also in the listing" => 0,
            _ => all,
        };
        assert_eq!(failed, expected, "{what}");
        for table in ["versions", "heads"] {
            restore(&mut index, table).await;
        }
    }
    stored.all_right().await;
    corrupt_is_in_the_log(&stored.world, "fr").await;
}

async fn keep(index: &mut SqliteConnection, table: &str) {
    let statement = match table {
        "versions" => "CREATE TEMP TABLE kept_versions AS SELECT * FROM main.versions",
        _ => "CREATE TEMP TABLE kept_heads AS SELECT * FROM main.heads",
    };
    sqlx::query(statement).execute(index).await.unwrap();
}

async fn restore(index: &mut SqliteConnection, table: &str) {
    let statements = match table {
        "versions" => {
            ["INSERT OR REPLACE INTO main.versions SELECT * FROM kept_versions", "DROP TABLE kept_versions"]
        }
        _ => ["INSERT OR REPLACE INTO main.heads SELECT * FROM kept_heads", "DROP TABLE kept_heads"],
    };
    for statement in statements {
        sqlx::query(statement).execute(&mut *index).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_exchanged_in_the_index_serve_no_record_under_anothers_name() {
    let stored = Stored::new("fr").await;
    let path = stored.world.app.index_path("fr");
    let mut index: SqliteConnection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    keep(&mut index, "heads").await;
    let swap = "UPDATE heads SET version_id = (SELECT version_id FROM kept_heads WHERE key = CASE CAST(heads.key AS TEXT) \
        WHEN 'one blob' THEN CAST('another blob' AS BLOB) ELSE CAST('one blob' AS BLOB) END) \
        WHERE CAST(key AS TEXT) IN ('one blob', 'another blob')";
    edited(&mut index, swap).await;
    for key in ["one blob", "another blob"] {
        // Whichever of the two the row's key leads to, a body under the wrong name would be wrong bytes.
        assert_ne!(stored.read(key).await, Ending::Right, "{key}");
    }
    for key in ["many blobs", "multipart"] {
        assert_eq!(stored.read(key).await, Ending::Right, "{key}");
    }
    restore(&mut index, "heads").await;
    stored.all_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_says_done_and_is_not_is_found_by_the_next_reader() {
    let world = World::of(&Setup::default()).await;
    let clinic = world.tenant("us", "clinic", "health").await;
    let body = noise(6, 300_000);
    for (what, faults) in [
        ("lost", Faults { lost_put: 1000, ..Faults::default() }),
        ("turned on the way back", Faults { bit_flip: 1000, ..Faults::default() }),
        ("cut on the way back", Faults { truncated: 1000, ..Faults::default() }),
    ] {
        world.app.tap("us").fail(faults);
        put(&clinic.s3, "clinic", "a", &body).await;
        let answer = fetch_object(&clinic.s3, "clinic", "a").await;
        let answer = answer.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer.status, 500, "{what}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            text.contains("InternalError") && !text.contains(&*String::from_utf8_lossy(&body[..8])),
            "{what}"
        );
    }
    // A store that rots: always the same bit of a blob, in one of twenty places.
    world.app.tap("us").fail(Faults { corrupt_put: 1000, ..Faults::default() });
    let mut failed = 0;
    for number in 0..20 {
        let key = format!("rotten-{number}");
        put(&clinic.s3, "clinic", &key, &body).await;
        let Some(answer) = fetch_object(&clinic.s3, "clinic", &key).await else { continue };
        assert!(answer.status == 500 || answer.body == body, "{key}");
        failed += usize::from(answer.status == 500);
    }
    assert!(failed >= 18, "most of a blob is segments: {failed} of 20");
    corrupt_is_in_the_log(&world, "us").await;
}
