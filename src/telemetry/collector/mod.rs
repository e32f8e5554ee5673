//! The way to a region's collector: spans through a bounded queue, metrics at intervals, both as OTLP over HTTP.
//!
//! A collector that is down, slow, or answers nonsense costs a bounded queue and nothing else: a request hands over its ended spans
//! without waiting, and what finds the queue full is dropped and counted. The settings are the only source: no `OTEL_*` variable,
//! no proxy variable and no redirect is looked at.

mod convert;
mod queue;
mod sender;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::names::{SCOPE, resource};
use super::tracer::Tracing;
use super::{Metrics, SpanFate};
use crate::egress::EndpointError;
use crate::identity::Identity;
use crate::model::{Clock, Entropy, EntropyError, Environment, RegionId, Secret};

use queue::Spans;
use sender::Sender;

/// Headers of every export beside its own: who we are to the collector. Their `Debug` says how many there are.
#[derive(Clone, PartialEq, Eq)]
pub struct CollectorHeaders(HeaderMap);

impl CollectorHeaders {
    /// Checks names and values; [`CollectorError::Header`] if HTTP does not admit one.
    pub fn new(headers: impl IntoIterator<Item = (String, Secret<String>)>) -> Result<Self, CollectorError> {
        let mut checked = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(name).map_err(|_| CollectorError::Header)?;
            let mut value = HeaderValue::try_from(value.expose()).map_err(|_| CollectorError::Header)?;
            value.set_sensitive(true);
            checked.insert(name, value);
        }
        Ok(Self(checked))
    }
}

impl fmt::Debug for CollectorHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CollectorHeaders({})", self.0.len())
    }
}

/// What is sent where, how much of it and how often.
#[derive(Debug)]
pub struct CollectorSettings {
    /// `https://host[:port]`; `http` for a loopback address alone.
    pub endpoint: String,
    /// Who signs the collector's certificate, PEM; `None`: the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Headers of every export, as they are by then.
    pub headers: Identity<CollectorHeaders>,
    /// The region that speaks.
    pub region: RegionId,
    /// Of which deployment.
    pub environment: Environment,
    /// How many of a million requests are traced.
    pub traced_per_million: u32,
    /// Whether a caller's `traceparent` becomes a link.
    pub link_inbound: bool,
    /// Ended spans that may wait.
    pub spans_queued_max: usize,
    /// The longest export of spans, in bytes.
    pub batch_bytes_max: usize,
    /// How long an ended span waits for others at most.
    pub interval: Duration,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
    /// One try of one export.
    pub timeout: Duration,
    /// How long [`Collector::close`] takes at most.
    pub flush_max: Duration,
}

/// Why there is no way to a collector. A collector that does not answer is no reason: that is found out later, and borne.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The endpoint cannot be one.
    #[error("the collector's endpoint cannot be used")]
    Endpoint(#[from] EndpointError),
    /// A header's name or value that HTTP does not admit. Quotes neither.
    #[error("a header for the collector is not one that HTTP admits")]
    Header,
    /// No randomness.
    #[error("no randomness")]
    Entropy(#[from] EntropyError),
}

/// A running way to a collector. Dropping it ends it at once; call [`Collector::close`].
#[derive(Debug)]
pub struct Collector {
    tracing: Tracing,
    tasks: JoinSet<()>,
    stop: CancellationToken,
    flush_max: Duration,
    metrics: Arc<Metrics>,
}

/// What is done before metrics are read, for values that nobody keeps up to date.
pub type Refresh = Arc<dyn Fn() + Send + Sync>;

impl Collector {
    /// Starts sending. Call within a runtime; connects to nothing yet.
    pub fn start(
        settings: &CollectorSettings,
        metrics: Arc<Metrics>,
        refresh: Refresh,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, CollectorError> {
        let stop = CancellationToken::new();
        let sender = Sender::new(settings, Arc::clone(&metrics), Arc::clone(&entropy), stop.clone())?;
        let sender = Arc::new(sender);
        let resource = identity(settings, &*entropy)?;
        let told = Arc::new(ResourceAttributesWithSchema::from(&resource));
        let (queue, spans) = queue::bounded(settings.spans_queued_max, Arc::clone(&metrics));
        let tracing =
            Tracing::new(resource, queue, settings.traced_per_million, settings.link_inbound, entropy)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(spans.run(Spans {
            sender: Arc::clone(&sender),
            resource: Arc::clone(&told),
            interval: settings.interval,
            batch_bytes_max: settings.batch_bytes_max,
            stop: stop.clone(),
        }));
        let pulse = Pulse {
            sender,
            resource: told,
            metrics: Arc::clone(&metrics),
            refresh,
            clock,
            interval: settings.metrics_interval,
            stop: stop.clone(),
        };
        tasks.spawn(pulse.run());
        Ok(Self { tracing, tasks, stop, flush_max: settings.flush_max, metrics })
    }

    /// What makes the region's spans.
    pub fn tracing(&self) -> &Tracing {
        &self.tracing
    }

    /// Sends what is left, for at most `limit` and the setting; the rest is dropped and counted.
    pub async fn close(&mut self, limit: Duration) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit.min(self.flush_max), ended).await.is_err() {
            self.tasks.abort_all();
            while self.tasks.join_next().await.is_some() {}
        }
        let left = u64::try_from(self.metrics.spans_queued().value()).unwrap_or(0);
        self.metrics.spans(SpanFate::Failed).add(left);
        self.metrics.spans_queued().set(0);
    }
}

/// What the process says of itself. Empty but for these: the SDK's own resource would read the environment and the machine.
fn identity(settings: &CollectorSettings, entropy: &dyn Entropy) -> Result<Resource, EntropyError> {
    let mut instance = [0; 16];
    entropy.fill(&mut instance)?;
    Ok(Resource::builder_empty()
        .with_attributes([
            KeyValue::new(resource::SERVICE, SCOPE),
            KeyValue::new(resource::VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(resource::INSTANCE, hex::encode(instance)),
            KeyValue::new(resource::REGION, settings.region.as_str().to_owned()),
            KeyValue::new(resource::ENVIRONMENT, settings.environment.as_str().to_owned()),
        ])
        .build())
}

/// Sends the metrics at intervals, and once at the end.
struct Pulse {
    sender: Arc<Sender>,
    resource: Arc<ResourceAttributesWithSchema>,
    metrics: Arc<Metrics>,
    refresh: Refresh,
    clock: Arc<dyn Clock>,
    interval: Duration,
    stop: CancellationToken,
}

impl Pulse {
    async fn run(self) {
        let begun = self.clock.now();
        loop {
            let stopping = tokio::time::timeout(self.interval, self.stop.cancelled()).await.is_ok();
            (self.refresh)();
            let families = self.metrics.families();
            let body = convert::metrics(&families, &self.resource, begun, self.clock.now());
            // No second try: the next page says all that this one did.
            self.sender.metrics(body).await;
            if stopping {
                return;
            }
        }
    }
}
