//! Whose a live blob is: the version or the open upload that lists it, its record opened, its entries at hand.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::blobs::Location;
use crate::envelope::{BlobEntry, Blobs, Kek, OpenUpload, OpenVersion};
use crate::index::{LiveBlob, LivePosition, PAGE_MAX, Upload, VersionRow};
use crate::model::{BlobId, BucketName, ClassId, ObjectKey, TenantCode, VersionId};

use super::super::sealing::Sealing;
use super::super::{Decided, Vault, VaultError};

/// What the index says of an owner, nothing of it opened yet.
#[derive(Clone, Debug)]
pub struct OwnerRow {
    /// Whose it is.
    pub tenant: TenantCode,
    /// Under which bucket. For the audit record of a finding; never for a log.
    pub bucket: BucketName,
    /// Under which key. As [`OwnerRow::bucket`].
    pub key: ObjectKey,
    /// Its class.
    pub class: ClassId,
    row: Row,
}

#[derive(Clone, Debug)]
enum Row {
    Version(Box<VersionRow>),
    Upload(Box<Upload>),
}

impl OwnerRow {
    /// Its identity.
    pub fn version(&self) -> VersionId {
        match &self.row {
            Row::Version(row) => row.version,
            Row::Upload(row) => row.version,
        }
    }

    /// Whether it is an upload that nobody has completed.
    pub const fn is_open_upload(&self) -> bool {
        matches!(self.row, Row::Upload(_))
    }
}

/// An owner whose sealed record was opened.
#[derive(Debug)]
pub struct Owner {
    version: VersionId,
    pub(super) opened: Arc<Opened>,
    /// Entries at hand: all of them, or one page's, or one part's.
    entries: HashMap<BlobId, BlobEntry>,
    /// Which page or part those are.
    loaded: Option<u32>,
    /// Blobs that the index must have; `None` of an open upload, which still grows.
    blobs_total: Option<u64>,
    blobs_seen: u64,
}

/// What verifying needs. Shared with the thread that does it.
#[derive(Debug)]
pub(super) enum Opened {
    Version { open: Box<OpenVersion>, kek: Kek, record: Bytes },
    Upload { open: Box<OpenUpload>, sealing: Box<Sealing>, row: Box<Upload> },
}

/// What an owner says of one blob.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listed {
    /// It holds the version's record and no body.
    Record { stored_bytes: u64 },
    /// It holds this body.
    Body(BlobEntry),
}

impl Listed {
    pub(super) fn stored_bytes(&self) -> u64 {
        match self {
            Self::Record { stored_bytes } => *stored_bytes,
            Self::Body(entry) => entry.stored_bytes(),
        }
    }
}

impl Vault {
    /// A page of the region's live blobs after `after`. One index round trip, no store request.
    pub async fn live_blobs(&self, after: Option<LivePosition>) -> Result<Vec<LiveBlob>, VaultError> {
        Ok(self.parts.index.live_blobs(after, PAGE_MAX).await?)
    }

    /// What the index says of a version, or of the open upload that will become it. At most three index round trips.
    pub async fn owner_row(&self, version: VersionId) -> Result<Option<OwnerRow>, VaultError> {
        if let Some(found) = self.version_row(version).await? {
            return Ok(Some(found));
        }
        if let Some(row) = self.parts.index.upload_of(version).await? {
            let (bucket, key, class) = (row.bucket.clone(), row.key.clone(), row.class.clone());
            return Ok(Some(OwnerRow {
                tenant: row.tenant,
                bucket,
                key,
                class,
                row: Row::Upload(Box::new(row)),
            }));
        }
        // It may have been completed between the two questions.
        self.version_row(version).await
    }

    async fn version_row(&self, version: VersionId) -> Result<Option<OwnerRow>, VaultError> {
        let found = self.parts.index.version(version).await?;
        Ok(found.map(|named| OwnerRow {
            tenant: named.tenant,
            bucket: named.bucket,
            key: named.key,
            class: named.row.class.clone(),
            row: Row::Version(Box::new(named.row)),
        }))
    }

    /// Opens the record of an owner of the decided tenant. No store request.
    pub async fn open_owner(&self, decided: &Decided, row: OwnerRow) -> Result<Owner, VaultError> {
        let tenant = decided.tenant_code();
        if tenant != row.tenant {
            return Err(VaultError::NotYours);
        }
        let version = row.version();
        let (opened, blobs_total) = match row.row {
            Row::Version(found) => {
                let (kek, open) = self.open_row(tenant, &row.bucket, &row.key, &found).await?;
                let own = u64::from(!open.header.kind.has_body());
                let total = u64::from(open.root.blob_count) + own;
                (Opened::Version { open: Box::new(open), kek, record: found.record }, Some(total))
            }
            Row::Upload(found) => {
                let (open, sealing) = self.open_upload_record(tenant, &found).await?;
                (Opened::Upload { open: Box::new(open), sealing: Box::new(sealing), row: found }, None)
            }
        };
        let mut owner = Owner {
            version,
            opened: Arc::new(opened),
            entries: HashMap::new(),
            loaded: None,
            blobs_total,
            blobs_seen: 0,
        };
        owner.take_inline();
        Ok(owner)
    }

    /// Whether the index has as many blobs of this owner as its manifest lists, all of them having been shown to
    /// [`check`](Vault::check). A blob that the index lost is not protected from removal, however sound it is.
    pub async fn is_complete(&self, owner: &Owner) -> Result<bool, VaultError> {
        if owner.blobs_total.is_none_or(|total| total == owner.blobs_seen) {
            return Ok(true);
        }
        // Deleted or replaced meanwhile, it has no blobs at all.
        Ok(self.parts.index.version(owner.version).await?.is_none())
    }
}

impl Owner {
    /// Its identity.
    pub fn version(&self) -> VersionId {
        self.version
    }

    /// The blob of its record.
    pub fn record_blob(&self) -> BlobId {
        let header = match &*self.opened {
            Opened::Version { open, .. } => &open.header,
            Opened::Upload { open, .. } => &open.header,
        };
        BlobId::from_bytes(header.blob)
    }

    pub(super) fn is_shown_one_more(&mut self) {
        self.blobs_seen += 1;
    }

    fn take_inline(&mut self) {
        let Opened::Version { open, .. } = &*self.opened else { return };
        if let Blobs::Inline(entries) = &open.root.blobs {
            self.entries = by_id(entries);
        }
    }

    /// What the owner says of `live`. Reads a page of the manifest, or a part's row, where the entries at hand do not have it.
    pub(super) async fn listed(
        &mut self,
        vault: &Vault,
        decided: &Decided,
        live: &LiveBlob,
    ) -> Result<Listed, VaultError> {
        let opened = Arc::clone(&self.opened);
        match &*opened {
            Opened::Version { open, .. } => {
                if !open.header.kind.has_body() && live.blob == self.record_blob() {
                    return Ok(Listed::Record { stored_bytes: open.header.blob_bytes() });
                }
                self.of_version(vault, decided, open, live.blob).await
            }
            Opened::Upload { sealing, row, .. } => {
                let part = u32::from(live.at.part);
                if self.loaded != Some(part) || !self.entries.contains_key(&live.blob) {
                    let entries = vault.part_entries(sealing, row.upload, live.at.part).await?;
                    (self.entries, self.loaded) = (by_id(&entries), Some(part));
                }
                self.at_hand(live.blob).ok_or_else(unlisted)
            }
        }
    }

    async fn of_version(
        &mut self,
        vault: &Vault,
        decided: &Decided,
        open: &OpenVersion,
        blob: BlobId,
    ) -> Result<Listed, VaultError> {
        if let Some(listed) = self.at_hand(blob) {
            return Ok(listed);
        }
        let Blobs::Paged(table) = &open.root.blobs else { return Err(unlisted()) };
        let pages = u32::try_from(table.pages.len()).unwrap_or(u32::MAX);
        // The walk follows the manifest's order, so it is nearly always the next page.
        let first = self.loaded.map_or(0, |page| page + 1);
        for step in 0..pages {
            let page = (first + step) % pages;
            let at = Location::of(decided, self.record_blob());
            let range = table.location(page).ok_or_else(unlisted)?;
            let sealed = vault.parts.store.read(&at, range).await.map_err(VaultError::reading)?;
            let opened = table.open(&open.dek, page, &sealed).map_err(VaultError::opening)?;
            (self.entries, self.loaded) = (by_id(&opened.entries), Some(page));
            if let Some(listed) = self.at_hand(blob) {
                return Ok(listed);
            }
        }
        Err(unlisted())
    }

    fn at_hand(&self, blob: BlobId) -> Option<Listed> {
        self.entries.get(&blob).copied().map(Listed::Body)
    }
}

fn by_id(entries: &[BlobEntry]) -> HashMap<BlobId, BlobEntry> {
    entries.iter().map(|entry| (BlobId::from_bytes(entry.blob), *entry)).collect()
}

fn unlisted() -> VaultError {
    VaultError::Corrupt { what: "the index names a blob that the sealed manifest does not", source: None }
}
