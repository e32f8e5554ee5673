//! Root files: modes, races between processes, damage, destruction.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use terroir::keys::{
    DESTRUCTION_WAIT_MIN, KekContext, KekSpec, KeysError, Kms, KmsError, LocalFileKms, Ring, RingParts,
    RootFileError, RootRef, RootState, SqliteKeyStore, StoreError,
};
use terroir::model::{ClassCode, KekId, ManualClock, Secret, SystemEntropy, Timestamp};

fn open(folder: &Path) -> Result<(LocalFileKms, Arc<ManualClock>), RootFileError> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000)));
    let kms = LocalFileKms::open(
        folder.join("keys"),
        String::from("FR"),
        Arc::clone(&clock) as _,
        Arc::new(SystemEntropy),
    )?;
    Ok((kms, clock))
}

fn root() -> RootRef {
    RootRef::Tenant("fr".parse().unwrap(), super::tenant(1))
}

fn context() -> KekContext {
    KekContext {
        environment: "test".parse().unwrap(),
        region: "fr".parse().unwrap(),
        tenant: super::tenant(1),
        class: ClassCode(3),
        kek_id: KekId::from_bytes([2; 16]),
        epoch: 1,
    }
}

fn key() -> Secret<[u8; 32]> {
    Secret::new([9; 32])
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn root_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "key")).collect()
}

#[tokio::test]
async fn root_files_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, _) = open(folder.path()).unwrap();
    let wrapped = kms.wrap(&root(), &context(), &key()).await.unwrap();
    let file = root_files(folder.path()).pop().unwrap();
    assert_eq!((mode(&folder.path().join("keys")), mode(&file)), (0o700, 0o600));
    for exposed in [0o640, 0o604, 0o602, 0o660] {
        fs::set_permissions(&file, fs::Permissions::from_mode(exposed)).unwrap();
        let refused = kms.unwrap(&root(), &context(), &wrapped).await.map(|_| ());
        assert_eq!(refused, Err(KmsError::Denied), "{exposed:o}");
        assert!(kms.roots().is_err());
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(kms.unwrap(&root(), &context(), &wrapped).await.is_ok());
    fs::set_permissions(folder.path().join("keys"), fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(kms.unwrap(&root(), &context(), &wrapped).await.map(|_| ()), Err(KmsError::Denied));
    assert!(matches!(open(folder.path()), Err(RootFileError::Exposed { .. })));
}

#[tokio::test]
async fn a_key_store_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.sqlite");
    SqliteKeyStore::open(&path).await.unwrap().close().await;
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SqliteKeyStore::open(&path).await, Err(StoreError::Exposed)));
}

#[tokio::test]
async fn a_key_store_of_a_newer_release_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.sqlite");
    SqliteKeyStore::open(&path).await.unwrap().close().await;
    let newer = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 9").execute(&newer).await.unwrap();
    newer.close().await;
    assert!(matches!(SqliteKeyStore::open(&path).await, Err(StoreError::NewerSchema { found: 9, known: 1 })));
}

/// As when the volume that the folder is on is unmounted while the proxy serves, and its empty mount point shows.
#[tokio::test]
async fn a_folder_that_went_away_makes_no_root_and_is_no_denial() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, _) = open(folder.path()).unwrap();
    let (keys, away) = (folder.path().join("keys"), folder.path().join("away"));
    let wrapped = kms.wrap(&root(), &context(), &key()).await.unwrap();
    let other = RootRef::Region("fr".parse().unwrap());
    fs::rename(&keys, &away).unwrap();
    for mode in [0o700, 0o755] {
        fs::create_dir(&keys).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        for root in [root(), other.clone()] {
            let unwrapped = kms.unwrap(&root, &context(), &wrapped).await.map(|_| ());
            assert!(matches!(unwrapped, Err(KmsError::Unavailable(_))), "{root} {mode:o}: {unwrapped:?}");
            let made = kms.wrap(&root, &context(), &key()).await.map(|_| ());
            assert!(matches!(made, Err(KmsError::Unavailable(_))), "{root} {mode:o}: {made:?}");
            let status = kms.status(&root).await.map(|_| ());
            assert!(matches!(status, Err(KmsError::Unavailable(_))), "{root} {mode:o}: {status:?}");
        }
        assert!(kms.rotate(&root()).is_err() && kms.roots().is_err(), "{mode:o}");
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 0, "nothing is made in another folder");
        fs::remove_dir(&keys).unwrap();
        let gone = kms.unwrap(&root(), &context(), &wrapped).await.map(|_| ());
        assert!(matches!(gone, Err(KmsError::Unavailable(_))), "no folder at all: {gone:?}");
    }
    fs::rename(&away, &keys).unwrap();
    assert!(kms.unwrap(&root(), &context(), &wrapped).await.is_ok(), "it came back");
    assert!(kms.wrap(&other, &context(), &key()).await.is_ok());
}

/// As when the folder is on a network that hangs: a file that is opened and never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_to_a_folder_that_hangs_kept_a_thread() {
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let folder = tempfile::tempdir().unwrap();
    let (kms, _) = open(folder.path()).unwrap();
    let wrapped = kms.wrap(&root(), &context(), &key()).await.unwrap();
    let keys = folder.path().join("keys");
    let file = fs::read_dir(&keys)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().is_some_and(|name| name != ".lock"))
        .unwrap();
    fs::remove_file(&file).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let before = threads();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (kms, wrapped) = (kms.clone(), wrapped.clone());
            tokio::spawn(async move { kms.unwrap(&root(), &context(), &wrapped).await.map(|_| ()) })
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    // One of the sixteen may be there already, from the call before.
    while threads() < before + 15 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Whatever else was to come has had its turn on both workers.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let kept = threads() - before;
    // It answers again, and what waited is answered: with the end of a file that holds nothing.
    for call in calls {
        while !call.is_finished() {
            drop(fs::OpenOptions::new().read(true).write(true).open(&file).unwrap());
            tokio::task::yield_now().await;
        }
        assert!(call.await.unwrap().is_err());
    }
    // Said last: a test that ends while they hang waits for them for ever.
    assert!((15..=16).contains(&kept), "{kept} threads");
}

/// As when a backup of the folder was put back that is older than the tenant.
#[tokio::test]
async fn a_root_that_keys_hang_from_was_made_anew_where_its_file_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, clock) = open(folder.path()).unwrap();
    let store = SqliteKeyStore::open(&folder.path().join("keystore.sqlite")).await.unwrap();
    let parts = RingParts {
        kms: Arc::new(kms),
        store: Arc::new(store),
        clock: Arc::clone(&clock) as _,
        entropy: Arc::new(SystemEntropy),
    };
    let ring = Ring::open(parts, super::settings(), &[]).await.unwrap();
    ring.current(super::tenant(1), &super::spec()).await.unwrap();
    let (file, away) = (folder.path().join(format!("keys/root-{}.key", root())), folder.path().join("away"));
    fs::rename(&file, &away).unwrap();
    let other = KekSpec { class: ClassCode(4), ..super::spec() };
    for refused in [
        ring.current(super::tenant(1), &other).await.map(|_| 1),
        ring.rotate(super::tenant(1), &super::spec()).await,
    ] {
        assert_eq!(refused, Err(KeysError::RootLost));
        assert!(!file.exists(), "no other root stands in its place");
    }
    ring.current(super::tenant(2), &other).await.unwrap();
    fs::rename(&away, &file).unwrap();
    // Past the pause after a failure.
    clock.advance(Duration::from_mins(1));
    ring.current(super::tenant(1), &other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_race_to_make_a_root_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let processes: Vec<_> = (0..4).map(|_| open(folder.path()).unwrap().0).collect();
    let wraps = processes.iter().map(|kms| {
        let kms = kms.clone();
        tokio::spawn(async move { kms.wrap(&root(), &context(), &key()).await.unwrap() })
    });
    let wraps: Vec<_> = wraps.collect();
    for wrapped in wraps {
        let wrapped = wrapped.await.unwrap();
        for kms in &processes {
            assert!(kms.unwrap(&root(), &context(), &wrapped).await.is_ok());
        }
    }
}

#[tokio::test]
async fn a_state_set_by_another_process_is_obeyed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ((kms, _), (command_line, _)) = (open(folder.path()).unwrap(), open(folder.path()).unwrap());
    let wrapped = kms.wrap(&root(), &context(), &key()).await.unwrap();
    command_line.disable(&root()).unwrap();
    assert_eq!(kms.unwrap(&root(), &context(), &wrapped).await.map(|_| ()), Err(KmsError::Disabled));
}

#[tokio::test]
async fn destruction_takes_a_schedule_and_its_wait_and_leaves_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, clock) = open(folder.path()).unwrap();
    kms.wrap(&root(), &context(), &key()).await.unwrap();
    kms.rotate(&root()).unwrap();
    let file = root_files(folder.path()).pop().unwrap();
    let before = fs::read_to_string(&file).unwrap();
    let keys: Vec<_> =
        before.lines().filter_map(|line| line.strip_prefix("version ")?.rsplit(' ').next()).collect();
    assert_eq!(keys.len(), 2, "the control: this is how a key stands in the file");

    assert!(matches!(kms.destroy(&root()), Err(RootFileError::WrongState { state: "enabled", .. })));
    let short = DESTRUCTION_WAIT_MIN.saturating_sub(Duration::from_secs(1));
    assert!(matches!(kms.schedule_destruction(&root(), short), Err(RootFileError::TooSoon(1))));
    kms.schedule_destruction(&root(), DESTRUCTION_WAIT_MIN).unwrap();
    clock.advance(short);
    assert!(matches!(kms.destroy(&root()), Err(RootFileError::TooSoon(1))));
    assert!(matches!(kms.rotate(&root()), Err(RootFileError::WrongState { .. })));
    assert!(matches!(kms.enable(&root()), Err(RootFileError::WrongState { .. })), "cancel first");
    clock.advance(Duration::from_secs(1));
    kms.destroy(&root()).unwrap();

    let after = fs::read_to_string(&file).unwrap();
    assert!(keys.iter().all(|key| !after.contains(key)));
    assert_eq!(kms.roots().unwrap()[0].1.state, RootState::Destroyed);
    for refused in [kms.enable(&root()), kms.disable(&root()), kms.destroy(&root())] {
        assert!(matches!(refused, Err(RootFileError::WrongState { state: "destroyed", .. })));
    }
}

#[tokio::test]
async fn an_unfinished_write_of_a_killed_process_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, _) = open(folder.path()).unwrap();
    let wrapped = kms.wrap(&root(), &context(), &key()).await.unwrap();
    let file = root_files(folder.path()).pop().unwrap();
    fs::write(file.with_extension("draft"), "terroir-root-key 1\nroot").unwrap();
    assert_eq!(kms.rotate(&root()).unwrap(), 2);
    assert!(kms.unwrap(&root(), &context(), &wrapped).await.is_ok());
    assert_eq!(kms.roots().unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_or_swapped_root_file_is_never_used() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, _) = open(folder.path()).unwrap();
    let wrapped = kms.wrap(&root(), &context(), &key()).await.unwrap();
    let file = root_files(folder.path()).pop().unwrap();
    let good = fs::read(&file).unwrap();
    for damage in [&good[..good.len() / 2], b"", &[0xff; 40], &good.repeat(200)] {
        fs::write(&file, damage).unwrap();
        assert_eq!(kms.unwrap(&root(), &context(), &wrapped).await.map(|_| ()), Err(KmsError::Corrupt));
        let remade = kms.wrap(&root(), &context(), &key()).await.map(|_| ());
        assert_eq!(remade, Err(KmsError::Corrupt), "a damaged root is not made anew");
    }
    fs::write(&file, &good).unwrap();
    let other = RootRef::Region("fr".parse().unwrap());
    kms.wrap(&other, &context(), &key()).await.unwrap();
    fs::copy(&file, folder.path().join("keys/root-fr.key")).unwrap();
    assert_eq!(kms.unwrap(&other, &context(), &wrapped).await.map(|_| ()), Err(KmsError::Corrupt));
}

#[tokio::test]
async fn errors_and_debug_show_no_path_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let (kms, _) = open(folder.path()).unwrap();
    kms.wrap(&root(), &context(), &key()).await.unwrap();
    let file = root_files(folder.path()).pop().unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = kms.disable(&root()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(folder.path().to_str().unwrap()));
}
