//! What the index stores, as values. Record, metadata and descriptor bytes are sealed elsewhere and opaque here.
//!
//! `Debug` of every type is safe to print: keys, prefixes and positions show lengths only.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::model::{
    BlobId, BucketName, ClassCode, ClassId, ETag, KekId, ObjectKey, TenantCode, Timestamp, UploadId,
    VersionId,
};

/// Place in the region's order of commits: higher is later. Unique per mutation of a key, never reused under one
/// [`Incarnation`]; the future journal and If-Match rest on it. Of two mutations the later one has the higher number if they are
/// of one key, or if it began after the other was acknowledged; of two under way together, either may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// Which life of the database this is: 16 random bytes made with the schema. A restored or recreated index must be
/// given a new one, so that sequences and absences of different lives are never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub [u8; 16]);

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Unique in the region.
    pub name: BucketName,
    /// The tenant that owns it.
    pub owner: TenantCode,
    /// The bucket's class rule: the floor of what is written into it.
    pub class: Option<ClassId>,
    /// When it was created.
    pub created: Timestamp,
}

/// One blob of a new version or part; its ordinal is its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewBlob {
    /// Its name in the store.
    pub id: BlobId,
    /// Its length in the store, bytes.
    pub stored_bytes: u64,
}

/// A version to be made the current one of its key. Its blobs are durable in the store already.
#[derive(Clone, Debug)]
pub struct NewVersion {
    /// Its identity for ever; makes a repeated commit idempotent.
    pub version: VersionId,
    /// The tenant that writes; must own the bucket.
    pub tenant: TenantCode,
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The class it was sealed as.
    pub class: ClassId,
    /// The same class as the envelope spells it.
    pub class_code: ClassCode,
    /// Its entity tag.
    pub etag: ETag,
    /// Clear length, bytes: what listings show.
    pub size: u64,
    /// Total length of all its blobs in the store, bytes.
    pub sealed_bytes: u64,
    /// What `Last-Modified` shows.
    pub modified: Timestamp,
    /// The KEK that wraps its DEK.
    pub kek: KekId,
    /// That KEK's epoch.
    pub kek_epoch: u32,
    /// The sealed version record, at most [`super::RECORD_BYTES_MAX`].
    pub record: Bytes,
    /// Its blobs, at most [`super::BLOBS_PER_COMMIT_MAX`]. On Complete: only those beside the parts' (the record's own
    /// blob); the chosen parts' blobs become the version's without being named.
    pub blobs: Vec<NewBlob>,
}

/// A stored version, without its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRow {
    /// Its identity.
    pub version: VersionId,
    /// When it was committed, in the region's order.
    pub seq: Sequence,
    /// Whether S3 calls it `null`. True of every version until buckets can be versioned.
    pub null: bool,
    /// Its entity tag.
    pub etag: ETag,
    /// Clear length, bytes.
    pub size: u64,
    /// Length in the store, bytes.
    pub sealed_bytes: u64,
    /// What `Last-Modified` shows.
    pub modified: Timestamp,
    /// Its class.
    pub class: ClassId,
    /// Its class as the envelope spells it.
    pub class_code: ClassCode,
    /// The KEK that wraps its DEK.
    pub kek: KekId,
    /// That KEK's epoch.
    pub kek_epoch: u32,
    /// The sealed version record.
    pub record: Bytes,
}

/// A stored version and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedVersion {
    /// The tenant that owns the bucket.
    pub tenant: TenantCode,
    /// Its bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: ObjectKey,
    /// The version.
    pub row: VersionRow,
}

/// Where a listing continues. Both forms travel in continuation tokens.
///
/// They differ where a start lies inside a common prefix: `ListObjectsV2` with `start-after=a/b` still shows `a/` if a
/// key after `a/b` is in it, while a `ListObjects` v1 marker inside `a/` (and our own next page) is past all of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Position {
    /// Keys greater than this text, bytewise.
    AfterKey(String),
    /// Keys greater than every key that starts with this text.
    AfterPrefix(String),
}

/// What to list.
#[derive(Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that start with it; may be empty.
    pub prefix: String,
    /// Roll up keys that contain it after the prefix; never empty.
    pub delimiter: Option<String>,
    /// Where to start.
    pub after: Option<Position>,
    /// Entries and prefixes together, 0 to [`super::PAGE_MAX`].
    pub limit: u16,
}

/// One current version in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// Its key.
    pub key: ObjectKey,
    /// Its entity tag.
    pub etag: ETag,
    /// Clear length, bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// Its class.
    pub class: ClassId,
    /// Its identity.
    pub version: VersionId,
}

/// One page of a listing; both lists in bytewise order.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Keys.
    pub entries: Vec<ListEntry>,
    /// Common prefixes, each once, ending in the delimiter.
    pub prefixes: Vec<String>,
    /// Where the next page starts; `None` when there is nothing more.
    pub next: Option<Position>,
}

/// A multipart upload to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// Its identity.
    pub upload: UploadId,
    /// The version it will become: fixed now, since the parts are sealed for it.
    pub version: VersionId,
    /// The tenant that writes; must own the bucket.
    pub tenant: TenantCode,
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: ObjectKey,
    /// The class decided at Create.
    pub class: ClassId,
    /// The same class as the envelope spells it.
    pub class_code: ClassCode,
    /// The KEK that wraps the upload's DEK.
    pub kek: KekId,
    /// That KEK's epoch.
    pub kek_epoch: u32,
    /// When it was created.
    pub created: Timestamp,
    /// The sealed upload record (locator, wrapped DEK), at most [`super::RECORD_BYTES_MAX`].
    pub record: Bytes,
    /// What the initiator sent to be stored with the object, sealed; at most [`super::RECORD_BYTES_MAX`].
    pub metadata: Bytes,
}

/// An upload as stored: what was given at Create.
pub type Upload = NewUpload;

/// What a completed upload became; kept for a bounded time so that a repeated Complete gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedUpload {
    /// The version it became.
    pub version: VersionId,
    /// That version's entity tag.
    pub etag: ETag,
    /// That version's place in the order.
    pub seq: Sequence,
    /// When it was completed.
    pub completed: Timestamp,
    /// Which parts it became: a digest of their numbers and tags. A release that did not keep it left nothing.
    pub chosen: Option<[u8; 32]>,
    /// Its class: of the upload, so that it is known when the version is overwritten or deleted. As are the next two.
    pub class: ClassId,
    /// The KEK that wrapped its DEK.
    pub kek: KekId,
    /// That KEK's epoch.
    pub kek_epoch: u32,
}

impl CompletedUpload {
    /// Whether these parts, in order by number and tag, completed it. True of any if it is not known which did.
    pub fn is_of<'a>(&self, parts: impl IntoIterator<Item = (u16, &'a str)>) -> bool {
        self.chosen.is_none_or(|chosen| chosen == chosen_digest(parts))
    }
}

/// SHA-256 over the parts that complete an upload. Tags are random, so it says nothing of what is in them.
pub(in crate::index) fn chosen_digest<'a>(parts: impl IntoIterator<Item = (u16, &'a str)>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (number, etag) in parts {
        hash.update(number.to_be_bytes());
        hash.update((etag.len() as u64).to_be_bytes());
        hash.update(etag);
    }
    hash.finalize().into()
}

/// One attempt at a part. Its blobs are durable in the store already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPart {
    /// The upload.
    pub upload: UploadId,
    /// 1 to 10,000.
    pub number: u16,
    /// Random per attempt, so it is the attempt's identity too; makes a repeated commit idempotent.
    pub etag: ETag,
    /// Clear length, bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// What opening it needs, sealed; at most [`super::RECORD_BYTES_MAX`].
    pub descriptor: Bytes,
    /// Its blobs in order, at least one, at most [`super::BLOBS_PER_COMMIT_MAX`].
    pub blobs: Vec<NewBlob>,
}

/// The newest attempt at a part, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRow {
    /// 1 to 10,000.
    pub number: u16,
    /// Its entity tag.
    pub etag: ETag,
    /// Clear length, bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// What opening it needs, sealed.
    pub descriptor: Bytes,
}

/// A page of an upload's parts, by number.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PartsPage {
    /// The parts.
    pub parts: Vec<PartRow>,
    /// Whether parts with higher numbers follow.
    pub more: bool,
}

/// One open upload in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadEntry {
    /// Its key.
    pub key: ObjectKey,
    /// Its identity.
    pub upload: UploadId,
    /// Its class.
    pub class: ClassId,
    /// When it was created.
    pub created: Timestamp,
}

/// A page of open uploads, by key and then by identifier.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UploadsPage {
    /// The uploads.
    pub uploads: Vec<UploadEntry>,
    /// Whether more follow.
    pub more: bool,
}

/// Why a blob waits to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReclaimReason {
    /// Its version was overwritten.
    Replaced,
    /// Its version was deleted.
    Deleted,
    /// Its write failed before the commit.
    FailedWrite,
    /// Its part was uploaded again.
    ReplacedPart,
    /// Its part was not chosen by Complete.
    UnchosenPart,
    /// Its upload was aborted.
    AbortedUpload,
}

/// A blob that waits to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReclaimRow {
    /// The blob.
    pub blob: BlobId,
    /// Whose it was: part of its place in the store.
    pub tenant: TenantCode,
    /// Not before this moment.
    pub due: Timestamp,
    /// Why.
    pub reason: ReclaimReason,
}

/// A place in the order in which blobs are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuePosition {
    /// Not before this moment.
    pub due: Timestamp,
    /// Among those of the same moment.
    pub blob: BlobId,
}

impl From<&ReclaimRow> for DuePosition {
    fn from(row: &ReclaimRow) -> Self {
        Self { due: row.due, blob: row.blob }
    }
}

/// What the index knows of a blob found in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobStanding {
    /// Part of a version or of an open upload.
    Live,
    /// Waiting to be deleted.
    Reclaiming,
    /// Not in this index. Says nothing about whether it may be deleted: its commit may be under way, or this index may
    /// have been restored.
    Unknown,
}

/// A place in the walk over the index's live blobs: after the blob that stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LivePosition {
    /// The version, or the version that an open upload will become.
    pub version: VersionId,
    /// The part; 0 for blobs that a version names itself.
    pub part: u16,
    /// Its place in the part's list.
    pub ordinal: u32,
}

/// A blob that is part of a version or of an open upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveBlob {
    /// Where it stands.
    pub at: LivePosition,
    /// The blob.
    pub blob: BlobId,
    /// Its length in the store, bytes.
    pub stored_bytes: u64,
}

/// Who does a job: 16 random bytes of one attempt at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(pub [u8; 16]);

/// What one bucket holds of one class. Maintained with every change, never counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The bucket.
    pub bucket: BucketName,
    /// The class.
    pub class: ClassId,
    /// Versions.
    pub objects: u64,
    /// Clear bytes.
    pub bytes: u64,
    /// Bytes in the store.
    pub sealed_bytes: u64,
}

/// A row of the directory (tenants, credentials, roles): bytes sealed or authenticated by their owner over kind, id and
/// generation, so that who can write the index cannot swap or roll them back unnoticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRow {
    /// What it is, 1 to 32 bytes.
    pub kind: String,
    /// Which one, 1 to 128 bytes.
    pub id: String,
    /// 1 for the first, then one more with each change: known to the writer before it seals.
    pub generation: u64,
    /// The directory's change number at this change: what a poller compares.
    pub change: u64,
    /// The sealed row.
    pub sealed: Bytes,
}

impl Position {
    /// The text it carries.
    pub fn as_str(&self) -> &str {
        match self {
            Self::AfterKey(text) | Self::AfterPrefix(text) => text,
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AfterKey(text) => write!(f, "AfterKey({} bytes)", text.len()),
            Self::AfterPrefix(text) => write!(f, "AfterPrefix({} bytes)", text.len()),
        }
    }
}

impl fmt::Debug for ListRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListRequest")
            .field("prefix_bytes", &self.prefix.len())
            .field("delimiter_bytes", &self.delimiter.as_ref().map(String::len))
            .field("after", &self.after)
            .field("limit", &self.limit)
            .finish()
    }
}

impl fmt::Debug for ListPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListPage")
            .field("entries", &self.entries.len())
            .field("prefixes", &self.prefixes.len())
            .field("next", &self.next)
            .finish()
    }
}
