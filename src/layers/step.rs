//! The plumbing shared by every layer of the inbound stack: one step turns the request's type into the next one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::s3::S3Error;
use crate::telemetry::{Stage, stage_told};

/// One layer's work: takes the request in the state the layer above left it in, gives it to the one below in the next.
///
/// The types do the residency argument: `Step<Permitted>` with `Out = Placed` is the only layer that can make a
/// `Placed`, so a stack that leaves it out does not compile.
pub trait Step<In>: Send + Sync + 'static {
    /// The request in its next state.
    type Out: Send + 'static;

    /// What its span is called.
    const STAGE: Stage;

    /// Does the work or refuses the request.
    fn step(&self, request: In) -> impl Future<Output = Result<Self::Out, S3Error>> + Send;
}

/// Puts a [`Step`] in front of a service.
#[derive(Debug)]
pub struct StepLayer<S>(Arc<S>);

impl<S> StepLayer<S> {
    /// A layer that does `step`.
    pub fn new(step: S) -> Self {
        Self(Arc::new(step))
    }
}

impl<S> Clone for StepLayer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S, Inner> Layer<Inner> for StepLayer<S> {
    type Service = StepService<S, Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        StepService { step: Arc::clone(&self.0), inner }
    }
}

/// The service a [`StepLayer`] makes.
#[derive(Debug)]
pub struct StepService<S, Inner> {
    step: Arc<S>,
    inner: Inner,
}

impl<S, Inner: Clone> Clone for StepService<S, Inner> {
    fn clone(&self) -> Self {
        Self { step: Arc::clone(&self.step), inner: self.inner.clone() }
    }
}

/// A boxed future that may move between threads: one allocation a layer, which no profile has shown yet.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<In, S, Inner> Service<In> for StepService<S, Inner>
where
    In: Send + 'static,
    S: Step<In>,
    Inner: Service<S::Out, Error = S3Error> + Clone + Send + 'static,
    Inner::Future: Send,
{
    type Response = Inner::Response;
    type Error = S3Error;
    type Future = BoxFuture<Result<Inner::Response, S3Error>>;

    /// Always ready: admission is the limits layer's work, which answers 503 instead of holding a connection.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: In) -> Self::Future {
        let step = Arc::clone(&self.step);
        let inner = self.inner.clone();
        Box::pin(async move {
            let work = step.step(request);
            let next = stage_told(S::STAGE, work, |done| told(done.as_ref().err())).await?;
            tower::ServiceExt::oneshot(inner, next).await
        })
    }
}

/// A refusal is an answer like any other; only what is our own fault is an error.
fn told(refusal: Option<&S3Error>) -> &'static str {
    match refusal {
        None => "ok",
        Some(refusal) if refusal.code().status().is_server_error() => "error",
        Some(_) => "refused",
    }
}
