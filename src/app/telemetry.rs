//! A region's way to its collector, as its file and the settings say. Two regions of one process have two, and share nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::settings::{Limits, RequestLog, Telemetry};
use crate::telemetry::{Collector, CollectorSettings};

use super::credentials::{self, InUse};
use super::site::under;
use super::{Site, StartError};

/// Starts the region's exports, and who they are made as; `None` if its file names no collector: then nothing is sent.
pub(super) fn start(
    site: &Arc<Site>,
    limits: &Limits,
    telemetry: Telemetry,
) -> Result<Option<(Collector, InUse)>, StartError> {
    let Some(to) = &site.region().telemetry else { return Ok(None) };
    let region = site.region().id.clone();
    let headers = credentials::collector(&to.headers)
        .map_err(|source| StartError::Site { region: region.clone(), source: Box::new(source) })?;
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let settings = CollectorSettings {
        endpoint: to.otlp.to_string(),
        ca_file: to.ca_file.as_ref().map(|file| under(&site.parts.settings.state_dir, file)),
        headers: headers.clone(),
        region: region.clone(),
        environment: site.environment().clone(),
        traced_per_million: u32::try_from(limits.telemetry_traced_per_million).unwrap_or(u32::MAX),
        link_inbound: telemetry.link_inbound,
        spans_queued_max: size(limits.telemetry_spans_queued_max),
        batch_bytes_max: size(limits.telemetry_batch_bytes_max),
        interval: Duration::from_millis(limits.telemetry_interval_ms),
        metrics_interval: Duration::from_millis(limits.telemetry_metrics_interval_ms),
        timeout: Duration::from_millis(limits.telemetry_timeout_ms),
        flush_max: Duration::from_millis(limits.telemetry_flush_ms_max),
    };
    let read = Arc::clone(site);
    let collector = Collector::start(
        &settings,
        Arc::clone(site.metrics()),
        Arc::new(move || read.refresh_metrics()),
        Arc::clone(site.clock()),
        Arc::clone(&site.parts.entropy),
    );
    let collector = collector.map_err(|source| StartError::Collector { region, source: Box::new(source) })?;
    Ok(Some((collector, InUse { by: "collector", identity: Arc::new(headers) })))
}

/// The level of a request's line, as the stack takes it.
pub(super) const fn line(telemetry: Telemetry) -> Option<bool> {
    match telemetry.request_log {
        RequestLog::Off => None,
        RequestLog::Debug => Some(false),
        RequestLog::Info => Some(true),
    }
}
