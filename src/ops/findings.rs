//! What a client's request finds wrong with a stored record: one event and one count, wherever in the request it is found.

use std::sync::Arc;

use crate::model::RegionId;
use crate::telemetry::{MetBy, Metrics, event, with_facts};
use crate::vault::VaultError;

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

    /// A sealed record does not open, or a blob of it is not there.
    pub(super) fn corrupt(&self, error: &VaultError) {
        self.metrics.records_corrupt(MetBy::Read).increment();
        let request = with_facts(|facts| facts.request().to_owned());
        event::record_corrupt(request.as_deref().unwrap_or("-"), &self.region, error);
    }
}
