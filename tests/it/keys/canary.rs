//! A fleet with another region's keys does not start.

use std::sync::Arc;

use terroir::keys::testing::{MemoryKeyStore, ScriptedKms};
use terroir::keys::{Canary, KeysError, KmsError, Ring, RingSettings, RootRef, RootState};
use terroir::model::{ManualClock, Timestamp};

use super::{Bench, parts, settings};

fn settings_of(environment: &str, region: &str) -> RingSettings {
    RingSettings { environment: environment.parse().unwrap(), region: region.parse().unwrap(), ..settings() }
}

async fn open(
    kms: &ScriptedKms,
    store: &MemoryKeyStore,
    settings: RingSettings,
    foreign: &[Canary],
) -> Result<Ring, KeysError> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1)));
    Ring::open(parts(kms, store, &clock), settings, foreign).await
}

#[tokio::test]
async fn a_key_store_opens_only_in_its_own_environment_and_region() {
    let (kms, store) = (ScriptedKms::new(), MemoryKeyStore::new());
    open(&kms, &store, settings_of("test", "fr"), &[]).await.unwrap();
    open(&kms, &store, settings_of("test", "fr"), &[]).await.unwrap();
    for (environment, region) in [("test", "us"), ("prod", "fr")] {
        let refused = open(&kms, &store, settings_of(environment, region), &[]).await;
        assert!(matches!(refused, Err(KeysError::Canary(_))), "{environment} {region}");
    }
}

#[tokio::test]
async fn a_key_store_with_another_kms_behind_it_does_not_open() {
    let (kms, store) = (ScriptedKms::new(), MemoryKeyStore::new());
    open(&kms, &store, settings_of("test", "fr"), &[]).await.unwrap();
    let stranger = ScriptedKms::new();
    let denied = open(&stranger, &store, settings_of("test", "fr"), &[]).await;
    assert!(matches!(denied, Err(KeysError::Kms(KmsError::Denied))), "it has no such root");
    stranger.set_state(&RootRef::Region("fr".parse().unwrap()), RootState::Enabled);
    let refused = open(&stranger, &store, settings_of("test", "fr"), &[]).await;
    assert!(matches!(refused, Err(KeysError::Canary(_))));
}

#[tokio::test]
async fn a_key_store_with_keys_but_no_canary_does_not_open() {
    let (kms, store) = (ScriptedKms::new(), MemoryKeyStore::new());
    open(&kms, &store, settings_of("test", "fr"), &[]).await.unwrap();
    store.remove_canary();
    let refused = open(&kms, &store, settings_of("test", "fr"), &[]).await;
    assert!(matches!(refused, Err(KeysError::Canary(_))));
}

#[tokio::test]
async fn a_fleet_that_can_open_another_regions_canary_does_not_start() {
    let us_kms = ScriptedKms::new();
    let us = open(&us_kms, &MemoryKeyStore::new(), settings_of("test", "us"), &[]).await.unwrap();
    let foreign = [us.canary().clone()];
    let kms = ScriptedKms::new();
    open(&kms, &MemoryKeyStore::new(), settings_of("test", "fr"), &foreign).await.unwrap();
    // The mistake: fr's fleet was given us' KMS.
    let refused = open(&us_kms, &MemoryKeyStore::new(), settings_of("test", "fr"), &foreign).await;
    assert!(matches!(refused, Err(KeysError::Canary(_))));
}

#[tokio::test]
async fn a_test_fleet_that_can_open_productions_canary_does_not_start() {
    let kms = ScriptedKms::new();
    let prod = open(&kms, &MemoryKeyStore::new(), settings_of("prod", "fr"), &[]).await.unwrap();
    let refused =
        open(&kms, &MemoryKeyStore::new(), settings_of("test", "fr"), &[prod.canary().clone()]).await;
    assert!(matches!(refused, Err(KeysError::Canary(_))));
}

#[tokio::test]
async fn a_fleets_own_canary_in_the_common_list_is_passed_over() {
    let bench = Bench::new().await;
    let own = bench.ring.canary().clone();
    open(&bench.kms, &bench.store, settings(), &[own]).await.unwrap();
}

#[tokio::test]
async fn a_canary_is_one_line_of_text_and_nothing_else_is() {
    let canary = Bench::new().await.ring.canary().clone();
    let text = canary.to_string();
    assert_eq!(text.parse(), Ok(canary));
    let long = format!("{text}{}", "00".repeat(4096));
    for bad in [
        "",
        "terroir-canary-1",
        &text[1..],
        &text[..text.len() - 1],
        &format!("{text}:"),
        &text.replace("fr", "FR"),
        &long,
    ] {
        assert!(bad.parse::<Canary>().is_err(), "{bad}");
    }
}
