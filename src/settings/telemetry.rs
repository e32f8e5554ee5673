//! What a process says about the requests it serves. Where that goes is the catalogue's; how much of it at most, the limits'.

use std::fmt;

use serde::Deserialize;

/// How requests are told of. The numbers (sampling, queues, intervals) are among the limits, `telemetry-*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Telemetry {
    /// The level of the line that each answered request writes to the log.
    pub request_log: RequestLog,
    /// The shape of the log's lines, of `serve` and `scrub`.
    pub log_format: LogFormat,
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

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for Telemetry {
    /// One `name = value` a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "telemetry.request-log = {}", self.request_log.as_str())?;
        writeln!(f, "telemetry.log-format = {}", self.log_format.as_str())?;
        writeln!(f, "telemetry.link-inbound = {}", self.link_inbound)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    #[test]
    fn json_lines_could_not_be_asked_for() {
        let of = |section: &str| {
            let text = format!("environment = \"prod\"\n[telemetry]\n{section}\n");
            Settings::parse("f", &text).map(|settings| settings.telemetry)
        };
        assert_eq!(of("").unwrap().log_format, LogFormat::Text);
        let json = of("log-format = \"json\"").unwrap();
        assert_eq!(json.log_format, LogFormat::Json);
        assert!(json.to_string().contains("telemetry.log-format = json\n"), "{json}");
        for wrong in ["log-format = \"JSON\"", "log-format = \"\"", "log-format = true"] {
            assert!(of(wrong).unwrap_err().to_string().starts_with("f:3: "), "{wrong}");
        }
    }
}
