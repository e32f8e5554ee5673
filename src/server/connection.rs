//! One connection: its phases and their time limits, the service around each request, and how it is closed.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tower::{Service, ServiceExt};

use super::inbound::{Inbound, Paced, Peer};
use super::io::{PacedSocket, Socket};
use super::linger::close_lingering;
use super::pace::PaceLimits;
use super::{Limits, Server};
use crate::telemetry::{Direction, Metrics, event};

/// An error of an answer's body, whatever made it.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request's head is due, since this moment.
    Head(Instant),
    /// The service, or its answer's body, is at work.
    Serving,
    /// Kept alive, since this moment.
    Idle(Instant),
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// The request's body was dropped before its end: the connection cannot be used again.
    unread: bool,
    /// The other side did not take our answer fast enough.
    reader_too_slow: bool,
}

/// A connection's [`Phase`], told by the socket, the service and the bodies. All of them run in the connection's task, so
/// the lock is never waited for; it is there because bodies may be sent elsewhere.
#[derive(Debug)]
pub(super) struct Phases(Mutex<State>);

impl Phases {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { phase: Phase::Head(Instant::now()), unread: false, reader_too_slow: false }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The socket gave bytes: if none were due, a request begins.
    pub(super) fn bytes_arrived(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Idle(_)) {
            state.phase = Phase::Head(Instant::now());
        }
    }

    pub(super) fn body_left_unread(&self) {
        self.state().unread = true;
    }

    pub(super) fn reader_too_slow(&self) {
        self.state().reader_too_slow = true;
    }

    fn serving(&self) {
        let mut state = self.state();
        state.phase = Phase::Serving;
        state.unread = false;
    }

    fn answered(&self) {
        self.state().phase = Phase::Idle(Instant::now());
    }

    /// When the connection must be closed if nothing happens.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match self.state().phase {
            Phase::Head(since) => Some(since + Duration::from_millis(limits.header_read_ms)),
            Phase::Idle(since) => Some(since + Duration::from_millis(limits.keep_alive_ms)),
            Phase::Serving => None,
        }
    }

    fn is_serving(&self) -> bool {
        matches!(self.state().phase, Phase::Serving)
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    /// A request was being served when the drain began.
    pub(super) busy_at_stop: bool,
}

/// Why the HTTP part of a connection ended.
enum Over {
    Http(Result<(), hyper::Error>),
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
    let limits = server.limits;
    let io = TokioIo::new(PacedSocket::new(socket, answer_pace(&limits), Arc::clone(&phases)));
    let metrics = Arc::clone(&server.metrics);
    let handler = {
        let phases = Arc::clone(&phases);
        service_fn(move |request: Request<Incoming>| {
            answer(request, peer, Arc::clone(&server), Arc::clone(&phases), service.clone()).boxed()
        })
    };
    let mut connection = http1_builder(&limits).serve_connection(io, handler);
    let (over, ended) = drive(&mut connection, &phases, &limits, stop).await;
    let mut socket = connection.into_parts().io.into_inner().into_inner();
    let (unread, reader_too_slow) = {
        let state = phases.state();
        (state.unread, state.reader_too_slow)
    };
    match over {
        Over::TimedOut => metrics.connections_timed_out().increment(),
        Over::Http(Ok(())) if unread => close_lingering(socket, &limits).await,
        Over::Http(Ok(())) => {
            // Says goodbye in TLS; a peer that is gone already is no error.
            let goodbye = tokio::io::AsyncWriteExt::shutdown(&mut socket);
            let _ = tokio::time::timeout(Duration::from_millis(limits.linger_ms), goodbye).await;
        }
        Over::Http(Err(error)) if error.is_parse() => close_lingering(socket, &limits).await,
        Over::Http(Err(error)) => {
            event::connection_failed(&error);
            if reader_too_slow {
                metrics.connections_timed_out().increment();
            }
            // An answer that broke off must not look like one that ended: reset.
            let _ = socket.tcp_mut().set_zero_linger();
        }
    }
    ended
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // hyper's own header timeout stays off because it would also run while the connection is idle; `drive` has both.
        // The timer is installed all the same: without one every timeout of hyper is silently off.
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.buffer_bytes_max.max(8 * 1024))
        .keep_alive(true);
    builder
}

fn answer_pace(limits: &Limits) -> PaceLimits {
    PaceLimits {
        idle: Duration::from_millis(limits.answer_stall_ms),
        window: Duration::from_millis(limits.rate_window_ms),
        rate_bytes_min: limits.rate_bytes_min,
    }
}

/// Polls hyper until it is done, a phase's time is up, or, once stopped, what runs has ended.
async fn drive<I, S, B>(
    connection: &mut http1::Connection<I, S>,
    phases: &Phases,
    limits: &Limits,
    stop: WaitForCancellationFutureOwned,
) -> (Over, Ended)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B> + Unpin,
    S::Future: Unpin,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    let mut stop = pin!(stop);
    let mut stopped = false;
    let mut ended = Ended::default();
    let mut alarm = pin!(tokio::time::sleep(Duration::from_millis(limits.header_read_ms)));
    let over = poll_fn(|cx| {
        if !stopped && stop.as_mut().poll(cx).is_ready() {
            stopped = true;
            ended.busy_at_stop = phases.is_serving();
            Pin::new(&mut *connection).graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.poll_without_shutdown(cx) {
            return Poll::Ready(Over::Http(result));
        }
        // The poll above may have changed the phase, so the deadline is looked up after it.
        let Some(deadline) = phases.deadline(limits) else { return Poll::Pending };
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx).map(|()| Over::TimedOut)
    })
    .await;
    (over, ended)
}

/// Runs the service on one request and keeps the books.
async fn answer<S, B>(
    request: Request<Incoming>,
    peer: Peer,
    server: Arc<Server>,
    phases: Arc<Phases>,
    service: S,
) -> Result<Response<Counted<B>>, Infallible>
where
    S: Service<Request<Inbound>, Response = Response<B>, Error = Infallible>,
{
    phases.serving();
    let books = Books::open(&phases, &server.metrics);
    let pace =
        PaceLimits { idle: Duration::from_millis(server.limits.body_idle_ms), ..answer_pace(&server.limits) };
    // A client that asked for a 100 and gets its answer without one may take the next answer on this connection for it:
    // botocore then waits 60 s for a line that has come already. So that connection ends with the answer.
    let unwelcomed = request.headers().contains_key(header::EXPECT) && request.body().is_end_stream();
    let mut request =
        request.map(|body| Paced::new(body, pace, Arc::clone(&phases), Arc::clone(&server.metrics)));
    request.extensions_mut().insert(peer);
    let mut response = service.oneshot(request).await?;
    if phases.state().unread || unwelcomed {
        // The rest of the body stands between this answer and the next request.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|inner| Counted { inner, books }))
}

/// Held from the moment a request reaches the service until its answer's body is finished with.
struct Books {
    phases: Arc<Phases>,
    metrics: Arc<Metrics>,
}

impl Books {
    fn open(phases: &Arc<Phases>, metrics: &Arc<Metrics>) -> Self {
        metrics.in_flight().add(1);
        Self { phases: Arc::clone(phases), metrics: Arc::clone(metrics) }
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        self.metrics.in_flight().add(-1);
        self.phases.answered();
    }
}

/// An answer's body, counted.
struct Counted<B> {
    inner: B,
    books: Books,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.books.metrics.body_bytes(Direction::Out).add(bytes as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
