//! Each tenant's share of the requests in flight and of the connections: nobody's flood takes the places of everybody else.

use std::task::{Context, Poll};

use http::Response;
use tower::{Layer, Service};

use crate::auth::Permitted;
use crate::ops::Body;
use crate::s3::{Code, S3Error};
use crate::shares::{Claimant, Shares, in_turn};

use super::step::BoxFuture;

/// Refuses a tenant's requests beyond its share, before anything is done for them.
#[derive(Clone, Debug)]
pub struct TenantLimitsLayer {
    requests: Shares,
    connections: Shares,
    turns: Shares,
}

impl TenantLimitsLayer {
    /// Out of `requests`, held from here until the answer's body is sent or dropped, of `connections`, held from a
    /// connection's first identified request until it is closed, and of `turns`, which are waited for, and held until the
    /// answer's head is made.
    pub const fn new(requests: Shares, connections: Shares, turns: Shares) -> Self {
        Self { requests, connections, turns }
    }
}

impl<S> Layer<S> for TenantLimitsLayer {
    type Service = TenantLimits<S>;

    fn layer(&self, inner: S) -> TenantLimits<S> {
        TenantLimits { shares: self.clone(), inner }
    }
}

/// The service that [`TenantLimitsLayer`] makes.
#[derive(Clone, Debug)]
pub struct TenantLimits<S> {
    shares: TenantLimitsLayer,
    inner: S,
}

impl<B, S> Service<Permitted<B>> for TenantLimits<S>
where
    B: Send + 'static,
    S: Service<Permitted<B>, Response = Response<Body>, Error = S3Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S3Error;
    type Future = BoxFuture<Result<Response<Body>, S3Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S3Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Permitted<B>) -> Self::Future {
        let TenantLimitsLayer { requests, connections, turns } = self.shares.clone();
        let inner = self.inner.clone();
        Box::pin(async move {
            let tenant = request.caller().tenant();
            let tenant = Claimant::tenant(tenant.code, tenant.weight);
            // A connection too many is closed: kept, it would be one too many with its next request as well.
            if request.origin().seat.take(|| connections.demand(tenant, 1)).is_err() {
                return Err(slow_down().closing());
            }
            let share = requests.demand(tenant, 1).map_err(|_| slow_down())?;
            let work = tower::ServiceExt::oneshot(inner, request);
            let response = in_turn(&turns, tenant, work).await.map_err(|_| slow_down())??;
            Ok(response.map(|body| body.holding(share)))
        })
    }
}

fn slow_down() -> S3Error {
    S3Error::new(Code::SlowDown).with_retry_after_s(1)
}
