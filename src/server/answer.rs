//! The service around one request: its books, its body's pace, and what becomes of a panic.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::{Service, ServiceExt};

use super::Server;
use super::inbound::{Inbound, Paced, Peer};
use super::outlet::{Kept, Outlet, Piece};
use super::pace::PaceLimits;
use super::phases::Phases;
use crate::telemetry::{Direction, Metrics, event};

/// An error of an answer's body, whatever made it.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) server: Arc<Server>,
    pub(super) peer: Peer,
    pub(super) phases: Arc<Phases>,
}

/// Our own code panicked on this answer. What it said is not kept: it may quote a record's name.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a panic broke the answer off")]
struct Panicked;

/// Runs the service on one request and keeps the books. `outlet` in HTTP/2 only.
pub(super) async fn answer<S, B>(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    service: S,
    outlet: Option<Arc<Outlet>>,
) -> Result<Response<Answer<B>>, Infallible>
where
    S: Service<Request<Inbound>, Response = Response<B>, Error = Infallible>,
    B: Send + 'static,
{
    let Shared { server, peer, phases } = &*shared;
    let is_http1 = request.version() < Version::HTTP_2;
    let mut books = Books::open(phases, &server.metrics);
    // hyper counts HTTP/1's, h2 only their bytes.
    if request.headers().len() > server.limits.headers_max {
        return Ok(empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, books));
    }
    // A client that asked for a 100 and gets its answer without one may take the next answer on this connection for it:
    // botocore then waits 60 s for a line that has come already. So that connection ends with the answer.
    let unwelcomed =
        is_http1 && request.headers().contains_key(header::EXPECT) && request.body().is_end_stream();
    let pace = PaceLimits::of_requests(&server.limits);
    let mut request =
        request.map(|body| Paced::new(body, pace, Arc::clone(phases), Arc::clone(&server.metrics)));
    request.extensions_mut().insert(*peer);
    let served = AssertUnwindSafe(service.oneshot(request)).catch_unwind().await;
    books.began = true;
    let (mut response, panicked) = if let Ok(response) = served {
        (response?.map(|inner| Answer::of(Some(inner), outlet, books)), false)
    } else {
        server.metrics.panics().increment();
        event::request_panicked(server.name);
        (empty(StatusCode::INTERNAL_SERVER_ERROR, books), true)
    };
    // The rest of the body stands between this answer and the next request; and a drain ends with this answer.
    if is_http1 && (phases.is_unread() || unwelcomed || panicked || phases.is_draining()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    // In HTTP/2 the header says nothing (RFC 9113, 8.2.2): who means the connection's end has to say GOAWAY.
    if !is_http1 && response.headers_mut().remove(header::CONNECTION).is_some_and(|value| value == "close") {
        phases.leave();
    }
    Ok(response)
}

fn empty<B: Send + 'static>(status: StatusCode, books: Books) -> Response<Answer<B>> {
    let mut response = Response::new(Answer::of(None, None, books));
    *response.status_mut() = status;
    response
}

/// Held from the moment a request reaches the service until its answer's body is finished with.
struct Books {
    phases: Arc<Phases>,
    metrics: Arc<Metrics>,
    /// The answer's head was made.
    began: bool,
    in_flight: Option<InFlight>,
}

impl Books {
    fn open(phases: &Arc<Phases>, metrics: &Arc<Metrics>) -> Self {
        phases.serving();
        metrics.in_flight().add(1);
        let in_flight = Some(InFlight(Arc::clone(metrics)));
        Self { phases: Arc::clone(phases), metrics: Arc::clone(metrics), began: false, in_flight }
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        if !self.began {
            self.phases.withdrawn();
        }
        self.phases.answered();
    }
}

/// One of the requests in flight.
struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight().add(-1);
    }
}

/// An answer's body, counted; in HTTP/2 handed out piece by piece.
pub(super) struct Answer<B: Send + 'static> {
    inner: Option<B>,
    outlet: Option<Arc<Outlet>>,
    /// In HTTP/1, where hyper lets go of the body when it has queued the last piece: what is to last until that is written.
    kept: Kept,
    books: Books,
}

impl<B: Send + 'static> Answer<B> {
    fn of(inner: Option<B>, outlet: Option<Arc<Outlet>>, books: Books) -> Self {
        Self { inner, outlet, kept: Kept::default(), books }
    }
}

impl<B: Send + 'static> Drop for Answer<B> {
    /// The body holds shares and memory, and its last pieces may be cut from that memory: all of it stays with them.
    fn drop(&mut self) {
        if self.outlet.is_none() {
            self.kept.put((self.inner.take(), self.books.in_flight.take()));
        }
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Piece;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        let this = &mut *self;
        if let Some(outlet) = &this.outlet {
            ready!(outlet.poll_empty(cx));
        }
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let Ok(frame) = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx))) else {
            this.inner = None;
            this.books.metrics.panics().increment();
            event::request_panicked("body");
            return Poll::Ready(Some(Err(Panicked.into())));
        };
        let frame = ready!(frame);
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            this.books.metrics.body_bytes(Direction::Out).add(bytes as u64);
            Ok(frame.map_data(|bytes| match &this.outlet {
                Some(outlet) => outlet.piece(bytes),
                None => this.kept.piece(bytes),
            }))
        }))
    }

    fn is_end_stream(&self) -> bool {
        let ended = self.inner.as_ref().is_none_or(Body::is_end_stream);
        // Not before the last piece has left: until then the stream can be cut if nobody takes it.
        ended && self.outlet.as_ref().is_none_or(|outlet| outlet.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
