//! The contract suites on every implementation.

use std::sync::Arc;
use std::time::Duration;

use terroir::keys::testing::{KmsHarness, MemoryKeyStore, ScriptedKms, kms_contract, store_contract};
use terroir::keys::{
    Canary, DESTRUCTION_WAIT_MIN, KekSpec, KeyStore as _, LocalFileKms, PostgresKeyStore, Ring, RingParts,
    RingSettings, RootRef, RootScope, RootState, SqliteKeyStore, StoreError, Wrapped,
};
use terroir::model::{ClassCode, Clock, KekId, ManualClock, SystemEntropy, TenantCode, Timestamp};

use crate::support::contract::held;

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
    held("kms × local-file", rules);
}

#[tokio::test]
async fn the_scripted_kms_keeps_the_kms_contract() {
    let rules = kms_contract(&Scripted(ScriptedKms::new())).await;
    held("kms × scripted", rules);
}

#[tokio::test]
async fn sqlite_keeps_the_key_store_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.sqlite");
    let (one, two) = tokio::join!(SqliteKeyStore::open(&path), SqliteKeyStore::open(&path));
    let rules = store_contract(&one.unwrap(), &two.unwrap()).await;
    held("key-store × sqlite", rules);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_key_store_contract() {
    let database = crate::support::postgres::shared().database().await;
    let clock = ManualClock::at(Timestamp::from_seconds(1_000));
    let open = || PostgresKeyStore::open(database.address(), &clock);
    let (one, two) = tokio::join!(open(), open());
    let rules = store_contract(&one.unwrap(), &two.unwrap()).await;
    held("key-store × postgres", rules);
    database.run("INSERT INTO terroir_keys.migrations (version, applied_ms) VALUES (9, 0)").await;
    let refused = open().await;
    assert!(matches!(refused, Err(StoreError::NewerSchema { found: 9, known: 1 })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_store_that_would_lose_what_it_acknowledged_is_refused() {
    let database = crate::support::postgres::shared().database().await;
    database.run(&format!("ALTER DATABASE {} SET synchronous_commit = off", database.name)).await;
    let clock = ManualClock::at(Timestamp::from_seconds(1_000));
    let refused = PostgresKeyStore::open(database.address(), &clock).await;
    assert!(
        matches!(&refused, Err(StoreError::Demand(demand)) if demand.setting == "synchronous_commit"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_store_swapped_under_us_is_neither_read_nor_written() {
    let database = crate::support::postgres::shared().database().await;
    let clock = ManualClock::at(Timestamp::from_seconds(1_000));
    let store = PostgresKeyStore::open(database.address(), &clock).await.unwrap();
    let canary = |environment: &str| Canary {
        environment: environment.parse().unwrap(),
        region: "fr".parse().unwrap(),
        id: KekId::from_bytes([1; 16]),
        wrapped: Wrapped { root_version: 1, bytes: vec![1, 2, 3] },
    };
    store.canary_or(&canary("test")).await.unwrap();
    // Another fleet's in its place, and the connections of the old one end.
    let script = format!(
        "UPDATE terroir_keys.canary SET text = '{}'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
        canary("prod")
    );
    database.run(&script).await;
    for _ in 0..2 {
        let read = store.newest(TenantCode::from_bytes([7; 16]), ClassCode(3)).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_mint_one_key_at_once_end_with_one() {
    let database = crate::support::postgres::shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000)));
    let mut rings = Vec::new();
    for _ in 0..4 {
        let roots = folder.path().join("roots");
        let kms = LocalFileKms::open(roots, String::from("FR"), Arc::clone(&clock), Arc::new(SystemEntropy))
            .unwrap();
        let store = PostgresKeyStore::open(database.address(), &*clock).await.unwrap();
        let parts = RingParts {
            kms: Arc::new(kms),
            store: Arc::new(store),
            clock: Arc::clone(&clock),
            entropy: Arc::new(SystemEntropy),
        };
        let settings = RingSettings::new("test".parse().unwrap(), "fr".parse().unwrap());
        rings.push(Ring::open(parts, settings, &[]).await.unwrap());
    }
    let spec = KekSpec {
        class: terroir::model::ClassCode(3),
        root: RootScope::Tenant,
        ttl: Duration::from_mins(5),
        stale: Duration::from_mins(5),
    };
    for n in 0..8 {
        let tenant = terroir::model::TenantCode::from_bytes([n; 16]);
        let minting: Vec<_> = rings
            .iter()
            .map(|ring| {
                let (ring, spec) = (ring.clone(), spec);
                tokio::spawn(async move { ring.current(tenant, &spec).await.unwrap() })
            })
            .collect();
        let mut keys = Vec::new();
        for minted in minting {
            let handle = minted.await.unwrap();
            keys.push((handle.id(), handle.epoch(), handle.key().expose().to_owned()));
        }
        keys.dedup();
        assert_eq!(keys.len(), 1, "one key, and the same bytes of it, whoever made it");
    }
}

#[tokio::test]
async fn the_memory_store_keeps_the_key_store_contract() {
    let one = MemoryKeyStore::new();
    let rules = store_contract(&one, &one.clone()).await;
    held("key-store × memory", rules);
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
