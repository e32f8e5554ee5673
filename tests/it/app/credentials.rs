//! Access keys in a running proxy: obeyed soon, secrets nowhere in clear.

use std::path::Path;
use std::time::{Duration, Instant};

use terroir::keys::{KekSpec, KeysError, RootScope};
use terroir::model::{ClassCode, TenantCode};
use terroir::settings::{Limits, Scrub};
use terroir::telemetry::RefusalCode;
use terroir::testing::{Embedded, Setup};

use super::{World, is, put, refusal, until};

/// What the product promises: a running proxy obeys within this.
const OBEYS_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_key_is_refused_within_five_seconds_and_a_rotated_one_works_beside_the_old() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("fr", "clinic", "personal").await;
    let registry = world.app.site("fr").registry();
    let rotated = registry.rotate_credential(&clinic.credential.key_id, false).await.unwrap().new;
    let new = world.app.client("fr", &rotated);
    let begun = Instant::now();
    until("the new key to be known", async || new.list_buckets().send().await.ok()).await;
    assert!(begun.elapsed() < OBEYS_WITHIN, "{:?}", begun.elapsed());
    clinic.s3.list_buckets().send().await.expect("the old key still works");

    registry.disable_credential(&clinic.credential.key_id).await.unwrap();
    let begun = Instant::now();
    let refused =
        until("the old key to be refused", async || clinic.s3.list_buckets().send().await.err()).await;
    assert!(begun.elapsed() < OBEYS_WITHIN, "{:?}", begun.elapsed());
    assert_eq!(refusal::<(), _>(Err(refused)), is(403, "InvalidAccessKeyId"));
    put(&new, "clinic", "a", b"goes on").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_refused_and_a_resumed_one_finds_its_records() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("us", "clinic", "personal").await;
    let other = world.tenant("us", "other", "personal").await;
    put(&clinic.s3, "clinic", "a", b"kept").await;
    let registry = world.app.site("us").registry();
    registry.suspend_tenant(&clinic.tenant.id).await.unwrap();
    let refused =
        until("the tenant to be refused", async || clinic.s3.list_buckets().send().await.err()).await;
    assert_eq!(refusal::<(), _>(Err(refused)).0, 403);
    other.s3.list_buckets().send().await.unwrap();
    registry.resume_tenant(&clinic.tenant.id).await.unwrap();
    until("the tenant to be served", async || clinic.s3.list_buckets().send().await.ok()).await;
    assert_eq!(super::get(&clinic.s3, "clinic", "a").await, b"kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_and_an_unknown_key_open_nothing() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("fr", "clinic", "personal").await;
    let mut forged = clinic.credential.clone();
    forged.secret = terroir::model::Secret::new("x".repeat(40));
    let refused = world.app.client("fr", &forged).list_buckets().send().await;
    assert_eq!(refusal(refused), is(403, "SignatureDoesNotMatch"));
    let mut unknown = clinic.credential.clone();
    unknown.key_id =
        terroir::model::AccessKeyId::random(&"fr".parse().unwrap(), &terroir::model::SystemEntropy).unwrap();
    let refused = world.app.client("fr", &unknown).list_buckets().send().await;
    assert_eq!(refusal(refused), is(403, "InvalidAccessKeyId"));
    let lines = world.app.audit_lines("fr");
    assert!(
        lines.iter().all(|line| line["operation"] != "ListBuckets"),
        "strangers are counted, not recorded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_the_suspended_were_counted_as_unauthenticated() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let clinic = world.tenant("fr", "clinic", "personal").await;
    let other = world.tenant("fr", "other", "personal").await;
    let site = world.app.site("fr");
    site.registry().suspend_tenant(&clinic.tenant.id).await.unwrap();
    site.registry().disable_credential(&other.credential.key_id).await.unwrap();
    site.directory().refresh().await.unwrap();
    let count = |code| site.metrics().refusals(code).value();
    let before = count(RefusalCode::Suspended);
    for asked in [&clinic, &other] {
        let refused = asked.s3.list_buckets().send().await;
        assert_eq!(refusal(refused), is(403, "InvalidAccessKeyId"), "the caller learns nothing by it");
    }
    assert_eq!((count(RefusalCode::Suspended), count(RefusalCode::Unauthenticated)), (before + 2, 0));
    // The control: a stranger is still one.
    let mut unknown = clinic.credential.clone();
    unknown.key_id =
        terroir::model::AccessKeyId::random(&"fr".parse().unwrap(), &terroir::model::SystemEntropy).unwrap();
    assert_eq!(refusal(world.app.client("fr", &unknown).list_buckets().send().await).0, 403);
    assert_eq!((count(RefusalCode::Suspended), count(RefusalCode::Unauthenticated)), (before + 2, 1));
}

fn anywhere(dir: &Path, needle: &[u8]) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            if let Some(found) = anywhere(&entry.path(), needle) {
                return Some(found);
            }
        } else if std::fs::read(entry.path()).unwrap().windows(needle.len()).any(|window| window == needle) {
            return Some(entry.path());
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_in_no_file_and_a_key_id_is() {
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "health").await;
    put(&clinic.s3, "clinic", "a", b"x").await;
    let registry = world.app.site("fr").registry();
    let rotated = registry.rotate_credential(&clinic.credential.key_id, true).await.unwrap().new;
    for secret in [&clinic.credential.secret, &rotated.secret] {
        let secret = secret.expose();
        assert_eq!(anywhere(world.dir.path(), secret.as_bytes()), None);
        assert_eq!(anywhere(world.dir.path(), hex::encode(secret).as_bytes()), None);
    }
    assert!(
        anywhere(world.dir.path(), clinic.credential.key_id.as_str().as_bytes()).is_some(),
        "the positive control"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regions_folders_are_its_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    let clinic = world.tenant("fr", "clinic", "personal").await;
    put(&clinic.s3, "clinic", "a", b"kept").await;
    let mut folders = vec![world.app.dir("fr")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", folder.display());
        let inner = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        folders.extend(inner.filter(|path| path.is_dir()));
        seen += 1;
    }
    assert!(seen >= 5, "store, index, keys, audit in their own: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_of_a_served_region_outlives_the_longest_write() {
    let world = World::of(&Setup { store: Embedded::Memory, ..Setup::default() }).await;
    let ring = world.app.site("fr").ring();
    let tenant = TenantCode::from_bytes([1; 16]);
    let spec = KekSpec {
        class: ClassCode(3),
        root: RootScope::Region,
        ttl: Duration::from_mins(1),
        stale: Duration::ZERO,
    };
    ring.current(tenant, &spec).await.unwrap();
    ring.rotate(tenant, &spec).await.unwrap();
    let Err(KeysError::TooSoon { seconds }) = ring.retire(tenant, &spec, 1, 0).await else {
        panic!("retired at once")
    };
    let limits = Limits::default();
    let horizon = limits.reclaim_delay_s.max(Scrub::default().restore_horizon_s);
    assert!(seconds > horizon / 2, "{seconds}");
}
