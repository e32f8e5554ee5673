//! The circuit of the stack in front of a store: when it opens, what it then costs, and how it closes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use terroir::blobs::testing::Faults;
use terroir::blobs::{
    BlobStore, CircuitSettings, ErrorKind, LimitSettings, Outbound, OutboundSettings, RetrySettings,
};
use terroir::telemetry::{CircuitState, StoreRefusal};

use super::puppet::{OPEN_HANDED, stage};
use super::{sealed, somewhere};

/// Opens after four outcomes of which half failed, for a second; nothing is tried twice.
const JUMPY: OutboundSettings = OutboundSettings {
    retry: RetrySettings { attempts_max: 1, ..OPEN_HANDED.retry },
    circuit: CircuitSettings { window_ms: 10_000, outcomes_min: 4, failures_percent: 50, rest_ms: 1_000 },
    ..OPEN_HANDED
};

#[tokio::test]
async fn a_store_that_is_down_is_left_alone_told_of_and_called_again_when_it_is_up() {
    let (store, puppet, metrics) = stage(JUMPY);
    puppet.fail(true);
    for _ in 0..4 {
        assert_eq!(store.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(metrics.store_circuit_state(), CircuitState::Open);
    let opened = Instant::now();
    for _ in 0..100 {
        let error = store.head(&somewhere()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CircuitOpen);
        assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(1)));
    }
    assert!(opened.elapsed() < Duration::from_millis(900), "at once: {:?}", opened.elapsed());
    assert_eq!(puppet.calls(), 4, "the store had its rest");
    assert_eq!(metrics.store_refusals(StoreRefusal::CircuitOpen).value(), 100);

    // Down still: one call finds out, and it rests anew.
    tokio::time::sleep_until((opened + Duration::from_millis(1_010)).into()).await;
    assert_eq!(store.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::CircuitOpen);
    assert_eq!(puppet.calls(), 5);

    puppet.fail(false);
    let up = Instant::now();
    let at = somewhere();
    while store.put(&at, sealed(&at, 1, 10)).await.is_err() {
        assert!(up.elapsed() < Duration::from_secs(5), "never called again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(up.elapsed() < Duration::from_secs(3), "{:?}", up.elapsed());
    assert_eq!(metrics.store_circuit_state(), CircuitState::Closed);
}

#[tokio::test]
async fn what_does_not_speak_of_the_stores_health_never_opens_the_circuit() {
    let (store, puppet, metrics) = stage(JUMPY);
    for _ in 0..50 {
        let at = somewhere();
        assert_eq!(store.read(&at, 0..10).await.unwrap_err().kind(), ErrorKind::NotFound);
        let elsewhere = terroir::placement::testing::placement(&"us".parse().unwrap());
        assert_eq!(store.list(&elsewhere, None, 1).await.unwrap_err().kind(), ErrorKind::WrongRegion);
        store.put(&at, sealed(&at, 1, 10)).await.unwrap();
        assert_eq!(store.put(&at, sealed(&at, 2, 10)).await.unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(store.read(&at, 5..5).await.unwrap_err().kind(), ErrorKind::Unacceptable);
        assert_eq!(store.read(&at, 0..11).await.unwrap_err().kind(), ErrorKind::Truncated);
    }
    puppet.store.set(Faults { denied: 1000, ..Faults::default() });
    for _ in 0..50 {
        assert_eq!(store.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::Denied);
    }
    assert_eq!(metrics.store_circuit_state(), CircuitState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_crowd_at_a_half_open_circuit_one_reaches_the_store() {
    let (store, puppet, metrics) = stage(JUMPY);
    let store = Arc::new(store);
    puppet.fail(true);
    for _ in 0..4 {
        store.head(&somewhere()).await.unwrap_err();
    }
    tokio::time::sleep(Duration::from_millis(1_020)).await;
    puppet.fail(false);
    puppet.hang(true);
    let before = puppet.calls();
    let mut crowd = Vec::new();
    for _ in 0..50 {
        let store = Arc::clone(&store);
        crowd.push(tokio::spawn(async move { store.head(&somewhere()).await.unwrap_err().kind() }));
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while metrics.store_refusals(StoreRefusal::CircuitOpen).value() < 49 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(puppet.calls(), before + 1);
    // A probe whose caller leaves frees the place for the next.
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(crowd).await;
    puppet.hang(false);
    assert_eq!(store.head(&somewhere()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(metrics.store_circuit_state(), CircuitState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_leave_before_we_give_up_do_not_hide_that_the_store_hangs() {
    let (store, puppet, metrics) = stage(OutboundSettings { attempt_ms: 1_000, ..JUMPY });
    puppet.hang(true);
    for _ in 0..4 {
        // Hasty ones prove nothing: a store need not answer within a moment.
        for _ in 0..10 {
            let hasty = tokio::time::timeout(Duration::from_millis(1), store.head(&somewhere())).await;
            assert!(hasty.is_err());
        }
        assert_eq!(metrics.store_circuit_state(), CircuitState::Closed);
        let patient = tokio::time::timeout(Duration::from_millis(650), store.head(&somewhere())).await;
        assert!(patient.is_err());
    }
    assert_eq!(metrics.store_circuit_state(), CircuitState::Open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_place_when_the_circuit_opens_is_turned_back_without_a_call() {
    let limit = LimitSettings { in_flight_max: 1, waiting_max: 100, wait_ms_max: 10_000 };
    let circuit = CircuitSettings { outcomes_min: 1, rest_ms: 5_000, ..JUMPY.circuit };
    let (store, puppet, metrics) = stage(OutboundSettings { attempt_ms: 300, limit, circuit, ..JUMPY });
    let store = Arc::new(store);
    puppet.hang(true);
    let head = |store: Arc<Outbound>| async move { store.head(&somewhere()).await.unwrap_err().kind() };
    let first = tokio::spawn(head(Arc::clone(&store)));
    while puppet.under_way() < 1 {
        tokio::task::yield_now().await;
    }
    let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(head(Arc::clone(&store)))).collect();
    assert_eq!(first.await.unwrap(), ErrorKind::Timeout);
    let started = Instant::now();
    for turned_back in join_all(waiting).await {
        assert_eq!(turned_back.unwrap(), ErrorKind::CircuitOpen);
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(puppet.calls(), 1);
    assert_eq!(metrics.store_circuit_state(), CircuitState::Open);
}
