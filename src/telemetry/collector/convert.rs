//! Families and spans as OTLP messages.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use prost::Message;

use crate::model::Timestamp;
use crate::telemetry::family::{Family, Kind, Point, Value};
use crate::telemetry::metrics::DURATION_BOUNDS_US;
use crate::telemetry::names::{SCOPE, attribute};

/// Nanoseconds in a millisecond.
const NANOS: u64 = 1_000_000;

/// The export of `spans`.
pub(super) fn spans(spans: Vec<Span>, of: &ResourceAttributesWithSchema) -> Bytes {
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, schema_url: String::new() }];
    let export = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource(of)),
            scope_spans,
            schema_url: String::new(),
        }],
    };
    export.encode_to_vec().into()
}

/// The export of `families`, cumulative since `begun`.
pub(super) fn metrics(
    families: &[Family],
    of: &ResourceAttributesWithSchema,
    begun: Timestamp,
    now: Timestamp,
) -> Bytes {
    let period = Period { begun: begun.millis() * NANOS, now: now.millis() * NANOS };
    let metrics = families.iter().filter(|family| !family.points.is_empty());
    let scope_metrics = vec![ScopeMetrics {
        scope: Some(scope()),
        metrics: metrics.map(|family| period.metric(family)).collect(),
        schema_url: String::new(),
    }];
    let export = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(of)),
            scope_metrics,
            schema_url: String::new(),
        }],
    };
    export.encode_to_vec().into()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

fn resource(of: &ResourceAttributesWithSchema) -> Resource {
    Resource { attributes: of.attributes.0.clone(), ..Resource::default() }
}

/// The time that values are of.
#[derive(Clone, Copy)]
struct Period {
    begun: u64,
    now: u64,
}

impl Period {
    fn metric(self, family: &Family) -> Metric {
        let cumulative = AggregationTemporality::Cumulative.into();
        let data = match family.kind {
            Kind::Counter => metric::Data::Sum(Sum {
                data_points: self.numbers(&family.points),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            Kind::Gauge => metric::Data::Gauge(Gauge { data_points: self.numbers(&family.points) }),
            Kind::Histogram => metric::Data::Histogram(Histogram {
                data_points: family.points.iter().filter_map(|point| self.histogram(point)).collect(),
                aggregation_temporality: cumulative,
            }),
        };
        Metric {
            name: family.dotted(),
            description: family.help.into(),
            unit: family.unit().into(),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn numbers(self, points: &[Point]) -> Vec<NumberDataPoint> {
        let number = |point: &Point| {
            let value = match point.value {
                Value::Counter(value) => i64::try_from(value).unwrap_or(i64::MAX),
                Value::Gauge(value) => value,
                Value::Histogram { .. } => return None,
            };
            Some(NumberDataPoint {
                attributes: attributes(&point.labels),
                start_time_unix_nano: self.begun,
                time_unix_nano: self.now,
                value: Some(number_data_point::Value::AsInt(value)),
                ..NumberDataPoint::default()
            })
        };
        points.iter().filter_map(number).collect()
    }

    fn histogram(self, point: &Point) -> Option<HistogramDataPoint> {
        let Value::Histogram { buckets, sum_us } = point.value else { return None };
        Some(HistogramDataPoint {
            attributes: attributes(&point.labels),
            start_time_unix_nano: self.begun,
            time_unix_nano: self.now,
            count: buckets.iter().sum(),
            sum: Some(seconds(sum_us)),
            bucket_counts: buckets.to_vec(),
            explicit_bounds: DURATION_BOUNDS_US.iter().map(|us| seconds(*us)).collect(),
            ..HistogramDataPoint::default()
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "OTLP has doubles: exact to a microsecond for 285 years of durations"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn attributes(labels: &[(&'static str, &'static str)]) -> Vec<KeyValue> {
    let attribute = |(key, text): &(&'static str, &'static str)| {
        // By the semantic conventions a status is a number.
        let number = (*key == attribute::STATUS).then(|| text.parse().ok()).flatten();
        let value = number
            .map_or_else(|| any_value::Value::StringValue((*text).to_owned()), any_value::Value::IntValue);
        KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    };
    labels.iter().map(attribute).collect()
}
