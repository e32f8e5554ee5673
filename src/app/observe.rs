//! The observe listener: `/live`, `/ready`, `/metrics`.
//!
//! Live says only that the process answers: it depends on no store, index or key service, or an outage of one would make
//! an orchestrator kill every replica. Ready asks the index and the audit log, and turns false when a drain begins.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::server::Inbound;
use crate::telemetry::Metrics;

use super::Site;
use super::small::{Small, SmallResponse, answer, problem};

/// The service of a region's observe listener.
pub(super) fn service(
    site: Arc<Site>,
    stop: CancellationToken,
) -> impl Service<Request<Inbound>, Response = SmallResponse, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Unpin
+ 'static {
    Small(move |request: Request<Inbound>| {
        let (site, stop) = (Arc::clone(&site), stop.clone());
        async move {
            if request.method() != Method::GET {
                return problem(StatusCode::METHOD_NOT_ALLOWED, "Only GET is served here.");
            }
            match request.uri().path() {
                "/live" => answer(StatusCode::OK, "text/plain; charset=utf-8", "live\n"),
                "/ready" => ready(&site, &stop).await,
                "/metrics" => {
                    site.refresh_metrics();
                    answer(StatusCode::OK, Metrics::CONTENT_TYPE, site.metrics().expose())
                }
                _ => problem(StatusCode::NOT_FOUND, "This listener has /live, /ready and /metrics."),
            }
        }
    })
}

async fn ready(site: &Site, stop: &CancellationToken) -> SmallResponse {
    let not_ready = |why: &str| {
        let text = format!("region {} is not ready: {why}\n", site.region().id);
        answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", text)
    };
    if stop.is_cancelled() {
        return not_ready("draining");
    }
    if site.log.counts().failing {
        return not_ready("the audit log cannot be written");
    }
    if site.index.health().await.is_err() {
        return not_ready("the index does not answer");
    }
    answer(StatusCode::OK, "text/plain; charset=utf-8", format!("region {} is ready\n", site.region().id))
}
