//! Values to write, each with identifiers of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use terroir::index::{
    CreateBucket, Index, ListOutcome, ListPage, ListRequest, Lookup, NewBlob, NewPart, NewUpload, NewVersion,
    Position, Precondition, PutOutcome, Sequence, VersionRow,
};
use terroir::model::{
    BlobId, BucketName, ClassCode, ClassId, ETag, KekId, ObjectKey, TenantCode, Timestamp, UploadId,
    VersionId,
};

/// How long the fixtures' indexes keep replaced blobs.
pub(super) const RECLAIM_DELAY: Duration = Duration::from_hours(1);
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
pub(super) const OURS: TenantCode = TenantCode::from_bytes([1; 16]);
pub(super) const THEIRS: TenantCode = TenantCode::from_bytes([2; 16]);
pub(super) const KEK: KekId = KekId::from_bytes([7; 16]);

static NEXT: AtomicU64 = AtomicU64::new(1);

pub(super) fn unique() -> [u8; 16] {
    // Mixed, so that identifiers do not arrive in order.
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..].copy_from_slice(&(n ^ u64::from(std::process::id()) << 32).to_be_bytes());
    bytes
}

pub(super) fn etag() -> ETag {
    hex::encode(unique()).parse().unwrap()
}

pub(super) fn bucket(name: &str) -> BucketName {
    name.parse().unwrap()
}

pub(super) fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

pub(super) fn class(text: &str) -> ClassId {
    text.parse().unwrap()
}

pub(super) fn blobs(count: usize) -> Vec<NewBlob> {
    (0..count).map(|_| NewBlob { id: BlobId::from_bytes(unique()), stored_bytes: 100 }).collect()
}

pub(super) fn version(bucket_name: &str, key_text: &str) -> NewVersion {
    NewVersion {
        version: VersionId::from_bytes(unique()),
        tenant: OURS,
        bucket: bucket(bucket_name),
        key: key(key_text),
        class: class("health"),
        class_code: ClassCode(3),
        etag: etag(),
        size: 64,
        sealed_bytes: 100,
        modified: NOW,
        kek: KEK,
        kek_epoch: 1,
        record: Bytes::from_static(b"sealed record"),
        blobs: blobs(1),
    }
}

pub(super) fn upload(bucket_name: &str, key_text: &str) -> NewUpload {
    NewUpload {
        upload: UploadId::from_bytes(unique()),
        version: VersionId::from_bytes(unique()),
        tenant: OURS,
        bucket: bucket(bucket_name),
        key: key(key_text),
        class: class("health"),
        class_code: ClassCode(3),
        kek: KEK,
        kek_epoch: 1,
        created: NOW,
        record: Bytes::from_static(b"upload record"),
        metadata: Bytes::from_static(b"sealed metadata"),
    }
}

pub(super) fn part(upload: &NewUpload, number: u16) -> NewPart {
    NewPart {
        upload: upload.upload,
        number,
        etag: etag(),
        size: 10,
        modified: NOW,
        descriptor: Bytes::from(format!("part {number}")),
        blobs: blobs(2),
    }
}

/// The version that completes `upload` from parts of `size` bytes together.
pub(super) fn completion(upload: &NewUpload, size: u64) -> NewVersion {
    NewVersion { version: upload.version, size, ..version(upload.bucket.as_str(), upload.key.as_str()) }
}

pub(super) async fn make_bucket(index: &dyn Index, name: &str) {
    assert_eq!(index.create_bucket(&bucket(name), OURS, None, NOW).await.unwrap(), CreateBucket::Created);
}

/// Puts a fresh version and answers what was put.
pub(super) async fn put(index: &dyn Index, bucket_name: &str, key_text: &str) -> NewVersion {
    let new = version(bucket_name, key_text);
    committed(index.commit_put(new.clone(), Precondition::None, NOW).await.unwrap());
    new
}

pub(super) fn committed(outcome: PutOutcome) -> Sequence {
    match outcome {
        PutOutcome::Committed { seq, .. } => seq,
        other => panic!("not committed: {other:?}"),
    }
}

pub(super) async fn found(index: &dyn Index, bucket_name: &str, key_text: &str) -> Option<VersionRow> {
    match index.lookup(OURS, &bucket(bucket_name), &key(key_text)).await.unwrap() {
        Lookup::Found(row) => Some(*row),
        Lookup::NoKey => None,
        other => panic!("not looked up: {other:?}"),
    }
}

pub(super) fn request(prefix: &str, delimiter: &str, after: Option<Position>, limit: u16) -> ListRequest {
    let delimiter = if delimiter.is_empty() { None } else { Some(delimiter.to_owned()) };
    ListRequest { prefix: prefix.to_owned(), delimiter, after, limit }
}

pub(super) async fn page(index: &dyn Index, bucket_name: &str, request: &ListRequest) -> ListPage {
    match index.list(OURS, &bucket(bucket_name), request).await.unwrap() {
        ListOutcome::Page(page) => page,
        other => panic!("not listed: {other:?}"),
    }
}

pub(super) fn keys(page: &ListPage) -> Vec<&str> {
    page.entries.iter().map(|entry| entry.key.as_str()).collect()
}

/// Everything in the reclaim queue, whenever it is due.
pub(super) async fn queued(index: &dyn Index) -> Vec<BlobId> {
    let all = index.due(Timestamp::from_millis(i64::MAX.unsigned_abs()), 10_240).await.unwrap();
    all.iter().map(|row| row.blob).collect()
}

pub(super) fn ids(blobs: &[NewBlob]) -> Vec<BlobId> {
    blobs.iter().map(|blob| blob.id).collect()
}

pub(super) type Shared = Arc<dyn Index>;
