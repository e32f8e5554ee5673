//! What every KMS does, whoever provides it. Panics with the rule that is broken.
#![expect(clippy::panic, reason = "a contract suite fails by panicking, as assert! does")]

use std::fmt::Debug;

use crate::keys::{KekContext, Kms, KmsError, RootRef, RootState, Wrapped};
use crate::model::{ClassCode, KekId, Secret, TenantCode};

/// How a contract run reaches the states of a root that no request can set.
pub trait KmsHarness {
    /// The implementation under test.
    type Kms: Kms;
    /// It.
    fn kms(&self) -> &Self::Kms;
    /// Enables a disabled root.
    fn enable(&self, root: &RootRef);
    /// Disables an enabled root, or cancels its destruction.
    fn disable(&self, root: &RootRef);
    /// Schedules its destruction.
    fn schedule(&self, root: &RootRef);
    /// Destroys a scheduled root.
    fn destroy(&self, root: &RootRef);
    /// Adds a version.
    fn rotate(&self, root: &RootRef);
}

/// Runs every rule against a fresh implementation; returns how many there were.
pub async fn kms_contract<H: KmsHarness>(harness: &H) -> usize {
    let kms = harness.kms();
    rules![
        round_trips(kms),
        context_is_bound(kms),
        roots_are_apart(kms),
        damage_is_found(kms),
        unknown_roots_are_denied(kms),
        old_versions_open_after_rotation(harness),
        states_are_obeyed(harness),
        destroyed_is_for_good(harness),
        nothing_secret_is_printed(kms),
    ]
}

fn root(name: u8) -> RootRef {
    RootRef::Tenant(region("fr"), TenantCode::from_bytes([name; 16]))
}

fn region(name: &str) -> crate::model::RegionId {
    name.parse().unwrap_or_else(|_| panic!("{name} is a region"))
}

fn context() -> KekContext {
    KekContext {
        environment: "test".parse().unwrap_or_else(|_| panic!("test is an environment")),
        region: region("fr"),
        tenant: TenantCode::from_bytes([1; 16]),
        class: ClassCode(3),
        kek_id: KekId::from_bytes([2; 16]),
        epoch: 1,
    }
}

fn key(byte: u8) -> Secret<[u8; 32]> {
    Secret::new([byte; 32])
}

fn must<T, E: Debug>(rule: &str, outcome: Result<T, E>) -> T {
    outcome.unwrap_or_else(|error| panic!("{rule}: {error:?}"))
}

async fn round_trips(kms: &impl Kms) {
    for (root, key) in [(root(1), key(1)), (RootRef::Region(region("fr")), key(2))] {
        let wrapped = must("a root is made at its first need", kms.wrap(&root, &context(), &key).await);
        assert!(wrapped.bytes.len() <= Wrapped::BYTES_MAX, "a wrapped key is bounded");
        assert!(
            !wrapped.bytes.windows(8).any(|window| window == &key.expose()[..8]),
            "a wrapped key does not show the key"
        );
        let opened = must("what was wrapped opens", kms.unwrap(&root, &context(), &wrapped).await);
        assert_eq!(opened.expose(), key.expose());
        let again = must("wrapping twice", kms.wrap(&root, &context(), &key).await);
        assert_ne!(again.bytes, wrapped.bytes, "two wraps of one key do not look alike");
    }
}

async fn context_is_bound(kms: &impl Kms) {
    let wrapped = must("wrap", kms.wrap(&root(1), &context(), &key(3)).await);
    let others = [
        KekContext { environment: "prod".parse().unwrap_or(context().environment), ..context() },
        KekContext { region: region("us"), ..context() },
        KekContext { tenant: TenantCode::from_bytes([9; 16]), ..context() },
        KekContext { class: ClassCode(4), ..context() },
        KekContext { kek_id: KekId::from_bytes([9; 16]), ..context() },
        KekContext { epoch: 2, ..context() },
    ];
    for other in others {
        let refused = kms.unwrap(&root(1), &other, &wrapped).await.map(|_| ());
        // Not every provider can tell a wrong context from damage.
        assert!(matches!(refused, Err(KmsError::WrongContext | KmsError::Corrupt)), "{other:?}: {refused:?}");
    }
}

async fn roots_are_apart(kms: &impl Kms) {
    let wrapped = must("wrap", kms.wrap(&root(1), &context(), &key(3)).await);
    must("another root", kms.wrap(&root(2), &context(), &key(3)).await);
    let refused = kms.unwrap(&root(2), &context(), &wrapped).await.map(|_| ());
    assert!(matches!(refused, Err(KmsError::WrongContext | KmsError::Corrupt)), "another root: {refused:?}");
}

async fn damage_is_found(kms: &impl Kms) {
    let wrapped = must("wrap", kms.wrap(&root(1), &context(), &key(3)).await);
    for at in 0..wrapped.bytes.len() {
        let mut bytes = wrapped.bytes.clone();
        bytes[at] ^= 0x40;
        let refused = kms.unwrap(&root(1), &context(), &Wrapped { bytes, ..wrapped }).await.map(|_| ());
        assert!(matches!(refused, Err(KmsError::WrongContext | KmsError::Corrupt)), "byte {at}: {refused:?}");
    }
    for length in 0..wrapped.bytes.len() {
        let bytes = wrapped.bytes[..length].to_vec();
        let refused = kms.unwrap(&root(1), &context(), &Wrapped { bytes, ..wrapped }).await.map(|_| ());
        assert!(
            matches!(refused, Err(KmsError::WrongContext | KmsError::Corrupt)),
            "cut at {length}: {refused:?}"
        );
    }
    let root_version = wrapped.root_version + 7;
    let refused = kms.unwrap(&root(1), &context(), &Wrapped { root_version, ..wrapped }).await.map(|_| ());
    assert!(refused.is_err(), "a version that never was");
}

async fn unknown_roots_are_denied(kms: &impl Kms) {
    let wrapped = must("wrap", kms.wrap(&root(1), &context(), &key(3)).await);
    for _ in 0..2 {
        let refused = kms.unwrap(&root(77), &context(), &wrapped).await.map(|_| ());
        assert_eq!(refused, Err(KmsError::Denied), "unwrap makes no root");
        assert_eq!(kms.status(&root(77)).await, Err(KmsError::Denied), "status makes no root");
    }
}

async fn old_versions_open_after_rotation<H: KmsHarness>(harness: &H) {
    let kms = harness.kms();
    let old = must("wrap", kms.wrap(&root(3), &context(), &key(3)).await);
    harness.rotate(&root(3));
    let new = must("wrap after rotation", kms.wrap(&root(3), &context(), &key(4)).await);
    let status = must("status", kms.status(&root(3)).await);
    assert_eq!(status.state, RootState::Enabled);
    assert_eq!((new.root_version, status.version), (old.root_version + 1, old.root_version + 1));
    assert_eq!(must("old", kms.unwrap(&root(3), &context(), &old).await).expose(), key(3).expose());
    assert_eq!(must("new", kms.unwrap(&root(3), &context(), &new).await).expose(), key(4).expose());
    let swapped = Wrapped { root_version: new.root_version, ..old };
    assert!(kms.unwrap(&root(3), &context(), &swapped).await.is_err(), "the version is bound");
}

async fn states_are_obeyed<H: KmsHarness>(harness: &H) {
    let kms = harness.kms();
    let wrapped = must("wrap", kms.wrap(&root(4), &context(), &key(3)).await);
    harness.disable(&root(4));
    refuses(kms, &root(4), &wrapped, KmsError::Disabled).await;
    assert_eq!(must("status", kms.status(&root(4)).await).state, RootState::Disabled);
    harness.enable(&root(4));
    must("enabled again", kms.unwrap(&root(4), &context(), &wrapped).await);
    harness.schedule(&root(4));
    refuses(kms, &root(4), &wrapped, KmsError::ScheduledForDestruction).await;
    let state = must("status", kms.status(&root(4)).await).state;
    assert!(matches!(state, RootState::Scheduled(_)), "{state:?}");
    harness.disable(&root(4));
    refuses(kms, &root(4), &wrapped, KmsError::Disabled).await;
    harness.enable(&root(4));
    must("destruction cancelled", kms.unwrap(&root(4), &context(), &wrapped).await);
    must("another root is untouched", kms.wrap(&root(1), &context(), &key(3)).await);
}

async fn destroyed_is_for_good<H: KmsHarness>(harness: &H) {
    let kms = harness.kms();
    let wrapped = must("wrap", kms.wrap(&root(5), &context(), &key(3)).await);
    harness.schedule(&root(5));
    harness.destroy(&root(5));
    for _ in 0..2 {
        // Twice: wrapping must not have made the root anew.
        refuses(kms, &root(5), &wrapped, KmsError::Destroyed).await;
    }
    assert_eq!(must("status", kms.status(&root(5)).await).state, RootState::Destroyed);
}

async fn nothing_secret_is_printed(kms: &impl Kms) {
    let key = Secret::new(*b"a marker that must not be seen..");
    let wrapped = must("wrap", kms.wrap(&root(6), &context(), &key).await);
    let seen = format!("{kms:?} {:?} {wrapped:?}", kms.describe());
    assert!(!seen.contains("marker") && !seen.contains(&hex::encode(key.expose())), "Debug shows a key");
}

async fn refuses(kms: &impl Kms, root: &RootRef, wrapped: &Wrapped, error: KmsError) {
    assert_eq!(kms.wrap(root, &context(), &key(1)).await.map(|_| ()), Err(error), "wrap");
    assert_eq!(kms.unwrap(root, &context(), wrapped).await.map(|_| ()), Err(error), "unwrap");
}
