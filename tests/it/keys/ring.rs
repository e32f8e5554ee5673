//! The ring when all is well: epochs, races, retirement, re-wrapping, fields.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use terroir::keys::{
    FieldKey, KekSpec, KekState, KeyStore, KeysError, Kms, LocalFileKms, POINTER_TTL, Ring, RingParts,
    RingSettings, RootRef, RootScope, SqliteKeyStore,
};
use terroir::model::{ClassCode, KekId, SystemClock, SystemEntropy};

use super::{Bench, STALE, TTL, just_before, settings, spec, tenant};

#[tokio::test]
async fn tenants_and_classes_have_keys_of_their_own() {
    let bench = Bench::new().await;
    let mut seen = HashSet::new();
    for (name, class) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let kek =
            bench.ring.current(tenant(name), &KekSpec { class: ClassCode(class), ..spec() }).await.unwrap();
        assert!(seen.insert((kek.id(), *kek.key().expose())), "tenant {name} class {class}");
        assert_eq!(kek.to_envelope().id(), kek.id().as_bytes());
    }
}

#[tokio::test]
async fn a_key_of_one_tenant_or_class_is_not_given_to_another() {
    let bench = Bench::new().await;
    let kek = bench.ring.current(tenant(1), &spec()).await.unwrap();
    let other_class = KekSpec { class: ClassCode(4), ..spec() };
    for (tenant, spec) in [(tenant(2), spec()), (tenant(1), other_class), (tenant(0), spec())] {
        let refused = bench.ring.by_id(tenant, &spec, kek.id(), kek.epoch()).await.map(|_| ());
        assert_eq!(refused, Err(KeysError::UnknownKek));
    }
    for epoch in [0, 2, u32::MAX] {
        let refused = bench.ring.by_id(tenant(1), &spec(), kek.id(), epoch).await.map(|_| ());
        assert_eq!(refused, Err(KeysError::UnknownKek), "epoch {epoch}");
    }
    let refused = bench.ring.by_id(tenant(1), &spec(), KekId::from_bytes([9; 16]), 1).await.map(|_| ());
    assert_eq!(refused, Err(KeysError::UnknownKek));
}

#[tokio::test]
async fn a_record_moved_to_another_tenant_inside_the_key_store_does_not_open() {
    let bench = Bench::new().await;
    let kek = bench.ring.current(tenant(1), &spec()).await.unwrap();
    let mut moved = bench.store.find(kek.id(), 1).await.unwrap().unwrap();
    moved.tenant = tenant(2);
    bench.store.overwrite(&moved);
    let ring = bench.sibling().await;
    let refused = ring.by_id(tenant(2), &spec(), kek.id(), 1).await.map(|_| ());
    assert_eq!(refused, Err(KeysError::UnknownKek), "its root is not one that tenant 2 can have");
    moved.root = RootRef::Region("fr".parse().unwrap());
    bench.store.overwrite(&moved);
    let ring = bench.sibling().await;
    assert!(matches!(ring.by_id(tenant(2), &spec(), kek.id(), 1).await, Err(KeysError::Kms(_))));
}

#[tokio::test]
async fn processes_that_race_for_the_first_epoch_agree_on_one_key() {
    let bench = Bench::new().await;
    let (a, b, c) = (bench.sibling().await, bench.sibling().await, bench.sibling().await);
    let one = spec();
    let (a, b, c) =
        tokio::join!(a.current(tenant(1), &one), b.current(tenant(1), &one), c.current(tenant(1), &one));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert!(a.key() == b.key() && b.key() == c.key());
    assert_eq!(bench.store.page(None, 10).await.unwrap().len(), 2, "the region's own, and this one");
}

#[tokio::test]
async fn rotation_starts_an_epoch_keeps_the_old_one_and_reaches_the_other_processes() {
    let bench = Bench::new().await;
    let other = bench.sibling().await;
    let old = bench.ring.current(tenant(1), &spec()).await.unwrap();
    other.current(tenant(1), &spec()).await.unwrap();
    assert_eq!(bench.ring.rotate(tenant(1), &spec()).await.unwrap(), 2);
    let new = bench.ring.current(tenant(1), &spec()).await.unwrap();
    assert_eq!((new.id(), new.epoch()), (old.id(), 2));
    assert!(new.key() != old.key());
    let again = bench.ring.by_id(tenant(1), &spec(), old.id(), 1).await.unwrap();
    assert!(again.key() == old.key());
    bench.clock.advance(POINTER_TTL);
    assert!(other.current(tenant(1), &spec()).await.unwrap().key() == new.key());
}

#[tokio::test]
async fn an_epoch_is_retired_only_when_nothing_names_it_and_nobody_can_still_use_it() {
    let bench = Bench::new().await;
    let old = bench.ring.current(tenant(1), &spec()).await.unwrap();
    let retire = |epoch, records| {
        let ring = bench.ring.clone();
        async move { ring.retire(tenant(1), &spec(), epoch, records).await }
    };
    assert_eq!(retire(1, 0).await, Err(KeysError::CurrentEpoch));
    bench.ring.rotate(tenant(1), &spec()).await.unwrap();
    assert_eq!(retire(1, 7).await, Err(KeysError::InUse { records: 7 }));
    assert!(matches!(retire(1, 0).await, Err(KeysError::TooSoon { .. })));
    bench.clock.advance(Duration::from_secs(3599) + POINTER_TTL + STALE);
    assert_eq!(retire(1, 0).await, Err(KeysError::TooSoon { seconds: 1 }));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(retire(3, 0).await, Err(KeysError::UnknownKek));
    assert_eq!(retire(1, 0).await, Ok(()));
    assert_eq!(retire(1, 0).await, Err(KeysError::Retired));
    let refused = bench.ring.by_id(tenant(1), &spec(), old.id(), 1).await.map(|_| ());
    assert_eq!(refused, Err(KeysError::Retired));
    assert_eq!(bench.ring.rotate(tenant(1), &spec()).await.unwrap(), 3, "numbers go on");
    let erased = bench.store.find(old.id(), 1).await.unwrap().unwrap();
    assert_eq!((erased.state, erased.wrapped.bytes.len()), (KekState::Retired, 0));
}

#[tokio::test]
async fn an_epoch_was_retired_under_a_write_that_had_begun_with_it() {
    let write_max = Duration::from_hours(15 * 24);
    let bench = Bench::with(RingSettings { write_max, ..settings() }).await;
    let begun_with = bench.ring.current(tenant(1), &spec()).await.unwrap();
    bench.ring.rotate(tenant(1), &spec()).await.unwrap();
    // No row of the index names the epoch yet: the write's last blob is still on its way.
    for waited in [Duration::from_hours(2), write_max.saturating_sub(Duration::from_hours(2))] {
        bench.clock.advance(waited);
        let refused = bench.ring.retire(tenant(1), &spec(), 1, 0).await;
        assert!(matches!(refused, Err(KeysError::TooSoon { .. })), "{refused:?}");
    }
    let again = bench.ring.by_id(tenant(1), &spec(), begun_with.id(), 1).await.unwrap();
    assert!(again.key() == begun_with.key(), "what was committed last opens");
    bench.clock.advance(Duration::from_hours(1) + POINTER_TTL + STALE);
    bench.ring.retire(tenant(1), &spec(), 1, 0).await.unwrap();
    let by_default = RingSettings::new("test".parse().unwrap(), "fr".parse().unwrap());
    assert!(by_default.write_max >= write_max, "whoever says nothing waits as long as anybody may write");
}

#[tokio::test]
async fn a_class_that_now_wants_a_root_per_tenant_gets_a_new_epoch_under_it() {
    let bench = Bench::new().await;
    let shared = KekSpec { root: RootScope::Region, ..spec() };
    let old = bench.ring.current(tenant(1), &shared).await.unwrap();
    let ring = bench.sibling().await;
    let new = ring.current(tenant(1), &spec()).await.unwrap();
    assert_eq!(new.epoch(), 2);
    let record = bench.store.find(new.id(), 2).await.unwrap().unwrap();
    assert_eq!(record.root, RootRef::Tenant("fr".parse().unwrap(), tenant(1)));
    assert!(
        ring.by_id(tenant(1), &spec(), old.id(), 1).await.unwrap().key() == old.key(),
        "old records open"
    );
}

#[tokio::test]
async fn rewrapping_moves_every_live_record_to_the_newest_root_version_and_changes_no_key() {
    let bench = Bench::new().await;
    let kek = bench.ring.current(tenant(1), &spec()).await.unwrap();
    bench.ring.current(tenant(2), &spec()).await.unwrap();
    let root = RootRef::Tenant("fr".parse().unwrap(), tenant(1));
    bench.kms.rotate(&root);
    let done = bench.ring.rewrap().await.unwrap();
    assert_eq!((done.rewrapped, done.unchanged), (1, 2));
    assert_eq!(bench.store.find(kek.id(), 1).await.unwrap().unwrap().wrapped.root_version, 2);
    let again = bench.sibling().await.by_id(tenant(1), &spec(), kek.id(), 1).await.unwrap();
    assert!(again.key() == kek.key() && again.root_version() == 2);
    assert_eq!(bench.ring.rewrap().await.unwrap().rewrapped, 0, "nothing left to do");
}

#[tokio::test]
async fn the_cache_is_bounded_and_still_right() {
    let bench = Bench::with(RingSettings { kek_count_max: 8, ..settings() }).await;
    let mut first = Vec::new();
    for name in 1..=40 {
        first.push(*bench.ring.current(tenant(name), &spec()).await.unwrap().key().expose());
    }
    let before = bench.calls();
    for name in 1..=40 {
        let again = bench.ring.current(tenant(name), &spec()).await.unwrap();
        assert_eq!(again.key().expose(), &first[usize::from(name) - 1]);
    }
    assert!(bench.calls() - before >= 32, "most had gone");
    let before = bench.calls();
    bench.ring.current(tenant(40), &spec()).await.unwrap();
    assert_eq!(bench.calls(), before, "the latest had not");
}

#[tokio::test]
async fn sweeping_forgets_what_is_past_its_window_and_nothing_else() {
    let bench = Bench::new().await;
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    let weak = Arc::downgrade(&bench.ring.current(tenant(1), &spec()).await.unwrap());
    bench.clock.advance(just_before(TTL + STALE));
    bench.ring.sweep();
    assert!(weak.upgrade().is_some());
    bench.clock.advance(Duration::from_millis(1));
    bench.ring.sweep();
    assert!(weak.upgrade().is_none(), "the key is dropped, and so wiped");
}

#[tokio::test]
async fn the_regions_own_class_and_unbounded_windows_are_refused() {
    let bench = Bench::new().await;
    let own = KekSpec { class: ClassCode(0), ..spec() };
    assert_eq!(bench.ring.current(tenant(1), &own).await.map(|_| ()), Err(KeysError::ReservedClass));
    let day = Duration::from_hours(24);
    for (ttl, stale) in [(Duration::ZERO, STALE), (day + TTL, STALE), (TTL, day + TTL)] {
        let refused = bench.ring.current(tenant(1), &KekSpec { ttl, stale, ..spec() }).await.map(|_| ());
        assert!(matches!(refused, Err(KeysError::Settings(_))));
    }
}

#[tokio::test]
async fn settings_out_of_bounds_are_refused() {
    let bench = Bench::new().await;
    let bad = [
        RingSettings { kek_count_max: 0, ..settings() },
        RingSettings { attempts_max: 0, ..settings() },
        RingSettings { attempts_max: 6, ..settings() },
        RingSettings { call_ms_max: 0, ..settings() },
        RingSettings { backoff_ms: 0, ..settings() },
        RingSettings { backoff_ms: 9, backoff_ms_max: 8, ..settings() },
    ];
    for settings in bad {
        let parts = super::parts(&bench.kms, &bench.store, &bench.clock);
        assert!(matches!(Ring::open(parts, settings, &[]).await, Err(KeysError::Settings(_))));
    }
}

#[tokio::test]
async fn a_field_opens_only_for_its_purpose_its_place_and_its_region() {
    let bench = Bench::new().await;
    let key = bench.ring.field_key("directory").await.unwrap();
    let sealed = key.seal(&[b"credential", b"TKFR"], b"secret").unwrap();
    assert_eq!(FieldKey::epoch_of(&sealed), Some(1));
    let opened = bench.ring.open_field("directory", &[b"credential", b"TKFR"], &sealed).await.unwrap();
    assert_eq!(opened.expose(), b"secret");
    let wrong: [&[&[u8]]; 4] = [
        &[b"credential", b"TKUS"],
        &[b"credentialT", b"KFR"],
        &[b"credential"],
        &[b"credential", b"TKFR", b""],
    ];
    for place in wrong {
        assert!(bench.ring.open_field("directory", place, &sealed).await.is_err());
    }
    assert!(bench.ring.open_field("locks", &[b"credential", b"TKFR"], &sealed).await.is_err());
    let elsewhere = Bench::new().await;
    assert!(elsewhere.ring.open_field("directory", &[b"credential", b"TKFR"], &sealed).await.is_err());
    for at in 0..sealed.len() {
        let mut bad = sealed.clone();
        bad[at] ^= 1;
        assert!(
            bench.ring.open_field("directory", &[b"credential", b"TKFR"], &bad).await.is_err(),
            "byte {at}"
        );
    }
    for end in 0..sealed.len() {
        assert!(bench.ring.open_field("directory", &[b"credential", b"TKFR"], &sealed[..end]).await.is_err());
    }
}

#[tokio::test]
async fn fields_of_an_older_epoch_open_after_rotation_and_new_ones_are_sealed_under_the_new() {
    let bench = Bench::new().await;
    let old = bench.ring.field_key("directory").await.unwrap();
    let sealed = old.seal(&[b"row"], b"old").unwrap();
    assert_eq!(bench.ring.rotate_own().await.unwrap(), 2);
    let new = bench.ring.field_key("directory").await.unwrap();
    assert_eq!(new.epoch(), 2);
    assert!(new.open(&[b"row"], &sealed).is_err());
    assert_eq!(bench.ring.open_field("directory", &[b"row"], &sealed).await.unwrap().expose(), b"old");
    assert_ne!(old.pseudonym(&[b"name"]).unwrap(), new.pseudonym(&[b"name"]).unwrap());
    let stable = bench.ring.field_key_at("directory", 1).await.unwrap();
    assert_eq!(old.pseudonym(&[b"name"]).unwrap(), stable.pseudonym(&[b"name"]).unwrap());
    assert!(stable.pseudonym_key().unwrap() != new.pseudonym_key().unwrap());
}

#[tokio::test]
async fn nothing_prints_a_key() {
    let bench = Bench::new().await;
    let kek = bench.ring.current(tenant(1), &spec()).await.unwrap();
    let field = bench.ring.field_key("directory").await.unwrap();
    let seen = format!("{kek:?} {:?} {:?} {field:?}", bench.ring, kek.to_envelope());
    let key = kek.key().expose();
    for form in [hex::encode(key), format!("{:?}", &key[..4]).trim_matches(['[', ']']).to_owned()] {
        assert!(!seen.contains(&form), "{form}");
    }
}

#[tokio::test]
async fn a_region_on_real_files_reopens_with_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let open = || async {
        let keys = folder.path().join("keys");
        let entropy = Arc::new(SystemEntropy);
        let kms =
            LocalFileKms::open(keys.clone(), String::from("FR"), Arc::new(SystemClock), entropy.clone())
                .unwrap();
        let store = SqliteKeyStore::open(&keys.join("keystore.sqlite")).await.unwrap();
        assert!(kms.describe().for_development);
        let parts =
            RingParts { kms: Arc::new(kms), store: Arc::new(store), clock: Arc::new(SystemClock), entropy };
        Ring::open(parts, RingSettings::new("dev".parse().unwrap(), "fr".parse().unwrap()), &[])
            .await
            .unwrap()
    };
    let ring = open().await;
    let kek = ring.current(tenant(1), &spec()).await.unwrap();
    let sealed = ring.field_key("directory").await.unwrap().seal(&[b"row"], b"content").unwrap();
    drop(ring);
    let again = open().await;
    assert!(again.by_id(tenant(1), &spec(), kek.id(), kek.epoch()).await.unwrap().key() == kek.key());
    assert!(again.current(tenant(1), &spec()).await.unwrap().key() == kek.key());
    assert_eq!(again.open_field("directory", &[b"row"], &sealed).await.unwrap().expose(), b"content");
}
