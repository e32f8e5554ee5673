//! The contract suites on every implementation.

use std::sync::Arc;
use std::time::Duration;

use terroir::keys::testing::{KmsHarness, MemoryKeyStore, ScriptedKms, kms_contract, store_contract};
use terroir::keys::{DESTRUCTION_WAIT_MIN, LocalFileKms, RootRef, RootState, SqliteKeyStore};
use terroir::model::{Clock, ManualClock, SystemEntropy, Timestamp};

struct Files {
    kms: LocalFileKms,
    clock: Arc<ManualClock>,
}

impl KmsHarness for Files {
    type Kms = LocalFileKms;

    fn kms(&self) -> &LocalFileKms {
        &self.kms
    }

    fn enable(&self, root: &RootRef) {
        self.kms.enable(root).unwrap();
    }

    fn disable(&self, root: &RootRef) {
        self.kms.disable(root).unwrap();
    }

    fn schedule(&self, root: &RootRef) {
        self.kms.schedule_destruction(root, DESTRUCTION_WAIT_MIN).unwrap();
    }

    fn destroy(&self, root: &RootRef) {
        self.clock.advance(DESTRUCTION_WAIT_MIN);
        self.kms.destroy(root).unwrap();
    }

    fn rotate(&self, root: &RootRef) {
        self.kms.rotate(root).unwrap();
    }
}

struct Scripted(ScriptedKms);

impl KmsHarness for Scripted {
    type Kms = ScriptedKms;

    fn kms(&self) -> &ScriptedKms {
        &self.0
    }

    fn enable(&self, root: &RootRef) {
        self.0.set_state(root, RootState::Enabled);
    }

    fn disable(&self, root: &RootRef) {
        self.0.set_state(root, RootState::Disabled);
    }

    fn schedule(&self, root: &RootRef) {
        self.0.set_state(root, RootState::Scheduled(Timestamp::from_seconds(9)));
    }

    fn destroy(&self, root: &RootRef) {
        self.0.set_state(root, RootState::Destroyed);
    }

    fn rotate(&self, root: &RootRef) {
        self.0.rotate(root);
    }
}

#[tokio::test]
async fn local_files_keep_the_kms_contract() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000)));
    let kms = LocalFileKms::open(
        folder.path().join("keys"),
        String::from("FR"),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::new(SystemEntropy),
    );
    let rules = kms_contract(&Files { kms: kms.unwrap(), clock }).await;
    println!("contract kms × local-file: {rules} rules");
}

#[tokio::test]
async fn the_scripted_kms_keeps_the_kms_contract() {
    let rules = kms_contract(&Scripted(ScriptedKms::new())).await;
    println!("contract kms × scripted: {rules} rules");
}

#[tokio::test]
async fn sqlite_keeps_the_key_store_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.sqlite");
    let (one, two) = tokio::join!(SqliteKeyStore::open(&path), SqliteKeyStore::open(&path));
    let rules = store_contract(&one.unwrap(), &two.unwrap()).await;
    println!("contract key-store × sqlite: {rules} rules");
}

#[tokio::test]
async fn the_memory_store_keeps_the_key_store_contract() {
    let one = MemoryKeyStore::new();
    let rules = store_contract(&one, &one.clone()).await;
    println!("contract key-store × memory: {rules} rules");
}

#[tokio::test]
async fn a_kms_that_hangs_is_left_by_the_callers_own_limit() {
    // The double refuses as scripted, called without the ring.
    use terroir::keys::testing::Fault;
    use terroir::keys::{Kms, KmsError};
    let kms = ScriptedKms::new();
    let root = RootRef::Region("fr".parse().unwrap());
    kms.next(Fault::Fail(KmsError::Disabled));
    assert_eq!(kms.status(&root).await, Err(KmsError::Disabled));
    kms.next(Fault::Hang);
    assert!(tokio::time::timeout(Duration::from_millis(5), kms.status(&root)).await.is_err());
    assert_eq!(kms.status(&root).await, Err(KmsError::Denied), "no such root");
    assert_eq!(kms.counts().statuses, 3);
}
