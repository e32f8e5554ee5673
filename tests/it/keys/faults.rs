//! The ring when the KMS is slow, unreachable, or says no: how often it is asked, and what is still handed out.

use std::time::Duration;

use proptest::prelude::*;
use terroir::keys::testing::Fault;
use terroir::keys::{KekSpec, KeysError, KmsError, RingSettings};

use super::{Bench, STALE, TTL, just_before, settings, spec, tenant, until};

const DOWN: Fault = Fault::Fail(KmsError::Unavailable("down"));

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However many ask, whenever they ask: the KMS hears of a KEK once per TTL.
    #[test]
    fn the_kms_is_called_at_most_once_per_kek_and_ttl(
        steps in prop::collection::vec((1_u64..150, 1_usize..20), 1..40),
    ) {
        run(async {
            let bench = Bench::new().await;
            let kek = bench.ring.current(tenant(1), &spec()).await.unwrap();
            let (made, mut elapsed) = (bench.calls(), 0);
            for (seconds, askers) in steps {
                bench.clock.advance(Duration::from_secs(seconds));
                elapsed += seconds;
                let asked: Vec<_> = (0..askers).map(|at| {
                    let (ring, id, epoch) = (bench.ring.clone(), kek.id(), kek.epoch());
                    tokio::spawn(async move {
                        if at % 2 == 0 {
                            ring.current(tenant(1), &spec()).await
                        } else {
                            ring.by_id(tenant(1), &spec(), id, epoch).await
                        }
                    })
                }).collect();
                for one in asked {
                    let answer = one.await.unwrap().unwrap();
                    prop_assert_eq!(answer.key(), kek.key());
                }
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                let calls = bench.calls() - made;
                // A refresh may come a tenth early, which does not shift the ones after it.
                let periods = usize::try_from((elapsed + TTL.as_secs() / 10) / TTL.as_secs()).unwrap();
                prop_assert!(calls <= periods, "{} calls in {} s", calls, elapsed);
            }
            Ok(())
        })?;
    }

    /// Unreachable from some moment on: served until TTL + stale window after the last word, not a millisecond longer.
    #[test]
    fn the_stale_window_is_honoured_to_the_millisecond(asks in prop::collection::vec(1_u64..40_000, 1..30)) {
        run(async {
            let bench = Bench::new().await;
            bench.ring.current(tenant(1), &spec()).await.unwrap();
            bench.kms.always(Some(DOWN));
            let gone = u64::try_from((TTL + STALE).as_millis()).unwrap();
            let mut age = 0;
            for by in asks {
                age += by;
                bench.clock.advance(Duration::from_millis(by));
                let answer = bench.ring.current(tenant(1), &spec()).await;
                prop_assert_eq!(answer.is_ok(), age < gone, "at {} ms", age);
            }
            Ok(())
        })?;
    }

    /// Whenever the KMS begins to say no, and whichever no: the next refresh ends it, stale window or not.
    #[test]
    fn a_no_evicts_at_once_and_being_unreachable_afterwards_does_not_bring_it_back(which in 0_usize..5, at in 100_u64..150) {
        let no = [
            KmsError::Denied,
            KmsError::Disabled,
            KmsError::ScheduledForDestruction,
            KmsError::Destroyed,
            KmsError::Corrupt,
        ][which];
        run(async {
            let bench = Bench::new().await;
            bench.ring.current(tenant(1), &spec()).await.unwrap();
            bench.clock.advance(Duration::from_secs(at));
            bench.kms.next(Fault::Fail(no));
            bench.kms.always(Some(DOWN));
            let refused = bench.ring.current(tenant(1), &spec()).await.unwrap_err();
            prop_assert_eq!(refused, KeysError::Kms(no));
            for _ in 0..10 {
                bench.clock.advance(Duration::from_millis(700));
                prop_assert!(bench.ring.current(tenant(1), &spec()).await.is_err());
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn exactly_at_the_end_of_the_window_the_key_is_gone() {
    let bench = Bench::new().await;
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    bench.kms.always(Some(DOWN));
    bench.clock.advance(just_before(TTL + STALE));
    assert!(bench.ring.current(tenant(1), &spec()).await.is_ok());
    bench.clock.advance(Duration::from_millis(1));
    let refused = bench.ring.current(tenant(1), &spec()).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
}

#[tokio::test]
async fn a_class_without_a_stale_window_ends_with_its_ttl() {
    let bench = Bench::new().await;
    let strict = KekSpec { stale: Duration::ZERO, ..spec() };
    bench.ring.current(tenant(1), &strict).await.unwrap();
    bench.kms.always(Some(DOWN));
    bench.clock.advance(just_before(TTL));
    assert!(bench.ring.current(tenant(1), &strict).await.is_ok());
    bench.clock.advance(Duration::from_millis(1));
    assert!(bench.ring.current(tenant(1), &strict).await.is_err());
}

#[tokio::test]
async fn a_refresh_before_expiry_keeps_nobody_waiting() {
    let bench = Bench::new().await;
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    let before = bench.calls();
    bench.kms.always(Some(Fault::Wait));
    bench.clock.advance(just_before(TTL));
    for _ in 0..20 {
        bench.ring.current(tenant(1), &spec()).await.unwrap();
    }
    until("the refresh began", || bench.calls() == before + 1).await;
    bench.kms.always(None);
    bench.kms.release();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    bench.clock.advance(Duration::from_secs(50));
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    assert_eq!(bench.calls(), before + 1, "and it counted for the next period");
}

#[tokio::test]
async fn a_denial_heard_by_an_early_refresh_ends_the_key_before_its_ttl() {
    let bench = Bench::new().await;
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    let before = bench.calls();
    bench.kms.always(Some(Fault::Fail(KmsError::Disabled)));
    bench.clock.advance(just_before(just_before(TTL)));
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    until("the refresh was made", || bench.calls() == before + 1).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let refused = bench.ring.current(tenant(1), &spec()).await.unwrap_err();
    assert_eq!(refused, KeysError::Kms(KmsError::Disabled));
}

#[tokio::test]
async fn an_outage_is_not_answered_with_a_storm() {
    let bench = Bench::new().await;
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    let before = bench.calls();
    bench.kms.always(Some(DOWN));
    bench.clock.advance(TTL);
    // 1,000 requests a second for 40 s of outage.
    for _ in 0..40 {
        for _ in 0..1_000 {
            bench.ring.current(tenant(1), &spec()).await.unwrap();
        }
        bench.clock.advance(Duration::from_secs(1));
    }
    let calls = bench.calls() - before;
    // Backoff of 1, 2, 4, 8, 16, 30 s, at least half of each, two attempts each time.
    assert!((2..=20).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn a_refused_key_is_not_asked_for_by_every_request() {
    let bench = Bench::new().await;
    bench.kms.always(Some(Fault::Fail(KmsError::Denied)));
    let before = bench.calls();
    for _ in 0..1_000 {
        assert!(bench.ring.current(tenant(9), &spec()).await.is_err());
    }
    assert_eq!(bench.calls() - before, 1);
    bench.kms.always(None);
    bench.clock.advance(Duration::from_secs(2));
    bench.ring.current(tenant(9), &spec()).await.unwrap();
}

#[tokio::test]
async fn a_kms_that_never_answers_is_left_in_time_and_asked_a_bounded_number_of_times() {
    let bench = Bench::with(RingSettings { call_ms_max: 20, attempts_max: 3, ..settings() }).await;
    bench.kms.always(Some(Fault::Hang));
    let before = bench.calls();
    let refused = bench.ring.current(tenant(2), &spec()).await.unwrap_err();
    assert!(matches!(refused, KeysError::Kms(KmsError::Unavailable(_))));
    assert_eq!(bench.calls() - before, 3);
}

#[tokio::test]
async fn a_short_failure_is_retried_and_not_seen() {
    let bench = Bench::new().await;
    bench.kms.next(DOWN);
    bench.ring.current(tenant(2), &spec()).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_take_the_answer_from_the_others() {
    let bench = Bench::new().await;
    bench.kms.next(Fault::Wait);
    let ring = bench.ring.clone();
    let first = tokio::spawn(async move { ring.current(tenant(2), &spec()).await });
    let before = bench.calls();
    until("the KMS was asked", || bench.calls() == before + 1).await;
    let ring = bench.ring.clone();
    let second = tokio::spawn(async move { ring.current(tenant(2), &spec()).await });
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    bench.kms.release();
    second.await.unwrap().unwrap();
    assert_eq!(bench.calls(), before + 1);
}

#[tokio::test]
async fn a_key_store_that_cannot_be_read_is_an_outage_and_not_a_no() {
    let bench = Bench::new().await;
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    bench.store.fail(true);
    bench.clock.advance(TTL + Duration::from_secs(1));
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    assert!(bench.ring.current(tenant(2), &spec()).await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn a_clock_that_was_set_back_kept_a_key_open_for_longer_by_as_much() {
    let bench = Bench::new().await;
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    let before = bench.calls();
    bench.clock.advance(TTL * 3 / 4);
    bench.clock.set_back(TTL / 2);
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    assert_eq!(bench.calls(), before, "its age is known");
    bench.clock.advance(TTL / 2);
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    assert_eq!(bench.calls(), before + 1, "by the wall it is three quarters of its life old");
}

#[tokio::test]
async fn a_key_that_is_old_by_the_wall_alone_is_old() {
    let bench = Bench::new().await;
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    let before = bench.calls();
    // As after a machine's sleep, in which nothing ticks.
    bench.clock.set_ahead(TTL);
    bench.ring.current(tenant(1), &spec()).await.unwrap();
    assert_eq!(bench.calls(), before + 1);
}
