//! Where a connection stands, and so how long it may go on standing there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted at this moment, and nothing has come yet.
    Fresh(Instant),
    /// A request's head is due, since this moment.
    Head(Instant),
    /// The service, or an answer's body, is at work.
    Serving,
    /// Kept alive without a request, since this moment.
    Idle(Instant),
}

/// What the other side has begun and not ended, in HTTP/2: until it ends, nothing else can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// A block of headers, or any frame but one of data.
    Head,
    /// A frame of data.
    Data,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Requests that the service or an answer's body are at work on.
    serving: usize,
    /// The request's body was dropped before its end: an HTTP/1 connection cannot be used again.
    unread: bool,
    /// The other side did not take our answer fast enough.
    reader_too_slow: bool,
    /// Bytes of ours wait in the socket's layers.
    unwritten: bool,
    unfinished: Option<(Unfinished, Instant)>,
    draining: Option<Instant>,
    /// An HTTP/2 answer ends the connection: how many requests came after it.
    leaving: Option<u32>,
    /// Requests that were withdrawn before their answer began: since when counted, and how many.
    withdrawn: (Instant, u32),
}

/// A connection's phase, told by the socket, the service and the bodies. The lock is held for a few instructions and never
/// over an await.
#[derive(Debug)]
pub(super) struct Phases(Mutex<State>);

/// Over which time withdrawn requests are counted.
const WITHDRAWN_WINDOW: Duration = Duration::from_secs(10);

impl Phases {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State {
            phase: Phase::Fresh(now),
            serving: 0,
            unread: false,
            reader_too_slow: false,
            unwritten: false,
            unfinished: None,
            draining: None,
            leaving: None,
            withdrawn: (now, 0),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket gave bytes of HTTP/1: if none were due, a request begins.
    pub(super) fn bytes_arrived(&self) {
        let mut state = self.state();
        state.phase = match state.phase {
            Phase::Fresh(since) => Phase::Head(since),
            Phase::Idle(_) => Phase::Head(Instant::now()),
            other => other,
        };
    }

    /// The other side of an HTTP/2 connection has said hello: it may now be quiet as long as a kept-alive one.
    pub(super) fn greeted(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Fresh(_)) {
            state.phase = Phase::Idle(Instant::now());
        }
    }

    /// What the other side has begun and not ended after these bytes; `anew` if it began with them.
    pub(super) fn unfinished(&self, what: Option<Unfinished>, anew: bool) {
        let mut state = self.state();
        state.unfinished = what.map(|what| match state.unfinished {
            Some((_, since)) if !anew => (what, since),
            _ => (what, Instant::now()),
        });
    }

    pub(super) fn body_left_unread(&self) {
        self.state().unread = true;
    }

    pub(super) fn is_unread(&self) -> bool {
        self.state().unread
    }

    pub(super) fn reader_too_slow(&self) {
        self.state().reader_too_slow = true;
    }

    pub(super) fn was_reader_too_slow(&self) -> bool {
        self.state().reader_too_slow
    }

    /// Whether bytes of ours wait to be taken by the socket.
    pub(super) fn unwritten(&self, unwritten: bool) {
        self.state().unwritten = unwritten;
    }

    /// A request reached the service.
    pub(super) fn serving(&self) {
        let mut state = self.state();
        state.serving += 1;
        state.phase = Phase::Serving;
        state.unread = false;
        state.leaving = state.leaving.map(|requests| requests.saturating_add(1));
    }

    /// A request is over and done with.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.serving = state.serving.saturating_sub(1);
        if state.serving == 0 {
            state.phase = Phase::Idle(Instant::now());
        }
    }

    /// A request was withdrawn before its answer began.
    pub(super) fn withdrawn(&self) {
        let mut state = self.state();
        if state.withdrawn.0.elapsed() > WITHDRAWN_WINDOW {
            state.withdrawn = (Instant::now(), 0);
        }
        state.withdrawn.1 = state.withdrawn.1.saturating_add(1);
    }

    /// Whether more than `max` requests were withdrawn lately: each costs us a start, and the other side nothing
    /// (CVE-2023-44487).
    pub(super) fn is_flooded(&self, max: u32) -> bool {
        self.state().withdrawn.1 > max
    }

    /// The client of an HTTP/2 connection is to be told to go.
    pub(super) fn leave(&self) {
        self.state().leaving.get_or_insert(0);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.state().leaving.is_some()
    }

    /// Whether a client that was to be told to go asked for more than `max` things since: more than can have been on their way.
    pub(super) fn is_overstaying(&self, max: u32) -> bool {
        self.state().leaving.is_some_and(|requests| requests > max)
    }

    /// The drain began.
    pub(super) fn drain(&self) {
        self.state().draining.get_or_insert_with(Instant::now);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state().draining.is_some()
    }

    pub(super) fn is_serving(&self) -> bool {
        self.state().serving > 0
    }

    /// Nothing has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.state().phase, Phase::Fresh(_))
    }

    /// Between requests, nothing of ours or theirs half-way: it may be closed with a goodbye.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.state();
        state.unfinished.is_none() && matches!(state.phase, Phase::Fresh(_) | Phase::Idle(_))
    }

    /// When the connection must be closed if nothing happens.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let state = self.state();
        let quiet_until = |since: Instant, limit_ms: u64| {
            let ordinary = since + Duration::from_millis(limit_ms);
            // In a drain each connection gets the same short time for the request that may be on its way.
            match state.draining {
                Some(draining) => {
                    ordinary.min(since.max(draining) + Duration::from_millis(limits.drain_idle_ms))
                }
                None => ordinary,
            }
        };
        let phase = match state.phase {
            Phase::Fresh(since) => Some(quiet_until(since, limits.header_read_ms)),
            Phase::Head(since) => Some(since + Duration::from_millis(limits.header_read_ms)),
            // The answer's last bytes are not out yet: the pace of writing decides.
            Phase::Idle(_) if state.unwritten => None,
            Phase::Idle(since) => Some(quiet_until(since, limits.keep_alive_ms)),
            Phase::Serving => None,
        };
        let unfinished = state.unfinished.map(|(what, since)| {
            since
                + Duration::from_millis(match what {
                    Unfinished::Head => limits.header_read_ms,
                    // A frame is at most 16 KiB: who keeps the least rate ends it within the window.
                    Unfinished::Data => limits.rate_window_ms,
                })
        });
        phase.into_iter().chain(unfinished).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            header_read_ms: 100_000,
            keep_alive_ms: 10_000_000,
            rate_window_ms: 500_000,
            drain_idle_ms: 50_000,
            ..Limits::default()
        }
    }

    /// Seconds until the deadline, rounded: the test itself takes milliseconds.
    fn in_s(phases: &Phases) -> Option<u64> {
        let left = phases.deadline(&limits())?.saturating_duration_since(Instant::now());
        Some((left + Duration::from_secs(5)).as_secs() / 10 * 10)
    }

    #[test]
    fn each_phase_has_its_limit() {
        let phases = Phases::new();
        assert_eq!(in_s(&phases), Some(100));
        phases.bytes_arrived();
        assert_eq!(in_s(&phases), Some(100));
        phases.serving();
        assert_eq!(in_s(&phases), None);
        phases.answered();
        assert_eq!(in_s(&phases), Some(10_000));
        phases.unwritten(true);
        assert_eq!(in_s(&phases), None);
        phases.unwritten(false);
        phases.bytes_arrived();
        assert_eq!(in_s(&phases), Some(100));
    }

    #[test]
    fn a_drain_shortens_waiting_but_nothing_that_has_begun() {
        let phases = Phases::new();
        phases.drain();
        assert_eq!(in_s(&phases), Some(50));
        phases.bytes_arrived();
        assert_eq!(in_s(&phases), Some(100));
        phases.serving();
        assert_eq!(in_s(&phases), None);
        phases.answered();
        assert_eq!(in_s(&phases), Some(50));
    }

    #[test]
    fn dripping_does_not_move_the_deadline_of_a_frame_but_a_new_frame_has_its_own() {
        let phases = Phases::new();
        phases.greeted();
        phases.serving();
        phases.unfinished(Some(Unfinished::Data), true);
        assert_eq!(in_s(&phases), Some(500));
        let long_ago = Instant::now().checked_sub(Duration::from_secs(400)).unwrap();
        phases.state().unfinished = Some((Unfinished::Data, long_ago));
        phases.unfinished(Some(Unfinished::Data), false);
        assert_eq!(in_s(&phases), Some(100));
        phases.unfinished(Some(Unfinished::Data), true);
        assert_eq!(in_s(&phases), Some(500));
        phases.unfinished(None, false);
        assert_eq!(in_s(&phases), None);
        phases.unfinished(Some(Unfinished::Head), true);
        assert_eq!(in_s(&phases), Some(100));
    }

    #[test]
    fn withdrawn_requests_are_forgotten_after_a_while() {
        let phases = Phases::new();
        for _ in 0..5 {
            phases.withdrawn();
        }
        assert!(phases.is_flooded(4) && !phases.is_flooded(5));
        phases.state().withdrawn.0 = Instant::now().checked_sub(WITHDRAWN_WINDOW * 2).unwrap();
        phases.withdrawn();
        assert!(!phases.is_flooded(4));
    }
}
