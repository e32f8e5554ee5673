//! What every key store does. Panics with the rule that is broken.
#![expect(clippy::panic, reason = "a contract suite fails by panicking, as assert! does")]

use std::fmt::Debug;

use crate::keys::{Canary, KekRecord, KekState, KeyStore, RootRef, Wrapped};
use crate::model::{ClassCode, KekId, RegionId, TenantCode, Timestamp};

/// Runs every rule against `one`, an empty store, and `two`, the same store opened again by somebody else; returns how many
/// rules there were.
pub async fn store_contract(one: &impl KeyStore, two: &impl KeyStore) -> usize {
    rules![
        canary_is_written_once(one, two),
        records_read_back(one, two),
        racers_agree(one, two),
        a_used_id_is_refused(one),
        newest_is_by_epoch_and_ignores_subjects(one, two),
        a_root_is_named_by_its_live_keys_alone(one, two),
        rewrap_is_compare_and_swap(one, two),
        retiring_erases_and_keeps_the_number(one, two),
        pages_are_complete_and_ordered(one),
    ]
}

fn region() -> RegionId {
    "fr".parse().unwrap_or_else(|_| panic!("fr is a region"))
}

fn record(kek: u8, epoch: u32, tenant: u8, class: u16) -> KekRecord {
    KekRecord {
        kek_id: KekId::from_bytes([kek; 16]),
        epoch,
        tenant: TenantCode::from_bytes([tenant; 16]),
        class: ClassCode(class),
        subject: None,
        created: Timestamp::from_millis(1_795_458_123_045),
        root: RootRef::Region(region()),
        wrapped: Wrapped { root_version: 1, bytes: vec![kek, tenant, 0, 255] },
        shred_epoch: None,
        state: KekState::Live,
    }
}

fn must<T, E: Debug>(outcome: Result<T, E>) -> T {
    outcome.unwrap_or_else(|error| panic!("the store answers: {error:?}"))
}

async fn canary_is_written_once(one: &impl KeyStore, two: &impl KeyStore) {
    assert_eq!(must(one.canary().await), None);
    let canary = |byte: u8| Canary {
        environment: "test".parse().unwrap_or_else(|_| panic!("test is an environment")),
        region: region(),
        id: KekId::from_bytes([byte; 16]),
        wrapped: Wrapped { root_version: 1, bytes: vec![byte; 40] },
    };
    assert_eq!(must(one.canary_or(&canary(1)).await), canary(1));
    assert_eq!(must(two.canary_or(&canary(2)).await), canary(1), "the first one stays");
    assert_eq!(must(two.canary().await), Some(canary(1)));
}

async fn records_read_back(one: &impl KeyStore, two: &impl KeyStore) {
    let mut full = record(1, 1, 1, 1);
    full.subject = Some(vec![0, 1, 2]);
    full.root = RootRef::Tenant(region(), full.tenant);
    full.shred_epoch = Some(12);
    for wanted in [full, record(2, 1, 1, 65_535)] {
        assert_eq!(must(one.insert_or_read(&wanted).await), wanted);
        assert_eq!(must(two.find(wanted.kek_id, 1).await), Some(wanted.clone()), "seen by another process");
        assert_eq!(must(two.find(wanted.kek_id, 2).await), None);
    }
}

async fn racers_agree(one: &impl KeyStore, two: &impl KeyStore) {
    let (mine, theirs) = (record(10, 1, 2, 1), record(11, 1, 2, 1));
    let (mine, theirs) = tokio::join!(one.insert_or_read(&mine), two.insert_or_read(&theirs));
    let (mine, theirs) = (must(mine), must(theirs));
    assert_eq!(mine, theirs, "two who race get one KEK");
    assert_eq!(must(one.newest(mine.tenant, mine.class).await), Some(mine));
}

async fn a_used_id_is_refused(one: &impl KeyStore) {
    must(one.insert_or_read(&record(12, 1, 3, 1)).await);
    assert!(one.insert_or_read(&record(12, 1, 3, 2)).await.is_err(), "one KEK id, two classes");
    assert_eq!(must(one.newest(TenantCode::from_bytes([3; 16]), ClassCode(2)).await), None);
}

async fn newest_is_by_epoch_and_ignores_subjects(one: &impl KeyStore, two: &impl KeyStore) {
    for epoch in [1, 3, 2] {
        must(one.insert_or_read(&record(20, epoch, 4, 1)).await);
    }
    let mut subject = record(21, 9, 4, 1);
    subject.subject = Some(vec![7]);
    must(one.insert_or_read(&subject).await);
    let newest = must(two.newest(TenantCode::from_bytes([4; 16]), ClassCode(1)).await);
    assert_eq!(newest.map(|record| (record.kek_id, record.epoch)), Some((KekId::from_bytes([20; 16]), 3)));
    assert_eq!(must(two.newest(TenantCode::from_bytes([5; 16]), ClassCode(1)).await), None);
}

async fn a_root_is_named_by_its_live_keys_alone(one: &impl KeyStore, two: &impl KeyStore) {
    let own = |tenant: u8| RootRef::Tenant(region(), TenantCode::from_bytes([tenant; 16]));
    assert!(!must(one.names(&own(8)).await), "no keys at all");
    must(one.insert_or_read(&record(50, 1, 8, 1)).await);
    assert!(!must(two.names(&own(8)).await), "the tenant's keys hang from the region's root");
    assert!(must(two.names(&RootRef::Region(region())).await));
    let elsewhere = RootRef::Region("us".parse().unwrap_or_else(|_| panic!("us is a region")));
    assert!(!must(two.names(&elsewhere).await));
    must(one.insert_or_read(&KekRecord { root: own(8), ..record(50, 2, 8, 1) }).await);
    assert!(must(two.names(&own(8)).await));
    assert!(!must(two.names(&own(9)).await));
    must(one.insert_or_read(&record(50, 3, 8, 1)).await);
    assert!(must(one.retire(KekId::from_bytes([50; 16]), 2).await));
    assert!(!must(two.names(&own(8)).await), "nothing is left that it could open");
}

async fn rewrap_is_compare_and_swap(one: &impl KeyStore, two: &impl KeyStore) {
    let old = must(one.insert_or_read(&record(30, 1, 6, 1)).await);
    let new = Wrapped { root_version: 2, bytes: vec![9; 60] };
    let wrong = Wrapped { root_version: 2, ..old.wrapped.clone() };
    assert!(!must(one.rewrap(old.kek_id, 1, &wrong, &new).await), "another version was expected");
    assert!(must(one.rewrap(old.kek_id, 1, &old.wrapped, &new).await));
    assert!(!must(two.rewrap(old.kek_id, 1, &old.wrapped, &new).await), "somebody was faster");
    let found = must(two.find(old.kek_id, 1).await);
    assert_eq!(found, Some(KekRecord { wrapped: new, ..old }), "nothing else changed");
}

async fn retiring_erases_and_keeps_the_number(one: &impl KeyStore, two: &impl KeyStore) {
    let old = must(one.insert_or_read(&record(40, 1, 7, 1)).await);
    assert!(!must(one.retire(old.kek_id, 1).await), "the newest epoch is not retired");
    must(one.insert_or_read(&record(40, 2, 7, 1)).await);
    assert!(must(one.retire(old.kek_id, 1).await));
    assert!(!must(two.retire(old.kek_id, 1).await), "once");
    let gone = must(two.find(old.kek_id, 1).await).unwrap_or_else(|| panic!("the row stays"));
    assert_eq!((gone.state, gone.wrapped.bytes.len()), (KekState::Retired, 0));
    assert_eq!(must(two.insert_or_read(&old).await).state, KekState::Retired, "the number is not used again");
    let new = Wrapped { root_version: 2, bytes: vec![9; 60] };
    assert!(!must(one.rewrap(old.kek_id, 1, &gone.wrapped, &new).await), "a retired epoch gets no key again");
}

async fn pages_are_complete_and_ordered(one: &impl KeyStore) {
    let all = must(one.page(None, 1000).await);
    assert!(
        all.len() >= 9
            && all.windows(2).all(|two| (two[0].kek_id, two[0].epoch) < (two[1].kek_id, two[1].epoch))
    );
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = must(one.page(after, 2).await);
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some((last.kek_id, last.epoch));
        paged.extend(page);
    }
    assert_eq!(paged, all);
}
