//! One export to the collector: bounded in time, in tries, and in what is read of the answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::{CollectorError, CollectorHeaders, CollectorSettings};
use crate::egress::{Door, Endpoint, pool};
use crate::identity::{Identity, Rotating};
use crate::model::{Entropy, RegionId};
use crate::telemetry::{ExportOutcome, Metrics, Signal, event};

/// Tries of one export of spans. What is lost after them is a few seconds of sampled requests.
const TRIES_MAX: u32 = 4;
/// The first pause between tries; each next one is twice as long. A random part of it is waited, so that replicas do not knock
/// together.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause, also where the collector asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// What is read of an answer, in bytes: a count and a sentence.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Connections that are kept: one for spans, one for metrics.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// Sends to one collector.
pub(super) struct Sender {
    pool: Client<Door, Full<Bytes>>,
    endpoint: Endpoint,
    headers: Identity<CollectorHeaders>,
    region: RegionId,
    timeout: Duration,
    metrics: Arc<Metrics>,
    entropy: Arc<dyn Entropy>,
    stop: CancellationToken,
    failing: AtomicBool,
}

/// A try that did not do.
struct Failed {
    outcome: ExportOutcome,
    again: bool,
    after: Option<Duration>,
}

impl Failed {
    const fn of(outcome: ExportOutcome, again: bool) -> Self {
        Self { outcome, again, after: None }
    }
}

impl Sender {
    pub(super) fn new(
        settings: &CollectorSettings,
        metrics: Arc<Metrics>,
        entropy: Arc<dyn Entropy>,
        stop: CancellationToken,
    ) -> Result<Self, CollectorError> {
        let endpoint = Endpoint::parse(&settings.endpoint)?;
        Ok(Self {
            pool: pool(&endpoint, settings.ca_file.as_deref(), settings.timeout, IDLE_CONNECTIONS_MAX)?,
            endpoint,
            headers: settings.headers.clone(),
            region: settings.region.clone(),
            timeout: settings.timeout,
            metrics,
            entropy,
            stop,
            failing: AtomicBool::new(false),
        })
    }

    /// Sends an export of spans; how many of them the collector rejected, or `None` if it did not take the export.
    pub(super) async fn spans(&self, export: Bytes) -> Option<u64> {
        let rejected = |answer: Bytes| {
            let answer = ExportTraceServiceResponse::decode(answer).ok()?;
            let partial = answer.partial_success.unwrap_or_default();
            u64::try_from(partial.rejected_spans).ok()
        };
        for tried in 1..=TRIES_MAX {
            let failed = match self.attempt(Signal::Traces, "/v1/traces", export.clone(), rejected).await {
                Ok(rejected) => return Some(rejected),
                Err(failed) => failed,
            };
            if !failed.again || tried == TRIES_MAX {
                return None;
            }
            let pause = self.pause(tried, failed.after);
            // A process that ends does not wait for a collector to come back.
            if tokio::time::timeout(pause, self.stop.cancelled()).await.is_ok() {
                return None;
            }
        }
        None
    }

    /// Sends an export of metrics, once.
    pub(super) async fn metrics(&self, export: Bytes) {
        let understood = |answer: Bytes| ExportMetricsServiceResponse::decode(answer).ok().map(drop);
        // Counted and, when it changes, logged; there is nothing else to do about it.
        let _ = self.attempt(Signal::Metrics, "/v1/metrics", export, understood).await;
    }

    async fn attempt<T>(
        &self,
        signal: Signal,
        path: &'static str,
        export: Bytes,
        read: impl FnOnce(Bytes) -> Option<T>,
    ) -> Result<T, Failed> {
        let done = tokio::time::timeout(self.timeout, self.exchange(path, export)).await;
        let done = done.unwrap_or(Err(Failed::of(ExportOutcome::Timeout, true)));
        let done = done.and_then(|answer| read(answer).ok_or(Failed::of(ExportOutcome::Garbled, false)));
        let outcome = done.as_ref().map_or_else(|failed| failed.outcome, |_| ExportOutcome::Ok);
        self.metrics.exports(signal, outcome).increment();
        // Logged when it begins and when it ends: a collector may be away for a day.
        let fails = outcome != ExportOutcome::Ok;
        if self.failing.swap(fails, Ordering::Relaxed) != fails {
            match outcome {
                ExportOutcome::Ok => event::collector_recovered(&self.region),
                outcome => event::collector_failed(&self.region, outcome),
            }
        }
        done
    }

    async fn exchange(&self, path: &'static str, export: Bytes) -> Result<Bytes, Failed> {
        let refused = || Failed::of(ExportOutcome::Refused, false);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.endpoint.url()))
            .body(Full::new(export))
            .map_err(|_| refused())?;
        let changes = self.headers.changes();
        let CollectorHeaders(mut headers) = self.headers.current();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("terroir/", env!("CARGO_PKG_VERSION"))));
        *request.headers_mut() = headers;
        if !self.endpoint.admits(request.uri()) {
            return Err(refused());
        }
        let answer = self.pool.request(request).await.map_err(|error| Failed::of(kind(&error), true))?;
        match answer.status() {
            StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
                body.map(http_body_util::Collected::to_bytes)
                    .map_err(|_| Failed::of(ExportOutcome::Garbled, false))
            }
            // The OTLP specification's list of what may be tried again ("Retryable response codes").
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Err(Failed { outcome: ExportOutcome::Busy, again: true, after: retry_after(&answer) })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let again = self.headers.refused(changes).await;
                Err(Failed::of(ExportOutcome::Refused, again))
            }
            // A redirect too: where it points is none of the region's hosts.
            _ => Err(refused()),
        }
    }

    fn pause(&self, tried: u32, asked: Option<Duration>) -> Duration {
        let mut random = [0; 1];
        // Without randomness the whole pause is waited.
        let part = self.entropy.fill(&mut random).map_or(255, |()| random[0]);
        let backoff = PAUSE * 2_u32.pow(tried - 1) * (u32::from(part) + 256) / 512;
        asked.unwrap_or(backoff).max(backoff).min(PAUSE_MAX)
    }
}

/// Whether nobody answered, or somebody who does not speak HTTP.
fn kind(error: &Error) -> ExportOutcome {
    let mut source = std::error::Error::source(error);
    while let Some(link) = source {
        if link.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return ExportOutcome::Garbled;
        }
        source = link.source();
    }
    ExportOutcome::Unreachable
}

fn retry_after(answer: &Response<Incoming>) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
