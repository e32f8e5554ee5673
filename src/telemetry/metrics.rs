//! Every metric of the process: a fixed set of atomics, with labels that are enums.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::labels::{ExportOutcome, Method, Signal, SpanFate, Status};
use super::values::{
    AuditEvent, CircuitState, Direction, IndexVerb, KeyVerb, Label, MetBy, Operation, RefusalCode,
    ScrubOutcome, ShareEvent, Shared, StatusClass, StoreOutcome, StoreRefusal, StoreVerb,
};
use super::{Stage, stage};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// The present value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `by`, which may be negative.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Puts it to `value`.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The present value.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one until the answer is dropped.
    pub fn hold(&self) -> impl Drop + '_ {
        struct Held<'a>(&'a Gauge);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.add(-1);
            }
        }
        self.add(1);
        Held(self)
    }
}

/// Upper bounds of a duration's buckets, in microseconds: from a cached HEAD to a store that hangs.
pub(super) const DURATION_BOUNDS_US: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 5_000_000, 15_000_000];

/// How long something took, in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    pub(super) buckets: [AtomicU64; DURATION_BOUNDS_US.len() + 1],
    pub(super) sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = DURATION_BOUNDS_US.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

/// One `T` for each value of a label.
pub(super) struct By<L: Label, T> {
    pub(super) values: Box<[T]>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label, T: Default> Default for By<L, T> {
    fn default() -> Self {
        Self { values: (0..L::COUNT).map(|_| T::default()).collect(), label: std::marker::PhantomData }
    }
}

impl<L: Label, T> By<L, T> {
    pub(super) fn at(&self, label: L) -> &T {
        &self.values[label.index()]
    }
}

impl<L: Label, T> fmt::Debug for By<L, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "By({} values)", self.values.len())
    }
}

/// The process's metrics. One per process in production; each test has its own.
///
/// Everything is an atomic, so recording neither locks nor allocates. The names they are exposed under are in `expose.rs`.
#[derive(Debug, Default)]
pub struct Metrics {
    pub(super) requests: By<Operation, By<StatusClass, Counter>>,
    pub(super) durations: By<Operation, Histogram>,
    pub(super) http: By<Method, By<Status, Histogram>>,
    pub(super) body_bytes: By<Direction, Counter>,
    pub(super) in_flight: Gauge,
    pub(super) refusals: By<RefusalCode, Counter>,
    pub(super) redirects: Counter,
    pub(super) store: By<StoreVerb, By<StoreOutcome, Counter>>,
    pub(super) store_durations: By<StoreVerb, Histogram>,
    pub(super) store_calls: By<StoreVerb, Histogram>,
    pub(super) store_refusals: By<StoreRefusal, Counter>,
    pub(super) store_retries: Counter,
    pub(super) store_in_flight: Gauge,
    pub(super) store_waiting: Gauge,
    pub(super) store_circuit: Gauge,
    pub(super) index: By<IndexVerb, Counter>,
    pub(super) index_durations: By<IndexVerb, Histogram>,
    pub(super) index_refusals: Counter,
    pub(super) keys: By<KeyVerb, By<StoreOutcome, Counter>>,
    pub(super) key_durations: By<KeyVerb, Histogram>,
    pub(super) audit: By<AuditEvent, Counter>,
    pub(super) audit_commits: Histogram,
    pub(super) audit_sequence: Gauge,
    pub(super) memory_used_bytes: Gauge,
    pub(super) memory_limit_bytes: Gauge,
    pub(super) store_located: Gauge,
    pub(super) store_adrift: Gauge,
    pub(super) store_deleted_kept_s: Gauge,
    pub(super) shares: By<Shared, By<ShareEvent, Counter>>,
    pub(super) shares_used: By<Shared, Gauge>,
    pub(super) strangers_refused: Counter,
    pub(super) connections: Gauge,
    pub(super) connections_refused: Counter,
    pub(super) connections_timed_out: Counter,
    pub(super) handshakes_failed: Counter,
    pub(super) spans: By<SpanFate, Counter>,
    pub(super) spans_queued: Gauge,
    pub(super) exports: By<Signal, By<ExportOutcome, Counter>>,
    pub(super) records_corrupt: By<MetBy, Counter>,
    pub(super) scrubbed: By<ScrubOutcome, Counter>,
    pub(super) scrubbed_bytes: Counter,
    pub(super) scrub_progress_permille: Gauge,
    pub(super) scrub_damaged: Gauge,
    pub(super) scrub_unknown: Gauge,
    pub(super) scrub_ended_seconds: Gauge,
    pub(super) panics: Counter,
    pub(super) certificate_not_after: Gauge,
    pub(super) certificate_reloads: Counter,
    pub(super) certificate_reloads_failed: Counter,
    pub(super) credential_reloads: Counter,
    pub(super) credential_reloads_failed: Counter,
}

impl Metrics {
    /// A request was answered: its head after `took`.
    pub fn request(&self, operation: Operation, status: u16, took: Duration) {
        self.requests.at(operation).at(StatusClass::of(status)).increment();
        self.durations.at(operation).observe(took);
    }

    /// Requests of this kind that were answered with this class of status.
    pub fn requests(&self, operation: Operation, class: StatusClass) -> &Counter {
        self.requests.at(operation).at(class)
    }

    /// Bytes of bodies, of requests (in) and answers (out).
    pub fn body_bytes(&self, direction: Direction) -> &Counter {
        self.body_bytes.at(direction)
    }

    /// Requests that are being served.
    pub fn in_flight(&self) -> &Gauge {
        &self.in_flight
    }

    /// An HTTP request was answered: its head after `took`.
    pub fn http(&self, method: Method, status: u16, took: Duration) {
        self.http.at(method).at(Status::of(status)).observe(took);
    }

    /// Requests that were refused, by reason.
    pub fn refusals(&self, code: RefusalCode) -> &Counter {
        self.refusals.at(code)
    }

    /// Requests that were sent to another region.
    pub fn redirects(&self) -> &Counter {
        &self.redirects
    }

    /// A blob store answered, or failed to.
    pub fn store_request(&self, verb: StoreVerb, outcome: StoreOutcome, took: Duration) {
        self.store.at(verb).at(outcome).increment();
        self.store_durations.at(verb).observe(took);
    }

    /// Requests to blob stores, each attempt counted.
    pub fn store_requests(&self, verb: StoreVerb, outcome: StoreOutcome) -> &Counter {
        self.store.at(verb).at(outcome)
    }

    /// Requests to blob stores with this verb, whatever came of them.
    pub fn store_requests_total(&self, verb: StoreVerb) -> u64 {
        self.store.at(verb).values.iter().map(Counter::value).sum()
    }

    /// A call to the blob store ended, after waiting, tries and pauses.
    pub fn store_call(&self, verb: StoreVerb, took: Duration) {
        self.store_calls.at(verb).observe(took);
    }

    /// Calls that did not reach the blob store, or not once more.
    pub fn store_refusals(&self, why: StoreRefusal) -> &Counter {
        self.store_refusals.at(why)
    }

    /// Attempts beyond a call's first.
    pub fn store_retries(&self) -> &Counter {
        &self.store_retries
    }

    /// Attempts under way to the blob store.
    pub fn store_in_flight(&self) -> &Gauge {
        &self.store_in_flight
    }

    /// Attempts that wait for a place.
    pub fn store_waiting(&self) -> &Gauge {
        &self.store_waiting
    }

    /// The blob store's circuit is now this.
    pub fn store_circuit(&self, state: CircuitState) {
        self.store_circuit.set(state as i64);
    }

    /// What the blob store's circuit is.
    pub fn store_circuit_state(&self) -> CircuitState {
        let value = usize::try_from(self.store_circuit.value()).unwrap_or_default();
        CircuitState::ALL.get(value).copied().unwrap_or(CircuitState::Closed)
    }

    /// Round trips to the index.
    pub fn index_round_trips(&self, verb: IndexVerb) -> &Counter {
        self.index.at(verb)
    }

    /// Makes one round trip to the index: counted, timed, and with a span where the request is traced.
    pub async fn round_trip<T, E>(
        &self,
        verb: IndexVerb,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.index.at(verb).increment();
        let started = Instant::now();
        let span = match verb {
            IndexVerb::Read => Stage::IndexRead,
            IndexVerb::Write => Stage::IndexWrite,
        };
        let done = stage(span, work).await;
        self.index_durations.at(verb).observe(started.elapsed());
        done
    }

    /// Requests that the index turned away for want of a place.
    pub fn index_refusals(&self) -> &Counter {
        &self.index_refusals
    }

    /// How long round trips to the index took.
    pub fn index_durations(&self, verb: IndexVerb) -> &Histogram {
        self.index_durations.at(verb)
    }

    /// How long calls to a key service took.
    pub fn key_durations(&self, verb: KeyVerb) -> &Histogram {
        self.key_durations.at(verb)
    }

    /// What became of ended spans.
    pub fn spans(&self, fate: SpanFate) -> &Counter {
        self.spans.at(fate)
    }

    /// Ended spans that wait to be sent.
    pub fn spans_queued(&self) -> &Gauge {
        &self.spans_queued
    }

    /// Requests to the collector, each try counted.
    pub fn exports(&self, signal: Signal, outcome: ExportOutcome) -> &Counter {
        self.exports.at(signal).at(outcome)
    }

    /// Calls to a key service.
    pub fn key_calls(&self, verb: KeyVerb, outcome: StoreOutcome) -> &Counter {
        self.keys.at(verb).at(outcome)
    }

    /// What happened in the audit log.
    pub fn audit(&self, event: AuditEvent) -> &Counter {
        self.audit.at(event)
    }

    /// How long the audit log's commits took.
    pub fn audit_commits(&self) -> &Histogram {
        &self.audit_commits
    }

    /// The sequence number of the last durable audit record. Scraped elsewhere, it shows a log that was put back.
    pub fn audit_sequence(&self) -> &Gauge {
        &self.audit_sequence
    }

    /// Bytes taken from the memory budget.
    pub fn memory_used_bytes(&self) -> &Gauge {
        &self.memory_used_bytes
    }

    /// The memory budget.
    pub fn memory_limit_bytes(&self) -> &Gauge {
        &self.memory_limit_bytes
    }

    /// When the store last said that it is where it must be; seconds since 1970.
    pub fn store_located(&self) -> &Gauge {
        &self.store_located
    }

    /// 1 while the store is not where it must be, and takes no writes.
    pub fn store_adrift(&self) -> &Gauge {
        &self.store_adrift
    }

    /// How long the store keeps what was deleted, in seconds, as it last said.
    pub fn store_deleted_kept_s(&self) -> &Gauge {
        &self.store_deleted_kept_s
    }

    /// Claims on a share that were not served at once.
    pub fn share_event(&self, what: Shared, event: ShareEvent) -> &Counter {
        self.shares.at(what).at(event)
    }

    /// How much of a shared thing is handed out.
    pub fn share_used(&self, what: Shared) -> &Gauge {
        self.shares_used.at(what)
    }

    /// Requests refused before their signature was looked at, because too many strangers asked.
    pub fn strangers_refused(&self) -> &Counter {
        &self.strangers_refused
    }

    /// Open connections.
    pub fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// Connections turned away because there were too many.
    pub fn connections_refused(&self) -> &Counter {
        &self.connections_refused
    }

    /// Connections closed because the other side was too slow.
    pub fn connections_timed_out(&self) -> &Counter {
        &self.connections_timed_out
    }

    /// TLS handshakes that failed or took too long.
    pub fn handshakes_failed(&self) -> &Counter {
        &self.handshakes_failed
    }

    /// Sealed records that did not open, or whose blobs were missing: each time that one was met.
    pub fn records_corrupt(&self, by: MetBy) -> &Counter {
        self.records_corrupt.at(by)
    }

    /// What the scrubber made of blobs.
    pub fn scrubbed(&self, outcome: ScrubOutcome) -> &Counter {
        self.scrubbed.at(outcome)
    }

    /// Stored bytes that the scrubber verified.
    pub fn scrubbed_bytes(&self) -> &Counter {
        &self.scrubbed_bytes
    }

    /// How much of its phase the pass under way has done, in thousandths.
    pub fn scrub_progress_permille(&self) -> &Gauge {
        &self.scrub_progress_permille
    }

    /// Blobs that the last whole pass of this process found missing or corrupt.
    pub fn scrub_damaged(&self) -> &Gauge {
        &self.scrub_damaged
    }

    /// Blobs that the last whole pass of this process found in the store and not in the index.
    pub fn scrub_unknown(&self) -> &Gauge {
        &self.scrub_unknown
    }

    /// When the last whole pass of this process ended, in seconds since 1970; 0: none yet.
    pub fn scrub_ended_seconds(&self) -> &Gauge {
        &self.scrub_ended_seconds
    }

    /// Requests that a panic of ours ended.
    pub fn panics(&self) -> &Counter {
        &self.panics
    }

    /// When the listener's certificate ends, in seconds since 1970.
    pub fn certificate_not_after(&self) -> &Gauge {
        &self.certificate_not_after
    }

    /// Certificates that were replaced while serving.
    pub fn certificate_reloads(&self) -> &Counter {
        &self.certificate_reloads
    }

    /// Certificates that could not be used; the one before was kept.
    pub fn certificate_reloads_failed(&self) -> &Counter {
        &self.certificate_reloads_failed
    }

    /// Credentials of store, databases or collector that were replaced while serving.
    pub fn credential_reloads(&self) -> &Counter {
        &self.credential_reloads
    }

    /// Credentials of store, databases or collector that could not be read or used; the ones before were kept.
    pub fn credential_reloads_failed(&self) -> &Counter {
        &self.credential_reloads_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_operation_becomes_other() {
        assert_eq!(Operation::named("PutObject"), Operation::PutObject);
        assert_eq!(Operation::named("ListObjectsV2"), Operation::ListObjects);
        assert_eq!(Operation::named("jeanne-martin/ecg"), Operation::Other);
        assert_eq!(Operation::named(""), Operation::Other);
    }

    #[test]
    fn a_number_that_is_no_status_counts_as_ours() {
        assert_eq!(StatusClass::of(0), StatusClass::Server);
        assert_eq!(StatusClass::of(999), StatusClass::Server);
        assert_eq!(StatusClass::of(404), StatusClass::Client);
    }

    #[test]
    fn a_duration_on_the_border_of_a_bucket_belongs_below_it() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(250));
        histogram.observe(Duration::from_micros(251));
        histogram.observe(Duration::from_hours(1));
        let counts: Vec<u64> = histogram.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        assert_eq!((counts[0], counts[1], counts[DURATION_BOUNDS_US.len()]), (1, 1, 1));
        assert_eq!(histogram.count(), 3);
    }

    #[test]
    fn a_held_gauge_falls_back_on_drop() {
        let gauge = Gauge::default();
        {
            let _one = gauge.hold();
            let _two = gauge.hold();
            assert_eq!(gauge.value(), 2);
        }
        assert_eq!(gauge.value(), 0);
    }
}
