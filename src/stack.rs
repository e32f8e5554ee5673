//! What happens to a request, top to bottom. Above every layer stands the reason for its position.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower::{Service, ServiceBuilder, service_fn};

use crate::audit::Log;
use crate::catalogue::Catalogue;
use crate::layers::{
    Decode, Identify, LimitsLayer, Place, Record, Redirect, RespondLayer, StepLayer, Telling,
    TenantLimitsLayer, Timed, TraceLayer, TracedBody,
};
use crate::model::{Clock, Entropy, RegionId};
use crate::ops::{Operations, Recorded};
use crate::s3::Domains;
use crate::shares::Shares;
use crate::telemetry::{Metrics, Tracing};
use crate::tenants::Directory;

/// What the stack of one region is made of.
#[derive(Clone, Debug)]
pub struct StackParts {
    /// The region it serves.
    pub region: RegionId,
    /// Regions and register.
    pub catalogue: Arc<Catalogue>,
    /// Who may call.
    pub directory: Directory,
    /// The audit log.
    pub log: Log,
    /// What is done.
    pub operations: Operations,
    /// Hosts under which a bucket may stand as a label in front.
    pub domains: Domains,
    /// Requests in flight at most, identified or not: more than there are shares in `requests`, the rest is the strangers'.
    pub in_flight_max: usize,
    /// The tenants' shares of the requests in flight.
    pub requests: Shares,
    /// The tenants' shares of the connections.
    pub connections: Shares,
    /// The tenants' shares of the requests that are worked on at the same time.
    pub turns: Shares,
    /// Requests a second that name no known key and are looked at all the same.
    pub strangers_per_s_max: u64,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Spans, if the region has a collector.
    pub tracing: Option<Tracing>,
    /// The line of each request in the log: none, at `debug` (`false`) or at `info`.
    pub line: Option<bool>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Assembles the stack.
///
/// The types admit no other order: each layer takes what the one above it makes, and only the last makes what an
/// operation takes.
pub fn stack<B>(
    parts: StackParts,
) -> impl Service<Request<B>, Response = Response<TracedBody>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Unpin
+ 'static
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let StackParts {
        region,
        catalogue,
        directory,
        log,
        operations,
        domains,
        in_flight_max,
        requests,
        connections,
        turns,
        strangers_per_s_max,
        metrics,
        tracing,
        line,
        clock,
        entropy,
    } = parts;
    let carry_out = operations.clone();
    let service = ServiceBuilder::new()
        // Outermost: it sees every answer as the caller does, to the end of its body.
        .layer(TraceLayer::new(Telling {
            region: region.clone(),
            metrics: Arc::clone(&metrics),
            tracing,
            line,
        }))
        // Above all that refuses, so that whatever goes wrong below has an id and becomes an answer.
        .layer(RespondLayer::new(region.as_str(), Arc::clone(&entropy), Arc::clone(&metrics)))
        // Before anything is parsed: a flood costs a counter, not work.
        .layer(LimitsLayer::new(in_flight_max))
        // Before decoding: of a caller of another region nothing is read but the key id.
        .layer(StepLayer::new(Redirect::new(region.clone(), Arc::clone(&catalogue), log.clone())))
        // Before the signature: it says which headers and which body the signature has to cover.
        .layer(StepLayer::new(Decode::new(domains, log.clone())))
        // Before placement: who asks decides where.
        .layer(StepLayer::new(Identify::new(
            directory,
            region.clone(),
            Arc::clone(&clock),
            log.clone(),
            strangers_per_s_max,
            metrics,
        )))
        // As soon as it is known who asks, before the first look into the index.
        .layer(TenantLimitsLayer::new(requests, connections, turns))
        // Before the record: what is recorded is the decision.
        .layer(StepLayer::new(Place::new(region, catalogue, operations, clock, log.clone())))
        // Last before the effect: nothing happens that is not on disk.
        .layer(StepLayer::new(Record::new(log)))
        .service(service_fn(move |request: Recorded<Timed<B>>| {
            let operations = carry_out.clone();
            async move { operations.carry_out(request).await }
        }));
    Boxless(service)
}

/// Names the assembled service's type away, and lets it move freely: the server wants `Unpin`.
#[derive(Clone, Debug)]
struct Boxless<S>(S);

impl<S, R> Service<R> for Boxless<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

impl<S> Unpin for Boxless<S> {}
