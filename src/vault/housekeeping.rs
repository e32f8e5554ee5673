//! The reclaim queue, emptied: the only place that deletes blobs.

use crate::blobs::Location;
use crate::index::{BlobStanding, ReclaimRow};
use crate::model::{BlobId, TenantCode};

use super::{Decided, Vault, VaultError};

/// Blobs looked at in one round.
const ROUND_BLOBS_MAX: u32 = 1000;

/// What a round of reclaiming did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Blobs deleted from the store.
    pub deleted: u64,
    /// Blobs whose deletion failed and will be tried again.
    pub failed: u64,
}

impl Vault {
    /// The tenants that have blobs due for deletion now, so that a decision can be asked for each.
    pub async fn reclaimable(&self) -> Result<Vec<TenantCode>, VaultError> {
        let mut tenants: Vec<_> = self.due().await?.iter().map(|row| row.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        Ok(tenants)
    }

    /// Deletes the decided tenant's blobs that are due, at most 1,000 of them.
    ///
    /// Being in the queue is not enough: a blob is deleted only if the index says, now, that it waits there and is part of
    /// no version. Absence from the index alone never authorises a deletion.
    pub async fn reclaim(&self, decided: &Decided) -> Result<Reclaimed, VaultError> {
        let tenant = decided.tenant_code();
        let due: Vec<BlobId> =
            self.due().await?.into_iter().filter(|row| row.tenant == tenant).map(|row| row.blob).collect();
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

    async fn due(&self) -> Result<Vec<ReclaimRow>, VaultError> {
        Ok(self.parts.index.due(self.parts.clock.now(), ROUND_BLOBS_MAX).await?)
    }
}
