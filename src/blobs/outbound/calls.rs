//! The top of the stack: what callers waited for, and when it must be over.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tower::{Layer, Service, layer::layer_fn};

use crate::telemetry::{Metrics, StoreRefusal};

use super::super::{Error, ErrorKind};
use super::request::{Answering, BlobAnswer, Call, Timed};

/// Times calls as their callers wait for them, and counts those that never reached the store.
#[derive(Clone, Debug)]
pub(super) struct Calls<S> {
    metrics: Arc<Metrics>,
    inner: S,
}

impl<S> Calls<S> {
    pub(super) fn layer(metrics: Arc<Metrics>) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| Self { metrics: Arc::clone(&metrics), inner })
    }
}

impl<S> Service<Call> for Calls<S>
where
    S: Service<Call, Response = BlobAnswer, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = BlobAnswer;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Answering {
        let started = Instant::now();
        let label = call.request.label();
        let metrics = Arc::clone(&self.metrics);
        let answer = self.inner.call(call);
        Box::pin(async move {
            let outcome = answer.await;
            if let Some(label) = label {
                metrics.store_call(label, started.elapsed());
            }
            match outcome.as_ref().map_err(Error::kind) {
                Err(ErrorKind::Overloaded) => metrics.store_refusals(StoreRefusal::Overloaded).increment(),
                Err(ErrorKind::CircuitOpen) => metrics.store_refusals(StoreRefusal::CircuitOpen).increment(),
                _ => {}
            }
            outcome
        })
    }
}

/// Ends a call, whatever it is doing, when its time is over.
///
/// Not `tower::timeout`: the layers below have to know how much time is left, and callers what kind of error it is.
#[derive(Clone, Debug)]
pub(super) struct Deadline<S> {
    max: Duration,
    inner: S,
}

impl<S> Deadline<S> {
    pub(super) fn layer(max: Duration) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| Self { max, inner })
    }
}

impl<S> Service<Call> for Deadline<S>
where
    S: Service<Timed, Response = BlobAnswer, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = BlobAnswer;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Answering {
        let verb = call.request.verb();
        let deadline = Instant::now() + self.max;
        let answer = self.inner.call(Timed { call, deadline });
        Box::pin(async move {
            timeout_at(deadline, answer).await.unwrap_or_else(|_| Err(Error::new(verb, ErrorKind::Timeout)))
        })
    }
}
