//! Reading a record: the sealed record from the index, then exactly the ciphertext that covers the range, each byte
//! opened before it is handed on.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use crate::blobs::Location;
use crate::envelope::{
    BlobEntry, BlobRange, Blobs, BodyOpener, Closed, Dek, Expected, Implementation, Kek, Locator,
    OpenVersion, Page,
};
use crate::index::{Lookup, VersionRow};
use crate::model::{
    BlobId, BucketName, ByteRange, ClassId, ETag, ObjectKey, ObjectMeta, TenantCode, Timestamp,
};
use crate::placement::Placement;
use crate::telemetry::{Stage, carry, stage};

use super::memory::Lease;
use super::sealing::{kms_key_id, meta_of};
use super::{Decided, Vault, VaultError};

/// How much of an answer the server may hold back before it is written: hyper takes 16 pieces of an HTTP/1 body at most, each of
/// them one segment.
const ON_ITS_WAY_BYTES: u64 = 16 * 64 * 1024;

/// A stored version whose sealed record was opened and believed.
#[derive(Debug)]
pub struct Stored {
    vault: Vault,
    placement: Placement,
    row: VersionRow,
    kek: Kek,
    open: OpenVersion,
    meta: ObjectMeta,
}

impl Vault {
    /// Opens the record of the newest version of (`bucket`, `key`). One index round trip, no store request.
    pub async fn open(
        &self,
        decided: &Decided,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Stored, VaultError> {
        let tenant = decided.tenant_code();
        let row = match self.parts.index.lookup(tenant, bucket, key).await? {
            Lookup::Found(row) => *row,
            Lookup::NoKey => return Err(VaultError::NoSuchKey),
            Lookup::NoBucket => return Err(VaultError::NoSuchBucket),
            Lookup::NotYours => return Err(VaultError::NotYours),
        };
        let (kek, open) = self.open_row(tenant, bucket, key, &row).await?;
        let meta = meta_of(&open.root.manifest);
        Ok(Stored { vault: self.clone(), placement: Placement::clone(decided), row, kek, open, meta })
    }

    /// Opens a version's record out of its index row, and holds the row against it.
    pub(super) async fn open_row(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        row: &VersionRow,
    ) -> Result<(Kek, OpenVersion), VaultError> {
        let treatment = self.parts.classes.treatment_named(row.class_code, &row.class)?;
        let handle = self.kek_of(tenant, &treatment.kek, row.kek, row.kek_epoch).await?;
        let kek = handle.to_envelope();
        let expected = self.expected(tenant, row.class_code, row.version)?;
        let open = Closed::record(&row.record)
            .and_then(|closed| closed.locate(&expected, &kek))
            .and_then(|located| located.confirm(bucket.as_str(), key.as_bytes()))
            .and_then(|confirmed| confirmed.open_version(&kek, None))
            .map_err(VaultError::opening)?;
        // The row's own copies of sealed facts are for lists; here they must agree, or somebody edited the index.
        if open.root.manifest.entity_tag != row.etag.as_str() || open.root.plaintext_bytes != row.size {
            return Err(VaultError::Corrupt {
                what: "the index row disagrees with the sealed record",
                source: None,
            });
        }
        Ok((kek, open))
    }
}

impl Stored {
    /// Clear length in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.row.size
    }

    /// Length of all its blobs in the store, in bytes.
    pub fn sealed_bytes(&self) -> u64 {
        self.row.sealed_bytes
    }

    /// Entity tag.
    pub fn etag(&self) -> &ETag {
        &self.row.etag
    }

    /// When it was written.
    pub fn modified(&self) -> Timestamp {
        self.row.modified
    }

    /// Its class.
    pub fn class(&self) -> &ClassId {
        &self.row.class
    }

    /// What was sealed with it.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// Which key sealed it, as clients are told.
    pub fn kms_key_id(&self) -> String {
        kms_key_id(self.row.kek, self.row.kek_epoch)
    }

    /// Its opened record.
    pub(super) fn opened(&self) -> &OpenVersion {
        &self.open
    }

    /// Begins to read `range`, or everything. Returns once the first piece is opened, so that an answer's head is sent
    /// only for bytes that are right.
    ///
    /// One store request per blob touched, one per page of the manifest where the version has more than 1,024 blobs, and, for
    /// a whole version of several blobs, one for its record.
    pub async fn read(self, range: Option<ByteRange>) -> Result<Reading, VaultError> {
        let range = range.map_or(0..self.row.size, |range| range.start()..range.end());
        if range.end > self.row.size {
            return Err(VaultError::RangeOutside);
        }
        if range == (0..self.row.size) && !self.open.header.kind.has_body() {
            self.check_record_blob().await?;
        }
        let memory = self.vault.parts.memory.clone();
        let mut reading = Reading {
            left_bytes: range.end - range.start,
            plan: Plan::of(&self.open, &range)?,
            fetcher: Fetcher {
                vault: self.vault,
                placement: self.placement,
                keys: Arc::new((self.kek, self.open.dek.clone())),
                record: self.row.record,
                record_blob: BlobId::from_bytes(self.open.header.blob),
                locator: Arc::new(self.open.locator.clone()),
            },
            open: self.open,
            range,
            current: Opened::default(),
            lease: None,
            ahead: None,
            is_last: false,
        };
        // Waited for once, while nothing is held and nothing is answered: no read breaks off for want of memory later.
        if let Some(bytes) = reading.memory_bytes().await? {
            reading.lease = Some(memory.lease(&reading.fetcher.placement, bytes).await?);
        }
        stage(Stage::Open, reading.advance()).await?;
        Ok(reading)
    }
}

impl Stored {
    /// The record that stands in a blob of its own must be the index's: it is all there is where an index is lost, so a
    /// whole read is the time to notice that it is damaged. Its pages are opened as the read comes to them.
    async fn check_record_blob(&self) -> Result<(), VaultError> {
        let at = Location::of(&self.placement, BlobId::from_bytes(self.open.header.blob));
        let wanted = 0..self.row.record.len() as u64;
        let stored = self.vault.parts.store.read(&at, wanted).await.map_err(VaultError::reading)?;
        if stored == self.row.record {
            return Ok(());
        }
        Err(VaultError::Corrupt { what: "the stored record is not the index's", source: None })
    }
}

/// A record on its way to a reader.
#[derive(Debug)]
pub struct Reading {
    left_bytes: u64,
    range: Range<u64>,
    open: OpenVersion,
    plan: Plan,
    fetcher: Fetcher,
    current: Opened,
    /// Held until the read is over: for the current blob, and for the one before it while that may still be on its way out.
    lease: Option<Lease>,
    ahead: Option<Ahead>,
    /// No blob comes after the current one.
    is_last: bool,
}

/// A blob's clear bytes, where its sealed ones lay.
#[derive(Default)]
struct Opened {
    bytes: Bytes,
    /// Where in them.
    pieces: std::vec::IntoIter<Range<usize>>,
    handed_on: u64,
}

impl Opened {
    fn next(&mut self) -> Option<Bytes> {
        let piece = self.bytes.slice(self.pieces.next()?);
        self.handed_on += piece.len() as u64;
        Some(piece)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} bytes)", self.bytes.len())
    }
}

/// A blob being fetched while the one before it is sent, and the memory for it until it is the current one. Dropping it ends the
/// fetch.
#[derive(Debug)]
struct Ahead(JoinHandle<(Result<Opened, VaultError>, Lease)>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reading {
    /// Clear bytes still to come.
    pub const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// The next piece; `None` after the last. An error means that what follows must not be sent, and that the answer must
    /// be broken off, never ended cleanly.
    pub async fn next(&mut self) -> Option<Result<Bytes, VaultError>> {
        if self.left_bytes == 0 {
            return None;
        }
        let mut piece = self.current.next();
        if piece.is_none() {
            if let Err(error) = self.advance().await {
                return Some(Err(error));
            }
            piece = self.current.next();
        }
        let Some(piece) = piece else {
            let what = "the manifest covers less than the object";
            return Some(Err(VaultError::Corrupt { what, source: None }));
        };
        self.left_bytes = self.left_bytes.saturating_sub(piece.len() as u64);
        // By now the blob before is written: a slow reader holds only what it still has to read.
        if self.is_last
            && self.current.handed_on > ON_ITS_WAY_BYTES
            && let Some(lease) = &mut self.lease
        {
            lease.shrink_to(self.current.bytes.len() as u64);
        }
        Some(Ok(piece))
    }

    /// Makes the next blob's bytes the current ones, and begins to fetch the one after it.
    async fn advance(&mut self) -> Result<(), VaultError> {
        let fetched = match self.ahead.take() {
            Some(mut ahead) => (&mut ahead.0).await.map_err(|_| VaultError::Interrupted)?.0,
            None => match self.plan.next(&self.open, &self.range, &self.fetcher).await? {
                Some(range) => self.fetcher.fetch(&range).await,
                None => return Ok(()),
            },
        };
        self.current = fetched?;
        self.prefetch().await
    }

    /// Memory for the largest blob that is to be read (of a version with pages, the largest of the first page), and once more if it
    /// is not the only one.
    async fn memory_bytes(&mut self) -> Result<Option<u64>, VaultError> {
        self.plan.peek(&self.open, &self.range, &self.fetcher).await?;
        let is_only = self.plan.ready.len() == 1 && self.plan.pages.is_empty();
        let largest = self.plan.ready.iter().map(memory_of).max();
        Ok(largest.map(|bytes| if is_only { bytes } else { bytes * 2 }))
    }

    /// Fetches ahead if there is memory for it now; without, the next blob is fetched when it is its turn.
    async fn prefetch(&mut self) -> Result<(), VaultError> {
        let Some(range) = self.plan.peek(&self.open, &self.range, &self.fetcher).await? else {
            self.is_last = true;
            return Ok(());
        };
        let memory = &self.fetcher.vault.parts.memory;
        let Some(lease) = memory.try_lease(&self.fetcher.placement, memory_of(range)) else { return Ok(()) };
        let (fetcher, range) = (self.fetcher.clone(), range.clone());
        self.plan.take();
        self.ahead = Some(Ahead(tokio::spawn(carry(async move { (fetcher.fetch(&range).await, lease) }))));
        Ok(())
    }
}

/// What is fetched for a range: from the blob's first byte if its first segment is wanted, so that reading an object whole
/// verifies every byte of its blobs.
fn fetched_range(range: &BlobRange) -> Range<u64> {
    let start = if range.segments.start == 0 { 0 } else { range.stored.start };
    start..range.stored.end
}

/// It is opened where it lies.
fn memory_of(range: &BlobRange) -> u64 {
    let fetched = fetched_range(range);
    fetched.end - fetched.start
}

/// Which blobs are still to be read, the manifest's pages opened one at a time.
#[derive(Debug)]
struct Plan {
    ready: VecDeque<BlobRange>,
    pages: Range<u32>,
}

impl Plan {
    fn of(open: &OpenVersion, range: &Range<u64>) -> Result<Self, VaultError> {
        let ready = open.root.plan(range).map_err(VaultError::opening)?.into();
        let pages = match &open.root.blobs {
            Blobs::Inline(_) => 0..0,
            Blobs::Paged(table) => table.pages_for(range),
        };
        Ok(Self { ready, pages })
    }

    async fn next(
        &mut self,
        open: &OpenVersion,
        range: &Range<u64>,
        fetcher: &Fetcher,
    ) -> Result<Option<BlobRange>, VaultError> {
        self.peek(open, range, fetcher).await?;
        Ok(self.take())
    }

    async fn peek(
        &mut self,
        open: &OpenVersion,
        range: &Range<u64>,
        fetcher: &Fetcher,
    ) -> Result<Option<&BlobRange>, VaultError> {
        while self.ready.is_empty() {
            let Some(page) = self.pages.next() else { break };
            self.ready = fetcher.page(open, page).await?.plan(range).into();
        }
        Ok(self.ready.front())
    }

    fn take(&mut self) -> Option<BlobRange> {
        self.ready.pop_front()
    }
}

/// Fetches and opens.
#[derive(Clone, Debug)]
struct Fetcher {
    vault: Vault,
    placement: Placement,
    keys: Arc<(Kek, Dek)>,
    /// The version's record as the index has it.
    record: Bytes,
    record_blob: BlobId,
    locator: Arc<Locator>,
}

impl Fetcher {
    async fn fetch(&self, range: &BlobRange) -> Result<Opened, VaultError> {
        let at = Location::of(&self.placement, BlobId::from_bytes(range.entry.blob));
        let opener = BodyOpener::new(&self.keys.1, &range.entry, Implementation::AwsLc)
            .map_err(VaultError::opening)?;
        let wanted = fetched_range(range);
        let front = usize::try_from(range.stored.start - wanted.start).unwrap_or(usize::MAX);
        let sealed = self.vault.parts.store.read(&at, wanted).await.map_err(VaultError::reading)?;
        // No copy, but of a store's that keeps what it hands out.
        let mut bytes = sealed.try_into_mut().unwrap_or_else(|kept| BytesMut::from(&*kept));
        let (head, segments) = bytes
            .split_at_mut_checked(front)
            .ok_or(VaultError::Corrupt { what: "a blob is truncated", source: None })?;
        if !head.is_empty() {
            self.check_head(&range.entry, head)?;
        }
        let pieces = range.open(&opener, segments).map_err(VaultError::opening)?;
        Ok(Opened { bytes: bytes.freeze().slice(front..), pieces: pieces.into_iter(), handed_on: 0 })
    }

    /// What stands in front of a body's first segment must be what was written there, though the reader has it from the
    /// index: a blob that does not say what it is, or says something else, is never served.
    fn check_head(&self, entry: &BlobEntry, head: &[u8]) -> Result<(), VaultError> {
        let wrong = || VaultError::Corrupt { what: "a blob's head is not the one written", source: None };
        let border = entry.body_offset_bytes as usize;
        let (head, floe_header) = head.split_at_checked(border).ok_or_else(wrong)?;
        if floe_header != entry.floe_header.as_bytes() {
            return Err(wrong());
        }
        if entry.blob == *self.record_blob.as_bytes() {
            return if head == self.record { Ok(()) } else { Err(wrong()) };
        }
        let (kek, dek) = &*self.keys;
        Closed::front(head)
            .and_then(|closed| closed.locate(&Expected::exactly(dek.binding(), entry.blob), kek))
            .and_then(|located| located.confirm(&self.locator.bucket, &self.locator.key))
            .map(|_| ())
            .map_err(VaultError::opening)
    }

    async fn page(&self, open: &OpenVersion, page: u32) -> Result<Page, VaultError> {
        let missing = || VaultError::Corrupt { what: "a page of the manifest is missing", source: None };
        let Blobs::Paged(table) = &open.root.blobs else { return Err(missing()) };
        let stored = table.location(page).ok_or_else(missing)?;
        let at = Location::of(&self.placement, self.record_blob);
        let sealed = self.vault.parts.store.read(&at, stored).await.map_err(VaultError::reading)?;
        table.open(&self.keys.1, page, &sealed).map_err(VaultError::opening)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_read_showed_the_records_clear_bytes() {
        let bytes = Bytes::from_static(b"jeanne martin");
        let opened = Opened { bytes, pieces: vec![0..6, 7..13].into_iter(), handed_on: 0 };
        assert_eq!(format!("{opened:?}"), "Opened(13 bytes)");
    }
}
