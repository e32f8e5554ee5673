//! How many requests of strangers are looked at: a signature costs work, and who has no known key is owed little of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Clock, Timestamp};
use crate::s3::{Code, S3Error};
use crate::telemetry::Metrics;

/// The half of the window that counts.
const COUNT: u64 = 0xffff_ffff;

/// Strangers' requests of one second.
///
/// A request is a stranger's here if its key id, still unproven, is not an active credential's. Above the rate such a request
/// is refused before its signature is computed, so that under a flood a caller can tell by the answer whether a key id is
/// active; the codes `InvalidAccessKeyId` and `SignatureDoesNotMatch` tell it anyway, as they do everywhere in S3.
#[derive(Debug)]
pub(super) struct Strangers {
    per_s_max: u64,
    /// The second (low half of its number), and how many came in it.
    window: AtomicU64,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Strangers {
    pub(super) fn new(per_s_max: u64, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { per_s_max, window: AtomicU64::new(0), clock, metrics }
    }

    /// Counts one more; 503 if it is one too many.
    pub(super) fn admit(&self) -> Result<(), S3Error> {
        if self.came(self.clock.now()) <= self.per_s_max {
            return Ok(());
        }
        self.metrics.strangers_refused().increment();
        Err(S3Error::new(Code::SlowDown).with_retry_after_s(1))
    }

    /// How many came in this second, this one counted.
    fn came(&self, now: Timestamp) -> u64 {
        let second = (now.millis() / 1000) << 32;
        let next = |window: u64| {
            let count = if window & !COUNT == second { window & COUNT } else { 0 };
            second | (count + 1).min(COUNT)
        };
        let update =
            self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| Some(next(window)));
        next(update.unwrap_or_else(|window| window)) & COUNT
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::ManualClock;

    #[test]
    fn strangers_had_as_much_of_the_signature_checks_as_they_wanted() {
        let clock = Arc::new(ManualClock::default());
        let metrics = Arc::new(Metrics::default());
        let strangers = Strangers::new(3, Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&metrics));
        let admitted = |count: usize| (0..count).filter(|_| strangers.admit().is_ok()).count();
        assert_eq!(admitted(10), 3);
        assert_eq!(strangers.admit().unwrap_err().code(), Code::SlowDown);
        assert_eq!(metrics.strangers_refused().value(), 8);
        clock.advance(Duration::from_millis(1));
        assert_eq!(admitted(10), 0, "a moment later, none");
        clock.advance(Duration::from_secs(1));
        assert_eq!(admitted(10), 3, "a second later, as many again");
    }
}
