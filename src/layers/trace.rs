//! A request's span, line and duration: from its head to the end of its answer's body.
//!
//! Outermost of all, so that it sees every answer as the caller does. Of the request it looks at the method, the body's length and,
//! where a setting says so, `traceparent`; what it says of the call, the layers below tell it in words of fixed sets.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower::{Layer, Service};

use crate::model::RegionId;
use crate::ops::{Body, BodyError};
use crate::server::Peer;
use crate::telemetry::{self, Asked, Method, Metrics, Told, Tracing, event};

use super::step::BoxFuture;

/// How requests of one region are told of.
#[derive(Clone, Debug)]
pub struct TraceLayer(Arc<Telling>);

/// What is needed for that.
#[derive(Debug)]
pub struct Telling {
    /// The region.
    pub region: RegionId,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// Its spans, if it has a collector.
    pub tracing: Option<Tracing>,
    /// The line of a request: `None` for no line, `Some(true)` at `info`, `Some(false)` at `debug`.
    pub line: Option<bool>,
}

impl TraceLayer {
    /// As `telling` says.
    pub fn new(telling: Telling) -> Self {
        Self(Arc::new(telling))
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { telling: Arc::clone(&self.0), inner }
    }
}

/// The service that [`TraceLayer`] makes.
#[derive(Clone, Debug)]
pub struct Trace<S> {
    telling: Arc<Telling>,
    inner: S,
}

impl<B, S> Service<Request<B>> for Trace<S>
where
    B: HttpBody + Send + 'static,
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<TracedBody>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<TracedBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let telling = Arc::clone(&self.telling);
        let inner = self.inner.clone();
        Box::pin(async move {
            let asked = asked(&request);
            let method = asked.method;
            let told = telemetry::Request::begin(telling.tracing.as_ref(), asked);
            let answer = told.scope(tower::ServiceExt::oneshot(inner, request)).await?;
            let (status, took) = (answer.status().as_u16(), told.took());
            telling.metrics.request(told.facts().operation(), status, took);
            telling.metrics.http(method, status, took);
            let ending = Some(Ending { telling: Arc::clone(&telling), told, status });
            Ok(answer.map(|inner| TracedBody { inner, sent: 0, ending }))
        })
    }
}

fn asked<B: HttpBody>(request: &Request<B>) -> Asked<'_> {
    Asked {
        method: Method::of(request.method()),
        tls: request.extensions().get::<Peer>().is_some_and(|peer| peer.tls),
        received: request.body().size_hint().exact(),
        traceparent: request.headers().get("traceparent").and_then(|value| value.to_str().ok()),
    }
}

/// What is still to be said when the body has ended.
#[derive(Debug)]
struct Ending {
    telling: Arc<Telling>,
    told: telemetry::Request,
    status: u16,
}

/// The body of an answer whose request is told of when it ends.
#[derive(Debug)]
pub struct TracedBody {
    inner: Body,
    sent: u64,
    ending: Option<Ending>,
}

impl TracedBody {
    fn end(&mut self, whole: bool) {
        let Some(Ending { telling, mut told, status }) = self.ending.take() else { return };
        told.end(Told { status, sent: self.sent, whole });
        if let Some(loud) = telling.line {
            let (facts, took) = (told.facts(), told.took());
            let region = &telling.region;
            event::request_served(
                &event::Served { facts, region, status, sent: self.sent, whole, took },
                loud,
            );
        }
    }
}

impl HttpBody for TracedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let inner = Pin::new(&mut this.inner);
        let polled = match &this.ending {
            Some(ending) => ending.told.enter(|| inner.poll_frame(cx)),
            None => inner.poll_frame(cx),
        };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => this.end(true),
            Poll::Ready(Some(Err(_))) => this.end(false),
            Poll::Ready(Some(Ok(frame))) => {
                this.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                // hyper stops polling once the announced length is sent.
                if this.inner.is_end_stream() {
                    this.end(true);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for TracedBody {
    /// An answer without a body is never polled; one with a rest was broken off, by the caller or by our drain.
    fn drop(&mut self) {
        let whole = self.inner.is_end_stream();
        self.end(whole);
    }
}
