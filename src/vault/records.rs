//! Listing, deleting and tracing records: the index answers, the store is only asked by [`Vault::trace`].

use crate::blobs::{ErrorKind, Location};
use crate::envelope::{BlobEntry, Blobs};
use crate::index::{DeleteMany, DeleteOutcome, ListOutcome, ListPage, ListRequest, Precondition};
use crate::model::{BlobId, BucketName, ObjectKey, VersionId};

use super::read::Stored;
use super::{Decided, Vault, VaultError};

/// Where one blob of a version lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The blob.
    pub blob: BlobId,
    /// Its name in the store, without the store's prefix.
    pub name: String,
    /// Clear bytes of the record in it.
    pub clear_bytes: u64,
    /// Its length as the sealed manifest says.
    pub stored_bytes: u64,
    /// Its length as the store says now; `None` if it is not there.
    pub observed_bytes: Option<u64>,
}

impl Vault {
    /// A page of a bucket's keys. One index round trip, no store request.
    pub async fn list(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        request: &ListRequest,
    ) -> Result<ListPage, VaultError> {
        match self.parts.index.list(decided.tenant_code(), bucket, request).await? {
            ListOutcome::Page(page) => Ok(page),
            ListOutcome::NoBucket => Err(VaultError::NoSuchBucket),
            ListOutcome::NotYours => Err(VaultError::NotYours),
        }
    }

    /// Deletes a record; `None` if there was none. Its blobs go to the reclaim queue in the same transaction.
    pub async fn delete(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Option<VersionId>, VaultError> {
        let (tenant, now) = (decided.tenant_code(), self.parts.clock.now());
        deleted(self.parts.index.delete(tenant, bucket, key, Precondition::None, now).await?)
    }

    /// Deletes up to 1,000 records in one transaction; one answer per key, in order.
    pub async fn delete_many(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
    ) -> Result<Vec<Result<Option<VersionId>, VaultError>>, VaultError> {
        let (tenant, now) = (decided.tenant_code(), self.parts.clock.now());
        match self.parts.index.delete_many(tenant, bucket, keys, now).await? {
            DeleteMany::Keys(outcomes) => Ok(outcomes.into_iter().map(deleted).collect()),
            DeleteMany::NoBucket => Err(VaultError::NoSuchBucket),
            DeleteMany::NotYours => Err(VaultError::NotYours),
        }
    }

    /// Where every blob of a stored version lies, and whether the store agrees. One store request per blob.
    pub async fn trace(&self, decided: &Decided, stored: &Stored) -> Result<Vec<Trace>, VaultError> {
        let open = stored.opened();
        let record = BlobId::from_bytes(open.header.blob);
        let mut traces = Vec::new();
        if !open.header.kind.has_body() {
            traces.push(self.observed(decided, record, 0, open.header.blob_bytes()).await?);
        }
        let entries: Vec<BlobEntry> = match &open.root.blobs {
            Blobs::Inline(entries) => entries.clone(),
            Blobs::Paged(table) => {
                let mut entries = Vec::new();
                for page in table.pages_for(&(0..open.root.plaintext_bytes)) {
                    let range = table.location(page).unwrap_or_default();
                    let at = Location::of(decided, record);
                    let sealed = self.parts.store.read(&at, range).await.map_err(VaultError::reading)?;
                    let opened = table.open(&open.dek, page, &sealed).map_err(VaultError::opening)?;
                    entries.extend(opened.entries);
                }
                entries
            }
        };
        for entry in entries {
            let (blob, clear) = (BlobId::from_bytes(entry.blob), u64::from(entry.plaintext_bytes));
            traces.push(self.observed(decided, blob, clear, entry.stored_bytes()).await?);
        }
        Ok(traces)
    }

    async fn observed(
        &self,
        decided: &Decided,
        blob: BlobId,
        clear_bytes: u64,
        stored_bytes: u64,
    ) -> Result<Trace, VaultError> {
        let at = Location::of(decided, blob);
        let observed_bytes = match self.parts.store.head(&at).await {
            Ok(info) => Some(info.len),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(VaultError::Store(error)),
        };
        Ok(Trace { blob, name: at.name(), clear_bytes, stored_bytes, observed_bytes })
    }
}

fn deleted(outcome: DeleteOutcome) -> Result<Option<VersionId>, VaultError> {
    match outcome {
        DeleteOutcome::Deleted { version, .. } => Ok(Some(version)),
        DeleteOutcome::NoKey => Ok(None),
        DeleteOutcome::PreconditionFailed => Err(VaultError::PreconditionFailed),
        DeleteOutcome::NoBucket => Err(VaultError::NoSuchBucket),
        DeleteOutcome::NotYours => Err(VaultError::NotYours),
    }
}
