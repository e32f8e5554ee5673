//! What a process says about the requests it serves. Where that goes is the catalogue's; how much of it at most, the limits'.

use std::fmt;

use serde::Deserialize;

/// How requests are told of. The numbers (sampling, queues, intervals) are among the limits, `telemetry-*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Telemetry {
    /// The level of the line that each answered request writes to the log.
    pub request_log: RequestLog,
    /// Whether a caller's `traceparent` becomes a *link* of our trace. Never its parent: a stranger would decide what is sampled,
    /// and would name traces of ours.
    pub link_inbound: bool,
}

/// The level of a request's line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestLog {
    /// No line.
    Off,
    /// At `debug`: hidden unless the log's filter asks for it.
    #[default]
    Debug,
    /// At `info`.
    Info,
}

impl RequestLog {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Debug => "debug",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Telemetry {
    /// One `name = value` a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "telemetry.request-log = {}", self.request_log.as_str())?;
        writeln!(f, "telemetry.link-inbound = {}", self.link_inbound)
    }
}
