//! The second phase: every blob in the store is live, waits to be deleted, or is unknown; what is unknown is told apart.
//!
//! Absence from the index alone removes nothing. A blob is given to the reclaim queue only if the operator said so, a key of this region
//! opens its header, its tenant is served, no version or upload that it says it is of is in the index, it was sealed longer ago
//! than the horizon, and it was found unknown in an earlier pass that long ago, all of it in one life of the index.

use std::time::Duration;

use crate::index::BlobStanding;
use crate::model::{BlobId, TenantCode, Timestamp};
use crate::telemetry::event;
use crate::vault::{Identity, Outcome};

use super::lock;
use super::run::{Run, Stop, index_only};

impl Run<'_> {
    pub(super) async fn stored(&mut self) -> Result<(), Stop> {
        let mut after = lock(self.pass).stored_after();
        loop {
            let listed = self.site.vault().stored_blobs(&self.decided, after).await;
            let (blobs, foreign, is_last) = match listed {
                Ok(page) => page,
                // There is no telling what is in a store that does not list.
                Err(error) => {
                    index_only(error)?;
                    return Err(Stop::Unreadable);
                }
            };
            self.pace.spend(1, 0).await;
            self.tell_apart(&blobs).await?;
            {
                let mut pass = lock(self.pass);
                pass.counts.listed += blobs.len() as u64;
                pass.counts.foreign_names += foreign as u64;
                if let Some(last) = blobs.last() {
                    pass.is_past_blob(*last);
                }
            }
            after = blobs.last().copied().or(after);
            if is_last {
                break;
            }
        }
        // What this pass did not find unknown is known by now, or gone.
        let begun = Timestamp::from_millis(lock(self.pass).begun_ms);
        Ok(self.site.vault().forget_unknown(begun).await?)
    }

    /// Finds the unknown ones of a page, and looks at each.
    async fn tell_apart(&mut self, blobs: &[BlobId]) -> Result<(), Stop> {
        let standings = self.site.vault().standings(blobs).await?;
        let unknown = blobs.iter().zip(standings);
        let unknown: Vec<BlobId> = unknown
            .filter(|(_, standing)| *standing == BlobStanding::Unknown)
            .map(|(blob, _)| *blob)
            .collect();
        let mut present = Vec::new();
        for blob in unknown {
            self.step_back().await;
            self.pace.spend(1, 0).await;
            match self.site.vault().identify(&self.decided, blob).await {
                // Deleted since it was listed.
                Ok(None) => {}
                Ok(Some((identity, _))) => {
                    self.is_readable();
                    present.push((blob, identity));
                }
                Err(error) => self.unreadable(blob, &index_only(error)?)?,
            }
        }
        if present.is_empty() {
            return Ok(());
        }
        let seen = self.site.vault().see_unknown(present.iter().map(|(blob, _)| *blob).collect()).await?;
        for ((blob, identity), first) in present.into_iter().zip(seen) {
            self.unknown(blob, &identity, first).await?;
        }
        Ok(())
    }

    async fn unknown(
        &mut self,
        blob: BlobId,
        identity: &Identity,
        first: Option<Timestamp>,
    ) -> Result<(), Stop> {
        let now = self.site.vault().sure_now(self.site.removal_horizon());
        let what = identity.describe();
        if matches!(identity, Identity::NotSealed(_) | Identity::Elsewhere(_)) {
            event::blob_elsewhere(&self.site.parts.region.id, blob, &what);
            self.found(blob, Outcome::Elsewhere, &what, first.map(|first| now.since(first).as_secs()));
            return Ok(());
        }
        let sealed = match identity {
            Identity::Ours(both) => Some(Timestamp::from_millis(both.1.created_ms)),
            _ => None,
        };
        let age = sealed.or(first).map(|since| now.since(since).as_secs());
        self.found(blob, Outcome::Unknown, &what, age);
        if let (Identity::Ours(both), Some(first)) = (identity, first)
            && self.request.remove_unknown
            && self.is_past_the_horizon(first, both.1.created_ms, now)
            && self.give_up(blob, &both.0).await?
        {
            self.count(Outcome::GivenUp);
        }
        Ok(())
    }

    /// Whether it was seen unknown in an earlier pass over this life of the index, the horizon ago, and sealed before that.
    fn is_past_the_horizon(&self, first: Timestamp, created_ms: u64, now: Timestamp) -> bool {
        let (begun_ms, watched_since_ms) = {
            let pass = lock(self.pass);
            (pass.begun_ms, pass.watched_since_ms)
        };
        is_old_enough(first, created_ms, now, (begun_ms, watched_since_ms), self.site.removal_horizon())
    }

    async fn give_up(&mut self, blob: BlobId, header: &crate::envelope::Header) -> Result<bool, Stop> {
        let tenant = TenantCode::from_bytes(header.binding.tenant);
        self.decide(tenant).await?;
        let Some((_, decided)) = self.decided(tenant) else { return Ok(false) };
        Ok(self.site.vault().give_up(decided, blob, header).await?)
    }
}

fn is_old_enough(
    first: Timestamp,
    created_ms: u64,
    now: Timestamp,
    (begun_ms, watched_since_ms): (u64, u64),
    horizon: Duration,
) -> bool {
    let first_ms = first.millis().max(watched_since_ms);
    let is_behind = |since_ms: u64| Timestamp::from_millis(since_ms).after(horizon) <= now;
    first_ms < begun_ms && is_behind(first_ms) && is_behind(created_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const HORIZON: Duration = Duration::from_hours(2);

    fn old(first: u64, created: u64, now: u64, begun: u64, watched_since: u64) -> bool {
        let at = |hours: u64| Timestamp::from_millis(hours * HOUR_MS);
        is_old_enough(
            at(first),
            created * HOUR_MS,
            at(now),
            (begun * HOUR_MS, watched_since * HOUR_MS),
            HORIZON,
        )
    }

    #[test]
    fn two_passes_the_horizon_apart_are_needed() {
        assert!(old(10, 9, 12, 11, 0));
        assert!(!old(10, 9, 11, 11, 0), "too soon");
        assert!(!old(10, 9, 12, 10, 0), "first seen in this very pass");
        assert!(!old(10, 9, 99, 9, 0), "first seen in this pass, however long it takes");
    }

    #[test]
    fn a_blob_sealed_lately_is_young_whenever_it_was_seen() {
        assert!(!old(10, 11, 12, 11, 0), "its first sighting was of another blob, or of a forged row");
        assert!(!old(0, u64::MAX / HOUR_MS, 99, 98, 0), "sealed in the future");
    }

    #[test]
    fn sightings_in_another_life_of_the_index_do_not_count() {
        assert!(!old(10, 9, 12, 11, 11));
        assert!(!old(10, 9, 13, 11, 12), "watched anew in this pass");
        assert!(old(10, 9, 13, 12, 11));
    }
}
