//! Every metric by its name, help and labels, once. What is scraped and what is sent to a collector are made from these families,
//! so that both show the same names and numbers.

use super::family::{Family, Kind, Point, Value};
use super::metrics::{By, Counter, Gauge, Histogram};
use super::names::attribute;
use super::values::Label;
use super::{Metrics, RefusalCode, text};

impl Metrics {
    /// The content type of [`Metrics::expose`]'s text.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// All metrics as text, Prometheus exposition format 0.0.4. Zeroes are written too, except in families with two labels and in
    /// histograms, where they would be the most of it.
    pub fn expose(&self) -> String {
        text::page(&self.families())
    }

    /// All metrics at one moment.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut page = Page(Vec::with_capacity(32));
        self.expose_front(&mut page);
        self.expose_store(&mut page);
        self.expose_back(&mut page);
        self.expose_telemetry(&mut page);
        self.expose_scrub(&mut page);
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
        page.histograms2(
            "http_server_request_duration_seconds",
            "Time to the head of the answer, as the semantic conventions of HTTP have it.",
            [attribute::METHOD, attribute::STATUS],
            &self.http,
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
            "Credentials of store, databases or collector replaced while serving.",
            &self.credential_reloads,
        );
        page.counter(
            "terroir_credential_reloads_failed_total",
            "New credentials of store, databases or collector that could not be read or used; the ones before were kept.",
            &self.credential_reloads_failed,
        );
    }

    /// What we asked of the blob store.
    fn expose_store(&self, page: &mut Page) {
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
        page.histograms(
            "terroir_store_call_duration_seconds",
            "Time that callers waited for a blob store: queue, tries and pauses.",
            "verb",
            &self.store_calls,
        );
        page.counters(
            "terroir_store_refusals_total",
            "Calls that did not reach the blob store, or not once more, by reason.",
            "reason",
            &self.store_refusals,
        );
        page.counter(
            "terroir_store_retries_total",
            "Attempts at the blob store beyond a call's first.",
            &self.store_retries,
        );
        page.gauge(
            "terroir_store_located_seconds",
            "When the store last said that it is where it must be; since 1970.",
            &self.store_located,
        );
        page.gauge(
            "terroir_store_adrift",
            "1 while the store is not where it must be, and takes no writes.",
            &self.store_adrift,
        );
        page.gauge(
            "terroir_store_deleted_kept_seconds",
            "How long the store keeps what was deleted, as it last said.",
            &self.store_deleted_kept_s,
        );
        page.gauge("terroir_store_in_flight", "Attempts under way to the blob store.", &self.store_in_flight);
        page.gauge("terroir_store_waiting", "Attempts that wait for a place.", &self.store_waiting);
        page.gauge(
            "terroir_store_circuit",
            "The blob store's circuit: 0 closed, 1 half-open, 2 open.",
            &self.store_circuit,
        );
    }

    /// What we asked of others, and of the machine.
    fn expose_back(&self, page: &mut Page) {
        page.counters("terroir_index_round_trips_total", "Round trips to the index.", "verb", &self.index);
        page.histograms(
            "terroir_index_round_trip_duration_seconds",
            "Time of a round trip to the index.",
            "verb",
            &self.index_durations,
        );
        page.counter(
            "terroir_index_refusals_total",
            "Requests turned away because a queue or a lock of the index was not free in time.",
            &self.index_refusals,
        );
        page.counters2(
            "terroir_key_calls_total",
            "Calls to the key service.",
            ["verb", "outcome"],
            &self.keys,
        );
        page.histograms(
            "terroir_key_call_duration_seconds",
            "Time the key service took.",
            "verb",
            &self.key_durations,
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
        page.counters2(
            "terroir_share_events_total",
            "Claims on a tenant's share that waited, or were refused.",
            ["of", "event"],
            &self.shares,
        );
        page.gauges("terroir_share_used", "Handed out of what tenants share.", "of", &self.shares_used);
        page.counter(
            "terroir_strangers_refused_total",
            "Requests of strangers beyond their rate.",
            &self.strangers_refused,
        );
    }

    /// What became of what we say about ourselves.
    fn expose_telemetry(&self, page: &mut Page) {
        page.counters(
            "terroir_telemetry_spans_total",
            "Ended spans, by what became of them.",
            "outcome",
            &self.spans,
        );
        page.gauge("terroir_telemetry_spans_queued", "Ended spans that wait to be sent.", &self.spans_queued);
        page.counters2(
            "terroir_telemetry_exports_total",
            "Requests to the collector, every try.",
            ["signal", "outcome"],
            &self.exports,
        );
    }
}

impl Metrics {
    /// What the scrubber found, and what it should have found first.
    fn expose_scrub(&self, page: &mut Page) {
        page.counters(
            "terroir_records_corrupt_total",
            "Times that a sealed record did not open, or a blob was missing.",
            "met_by",
            &self.records_corrupt,
        );
        page.counters("terroir_scrub_blobs_total", "Blobs scrubbed.", "outcome", &self.scrubbed);
        page.counter("terroir_scrub_bytes_total", "Stored bytes verified.", &self.scrubbed_bytes);
        page.gauge(
            "terroir_scrub_progress_permille",
            "Of the phase of the pass under way.",
            &self.scrub_progress_permille,
        );
        page.gauge(
            "terroir_scrub_damaged_blobs",
            "Missing or corrupt in the last pass.",
            &self.scrub_damaged,
        );
        page.gauge("terroir_scrub_unknown_blobs", "Unknown in the last pass.", &self.scrub_unknown);
        page.gauge("terroir_scrub_ended_seconds", "When the last pass ended.", &self.scrub_ended_seconds);
    }
}

/// The families in the making.
struct Page(Vec<Family>);

impl Page {
    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind, points: Vec<Point>) {
        self.0.push(Family { name, help, kind, points });
    }

    fn counter(&mut self, name: &'static str, help: &'static str, counter: &Counter) {
        self.family(name, help, Kind::Counter, vec![Point::new([], Value::Counter(counter.value()))]);
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, gauge: &Gauge) {
        self.family(name, help, Kind::Gauge, vec![Point::new([], Value::Gauge(gauge.value()))]);
    }

    fn gauges<L: Label>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        family: &By<L, Gauge>,
    ) {
        let point = |(text, gauge): (_, &Gauge)| Point::new([(label, text)], Value::Gauge(gauge.value()));
        self.family(name, help, Kind::Gauge, L::texts().zip(&family.values).map(point).collect());
    }

    fn counters<L: Label>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        family: &By<L, Counter>,
    ) {
        let point =
            |(text, counter): (_, &Counter)| Point::new([(label, text)], Value::Counter(counter.value()));
        self.family(name, help, Kind::Counter, L::texts().zip(&family.values).map(point).collect());
    }

    fn counters2<A: Label, B: Label>(
        &mut self,
        name: &'static str,
        help: &'static str,
        [first, second]: [&'static str; 2],
        family: &By<A, By<B, Counter>>,
    ) {
        let mut points = Vec::new();
        for (a, row) in A::texts().zip(&family.values) {
            for (b, counter) in B::texts().zip(&row.values).filter(|(_, counter)| counter.value() > 0) {
                points.push(Point::new([(first, a), (second, b)], Value::Counter(counter.value())));
            }
        }
        self.family(name, help, Kind::Counter, points);
    }

    fn histogram(&mut self, name: &'static str, help: &'static str, histogram: &Histogram) {
        self.family(name, help, Kind::Histogram, vec![Point::new([], Value::of(histogram))]);
    }

    fn histograms<L: Label>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        family: &By<L, Histogram>,
    ) {
        let taken = L::texts().zip(&family.values).filter(|(_, histogram)| histogram.count() > 0);
        let points = taken.map(|(text, histogram)| Point::new([(label, text)], Value::of(histogram)));
        self.family(name, help, Kind::Histogram, points.collect());
    }

    fn histograms2<A: Label, B: Label>(
        &mut self,
        name: &'static str,
        help: &'static str,
        [first, second]: [&'static str; 2],
        family: &By<A, By<B, Histogram>>,
    ) {
        let mut points = Vec::new();
        for (a, row) in A::texts().zip(&family.values) {
            for (b, histogram) in B::texts().zip(&row.values).filter(|(_, histogram)| histogram.count() > 0) {
                points.push(Point::new([(first, a), (second, b)], Value::of(histogram)));
            }
        }
        self.family(name, help, Kind::Histogram, points);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{Operation, StatusClass, StoreOutcome, StoreVerb};

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
