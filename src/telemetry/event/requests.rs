//! What happens to a request, and to the connection it came over.

use std::fmt::Display;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::super::trace::{Facts, with_facts};
use super::chain;
use crate::model::{RegionId, TenantId};

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

/// A panic of ours ended a request. What it said is not repeated: it may quote a record's name.
pub fn request_panicked(what: &'static str) {
    error!(event = "request_panicked", what);
}

/// Code panicked. Only where: what it said may quote a record's name.
pub fn panicked(file: &str, line: u32) {
    error!(event = "panicked", file, line);
}

/// Accepting a connection failed, for instance for want of file descriptors.
pub fn accept_failed(error: &std::io::Error) {
    warn!(event = "accept_failed", %error);
}

/// A connection ended with an error. Peers cause these at will, so they are no warning.
pub fn connection_failed(why: &dyn Display) {
    debug!(event = "connection_failed", %why);
}
