//! Every log event, by name. A caller passes typed values, never a path, a key, a header or a body.
//!
//! Each event is logged once, where the thing is handled. Names are stable: dashboards and alerts quote them.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::trace::{Facts, with_facts};
use super::{CircuitState, ExportOutcome};
use crate::model::{BlobId, RegionId, TenantId, Timestamp};

/// The error and its sources in one line, outermost first.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// A region's store was asked what it really does, and did what a store must. `deleted_kept_s` is how long it keeps what was
/// deleted, where it says so.
pub fn store_probed(
    region: &RegionId,
    create_if_absent: bool,
    whereabouts: &dyn std::fmt::Debug,
    deleted_kept_s: Option<u64>,
) {
    tracing::info!(event = "store_probed", %region, create_if_absent, ?whereabouts, ?deleted_kept_s);
}

/// A region's store has quirks that its file does not declare, or lacks some that it does: it was exchanged or upgraded.
pub fn store_quirks_differ(region: &RegionId, quirks: &[&'static str]) {
    warn!(event = "store_quirks_differ", %region, ?quirks);
}

/// A region's store is left alone, tried, or called again.
pub fn store_circuit(region: &RegionId, before: CircuitState, after: CircuitState) {
    let (before, after) = (before.as_str(), after.as_str());
    warn!(event = "store_circuit", %region, before, after);
}

/// A listener answers.
pub fn listening(what: &'static str, region: &RegionId, address: SocketAddr, tls: bool) {
    info!(event = "listening", what, %region, %address, tls);
}

/// An answered request, as its line tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// What is known of it.
    pub facts: &'a Facts,
    /// Where.
    pub region: &'a RegionId,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Whether it went out to its end.
    pub whole: bool,
    /// From the request's head to the answer's end.
    pub took: Duration,
}

/// A request was answered, to the end of its body; at `info` or, if not `loud`, at `debug`.
pub fn request_served(served: &Served<'_>, loud: bool) {
    let Served { facts, region, status, sent, whole, took } = *served;
    let tenant = facts.tenant().map_or("-", TenantId::as_str);
    let (request, operation) = (facts.request(), facts.operation().as_str());
    let (code, took_us) = (facts.code().unwrap_or("-"), took.as_micros());
    macro_rules! line {
        ($level:ident) => {
            $level!(event = "request_served", request, %region, operation, status, code, tenant, sent, whole, took_us)
        };
    }
    if loud { line!(info) } else { line!(debug) }
}

/// A request failed for a reason of ours (5xx) other than a corrupt record. `error` is the internal message; the client got another one.
pub fn request_failed(status: u16, error: &dyn std::error::Error) {
    // Work that no request asked for has neither.
    let told = with_facts(|facts| (facts.request().to_owned(), facts.operation().as_str()));
    let (request, operation) = told.unwrap_or(("-".into(), "-"));
    error!(event = "request_failed", request, operation, status, error = chain(error));
}

/// An answer's body could not be sent to its end for a reason of ours other than a corrupt record; the connection is reset.
pub fn answer_broken_off(error: &dyn std::error::Error) {
    let request = with_facts(|facts| facts.request().to_owned()).unwrap_or("-".into());
    error!(event = "answer_broken_off", request, error = chain(error));
}

/// A region's collector does not take what is sent to it; requests are served all the same.
pub fn collector_failed(region: &RegionId, outcome: ExportOutcome) {
    warn!(event = "collector_failed", %region, outcome = outcome.as_str());
}

/// A region's collector takes exports again.
pub fn collector_recovered(region: &RegionId) {
    info!(event = "collector_recovered", %region);
}

/// A sealed record did not open, or a blob of it is missing. `request` is the id of the request that met it, or names the
/// scrubber's pass and the blob. No name of the record: the audit log has its pseudonyms.
pub fn record_corrupt(request: &str, region: &RegionId, error: &dyn std::error::Error) {
    error!(event = "record_corrupt", request, %region, error = chain(error));
}

/// Blobs that are not in the index, or not of this region, were found in the store. Nothing is wrong with what is served.
pub fn blobs_unknown(region: &RegionId, unknown: u64, elsewhere: u64, foreign_names: u64) {
    warn!(event = "blobs_unknown", %region, unknown, elsewhere, foreign_names);
}

/// A blob says that it was sealed for another region or environment, or is none of ours: somebody else writes into this store.
pub fn blob_elsewhere(region: &RegionId, blob: BlobId, what: &str) {
    error!(event = "blob_elsewhere", %region, %blob, what);
}

/// A pass of the scrubber is over.
pub fn scrub_ended(
    region: &RegionId,
    pass: u64,
    verified: u64,
    damaged: u64,
    unreadable: u64,
    took: Duration,
) {
    info!(event = "scrub_ended", %region, pass, verified, damaged, unreadable, took_s = took.as_secs());
}

/// A pass of the scrubber stopped before its end; it goes on there.
pub fn scrub_interrupted(region: &RegionId, pass: u64, why: &str) {
    warn!(event = "scrub_interrupted", %region, pass, why);
}

/// A pass of the scrubber failed; the next one goes on where it was.
pub fn scrub_failed(region: &RegionId, error: &dyn std::error::Error) {
    warn!(event = "scrub_failed", %region, error = chain(error));
}

/// The audit log failed to commit; requests are answered 503 until it does.
pub fn audit_failed(error: &dyn std::error::Error) {
    error!(event = "audit_failed", error = chain(error));
}

/// The audit log commits again.
pub fn audit_recovered() {
    info!(event = "audit_recovered");
}

/// Bytes behind the audit log's last whole record were cut off: a crash left them.
pub fn audit_repaired(bytes: u64) {
    warn!(event = "audit_repaired", bytes);
}

/// Accepting a connection failed, for instance for want of file descriptors.
pub fn accept_failed(error: &std::io::Error) {
    warn!(event = "accept_failed", %error);
}

/// A connection ended with an error. Peers cause these at will, so they are no warning.
pub fn connection_failed(why: &dyn Display) {
    debug!(event = "connection_failed", %why);
}

/// A panic of ours ended a request. What it said is not repeated: it may quote a record's name.
pub fn request_panicked(what: &'static str) {
    error!(event = "request_panicked", what);
}

/// Code panicked. Only where: what it said may quote a record's name.
pub fn panicked(file: &str, line: u32) {
    error!(event = "panicked", file, line);
}

/// Fewer connections will be taken than were asked for: the system lets us open no more files.
pub fn connections_lowered(asked: u64, taken: u64, files: u64) {
    warn!(
        event = "connections_lowered",
        asked, taken, files, "raise the limit on open files, or lower connections-max"
    );
}

/// A listener's certificate was replaced while serving.
pub fn certificate_reloaded(file: &Path, not_after: Timestamp) {
    info!(event = "certificate_reloaded", file = %file.display(), %not_after);
}

/// A new certificate, or its key, cannot be used; the one before stays.
pub fn certificate_kept(file: &Path, error: &dyn std::error::Error) {
    error!(event = "certificate_kept", file = %file.display(), error = chain(error));
}

/// Credentials of the store, the index, the key store or the collector were replaced while serving.
pub fn credentials_reloaded(region: &RegionId, by: &'static str) {
    info!(event = "credentials_reloaded", %region, by);
}

/// New credentials of the store, the index, the key store or the collector cannot be read, or may not be used; the ones before stay.
pub fn credentials_kept(region: &RegionId, by: &'static str, error: &dyn std::error::Error) {
    error!(event = "credentials_kept", %region, by, error = chain(error));
}

/// The drain began.
pub fn draining(what: &'static str, connections: usize) {
    info!(event = "draining", what, connections);
}

/// The drain ended.
pub fn drained(what: &'static str, finished: usize, aborted: usize) {
    info!(event = "drained", what, finished, aborted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_source_once() {
        assert_eq!(chain(&Outer(std::io::Error::other("inner"))), "outer: inner");
    }
}
