//! The two ends of the circuit breaker: the gate above the queue lets attempts pass, the watch below it sees what the store
//! made of them.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use tokio::time::Instant;
use tower::{Layer, Service, layer::layer_fn};

use super::super::error::Health;
use super::super::{Error, ErrorKind, Verb};
use super::attempt::Patience;
use super::circuit::{Breaker, Pass};
use super::request::{Admitted, Answering, BlobAnswer, Timed};

/// Refuses at once while the circuit is open.
#[derive(Clone, Debug)]
pub(super) struct Gate<S> {
    breaker: Arc<Breaker>,
    inner: S,
}

impl<S> Gate<S> {
    pub(super) fn layer(breaker: Arc<Breaker>) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| Self { breaker: Arc::clone(&breaker), inner })
    }
}

impl<S> Service<Timed> for Gate<S>
where
    S: Service<Admitted, Response = BlobAnswer, Error = Error>,
{
    type Response = BlobAnswer;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<BlobAnswer, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, timed: Timed) -> Self::Future {
        match self.breaker.admit() {
            Ok(pass) => Either::Left(self.inner.call(Admitted { timed, pass })),
            Err(rest) => Either::Right(ready(Err(open(timed.call.request.verb(), rest)))),
        }
    }
}

fn open(verb: Verb, rest: Duration) -> Error {
    Error::new(verb, ErrorKind::CircuitOpen).after(Some(rest))
}

/// Tells the circuit how the store fared with an attempt.
#[derive(Clone, Debug)]
pub(super) struct Watch<S> {
    patience: Patience,
    inner: S,
}

impl<S> Watch<S> {
    pub(super) fn layer(patience: Patience) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| Self { patience, inner })
    }
}

impl<S> Service<Admitted> for Watch<S>
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

    fn call(&mut self, Admitted { timed, pass }: Admitted) -> Answering {
        let request = &timed.call.request;
        // It may have waited long enough for the circuit to open.
        let pass = match pass.confirm() {
            Ok(pass) => pass,
            Err(rest) => return Box::pin(ready(Err(open(request.verb(), rest)))),
        };
        let watching = Watching { pass: Some(pass), long: Instant::now() + self.patience.with(request) / 2 };
        let attempt = self.inner.call(timed);
        Box::pin(async move {
            let outcome = attempt.await;
            watching.saw(&outcome);
            outcome
        })
    }
}

/// Sees an attempt end in one of three ways: answered, failed, or given up by who asked for it.
struct Watching {
    pass: Option<Pass>,
    /// From here on it is the store that is slow, not the caller that is hasty.
    long: Instant,
}

impl Watching {
    fn saw(mut self, outcome: &Result<BlobAnswer, Error>) {
        let Some(pass) = self.pass.take() else { return };
        match outcome {
            Ok(_) => pass.report(Health::Well, None),
            Err(error) => pass.report(error.kind().health(), error.retry_after()),
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Clients that give up sooner than we do would else keep the circuit closed over a store that hangs.
        if let Some(pass) = self.pass.take()
            && Instant::now() >= self.long
        {
            pass.report(Health::Sick, None);
        }
    }
}
