//! What can go wrong between a caller and the index. An index that cannot answer is an error, never an empty answer.

use crate::database::{AddressError, DemandError};
use crate::model::{Environment, RegionId};

/// The library's own error under ours; boxed so that no caller depends on the engine.
pub type EngineError = Box<dyn std::error::Error + Send + Sync>;

/// A failed index operation. Holds no key, no bucket and no metadata.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database cannot be reached or failed. Nothing was changed. Retryable: 503.
    #[error("the index is unavailable: {what}")]
    Unavailable {
        /// What was being done.
        what: &'static str,
        /// The engine's own words.
        #[source]
        source: EngineError,
    },
    /// Too much is waiting already, or the database stayed locked for its bounded wait. Nothing was changed.
    /// Retryable: 503 (S3 `SlowDown`).
    #[error("the index is overloaded: {what}")]
    Overloaded {
        /// Which queue or lock was full.
        what: &'static str,
    },
    /// The outcome of a commit is not known. Never assume: re-read with [`super::Index::version`], or repeat the same
    /// operation with the same identifiers, which is idempotent.
    #[error("the outcome of a change to the index is unknown")]
    Ambiguous,
    /// A row breaks the schema's rules: damage, or somebody else's writing. Not retryable.
    #[error("the index is corrupt: {what}")]
    Corrupt {
        /// The broken rule.
        what: &'static str,
    },
    /// The caller broke a rule of the operation: a list too long, a record too big, parts out of order. Not retryable.
    #[error("not a valid index operation: {rule}")]
    Invalid {
        /// The rule that was broken, as a phrase that starts with "must".
        rule: &'static str,
    },
    /// A blob of this write was given to the reclaim queue before. Its bytes may be gone, so it can never become part
    /// of a version: write the record again under new blob ids.
    #[error("a blob of this write was given up for reclaiming before")]
    Reclaimed,
    /// There is no database at the given path, and making one was not asked for.
    #[error("there is no index at the configured path")]
    Missing,
    /// The database belongs to another region.
    #[error("this index belongs to region {found}, not {expected}")]
    WrongRegion {
        /// The region asked for.
        expected: RegionId,
        /// The region written in the database.
        found: String,
    },
    /// The database belongs to another environment.
    #[error("this index belongs to environment {found}, not {expected}")]
    WrongEnvironment {
        /// The environment asked for.
        expected: Environment,
        /// The environment written in the database.
        found: String,
    },
    /// A newer release has migrated this database; this one does not know what it would break.
    #[error("this index has schema {found}, this release knows up to {known}")]
    NewerSchema {
        /// The schema version in the database.
        found: u64,
        /// The newest one this release knows.
        known: u64,
    },
    /// The database server would not keep what it acknowledged, or takes no writes.
    #[error("the index's database may not be used")]
    Demand(#[from] DemandError),
    /// The connection URL may not be used.
    #[error("the index's connection URL may not be used")]
    Address(#[from] AddressError),
    /// The index was closed.
    #[error("the index is closed")]
    Closed,
}

impl IndexError {
    /// Whether the same operation may succeed if it is repeated as it is.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Overloaded { .. } | Self::Ambiguous)
    }
}
