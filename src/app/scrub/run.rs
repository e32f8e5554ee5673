//! What the phases of a pass share: decisions by tenant, findings told and recorded, pace, and when to stop.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::audit::{Outcome as Audited, Verdict};
use crate::index::IndexError;
use crate::model::{BlobId, Tenant, TenantCode};
use crate::placement::Operation;
use crate::telemetry::{MetBy, ScrubOutcome, event};
use crate::vault::{Decided, Found, Outcome, OwnerRow, Pace, Pass, Phase, VaultError};

use super::super::housekeeping::{FAILED_MAX, Queue};
use super::{ScrubRequest, Site, SiteError, ended, lock};

/// Blobs that could not be read, one after the other, before the pass believes that none can.
const UNREADABLE_IN_A_ROW_MAX: u64 = 20;

/// Findings of a run that get an audit record of their own; beyond it they are logged and counted: a lost store must not fill
/// the audit log's disk.
const AUDITED_MAX: u32 = 1_000;

/// Requests in flight from which the pass steps back, and for how long at most before each blob.
const BUSY_REQUESTS: i64 = 16;
const STEP_BACK: Duration = Duration::from_millis(500);
const STEP_BACK_LOOK: Duration = Duration::from_millis(10);

/// Why a pass stops before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing can be read for now.
    Unreadable,
    /// Another process has the job.
    Lost,
    /// The index, the keys' directory or the audit log failed.
    Site(Box<SiteError>),
}

impl Stop {
    pub(super) const fn why(&self) -> &'static str {
        match self {
            Self::Unreadable => "the store or the keys cannot be reached",
            Self::Lost => "another process took the pass over",
            Self::Site(_) => "the region failed",
        }
    }
}

impl<E: Into<SiteError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Site(Box::new(error.into()))
    }
}

/// A pass under way.
pub(super) struct Run<'a> {
    pub(super) site: &'a Site,
    pub(super) request: ScrubRequest,
    pub(super) pass: &'a Mutex<Pass>,
    pub(super) pace: Pace,
    /// The pass's own decision: for what belongs to no tenant.
    pub(super) decided: Decided,
    /// A decision for each tenant met; `None`: it is not served here now.
    tenants: HashMap<TenantCode, Option<(Tenant, Decided)>>,
    unreadable_in_a_row: u64,
    audited: u32,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        site: &'a Site,
        request: ScrubRequest,
        pass: &'a Mutex<Pass>,
        decided: Decided,
    ) -> Self {
        Self {
            site,
            request,
            pass,
            pace: Pace::new(request.bytes_per_s_max, request.blobs_per_s_max),
            decided,
            tenants: HashMap::new(),
            unreadable_in_a_row: 0,
            audited: 0,
        }
    }

    /// Everything that the pass still has to do.
    pub(super) async fn run(&mut self) -> Result<(), Stop> {
        loop {
            let phase = lock(self.pass).phase;
            let next = match phase {
                Phase::Live => {
                    self.live().await?;
                    Phase::Stored
                }
                Phase::Stored => {
                    self.stored().await?;
                    Phase::Reclaim
                }
                Phase::Reclaim => {
                    self.reclaim().await?;
                    Phase::Done
                }
                Phase::Done => return Ok(()),
            };
            let mut pass = lock(self.pass);
            pass.phase = next;
            if next == Phase::Done {
                pass.ended_ms = Some(self.site.parts.clock.now().millis());
            }
        }
    }

    /// Says how every decision ended; the pass as it stands.
    pub(super) fn close(self, done: &Result<(), Stop>) -> Pass {
        let outcome = match done {
            Ok(()) => Audited::Ok,
            Err(_) => Audited::Error { code: "interrupted" },
        };
        for (_, decided) in self.tenants.into_values().flatten() {
            decided.into_parts().1.finish(ended(outcome));
        }
        let pass = lock(self.pass).clone();
        let outcome = if pass.counts.has_damage() && done.is_ok() { Audited::Corrupt } else { outcome };
        self.decided.into_parts().1.finish(ended(outcome));
        pass
    }

    /// The decision under which blobs of `tenant` are worked on; made once in a run.
    pub(super) async fn decide(&mut self, tenant: TenantCode) -> Result<(), Stop> {
        if self.tenants.contains_key(&tenant) {
            return Ok(());
        }
        let known = self.site.registry().readable_tenants().await.map_err(SiteError::from)?;
        let decided = match known.into_iter().find(|known| known.code == tenant) {
            None => None,
            Some(known) => match self.site.admit(&known, &Operation::Maintain, "scrub").await {
                Ok(decided) => Some((known, decided)),
                // A suspended tenant's blobs stay as they are until it is decided about.
                Err(SiteError::Refused(_)) => None,
                Err(error) => return Err(error.into()),
            },
        };
        self.tenants.insert(tenant, decided);
        Ok(())
    }

    /// What [`decide`](Self::decide) came to.
    pub(super) fn decided(&self, tenant: TenantCode) -> Option<&(Tenant, Decided)> {
        self.tenants.get(&tenant).and_then(Option::as_ref)
    }

    /// Lets requests go first, for a while.
    pub(super) async fn step_back(&self) {
        let requests = self.site.metrics().in_flight();
        let mut waited = Duration::ZERO;
        while requests.value() >= BUSY_REQUESTS && waited < STEP_BACK {
            tokio::time::sleep(STEP_BACK_LOOK).await;
            waited += STEP_BACK_LOOK;
        }
    }

    /// Counts an outcome that is no finding.
    pub(super) fn count(&self, outcome: Outcome) {
        lock(self.pass).counts.add(outcome);
        self.site.metrics().scrubbed(label(outcome)).increment();
    }

    /// Keeps a finding.
    pub(super) fn found(&self, blob: BlobId, outcome: Outcome, what: &str, age_s: Option<u64>) {
        let found = Found { blob: blob.to_string(), outcome, what: what.to_owned(), age_s };
        lock(self.pass).found(found);
        self.site.metrics().scrubbed(label(outcome)).increment();
    }

    /// A blob could not be read: says nothing about it. Stops the pass when none can be.
    pub(super) fn unreadable(&mut self, blob: BlobId, error: &VaultError) -> Result<(), Stop> {
        self.found(blob, Outcome::Unreadable, &event::chain(error), None);
        self.unreadable_in_a_row += 1;
        if self.unreadable_in_a_row < UNREADABLE_IN_A_ROW_MAX { Ok(()) } else { Err(Stop::Unreadable) }
    }

    /// Something could be read.
    pub(super) fn is_readable(&mut self) {
        self.unreadable_in_a_row = 0;
    }

    /// Whether what is being read now follows something that could not be.
    pub(super) const fn is_in_trouble(&self) -> bool {
        self.unreadable_in_a_row > 0
    }

    /// A blob is missing or corrupt: logged, counted, and recorded under its (hashed) names.
    pub(super) async fn damaged(
        &mut self,
        blob: BlobId,
        owner: Option<&OwnerRow>,
        outcome: Outcome,
        error: &VaultError,
    ) -> Result<(), Stop> {
        let number = lock(self.pass).number;
        let region = &self.site.parts.region.id;
        self.site.metrics().records_corrupt(MetBy::Scrub).increment();
        event::record_corrupt(&format!("scrub-{number}/{blob}"), region, error);
        self.found(blob, outcome, &event::chain(error), None);
        if self.audited >= AUDITED_MAX {
            return Ok(());
        }
        self.audited += 1;
        let mut decision = self.site.decision("scrub.finding", Verdict::Placed);
        if let Some(owner) = owner {
            let keys = self.site.log().keys();
            decision.tenant = self.decided(owner.tenant).map(|(tenant, _)| tenant.id.clone());
            decision.class = Some(owner.class.clone());
            decision.bucket = Some(keys.bucket(&owner.bucket));
            decision.key = Some(keys.key(&owner.bucket, &owner.key));
        }
        let recorded = self.site.log().record(decision, ()).await?;
        recorded.into_parts().1.finish(ended(Audited::Corrupt));
        Ok(())
    }

    /// Works the reclaim queue off, once from its beginning to its end: what failed stays queued, and would fail again.
    async fn reclaim(&mut self) -> Result<(), Stop> {
        let (mut queue, mut failed) = (Queue::default(), 0);
        loop {
            let done = queue.page(self.site).await?;
            for _ in 0..done.deleted {
                self.count(Outcome::Reclaimed);
            }
            lock(self.pass).counts.reclaim_failed += done.failed;
            failed += done.failed;
            if queue.is_through() || failed >= FAILED_MAX {
                return Ok(());
            }
            self.pace.spend(done.deleted, 0).await;
        }
    }
}

/// The state to keep. What could not be read at the end of an interrupted pass is done again, and must not count twice.
pub(super) fn state_of(pass: &Pass, done: &Result<(), Stop>) -> Vec<u8> {
    let mut pass = pass.clone();
    if matches!(done, Err(Stop::Unreadable)) {
        pass.counts.unreadable = pass.counts.unreadable.saturating_sub(UNREADABLE_IN_A_ROW_MAX);
        let kept = pass.findings.iter().rposition(|found| found.outcome != Outcome::Unreadable);
        pass.findings.truncate(kept.map_or(0, |last| last + 1));
    }
    pass.write()
}

/// An index that fails ends a pass; anything else that fails says something about a blob.
pub(super) fn index_only(error: VaultError) -> Result<VaultError, IndexError> {
    match error {
        VaultError::Index(error) => Err(error),
        error => Ok(error),
    }
}

const fn label(outcome: Outcome) -> ScrubOutcome {
    match outcome {
        Outcome::Verified => ScrubOutcome::Verified,
        Outcome::Missing => ScrubOutcome::Missing,
        Outcome::Corrupt => ScrubOutcome::Corrupt,
        Outcome::Unreadable => ScrubOutcome::Unreadable,
        Outcome::Skipped => ScrubOutcome::Skipped,
        Outcome::Unknown => ScrubOutcome::Unknown,
        Outcome::Elsewhere => ScrubOutcome::Elsewhere,
        Outcome::GivenUp => ScrubOutcome::GivenUp,
        Outcome::Reclaimed => ScrubOutcome::Reclaimed,
    }
}
