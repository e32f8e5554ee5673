//! Versions and heads: what a write, a deletion and a lookup do.

use sqlx::sqlite::SqliteRow;

use super::decode::{id, is_absent, is_owner, key, number, reason_code, text, to_signed, value, version};
use super::reader::Readers;
use super::writer::{Mutation, Tx};
use crate::index::{
    DeleteMany, DeleteOutcome, IndexError, Lookup, NamedVersion, NewBlob, NewVersion, Precondition,
    PutOutcome, ReclaimReason, Sequence, sql,
};
use crate::model::{BucketName, ETag, ObjectKey, TenantCode, Timestamp, VersionId};

pub(super) async fn lookup(
    readers: &Readers,
    tenant: TenantCode,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<Lookup, IndexError> {
    let query = sqlx::query(sql::LOOKUP).bind(bucket.as_str()).bind(key.as_bytes());
    let Some(row) = readers.row(query).await? else { return Ok(Lookup::NoBucket) };
    if !is_owner(&row, tenant)? {
        return Ok(Lookup::NotYours);
    }
    if is_absent(&row, "version_id")? {
        return Ok(Lookup::NoKey);
    }
    Ok(Lookup::Found(Box::new(version(&row)?)))
}

pub(super) async fn by_id(
    readers: &Readers,
    version_id: VersionId,
) -> Result<Option<NamedVersion>, IndexError> {
    let Some(row) = readers.row(sqlx::query(sql::VERSION).bind(&version_id.as_bytes()[..])).await? else {
        return Ok(None);
    };
    Ok(Some(NamedVersion {
        tenant: id(&row, "owner")?,
        bucket: text(&row, "name")?,
        key: key(&row, "key")?,
        row: version(&row)?,
    }))
}

/// A version that is about to go.
struct Old {
    version: VersionId,
    class: String,
    size: i64,
    sealed_bytes: i64,
}

impl Old {
    fn decode(row: &SqliteRow) -> Result<Option<Self>, IndexError> {
        if is_absent(row, "old_id")? {
            return Ok(None);
        }
        Ok(Some(Self {
            version: id(row, "old_id")?,
            class: value(row, "old_class")?,
            size: value(row, "old_size")?,
            sealed_bytes: value(row, "old_sealed")?,
        }))
    }

    /// Removes the version: its blobs to reclaim, its row, its share of the counters.
    async fn retire(
        self,
        tx: &mut Tx,
        (tenant, bucket_no): (TenantCode, i64),
        reason: ReclaimReason,
        now: Timestamp,
    ) -> Result<(), IndexError> {
        reclaim_version(tx, self.version, tenant, reason, now).await?;
        let id = &self.version.as_bytes()[..];
        tx.write_one(sqlx::query(sql::VERSION_DELETE).bind(id), "a version was not deleted").await?;
        let subtract = sqlx::query(sql::COUNTER_SUBTRACT)
            .bind(&tenant.as_bytes()[..])
            .bind(bucket_no)
            .bind(self.class)
            .bind(self.size)
            .bind(self.sealed_bytes);
        tx.write_one(subtract, "a version was not counted").await
    }
}

/// Moves all blobs of a version, or of the upload that would have become it, to the reclaim queue.
pub(super) async fn reclaim_version(
    tx: &mut Tx,
    version: VersionId,
    tenant: TenantCode,
    reason: ReclaimReason,
    now: Timestamp,
) -> Result<(), IndexError> {
    let due = tx.due(now)?;
    let reclaim = sqlx::query(sql::BLOBS_RECLAIM)
        .bind(&version.as_bytes()[..])
        .bind(&tenant.as_bytes()[..])
        .bind(due)
        .bind(reason_code(reason));
    tx.write(reclaim).await?;
    tx.write(sqlx::query(sql::BLOBS_DELETE).bind(&version.as_bytes()[..])).await?;
    Ok(())
}

/// Makes blobs live, unless one of them waits to be deleted.
pub(super) async fn insert_blobs(
    tx: &mut Tx,
    version: VersionId,
    part: u16,
    blobs: &[NewBlob],
) -> Result<(), IndexError> {
    for (ordinal, blob) in blobs.iter().enumerate() {
        let insert = sqlx::query(sql::BLOB_INSERT)
            .bind(&version.as_bytes()[..])
            .bind(i64::from(part))
            .bind(to_signed(ordinal as u64)?)
            .bind(&blob.id.as_bytes()[..])
            .bind(to_signed(blob.stored_bytes)?);
        if tx.write(insert).await? == 0 {
            return Err(IndexError::Reclaimed);
        }
    }
    Ok(())
}

/// Where a write goes: the state of its key, read under the writer's lock.
pub(super) struct Target {
    bucket_no: i64,
    head_etag: Option<String>,
    old: Option<Old>,
    /// The sequence of the version itself, if it was committed before.
    pub(super) own: Option<Sequence>,
}

/// Whether a bucket is there and the tenant's.
pub(super) enum Found<T> {
    NoBucket,
    NotYours,
    Yes(T),
}

impl Target {
    pub(super) async fn read(tx: &mut Tx, new: &NewVersion) -> Result<Found<Self>, IndexError> {
        let query = sqlx::query(sql::WRITE_TARGET)
            .bind(new.bucket.as_str())
            .bind(new.key.as_bytes())
            .bind(&new.version.as_bytes()[..]);
        let Some(row) = tx.row(query).await? else { return Ok(Found::NoBucket) };
        if !is_owner(&row, new.tenant)? {
            return Ok(Found::NotYours);
        }
        let bucket_no: i64 = value(&row, "bucket_no")?;
        let own = if is_absent(&row, "own_seq")? {
            None
        } else if value::<i64>(&row, "own_bucket")? == bucket_no
            && value::<&[u8]>(&row, "own_key")? == new.key.as_bytes()
        {
            Some(Sequence(number(&row, "own_seq")?))
        } else {
            return Err(IndexError::Invalid { rule: "must use a version id that no other key has" });
        };
        let has_head = !is_absent(&row, "head_etag")? && value::<i64>(&row, "head_marker")? == 0;
        let head_etag = if has_head { Some(value(&row, "head_etag")?) } else { None };
        Ok(Found::Yes(Self { bucket_no, head_etag, old: Old::decode(&row)?, own }))
    }

    /// What the precondition objects to, if anything.
    pub(super) fn objection(&self, precondition: &Precondition) -> Option<PutOutcome> {
        match (precondition, &self.head_etag) {
            (Precondition::IfMatch(_) | Precondition::IfMatchStar, None) => Some(PutOutcome::NoSuchKey),
            (precondition, head) if holds(precondition, head.as_deref()) => None,
            _ => Some(PutOutcome::PreconditionFailed),
        }
    }

    /// Makes `new` the current version; answers its sequence and whether it replaced another.
    pub(super) async fn store(
        self,
        tx: &mut Tx,
        new: &NewVersion,
        now: Timestamp,
    ) -> Result<(Sequence, bool), IndexError> {
        let replaced = self.old.is_some();
        if let Some(old) = self.old {
            old.retire(tx, (new.tenant, self.bucket_no), ReclaimReason::Replaced, now).await?;
        }
        let seq = tx.next_seq();
        let (seq_signed, size) = (to_signed(seq.0)?, to_signed(new.size)?);
        let (sealed_bytes, modified) = (to_signed(new.sealed_bytes)?, to_signed(new.modified.millis())?);
        let insert = sqlx::query(sql::VERSION_INSERT)
            .bind(&new.version.as_bytes()[..])
            .bind(self.bucket_no)
            .bind(new.key.as_bytes())
            .bind(seq_signed)
            .bind(new.etag.as_str())
            .bind(size)
            .bind(sealed_bytes)
            .bind(modified)
            .bind(new.class.as_str())
            .bind(i64::from(new.class_code.0))
            .bind(&new.kek.as_bytes()[..])
            .bind(i64::from(new.kek_epoch))
            .bind(&new.record[..]);
        tx.write_one(insert, "a version was not inserted").await?;
        let head = sqlx::query(sql::HEAD_UPSERT)
            .bind(self.bucket_no)
            .bind(new.key.as_bytes())
            .bind(seq_signed)
            .bind(&new.version.as_bytes()[..])
            .bind(new.etag.as_str())
            .bind(size)
            .bind(modified)
            .bind(new.class.as_str());
        tx.write_one(head, "a head was not written").await?;
        insert_blobs(tx, new.version, 0, &new.blobs).await?;
        let add = sqlx::query(sql::COUNTER_ADD)
            .bind(&new.tenant.as_bytes()[..])
            .bind(self.bucket_no)
            .bind(new.class.as_str())
            .bind(size)
            .bind(sealed_bytes);
        tx.write_one(add, "a version was not counted").await?;
        Ok((seq, replaced))
    }
}

fn holds(precondition: &Precondition, head: Option<&str>) -> bool {
    match precondition {
        Precondition::None => true,
        Precondition::IfNoneMatchStar => head.is_none(),
        Precondition::IfMatchStar => head.is_some(),
        Precondition::IfMatch(etag) => head == Some(ETag::as_str(etag)),
    }
}

/// [`crate::index::Index::commit_put`].
pub(super) struct Put {
    pub(super) new: NewVersion,
    pub(super) precondition: Precondition,
    pub(super) now: Timestamp,
}

impl Mutation for Put {
    type Out = PutOutcome;

    async fn apply(self, tx: &mut Tx) -> Result<PutOutcome, IndexError> {
        let target = match Target::read(tx, &self.new).await? {
            Found::NoBucket => return Ok(PutOutcome::NoBucket),
            Found::NotYours => return Ok(PutOutcome::NotYours),
            Found::Yes(target) => target,
        };
        // Before the precondition: a repeated If-None-Match would find its own first success.
        if let Some(seq) = target.own {
            return Ok(PutOutcome::Committed { seq, replaced: false });
        }
        if let Some(objection) = target.objection(&self.precondition) {
            return Ok(objection);
        }
        let (seq, replaced) = target.store(tx, &self.new, self.now).await?;
        Ok(PutOutcome::Committed { seq, replaced })
    }
}

/// [`crate::index::Index::delete`].
pub(super) struct Delete {
    pub(super) tenant: TenantCode,
    pub(super) bucket: BucketName,
    pub(super) key: ObjectKey,
    pub(super) precondition: Precondition,
    pub(super) now: Timestamp,
}

impl Mutation for Delete {
    type Out = DeleteOutcome;

    async fn apply(self, tx: &mut Tx) -> Result<DeleteOutcome, IndexError> {
        delete(tx, self.tenant, &self.bucket, &self.key, &self.precondition, self.now).await
    }
}

async fn delete(
    tx: &mut Tx,
    tenant: TenantCode,
    bucket: &BucketName,
    key: &ObjectKey,
    precondition: &Precondition,
    now: Timestamp,
) -> Result<DeleteOutcome, IndexError> {
    let query = sqlx::query(sql::DELETE_TARGET).bind(bucket.as_str()).bind(key.as_bytes());
    let Some(row) = tx.row(query).await? else { return Ok(DeleteOutcome::NoBucket) };
    if !is_owner(&row, tenant)? {
        return Ok(DeleteOutcome::NotYours);
    }
    let bucket_no: i64 = value(&row, "bucket_no")?;
    let Some(old) = Old::decode(&row)? else { return Ok(DeleteOutcome::NoKey) };
    if !holds(precondition, Some(value(&row, "head_etag")?)) {
        return Ok(DeleteOutcome::PreconditionFailed);
    }
    let version = old.version;
    let head = sqlx::query(sql::HEAD_DELETE).bind(bucket_no).bind(key.as_bytes());
    tx.write_one(head, "a head was not deleted").await?;
    old.retire(tx, (tenant, bucket_no), ReclaimReason::Deleted, now).await?;
    Ok(DeleteOutcome::Deleted { version, seq: tx.next_seq() })
}

/// [`crate::index::Index::delete_many`].
pub(super) struct DeleteKeys {
    pub(super) tenant: TenantCode,
    pub(super) bucket: BucketName,
    pub(super) keys: Vec<ObjectKey>,
    pub(super) now: Timestamp,
}

impl Mutation for DeleteKeys {
    type Out = DeleteMany;

    async fn apply(self, tx: &mut Tx) -> Result<DeleteMany, IndexError> {
        let Some(row) = tx.row(sqlx::query(sql::BUCKET).bind(self.bucket.as_str())).await? else {
            return Ok(DeleteMany::NoBucket);
        };
        if !is_owner(&row, self.tenant)? {
            return Ok(DeleteMany::NotYours);
        }
        let mut outcomes = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            outcomes.push(delete(tx, self.tenant, &self.bucket, key, &Precondition::None, self.now).await?);
        }
        Ok(DeleteMany::Keys(outcomes))
    }
}
