//! The reclaim queue, emptied: the only place that deletes blobs. And throw-away blobs, to ask a store what it does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use zeroize::Zeroizing;

use crate::blobs::Location;
use crate::envelope::{BodySealer, Dek, Kek, Locator, Sealed, Sealer};
use crate::index::{BlobStanding, DuePosition, PAGE_MAX, ReclaimRow};
use crate::model::{BlobId, ClassCode, EntropyError, TenantCode, VersionId};
use crate::telemetry::event;

use super::sealing::random;
use super::{Decided, Vault, VaultError};

/// Clear bytes of a probe's blob: enough for ranges to mean something.
const PROBE_BYTES: usize = 4096;

/// Blobs looked at, deleted and forgotten at a time.
const PAGE_BLOBS_MAX: u32 = 1000;

/// Deletions under way at once: as many places as deleting has at a store unless told otherwise, an eighth of
/// `store-in-flight-max`.
const DELETES_IN_FLIGHT_MAX: usize = 16;

/// How long a Complete can be repeated and gets the first answer again. S3 promises none; SDKs retry for minutes.
pub(super) const REPLAY: Duration = Duration::from_hours(24);

/// Completed uploads forgotten in one transaction.
const FORGOTTEN_MAX: u32 = 1000;

/// What reclaiming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Blobs deleted from the store.
    pub deleted: u64,
    /// Blobs whose deletion failed and will be tried again.
    pub failed: u64,
}

impl std::ops::AddAssign for Reclaimed {
    fn add_assign(&mut self, more: Self) {
        self.deleted += more.deleted;
        self.failed += more.failed;
    }
}

/// Where the queue of deletions goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueAfter(DuePosition);

/// A page of the blobs that are due for deletion, of any tenants. Only the vault makes one.
#[derive(Debug)]
pub struct Due(Vec<ReclaimRow>);

impl Due {
    /// Behind which the next page begins; `None` if this one is the last.
    pub fn next(&self) -> Option<DueAfter> {
        let is_full = self.0.len() >= PAGE_BLOBS_MAX as usize;
        self.0.last().filter(|_| is_full).map(|row| DueAfter(DuePosition::from(row)))
    }

    /// Whose blobs they are, so that a decision can be asked for each.
    pub fn tenants(&self) -> Vec<TenantCode> {
        let mut tenants: Vec<_> = self.0.iter().map(|row| row.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }
}

impl Vault {
    /// At most 1,000 blobs due for deletion now, the longest due first, behind `after`, without those of the tenants `except`:
    /// blobs that cannot be deleted now, or that nobody may delete, would otherwise stand in front of all others for ever.
    ///
    /// A clock that was set ahead makes nothing due: see [`Vault::sure_now`].
    pub async fn due(&self, except: &[TenantCode], after: Option<DueAfter>) -> Result<Due, VaultError> {
        let except = except.get(..usize::from(PAGE_MAX)).unwrap_or(except);
        let now = self.sure_now(self.parts.settings.reclaim_delay);
        let after = after.map(|after| after.0);
        Ok(Due(self.parts.index.due_except(now, except, after, PAGE_BLOBS_MAX).await?))
    }

    /// Deletes those of the blobs `due` that are the decided tenant's, a few at a time. What cannot be deleted is passed over.
    ///
    /// Being in the queue is not enough: a blob is deleted only if the index says, now, that it waits there and is part of
    /// no version. Absence from the index alone never authorises a deletion.
    pub async fn reclaim(&self, decided: &Decided, due: &Due) -> Result<Reclaimed, VaultError> {
        let tenant = decided.tenant_code();
        let due: Vec<BlobId> = due.0.iter().filter(|row| row.tenant == tenant).map(|row| row.blob).collect();
        let standings = self.parts.index.blob_standing(&due).await?;
        let queued = due.into_iter().zip(standings).filter(|(_, now)| *now == BlobStanding::Reclaiming);
        let places: Vec<Location> = queued.map(|(blob, _)| Location::of(decided, blob)).collect();
        // Within this task, so that they give way to requests as it does.
        let mut under_way = futures_util::stream::iter(places)
            .map(|at| {
                let store = Arc::clone(&self.parts.store);
                async move { (at.id(), store.delete(&at).await) }
            })
            .buffer_unordered(DELETES_IN_FLIGHT_MAX);
        let (mut gone, mut first_failure, mut failed) = (Vec::new(), None, 0);
        while let Some((blob, done)) = under_way.next().await {
            match done {
                Ok(()) => gone.push(blob),
                Err(error) => {
                    failed += 1;
                    first_failure.get_or_insert((blob, error));
                }
            }
        }
        // Once for all of them: a store that is down fails every one.
        if let Some((blob, error)) = first_failure {
            event::blobs_not_deleted(failed, blob, &error);
        }
        let deleted = gone.len() as u64;
        if !gone.is_empty() {
            self.parts.index.forget(gone).await?;
        }
        Ok(Reclaimed { deleted, failed })
    }

    /// Forgets uploads that were completed so long ago that nobody repeats their Complete any more.
    pub async fn forget_completed(&self) -> Result<(), VaultError> {
        let before = self.sure_now(REPLAY).before(REPLAY);
        while self.parts.index.forget_completed(before, FORGOTTEN_MAX).await? >= u64::from(FORGOTTEN_MAX) {}
        Ok(())
    }
}

impl Vault {
    /// Two different sealings of one throw-away blob, under keys that nobody keeps: what a store is probed with.
    pub fn throw_away(&self) -> Result<(BlobId, (Sealed, Sealed)), VaultError> {
        let blob = BlobId::random(self.entropy())?;
        Ok((blob, (self.one_throw_away(blob)?, self.one_throw_away(blob)?)))
    }

    fn one_throw_away(&self, blob: BlobId) -> Result<Sealed, VaultError> {
        let tenant = TenantCode::random(self.entropy())?;
        let binding = self.binding(tenant, ClassCode(0), VersionId::random(self.entropy())?)?;
        let mut random = random(self.entropy());
        let mut key = Zeroizing::new([0; 32]);
        random(key.as_mut()).map_err(|_| EntropyError)?;
        let kek = Kek::new(*blob.as_bytes(), 1, 0, key);
        let dek = Dek::generate(binding, &mut random).map_err(VaultError::Seal)?;
        let locator = Locator {
            bucket: "probe".to_owned(),
            key: b"probe".to_vec(),
            s3_version: String::new(),
            null_version: true,
            created_ms: self.parts.clock.now().millis(),
            subject: Vec::new(),
        };
        let sealer = Sealer { dek: &dek, kek: &kek, subject_key: None, locator: &locator };
        let headroom = sealer.headroom_bytes(None);
        let body = BodySealer::new(&dek, *blob.as_bytes(), 0, headroom, PROBE_BYTES, &mut random)
            .and_then(|mut body| body.push(&[0x5a; PROBE_BYTES], &mut random).map(|()| body))
            .and_then(|body| body.finish(0, &mut random))
            .map_err(VaultError::Seal)?;
        Ok(sealer.body(body, &mut random).map_err(VaultError::Seal)?.0)
    }
}
