//! What of an answer is on its way to the reader: in HTTP/2 how much, and whether it moves; in HTTP/1 what it holds.
//!
//! h2 takes the pieces of an answer and holds them until the reader opens its window, for ever if it never does. hyper's own
//! stream is finished by then. So each piece carries a note back to its answer when it leaves, an answer hands out its next
//! piece, or its end, only when the one before has left, and the task of the stream watches the pace.
//!
//! In HTTP/1 the pieces stand in hyper's queue until the socket has taken them, and the socket's pace says it all. But hyper lets
//! go of the body when the last of them is queued. So each piece keeps a place for what the body leaves behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use super::pace::{Pace, PaceLimits, TooSlow};

/// The way out of one answer.
#[derive(Debug)]
pub(super) struct Outlet(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Bytes handed out that have not left.
    waiting: usize,
    /// Bytes that left since the pace was looked at.
    left: usize,
    pace: Pace,
    /// The stream's task, which waits for both.
    waker: Option<Waker>,
}

impl Outlet {
    pub(super) fn new(limits: PaceLimits) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { waiting: 0, left: 0, pace: Pace::new(limits), waker: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `bytes` as a piece that reports when it leaves.
    pub(super) fn piece(self: &Arc<Self>, bytes: Bytes) -> Piece {
        self.state().waiting += bytes.len();
        Piece { bytes, outlet: Some(Arc::clone(self)), _kept: None }
    }

    /// Whether everything that was handed out has left.
    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting == 0
    }

    /// Ready when everything that was handed out has left.
    pub(super) fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.waiting == 0 {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the reader used up its time. To be polled when the stream has nothing else to do.
    pub(super) fn poll_too_slow(&self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        let mut state = self.state();
        let left = std::mem::take(&mut state.left);
        if left > 0 || state.waiting == 0 {
            state.pace.moved(left);
        }
        if state.waiting == 0 {
            return Poll::Pending;
        }
        state.waker = Some(cx.waker().clone());
        state.pace.poll_waiting(cx)
    }

    fn left(&self, bytes: usize) {
        let waker = {
            let mut state = self.state();
            state.waiting = state.waiting.saturating_sub(bytes);
            state.left = state.left.saturating_add(bytes);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What the pieces of an answer keep alive: dropped with the last of them.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Option<Box<dyn Send>>>>);

impl Kept {
    /// `bytes` as a piece that keeps what was put here, or will be.
    pub(super) fn piece(&self, bytes: Bytes) -> Piece {
        Piece { bytes, outlet: None, _kept: Some(self.clone()) }
    }

    /// Keeps `what`, once.
    pub(super) fn put(&self, what: impl Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(what));
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

/// Bytes of an answer.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// In HTTP/2.
    outlet: Option<Arc<Outlet>>,
    /// In HTTP/1.
    _kept: Option<Kept>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(outlet) = &self.outlet {
            outlet.left(count);
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(outlet) = self.outlet.take().filter(|_| self.bytes.has_remaining()) {
            outlet.left(self.bytes.remaining());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outlet() -> Arc<Outlet> {
        let second = Duration::from_secs(1);
        Outlet::new(PaceLimits { idle: second, window: second, rate_bytes_min: 1 })
    }

    #[tokio::test]
    async fn a_piece_has_left_when_it_was_taken_or_dropped_and_not_before() {
        let outlet = outlet();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(outlet.poll_empty(&mut cx).is_ready());
        let mut one = outlet.piece(Bytes::from_static(b"hello"));
        let two = outlet.piece(Bytes::from_static(b"you"));
        one.advance(5);
        assert!(outlet.poll_empty(&mut cx).is_pending());
        drop(two);
        assert!(outlet.poll_empty(&mut cx).is_ready());
        drop(one);
        assert!(outlet.poll_empty(&mut cx).is_ready());
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_runs_out_of_time_and_one_with_nothing_to_take_does_not() {
        let outlet = outlet();
        let idle = std::future::poll_fn(|cx| outlet.poll_too_slow(cx));
        assert!(tokio::time::timeout(Duration::from_millis(1_500), idle).await.is_err());
        let _piece = outlet.piece(Bytes::from_static(b"hello"));
        let begun = std::time::Instant::now();
        std::future::poll_fn(|cx| outlet.poll_too_slow(cx)).await;
        assert!(begun.elapsed() >= Duration::from_millis(900));
    }
}
