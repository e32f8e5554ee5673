//! The shape of a command's log lines.

use crate::settings::{self, Settings};
use crate::telemetry::LogFormat;

use super::Command;

/// What the settings ask for, of those commands that run unattended; text for the others, which people look at.
///
/// Asked before anything is logged, so settings that cannot be read mean text here: the command reads them again, and says what is
/// wrong with them.
pub fn log_format(command: &Command) -> LogFormat {
    let config = match command {
        Command::Serve(args) => Some(&args.config),
        Command::Scrub(args) => args.site.config.as_ref(),
        _ => None,
    };
    match config
        .and_then(|config| Settings::load(config).ok())
        .map(|settings| settings.telemetry.log_format)
        .unwrap_or_default()
    {
        settings::LogFormat::Text => LogFormat::Text,
        settings::LogFormat::Json => LogFormat::Json,
    }
}
