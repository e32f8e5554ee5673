//! A metric's values at one moment, before anybody wrote them in a format.

use std::sync::atomic::Ordering;

use super::metrics::{DURATION_BOUNDS_US, Histogram};

/// What a family measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric with all its points.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// As it is scraped: with its unit and, for a counter, `_total` at the end.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) points: Vec<Point>,
}

impl Family {
    /// The unit, by UCUM, as the name ends; empty for a plain count.
    pub(super) fn unit(&self) -> &'static str {
        let base = self.name.strip_suffix("_total").unwrap_or(self.name);
        match base.rsplit('_').next() {
            Some("seconds") => "s",
            Some("bytes") => "By",
            _ => "",
        }
    }

    /// The name as OpenTelemetry spells it: namespaces with dots, and neither unit nor `_total`, which whoever writes it for
    /// Prometheus puts back.
    pub(super) fn dotted(&self) -> String {
        let base = self.name.strip_suffix("_total").unwrap_or(self.name);
        let base = base.strip_suffix("_seconds").or_else(|| base.strip_suffix("_bytes")).unwrap_or(base);
        match base.strip_prefix("terroir_") {
            Some(ours) => format!("terroir.{ours}"),
            // A name of the semantic conventions.
            None => base.replace('_', "."),
        }
    }
}

/// A value and its labels.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// Keys as OpenTelemetry spells them, values of enums.
    pub(super) labels: Vec<(&'static str, &'static str)>,
    pub(super) value: Value,
}

impl Point {
    pub(super) fn new<const N: usize>(labels: [(&'static str, &'static str); N], value: Value) -> Self {
        Self { labels: labels.into(), value }
    }
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Counter(u64),
    Gauge(i64),
    /// How many durations fell into each bucket (not into those below), and their sum.
    Histogram {
        buckets: [u64; DURATION_BOUNDS_US.len() + 1],
        sum_us: u64,
    },
}

impl Value {
    pub(super) fn of(histogram: &Histogram) -> Self {
        let buckets = std::array::from_fn(|at| histogram.buckets[at].load(Ordering::Relaxed));
        Self::Histogram { buckets, sum_us: histogram.sum_us.load(Ordering::Relaxed) }
    }
}
