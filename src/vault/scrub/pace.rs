//! The least time that work on a blob takes, so that verifying never takes more of a store than it was given.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What may be spent ahead of time after a pause: less than a second's worth, so that a pass never comes in waves.
const BURST: Duration = Duration::from_millis(250);

/// A rate in bytes and in blobs; whichever is slower holds.
#[derive(Debug)]
pub struct Pace {
    bytes_per_s_max: u64,
    blobs_per_s_max: u64,
    /// When everything spent so far is paid for.
    paid: Instant,
}

impl Pace {
    /// At most so many bytes and so many blobs a second, each at least 1.
    pub fn new(bytes_per_s_max: u64, blobs_per_s_max: u64) -> Self {
        let at_least_one = |rate: u64| rate.max(1);
        Self {
            bytes_per_s_max: at_least_one(bytes_per_s_max),
            blobs_per_s_max: at_least_one(blobs_per_s_max),
            paid: Instant::now(),
        }
    }

    /// Waits until another `blobs` of `bytes` together may be asked for.
    pub async fn spend(&mut self, blobs: u64, bytes: u64) {
        let now = Instant::now();
        if let Some(wait) = self.take(now, blobs, bytes) {
            sleep_until(wait).await;
        }
    }

    /// Until when to wait.
    fn take(&mut self, now: Instant, blobs: u64, bytes: u64) -> Option<Instant> {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begin = self.paid.max(earliest);
        self.paid = begin + cost(bytes, self.bytes_per_s_max).max(cost(blobs, self.blobs_per_s_max));
        (begin > now).then_some(begin)
    }
}

fn cost(amount: u64, per_s: u64) -> Duration {
    let micros = u128::from(amount) * 1_000_000 / u128::from(per_s);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How long a list of blobs takes, by the pace's own clock.
    fn takes(pace: &mut Pace, sizes: &[u64]) -> Duration {
        let begun = pace.paid;
        let mut now = begun;
        for size in sizes {
            now = pace.take(now, 1, *size).unwrap_or(now).max(now);
        }
        pace.paid - begun
    }

    proptest! {
        #[test]
        fn neither_rate_is_ever_exceeded(
            sizes in proptest::collection::vec(0_u64..20_000_000, 1..50),
            bytes_per_s in 1_u64..100_000_000,
            blobs_per_s in 1_u64..1_000,
        ) {
            let mut pace = Pace::new(bytes_per_s, blobs_per_s);
            let took = takes(&mut pace, &sizes).as_secs_f64() + 1e-3;
            let total: u64 = sizes.iter().sum();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let (total, blobs, bytes_per_s, blobs_per_s) =
                (total as f64, sizes.len() as f64, bytes_per_s as f64, blobs_per_s as f64);
            prop_assert!(total / bytes_per_s <= took, "{} bytes in {}", total, took);
            prop_assert!(blobs / blobs_per_s <= took, "{} blobs in {}", blobs, took);
        }
    }

    #[test]
    fn a_pause_is_no_credit_for_a_flood() {
        let mut pace = Pace::new(1_000_000, 10);
        let after_an_hour = pace.paid + Duration::from_hours(1);
        let free = (0..100).filter(|_| pace.take(after_an_hour, 1, 0).is_none()).count();
        assert_eq!(free, 3, "a quarter of a second's worth of ten a second, and the one that is due");
    }

    #[test]
    fn a_rate_of_nothing_is_slow_not_a_division_by_zero() {
        let mut pace = Pace::new(0, 0);
        let now = pace.paid;
        assert_eq!(pace.take(now, 1, 1), None);
        assert_eq!(pace.take(now, 1, 1), Some(now + Duration::from_secs(1)));
    }
}
