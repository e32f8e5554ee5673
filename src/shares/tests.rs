//! Tests of waiting: leaving, lateness, who is woken.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn shares(capacity: u64, wait: Duration) -> (Shares, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let limits = ShareLimits { capacity, party_max: u64::MAX, floor: 1, waiting_max: 100, wait };
    (Shares::new(Shared::Memory, limits, Arc::clone(&metrics)), metrics)
}

fn tenant(number: u8) -> Claimant {
    Claimant::tenant(TenantCode::from_bytes([number; 16]), Weight::default())
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_waiter_that_leaves_is_forgotten_and_whoever_stood_behind_it_is_served() {
    let (shares, _) = shares(100, Duration::from_hours(1));
    let held = shares.acquire(tenant(1), 60).await.unwrap();
    let mut leaving = Box::pin(shares.acquire(tenant(1), 40));
    let mut staying = pin!(shares.acquire(tenant(1), 15));
    assert!(poll(leaving.as_mut()).is_pending());
    assert!(poll(staying.as_mut()).is_pending(), "within a tenant nobody passes");
    drop(leaving);
    let Poll::Ready(Ok(share)) = poll(staying.as_mut()) else { panic!("it fits") };
    drop((held, share));
    assert_eq!((shares.used(), shares.waiting()), (0, 0));
}

#[tokio::test]
async fn a_waiter_that_leaves_at_the_moment_it_is_served_gives_back() {
    let (shares, _) = shares(100, Duration::from_hours(1));
    let held = shares.acquire(tenant(1), 80).await.unwrap();
    let mut first = Box::pin(shares.acquire(tenant(2), 50));
    let mut second = pin!(shares.acquire(tenant(2), 60));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    drop(held);
    // Served, and not polled since.
    assert_eq!((shares.used(), shares.waiting()), (50, 1));
    drop(first);
    assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(_))));
}

#[tokio::test]
async fn a_waiter_is_refused_after_the_wait_and_leaves_no_trace() {
    let (shares, metrics) = shares(100, Duration::from_millis(5));
    let _held = shares.acquire(tenant(1), 80).await.unwrap();
    assert_eq!(shares.acquire(tenant(1), 10).await.unwrap_err(), Refusal::Late);
    assert_eq!((shares.used(), shares.waiting()), (80, 0));
    assert!(shares.pool.lock().wakers.is_empty());
    for event in [ShareEvent::Waited, ShareEvent::Late] {
        assert_eq!(metrics.share_event(Shared::Memory, event).value(), 1);
    }
    assert_eq!(metrics.share_used(Shared::Memory).value(), 80);
}

#[tokio::test]
async fn more_than_one_may_ever_hold_is_refused_at_once() {
    let (shares, _) = shares(100, Duration::from_hours(1));
    assert_eq!(shares.most(tenant(1)), 80);
    assert_eq!(shares.acquire(tenant(1), 81).await.unwrap_err(), Refusal::TooMuch);
    assert_eq!(shares.try_acquire(tenant(1), 81).unwrap_err(), Refusal::TooMuch);
}

#[tokio::test]
async fn a_share_grows_and_shrinks_in_the_books() {
    let (shares, _) = shares(100, Duration::from_hours(1));
    let mut share = shares.try_acquire(tenant(1), 40).unwrap();
    share.try_grow(40).unwrap();
    assert_eq!(share.try_grow(1), Err(Refusal::Full));
    share.shrink_to(10);
    share.shrink_to(20);
    assert_eq!((share.units(), shares.used()), (10, 10));
    drop(share);
    assert_eq!(shares.used(), 0);
}

/// Many tasks of several tenants, some of which give up: nothing is lost, nothing is handed out twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_come_wait_and_leave_keep_to_the_budget() {
    let (shares, _) = shares(1_000, Duration::from_millis(20));
    let tasks = (0..200_u64).map(|number| {
        let shares = shares.clone();
        tokio::spawn(async move {
            let mut served = 0;
            for round in 0..50 {
                let units = 1 + (number * 7 + round * 13) % 300;
                let claim = shares.acquire(tenant(u8::try_from(number % 5).unwrap()), units);
                if round % 7 == 3 {
                    // Gives up after one look.
                    let mut claim = pin!(claim);
                    let _ = poll(claim.as_mut());
                } else if let Ok(share) = claim.await {
                    assert!(shares.used() <= 1_000);
                    tokio::task::yield_now().await;
                    served += share.units();
                }
            }
            served
        })
    });
    let served: u64 = futures_util::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    assert!(served > 0);
    assert_eq!((shares.used(), shares.waiting()), (0, 0));
    let state = shares.pool.lock();
    assert!(state.wakers.is_empty());
}
