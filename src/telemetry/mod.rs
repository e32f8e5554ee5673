//! Everything the process says about itself, by name: metrics, log set-up, log events, and [`Redacted`].
//!
//! A metric, its help text and its labels are declared in `metrics`, a log event in [`event`], and nowhere else, so that
//! what leaves the process can be read in two files and the exporter can be exchanged without touching a caller. Labels are
//! enums: a stranger cannot grow the set, and no name of a record can become a label.

pub mod event;
mod expose;
mod logging;
mod metrics;
mod redacted;

pub use logging::{FILTER_VARIABLE, LogFormat, LoggingError, filter, init_logging};
pub use metrics::{
    AuditEvent, CircuitState, Counter, Direction, Gauge, Histogram, IndexVerb, KeyVerb, Metrics, Operation,
    RefusalCode, StatusClass, StoreOutcome, StoreRefusal, StoreVerb,
};
pub use redacted::Redacted;
