//! An alarm that looks once more before it is believed.
//!
//! That time is up we learn when we are run, and so from a machine that had no time for us: what the other side sent meanwhile
//! stands in the kernel, and the runtime may not have heard of it. Cutting it off then would punish it for our lateness. So when
//! the time is up, another short wait begins. It cannot end before the runtime has asked the kernel again, and whoever polls the
//! alarm looks at the socket first.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Some turns of the runtime, and the kernel's way from one socket to another. Nothing beside any limit in use.
const LOOK: Duration = Duration::from_millis(10);

/// Rings when a moment is over and nothing came of one more look.
#[derive(Debug)]
pub(super) struct Alarm {
    at: Instant,
    /// The moment is over, and the last look is being waited for.
    looking: bool,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, looking: false, sleep: Box::pin(sleep_until(at)) }
    }

    /// Ready when `at` is over and this was polled for the same moment once more. Another moment begins anew.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if self.at != at {
            (self.at, self.looking) = (at, false);
            self.sleep.as_mut().reset(at);
        }
        ready!(self.sleep.as_mut().poll(cx));
        if !self.looking {
            self.looking = true;
            self.sleep.as_mut().reset(Instant::now() + LOOK);
            ready!(self.sleep.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}
