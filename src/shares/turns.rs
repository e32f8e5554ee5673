//! Turns: how many requests are worked on at once, in weighted shares of their tenants.
//!
//! Processor, local disk, index and audit log serve first come, first served, and no claim on them can be seen. So it is settled
//! before they are asked: a request is worked on in a turn, and a tenant's crowd waits here, where whoever comes next of
//! another tenant passes it, and not in the queues below, where it would stand before everybody. While a request waits for
//! what is not ours to share (its client's bytes, a store or a key service elsewhere) or for memory that another may hold, it
//! has no turn: one that waited with it would keep out those that could be worked on, of its own tenant and of others.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use super::{Claimant, Refusal, Share, Shares};

tokio::task_local! {
    static HELD: Held;
}

/// The turn of the request that a task works on.
struct Held {
    turns: Shares,
    claimant: Claimant,
    /// `None` while the request is away, and where its place was taken when it came back.
    turn: Mutex<Option<Share>>,
}

/// Waits for a turn out of `turns`, then does `work` in it.
pub async fn in_turn<F: Future>(turns: &Shares, claimant: Claimant, work: F) -> Result<F::Output, Refusal> {
    let turn = turns.acquire(claimant, 1).await?;
    let held = Held { turns: turns.clone(), claimant, turn: Mutex::new(Some(turn)) };
    Ok(HELD.scope(held, work).await)
}

/// Waits for `work`, which is not ours to hurry, without a turn; takes one again before it goes on. What is there already costs
/// nothing, and a task that has no turn just waits.
///
/// Coming back is never refused: what was done so far would be lost. Whoever gets no turn in time goes on without.
pub async fn away<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    if let Poll::Ready(done) = futures_util::poll!(work.as_mut()) {
        return done;
    }
    let left = HELD.try_with(|held| held.put(None)).ok().flatten();
    let was_in_turn = left.is_some();
    drop(left);
    let done = work.await;
    if was_in_turn && let Ok((turns, claimant)) = HELD.try_with(|held| (held.turns.clone(), held.claimant)) {
        let turn = turns.acquire(claimant, 1).await.ok();
        // Two that were away in one task may both come back: the second one's is given back here.
        _ = HELD.try_with(|held| held.put(turn));
    }
    done
}

impl Held {
    fn put(&self, turn: Option<Share>) -> Option<Share> {
        std::mem::replace(&mut self.turn.lock().unwrap_or_else(PoisonError::into_inner), turn)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::super::ShareLimits;
    use super::*;
    use crate::model::{TenantCode, Weight};
    use crate::telemetry::{Metrics, ShareEvent, Shared};

    fn turns(capacity: u64, wait: Duration) -> (Shares, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let limits = ShareLimits { capacity, party_max: u64::MAX, floor: 1, waiting_max: 100, wait };
        (Shares::new(Shared::Turns, limits, Arc::clone(&metrics)), metrics)
    }

    fn tenant(number: u8) -> Claimant {
        Claimant::tenant(TenantCode::from_bytes([number; 16]), Weight::default())
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_quiet_tenants_request_stood_behind_all_of_a_floods() {
        let (turns, _) = turns(10, Duration::from_hours(1));
        let begun = std::sync::atomic::AtomicUsize::new(0);
        let begun = &begun;
        let mut flood: Vec<_> = (0..64)
            .map(|_| {
                Box::pin(in_turn(&turns, tenant(1), async move {
                    begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    std::future::pending::<()>().await;
                }))
            })
            .collect();
        for request in &mut flood {
            assert!(poll(request).is_pending());
        }
        assert_eq!(begun.load(std::sync::atomic::Ordering::Relaxed), 8, "four fifths");
        assert!(matches!(poll(&mut Box::pin(in_turn(&turns, tenant(2), async {}))), Poll::Ready(Ok(()))));
    }

    #[tokio::test]
    async fn who_waits_for_its_client_keeps_nobody_out() {
        let (turns, _) = turns(1, Duration::from_hours(1));
        let (bytes, arrive) = oneshot::channel::<()>();
        let mut slow = Box::pin(in_turn(&turns, tenant(1), async {
            away(arrive).await.unwrap();
        }));
        assert!(poll(&mut slow).is_pending());
        assert_eq!(turns.used(), 0);
        let mut other = Box::pin(in_turn(&turns, tenant(2), std::future::pending::<()>()));
        assert!(poll(&mut other).is_pending());
        assert_eq!(turns.used(), 1);
        bytes.send(()).unwrap();
        assert!(poll(&mut slow).is_pending(), "come back, it waits like any other");
        assert_eq!(turns.waiting(), 1);
        drop(other);
        assert!(matches!(poll(&mut slow), Poll::Ready(Ok(()))));
        assert_eq!((turns.used(), turns.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn what_is_there_already_is_not_waited_for_without_a_turn() {
        let (turns, _) = turns(1, Duration::from_hours(1));
        let outer = turns.clone();
        let work = async { away(async { outer.used() }).await };
        assert_eq!(in_turn(&turns, tenant(1), work).await, Ok(1));
    }

    #[tokio::test]
    async fn who_comes_back_too_late_for_a_turn_ends_its_work_all_the_same() {
        let (turns, metrics) = turns(1, Duration::from_millis(5));
        let (bytes, arrive) = oneshot::channel::<()>();
        let mut slow = Box::pin(in_turn(&turns, tenant(1), async {
            away(arrive).await.unwrap();
            "done"
        }));
        assert!(poll(&mut slow).is_pending());
        let _other = turns.acquire(tenant(2), 1).await.unwrap();
        bytes.send(()).unwrap();
        assert_eq!(slow.await, Ok("done"));
        assert_eq!(metrics.share_event(Shared::Turns, ShareEvent::Late).value(), 1);
    }

    #[tokio::test]
    async fn who_leaves_while_away_or_coming_back_leaves_no_trace() {
        let (turns, _) = turns(1, Duration::from_hours(1));
        let (bytes, arrive) = oneshot::channel::<()>();
        let mut slow = Box::pin(in_turn(&turns, tenant(1), away(arrive)));
        assert!(poll(&mut slow).is_pending());
        let held = turns.acquire(tenant(2), 1).await.unwrap();
        bytes.send(()).unwrap();
        assert!(poll(&mut slow).is_pending());
        assert_eq!(turns.waiting(), 1);
        drop(slow);
        drop(held);
        assert_eq!((turns.used(), turns.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn two_that_were_away_in_one_task_hold_one_turn() {
        let (turns, _) = turns(4, Duration::from_hours(1));
        let (here, first) = oneshot::channel::<()>();
        let (there, second) = oneshot::channel::<()>();
        let outer = turns.clone();
        let mut both = Box::pin(in_turn(&turns, tenant(1), async move {
            _ = futures_util::future::join(away(first), away(second)).await;
            outer.used()
        }));
        assert!(poll(&mut both).is_pending());
        assert_eq!(turns.used(), 0);
        here.send(()).unwrap();
        there.send(()).unwrap();
        assert_eq!(both.await, Ok(1));
        assert_eq!(turns.used(), 0);
    }

    #[tokio::test]
    async fn without_a_turn_nothing_is_given_up_and_nothing_taken() {
        let (turns, _) = turns(1, Duration::from_hours(1));
        let _held = turns.acquire(tenant(1), 1).await.unwrap();
        away(tokio::task::yield_now()).await;
        assert_eq!((turns.used(), turns.waiting()), (1, 0));
    }
}
