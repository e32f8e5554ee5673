//! How slow the other side may be: an idle limit and a minimum rate, over time spent waiting for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Limits;

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

/// Watches one direction of one connection.
///
/// Only waiting counts: while our own side does not ask for bytes, or has none to send, the clock stands. So a store that is
/// slow does not get a client cut off. A full window of waiting must have moved the minimum; then a new window begins.
#[derive(Debug)]
pub(super) struct Pace {
    limits: PaceLimits,
    /// Since when we wait, if we do.
    waiting_since: Option<Instant>,
    /// Waiting time in this window before `waiting_since`.
    waited: Duration,
    /// Bytes that moved in this window.
    moved: u64,
    /// Made at the first wait: most bodies never wait.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) const fn new(limits: PaceLimits) -> Self {
        Self { limits, waiting_since: None, waited: Duration::ZERO, moved: 0, alarm: None }
    }

    /// `bytes` moved (zero: we stopped waiting for another reason). An error if the window is full and poor.
    pub(super) fn moved(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.moved = self.moved.saturating_add(bytes as u64);
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        if self.waited < self.limits.window {
            return Ok(());
        }
        let enough = self.moved >= self.owed();
        self.waited = Duration::ZERO;
        self.moved = 0;
        if enough { Ok(()) } else { Err(TooSlow::Rate) }
    }

    /// We wait for the other side. `Ready` when it used up its time.
    pub(super) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let idle_at = since + self.limits.idle;
        let window_at = since + self.limits.window.saturating_sub(self.waited);
        // Who moved enough in this window is bound by the idle limit alone until bytes move again.
        let rate_binds = self.moved < self.owed() && window_at < idle_at;
        let (at, why) = if rate_binds { (window_at, TooSlow::Rate) } else { (idle_at, TooSlow::Idle) };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }
        alarm.as_mut().poll(cx).map(|()| why)
    }

    /// What a full window must have moved, in bytes.
    fn owed(&self) -> u64 {
        let window_ms = u64::try_from(self.limits.window.as_millis()).unwrap_or(u64::MAX);
        self.limits.rate_bytes_min.saturating_mul(window_ms) / 1000
    }
}
