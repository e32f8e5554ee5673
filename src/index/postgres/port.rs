//! [`Index`] for [`PostgresIndex`]: limits are checked, then the work is a question or a change.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;

use super::PostgresIndex;
use super::{buckets, directory, questions, reclaim, scrub, uploads, versions};
use crate::index::limits::{
    check, check_blob_ids, check_blobs, check_page, check_part_numbers, check_record, check_version,
};
use crate::index::{
    AbortOutcome, BLOB_IDS_MAX, BlobStanding, Bucket, CompleteOutcome, Counter, CreateBucket, CreateUpload,
    DeleteBucket, DeleteMany, DeleteOutcome, DirectoryRow, DuePosition, Holder, Incarnation, Index,
    IndexError, JOB_STATE_BYTES_MAX, ListOutcome, ListParts, ListRequest, ListUploads, LiveBlob,
    LivePosition, Lookup, NamedVersion, NewPart, NewUpload, NewVersion, PAGE_MAX, PartRow, Precondition,
    PutOutcome, PutPart, PutRow, ReclaimReason, ReclaimRow, SetBucketClass, Upload, UploadLookup,
};
use crate::model::{
    BlobId, BucketName, ClassId, ETag, KekId, ObjectKey, TenantCode, Timestamp, UploadId, VersionId,
};

#[async_trait]
impl Index for PostgresIndex {
    async fn create_bucket(
        &self,
        name: &BucketName,
        tenant: TenantCode,
        class: Option<&ClassId>,
        now: Timestamp,
    ) -> Result<CreateBucket, IndexError> {
        self.inner.change(buckets::Create { name: name.clone(), tenant, class: class.cloned(), now }).await
    }

    async fn bucket(&self, name: &BucketName) -> Result<Option<Bucket>, IndexError> {
        buckets::bucket(&self.inner, name).await
    }

    async fn list_buckets(
        &self,
        tenant: TenantCode,
        after: Option<&BucketName>,
        limit: u16,
    ) -> Result<Vec<Bucket>, IndexError> {
        check_page(limit)?;
        buckets::list(&self.inner, tenant, after, limit).await
    }

    async fn delete_bucket(&self, name: &BucketName, tenant: TenantCode) -> Result<DeleteBucket, IndexError> {
        self.inner.change(buckets::Delete { name: name.clone(), tenant }).await
    }

    async fn set_bucket_class(
        &self,
        name: &BucketName,
        tenant: TenantCode,
        class: Option<&ClassId>,
    ) -> Result<SetBucketClass, IndexError> {
        self.inner.change(buckets::SetClass { name: name.clone(), tenant, class: class.cloned() }).await
    }

    async fn lookup(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Lookup, IndexError> {
        versions::lookup(&self.inner, tenant, bucket, key).await
    }

    async fn version(&self, version: VersionId) -> Result<Option<NamedVersion>, IndexError> {
        versions::by_id(&self.inner, version).await
    }

    async fn commit_put(
        &self,
        new: NewVersion,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<PutOutcome, IndexError> {
        check_version(&new)?;
        check(!new.blobs.is_empty(), "must name at least one blob: never a version without bytes")?;
        self.inner.change(versions::Put { new, precondition, now }).await
    }

    async fn delete(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<DeleteOutcome, IndexError> {
        let (bucket, key) = (bucket.clone(), key.clone());
        self.inner.change(versions::Delete { tenant, bucket, key, precondition, now }).await
    }

    async fn delete_many(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        keys: Vec<ObjectKey>,
        now: Timestamp,
    ) -> Result<DeleteMany, IndexError> {
        check(keys.len() <= usize::from(PAGE_MAX), "must name at most 1000 keys")?;
        self.inner
            .change(versions::DeleteKeys { tenant, bucket: bucket.clone(), keys, now, done: HashMap::new() })
            .await
    }

    async fn list(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        request: &ListRequest,
    ) -> Result<ListOutcome, IndexError> {
        check_page(request.limit)?;
        check(request.delimiter.as_deref() != Some(""), "must have a delimiter that is not empty, or none")?;
        versions::list(&self.inner, tenant, bucket, request).await
    }

    async fn create_upload(&self, new: NewUpload) -> Result<CreateUpload, IndexError> {
        check_record(&new.record)?;
        check_record(&new.metadata)?;
        self.inner.change(uploads::Create(new)).await
    }

    async fn upload(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
    ) -> Result<UploadLookup, IndexError> {
        uploads::lookup(&self.inner, tenant, (bucket, key, upload)).await
    }

    async fn put_part(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        part: NewPart,
        now: Timestamp,
    ) -> Result<PutPart, IndexError> {
        check_part_numbers([part.number])?;
        check_record(&part.descriptor)?;
        check_blobs(&part.blobs)?;
        check(!part.blobs.is_empty(), "must name at least one blob: never a part without bytes")?;
        self.inner.change(uploads::Put { tenant, bucket: bucket.clone(), key: key.clone(), part, now }).await
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
        check_page(limit)?;
        uploads::list_parts(&self.inner, tenant, (bucket, key, upload), after, limit).await
    }

    async fn list_uploads(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        prefix: &str,
        after: Option<(&str, Option<UploadId>)>,
        limit: u16,
    ) -> Result<ListUploads, IndexError> {
        check_page(limit)?;
        uploads::list_uploads(&self.inner, tenant, bucket, prefix, after, limit).await
    }

    async fn parts(&self, upload: UploadId, numbers: &[u16]) -> Result<Vec<PartRow>, IndexError> {
        check_part_numbers(numbers.iter().copied())?;
        uploads::parts(&self.inner, upload, numbers).await
    }

    async fn complete_upload(
        &self,
        upload: UploadId,
        chosen: Vec<(u16, ETag)>,
        new: NewVersion,
        precondition: Precondition,
        now: Timestamp,
    ) -> Result<CompleteOutcome, IndexError> {
        check_version(&new)?;
        check_part_numbers(chosen.iter().map(|(number, _)| *number))?;
        check(!chosen.is_empty(), "must choose at least one part")?;
        check(chosen.is_sorted_by(|a, b| a.0 < b.0), "must choose parts in ascending order")?;
        self.inner.change(uploads::Complete { upload, chosen, new, precondition, now }).await
    }

    async fn abort_upload(
        &self,
        tenant: TenantCode,
        bucket: &BucketName,
        key: &ObjectKey,
        upload: UploadId,
        now: Timestamp,
    ) -> Result<AbortOutcome, IndexError> {
        self.inner
            .change(uploads::Abort { tenant, bucket: bucket.clone(), key: key.clone(), upload, now })
            .await
    }

    async fn forget_completed(&self, before: Timestamp, limit: u32) -> Result<u64, IndexError> {
        self.inner.change(uploads::ForgetCompleted { before, limit }).await
    }

    async fn enqueue_reclaim(
        &self,
        blobs: Vec<BlobId>,
        tenant: TenantCode,
        due: Timestamp,
        reason: ReclaimReason,
    ) -> Result<u64, IndexError> {
        check_blob_ids(&blobs)?;
        self.inner.change(reclaim::Enqueue { blobs, tenant, due, reason }).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<ReclaimRow>, IndexError> {
        check(limit as usize <= BLOB_IDS_MAX, "must ask for at most 10240 blobs")?;
        reclaim::due(&self.inner, now, limit).await
    }

    async fn due_except(
        &self,
        now: Timestamp,
        except: &[TenantCode],
        after: Option<DuePosition>,
        limit: u32,
    ) -> Result<Vec<ReclaimRow>, IndexError> {
        check(limit as usize <= BLOB_IDS_MAX, "must ask for at most 10240 blobs")?;
        check(except.len() <= usize::from(PAGE_MAX), "must pass over at most 1000 tenants")?;
        reclaim::due_except(&self.inner, now, except, after, limit).await
    }

    async fn forget(&self, blobs: Vec<BlobId>) -> Result<u64, IndexError> {
        check_blob_ids(&blobs)?;
        self.inner.change(reclaim::Forget { blobs }).await
    }

    async fn reclaim_depth(&self) -> Result<u64, IndexError> {
        reclaim::depth(&self.inner).await
    }

    async fn counters(&self, tenant: TenantCode) -> Result<Vec<Counter>, IndexError> {
        questions::counters(&self.inner, tenant).await
    }

    async fn kek_use(&self, kek: KekId, epoch: u32) -> Result<u64, IndexError> {
        questions::kek_use(&self.inner, kek, epoch).await
    }

    async fn blob_standing(&self, blobs: &[BlobId]) -> Result<Vec<BlobStanding>, IndexError> {
        check_blob_ids(blobs)?;
        questions::standing(&self.inner, blobs).await
    }

    async fn live_blobs(&self, after: Option<LivePosition>, limit: u16) -> Result<Vec<LiveBlob>, IndexError> {
        check_page(limit)?;
        scrub::live_blobs(&self.inner, after, limit).await
    }

    async fn upload_of(&self, version: VersionId) -> Result<Option<Upload>, IndexError> {
        scrub::upload_of(&self.inner, version).await
    }

    async fn see_unknown(
        &self,
        blobs: Vec<BlobId>,
        now: Timestamp,
    ) -> Result<Vec<Option<Timestamp>>, IndexError> {
        check_blob_ids(&blobs)?;
        self.inner.change(scrub::See { blobs, now }).await
    }

    async fn forget_unknown(&self, before: Timestamp) -> Result<u64, IndexError> {
        self.inner.change(scrub::ForgetUnknown { before }).await
    }

    async fn take_job(
        &self,
        name: &str,
        holder: Holder,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Option<Bytes>, IndexError> {
        check((1..=32).contains(&name.len()), "must have a job's name of 1 to 32 bytes")?;
        self.inner.change(scrub::TakeJob { name: name.to_owned(), holder, now, expires }).await
    }

    async fn keep_job(
        &self,
        name: &str,
        holder: Holder,
        expires: Timestamp,
        state: Bytes,
    ) -> Result<bool, IndexError> {
        check(state.len() <= JOB_STATE_BYTES_MAX, "must keep a job's state within 64 KiB")?;
        self.inner.change(scrub::KeepJob { name: name.to_owned(), holder, expires, state }).await
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    async fn put_row(
        &self,
        kind: &str,
        id: &str,
        expected: u64,
        sealed: Bytes,
    ) -> Result<PutRow, IndexError> {
        check((1..=32).contains(&kind.len()), "must have a kind of 1 to 32 bytes")?;
        check((1..=128).contains(&id.len()), "must have an id of 1 to 128 bytes")?;
        check_record(&sealed)?;
        self.inner.change(directory::Put { kind: kind.to_owned(), id: id.to_owned(), expected, sealed }).await
    }

    async fn row(&self, kind: &str, id: &str) -> Result<Option<DirectoryRow>, IndexError> {
        directory::row(&self.inner, kind, id).await
    }

    async fn rows(&self, kind: &str) -> Result<Vec<DirectoryRow>, IndexError> {
        directory::rows(&self.inner, kind).await
    }

    async fn rows_changed(&self, after: u64, limit: u32) -> Result<Vec<DirectoryRow>, IndexError> {
        directory::changed(&self.inner, after, limit).await
    }

    async fn directory_change(&self) -> Result<u64, IndexError> {
        directory::change(&self.inner).await
    }

    async fn health(&self) -> Result<(), IndexError> {
        questions::health(&self.inner, self.incarnation).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
