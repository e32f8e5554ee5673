//! Everything the process says about itself, by name: metrics, spans, log set-up, log events, and [`Redacted`].
//!
//! A metric, its help text and its labels are declared in `metrics` and named in `expose`, a span in [`names`], a log event in
//! [`event`], and nowhere else, so that what leaves the process can be read in a few files and the exporter can be exchanged
//! without touching a caller. Labels are enums: a stranger cannot grow the set, and no name of a record can become a label.

mod collector;
pub mod event;
mod expose;
mod family;
mod labels;
mod logging;
mod metrics;
pub mod names;
mod redacted;
mod text;
mod trace;
mod tracer;
mod values;

pub use collector::{Collector, CollectorError, CollectorHeaders, CollectorSettings, Refresh};
pub use labels::{ExportOutcome, Method, Signal, SpanFate, Status};
pub use logging::{FILTER_VARIABLE, LogFormat, LoggingError, filter, init_logging};
pub use metrics::{Counter, Gauge, Histogram, Metrics};
pub use names::Stage;
pub use redacted::Redacted;
pub use trace::{
    Asked, Carried, Facts, Request, Spells, Staged, Told, carry, note, stage, stage_told, with_facts,
};
pub use tracer::Tracing;
pub use values::{
    AuditEvent, CircuitState, Direction, IndexVerb, KeyVerb, MetBy, Operation, RefusalCode, ScrubOutcome,
    ShareEvent, Shared, StatusClass, StoreOutcome, StoreRefusal, StoreVerb,
};
