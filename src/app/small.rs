//! What the small listeners share: a service out of a function, and bodies that are all there.

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use tower::Service;

use crate::layers::BoxFuture;
use crate::server::Inbound;

pub(super) type SmallResponse = Response<Full<Bytes>>;

/// A service that answers by `answer`.
#[derive(Clone)]
pub(super) struct Small<F>(pub(super) F);

impl<F, Fut> Service<Request<Inbound>> for Small<F>
where
    F: Fn(Request<Inbound>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = SmallResponse> + Send + 'static,
{
    type Response = SmallResponse;
    type Error = Infallible;
    type Future = BoxFuture<Result<SmallResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Inbound>) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

impl<F> Unpin for Small<F> {}

/// An answer with a body of `content_type`. Nothing here may be cached: all of it is about this moment.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> SmallResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// RFC 9457 problem details.
pub(super) fn problem(status: StatusCode, detail: &str) -> SmallResponse {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    answer(status, "application/problem+json", body.to_string())
}
