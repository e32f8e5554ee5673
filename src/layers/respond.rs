//! Gives every request an id, and makes an answer of whatever comes up from below.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower::{Layer, Service};

use crate::auth::Origin;
use crate::model::Entropy;
use crate::ops::Body;
use crate::s3::{Code, HOST_ID_HEADER, REQUEST_ID_HEADER, RequestIds, S3Error};
use crate::server::Peer;
use crate::shares::Seat;
use crate::telemetry::{Facts, Metrics, RefusalCode, note, with_facts};

use super::step::BoxFuture;

/// Gives ids, answers errors, counts.
#[derive(Clone, Debug)]
pub struct RespondLayer {
    host_id: Arc<str>,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
}

impl RespondLayer {
    /// `host_id` is what `x-amz-id-2` says: the region, nothing about the machine.
    pub fn new(host_id: &str, entropy: Arc<dyn Entropy>, metrics: Arc<Metrics>) -> Self {
        Self { host_id: host_id.into(), entropy, metrics }
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond { layer: self.clone(), inner }
    }
}

/// The service that [`RespondLayer`] makes.
#[derive(Clone, Debug)]
pub struct Respond<S> {
    layer: RespondLayer,
    inner: S,
}

impl<B, S> Service<Request<B>> for Respond<S>
where
    B: Send + 'static,
    S: Service<(Origin, Request<B>), Response = Response<Body>, Error = S3Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        let inner = self.inner.clone();
        Box::pin(async move { Ok(layer.answer(inner, request).await) })
    }
}

impl RespondLayer {
    /// Counts what was refused, by the reason that whoever refused it noted, or else by what the answer says. An answer about
    /// what is not there is no refusal.
    fn count(&self, error: &S3Error) {
        if let Some(reason) = with_facts(Facts::refusal).flatten() {
            self.metrics.refusals(reason).increment();
            return;
        }
        let reason = match error.code() {
            Code::InvalidAccessKeyId | Code::SignatureDoesNotMatch | Code::RequestTimeTooSkewed => {
                RefusalCode::Unauthenticated
            }
            Code::AccessDenied => RefusalCode::Forbidden,
            Code::PermanentRedirect => {
                self.metrics.redirects().increment();
                RefusalCode::OtherRegion
            }
            Code::IllegalLocationConstraint => RefusalCode::NoPlace,
            Code::SlowDown => RefusalCode::Overloaded,
            Code::NotImplemented => RefusalCode::NotImplemented,
            code if code.status() == StatusCode::BAD_REQUEST => RefusalCode::Malformed,
            code if code.status().is_server_error() => RefusalCode::Other,
            _ => return,
        };
        self.metrics.refusals(reason).increment();
    }

    async fn answer<B, S>(&self, inner: S, request: Request<B>) -> Response<Body>
    where
        S: Service<(Origin, Request<B>), Response = Response<Body>, Error = S3Error>,
    {
        let is_head = request.method() == Method::HEAD;
        let mut id = [0; 8];
        let answered = match self.entropy.fill(&mut id) {
            Ok(()) => {
                let origin = Origin {
                    request_id: hex::encode_upper(id).into(),
                    peer: peer_of(&request),
                    seat: seat_of(&request),
                };
                note::request(&origin.request_id);
                tower::ServiceExt::oneshot(inner, (origin, request)).await
            }
            Err(_) => Err(S3Error::new(Code::ServiceUnavailable)),
        };
        let ids = RequestIds { request: hex::encode_upper(id), host: self.host_id.to_string() };
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => {
                self.count(&error);
                note::code(error.code().as_str());
                error.into_response(&ids, is_head).map(Body::whole)
            }
        };
        let headers = response.headers_mut();
        for (name, value) in [(REQUEST_ID_HEADER, &ids.request), (HOST_ID_HEADER, &ids.host)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        headers.insert(header::SERVER, HeaderValue::from_static("terroir"));
        response
    }
}

/// The seat of the request's connection; one of its own without (in-process tests).
fn seat_of<B>(request: &Request<B>) -> Seat {
    request.extensions().get::<Seat>().cloned().unwrap_or_default()
}

/// The address the socket says. A request without one (in-process tests) counts as loopback.
fn peer_of<B>(request: &Request<B>) -> IpAddr {
    request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.address.ip())
}
