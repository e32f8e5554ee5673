//! Deadline, retries and their budget, places and lanes of the stack in front of a store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use proptest::prelude::*;
use terroir::blobs::testing::Faults;
use terroir::blobs::{
    BlobStore, ErrorKind, LimitSettings, Location, Outbound, OutboundSettings, RetrySettings, in_background,
};
use terroir::model::{BlobId, SystemEntropy, TenantCode};
use terroir::placement::testing::placement_of;
use terroir::shares::{Claimant, ShareLimits, Shares, in_turn};
use terroir::telemetry::{Metrics, Shared, StoreOutcome, StoreRefusal, StoreVerb};

use super::puppet::{OPEN_HANDED, Puppet, stage, stage_at};
use super::{contract, noise, placed, region, sealed, somewhere};

/// Waits for a condition, at most ten seconds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Begins `count` calls that a task each waits for.
fn heads(store: &Arc<Outbound>, count: usize) -> Vec<tokio::task::JoinHandle<ErrorKind>> {
    let head = |store: Arc<Outbound>| async move { store.head(&somewhere()).await.unwrap_err().kind() };
    (0..count).map(|_| tokio::spawn(head(Arc::clone(store)))).collect()
}

#[tokio::test]
async fn a_store_behind_the_stack_keeps_the_contract() {
    contract::run("blobs × memory-outbound", async || {
        let (store, _, _) = stage(OutboundSettings::default());
        Arc::new(store) as super::Store
    })
    .await;
}

#[tokio::test]
async fn what_is_acknowledged_is_there_though_the_store_fails_every_third_time() {
    for _ in 0..20 {
        let retry = RetrySettings { attempts_max: 12, ..OPEN_HANDED.retry };
        let (store, puppet, _) = stage(OutboundSettings { retry, ..OPEN_HANDED });
        let faults = Faults { error_before: 150, error_after: 150, timeout_after: 50, ..Faults::default() };
        puppet.store.set(faults);
        for n in 0..50 {
            let at = somewhere();
            // Lost answers make the second try meet the first one's blob: success all the same.
            store.put(&at, sealed(&at, n, 100)).await.unwrap();
            assert_eq!(store.read(&at, 0..100).await.unwrap(), noise(n, 100));
            assert_eq!(store.head(&at).await.unwrap().len, 100);
            store.delete(&at).await.unwrap();
            let gone = puppet.store.inner().head(&at).await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NotFound);
        }
        assert!(puppet.store.struck() > 20, "met no faults");
    }
}

#[tokio::test]
async fn what_no_retry_can_mend_is_tried_once() {
    let (store, puppet, _) = stage(OPEN_HANDED);
    assert_eq!(store.read(&somewhere(), 0..10).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(puppet.calls(), 1);
    puppet.store.set(Faults { denied: 1000, ..Faults::default() });
    assert_eq!(store.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(puppet.calls(), 2);
    let kinds = [
        ErrorKind::NotFound,
        ErrorKind::Exists,
        ErrorKind::Denied,
        ErrorKind::Truncated,
        ErrorKind::Full,
        ErrorKind::Unacceptable,
        ErrorKind::WrongRegion,
        ErrorKind::Misconfigured,
        ErrorKind::Internal,
        ErrorKind::Overloaded,
        ErrorKind::CircuitOpen,
    ];
    assert!(kinds.into_iter().all(|kind| !kind.is_retryable()));
}

/// Sends `calls` calls, 16 at a time, and tells how many reached the store for each, and how many succeeded.
async fn amplification(faults: Faults, retry: RetrySettings, calls: usize) -> (f64, usize, Arc<Metrics>) {
    let (store, puppet, metrics) = stage(OutboundSettings { retry, ..OPEN_HANDED });
    let (store, at) = (Arc::new(store), somewhere());
    store.put(&at, sealed(&at, 1, 10)).await.unwrap();
    puppet.store.set(faults);
    let before = puppet.calls();
    let workers = (0..16).map(|_| {
        let (store, at) = (Arc::clone(&store), at.clone());
        tokio::spawn(async move {
            let mut succeeded = 0;
            for _ in 0..calls / 16 {
                succeeded += usize::from(store.head(&at).await.is_ok());
            }
            succeeded
        })
    });
    let succeeded = join_all(workers).await.into_iter().map(Result::unwrap).sum();
    let sent = puppet.calls() - before;
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let ratio = sent as f64 / (calls / 16 * 16) as f64;
    (ratio, succeeded, metrics)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_trouble_sees_at_most_1_3_times_the_calls_asked_for() {
    let retry = RetrySettings { pause_ms: 1, ..RetrySettings::default() };
    for thousandths in [50, 300, 600, 1000] {
        let faults = Faults { error_before: thousandths, ..Faults::default() };
        let (ratio, succeeded, metrics) = amplification(faults, retry, 8_000).await;
        println!("errors {thousandths} ‰: {ratio:.3} calls for one, {succeeded} of 8000 succeeded");
        assert!(ratio <= 1.3, "{ratio}");
        let without = 8_000 * (1000 - thousandths as usize) / 1000;
        if thousandths < 1000 {
            assert!(succeeded > without + 200, "retries mended nothing: {succeeded}, {without} without");
        }
        // At 5 % nothing is withheld; beyond the budget everything is.
        let withheld = metrics.store_refusals(StoreRefusal::NoBudget).value();
        assert_eq!(withheld > 0, thousandths > 200, "{withheld}");
    }
}

#[tokio::test]
async fn without_a_budget_there_is_no_retry_and_without_errors_none_either() {
    let none = RetrySettings { budget_percent: 0, reserve_per_s: 0, ..RetrySettings::default() };
    let down = Faults { error_before: 1000, ..Faults::default() };
    assert!(amplification(down, none, 320).await.0 < 1.0 + f64::EPSILON);
    let (ratio, succeeded, metrics) = amplification(Faults::default(), RetrySettings::default(), 320).await;
    assert!(ratio < 1.0 + f64::EPSILON && succeeded == 320);
    assert_eq!(metrics.store_retries().value(), 0);
}

#[tokio::test]
async fn clearing_up_does_not_spend_the_retries_of_those_who_wait() {
    let retry =
        RetrySettings { budget_percent: 0, reserve_per_s: 1, pause_ms: 1, ..RetrySettings::default() };
    let (store, puppet, _) = stage(OutboundSettings { retry, ..OPEN_HANDED });
    puppet.fail(true);
    for _ in 0..50 {
        store.delete(&somewhere()).await.unwrap_err();
        store.list(&placed(), None, 10).await.unwrap_err();
        in_background(store.head(&somewhere())).await.unwrap_err();
    }
    // The reserve of ten seconds is spent, by those who had nobody waiting.
    assert_eq!(puppet.calls(), 150 + 10);
    for _ in 0..20 {
        store.head(&somewhere()).await.unwrap_err();
    }
    assert_eq!(puppet.calls(), 160 + 20 + 10, "the others' is untouched");
}

#[tokio::test]
async fn a_store_that_asks_for_a_pause_gets_it_and_one_that_asks_for_too_long_is_not_tried_again() {
    let (store, puppet, _) = stage(OPEN_HANDED);
    puppet.store.set(Faults { slow_down: 1000, slow_down_ms: 120, ..Faults::default() });
    let started = Instant::now();
    let error = store.head(&somewhere()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SlowDown);
    assert_eq!(error.retry_after(), Some(Duration::from_millis(120)));
    assert_eq!(puppet.calls(), 3);
    assert!(started.elapsed() >= Duration::from_millis(240), "{:?}", started.elapsed());

    puppet.store.set(Faults { slow_down: 1000, slow_down_ms: 25_000, ..Faults::default() });
    let started = Instant::now();
    let error = store.head(&somewhere()).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(25)), "told on, since we cannot wait that long");
    assert_eq!(puppet.calls(), 4);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_store_that_hangs_costs_an_attempts_time_and_never_more_than_the_deadline() {
    let retry = RetrySettings { attempts_max: 50, ..OPEN_HANDED.retry };
    let (store, puppet, metrics) =
        stage(OutboundSettings { attempt_ms: 30, deadline_ms: 100, retry, ..OPEN_HANDED });
    puppet.hang(true);
    let started = Instant::now();
    assert_eq!(store.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(started.elapsed() >= Duration::from_millis(90), "{:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!((2..=4).contains(&puppet.calls()), "{} tries", puppet.calls());
    assert_eq!(puppet.under_way(), 0, "nothing goes on after the answer");
    let timed_out = metrics.store_requests(StoreVerb::Head, StoreOutcome::Timeout).value();
    assert!(timed_out + 1 >= puppet.calls() && timed_out <= puppet.calls());
}

#[tokio::test]
async fn a_store_that_hung_kept_the_turns_of_those_who_waited_for_it() {
    for host in [None, Some("store.example")] {
        let (store, puppet, metrics) = stage_at(host, OPEN_HANDED);
        let limits = ShareLimits {
            capacity: 1,
            party_max: 1,
            floor: 1,
            waiting_max: 1,
            wait: Duration::from_secs(10),
        };
        let turns = Shares::new(Shared::Turns, limits, metrics);
        puppet.hang(true);
        let hanging = {
            let turns = turns.clone();
            tokio::spawn(async move {
                in_turn(&turns, Claimant::strangers(), store.head(&somewhere())).await.unwrap().unwrap_err()
            })
        };
        until("the call to reach the store", || puppet.under_way() == 1).await;
        until("its turn to be another's", || turns.used() == 0).await;
        assert!(in_turn(&turns, Claimant::strangers(), async {}).await.is_ok());
        assert_eq!(puppet.under_way(), 1, "it waits on all the same");
        hanging.abort();
    }
}

#[tokio::test]
async fn many_bytes_have_more_time_than_few() {
    let retry = RetrySettings { attempts_max: 1, ..OPEN_HANDED.retry };
    let (store, puppet, _) = stage(OutboundSettings { attempt_ms: 50, retry, ..OPEN_HANDED });
    puppet.hang(true);
    let timed = async |len: u64| {
        let started = Instant::now();
        assert_eq!(store.read(&somewhere(), 0..len).await.unwrap_err().kind(), ErrorKind::Timeout);
        started.elapsed()
    };
    let (few, many) = (timed(1).await, timed(256 * 1024).await);
    assert!(few < Duration::from_millis(450), "{few:?}");
    assert!(many >= Duration::from_millis(550), "half a second for 256 KiB at 512 KiB/s: {many:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_places_calls_wait_beyond_the_queue_they_are_refused_and_nobody_waits_for_long() {
    // Two places and a queue of three for one tenant: four fifths of what there is, rounded down.
    let limit = LimitSettings { in_flight_max: 3, waiting_max: 4, wait_ms_max: 2_000 };
    let (store, puppet, metrics) = stage(OutboundSettings { limit, ..OPEN_HANDED });
    let store = Arc::new(store);
    puppet.hang(true);
    let holding = heads(&store, 2);
    until("both places taken", || puppet.under_way() == 2).await;
    let waiting = heads(&store, 3);
    until("the queue is full", || metrics.store_waiting().value() == 3).await;

    let started = Instant::now();
    for _ in 0..50 {
        let error = store.head(&somewhere()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
    }
    assert!(started.elapsed() < Duration::from_millis(1_500), "at once: {:?}", started.elapsed());
    for waited in waiting {
        assert_eq!(waited.await.unwrap(), ErrorKind::Overloaded, "the wait is bounded");
    }
    assert_eq!(puppet.calls(), 2, "none of them reached the store, and none was tried twice");
    assert_eq!(metrics.store_refusals(StoreRefusal::Overloaded).value(), 53);

    // Who has a place gives it back, however it ends.
    for held in holding {
        held.abort();
    }
    puppet.hang(false);
    until("both places free", || metrics.store_in_flight().value() == 0).await;
    assert_eq!(store.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(puppet.most(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_crowd_stood_before_another_tenants_call_to_a_slow_store() {
    let limit = LimitSettings { in_flight_max: 10, waiting_max: 100, wait_ms_max: 60_000 };
    let (store, puppet, metrics) = stage(OutboundSettings { limit, ..OPEN_HANDED });
    let store = Arc::new(store);
    puppet.hang(true);
    let crowd = heads(&store, 70);
    until("the crowd to wait", || metrics.store_waiting().value() == 62).await;
    assert_eq!(puppet.under_way(), 8, "four fifths, however many there are");
    let other = placement_of(TenantCode::from_bytes([8; 16]), &region());
    let at = Location::of(&other, BlobId::random(&SystemEntropy).unwrap());
    let call = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.head(&at).await.unwrap_err().kind() })
    };
    until("the other tenant's call to be under way", || puppet.under_way() == 9).await;
    assert_eq!(metrics.store_waiting().value(), 62, "it passed all who wait");
    call.abort();
    for held in crowd {
        held.abort();
    }
    until("all places free", || metrics.store_in_flight().value() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_nobody_waits_for_leaves_the_places_to_those_who_do() {
    let limit = LimitSettings { in_flight_max: 16, waiting_max: 1_000, wait_ms_max: 10_000 };
    let (store, puppet, _) = stage(OutboundSettings { limit, ..OPEN_HANDED });
    let store = Arc::new(store);
    puppet.hang(true);
    let mut crowd = Vec::new();
    for _ in 0..30 {
        let (a, b, c) = (Arc::clone(&store), Arc::clone(&store), Arc::clone(&store));
        crowd.push(tokio::spawn(async move { a.delete(&somewhere()).await.is_ok() }));
        crowd.push(tokio::spawn(async move { b.list(&placed(), None, 10).await.is_ok() }));
        crowd.push(tokio::spawn(in_background(async move { c.head(&somewhere()).await.is_ok() })));
    }
    until("the background's places are taken", || puppet.under_way() == 2).await;
    puppet.hang(false);
    let started = Instant::now();
    let answers = join_all(heads(&store, 200)).await;
    assert!(answers.into_iter().all(|kind| kind.unwrap() == ErrorKind::NotFound));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for task in crowd {
        task.abort();
    }
}

#[tokio::test]
async fn one_regions_places_budget_and_circuit_are_not_anothers() {
    let limit = LimitSettings { in_flight_max: 1, waiting_max: 0, wait_ms_max: 10 };
    let (here, puppet, metrics) = stage(OutboundSettings { limit, ..OPEN_HANDED });
    let (there, _, _) = stage(OutboundSettings { limit, ..OPEN_HANDED });
    let here = Arc::new(here);
    puppet.hang(true);
    let held = heads(&here, 1);
    until("its only place taken", || metrics.store_in_flight().value() == 1).await;
    assert_eq!(here.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(there.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(there.describe().region, region());
    for task in held {
        task.abort();
    }
}

/// What a test's caller does with one call.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Waits,
    /// Gives up after so many microseconds.
    Leaves(u64),
}

#[derive(Clone, Debug)]
struct Scene {
    faults: Faults,
    callers: Vec<(u8, Caller)>,
}

fn scene() -> impl Strategy<Value = Scene> {
    let thousandths = || prop_oneof![3 => Just(0_u32), 2 => 0_u32..400, 1 => Just(1000_u32)];
    let faults = (thousandths(), thousandths(), thousandths(), thousandths(), 0_u64..4);
    let caller = prop_oneof![3 => Just(Caller::Waits), 2 => (0_u64..4_000).prop_map(Caller::Leaves)];
    (faults, prop::collection::vec((0_u8..6, caller), 1..60)).prop_map(
        |((error_before, timeout_after, slow_down, delay, delay_ms), callers)| Scene {
            faults: Faults { error_before, timeout_after, slow_down, delay, delay_ms, ..Faults::default() },
            callers,
        },
    )
}

async fn play(scenes: Vec<Scene>) {
    let limit = LimitSettings { in_flight_max: 4, waiting_max: 8, wait_ms_max: 5 };
    let retry = RetrySettings { reserve_per_s: 1, pause_ms: 2, ..RetrySettings::default() };
    let circuit =
        terroir::blobs::CircuitSettings { rest_ms: 5, ..terroir::blobs::CircuitSettings::default() };
    let settings = OutboundSettings { deadline_ms: 40, attempt_ms: 10, retry, limit, circuit };
    let (store, puppet, metrics) = stage(settings);
    let store = Arc::new(store);
    let mut asked = 0;
    for Scene { faults, callers } in scenes {
        puppet.store.set(faults);
        asked += callers.len() as u64;
        let calls = callers.into_iter().map(|(verb, caller)| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let call = one(&store, verb);
                match caller {
                    Caller::Waits => call.await,
                    Caller::Leaves(after) => {
                        _ = tokio::time::timeout(Duration::from_micros(after), call).await;
                    }
                }
            })
        });
        let started = Instant::now();
        for ended in join_all(calls).await {
            ended.unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(5), "a call outlasted its deadline");
    }
    check_that_nothing_is_held(&puppet, &metrics);
    // A fifth, and the reserve of each lane's budget in each ten seconds.
    assert!(puppet.calls() <= asked + asked / 5 + 2 * 10, "{} for {asked}", puppet.calls());
    assert!(puppet.most() <= 4);
}

async fn one(store: &Outbound, verb: u8) {
    let at = somewhere();
    match verb {
        0 => _ = store.put(&at, sealed(&at, 1, 100)).await,
        1 => _ = store.read(&at, 0..10).await,
        2 => _ = store.head(&at).await,
        3 => _ = store.delete(&at).await,
        4 => _ = store.list(&placed(), None, 3).await,
        _ => _ = in_background(store.read(&at, 0..10)).await,
    }
}

fn check_that_nothing_is_held(puppet: &Puppet, metrics: &Metrics) {
    assert_eq!(puppet.under_way(), 0);
    assert_eq!(metrics.store_in_flight().value(), 0, "a place was not given back");
    assert_eq!(metrics.store_waiting().value(), 0, "a place in the queue was not given back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_fails_and_whoever_leaves_places_return_and_the_budget_holds(
        scenes in prop::collection::vec(scene(), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(play(scenes));
    }
}
