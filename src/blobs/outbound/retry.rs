//! Repeats what failed for a passing reason: few times, at random distances, within the deadline and a budget.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tower::retry::Policy;
use tower::retry::budget::{Budget, TpsBudget};

use crate::model::Entropy;
use crate::telemetry::{Metrics, StoreRefusal};

use super::super::{Error, ErrorKind};
use super::request::{BlobAnswer, Lane, Timed};

/// How long a first try counts for the budget.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Tries per call, the first one counted.
    pub attempts_max: u32,
    /// The first pause is drawn from 0 to this many milliseconds; the bound doubles with each try ("full jitter").
    pub pause_ms: u64,
    /// Retries per hundred first tries of the last ten seconds that reached the store; at most 100.
    pub budget_percent: u8,
    /// Retries a second beside those, so that a region with few calls can retry at all.
    pub reserve_per_s: u32,
}

impl Default for RetrySettings {
    /// A fifth, as in Finagle and linkerd, of which tower's budget descends: a store in trouble sees 1.2 times the calls we
    /// were asked for, and with the reserve less than 1.3 times as soon as these are more than 20 a second.
    fn default() -> Self {
        Self { attempts_max: 3, pause_ms: 50, budget_percent: 20, reserve_per_s: 2 }
    }
}

/// Decides after each try of a call whether there is another.
#[derive(Clone, Debug)]
pub(super) struct Again {
    shared: Arc<Shared>,
    tried: u32,
}

#[derive(Debug)]
struct Shared {
    settings: RetrySettings,
    /// One each: what clearing up spends on a store in trouble is not missing to those who wait.
    foreground: TpsBudget,
    background: TpsBudget,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
}

impl Again {
    pub(super) fn new(settings: RetrySettings, entropy: Arc<dyn Entropy>, metrics: Arc<Metrics>) -> Self {
        let share = f32::from(settings.budget_percent.min(100)) / 100.0;
        // tower refuses numbers that leave the range of its own, which no sane setting does.
        let reserve = settings.reserve_per_s.min(1_000_000);
        let budget = || TpsBudget::new(BUDGET_WINDOW, reserve, share);
        let shared = Shared { settings, foreground: budget(), background: budget(), entropy, metrics };
        Self { shared: Arc::new(shared), tried: 0 }
    }
}

impl Policy<Timed, BlobAnswer, Error> for Again {
    type Future = Sleep;

    fn retry(&mut self, timed: &mut Timed, outcome: &mut Result<BlobAnswer, Error>) -> Option<Sleep> {
        let shared = &*self.shared;
        let budget = match timed.call.lane {
            Lane::Foreground => &shared.foreground,
            Lane::Background => &shared.background,
        };
        self.tried += 1;
        if self.tried == 1 && reached_the_store(outcome) {
            budget.deposit();
        }
        let error = outcome.as_ref().err()?;
        if !error.is_retryable() || self.tried >= shared.settings.attempts_max {
            return None;
        }
        let pause = shared.pause(self.tried).max(error.retry_after().unwrap_or_default());
        let resume = Instant::now().checked_add(pause).filter(|resume| *resume < timed.deadline)?;
        if !budget.withdraw() {
            shared.metrics.store_refusals(StoreRefusal::NoBudget).increment();
            return None;
        }
        shared.metrics.store_retries().increment();
        Some(sleep_until(resume))
    }

    fn clone_request(&mut self, timed: &Timed) -> Option<Timed> {
        Some(timed.clone())
    }
}

/// What we refused ourselves earns nothing.
fn reached_the_store(outcome: &Result<BlobAnswer, Error>) -> bool {
    !matches!(outcome.as_ref().map_err(Error::kind), Err(ErrorKind::Overloaded | ErrorKind::CircuitOpen))
}

impl Shared {
    /// Full jitter: uniform from zero to a bound that doubles, so that clients that failed together do not return together.
    ///
    /// Not `tower::retry::backoff`: its randomness is its own.
    fn pause(&self, tried: u32) -> Duration {
        let bound = self.settings.pause_ms.saturating_mul(1 << tried.saturating_sub(1).min(10));
        let mut random = [0; 8];
        // Without entropy the pause is the whole bound: later, not sooner.
        let share = self.entropy.fill(&mut random).map_or(u64::MAX, |()| u64::from_be_bytes(random));
        let millis = (u128::from(bound) * u128::from(share)) >> 64;
        Duration::from_millis(u64::try_from(millis).unwrap_or(bound))
    }
}
