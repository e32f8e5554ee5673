//! Tests of the verbs and the snapshot, over a real index file that a second process changes and an attacker edits.

mod poller;
mod rotation;
mod set_clock;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sqlx::{ConnectOptions, Row};

use super::sealed_row::{self, CREDENTIAL, TENANT};
use super::*;
use crate::catalogue::{Catalogue, Source};
use crate::index::{Index, Opening, SqliteIndex, SqliteOptions};
use crate::keys::testing::{Fault, MemoryKeyStore, ScriptedKms};
use crate::keys::{KmsError, Ring, RingParts, RingSettings};
use crate::model::{
    AccessKeyId, Clock, Credential, CredentialStatus, ManualClock, SystemEntropy, Tenant, TenantId,
    TenantStatus, Timestamp, Unclassified, Weight,
};

struct Bench {
    folder: tempfile::TempDir,
    index: Arc<SqliteIndex>,
    kms: ScriptedKms,
    ring: Ring,
    registry: Registry,
    clock: Arc<ManualClock>,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_000_000)));
        let kms = ScriptedKms::new();
        let ring = ring(&kms, &clock).await;
        let index = Arc::new(open_index(folder.path().join("index.sqlite")).await);
        let registry = registry(&index, &ring, &clock);
        Self { folder, index, kms, ring, registry, clock }
    }

    async fn directory(&self) -> Directory {
        let (index, clock) = (Arc::clone(&self.index), Arc::clone(&self.clock));
        let settings = DirectorySettings::default();
        Directory::open(index, self.ring.clone(), settings, clock, Arc::new(SystemEntropy)).await.unwrap()
    }

    async fn clinic(&self) -> (Tenant, Credential) {
        let tenant = self.registry.create_tenant(new_tenant("clinic")).await.unwrap();
        let credential = self.registry.create_credential(&tenant.id, "ingest").await.unwrap();
        (tenant, credential)
    }

    /// What somebody with the index file, and no key, does.
    async fn attack(&self, sql: &'static str) {
        let path = self.folder.path().join("index.sqlite");
        let mut raw = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut raw).await.unwrap();
    }
}

async fn ring(kms: &ScriptedKms, clock: &Arc<ManualClock>) -> Ring {
    let parts = RingParts {
        kms: Arc::new(kms.clone()),
        store: Arc::new(MemoryKeyStore::new()),
        clock: Arc::clone(clock) as _,
        entropy: Arc::new(SystemEntropy),
    };
    let settings =
        RingSettings { pause_ms: 0, ..RingSettings::new("test".parse().unwrap(), "fr".parse().unwrap()) };
    Ring::open(parts, settings, &[]).await.unwrap()
}

async fn open_index(path: PathBuf) -> SqliteIndex {
    let (region, environment) = ("fr".parse().unwrap(), "test".parse().unwrap());
    let options = SqliteOptions::new(path, region, environment, Opening::CreateIfMissing);
    SqliteIndex::open(options, &ManualClock::default(), &SystemEntropy).await.unwrap()
}

fn registry(index: &Arc<SqliteIndex>, ring: &Ring, clock: &Arc<ManualClock>) -> Registry {
    let accepts = Accepts {
        region: "fr".parse().unwrap(),
        classes: ["personal", "health"].map(|class| class.parse().unwrap()).into(),
    };
    Registry::new(
        Arc::clone(index) as _,
        ring.clone(),
        accepts,
        Arc::clone(clock) as _,
        Arc::new(SystemEntropy),
    )
}

fn new_tenant(id: &str) -> NewTenant {
    NewTenant {
        id: id.parse().unwrap(),
        home: "fr".parse().unwrap(),
        default_class: "health".parse().unwrap(),
        unclassified: Unclassified::TakesDefault,
    }
}

fn reason(answer: Result<Identity, Unidentified>) -> Option<Reason> {
    answer.err().map(|unidentified| unidentified.reason)
}

#[tokio::test]
async fn a_tenant_is_created_shown_suspended_resumed_and_changed() {
    let bench = Bench::new().await;
    let made = bench.registry.create_tenant(new_tenant("clinic")).await.unwrap();
    assert_eq!((made.status, made.created), (TenantStatus::Active, bench.clock.now()));
    bench.registry.create_tenant(new_tenant("biolab")).await.unwrap();
    let listed = bench.registry.list_tenants().await.unwrap();
    assert_eq!(listed.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>(), ["biolab", "clinic"]);
    assert_ne!(listed[0].code, listed[1].code);
    for _ in 0..2 {
        assert_eq!(bench.registry.suspend_tenant(&made.id).await.unwrap().status, TenantStatus::Suspended);
    }
    assert_eq!(bench.registry.show_tenant(&made.id).await.unwrap().status, TenantStatus::Suspended);
    assert_eq!(bench.registry.resume_tenant(&made.id).await.unwrap(), made);
    let personal = "personal".parse().unwrap();
    let changed = bench.registry.set_default_class(&made.id, &personal, Unclassified::Refused).await.unwrap();
    assert_eq!((changed.default_class, changed.unclassified), (personal, Unclassified::Refused));
}

#[tokio::test]
async fn a_tenant_of_another_region_or_an_unknown_class_is_refused() {
    let bench = Bench::new().await;
    let us = NewTenant { home: "us".parse().unwrap(), ..new_tenant("clinic") };
    assert!(matches!(bench.registry.create_tenant(us).await, Err(TenantsError::WrongRegion { .. })));
    let odd = NewTenant { default_class: "odd".parse().unwrap(), ..new_tenant("clinic") };
    assert!(matches!(bench.registry.create_tenant(odd).await, Err(TenantsError::NoSuchClass(_))));
    assert!(bench.registry.list_tenants().await.unwrap().is_empty());
    let id: TenantId = "clinic".parse().unwrap();
    assert!(matches!(bench.registry.show_tenant(&id).await, Err(TenantsError::NoSuchTenant(_))));
    let orphan = bench.registry.create_credential(&id, "ingest").await;
    assert!(matches!(orphan, Err(TenantsError::NoSuchTenant(_))));
}

#[test]
fn what_a_region_accepts_comes_from_the_catalogue() {
    let catalogue = Catalogue::load(&Source::Embedded, Timestamp::from_seconds(1_795_458_123)).unwrap();
    let fr = Accepts::of(&catalogue, &"fr".parse().unwrap()).unwrap();
    assert!(fr.classes.contains(&"health".parse().unwrap()));
    assert!(!fr.classes.contains(&"odd".parse().unwrap()));
    assert_eq!(Accepts::of(&catalogue, &"atlantis".parse().unwrap()), None);
}

#[tokio::test]
async fn of_two_who_create_one_tenant_one_is_refused() {
    let bench = Bench::new().await;
    let (a, b) = tokio::join!(
        bench.registry.create_tenant(new_tenant("clinic")),
        bench.registry.create_tenant(new_tenant("clinic")),
    );
    let refused = [a.is_err(), b.is_err()];
    assert_eq!(refused.iter().filter(|refused| **refused).count(), 1);
    let again = bench.registry.create_tenant(new_tenant("clinic")).await;
    assert!(matches!(again, Err(TenantsError::TenantExists(_))));
}

#[tokio::test]
async fn a_credential_carries_its_region_and_its_secret_is_nowhere_in_clear() {
    let bench = Bench::new().await;
    let (tenant, one) = bench.clinic().await;
    let two = bench.registry.create_credential(&tenant.id, "ingest").await.unwrap();
    assert_eq!(one.secret.expose().len(), 40);
    assert!(one.secret != two.secret && one.key_id != two.key_id);
    assert_eq!(one.key_id.region().as_str(), "fr");
    let shown = bench.registry.show_credential(&one.key_id).await.unwrap();
    let listed = bench.registry.list_credentials(&tenant.id).await.unwrap();
    assert!(listed.contains(&shown) && listed.len() == 2);
    let (mut files, mut bytes) = (0, Vec::new());
    for entry in std::fs::read_dir(bench.folder.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    let found = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(found(one.key_id.as_str().as_bytes()), "the control: names of rows are found, in {files} files");
    let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, one.secret.expose())
        .unwrap();
    for form in [one.secret.expose().clone().into_bytes(), hex::encode(one.secret.expose()).into_bytes(), raw]
    {
        assert!(!found(&form));
    }
}

#[tokio::test]
async fn disabling_is_for_good_and_erases_the_secret() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    for _ in 0..2 {
        let shown = bench.registry.disable_credential(&one.key_id).await.unwrap();
        assert_eq!(shown.status, CredentialStatus::Disabled);
    }
    let row = bench.index.row(CREDENTIAL, one.key_id.as_str()).await.unwrap().unwrap();
    let stored: Credential = sealed_row::open(&bench.ring, &row).await.unwrap();
    assert_eq!(stored.secret.expose(), "");
    let refused = bench.registry.rotate_credential(&one.key_id, true).await;
    assert!(matches!(refused, Err(TenantsError::Disabled(_))));
    let stranger = AccessKeyId::random(&"fr".parse().unwrap(), &SystemEntropy).unwrap();
    let unknown = bench.registry.disable_credential(&stranger).await;
    assert!(matches!(unknown, Err(TenantsError::NoSuchCredential(_))));
}

#[tokio::test]
async fn a_tenant_has_at_most_twenty_active_credentials() {
    let bench = Bench::new().await;
    let (tenant, one) = bench.clinic().await;
    for _ in 1..CREDENTIALS_PER_TENANT_MAX {
        bench.registry.create_credential(&tenant.id, "more").await.unwrap();
    }
    for refused in [
        bench.registry.create_credential(&tenant.id, "more").await,
        bench.registry.rotate_credential(&one.key_id, false).await.map(|rotated| rotated.new),
    ] {
        assert!(matches!(refused, Err(TenantsError::TooMany { count_max: 20, .. })));
    }
    bench.registry.rotate_credential(&one.key_id, true).await.unwrap();
    bench.registry.create_tenant(new_tenant("biolab")).await.unwrap();
    bench.registry.create_credential(&"biolab".parse().unwrap(), "its own limit").await.unwrap();
}

#[tokio::test]
async fn labels_are_short_and_printable() {
    let bench = Bench::new().await;
    let (tenant, _) = bench.clinic().await;
    for bad in ["", "a\nb", "\u{1b}[31m", "x".repeat(65).as_str()] {
        let refused = bench.registry.create_credential(&tenant.id, bad).await;
        assert!(matches!(refused, Err(TenantsError::BadLabel)));
    }
}

#[tokio::test]
async fn unknown_disabled_and_suspended_differ_inside_and_look_alike_outside() {
    let bench = Bench::new().await;
    let (tenant, one) = bench.clinic().await;
    let two = bench.registry.create_credential(&tenant.id, "two").await.unwrap();
    bench.registry.disable_credential(&two.key_id).await.unwrap();
    let stranger = AccessKeyId::random(&"fr".parse().unwrap(), &SystemEntropy).unwrap();
    let directory = bench.directory().await;
    assert!(directory.lookup(&one.key_id).is_ok());
    bench.registry.suspend_tenant(&tenant.id).await.unwrap();
    directory.refresh().await.unwrap();
    let mut texts = Vec::new();
    for (key, wanted) in [
        (&stranger, Reason::UnknownKey),
        (&two.key_id, Reason::CredentialDisabled),
        (&one.key_id, Reason::TenantSuspended),
    ] {
        let refused = directory.lookup(key).unwrap_err();
        assert_eq!(refused.reason, wanted);
        assert_eq!(refused.decoy().expose().len(), 40, "there is always something to verify against");
        assert!(*refused.decoy() != one.secret && *refused.decoy() != two.secret);
        texts.push(refused.to_string());
    }
    assert!(texts.iter().all(|text| *text == texts[0]));
    bench.registry.resume_tenant(&tenant.id).await.unwrap();
    directory.refresh().await.unwrap();
    assert!(directory.lookup(&one.key_id).is_ok());
}

#[tokio::test]
async fn a_running_proxy_obeys_another_process_within_five_seconds() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    let directory = bench.directory().await;
    let _watch = directory.watch();
    let other = Arc::new(open_index(bench.folder.path().join("index.sqlite")).await);
    let command_line = registry(&other, &bench.ring, &bench.clock);
    command_line.disable_credential(&one.key_id).await.unwrap();
    let two = command_line.create_credential(&"clinic".parse().unwrap(), "new").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while directory.lookup(&one.key_id).is_ok() || directory.lookup(&two.key_id).is_err() {
            ticks.tick().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_refresh_without_changes_reads_one_number() {
    let bench = Bench::new().await;
    bench.clinic().await;
    let directory = bench.directory().await;
    let before = bench.index.statements();
    assert!(!directory.refresh().await.unwrap());
    assert_eq!(bench.index.statements() - before, 1);
}

#[tokio::test]
async fn without_an_index_the_snapshot_answers_for_thirty_seconds_and_then_503() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    let directory = bench.directory().await;
    bench.index.close().await;
    assert!(directory.refresh().await.is_err());
    bench.clock.advance(Duration::from_secs(30));
    assert!(directory.lookup(&one.key_id).is_ok());
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::Stale));
    let stranger = AccessKeyId::random(&"fr".parse().unwrap(), &SystemEntropy).unwrap();
    assert_eq!(reason(directory.lookup(&stranger)), Some(Reason::Stale), "not 'unknown': nobody can know");
}

#[tokio::test]
async fn without_a_kms_for_too_long_changes_are_not_guessed() {
    let bench = Bench::new().await;
    let (tenant, one) = bench.clinic().await;
    let directory = bench.directory().await;
    bench.registry.create_credential(&tenant.id, "two").await.unwrap();
    bench.clock.advance(Duration::from_hours(2));
    bench.kms.always(Some(Fault::Fail(KmsError::Denied)));
    assert!(matches!(directory.refresh().await, Err(TenantsError::Keys(_))));
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::Stale));
}

#[tokio::test]
async fn rows_swapped_in_the_index_are_not_served_and_the_others_are() {
    let bench = Bench::new().await;
    let (tenant, one) = bench.clinic().await;
    let two = bench.registry.create_credential(&tenant.id, "two").await.unwrap();
    bench.registry.create_tenant(new_tenant("biolab")).await.unwrap();
    let three = bench.registry.create_credential(&"biolab".parse().unwrap(), "three").await.unwrap();
    assert!(bench.directory().await.lookup(&one.key_id).is_ok(), "the control");
    // Every credential's row gets the content of another one's.
    bench.attack(
        "CREATE TEMP TABLE kept AS SELECT id, sealed FROM directory WHERE kind = 'credential';
         UPDATE directory SET sealed = (SELECT sealed FROM kept WHERE kept.id <> directory.id ORDER BY kept.id LIMIT 1)
         WHERE kind = 'credential';",
    )
    .await;
    let directory = bench.directory().await;
    for key in [&one, &two, &three] {
        assert_eq!(reason(directory.lookup(&key.key_id)), Some(Reason::UnknownKey));
    }
    let four = bench.registry.create_tenant(new_tenant("imaging")).await;
    assert!(four.is_ok(), "tenants' rows are untouched");
    assert!(matches!(bench.registry.list_credentials(&tenant.id).await, Err(TenantsError::Corrupt { .. })));
}

#[tokio::test]
async fn an_old_content_under_a_newer_generation_is_not_served() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    let active = bench.index.row(CREDENTIAL, one.key_id.as_str()).await.unwrap().unwrap();
    bench.registry.disable_credential(&one.key_id).await.unwrap();
    // The attacker stores the active row's bytes as generation 3.
    bench.index.put_row(CREDENTIAL, one.key_id.as_str(), 2, active.sealed).await.unwrap();
    let directory = bench.directory().await;
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::UnknownKey));
}

#[tokio::test]
async fn a_disabled_credential_does_not_come_back_in_a_running_proxy() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    bench.attack("CREATE TABLE kept AS SELECT * FROM directory").await;
    bench.registry.disable_credential(&one.key_id).await.unwrap();
    let directory = bench.directory().await;
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::CredentialDisabled));
    // The whole old row, with its own generation, as the newest change.
    bench
        .attack(
            "UPDATE sequences SET value = value + 1 WHERE name = 'directory';
             UPDATE directory SET generation = 1, change = (SELECT value FROM sequences WHERE name = 'directory'),
                 sealed = (SELECT sealed FROM kept WHERE kept.id = directory.id) WHERE kind = 'credential';",
        )
        .await;
    assert!(directory.refresh().await.unwrap());
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::CredentialDisabled));
    // Even sealed with our own key, as a newer generation: no verb does that.
    let sealed = sealed_row::seal(&bench.ring, &one, 2).await.unwrap();
    bench.index.put_row(CREDENTIAL, one.key_id.as_str(), 1, sealed.into()).await.unwrap();
    let sealed = sealed_row::seal(&bench.ring, &one, 3).await.unwrap();
    bench.index.put_row(CREDENTIAL, one.key_id.as_str(), 2, sealed.into()).await.unwrap();
    assert!(directory.refresh().await.unwrap());
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::CredentialDisabled));
}

#[tokio::test]
async fn a_directory_that_went_back_in_time_is_refused() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    let directory = bench.directory().await;
    bench.attack("UPDATE sequences SET value = value - 1 WHERE name = 'directory'").await;
    assert!(matches!(directory.refresh().await, Err(TenantsError::RolledBack { seen: 2, found: 1 })));
    bench.clock.advance(Duration::from_secs(31));
    assert_eq!(reason(directory.lookup(&one.key_id)), Some(Reason::Stale));
}

#[tokio::test]
async fn changes_that_are_announced_and_not_shown_are_not_taken_for_none() {
    let bench = Bench::new().await;
    bench.clinic().await;
    let directory = bench.directory().await;
    bench.attack("UPDATE sequences SET value = value + 1 WHERE name = 'directory'").await;
    assert!(directory.refresh().await.is_err());
}

#[tokio::test]
async fn rows_sealed_by_another_region_or_for_another_name_are_not_served() {
    let bench = Bench::new().await;
    let (tenant, one) = bench.clinic().await;
    let stranger = ring(&ScriptedKms::new(), &bench.clock).await;
    let sealed = sealed_row::seal(&stranger, &tenant, 2).await.unwrap();
    bench.index.put_row(TENANT, "clinic", 1, sealed.into()).await.unwrap();
    assert_eq!(reason(bench.directory().await.lookup(&one.key_id)), Some(Reason::UnknownKey));
    let us = Tenant { home: "us".parse().unwrap(), ..tenant };
    let sealed = sealed_row::seal(&bench.ring, &us, 3).await.unwrap();
    bench.index.put_row(TENANT, "clinic", 2, sealed.into()).await.unwrap();
    let refused = reason(bench.directory().await.lookup(&one.key_id));
    assert_eq!(refused, Some(Reason::UnknownKey), "its home is elsewhere");
}

#[tokio::test]
async fn a_tenants_weight_is_kept_and_the_default_leaves_the_row_as_releases_before_it_read_it() {
    let bench = Bench::new().await;
    let (tenant, one) = bench.clinic().await;
    let row = async || bench.index.row(TENANT, "clinic").await.unwrap().unwrap();
    let plain = row().await.sealed.len();
    let heavy = Weight::try_from(4).unwrap();
    assert_eq!(bench.registry.set_weight(&tenant.id, heavy).await.unwrap().weight, heavy);
    assert_eq!(row().await.sealed.len(), plain + 3, "a field of one byte behind its length");
    assert_eq!(bench.directory().await.lookup(&one.key_id).unwrap().tenant.weight, heavy);
    bench.registry.set_weight(&tenant.id, Weight::default()).await.unwrap();
    assert_eq!(row().await.sealed.len(), plain);
    assert_eq!(bench.registry.show_tenant(&tenant.id).await.unwrap(), tenant);
}

#[tokio::test]
async fn an_active_credential_without_a_secret_is_never_accepted() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    for secret in ["", "short"] {
        let empty = Credential { secret: crate::model::Secret::new(secret.to_owned()), ..one.clone() };
        let sealed = sealed_row::seal(&bench.ring, &empty, 1).await.unwrap();
        let row = crate::index::DirectoryRow {
            kind: CREDENTIAL.to_owned(),
            id: one.key_id.as_str().to_owned(),
            generation: 1,
            change: 1,
            sealed: sealed.into(),
        };
        let opened = sealed_row::open::<Credential>(&bench.ring, &row).await;
        assert!(matches!(opened, Err(TenantsError::Corrupt { .. })));
    }
}

#[tokio::test]
async fn nothing_prints_a_secret() {
    let bench = Bench::new().await;
    let (_, one) = bench.clinic().await;
    let directory = bench.directory().await;
    let identity = directory.lookup(&one.key_id).unwrap();
    let summary = bench.registry.show_credential(&one.key_id).await.unwrap();
    let stranger = AccessKeyId::random(&"fr".parse().unwrap(), &SystemEntropy).unwrap();
    let refused = directory.lookup(&stranger).unwrap_err();
    let error = bench.registry.create_credential(&"clinic".parse().unwrap(), "").await.unwrap_err();
    let seen = format!(
        "{one:?} {identity:?} {summary:?} {refused:?} {refused} {error:?} {error} {directory:?} {:?}",
        bench.registry
    );
    assert!(seen.contains(one.key_id.as_str()), "the control");
    assert!(!seen.contains(one.secret.expose()) && !seen.contains(refused.decoy().expose()));
}

#[tokio::test]
async fn settings_that_could_not_obey_within_five_seconds_are_refused() {
    let bench = Bench::new().await;
    let second = Duration::from_secs(1);
    for (poll, stale_max) in
        [(3 * second, 30 * second), (second / 100, 30 * second), (second, 61 * second), (second, second / 2)]
    {
        let settings = DirectorySettings { poll, stale_max };
        let (index, clock) = (Arc::clone(&bench.index), Arc::clone(&bench.clock));
        let refused =
            Directory::open(index, bench.ring.clone(), settings, clock, Arc::new(SystemEntropy)).await;
        assert!(matches!(refused, Err(TenantsError::Settings(_))));
    }
}

#[tokio::test]
async fn rows_say_nothing_but_their_names() {
    let bench = Bench::new().await;
    let (tenant, _) = bench.clinic().await;
    let path = bench.folder.path().join("index.sqlite");
    let mut raw = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let rows = sqlx::query("SELECT sealed FROM directory").fetch_all(&mut raw).await.unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let sealed: Vec<u8> = row.get(0);
        for name in [b"clinic".as_slice(), b"health", b"ingest", b"active", tenant.code.as_bytes()] {
            assert!(!sealed.windows(name.len()).any(|window| window == name));
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Create,
    Disable(usize),
    Rotate(usize, bool),
    Suspend,
    Resume,
    Restart,
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![
        3 => Just(Verb::Create),
        2 => any::<usize>().prop_map(Verb::Disable),
        2 => any::<(usize, bool)>().prop_map(|(at, disable)| Verb::Rotate(at, disable)),
        1 => Just(Verb::Suspend),
        2 => Just(Verb::Resume),
        1 => Just(Verb::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is done in whatever order: after a refresh the snapshot says what a plain map says.
    #[test]
    fn the_snapshot_equals_a_plain_model(verbs in prop::collection::vec(verb(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let tenant = bench.registry.create_tenant(new_tenant("clinic")).await.unwrap().id;
            let mut model: BTreeMap<AccessKeyId, (String, bool)> = BTreeMap::new();
            let (mut suspended, mut directory) = (false, bench.directory().await);
            for verb in verbs {
                let pick = |at: usize| model.keys().nth(at % model.len().max(1)).cloned();
                match verb {
                    Verb::Create => {
                        if let Ok(new) = bench.registry.create_credential(&tenant, "x").await {
                            model.insert(new.key_id, (new.secret.expose().clone(), true));
                        }
                    }
                    Verb::Disable(at) => {
                        if let Some(key) = pick(at) {
                            bench.registry.disable_credential(&key).await.unwrap();
                            model.get_mut(&key).unwrap().1 = false;
                        }
                    }
                    Verb::Rotate(at, disable) => {
                        if let Some(key) = pick(at) {
                            let outcome = bench.registry.rotate_credential(&key, disable).await;
                            if !model[&key].1 {
                                prop_assert!(outcome.is_err());
                            }
                            if let Ok(Rotated { new, .. }) = outcome {
                                model.get_mut(&key).unwrap().1 = !disable;
                                model.insert(new.key_id, (new.secret.expose().clone(), true));
                            }
                        }
                    }
                    Verb::Suspend => {
                        bench.registry.suspend_tenant(&tenant).await.unwrap();
                        suspended = true;
                    }
                    Verb::Resume => {
                        bench.registry.resume_tenant(&tenant).await.unwrap();
                        suspended = false;
                    }
                    Verb::Restart => directory = bench.directory().await,
                }
                directory.refresh().await.unwrap();
                for (key, (secret, active)) in &model {
                    let found = directory.lookup(key);
                    prop_assert_eq!(found.is_ok(), *active && !suspended);
                    if let Ok(found) = found {
                        prop_assert_eq!(found.credential.secret.expose(), secret);
                    }
                }
            }
            Ok(())
        })?;
    }
}
