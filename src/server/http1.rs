//! HTTP/1: what hyper is told, and how a connection of it ends.
//!
//! hyper's own graceful shutdown is not used. It closes a connection that looks idle although a request may be on its way,
//! and one whose answer began without `Connection: close` as soon as that answer ends. Here a drain marks every answer that
//! begins with `Connection: close`, and keeps a quiet connection a little longer for the request that meets it half-way.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tower::Service;

use super::Limits;
use super::answer::{BoxError, Shared, answer};
use super::connection::{Ended, Over, Watch, bounded, failed};
use super::inbound::Inbound;
use super::io::{Arrivals, PacedSocket, Socket};

pub(super) async fn run<S, B>(socket: Socket, shared: Arc<Shared>, service: S, mut watch: Watch) -> Ended
where
    S: Service<Request<Inbound>, Response = Response<B>, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let limits = shared.server.limits;
    let phases = Arc::clone(&shared.phases);
    let io = TokioIo::new(PacedSocket::new(socket, Arrivals::Requests, &limits, Arc::clone(&phases)));
    let handler = {
        let shared = Arc::clone(&shared);
        service_fn(move |request: Request<Incoming>| {
            answer(request, Arc::clone(&shared), service.clone(), None).boxed()
        })
    };
    let mut connection = builder(&limits).serve_connection(io, handler);
    let over = poll_fn(|cx| {
        watch.stops_now(cx);
        match connection.poll_without_shutdown(cx) {
            Poll::Ready(result) => Poll::Ready(Over::Http(result)),
            Poll::Pending => watch.poll_deadline(cx),
        }
    })
    .await;
    let mut socket = connection.into_parts().io.into_inner();
    match over {
        Over::TimedOut => shared.server.metrics.connections_timed_out().increment(),
        Over::Quiet => {
            if !phases.is_draining() {
                shared.server.metrics.connections_timed_out().increment();
            }
            bounded(socket.shutdown(), &limits).await;
        }
        Over::Http(Ok(())) => bounded(socket.shutdown(), &limits).await,
        // What cannot be parsed was answered 400, or 431.
        Over::Http(Err(error)) if error.is_parse() => bounded(socket.shutdown(), &limits).await,
        Over::Http(Err(error)) => {
            failed(&error, &shared);
            socket.reset();
        }
    }
    watch.ended
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        // hyper's own header timeout stays off because it would also run while the connection is idle; `Watch` has both.
        // The timer is installed all the same: without one every timeout of hyper is silently off.
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.buffer_bytes_max.max(8 * 1024))
        .keep_alive(true);
    builder
}
