//! The reclaim queue, emptied: the only place that deletes blobs. And throw-away blobs, to ask a store what it does.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::blobs::Location;
use crate::envelope::{BodySealer, Dek, Kek, Locator, Sealed, Sealer};
use crate::index::{BlobStanding, PAGE_MAX, ReclaimRow};
use crate::model::{BlobId, ClassCode, EntropyError, TenantCode, VersionId};

use super::sealing::random;
use super::{Decided, Vault, VaultError};

/// Clear bytes of a probe's blob: enough for ranges to mean something.
const PROBE_BYTES: usize = 4096;

/// Blobs looked at in one round.
const ROUND_BLOBS_MAX: u32 = 1000;

/// How long a Complete can be repeated and gets the first answer again. S3 promises none; SDKs retry for minutes.
pub(super) const REPLAY: Duration = Duration::from_hours(24);

/// Completed uploads forgotten in one transaction.
const FORGOTTEN_MAX: u32 = 1000;

/// What a round of reclaiming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Blobs deleted from the store.
    pub deleted: u64,
    /// Blobs whose deletion failed and will be tried again.
    pub failed: u64,
}

/// Blobs that are due for deletion, of any tenants. Only the vault makes one.
#[derive(Debug)]
pub struct Due(Vec<ReclaimRow>);

impl Due {
    /// Whose blobs they are, so that a decision can be asked for each.
    pub fn tenants(&self) -> Vec<TenantCode> {
        let mut tenants: Vec<_> = self.0.iter().map(|row| row.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }
}

impl Vault {
    /// At most 1,000 blobs due for deletion now, the longest due first, without those of the tenants `except`: blobs that
    /// nobody may delete now would otherwise stand in front of all others for ever.
    ///
    /// A clock that was set ahead makes nothing due: see [`Vault::sure_now`].
    pub async fn due(&self, except: &[TenantCode]) -> Result<Due, VaultError> {
        let except = except.get(..usize::from(PAGE_MAX)).unwrap_or(except);
        let now = self.sure_now(self.parts.settings.reclaim_delay);
        Ok(Due(self.parts.index.due_except(now, except, ROUND_BLOBS_MAX).await?))
    }

    /// Deletes those of the blobs `due` that are the decided tenant's.
    ///
    /// Being in the queue is not enough: a blob is deleted only if the index says, now, that it waits there and is part of
    /// no version. Absence from the index alone never authorises a deletion.
    pub async fn reclaim(&self, decided: &Decided, due: &Due) -> Result<Reclaimed, VaultError> {
        let tenant = decided.tenant_code();
        let due: Vec<BlobId> = due.0.iter().filter(|row| row.tenant == tenant).map(|row| row.blob).collect();
        let standings = self.parts.index.blob_standing(&due).await?;
        let mut round = Reclaimed::default();
        let mut gone = Vec::new();
        for (blob, standing) in due.into_iter().zip(standings) {
            if standing != BlobStanding::Reclaiming {
                continue;
            }
            match self.parts.store.delete(&Location::of(decided, blob)).await {
                Ok(()) => gone.push(blob),
                Err(error) => {
                    round.failed += 1;
                    tracing::warn!(%blob, %error, "a blob could not be deleted; it stays queued");
                }
            }
        }
        round.deleted = gone.len() as u64;
        if !gone.is_empty() {
            self.parts.index.forget(gone).await?;
        }
        Ok(round)
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
