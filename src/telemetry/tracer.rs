//! One region's tracer: its sampling, its ids, its resource. Nothing of it is global, and nothing is read from the environment.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanId, SpanKind, TraceContextExt, TraceId, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    IdGenerator, Sampler, SdkTracer, SdkTracerProvider, Span, SpanLimits, SpanProcessor,
};

use super::names::{SCOPE, attribute};
use crate::model::{Entropy, EntropyError};

/// A million: the unit of sampling.
const MILLION: u32 = 1_000_000;

/// Makes a region's spans.
#[derive(Clone, Debug)]
pub struct Tracing {
    tracer: Arc<SdkTracer>,
    link_inbound: bool,
    traces: bool,
}

impl Tracing {
    /// Spans of `resource` go to `processor`, those of `per_million` of a million requests; `link_inbound` as the setting.
    pub(super) fn new(
        resource: Resource,
        processor: impl SpanProcessor + 'static,
        per_million: u32,
        link_inbound: bool,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, EntropyError> {
        let share = f64::from(per_million.min(MILLION)) / f64::from(MILLION);
        let attributes = u32::try_from(attribute::ALL.len()).unwrap_or(u32::MAX);
        let limits = SpanLimits {
            max_events_per_span: 0,
            max_attributes_per_span: attributes,
            max_links_per_span: 1,
            max_attributes_per_event: 0,
            max_attributes_per_link: 0,
        };
        // Every part that has a default is given one of ours: the defaults of the SDK come from OTEL_* variables.
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_limits(limits)
            // A parent is always a span of this process: no context is ever taken from a request.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_id_generator(Ids::new(entropy)?)
            .with_span_processor(processor)
            .build();
        let tracer = Arc::new(provider.tracer(SCOPE));
        Ok(Self { tracer, link_inbound, traces: per_million > 0 })
    }

    pub(super) fn tracer(&self) -> &Arc<SdkTracer> {
        &self.tracer
    }

    /// A request's span, if it is one of those that are traced.
    pub(super) fn root(
        &self,
        traceparent: Option<&str>,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Option<Span> {
        if !self.traces {
            return None;
        }
        let mut builder =
            SpanBuilder::from_name("other").with_kind(SpanKind::Server).with_attributes(attributes());
        if self.link_inbound
            && let Some(link) = traceparent.and_then(link_to)
        {
            builder = builder.with_links(vec![link]);
        }
        let span = self.tracer.build_with_context(builder, &Context::new());
        span.is_recording().then_some(span)
    }
}

/// The caller's own trace, as something ours points at. Of what it sent, `traceparent` alone: 24 bytes without meaning. Its
/// `tracestate` and `baggage` are text of its choosing.
fn link_to(traceparent: &str) -> Option<Link> {
    let headers = OneHeader(HashMap::from([("traceparent", traceparent)]));
    let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    let context = caller.span().span_context().clone();
    context.is_valid().then(|| Link::with_context(context))
}

struct OneHeader<'a>(HashMap<&'static str, &'a str>);

impl Extractor for OneHeader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).copied()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().copied().collect()
    }
}

/// Ids of traces are random; those of spans only have to differ within the process, and cost no system's randomness.
#[derive(Debug)]
struct Ids {
    entropy: Arc<dyn Entropy>,
    next: AtomicU64,
}

impl Ids {
    fn new(entropy: Arc<dyn Entropy>) -> Result<Self, EntropyError> {
        let mut seed = [0; 8];
        entropy.fill(&mut seed)?;
        Ok(Self { entropy, next: AtomicU64::new(u64::from_ne_bytes(seed)) })
    }
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let mut id = [0; 16];
        // Without randomness the id is invalid, and the span goes nowhere: the request does not fail for it.
        match self.entropy.fill(&mut id) {
            Ok(()) => TraceId::from_bytes(id),
            Err(EntropyError) => TraceId::INVALID,
        }
    }

    fn new_span_id(&self) -> SpanId {
        // SplitMix64: every seed gives each number once.
        let mut z = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        SpanId::from_bytes((z ^ (z >> 31)).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_is_linked_and_nothing_of_its_text_comes_along() {
        let link = link_to("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(link.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(link.span_context.trace_state().header(), "");
        for bad in [
            "",
            "jeanne-martin",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E473Z-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736",
        ] {
            assert!(link_to(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ids_of_spans_differ() {
        let ids = Ids::new(Arc::new(crate::model::SystemEntropy)).unwrap();
        let made: std::collections::HashSet<_> = (0..10_000).map(|_| ids.new_span_id()).collect();
        assert_eq!(made.len(), 10_000);
        assert_ne!(ids.new_trace_id(), ids.new_trace_id());
    }
}
