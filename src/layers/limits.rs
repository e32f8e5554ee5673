//! How many requests may be in flight before anything is known of them: beyond it the answer is 503 `SlowDown` at once, not a
//! queue. Tenants' own shares, which are less, stand behind the identification; what is between is the strangers'.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Semaphore;
use tower::{Layer, Service};

use crate::s3::{Code, S3Error};

use super::step::BoxFuture;

/// Refuses requests beyond a number in flight.
#[derive(Clone, Debug)]
pub struct LimitsLayer {
    free: Arc<Semaphore>,
}

impl LimitsLayer {
    /// At most `in_flight_max` requests at a time, counted until their answer's head is made.
    pub fn new(in_flight_max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(in_flight_max)) }
    }
}

impl<S> Layer<S> for LimitsLayer {
    type Service = Limits<S>;

    fn layer(&self, inner: S) -> Limits<S> {
        Limits { free: Arc::clone(&self.free), inner }
    }
}

/// The service that [`LimitsLayer`] makes.
#[derive(Clone, Debug)]
pub struct Limits<S> {
    free: Arc<Semaphore>,
    inner: S,
}

impl<In, S> Service<In> for Limits<S>
where
    In: Send + 'static,
    S: Service<In, Error = S3Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S3Error;
    type Future = BoxFuture<Result<S::Response, S3Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: In) -> Self::Future {
        let free = Arc::clone(&self.free);
        let inner = self.inner.clone();
        Box::pin(async move {
            let Ok(_place) = free.try_acquire() else {
                return Err(S3Error::new(Code::SlowDown).with_retry_after_s(1));
            };
            tower::ServiceExt::oneshot(inner, request).await
        })
    }
}
