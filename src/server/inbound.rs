//! The body of a request as the service sees it: paced, counted, and honest about how it ended.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

pub use super::pace::TooSlow;
use super::pace::{Pace, PaceLimits};
use super::phases::Phases;
use crate::telemetry::{Direction, Metrics};

/// Who sent a request, as an extension of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the socket.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// A request's body. Dropping it unread is how an early answer is given: the connection is closed after the answer, and
/// what the client still sends is discarded, up to a limit, so that it can read the answer.
pub type Inbound = Paced<Incoming>;

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    /// The client was too slow: `RequestTimeout`, 400 in S3's tables, 408 in HTTP's.
    #[error("the request's body came too slowly")]
    TooSlow(#[source] TooSlow),
    /// The client went away, or broke the framing: `IncompleteBody` if anybody still listens.
    #[error("the request's body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A body held to a pace.
#[derive(Debug)]
pub struct Paced<B> {
    inner: B,
    pace: Pace,
    ended: bool,
    phases: Arc<Phases>,
    metrics: Arc<Metrics>,
}

impl<B: Body<Data = Bytes>> Paced<B> {
    pub(super) fn new(inner: B, limits: PaceLimits, phases: Arc<Phases>, metrics: Arc<Metrics>) -> Self {
        let ended = inner.is_end_stream();
        Self { inner, pace: Pace::new(limits), ended, phases, metrics }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = InboundError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InboundError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            let too_slow = ready!(this.pace.poll_waiting(cx));
            return Poll::Ready(Some(Err(this.too_slow(too_slow))));
        };
        match frame {
            None => {
                this.ended = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(InboundError::Broken(error.into())))),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.metrics.body_bytes(Direction::In).add(bytes as u64);
                this.ended = this.inner.is_end_stream();
                this.pace.moved(bytes);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Paced<B> {
    fn too_slow(&self, why: TooSlow) -> InboundError {
        self.metrics.connections_timed_out().increment();
        InboundError::TooSlow(why)
    }
}

impl<B> Drop for Paced<B> {
    fn drop(&mut self) {
        if !self.ended {
            self.phases.body_left_unread();
        }
    }
}
