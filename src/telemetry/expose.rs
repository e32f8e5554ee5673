//! The metrics as text: Prometheus exposition format 0.0.4. Every exposed name stands here.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::metrics::{By, Counter, DURATION_BOUNDS_US, Gauge, Histogram, Label};
use super::{Metrics, RefusalCode};

impl Metrics {
    /// The content type of [`Metrics::expose`]'s text.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// All metrics as text. Zeroes are written too, except in families with two labels, where they would be the most of it.
    pub fn expose(&self) -> String {
        let mut page = Page(String::with_capacity(16 * 1024));
        self.expose_front(&mut page);
        self.expose_back(&mut page);
        page.0
    }

    /// What clients did.
    fn expose_front(&self, page: &mut Page) {
        page.counters2(
            "terroir_requests_total",
            "Requests answered.",
            ["operation", "status"],
            &self.requests,
        );
        page.histograms(
            "terroir_request_duration_seconds",
            "Time to the head of the answer.",
            "operation",
            &self.durations,
        );
        page.counters("terroir_body_bytes_total", "Bytes of bodies.", "direction", &self.body_bytes);
        page.gauge("terroir_requests_in_flight", "Requests being served.", &self.in_flight);
        page.counters::<RefusalCode>(
            "terroir_refusals_total",
            "Requests refused, by reason.",
            "code",
            &self.refusals,
        );
        page.counter("terroir_redirects_total", "Requests sent to another region.", &self.redirects);
        page.gauge("terroir_connections", "Open connections.", &self.connections);
        page.counter(
            "terroir_connections_refused_total",
            "Connections beyond the limit.",
            &self.connections_refused,
        );
        page.counter(
            "terroir_connections_timed_out_total",
            "Connections whose other side was too slow.",
            &self.connections_timed_out,
        );
        page.counter(
            "terroir_handshakes_failed_total",
            "TLS handshakes that failed.",
            &self.handshakes_failed,
        );
        self.expose_process(page);
    }

    /// What the process went through.
    fn expose_process(&self, page: &mut Page) {
        page.counter("terroir_panics_total", "Requests that a panic ended.", &self.panics);
        page.gauge(
            "terroir_certificate_not_after_seconds",
            "When the listener's certificate ends, in seconds since 1970; 0 without TLS.",
            &self.certificate_not_after,
        );
        page.counter(
            "terroir_certificate_reloads_total",
            "Certificates replaced while serving.",
            &self.certificate_reloads,
        );
        page.counter(
            "terroir_certificate_reloads_failed_total",
            "New certificates that could not be used; the one before was kept.",
            &self.certificate_reloads_failed,
        );
        page.counter(
            "terroir_credential_reloads_total",
            "Credentials of the store replaced while serving.",
            &self.credential_reloads,
        );
        page.counter(
            "terroir_credential_reloads_failed_total",
            "New credentials of the store that could not be read; the ones before were kept.",
            &self.credential_reloads_failed,
        );
    }

    /// What we asked of others, and of the machine.
    fn expose_back(&self, page: &mut Page) {
        page.counters2(
            "terroir_store_requests_total",
            "Requests to blob stores, every attempt.",
            ["verb", "outcome"],
            &self.store,
        );
        page.histograms(
            "terroir_store_request_duration_seconds",
            "Time a blob store took.",
            "verb",
            &self.store_durations,
        );
        page.counters("terroir_index_round_trips_total", "Round trips to the index.", "verb", &self.index);
        page.counters2(
            "terroir_key_calls_total",
            "Calls to the key service.",
            ["verb", "outcome"],
            &self.keys,
        );
        page.counters("terroir_audit_events_total", "What happened in the audit log.", "event", &self.audit);
        page.histogram(
            "terroir_audit_commit_duration_seconds",
            "Time of an audit commit.",
            &self.audit_commits,
        );
        page.gauge("terroir_audit_sequence", "The last durable audit record.", &self.audit_sequence);
        page.gauge("terroir_memory_used_bytes", "Taken from the memory budget.", &self.memory_used_bytes);
        page.gauge("terroir_memory_limit_bytes", "The memory budget.", &self.memory_limit_bytes);
    }
}

/// The text in the making. Writing to a `String` cannot fail, so results are dropped.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.head(name, help, "counter");
        let _ = writeln!(self.0, "{name} {}", counter.value());
    }

    fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "{name} {}", gauge.value());
    }

    fn counters<L: Label>(&mut self, name: &str, help: &str, label: &str, family: &By<L, Counter>) {
        self.head(name, help, "counter");
        for (text, counter) in L::texts().zip(&family.values) {
            let _ = writeln!(self.0, "{name}{{{label}=\"{text}\"}} {}", counter.value());
        }
    }

    fn counters2<A: Label, B: Label>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        family: &By<A, By<B, Counter>>,
    ) {
        self.head(name, help, "counter");
        for (a, row) in A::texts().zip(&family.values) {
            for (b, counter) in B::texts().zip(&row.values).filter(|(_, counter)| counter.value() > 0) {
                let _ = writeln!(
                    self.0,
                    "{name}{{{}=\"{a}\",{}=\"{b}\"}} {}",
                    labels[0],
                    labels[1],
                    counter.value()
                );
            }
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, help, "histogram");
        self.buckets(name, "", histogram);
    }

    fn histograms<L: Label>(&mut self, name: &str, help: &str, label: &str, family: &By<L, Histogram>) {
        self.head(name, help, "histogram");
        for (text, histogram) in L::texts().zip(&family.values).filter(|(_, histogram)| histogram.count() > 0)
        {
            self.buckets(name, &format!("{label}=\"{text}\""), histogram);
        }
    }

    fn buckets(&mut self, name: &str, label: &str, histogram: &Histogram) {
        let comma = if label.is_empty() { "" } else { "," };
        let mut total = 0;
        for (index, bucket) in histogram.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = DURATION_BOUNDS_US.get(index).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us));
            let _ = writeln!(self.0, "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {total}");
        }
        let braces = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let _ = writeln!(self.0, "{name}_sum{braces} {}", seconds(histogram.sum_us.load(Ordering::Relaxed)));
        let _ = writeln!(self.0, "{name}_count{braces} {total}");
    }
}

/// Microseconds as decimal seconds, exactly (a float would round sums).
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{Operation, StatusClass, StoreOutcome, StoreVerb};

    #[test]
    fn seconds_are_exact() {
        for (micros, text) in [(0, "0"), (250, "0.00025"), (1_000_000, "1"), (15_000_001, "15.000001")] {
            assert_eq!(seconds(micros), text);
        }
    }

    /// The grammar of the format, as far as we use it: one TYPE per family, no series twice, every line a name and a number.
    #[test]
    fn the_page_follows_the_format() {
        let metrics = Metrics::default();
        metrics.request(Operation::PutObject, 200, Duration::from_millis(3));
        metrics.request(Operation::PutObject, 503, Duration::from_secs(40));
        metrics.store_request(StoreVerb::Get, StoreOutcome::Timeout, Duration::from_secs(1));
        metrics.audit_commits().observe(Duration::from_millis(1));
        let page = metrics.expose();
        let mut families = BTreeSet::new();
        let mut series = BTreeSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(rest.split(' ').next().unwrap().to_owned()), "{line}");
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap();
                assert!(series.insert(name.to_owned()), "twice: {name}");
                let base = name.split('{').next().unwrap();
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| base.strip_suffix(end))
                    .unwrap_or(base);
                assert!(families.contains(family) || families.contains(base), "no TYPE before {name}");
            }
        }
        assert!(page.contains("terroir_requests_total{operation=\"PutObject\",status=\"5xx\"} 1\n"));
        assert!(
            page.contains("terroir_request_duration_seconds_bucket{operation=\"PutObject\",le=\"+Inf\"} 2\n")
        );
        assert!(page.contains("terroir_request_duration_seconds_sum{operation=\"PutObject\"} 40.003\n"));
        assert!(page.contains("terroir_store_requests_total{verb=\"get\",outcome=\"timeout\"} 1\n"));
        assert_eq!(metrics.requests(Operation::PutObject, StatusClass::Server).value(), 1);
    }

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::default();
        for micros in [1, 300, 600, 99_000_000] {
            metrics.audit_commits().observe(Duration::from_micros(micros));
        }
        let page = metrics.expose();
        let counts: Vec<u64> = page
            .lines()
            .filter(|line| line.starts_with("terroir_audit_commit_duration_seconds_bucket"))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert!(counts.is_sorted());
        assert_eq!((counts[0], *counts.last().unwrap()), (1, 4));
    }
}
