//! HTTP/2 over TLS: what hyper and h2 are told, what is watched beside them, and how a connection of it ends.
//!
//! h2 bounds the continuation flood, resets of its own and the list of headers; a stream whose answer fails is reset. What it
//! lacks is here: a limit on requests that are withdrawn, on readers that take nothing (`outlet.rs`), on frames that never
//! end (`frames.rs`), and on a client that does not go when it was asked to.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tower::Service;

use super::Limits;
use super::answer::{BoxError, Shared, answer};
use super::connection::{Ended, Over, Watch, failed};
use super::inbound::Inbound;
use super::io::{Arrivals, PacedSocket, Socket};
use super::outlet::Outlet;
use super::pace::PaceLimits;

pub(super) async fn run<S, B>(socket: Socket, shared: Arc<Shared>, service: S, mut watch: Watch) -> Ended
where
    S: Service<Request<Inbound>, Response = Response<B>, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let limits = shared.server.limits;
    let metrics = Arc::clone(&shared.server.metrics);
    let frames = Arrivals::Frames(super::frames::Frames::new());
    let io = TokioIo::new(PacedSocket::new(socket, frames, &limits, Arc::clone(&shared.phases)));
    let handler = {
        let shared = Arc::clone(&shared);
        service_fn(move |request: Request<Incoming>| {
            let (shared, service) = (Arc::clone(&shared), service.clone());
            async move {
                let outlet = OUTLET.try_with(Arc::clone).ok();
                answer(request, shared, service, outlet).await
            }
            .boxed()
        })
    };
    let streams = Streams { shared: Arc::clone(&shared) };
    let mut connection = pin!(builder(&limits, streams).serve_connection(io, handler));
    // Since when we wait for a client that was told to go.
    let mut leaving: Option<Leaving> = None;
    let over = poll_fn(|cx| {
        if watch.stops_now(cx) && leaving.is_none() {
            connection.as_mut().graceful_shutdown();
            leaving = Some(Leaving::new(&limits));
        }
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(Over::Http(result));
            }
            if shared.phases.is_flooded(limits.http2.withdrawn_max)
                || shared.phases.is_overstaying(limits.http2.streams_max)
            {
                return Poll::Ready(Over::TimedOut);
            }
            if leaving.is_none() && shared.phases.is_leaving() {
                connection.as_mut().graceful_shutdown();
                leaving = Some(Leaving::new(&limits));
                continue;
            }
            if let Some(leaving) = &mut leaving
                && leaving.poll_overdue(cx, shared.phases.is_serving()).is_ready()
            {
                return Poll::Ready(Over::Quiet);
            }
            match watch.poll_deadline(cx) {
                // Nobody to be polite to: it has not even said hello.
                Poll::Ready(Over::Quiet) if leaving.is_none() && shared.phases.is_fresh() => {
                    return Poll::Ready(Over::TimedOut);
                }
                Poll::Ready(Over::Quiet) if leaving.is_none() => {
                    // GOAWAY first, so that a request on its way is still answered; then round again to send it.
                    metrics.connections_timed_out().increment();
                    connection.as_mut().graceful_shutdown();
                    leaving = Some(Leaving::new(&limits));
                }
                Poll::Ready(Over::Quiet) | Poll::Pending => return Poll::Pending,
                Poll::Ready(over) => return Poll::Ready(over),
            }
        }
    })
    .await;
    match over {
        Over::TimedOut => metrics.connections_timed_out().increment(),
        Over::Http(Err(error)) => failed(&error, &shared),
        Over::Http(Ok(())) | Over::Quiet => {}
    }
    watch.ended
}

fn builder(limits: &Limits, streams: Streams) -> Builder<Streams> {
    let http2 = limits.http2;
    let mut builder = Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(http2.streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(http2.stream_window_bytes)
        .initial_connection_window_size(http2.connection_window_bytes)
        .adaptive_window(false)
        .max_send_buf_size(http2.send_buffer_bytes_max)
        .max_local_error_reset_streams(http2.resets_max)
        .keep_alive_interval(Duration::from_millis(http2.ping_ms))
        .keep_alive_timeout(Duration::from_millis(http2.ping_answer_ms));
    builder
}

/// A connection whose client was told to go (GOAWAY), once it has nothing to wait for.
struct Leaving {
    limit: Duration,
    alarm: Pin<Box<tokio::time::Sleep>>,
    was_serving: bool,
}

impl Leaving {
    fn new(limits: &Limits) -> Self {
        // Once for its answer to our ping, once for its close after our last word.
        let limit = Duration::from_millis(limits.linger_ms.saturating_mul(2));
        Self { limit, alarm: Box::pin(tokio::time::sleep(limit)), was_serving: false }
    }

    /// Ready when no request has run for as long as a connection may linger: it does not answer, or does not close.
    fn poll_overdue(&mut self, cx: &mut Context<'_>, is_serving: bool) -> Poll<()> {
        if is_serving {
            self.was_serving = true;
            return Poll::Pending;
        }
        if std::mem::take(&mut self.was_serving) {
            self.alarm.as_mut().reset(Instant::now() + self.limit);
        }
        self.alarm.as_mut().poll(cx)
    }
}

tokio::task_local! {
    /// The way out of the answer that this stream's task is working on: hyper hands the task to [`Streams`] and the request to
    /// the service, and nothing else joins the two.
    static OUTLET: Arc<Outlet>;
}

/// Runs the connection's streams, each as a task that ends when its reader is too slow.
#[derive(Clone)]
struct Streams {
    shared: Arc<Shared>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let server = &self.shared.server;
        let outlet = Outlet::new(PaceLimits::of_answers(&server.limits));
        let metrics = Arc::clone(&server.metrics);
        let watched = Arc::clone(&outlet);
        tokio::spawn(OUTLET.scope(outlet, async move {
            let mut stream = pin!(stream);
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                // Dropped before its end, a stream is reset (CANCEL), and what waits in it is let go of.
                watched.poll_too_slow(cx).map(|_| metrics.connections_timed_out().increment())
            })
            .await;
        }));
    }
}
