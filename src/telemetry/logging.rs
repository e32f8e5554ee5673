//! Logging set-up: where log lines go, in what shape, and which of them can never be turned on.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that holds the filter, in `tracing-subscriber`'s syntax; without it, `info`.
pub const FILTER_VARIABLE: &str = "TERROIR_LOG";

/// The shape of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not in the syntax.
    #[error("the log filter is not valid")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Somebody else in this process set a subscriber up before.
    #[error("logging is already set up")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Logs to standard error from here on. `filter` is the content of [`FILTER_VARIABLE`], if it was set.
pub fn init_logging(format: LogFormat, filter_text: Option<&str>) -> Result<(), LoggingError> {
    let capped = filter(filter_text.unwrap_or("info"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry();
    match format {
        LogFormat::Text => registry.with(lines.with_ansi(false).with_filter(capped)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(capped)).try_init(),
    }
    .map_err(LoggingError::Twice)
}

/// The filter: what `text` asks for, but from code that is not ours never more than `WARN`.
///
/// Libraries print what they handle: hyper and the SDK print heads and paths at debug and trace level, sqlx prints
/// statements, and with them the names of records. A filter is easily set to `trace` in an incident, and what it lets
/// through stays in the log store for years; so the cap is not in the filter's text but behind it. It names what is allowed
/// (our own targets), because a list of what is forbidden would miss the next dependency.
pub fn filter<S>(text: &str) -> Result<impl tracing_subscriber::layer::Filter<S> + use<S>, LoggingError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let asked = EnvFilter::try_new(text).map_err(LoggingError::Filter)?;
    Ok(asked.and(FilterFn::new(is_allowed)))
}

/// Our own targets at any level, all others down to `WARN`.
fn is_allowed(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == "terroir" || target.starts_with("terroir::");
    ours || *metadata.level() <= LevelFilter::WARN
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter_text: &str, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter(filter_text).unwrap()));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_filter_makes_a_library_print_requests() {
        for text in ["trace", "hyper=trace,aws_smithy_runtime=debug,sqlx=trace", "terroir=trace,hyper=trace"]
        {
            let page = logged(text, || {
                tracing::trace!(target: "hyper::proto::h1", "GET /marker");
                tracing::debug!(target: "aws_smithy_runtime::client", "marker");
                tracing::info!(target: "sqlx::query", "marker");
                // A name that only begins like ours.
                tracing::info!(target: "terroirist", "marker");
            });
            assert!(!page.contains("marker"), "{text}: {page}");
        }
    }

    #[test]
    fn warnings_of_libraries_and_our_own_lines_are_kept() {
        let page = logged("trace", || {
            tracing::warn!(target: "hyper::proto", "one");
            tracing::trace!(target: "terroir::audit", "two");
        });
        assert!(page.contains("one") && page.contains("two"), "{page}");
    }

    #[test]
    fn the_default_is_info() {
        let page = logged("info", || {
            tracing::debug!(target: "terroir::audit", "hidden");
            tracing::info!(target: "terroir::audit", "shown");
        });
        assert!(page.contains("shown") && !page.contains("hidden"), "{page}");
    }

    #[test]
    fn a_broken_filter_is_an_error_not_silence() {
        assert!(filter::<tracing_subscriber::Registry>("terroir=loud").is_err());
    }
}
