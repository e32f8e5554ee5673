//! The `fs` driver and processes that die: whatever it acknowledged is whole, whatever it did not is absent or whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use terroir::blobs::failpoint;
use terroir::blobs::{BlobStore, ErrorKind, FsSettings, FsStore, Location};
use terroir::model::{BlobId, Clock, ManualClock, RegionId, SystemClock, SystemEntropy};

use super::{fs_store, noise, placed, region, sealed, somewhere};

const ROOT: &str = "TERROIR_TEST_BLOBS_ROOT";
/// More than any parent lets it write.
const WRITES: u64 = 2_000;

fn place(n: u64) -> Location {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Location::of(&placed(), BlobId::from_bytes((u128::from(n) << 64 | u128::from(!n)).to_be_bytes()))
}

fn length(n: u64) -> usize {
    1 + usize::try_from(n * 7919 % 40_000).unwrap()
}

/// Not a test of its own: what the tests below run in another process and kill.
#[tokio::test]
#[ignore = "the other half of the tests of this file, which run it as a process of its own"]
async fn child_writes_until_it_dies() {
    let Some(root) = std::env::var_os(ROOT) else { return };
    let store = fs_store(Path::new(&root)).await;
    for n in 0..WRITES {
        let at = place(n);
        store.put(&at, sealed(&at, n, length(n))).await.unwrap();
        println!("ack {n}");
    }
}

fn child(root: &Path, failpoint: Option<String>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "blobs::durability::child_writes_until_it_dies", "--ignored", "--nocapture"]);
    command.env(ROOT, root).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(point) = failpoint {
        command.env(failpoint::VARIABLE, point);
    }
    command.spawn().unwrap()
}

/// The blobs that the child acknowledged, until it ended or `kill_after` of them were.
fn acknowledged(mut child: Child, kill_after: Option<u64>) -> (u64, std::process::ExitStatus) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acks = 0;
    while let Some(line) = lines.next() {
        // The harness prints the test's name before its output, on the same line.
        if let Some((_, n)) = line.split_once("ack ") {
            assert_eq!(n.parse::<u64>().unwrap(), acks);
            acks += 1;
        }
        if kill_after == Some(acks) {
            child.kill().unwrap();
            // What was written to the pipe before it died was acknowledged too.
            acks += lines.filter(|line| line.contains("ack ")).count() as u64;
            break;
        }
    }
    (acks, child.wait().unwrap())
}

/// Every file that has a blob's name.
fn visible(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for shard in (0..=255).map(|n| format!("{n:02x}")) {
        for entry in std::fs::read_dir(root.join(shard)).unwrap() {
            let entry = entry.unwrap();
            found.insert(entry.file_name().into_string().unwrap(), entry.path());
        }
    }
    found
}

async fn check(root: &Path, acks: u64, case: &str) {
    let store = fs_store(root).await;
    for n in 0..acks {
        let read = store.read(&place(n), 0..length(n) as u64).await;
        assert!(read.unwrap() == noise(n, length(n)), "{case}: blob {n} of {acks} acknowledged");
    }
    let expected: BTreeMap<_, _> = (0..WRITES).map(|n| (place(n).id().to_string(), n)).collect();
    let files = visible(root);
    assert!(
        (acks..=acks + 1).contains(&(files.len() as u64)),
        "{case}: {} files, {acks} acknowledged",
        files.len()
    );
    for (name, path) in files {
        let n = expected[&name];
        assert!(std::fs::read(path).unwrap() == noise(n, length(n)), "{case}: a torn blob is visible: {n}");
    }
    // A retry of the write that died finishes it.
    let at = place(acks);
    store.put(&at, sealed(&at, acks, length(acks))).await.unwrap();
    assert!(store.read(&at, 0..length(acks) as u64).await.unwrap() == noise(acks, length(acks)));
}

fn leftovers(root: &Path) -> usize {
    std::fs::read_dir(root.join("temp")).unwrap().count()
}

#[tokio::test]
async fn a_process_that_dies_at_any_point_of_a_put_leaves_no_torn_blob_and_loses_none() {
    for point in failpoint::PUT {
        for nth in [1, 4] {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path().join("store");
            let (acks, status) = acknowledged(child(&root, Some(format!("{point}:{nth}"))), None);
            assert_eq!(
                status.signal(),
                Some(6),
                "{point}: the child did not die where it was told to: {status}"
            );
            assert_eq!(acks, nth - 1, "{point}");
            let died_visible = visible(&root).len() as u64 == nth;
            let linked = matches!(point, "after-link" | "folder-synced");
            assert_eq!(died_visible, linked, "{point}: the points are not where they say");
            check(&root, acks, point).await;

            // The leftover is invisible, survives a restart that could be a second process's, and goes after a day.
            assert_eq!(leftovers(&root), 1, "{point}");
            let clock = ManualClock::at(SystemClock.now());
            clock.advance(Duration::from_hours(25));
            let settings = FsSettings { region: region(), root: root.clone() };
            let store = FsStore::open(settings, &clock, Arc::new(SystemEntropy)).await.unwrap();
            assert_eq!(leftovers(&root), 0, "{point}");
            assert_eq!(store.list(&placed(), None, 1000).await.unwrap().ids.len() as u64, acks + 1);
        }
    }
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_moment_leaves_no_torn_blob_and_loses_none() {
    for kill_after in [1, 2, 3, 10, 57, 200] {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("store");
        let (acks, status) = acknowledged(child(&root, None), Some(kill_after));
        assert_eq!(status.signal(), Some(9));
        assert!((kill_after..WRITES).contains(&acks));
        check(&root, acks, "kill -9").await;
    }
}

#[tokio::test]
async fn a_directory_of_another_region_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let open = async |region: &str| {
        let region: RegionId = region.parse().unwrap();
        let settings = FsSettings { region, root: temp.path().join("store") };
        FsStore::open(settings, &SystemClock, Arc::new(SystemEntropy)).await.map(drop)
    };
    open("fr").await.unwrap();
    for region in ["us", "fr-2"] {
        assert_eq!(open(region).await.unwrap_err().kind(), ErrorKind::WrongRegion, "{region}");
    }
    open("fr").await.unwrap();
    // A file that was emptied is not an invitation to take the blobs over.
    std::fs::write(temp.path().join("store/region"), "").unwrap();
    for region in ["us", "fr"] {
        assert_eq!(open(region).await.unwrap_err().kind(), ErrorKind::WrongRegion, "{region}");
    }
    // But a crash between making the file and writing it, before there was any folder, is made good.
    std::fs::remove_dir_all(temp.path().join("store")).unwrap();
    std::fs::create_dir(temp.path().join("store")).unwrap();
    std::fs::write(temp.path().join("store/region"), "").unwrap();
    open("fr").await.unwrap();
    assert_eq!(open("us").await.unwrap_err().kind(), ErrorKind::WrongRegion);
}

#[tokio::test]
async fn nobody_else_may_read_what_a_store_holds() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("store");
    let store = fs_store(&root).await;
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in [root.clone(), root.join("temp"), root.join("00"), root.join("ff")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    assert_eq!(mode(&root.join(at.name())), 0o600);
    assert_eq!(mode(&root.join("region")), 0o600);
    assert_eq!(leftovers(&root), 0);
}

#[tokio::test]
async fn a_directory_that_went_away_is_not_the_loss_of_every_record() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("store");
    let store = fs_store(&root).await;
    let at = somewhere();
    store.put(&at, sealed(&at, 1, 100)).await.unwrap();
    std::fs::rename(&root, temp.path().join("unmounted")).unwrap();
    let errors = [
        store.read(&at, 0..100).await.map(drop),
        store.head(&at).await.map(drop),
        store.put(&at, sealed(&at, 1, 100)).await,
        store.delete(&at).await,
        store.list(&placed(), None, 10).await.map(drop),
    ];
    for error in errors {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Misconfigured);
    }
    std::fs::rename(temp.path().join("unmounted"), &root).unwrap();
    assert_eq!(store.read(&at, 0..100).await.unwrap(), noise(1, 100));
}

#[tokio::test]
async fn a_root_that_cannot_be_one_is_refused_at_start() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("file"), "x").unwrap();
    for root in [temp.path().join("no/such/parent"), temp.path().join("file"), temp.path().join("file/below")]
    {
        let settings = FsSettings { region: region(), root };
        let opened = FsStore::open(settings, &SystemClock, Arc::new(SystemEntropy)).await;
        assert!(opened.is_err());
    }
}

#[tokio::test]
async fn strangers_files_in_a_folder_are_counted_and_never_listed() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("store");
    let store = fs_store(&root).await;
    let at = place(1);
    store.put(&at, sealed(&at, 1, 10)).await.unwrap();
    for name in
        ["00/.DS_Store", "7f/readme", &format!("00/{}", "ab".repeat(16)), &format!("ab/{}", "AB".repeat(16))]
    {
        std::fs::write(root.join(name), "x").unwrap();
    }
    let page = store.list(&placed(), None, 100).await.unwrap();
    assert_eq!((page.ids, page.foreign, page.next), (vec![at.id()], 4, None));
}
