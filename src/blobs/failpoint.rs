//! Named points of the `fs` driver: how its promise "durable or not there" is proved ([`crate::model::failpoint`]).

pub use crate::model::failpoint::VARIABLE;

/// All points of a `put` of the `fs` driver, in the order in which it passes them.
pub const PUT: [&str; 6] =
    ["temp-created", "temp-written", "temp-synced", "before-link", "after-link", "folder-synced"];
