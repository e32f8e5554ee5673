//! The process: what it was told, its listeners and certificates, its collectors, its end.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use tracing::{error, info, warn};

use super::super::ExportOutcome;
use super::chain;
use crate::model::{RegionId, Timestamp};

/// A listener answers.
pub fn listening(what: &'static str, region: &RegionId, address: SocketAddr, tls: bool) {
    info!(event = "listening", what, %region, %address, tls);
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
pub fn certificate_kept(file: &Path, error: &dyn Error) {
    error!(event = "certificate_kept", file = %file.display(), error = chain(error));
}

/// A region's collector does not take what is sent to it; requests are served all the same.
pub fn collector_failed(region: &RegionId, outcome: ExportOutcome) {
    warn!(event = "collector_failed", %region, outcome = outcome.as_str());
}

/// A region's collector takes exports again.
pub fn collector_recovered(region: &RegionId) {
    info!(event = "collector_recovered", %region);
}

/// The drain began.
pub fn draining(what: &'static str, connections: usize) {
    info!(event = "draining", what, connections);
}

/// The drain ended.
pub fn drained(what: &'static str, finished: usize, aborted: usize) {
    info!(event = "drained", what, finished, aborted);
}

/// SIGHUP: certificates and credentials are read again.
pub fn reload_asked() {
    info!(event = "reload_asked");
}

/// A setting that is in force, as `name = value`; secrets by reference only.
pub fn setting(line: &str) {
    info!(event = "setting", setting = line);
}

/// Regions are not as their files say.
pub fn overlay_in_force(notice: &str) {
    warn!(event = "overlay_in_force", notice);
}

/// What keeps the process from leaving keys and records behind could not be set up.
pub fn hardening_failed(what: &'static str, error: &dyn Error) {
    warn!(event = "hardening_failed", what, error = chain(error));
}

/// All drains ended, and with them the process.
pub fn process_drained(finished: usize, aborted: usize) {
    info!(event = "process_drained", finished, aborted);
}
