//! One connection from its first byte to its last: which HTTP is spoken, and how it is closed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tower::Service;

use super::alarm::Alarm;
use super::answer::{BoxError, Shared};
use super::inbound::{Inbound, Peer};
use super::io::Socket;
use super::phases::Phases;
use super::{Limits, Server, http1, http2};
use crate::telemetry::event;

/// How a connection ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    /// A request was being served when the drain began.
    pub(super) busy_at_stop: bool,
}

/// Why the HTTP part of a connection ended.
pub(super) enum Over {
    /// It came to its end, well or not.
    Http(Result<(), hyper::Error>),
    /// It was quiet for long enough, and may be closed with a goodbye.
    Quiet,
    /// The other side was too slow with what it had begun.
    TimedOut,
}

/// Runs one connection to its end.
pub(super) async fn run<S, B>(
    socket: Socket,
    peer: Peer,
    server: Arc<Server>,
    service: S,
    stop: WaitForCancellationFutureOwned,
) -> Ended
where
    S: Service<Request<Inbound>, Response = Response<B>, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let phases = Arc::new(Phases::new());
    let shared = Arc::new(Shared { server, peer, phases });
    let watch = Watch::new(&shared, stop);
    // HTTP/2 is spoken where TLS agreed on it (ALPN) and nowhere else: in clear it would be an upgrade or a guess.
    if socket.agreed_on_http2() {
        http2::run(socket, shared, service, watch).await
    } else {
        http1::run(socket, shared, service, watch).await
    }
}

/// What is looked at after every step of a connection: the stop signal before it, the deadline after it.
pub(super) struct Watch {
    phases: Arc<Phases>,
    limits: Limits,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    stopped: bool,
    alarm: Alarm,
    pub(super) ended: Ended,
}

impl Watch {
    fn new(shared: &Shared, stop: WaitForCancellationFutureOwned) -> Self {
        let limits = shared.server.limits;
        Self {
            phases: Arc::clone(&shared.phases),
            limits,
            stop: Box::pin(stop),
            stopped: false,
            alarm: Alarm::new(Instant::now() + Duration::from_millis(limits.header_read_ms)),
            ended: Ended::default(),
        }
    }

    /// Whether the drain begins at this very step.
    pub(super) fn stops_now(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stopped || self.stop.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.stopped = true;
        self.ended.busy_at_stop = self.phases.is_serving();
        self.phases.drain();
        true
    }

    /// Ready when the time of the connection's present phase is up. To be asked after hyper, which may have changed it.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        let Some(deadline) = self.phases.deadline(&self.limits) else { return Poll::Pending };
        let over = || if self.phases.is_quiet() { Over::Quiet } else { Over::TimedOut };
        self.alarm.poll(cx, deadline).map(|()| over())
    }
}

/// Lets `goodbye` take as long as lingering may, and a little for what stands before it in the socket.
pub(super) async fn bounded(goodbye: impl Future<Output = std::io::Result<()>>, limits: &Limits) {
    let goodbye = pin!(goodbye);
    let limit = Duration::from_millis(limits.linger_ms.saturating_add(limits.answer_stall_ms));
    // An error means that the other side is gone: nobody to say goodbye to.
    let _ = tokio::time::timeout(limit, goodbye).await;
}

/// Keeps the books of a connection that failed. Peers cause these at will, so they are no warning.
pub(super) fn failed(error: &hyper::Error, shared: &Shared) {
    event::connection_failed(error);
    if shared.phases.was_reader_too_slow() {
        shared.server.metrics.connections_timed_out().increment();
    }
}
