//! Ended spans on their way: a bounded queue that never waits, and the task that empties it in batches.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_proto::tonic::trace::v1::Span as Told;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::convert;
use super::sender::Sender;
use crate::telemetry::{Metrics, SpanFate};

/// The end at which requests put their spans in.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    half: Arc<Notify>,
    metrics: Arc<Metrics>,
}

/// The end at which they are taken out.
pub(super) struct Waiting {
    spans: mpsc::Receiver<SpanData>,
    half: Arc<Notify>,
    metrics: Arc<Metrics>,
}

/// Where they go, and how many at a time.
pub(super) struct Spans {
    pub(super) sender: Arc<Sender>,
    pub(super) resource: Arc<ResourceAttributesWithSchema>,
    pub(super) interval: Duration,
    pub(super) batch_bytes_max: usize,
    pub(super) stop: CancellationToken,
}

/// A queue of at most `spans_max`. A span has a fixed set of short attributes, so its number bounds its bytes: about 1 KiB each.
pub(super) fn bounded(spans_max: usize, metrics: Arc<Metrics>) -> (Queue, Waiting) {
    let (put, take) = mpsc::channel(spans_max.max(1));
    let half = Arc::new(Notify::new());
    let queue = Queue { spans: put, half: Arc::clone(&half), metrics: Arc::clone(&metrics) };
    (queue, Waiting { spans: take, half, metrics })
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() || !span.span_context.is_valid() {
            return;
        }
        // Counted before, so that the one that takes it out never counts below zero.
        self.metrics.spans_queued().add(1);
        if self.spans.try_send(span).is_err() {
            self.metrics.spans_queued().add(-1);
            self.metrics.spans(SpanFate::QueueFull).increment();
        } else if self.spans.capacity() <= self.spans.max_capacity() / 2 {
            self.half.notify_one();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Waiting {
    /// Empties the queue each interval, and whenever it is half full; ends with `stop`, having sent what was there.
    pub(super) async fn run(mut self, to: Spans) {
        loop {
            let stopping = tokio::select! {
                biased;
                () = to.stop.cancelled() => true,
                () = self.half.notified() => false,
                () = tokio::time::sleep(to.interval) => false,
            };
            self.empty(&to).await;
            if stopping {
                return;
            }
        }
    }

    async fn empty(&mut self, to: &Spans) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Ok(span) = self.spans.try_recv() {
            let span = Told::from(span);
            let length = span.encoded_len();
            if bytes + length > to.batch_bytes_max && !batch.is_empty() {
                self.send(std::mem::take(&mut batch), to).await;
                bytes = 0;
            }
            bytes += length;
            batch.push(span);
        }
        if !batch.is_empty() {
            self.send(batch, to).await;
        }
    }

    async fn send(&self, batch: Vec<Told>, to: &Spans) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let sent = to.sender.spans(convert::spans(batch, &to.resource)).await;
        let rejected = sent.map(|rejected| rejected.min(count));
        // Until here they counted as queued: what is aborted on the way is told of as lost.
        self.metrics.spans_queued().add(i64::try_from(count).map_or(0, |count| -count));
        match rejected {
            Some(rejected) => {
                self.metrics.spans(SpanFate::Sent).add(count - rejected);
                self.metrics.spans(SpanFate::Rejected).add(rejected);
            }
            None => self.metrics.spans(SpanFate::Failed).add(count),
        }
    }
}
