//! The index of one region: which versions exist under which names, which blobs they are, and what waits to be deleted.
//!
//! The store holds sealed blobs under opaque names; everything S3 needs to answer by name lives here. [`Index`] is the
//! contract, [`SqliteIndex`] the embedded implementation for one replica, [`PostgresIndex`] the one for several. One contract suite
//! runs on every implementation.
//!
//! Rules that every implementation keeps:
//!  - *Bytes first*: a version is committed only after its blobs are durable, so never a version without bytes.
//!  - *One head per (bucket, key)*, changed in the transaction that checks the precondition and assigns the sequence.
//!  - *A blob is live or reclaimed, never both*: what a change replaces goes to the reclaim queue in the same
//!    transaction; a blob in the queue never becomes live again ([`IndexError::Reclaimed`]).
//!  - *Every change is idempotent by its identifiers*, so that after [`IndexError::Ambiguous`] it may be repeated.
//!  - *A change outlives its caller*: dropping the future does not withdraw it.
//!  - *Errors are errors*: an index that cannot answer never answers "nothing there".

mod answers;
mod error;
mod fields;
mod limits;
mod outcomes;
mod postgres;
mod rows;
mod sql;
mod sqlite;

use std::fmt;

use async_trait::async_trait;

use crate::model::{
    BlobId, BucketName, ClassId, ETag, KekId, ObjectKey, TenantCode, Timestamp, UploadId, VersionId,
};

pub use error::{EngineError, IndexError};
pub use outcomes::{
    AbortOutcome, CompleteOutcome, CreateBucket, CreateUpload, DeleteBucket, DeleteMany, DeleteOutcome,
    ListOutcome, ListParts, ListUploads, Lookup, Precondition, PutOutcome, PutPart, PutRow, SetBucketClass,
    UploadLookup,
};
pub use postgres::{INDEX_SCHEMA, PostgresIndex, PostgresOptions};
pub use rows::{
    BlobStanding, Bucket, CompletedUpload, Counter, DirectoryRow, DuePosition, Holder, Incarnation,
    ListEntry, ListPage, ListRequest, LiveBlob, LivePosition, NamedVersion, NewBlob, NewPart, NewUpload,
    NewVersion, PartRow, PartsPage, Position, ReclaimReason, ReclaimRow, Sequence, Upload, UploadEntry,
    UploadsPage, VersionRow,
};
pub use sqlite::{Opening, SqliteIndex, SqliteOptions};

/// Entries on one page, and keys in one `delete_many` (S3 API reference, `ListObjectsV2`, `DeleteObjects`).
pub const PAGE_MAX: u16 = 1000;

/// The highest part number, and so the most parts of one upload (S3 User Guide, "multipart upload limits").
pub const PART_NUMBER_MAX: u16 = 10_000;

/// The longest version record, upload record, metadata or part descriptor, bytes. Above it, manifest pages belong in blobs.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// Blobs named by one commit: 8 MiB each make 80 GiB, sixteen times S3's largest single PUT or part (5 GiB).
pub const BLOBS_PER_COMMIT_MAX: usize = 10_240;

/// Identifiers in one call about blobs ([`Index::enqueue_reclaim`], [`Index::forget`], [`Index::blob_standing`]), and rows of [`Index::due`].
pub const BLOB_IDS_MAX: usize = 10_240;

/// Unknown blobs that are remembered ([`Index::see_unknown`]): what a store that strangers write to can make the index grow by.
pub const UNKNOWN_BLOBS_MAX: u64 = 100_000;

/// The longest state of a job ([`Index::keep_job`]), bytes.
pub const JOB_STATE_BYTES_MAX: usize = 64 << 10;

/// The index of one region. *Round trips* below are trips to the database as a network would see them.
#[async_trait]
pub trait Index: Send + Sync + fmt::Debug {
    // ---- buckets ----

    /// Makes a bucket, unless its name is taken in this region. 1 round trip; in `PostgreSQL` 6, under a lock.
    async fn create_bucket(
        &self,
        name: &BucketName,
        tenant: TenantCode,
        class: Option<&ClassId>,
        now: Timestamp,
    ) -> Result<CreateBucket, IndexError>;

    /// The bucket of that name, whoever owns it. 1 round trip.
    async fn bucket(&self, name: &BucketName) -> Result<Option<Bucket>, IndexError>;

    /// At most `limit` (≤ [`PAGE_MAX`]) of the tenant's buckets by name, after `after`. 1 round trip.
    async fn list_buckets(
        &self,
        tenant: TenantCode,
        after: Option<&BucketName>,
        limit: u16,
    ) -> Result<Vec<Bucket>, IndexError>;

    /// Removes an empty bucket: no version, no open upload. 1 round trip.
    async fn delete_bucket(&self, name: &BucketName, tenant: TenantCode) -> Result<DeleteBucket, IndexError>;

    /// Sets or clears a bucket's class rule; what is stored already keeps its class. 1 round trip.
    async fn set_bucket_class(
        &self,
        name: &BucketName,
        tenant: TenantCode,
        class: Option<&ClassId>,
    ) -> Result<SetBucketClass, IndexError>;

    // ---- versions ----

    /// The current version of a key, ownership checked in the same statement. 1 round trip.
    async fn lookup(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Lookup, IndexError>;

    /// A version by its identity: how an ambiguous commit is resolved. 1 round trip.
    async fn version(&self, version: VersionId) -> Result<Option<NamedVersion>, IndexError>;

    /// Makes `new` the current version if `precondition` holds; what it replaces goes to reclaim, due the index's
    /// reclaim delay after `now`. 1 round trip.
    ///
    /// Repeating a commit of the same version id answers `Committed` with the same sequence, while that version exists;
    /// once it was replaced or deleted, [`IndexError::Reclaimed`].
    async fn commit_put(
        &self,
        new: NewVersion,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<PutOutcome, IndexError>;

    /// Removes the current version of a key if `precondition` holds. 1 round trip.
    async fn delete(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<DeleteOutcome, IndexError>;

    /// Removes the current versions of at most [`PAGE_MAX`] keys in one transaction. 1 round trip.
    async fn delete_many(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
        now: Timestamp,
    ) -> Result<DeleteMany, IndexError>;

    /// One page of current versions, in bytewise order, of one moment. Skips what a common prefix covers, never scans it.
    /// 1 round trip.
    async fn list(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        request: &ListRequest,
    ) -> Result<ListOutcome, IndexError>;

    // ---- multipart uploads ----

    /// Opens an upload, unless the tenant has as many as it may. 1 round trip; in `PostgreSQL`, of a tenant that has fewer than 1,000
    /// left, 5 under a lock of the tenant's.
    async fn create_upload(&self, new: NewUpload) -> Result<CreateUpload, IndexError>;

    /// An upload by its identity; it must be under that bucket and key. 1 round trip.
    async fn upload(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<UploadLookup, IndexError>;

    /// Stores an attempt at a part; an older attempt's blobs go to reclaim. 1 round trip.
    async fn put_part(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        part: NewPart,
        now: Timestamp,
    ) -> Result<PutPart, IndexError>;

    /// At most `limit` (≤ [`PAGE_MAX`]) parts of an open upload with numbers above `after`. 1 round trip.
    async fn list_parts(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
        after: u16,
        limit: u16,
    ) -> Result<ListParts, IndexError>;

    /// At most `limit` (≤ [`PAGE_MAX`]) open uploads whose key starts with `prefix`, by key and then identifier, after
    /// the marker: all of a key's (`(key, None)`), or from an upload of that key on (`(key, Some(upload))`). 1 round trip.
    async fn list_uploads(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        prefix: &str,
        after: Option<(&str, Option<UploadId>)>,
        limit: u16,
    ) -> Result<ListUploads, IndexError>;

    /// Those of the numbered parts that an open upload has, by number; ownership was checked by
    /// [`upload`](Self::upload). 1 round trip.
    async fn parts(&self, upload: UploadId, numbers: &[u16]) -> Result<Vec<PartRow>, IndexError>;

    /// Makes the chosen parts, ascending by number and each with the tag the client named, the current version of the
    /// upload's key. `new.version` must be the upload's. Unchosen parts' blobs go to reclaim. 1 round trip.
    ///
    /// `new.size` must be the sum of the chosen parts' sizes, or nothing is changed ([`IndexError::Invalid`]). In `PostgreSQL` 8
    /// round trips, under a lock of the upload.
    async fn complete_upload(
        &self,
        upload: UploadId,
        chosen: Vec<(u16, ETag)>,
        new: NewVersion,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<CompleteOutcome, IndexError>;

    /// Gives up an upload. 1 round trip; in `PostgreSQL` 4, under a lock of the upload.
    async fn abort_upload(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
        now: Timestamp,
    ) -> Result<AbortOutcome, IndexError>;

    /// Forgets at most `limit` uploads completed before `before`: a Complete repeated later gets `NoUpload`. Answers how
    /// many. 1 round trip.
    async fn forget_completed(&self, before: Timestamp, limit: u32) -> Result<u64, IndexError>;

    // ---- reclaim ----

    /// Queues blobs of a write that came to nothing. A blob that is live, or queued already, is left as it is. Answers
    /// how many were queued. 1 round trip.
    async fn enqueue_reclaim(
        &self,
        blobs: Vec<BlobId>,
        tenant: TenantCode,
        due: Timestamp,
        reason: ReclaimReason,
    ) -> Result<u64, IndexError>;

    /// At most `limit` blobs due at `now`, the longest due first. 1 round trip.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<ReclaimRow>, IndexError>;

    /// As [`due`](Self::due), without the blobs of these tenants (at most [`PAGE_MAX`]): what cannot be deleted now must not
    /// stand in the way of what can. Looks at each of the blobs it passes over. Only what stands behind `after`, the last row
    /// of the page before. 1 round trip.
    async fn due_except(
        &self,
        now: Timestamp,
        except: &[TenantCode],
        after: Option<DuePosition>,
        limit: u32,
    ) -> Result<Vec<ReclaimRow>, IndexError>;

    /// Removes blobs from the queue, after the store has deleted them. Answers how many were there. 1 round trip.
    async fn forget(&self, blobs: Vec<BlobId>) -> Result<u64, IndexError>;

    /// How many blobs are queued. 1 round trip.
    async fn reclaim_depth(&self) -> Result<u64, IndexError>;

    // ---- questions of the scrubber, the report and key retirement ----

    /// What the tenant's buckets hold by class, zero rows left out. 1 round trip.
    async fn counters(&self, tenant: TenantCode) -> Result<Vec<Counter>, IndexError>;

    /// How many versions and open uploads need this epoch of this KEK. 1 round trip.
    async fn kek_use(&self, kek: KekId, epoch: u32) -> Result<u64, IndexError>;

    /// What the index knows of each blob, in the order asked. 1 round trip.
    async fn blob_standing(&self, blobs: &[BlobId]) -> Result<Vec<BlobStanding>, IndexError>;

    /// At most `limit` (≤ [`PAGE_MAX`]) blobs of versions and of open uploads, by version, part and place in the part,
    /// after `after`. 1 round trip.
    async fn live_blobs(&self, after: Option<LivePosition>, limit: u16) -> Result<Vec<LiveBlob>, IndexError>;

    /// The *open* upload that will become `version`. 1 round trip.
    async fn upload_of(&self, version: VersionId) -> Result<Option<Upload>, IndexError>;

    /// Notes that these blobs (≤ [`BLOB_IDS_MAX`]) were found in the store and not here, at `now`; answers, in the order
    /// asked, when each was found so first. `None`: [`UNKNOWN_BLOBS_MAX`] others are remembered already. 1 round trip.
    async fn see_unknown(
        &self,
        blobs: Vec<BlobId>,
        now: Timestamp,
    ) -> Result<Vec<Option<Timestamp>>, IndexError>;

    /// Forgets the unknown blobs that were last seen before `before`. Answers how many. 1 round trip.
    async fn forget_unknown(&self, before: Timestamp) -> Result<u64, IndexError>;

    // ---- jobs: work of which the region has one at a time, over all its replicas ----

    /// Takes the job `name` (1 to 32 bytes) until `expires`, if nobody has it or whoever has it let it expire before `now`.
    /// Answers its state as it was last kept, empty at first; `None`: somebody else has it. Taking what one has prolongs
    /// it. 1 round trip.
    async fn take_job(
        &self,
        name: &str,
        holder: Holder,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Option<bytes::Bytes>, IndexError>;

    /// Keeps the job until `expires` and its state (≤ [`JOB_STATE_BYTES_MAX`]). False: it is not this holder's any more, and
    /// nothing was changed. 1 round trip.
    async fn keep_job(
        &self,
        name: &str,
        holder: Holder,
        expires: Timestamp,
        state: bytes::Bytes,
    ) -> Result<bool, IndexError>;

    /// Which life of the database this is; read at open.
    fn incarnation(&self) -> Incarnation;

    // ---- directory ----

    /// Stores a row if its generation is still `expected` (0: there is no such row); its generation becomes
    /// `expected + 1`. 1 round trip.
    async fn put_row(
        &self,
        kind: &str,
        id: &str,
        expected: u64,
        sealed: bytes::Bytes,
    ) -> Result<PutRow, IndexError>;

    /// A row. 1 round trip.
    async fn row(&self, kind: &str, id: &str) -> Result<Option<DirectoryRow>, IndexError>;

    /// All rows of a kind, by id. 1 round trip.
    async fn rows(&self, kind: &str) -> Result<Vec<DirectoryRow>, IndexError>;

    /// At most `limit` rows of every kind changed after change number `after`, oldest change first. 1 round trip.
    async fn rows_changed(&self, after: u64, limit: u32) -> Result<Vec<DirectoryRow>, IndexError>;

    /// The change number of the newest change, 0 before the first: "anything newer than N?" 1 round trip.
    async fn directory_change(&self) -> Result<u64, IndexError>;

    // ---- life ----

    /// Whether the index answers and is still the one that was opened. 1 round trip.
    async fn health(&self) -> Result<(), IndexError>;

    /// Finishes what was accepted and closes; later calls get [`IndexError::Closed`].
    async fn close(&self);
}
