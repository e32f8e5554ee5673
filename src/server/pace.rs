//! How slow the other side may be: an idle limit and a minimum rate, over time spent waiting for it.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;
use super::alarm::Alarm;

/// The other side was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooSlow {
    /// Nothing moved for the idle limit.
    #[error("no progress within the idle limit")]
    Idle,
    /// Something moved, but below the minimum rate over the window.
    #[error("progress below the minimum rate")]
    Rate,
}

/// The limits of one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct PaceLimits {
    pub(super) idle: Duration,
    pub(super) window: Duration,
    pub(super) rate_bytes_min: u64,
}

impl PaceLimits {
    /// What is demanded of the reader of an answer.
    pub(super) const fn of_answers(limits: &Limits) -> Self {
        Self {
            idle: Duration::from_millis(limits.answer_stall_ms),
            window: Duration::from_millis(limits.rate_window_ms),
            rate_bytes_min: limits.rate_bytes_min,
        }
    }

    /// What is demanded of the writer of a request's body.
    pub(super) const fn of_requests(limits: &Limits) -> Self {
        Self { idle: Duration::from_millis(limits.body_idle_ms), ..Self::of_answers(limits) }
    }
}

/// Every wait in a window that is full and poor ends with another look ([`Alarm`]): more may be there than one read takes. So many
/// of them, and who trickles is found out.
const LOOKS_MAX: u32 = 8;

/// Watches one direction of one connection.
///
/// Only waiting counts: while our own side does not ask for bytes, or has none to send, the clock stands. So a store that is
/// slow does not get a client cut off. A full window of waiting must have moved the minimum; then a new window begins. It is
/// judged when there is nothing to move: not before all that came while we were busy has been counted.
#[derive(Debug)]
pub(super) struct Pace {
    limits: PaceLimits,
    /// Since when we wait, if we do.
    waiting_since: Option<Instant>,
    /// Waiting time in this window before `waiting_since`.
    waited: Duration,
    /// Bytes that moved in this window.
    moved: u64,
    /// Waits that began when the window was full and poor, of [`LOOKS_MAX`].
    looks: u32,
    /// Made at the first wait: most bodies never wait.
    alarm: Option<Alarm>,
}

impl Pace {
    pub(super) const fn new(limits: PaceLimits) -> Self {
        Self { limits, waiting_since: None, waited: Duration::ZERO, moved: 0, looks: 0, alarm: None }
    }

    /// `bytes` moved (zero: we stopped waiting for another reason).
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes as u64);
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
    }

    /// We wait for the other side. `Ready` when it used up its time.
    pub(super) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        let poor = self.moved < self.owed();
        let full = self.waited >= self.limits.window;
        if full && !poor {
            (self.waited, self.moved, self.looks) = (Duration::ZERO, 0, 0);
        } else if full && self.waiting_since.is_none() {
            self.looks += 1;
            if self.looks > LOOKS_MAX {
                return Poll::Ready(TooSlow::Rate);
            }
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let idle_at = since + self.limits.idle;
        let window_at = since + self.limits.window.saturating_sub(self.waited);
        // Who moved enough in this window is bound by the idle limit alone until bytes move again.
        let rate_binds = self.moved < self.owed() && window_at < idle_at;
        let (at, why) = if rate_binds { (window_at, TooSlow::Rate) } else { (idle_at, TooSlow::Idle) };
        self.alarm.get_or_insert_with(|| Alarm::new(at)).poll(cx, at).map(|()| why)
    }

    /// What a full window must have moved, in bytes.
    fn owed(&self) -> u64 {
        let window_ms = u64::try_from(self.limits.window.as_millis()).unwrap_or(u64::MAX);
        self.limits.rate_bytes_min.saturating_mul(window_ms) / 1000
    }
}
