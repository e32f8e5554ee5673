//! The inbound tower stack's layers, one per file: what each does to a request. `stack.rs` says in which order, and why.

mod decode;
mod identify;
mod limits;
mod place;
mod record;
mod redirect;
mod respond;
mod step;
mod strangers;
mod tenants;
mod trace;

pub use decode::{Decode, Decoded, Timed};
pub use identify::Identify;
pub use limits::{Limits, LimitsLayer};
pub use place::Place;
pub use record::Record;
pub use redirect::Redirect;
pub use respond::{Respond, RespondLayer};
pub use step::{BoxFuture, Step, StepLayer, StepService};
pub use tenants::{TenantLimits, TenantLimitsLayer};
pub use trace::{Telling, Trace, TraceLayer, TracedBody};
