//! What a client's request finds wrong with a stored record: one event and one count, wherever in the request it is found. And
//! refusals that are counted alone.

use std::sync::Arc;

use crate::model::RegionId;
use crate::telemetry::{MetBy, Metrics, event, with_facts};
use crate::vault::{IndexError, VaultError};

/// Where findings are told.
#[derive(Debug)]
pub(super) struct Findings {
    region: RegionId,
    metrics: Arc<Metrics>,
}

impl Findings {
    /// Of requests to `region`.
    pub(super) const fn new(region: RegionId, metrics: Arc<Metrics>) -> Self {
        Self { region, metrics }
    }

    /// A request was turned away. Memory and store have counted it where they did so.
    pub(super) fn refused(&self, error: &VaultError) {
        if matches!(error, VaultError::Index(IndexError::Overloaded { .. })) {
            self.metrics.index_refusals().increment();
        }
    }

    /// A sealed record does not open, or a blob of it is not there.
    pub(super) fn corrupt(&self, error: &VaultError) {
        self.metrics.records_corrupt(MetBy::Read).increment();
        let request = with_facts(|facts| facts.request().to_owned());
        event::record_corrupt(request.as_deref().unwrap_or("-"), &self.region, error);
    }
}
