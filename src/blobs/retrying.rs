//! Repeats what failed for a passing reason: few times, at random distances, within a deadline and a budget.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::envelope::Sealed;
use crate::model::Entropy;
use crate::placement::Placement;

use super::{BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, Location, Page, Verb};

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Tries per call, the first one counted.
    pub attempts_max: u32,
    /// How long one try may take, in milliseconds.
    pub attempt_ms: u64,
    /// How long all tries and pauses of one call may take together, in milliseconds.
    pub deadline_ms: u64,
    /// The first pause is drawn from 0 to this many milliseconds; the bound doubles with each try ("full jitter").
    pub pause_ms: u64,
    /// Retries that may be spent in one burst. Each call that succeeds at first try earns back a tenth of one, so in the
    /// long run a store in trouble sees at most 1.1 times the calls we were asked for.
    pub budget_tries: u32,
}

impl Default for RetrySettings {
    /// Three tries of 20 s in 45 s: below the 60 s after which S3 SDKs give up by default. 100 retries at once, what AWS'
    /// SDKs take as their bucket (500 tokens at 5 each).
    fn default() -> Self {
        Self { attempts_max: 3, attempt_ms: 20_000, deadline_ms: 45_000, pause_ms: 50, budget_tries: 100 }
    }
}

/// A store that repeats retryable failures of the one inside.
pub struct Retrying<S> {
    inner: S,
    settings: RetrySettings,
    entropy: Arc<dyn Entropy>,
    /// In tenths of a retry.
    budget: AtomicU64,
}

impl<S: BlobStore> Retrying<S> {
    /// Wraps `inner`; `entropy` spreads the pauses.
    pub fn new(inner: S, settings: RetrySettings, entropy: Arc<dyn Entropy>) -> Self {
        Self { inner, settings, entropy, budget: AtomicU64::new(tenths(&settings)) }
    }

    async fn run<T, F>(&self, verb: Verb, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + Duration::from_millis(self.settings.deadline_ms);
        let mut tried = 0;
        loop {
            tried += 1;
            let until = deadline.min(Instant::now() + Duration::from_millis(self.settings.attempt_ms));
            let outcome = timeout_at(until, attempt())
                .await
                .unwrap_or_else(|_| Err(Error::new(verb, ErrorKind::Timeout)));
            match outcome {
                Err(error) if error.is_retryable() && tried < self.settings.attempts_max => {
                    let resume = Instant::now() + self.pause(tried);
                    if resume >= deadline || !self.spend() {
                        return Err(error);
                    }
                    sleep_until(resume).await;
                }
                outcome => {
                    if tried == 1 && outcome.as_ref().err().is_none_or(|error| !error.is_retryable()) {
                        self.earn();
                    }
                    return outcome;
                }
            }
        }
    }

    /// Full jitter: uniform from zero to a bound that doubles, so that clients that failed together do not return together.
    fn pause(&self, tried: u32) -> Duration {
        let bound = self.settings.pause_ms.saturating_mul(1 << tried.saturating_sub(1).min(10));
        let mut random = [0; 8];
        // Without entropy the pause is the whole bound: later, not sooner.
        let share = self.entropy.fill(&mut random).map_or(u64::MAX, |()| u64::from_be_bytes(random));
        let millis = (u128::from(bound) * u128::from(share)) >> 64;
        Duration::from_millis(u64::try_from(millis).unwrap_or(bound))
    }

    fn spend(&self) -> bool {
        self.budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tenths| tenths.checked_sub(10))
            .is_ok()
    }

    fn earn(&self) {
        let full = tenths(&self.settings);
        let earned = |tenths: u64| (tenths < full).then(|| tenths + 1);
        // A full bucket stays as it is.
        let _ = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }
}

fn tenths(settings: &RetrySettings) -> u64 {
    u64::from(settings.budget_tries) * 10
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: BlobStore> BlobStore for Retrying<S> {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        self.run(Verb::Put, || self.inner.put(at, sealed.clone())).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        self.run(Verb::Read, || self.inner.read(at, range.clone())).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        self.run(Verb::Head, || self.inner.head(at)).await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        self.run(Verb::Delete, || self.inner.delete(at)).await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        self.run(Verb::List, || self.inner.list(placed, after, limit)).await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        self.run(Verb::Locate, || self.inner.locate()).await
    }

    fn describe(&self) -> Description {
        self.inner.describe()
    }
}

impl<S: fmt::Debug> fmt::Debug for Retrying<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("inner", &self.inner)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
