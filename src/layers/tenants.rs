//! How many requests of one tenant may be in flight: nobody's flood takes the places of everybody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::Semaphore;
use tower::{Layer, Service};

use crate::auth::Permitted;
use crate::model::TenantCode;
use crate::s3::{Code, S3Error};

use super::step::BoxFuture;

/// Refuses a tenant's requests beyond a number in flight.
#[derive(Clone, Debug)]
pub struct TenantLimitsLayer(Arc<Places>);

/// The free places of each tenant that ever called: only identified callers have some, so strangers cannot grow it.
#[derive(Debug)]
struct Places {
    in_flight_max: usize,
    free: Mutex<HashMap<TenantCode, Arc<Semaphore>>>,
}

impl TenantLimitsLayer {
    /// At most `in_flight_max` requests of one tenant at a time, counted until their answer's head is made.
    pub fn new(in_flight_max: usize) -> Self {
        Self(Arc::new(Places { in_flight_max, free: Mutex::default() }))
    }
}

impl Places {
    fn of(&self, tenant: TenantCode) -> Arc<Semaphore> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(free.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(self.in_flight_max))))
    }
}

impl<S> Layer<S> for TenantLimitsLayer {
    type Service = TenantLimits<S>;

    fn layer(&self, inner: S) -> TenantLimits<S> {
        TenantLimits { places: Arc::clone(&self.0), inner }
    }
}

/// The service that [`TenantLimitsLayer`] makes.
#[derive(Clone, Debug)]
pub struct TenantLimits<S> {
    places: Arc<Places>,
    inner: S,
}

impl<B, S> Service<Permitted<B>> for TenantLimits<S>
where
    B: Send + 'static,
    S: Service<Permitted<B>, Error = S3Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S3Error;
    type Future = BoxFuture<Result<S::Response, S3Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Permitted<B>) -> Self::Future {
        let free = self.places.of(request.caller().tenant().code);
        let inner = self.inner.clone();
        Box::pin(async move {
            let Ok(_place) = free.try_acquire() else {
                return Err(S3Error::new(Code::SlowDown).with_retry_after_s(1));
            };
            tower::ServiceExt::oneshot(inner, request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_tenant_requests_max_was_read_and_never_enforced() {
        let layer = TenantLimitsLayer::new(2);
        let (ours, theirs) = (TenantCode::from_bytes([1; 16]), TenantCode::from_bytes([2; 16]));
        let place = layer.0.of(ours);
        let held = [place.try_acquire().unwrap(), place.try_acquire().unwrap()];
        assert!(layer.0.of(ours).try_acquire().is_err(), "a third request of one tenant");
        assert!(layer.0.of(theirs).try_acquire().is_ok(), "another tenant has places of its own");
        drop(held);
        assert!(layer.0.of(ours).try_acquire().is_ok(), "places come back");
    }
}
