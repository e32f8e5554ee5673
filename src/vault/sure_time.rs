//! What time it is for sure: what may be deleted goes by this, so that a clock that is set ahead deletes nothing early.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Clock, Timestamp};

/// How far the wall clock may be ahead of what is sure before it is not believed, ms: a step of the network's time is smaller as
/// a rule, and every delay that anybody waits for here is minutes at least.
const AHEAD_MS_MAX: i64 = 10_000;

/// Offsets are told apart by this much, ms, so that the drift between the two clocks (at most 500 ppm, what the kernel slews by)
/// is one of them in half an hour.
const GRAIN_MS: i64 = 1_000;

/// Offsets that are remembered. Beyond it the newest is taken to have been the one before it for longer: later, never earlier.
const OFFSETS_MAX: usize = 1_024;

/// The wall clock as far as it can be believed: no further ahead than it ever was, within a time asked for, in comparison with
/// the clock that is never set.
///
/// Something due at *d* was given its delay by the wall clock. Was that set ahead by an hour in between, *d* comes an hour early;
/// but the clock as it was before the step, run on, comes to *d* when the delay has passed. After a step as old as
/// the delay itself nothing is left that was given its delay before it. What a process cannot know is what the clock did before it
/// started, and what others' clocks do.
#[derive(Debug)]
pub(super) struct SureTime {
    /// How long offsets are remembered.
    kept: Duration,
    /// Ascending in both, so that the first one that is recent enough is the least of all that are.
    offsets: Mutex<VecDeque<Offset>>,
}

/// How far the wall clock was ahead of the other one.
#[derive(Debug)]
struct Offset {
    by_ms: i64,
    /// When it was so for the last time, as far as was looked.
    until: Duration,
}

impl SureTime {
    /// From now on; to be asked for times no longer ago than `kept`.
    pub(super) fn new(kept: Duration, clock: &dyn Clock) -> Self {
        let sure = Self { kept, offsets: Mutex::default() };
        sure.now(clock, kept);
        sure
    }

    /// The time, for what was given a delay of at most `delay`. To be asked often: a step is taken to be as young as it can be, and
    /// one there and back between two times of asking is not seen.
    pub(super) fn now(&self, clock: &dyn Clock, delay: Duration) -> Timestamp {
        // In this order: held up in between, the wall clock seems to be behind and not ahead.
        let wall = clock.now();
        let ticked = clock.ticked();
        let ticked_ms = signed(ticked.as_millis());
        let by_ms = signed(wall.millis().into()).saturating_sub(ticked_ms);
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut offsets, by_ms.div_euclid(GRAIN_MS) * GRAIN_MS, ticked);
        forget(&mut offsets, ticked, self.kept);
        let least = offsets.iter().find(|offset| offset.until.saturating_add(delay) >= ticked);
        let believed = least.map_or(by_ms, |offset| offset.by_ms.saturating_add(AHEAD_MS_MAX));
        let sure_ms = u64::try_from(ticked_ms.saturating_add(believed)).unwrap_or_default();
        wall.min(Timestamp::from_millis(sure_ms))
    }
}

fn note(offsets: &mut VecDeque<Offset>, by_ms: i64, ticked: Duration) {
    // Whatever it is now, it may have been as before until a moment ago.
    if let Some(last) = offsets.back_mut() {
        last.until = last.until.max(ticked);
    }
    while offsets.back().is_some_and(|last| last.by_ms >= by_ms) {
        offsets.pop_back();
    }
    if offsets.len() < OFFSETS_MAX {
        offsets.push_back(Offset { by_ms, until: ticked });
    }
}

fn forget(offsets: &mut VecDeque<Offset>, ticked: Duration, kept: Duration) {
    while offsets.len() > 1
        && offsets.front().is_some_and(|offset| offset.until.saturating_add(kept) < ticked)
    {
        offsets.pop_front();
    }
}

fn signed(millis: u128) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ManualClock;

    const DELAY: Duration = Duration::from_hours(24);
    const START: Timestamp = Timestamp::from_seconds(1_000_000_000);

    #[test]
    fn a_clock_set_ahead_is_believed_when_the_step_is_as_old_as_the_delay() {
        let clock = ManualClock::at(START);
        let sure = SureTime::new(DELAY, &clock);
        clock.advance(Duration::from_mins(5));
        assert_eq!(sure.now(&clock, DELAY), clock.now());
        let due = clock.now().after(DELAY);
        clock.set_ahead(Duration::from_hours(100));
        assert!(sure.now(&clock, DELAY) < due);
        clock.advance(DELAY.saturating_sub(Duration::from_secs(11)));
        assert!(sure.now(&clock, DELAY) < due, "not a moment before the delay has passed");
        clock.advance(Duration::from_secs(12));
        assert_eq!(sure.now(&clock, DELAY), clock.now(), "then as before");
    }

    #[test]
    fn a_step_between_two_looks_is_as_young_as_the_second() {
        let clock = ManualClock::at(START);
        let sure = SureTime::new(DELAY, &clock);
        // A look is late, and something is given its delay a moment before the step.
        clock.advance(Duration::from_hours(20));
        let due = clock.now().after(DELAY);
        clock.set_ahead(Duration::from_hours(100));
        assert!(sure.now(&clock, DELAY) < due);
        clock.advance(Duration::from_hours(5));
        assert!(sure.now(&clock, DELAY) < due, "25 hours after the last look before the step");
    }

    #[test]
    fn a_clock_that_was_slow_and_is_put_right_is_believed_after_the_delay() {
        let clock = ManualClock::at(START);
        let sure = SureTime::new(DELAY, &clock);
        clock.set_back(Duration::from_hours(3));
        assert_eq!(sure.now(&clock, DELAY), clock.now(), "a clock behind deletes late");
        clock.set_ahead(Duration::from_hours(3));
        assert!(sure.now(&clock, DELAY) < clock.now());
        clock.advance(DELAY + Duration::from_millis(1));
        assert_eq!(sure.now(&clock, DELAY), clock.now());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgets_towards_later() {
        let clock = ManualClock::at(START);
        let sure = SureTime::new(DELAY, &clock);
        for _ in 0..3 * OFFSETS_MAX {
            clock.set_ahead(Duration::from_mins(1));
            clock.advance(Duration::from_secs(1));
            let age = clock.now().since(sure.now(&clock, DELAY));
            let ahead = clock.now().since(START).saturating_sub(clock.ticked());
            assert!(age + Duration::from_secs(10) >= ahead);
        }
        assert!(sure.offsets.lock().unwrap().len() <= OFFSETS_MAX);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ahead(u64),
        Back(u64),
        Wait(u64),
        Look,
        Queue,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_u64..100_000).prop_map(Step::Ahead),
            (1_u64..100_000).prop_map(Step::Back),
            (1_u64..50_000).prop_map(Step::Wait),
            Just(Step::Look),
            Just(Step::Queue),
        ]
    }

    proptest! {
        /// Whatever the clock does and whenever, as long as it is looked at once between two steps of it.
        #[test]
        fn nothing_is_due_before_its_delay_has_passed(steps in prop::collection::vec(step(), 1..200)) {
            let clock = ManualClock::at(START);
            let sure = SureTime::new(DELAY, &clock);
            let mut queued = Vec::new();
            for step in steps {
                if matches!(step, Step::Ahead(_) | Step::Back(_)) {
                    sure.now(&clock, DELAY);
                }
                match step {
                    Step::Ahead(s) => clock.set_ahead(Duration::from_secs(s)),
                    Step::Back(s) => clock.set_back(Duration::from_secs(s)),
                    Step::Wait(s) => clock.advance(Duration::from_secs(s)),
                    Step::Queue => queued.push((clock.now().after(DELAY), clock.ticked())),
                    Step::Look => {
                        let now = sure.now(&clock, DELAY);
                        prop_assert!(now <= clock.now());
                        for (due, since) in &queued {
                            let early = Duration::from_millis(AHEAD_MS_MAX.unsigned_abs());
                            let passed = clock.ticked().saturating_sub(*since) + early >= DELAY;
                            prop_assert!(*due > now || passed);
                        }
                    }
                }
            }
        }
    }
}
