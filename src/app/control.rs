//! The control listener: what this region is, as JSON. The API for tenants comes with a later release.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use tower::Service;

use crate::server::Inbound;

use super::Site;
use super::small::{Small, SmallResponse, answer, problem};

/// The service of a region's control listener.
pub(super) fn service(
    site: Arc<Site>,
) -> impl Service<Request<Inbound>, Response = SmallResponse, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Unpin
+ 'static {
    Small(move |request: Request<Inbound>| {
        let site = Arc::clone(&site);
        async move {
            match (request.method(), request.uri().path()) {
                (&Method::GET, "/v1/region") => {
                    answer(StatusCode::OK, "application/json", region(&site).to_string())
                }
                (_, "/v1/region") => problem(StatusCode::METHOD_NOT_ALLOWED, "Only GET is served here."),
                _ => problem(StatusCode::NOT_FOUND, "This release has /v1/region."),
            }
        }
    })
}

/// Public facts of the region file, and whether an overlay stands in for parts of it.
fn region(site: &Site) -> serde_json::Value {
    let region = site.region();
    serde_json::json!({
        "id": region.id.as_str(),
        "names": { "en": region.names.en, "fr": region.names.fr },
        "signing_scope": region.signing_scope,
        "countries": region.place.countries.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "operator": region.operator.name,
        "endpoint": region.endpoints.s3.to_string(),
        "store": region.store.kind(),
        "environment": site.environment().as_str(),
        "register_version": site.parts.catalogue.register_version().to_string(),
        "overlay": site.parts.catalogue.overlay_notice(),
        "release": env!("CARGO_PKG_VERSION"),
    })
}
