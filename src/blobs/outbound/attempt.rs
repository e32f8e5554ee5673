//! One attempt: how long it may take, and its place in the metrics.
//!
//! Not `tower::timeout`: its time is the same for a byte and for 16 MiB, and its error is a box to be guessed at.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tower::{Layer, Service, layer::layer_fn};

use crate::telemetry::{Metrics, Stage, StoreOutcome, StoreVerb, stage_told};

use super::super::{Error, ErrorKind};
use super::request::{Answering, BlobAnswer, BlobRequest, Timed};

/// The slowest store we wait for, in bytes a second: 8 MiB in 16 s.
const RATE_BYTES_PER_S_MIN: u64 = 512 * 1024;

/// How long one attempt may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    base: Duration,
}

impl Patience {
    /// `base` for the answer, and the time of the least rate for the bytes that are moved.
    pub(super) const fn new(base: Duration) -> Self {
        Self { base }
    }

    pub(super) fn with(&self, request: &BlobRequest) -> Duration {
        self.base + Duration::from_millis(request.moved_bytes() * 1000 / RATE_BYTES_PER_S_MIN)
    }
}

/// Ends an attempt when its time is over, or its call's.
#[derive(Clone, Debug)]
pub(super) struct Attempt<S> {
    patience: Patience,
    metrics: Arc<Metrics>,
    inner: S,
}

impl<S> Attempt<S> {
    pub(super) fn layer(patience: Patience, metrics: Arc<Metrics>) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| Self { patience, metrics: Arc::clone(&metrics), inner })
    }
}

impl<S> Service<Timed> for Attempt<S>
where
    S: Service<BlobRequest, Response = BlobAnswer, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = BlobAnswer;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, timed: Timed) -> Answering {
        let request = timed.call.request;
        let (verb, label) = (request.verb(), request.label());
        let started = Instant::now();
        let until = timed.deadline.min(started + self.patience.with(&request));
        let metrics = Arc::clone(&self.metrics);
        let attempt = self.inner.call(request);
        let attempt = async move {
            timeout_at(until, attempt).await.unwrap_or_else(|_| Err(Error::new(verb, ErrorKind::Timeout)))
        };
        Box::pin(async move {
            // Asking where the store is has no place in the metrics: it is asked at start.
            let Some(label) = label else { return attempt.await };
            let outcome = stage_told(span_of(label), attempt, |done| outcome_of(done).as_str()).await;
            metrics.store_request(label, outcome_of(&outcome), started.elapsed());
            outcome
        })
    }
}

const fn span_of(verb: StoreVerb) -> Stage {
    match verb {
        StoreVerb::Put => Stage::StorePut,
        StoreVerb::Get => Stage::StoreGet,
        StoreVerb::Head => Stage::StoreHead,
        StoreVerb::Delete => Stage::StoreDelete,
        StoreVerb::List => Stage::StoreList,
    }
}

fn outcome_of(outcome: &Result<BlobAnswer, Error>) -> StoreOutcome {
    match outcome.as_ref().map_err(Error::kind) {
        Ok(_) => StoreOutcome::Ok,
        Err(ErrorKind::NotFound) => StoreOutcome::Absent,
        Err(ErrorKind::Denied) => StoreOutcome::Denied,
        Err(ErrorKind::Timeout) => StoreOutcome::Timeout,
        Err(ErrorKind::Unavailable | ErrorKind::SlowDown) => StoreOutcome::Unavailable,
        Err(_) => StoreOutcome::Error,
    }
}
