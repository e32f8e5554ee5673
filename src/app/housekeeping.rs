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
use crate::telemetry::event;
use crate::vault::{DueAfter, Reclaimed};

use super::{Site, SiteError};

/// Pause between rounds.
const ROUND: Duration = Duration::from_secs(30);

/// Deletions that fail in one round, or one pass of the scrubber, before it ends: ten pages, which a store that is down refuses
/// at once. The next round goes on behind them, so that what can never be deleted stands in front of nothing.
pub(super) const FAILED_MAX: u64 = 10_000;

/// Starts the rounds; they end with `stop`.
pub(super) fn start(running: &mut JoinSet<Drained>, site: Arc<Site>, stop: CancellationToken) {
    running.spawn(async move {
        let mut queue = Queue::default();
        while tokio::time::timeout(ROUND, stop.cancelled()).await.is_err() {
            // A ring that nobody asks for a key forgets none.
            site.ring.sweep();
            // A round at a store that does not answer lasts for hours, and a drain waits for this task. What a round that is
            // let go of had deleted is deleted again, which does nothing.
            let round = in_background(Box::pin(round(&site, &mut queue)));
            let Some(done) = stop.run_until_cancelled(round).await else { break };
            if let Err(error) = done {
                event::housekeeping_failed(&site.region().id, &error);
            }
        }
        Drained::default()
    });
}

/// One round of everything.
async fn round(site: &Site, queue: &mut Queue) -> Result<(), SiteError> {
    let mut failed = 0;
    loop {
        failed += queue.page(site).await?.failed;
        if queue.is_through() || failed >= FAILED_MAX {
            break;
        }
    }
    Ok(site.vault.forget_completed().await?)
}

/// A way through the reclaim queue, the longest due first; at its end it begins anew. What cannot be deleted is passed over.
#[derive(Debug, Default)]
pub(super) struct Queue(Option<DueAfter>);

impl Queue {
    /// Whether the page before was the last.
    pub(super) const fn is_through(&self) -> bool {
        self.0.is_none()
    }

    /// Deletes the next page of what is due, tenant by tenant: each under a decision of its own, recorded like any other.
    pub(super) async fn page(&mut self, site: &Site) -> Result<Reclaimed, SiteError> {
        let mut total = Reclaimed::default();
        let mut due = site.vault.due(&[], self.0).await?;
        if due.tenants().is_empty() {
            self.0 = None;
            return Ok(total);
        }
        let tenants = site.registry().readable_tenants().await?;
        // A suspended tenant's blobs stay where they are until it is decided about.
        let (kept, served): (Vec<Tenant>, Vec<Tenant>) =
            tenants.into_iter().partition(|tenant| site.place(tenant, &Operation::Maintain).is_err());
        if !kept.is_empty() {
            let kept: Vec<TenantCode> = kept.iter().map(|tenant| tenant.code).collect();
            due = site.vault.due(&kept, self.0).await?;
        }
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
            total += reclaimed?;
        }
        self.0 = due.next();
        Ok(total)
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use bytes::Bytes;

    use super::super::{Begin, Between, ScrubRequest, Scrubbed, SiteParts};
    use super::*;
    use crate::catalogue::{Catalogue, Overlay, Tree};
    use crate::index::ReclaimReason;
    use crate::model::{BlobId, ManualClock, RegionId, SystemEntropy, Timestamp, Unclassified};
    use crate::settings::Settings;
    use crate::telemetry::Metrics;
    use crate::tenants::NewTenant;
    use crate::testing::{Tap, Taps};

    const NOW: Timestamp = Timestamp::from_seconds(1_795_435_200);

    /// A region whose deletions are due at once, and nothing that works on them but the test.
    struct Bench {
        _folder: tempfile::TempDir,
        site: Site,
        tap: Arc<Tap>,
    }

    impl Bench {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let fr: RegionId = "fr".parse().unwrap();
            let mut settings = Settings::dev(folder.path(), 9000, std::slice::from_ref(&fr)).unwrap();
            settings.limits.reclaim_delay_s = 0;
            let region = settings.region(&fr).unwrap().clone();
            let overlay = Overlay::new("bench").with_embedded(fr.clone(), region.listen.data);
            let catalogue = Catalogue::from_tree(&Tree::embedded(), NOW).unwrap().overlaid(&overlay).unwrap();
            let taps = Arc::new(Taps::seeded(1));
            let site = Box::pin(Site::open(SiteParts {
                region: Arc::clone(catalogue.region(&fr).unwrap()),
                settings: region,
                environment: settings.environment.clone(),
                limits: settings.limits,
                scrub: settings.scrub,
                catalogue: Arc::new(catalogue),
                between: Some(Arc::clone(&taps) as Arc<dyn Between>),
                regions: 1,
                metrics: Arc::new(Metrics::default()),
                clock: Arc::new(ManualClock::at(NOW)),
                entropy: Arc::new(SystemEntropy),
            }))
            .await
            .unwrap();
            let tap = taps.of(&fr).unwrap();
            Self { _folder: folder, site, tap }
        }

        async fn tenant(&self, id: &str) -> Tenant {
            let new = NewTenant {
                id: id.parse().unwrap(),
                home: "fr".parse().unwrap(),
                default_class: "health".parse().unwrap(),
                unclassified: Unclassified::TakesDefault,
            };
            self.site.registry().create_tenant(new).await.unwrap()
        }

        /// Blobs of `tenant` that are due since `ms` milliseconds.
        async fn due(&self, tenant: &Tenant, count: usize, ms: u64) -> Vec<BlobId> {
            let blobs: Vec<_> = (0..count).map(|_| BlobId::random(&SystemEntropy).unwrap()).collect();
            let due = Timestamp::from_millis(NOW.millis() - ms);
            let (index, reason) = (&self.site.index, ReclaimReason::FailedWrite);
            index.enqueue_reclaim(blobs.clone(), tenant.code, due, reason).await.unwrap();
            blobs
        }

        async fn a_round(&self) {
            round(&self.site, &mut Queue::default()).await.unwrap();
        }

        async fn queued(&self) -> u64 {
            self.site.index.reclaim_depth().await.unwrap()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_round_reclaims_all_that_is_due() {
        let bench = Bench::new().await;
        let clinic = bench.tenant("clinic").await;
        bench.due(&clinic, 2500, 1000).await;
        bench.a_round().await;
        assert_eq!((bench.tap.asked().deletes, bench.queued().await), (2500, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn blobs_that_cannot_be_deleted_stood_in_front_of_all_others() {
        let bench = Bench::new().await;
        let clinic = bench.tenant("clinic").await;
        bench.tap.keep(bench.due(&clinic, 1100, 2000).await);
        bench.due(&clinic, 30, 1000).await;
        bench.a_round().await;
        assert_eq!(bench.queued().await, 1100, "what could be deleted is");
        let bytes_per_s_max = 1 << 40;
        let request = ScrubRequest {
            bytes_per_s_max,
            blobs_per_s_max: 1 << 20,
            ..bench.site.scrub_request(Begin::Fresh)
        };
        bench.due(&clinic, 30, 1000).await;
        let Scrubbed::Ended(pass) = bench.site.scrub(request, &|_| {}).await.unwrap() else {
            panic!("no end")
        };
        assert_eq!((pass.counts.reclaimed, pass.counts.reclaim_failed), (30, 1100));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_tenant_row_that_does_not_open_stopped_everybodys_reclaiming() {
        let bench = Bench::new().await;
        let (broken, clinic) = (bench.tenant("broken").await, bench.tenant("clinic").await);
        bench.due(&broken, 10, 2000).await;
        bench.due(&clinic, 10, 1000).await;
        let row = bench.site.index.row("tenant", "broken").await.unwrap().unwrap();
        let garbled = Bytes::from_static(b"what nobody sealed");
        bench.site.index.put_row("tenant", "broken", row.generation, garbled).await.unwrap();
        bench.a_round().await;
        assert_eq!(bench.queued().await, 10, "those of the tenant that nobody can decide about stay");
        bench.due(&clinic, 10, 1000).await;
        let request = bench.site.scrub_request(Begin::Fresh);
        let Scrubbed::Ended(pass) = bench.site.scrub(request, &|_| {}).await.unwrap() else {
            panic!("no end")
        };
        assert_eq!((pass.counts.reclaimed, bench.queued().await), (10, 10));
    }
}
