//! An index that counts the round trips of the index behind it, and loses its answers on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::index::{
    AbortOutcome, BlobStanding, Bucket, CompleteOutcome, Counter, CreateBucket, CreateUpload, DeleteBucket,
    DeleteMany, DeleteOutcome, DirectoryRow, DuePosition, Holder, Incarnation, Index, IndexError,
    ListOutcome, ListParts, ListRequest, ListUploads, LiveBlob, LivePosition, Lookup, NamedVersion, NewPart,
    NewUpload, NewVersion, PartRow, Precondition, PutOutcome, PutPart, PutRow, ReclaimReason, ReclaimRow,
    SetBucketClass, Upload, UploadLookup,
};
use crate::model::{
    BlobId, BucketName, ClassId, ETag, KekId, ObjectKey, TenantCode, Timestamp, UploadId, VersionId,
};

/// Counts every call that a request makes, and passes all on. What the background asks (the directory's polling, reclaiming, scrubbing, health) is
/// not counted: it belongs to no request.
#[derive(Debug)]
pub struct CountedIndex {
    inner: Arc<dyn Index>,
    tap: Arc<IndexTap>,
}

/// What was asked of an index, and what is to go wrong with it.
#[derive(Debug)]
pub struct IndexTap {
    round_trips: AtomicU64,
    parts_listed_max: AtomicU64,
    /// Answers of commits that are still to be lost.
    to_lose: AtomicU64,
    /// Who lost an answer waits here until the test lets go.
    let_go: Semaphore,
}

impl Default for IndexTap {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self { round_trips: zero(), parts_listed_max: zero(), to_lose: zero(), let_go: Semaphore::new(0) }
    }
}

impl IndexTap {
    /// Round trips so far.
    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::SeqCst)
    }

    /// The most parts that were asked for at once.
    pub fn parts_listed_max(&self) -> u64 {
        self.parts_listed_max.load(Ordering::SeqCst)
    }

    /// The next `count` commits and Completes are carried out, and their outcome is unknown.
    pub fn lose_answers(&self, count: u64) {
        self.to_lose.store(count, Ordering::SeqCst);
    }

    /// Lets one of those that lost their answer go on.
    pub fn let_go(&self) {
        self.let_go.add_permits(1);
    }

    async fn answered<T>(&self, answer: Result<T, IndexError>) -> Result<T, IndexError> {
        let one = |left: u64| left.checked_sub(1);
        if self.to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_err() {
            return answer;
        }
        self.let_go.acquire().await.expect("never closed").forget();
        Err(IndexError::Ambiguous)
    }
}

impl CountedIndex {
    /// Counts in `tap` what is asked of `inner`.
    pub fn new(inner: Arc<dyn Index>, tap: Arc<IndexTap>) -> Self {
        Self { inner, tap }
    }

    fn count(&self) -> &dyn Index {
        self.tap.round_trips.fetch_add(1, Ordering::SeqCst);
        &*self.inner
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Index for CountedIndex {
    async fn create_bucket(
        &self,
        name: &BucketName,
        tenant: TenantCode,
        class: Option<&ClassId>,
        now: Timestamp,
    ) -> Result<CreateBucket, IndexError> {
        self.count().create_bucket(name, tenant, class, now).await
    }

    async fn bucket(&self, name: &BucketName) -> Result<Option<Bucket>, IndexError> {
        self.count().bucket(name).await
    }

    async fn list_buckets(
        &self,
        tenant: TenantCode,
        after: Option<&BucketName>,
        limit: u16,
    ) -> Result<Vec<Bucket>, IndexError> {
        self.count().list_buckets(tenant, after, limit).await
    }

    async fn delete_bucket(&self, name: &BucketName, tenant: TenantCode) -> Result<DeleteBucket, IndexError> {
        self.count().delete_bucket(name, tenant).await
    }

    async fn set_bucket_class(
        &self,
        name: &BucketName,
        tenant: TenantCode,
        class: Option<&ClassId>,
    ) -> Result<SetBucketClass, IndexError> {
        self.count().set_bucket_class(name, tenant, class).await
    }

    async fn lookup(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Lookup, IndexError> {
        self.count().lookup(tenant, bucket, key).await
    }

    async fn version(&self, version: VersionId) -> Result<Option<NamedVersion>, IndexError> {
        self.count().version(version).await
    }

    async fn commit_put(
        &self,
        new: NewVersion,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<PutOutcome, IndexError> {
        self.tap.answered(self.count().commit_put(new, precondition, now).await).await
    }

    async fn delete(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<DeleteOutcome, IndexError> {
        self.count().delete(tenant, bucket, key, precondition, now).await
    }

    async fn delete_many(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
        now: Timestamp,
    ) -> Result<DeleteMany, IndexError> {
        self.count().delete_many(tenant, bucket, keys, now).await
    }

    async fn list(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        request: &ListRequest,
    ) -> Result<ListOutcome, IndexError> {
        self.count().list(tenant, bucket, request).await
    }

    async fn create_upload(&self, new: NewUpload) -> Result<CreateUpload, IndexError> {
        self.count().create_upload(new).await
    }

    async fn upload(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<UploadLookup, IndexError> {
        self.count().upload(tenant, bucket, key, upload).await
    }

    async fn put_part(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        part: NewPart,
        now: Timestamp,
    ) -> Result<PutPart, IndexError> {
        self.count().put_part(tenant, bucket, key, part, now).await
    }

    async fn list_parts(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
        after: u16,
        limit: u16,
    ) -> Result<ListParts, IndexError> {
        self.tap.parts_listed_max.fetch_max(limit.into(), Ordering::SeqCst);
        self.count().list_parts(tenant, bucket, key, upload, after, limit).await
    }

    async fn list_uploads(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        prefix: &str,
        after: Option<(&str, Option<UploadId>)>,
        limit: u16,
    ) -> Result<ListUploads, IndexError> {
        self.count().list_uploads(tenant, bucket, prefix, after, limit).await
    }

    async fn parts(&self, upload: UploadId, numbers: &[u16]) -> Result<Vec<PartRow>, IndexError> {
        self.count().parts(upload, numbers).await
    }

    async fn complete_upload(
        &self,
        upload: UploadId,
        chosen: Vec<(u16, ETag)>,
        new: NewVersion,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<CompleteOutcome, IndexError> {
        self.tap.answered(self.count().complete_upload(upload, chosen, new, precondition, now).await).await
    }

    async fn abort_upload(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
        now: Timestamp,
    ) -> Result<AbortOutcome, IndexError> {
        self.count().abort_upload(tenant, bucket, key, upload, now).await
    }

    async fn forget_completed(&self, before: Timestamp, limit: u32) -> Result<u64, IndexError> {
        self.count().forget_completed(before, limit).await
    }

    async fn enqueue_reclaim(
        &self,
        blobs: Vec<BlobId>,
        tenant: TenantCode,
        due: Timestamp,
        reason: ReclaimReason,
    ) -> Result<u64, IndexError> {
        self.count().enqueue_reclaim(blobs, tenant, due, reason).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<ReclaimRow>, IndexError> {
        self.inner.due(now, limit).await
    }

    async fn due_except(
        &self,
        now: Timestamp,
        except: &[TenantCode],
        after: Option<DuePosition>,
        limit: u32,
    ) -> Result<Vec<ReclaimRow>, IndexError> {
        self.inner.due_except(now, except, after, limit).await
    }

    async fn forget(&self, blobs: Vec<BlobId>) -> Result<u64, IndexError> {
        self.count().forget(blobs).await
    }

    async fn reclaim_depth(&self) -> Result<u64, IndexError> {
        self.inner.reclaim_depth().await
    }

    async fn counters(&self, tenant: TenantCode) -> Result<Vec<Counter>, IndexError> {
        self.count().counters(tenant).await
    }

    async fn kek_use(&self, kek: KekId, epoch: u32) -> Result<u64, IndexError> {
        self.count().kek_use(kek, epoch).await
    }

    async fn blob_standing(&self, blobs: &[BlobId]) -> Result<Vec<BlobStanding>, IndexError> {
        self.count().blob_standing(blobs).await
    }

    async fn live_blobs(&self, after: Option<LivePosition>, limit: u16) -> Result<Vec<LiveBlob>, IndexError> {
        self.inner.live_blobs(after, limit).await
    }

    async fn upload_of(&self, version: VersionId) -> Result<Option<Upload>, IndexError> {
        self.inner.upload_of(version).await
    }

    async fn see_unknown(
        &self,
        blobs: Vec<BlobId>,
        now: Timestamp,
    ) -> Result<Vec<Option<Timestamp>>, IndexError> {
        self.inner.see_unknown(blobs, now).await
    }

    async fn forget_unknown(&self, before: Timestamp) -> Result<u64, IndexError> {
        self.inner.forget_unknown(before).await
    }

    async fn take_job(
        &self,
        name: &str,
        holder: Holder,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Option<bytes::Bytes>, IndexError> {
        self.inner.take_job(name, holder, now, expires).await
    }

    async fn keep_job(
        &self,
        name: &str,
        holder: Holder,
        expires: Timestamp,
        state: bytes::Bytes,
    ) -> Result<bool, IndexError> {
        self.inner.keep_job(name, holder, expires, state).await
    }

    fn incarnation(&self) -> Incarnation {
        self.inner.incarnation()
    }

    async fn put_row(
        &self,
        kind: &str,
        id: &str,
        expected: u64,
        sealed: bytes::Bytes,
    ) -> Result<PutRow, IndexError> {
        self.inner.put_row(kind, id, expected, sealed).await
    }

    async fn row(&self, kind: &str, id: &str) -> Result<Option<DirectoryRow>, IndexError> {
        self.inner.row(kind, id).await
    }

    async fn rows(&self, kind: &str) -> Result<Vec<DirectoryRow>, IndexError> {
        self.inner.rows(kind).await
    }

    async fn rows_changed(&self, after: u64, limit: u32) -> Result<Vec<DirectoryRow>, IndexError> {
        self.inner.rows_changed(after, limit).await
    }

    async fn directory_change(&self) -> Result<u64, IndexError> {
        self.inner.directory_change().await
    }

    async fn health(&self) -> Result<(), IndexError> {
        self.inner.health().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
