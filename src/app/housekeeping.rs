//! Work that nobody asked for by a request: emptying the reclaim queue, forgetting finished uploads and stale keys.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::{Ended, Outcome};
use crate::model::Timestamp;
use crate::placement::Operation;
use crate::server::Drained;

use super::{Site, SiteError};

/// How long a completed upload is remembered, so that a repeated Complete gets the first one's answer: longer than any SDK
/// retries.
const COMPLETED_KEPT_MS: u64 = 24 * 3600 * 1000;
/// Completed uploads forgotten in one round.
const COMPLETED_ROUND_MAX: u32 = 10_000;

/// Pause between rounds.
const ROUND: Duration = Duration::from_secs(30);

/// Starts the rounds; they end with `stop`.
pub(super) fn start(running: &mut JoinSet<Drained>, site: Arc<Site>, stop: CancellationToken) {
    running.spawn(async move {
        while tokio::time::timeout(ROUND, stop.cancelled()).await.is_err() {
            // A ring that nobody asks for a key forgets none.
            site.ring.sweep();
            if let Err(error) = round(&site).await {
                tracing::warn!(region = %site.region().id, %error, "a round of reclaiming failed; the next one tries again");
            }
        }
        Drained::default()
    });
}

/// Deletes what is due, tenant by tenant: each under a decision of its own, recorded like any other.
async fn round(site: &Site) -> Result<(), SiteError> {
    let before = site.clock().now().millis().saturating_sub(COMPLETED_KEPT_MS);
    site.index.forget_completed(Timestamp::from_millis(before), COMPLETED_ROUND_MAX).await?;
    let due = site.vault.reclaimable().await?;
    if due.is_empty() {
        return Ok(());
    }
    for tenant in
        site.registry().list_tenants().await?.into_iter().filter(|tenant| due.contains(&tenant.code))
    {
        let decided = match site.admit(&tenant, &Operation::Maintain, "reclaim").await {
            Ok(decided) => decided,
            // A suspended tenant's blobs stay where they are until it is decided about.
            Err(SiteError::Refused(_)) => continue,
            Err(error) => return Err(error),
        };
        let reclaimed = site.vault.reclaim(&decided).await;
        let outcome = if reclaimed.is_ok() { Outcome::Ok } else { Outcome::Error { code: "reclaim" } };
        decided.into_parts().1.finish(Ended::new(outcome, None));
        reclaimed?;
    }
    Ok(())
}
