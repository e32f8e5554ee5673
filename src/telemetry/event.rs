//! Every log event, by name. A caller passes typed values, never a path, a key, a header or a body.
//!
//! Each event is logged once, where the thing is handled. Names are stable: dashboards and alerts quote them.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::Operation;
use crate::model::{RegionId, TenantId, Timestamp};

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

/// A region's store was asked what it really does, and did what a store must.
pub fn store_probed(region: &RegionId, create_if_absent: bool, whereabouts: &dyn std::fmt::Debug) {
    tracing::info!(event = "store_probed", %region, create_if_absent, ?whereabouts);
}

/// A listener answers.
pub fn listening(what: &'static str, region: &RegionId, address: SocketAddr, tls: bool) {
    info!(event = "listening", what, %region, %address, tls);
}

/// A request was answered.
pub fn request_served(
    request: &str,
    operation: Operation,
    status: u16,
    tenant: Option<&TenantId>,
    took: Duration,
) {
    let tenant = tenant.map_or("-", TenantId::as_str);
    debug!(
        event = "request_served",
        request,
        operation = operation.as_str(),
        status,
        tenant,
        took_us = took.as_micros()
    );
}

/// A request failed for a reason of ours (5xx). `error` is the internal message.
pub fn request_failed(request: &str, operation: Operation, status: u16, error: &dyn std::error::Error) {
    warn!(event = "request_failed", request, operation = operation.as_str(), status, error = chain(error));
}

/// A sealed record did not open.
pub fn record_corrupt(request: &str, region: &RegionId, error: &dyn std::error::Error) {
    error!(event = "record_corrupt", request, %region, error = chain(error));
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

/// The store's credentials were replaced while serving.
pub fn credentials_reloaded(region: &RegionId) {
    info!(event = "credentials_reloaded", %region);
}

/// New credentials of the store cannot be read; the ones before stay.
pub fn credentials_kept(region: &RegionId, error: &dyn std::error::Error) {
    error!(event = "credentials_kept", %region, error = chain(error));
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
