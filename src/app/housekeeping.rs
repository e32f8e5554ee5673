//! Work that nobody asked for by a request: emptying the reclaim queue, forgetting finished uploads.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::{Ended, Outcome};
use crate::blobs::in_background;
use crate::model::{Tenant, TenantCode};
use crate::placement::Operation;
use crate::server::Drained;
use crate::vault::Reclaimed;

use super::{Site, SiteError};

/// Pause between rounds.
const ROUND: Duration = Duration::from_secs(30);

/// Starts the rounds; they end with `stop`.
pub(super) fn start(running: &mut JoinSet<Drained>, site: Arc<Site>, stop: CancellationToken) {
    running.spawn(async move {
        while tokio::time::timeout(ROUND, stop.cancelled()).await.is_err() {
            // A ring that nobody asks for a key forgets none.
            site.ring.sweep();
            // A round at a store that does not answer lasts for hours, and a drain waits for this task. What a round that is
            // let go of had deleted is deleted again, which does nothing.
            let Some(done) = stop.run_until_cancelled(in_background(Box::pin(round(&site)))).await else { break };
            if let Err(error) = done {
                tracing::warn!(region = %site.region().id, %error, "a round of housekeeping failed; the next one tries again");
            }
        }
        Drained::default()
    });
}

/// One round of everything.
async fn round(site: &Site) -> Result<(), SiteError> {
    reclaim(site).await?;
    Ok(site.vault.forget_completed().await?)
}

/// Deletes what is due, at most 1,000 blobs, tenant by tenant: each under a decision of its own, recorded like any other.
pub(super) async fn reclaim(site: &Site) -> Result<Reclaimed, SiteError> {
    let mut total = Reclaimed::default();
    if site.vault.due(&[]).await?.tenants().is_empty() {
        return Ok(total);
    }
    let tenants = site.registry().list_tenants().await?;
    // A suspended tenant's blobs stay where they are until it is decided about.
    let (kept, served): (Vec<Tenant>, Vec<Tenant>) =
        tenants.into_iter().partition(|tenant| site.place(tenant, &Operation::Maintain).is_err());
    let kept: Vec<TenantCode> = kept.iter().map(|tenant| tenant.code).collect();
    let due = site.vault.due(&kept).await?;
    let whose = due.tenants();
    for tenant in served.into_iter().filter(|tenant| whose.contains(&tenant.code)) {
        let decided = match site.admit(&tenant, &Operation::Maintain, "reclaim").await {
            Ok(decided) => decided,
            Err(SiteError::Refused(_)) => continue,
            Err(error) => return Err(error),
        };
        let reclaimed = site.vault.reclaim(&decided, &due).await;
        let outcome = if reclaimed.is_ok() { Outcome::Ok } else { Outcome::Error { code: "reclaim" } };
        decided.into_parts().1.finish(Ended::new(outcome, None));
        let Reclaimed { deleted, failed } = reclaimed?;
        total.deleted += deleted;
        total.failed += failed;
    }
    Ok(total)
}
