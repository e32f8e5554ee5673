//! Time as a value and as an injected port, so that a test can hold it still.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment `seconds` seconds after the epoch; saturates.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch: the resolution of HTTP dates.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This moment plus `duration`; saturates.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// The moment `duration` before this one; no earlier than the epoch.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, as S3 listings print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).map_err(|_| fmt::Error)?;
        let moment = jiff::Timestamp::from_millisecond(millis).map_err(|_| fmt::Error)?;
        write!(f, "{}", moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

/// Where "now" comes from. Banned elsewhere by `clippy.toml`: a module that needs the time takes a `Clock`.
///
/// Two readings, since a clock on the wall may be set: what other processes and people must understand is [`now`](Self::now);
/// how long something lasted is [`ticked`](Self::ticked).
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment. It may step in either direction when somebody, or the network's time, sets the machine's clock.
    fn now(&self) -> Timestamp;

    /// How long this clock has run since a moment that stays the same for as long as the process lives. Never steps; may stand
    /// still while the machine is suspended. Means nothing in another process.
    fn ticked(&self) -> Duration;
}

/// The machine's real-time clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn ticked(&self) -> Duration {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGAN.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    ticked_ms: AtomicU64,
}

impl ManualClock {
    /// A clock standing at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self { wall_ms: AtomicU64::new(start.millis()), ticked_ms: AtomicU64::new(0) }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.wall_ms.fetch_add(millis(by), Ordering::SeqCst);
        self.ticked_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the wall clock ahead: no time passes.
    pub fn set_ahead(&self, by: Duration) {
        self.wall_ms.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the wall clock back: no time passes. Wraps below the epoch.
    pub fn set_back(&self, by: Duration) {
        self.wall_ms.fetch_sub(millis(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms.load(Ordering::SeqCst))
    }

    fn ticked(&self) -> Duration {
        Duration::from_millis(self.ticked_ms.load(Ordering::SeqCst))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_s3_listings_do() {
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(1_795_458_123_045).to_string(), "2026-11-23T18:22:03.045Z");
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let late = Timestamp::from_millis(u64::MAX);
        assert_eq!(late.after(Duration::from_secs(1)), late);
        assert_eq!(Timestamp::from_millis(1).since(late), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_set_does_not_tick() {
        let clock = ManualClock::at(Timestamp::from_seconds(10_000));
        clock.advance(Duration::from_secs(5));
        clock.set_ahead(Duration::from_mins(20));
        clock.set_back(Duration::from_mins(40));
        assert_eq!(clock.ticked(), Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_seconds(10_005 - 1200));
        let before = SystemClock.ticked();
        assert!(SystemClock.ticked() >= before);
    }
}
