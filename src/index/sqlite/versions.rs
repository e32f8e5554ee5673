//! Versions and heads: what a write, a deletion and a lookup do.

use sqlx::sqlite::SqliteRow;

use super::decode::{id, is_absent, is_owner, number, reason_code, to_signed, value};
use super::reader::Readers;
use super::writer::{Mutation, Script, Statement, Tx, script};
use crate::index::answers;
use crate::index::{
    DeleteMany, DeleteOutcome, IndexError, Lookup, NamedVersion, NewBlob, NewVersion, Precondition,
    PutOutcome, ReclaimReason, Sequence, sql,
};
use crate::model::{BucketName, ObjectKey, TenantCode, Timestamp, VersionId};

/// Moves a version's blobs to the reclaim queue. $1 version, $2 tenant, $3 due, $4 reason.
macro_rules! reclaim {
    () => {
        "INSERT INTO reclaim (blob_id, tenant, due_ms, reason) SELECT blob_id, $2, $3, $4 FROM blobs \
         WHERE version_id = $1; DELETE FROM blobs WHERE version_id = $1"
    };
}
/// Removes a version: its blobs, its row, its share of the counters. As [`reclaim`], and $5 bucket, $6 class, $7 size, $8 sealed
/// bytes.
macro_rules! retire {
    () => {
        concat!(
            reclaim!(),
            "; DELETE FROM versions WHERE version_id = $1; \
             UPDATE counters SET objects = objects - 1, bytes = bytes - $7, sealed_bytes = sealed_bytes - $8 \
             WHERE tenant = $2 AND bucket_no = $5 AND class = $6"
        )
    };
}
/// Makes a version current. $2 tenant, $5 bucket, $9 key, $10 version, $11 sequence, $12 tag, $13 size, $14 sealed bytes, $15
/// modified, $16 class, $17 class code, $18 KEK, $19 epoch, $20 record, $21 the first blob's id, $22 its length. That blob almost
/// always is the only one; without one these are NULL. No row of it: it waits to be deleted.
macro_rules! store {
    () => {
        "INSERT INTO versions (version_id, bucket_no, key, seq, is_null, etag, size, sealed_bytes, modified_ms, class, \
         class_code, kek_id, kek_epoch, record) VALUES ($10, $5, $9, $11, 1, $12, $13, $14, $15, $16, $17, $18, $19, $20); \
         INSERT INTO heads (bucket_no, key, seq, version_id, etag, size, modified_ms, class) \
         VALUES ($5, $9, $11, $10, $12, $13, $15, $16) ON CONFLICT (bucket_no, key) DO UPDATE SET seq = excluded.seq, \
         version_id = excluded.version_id, marker = 0, etag = excluded.etag, size = excluded.size, \
         modified_ms = excluded.modified_ms, class = excluded.class; \
         INSERT INTO counters (tenant, bucket_no, class, objects, bytes, sealed_bytes) VALUES ($2, $5, $16, 1, $13, $14) \
         ON CONFLICT (tenant, bucket_no, class) DO UPDATE SET objects = objects + 1, \
         bytes = bytes + excluded.bytes, sealed_bytes = sealed_bytes + excluded.sealed_bytes; \
         INSERT INTO blobs (version_id, part, ordinal, blob_id, stored_bytes) SELECT $10, 0, 0, $21, $22 \
         WHERE $21 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM reclaim WHERE blob_id = $21)"
    };
}
const RECLAIM: Script<2> = script!(reclaim!());
const STORE: Script<4> = script!(store!());
/// The version that was current goes first: there may be one of a key.
const REPLACE: Script<8> = script!(retire!(), "; ", store!());
/// As [`retire`], and $9 key.
const DELETE: Script<5> = script!("DELETE FROM heads WHERE bucket_no = $5 AND key = $9; ", retire!());

pub(super) async fn lookup(
    readers: &Readers,
    tenant: TenantCode,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<Lookup, IndexError> {
    let query = sqlx::query(sql::LOOKUP).bind(bucket.as_str()).bind(key.as_bytes());
    answers::lookup(readers.row(query).await?.as_ref(), tenant)
}

pub(super) async fn by_id(
    readers: &Readers,
    version_id: VersionId,
) -> Result<Option<NamedVersion>, IndexError> {
    let query = sqlx::query(sql::VERSION).bind(&version_id.as_bytes()[..]);
    readers.row(query).await?.as_ref().map(answers::named).transpose()
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

    /// The values of [`retire`] in a script; what it changed is for [`retired`].
    fn bound<'q>(
        self,
        script: Statement<'q>,
        (tenant, bucket_no): (&'q TenantCode, i64),
        reason: ReclaimReason,
        due: i64,
    ) -> Statement<'q> {
        script
            .bind(self.version.as_bytes().to_vec())
            .bind(&tenant.as_bytes()[..])
            .bind(due)
            .bind(reason_code(reason))
            .bind(bucket_no)
            .bind(self.class)
            .bind(self.size)
            .bind(self.sealed_bytes)
    }
}

/// Whether a version is gone, and all of its blobs are queued.
fn retired([queued, removed, version, counter]: [u64; 4]) -> Result<(), IndexError> {
    queued_all([queued, removed])?;
    match (version, counter) {
        (1, 1) => Ok(()),
        (1, _) => Err(IndexError::Corrupt { what: "a version was not counted" }),
        _ => Err(IndexError::Corrupt { what: "a version was not deleted" }),
    }
}

/// As many rows queued as removed, or a blob was lost between the two.
pub(super) fn queued_all([queued, removed]: [u64; 2]) -> Result<(), IndexError> {
    if queued == removed { Ok(()) } else { Err(IndexError::Corrupt { what: "a blob was not queued" }) }
}

/// Moves all blobs of the upload that would have become a version to the reclaim queue.
pub(super) async fn reclaim_version(
    tx: &mut Tx,
    version: VersionId,
    tenant: TenantCode,
    reason: ReclaimReason,
    now: Timestamp,
) -> Result<(), IndexError> {
    let due = tx.due(now)?;
    let reclaim = tx
        .script(&RECLAIM)
        .bind(&version.as_bytes()[..])
        .bind(&tenant.as_bytes()[..])
        .bind(due)
        .bind(reason_code(reason));
    queued_all(tx.run(reclaim).await?)
}

/// Makes blobs live from the ordinal `first` on, unless one of them waits to be deleted.
pub(super) async fn insert_blobs(
    tx: &mut Tx,
    version: VersionId,
    part: u16,
    blobs: &[NewBlob],
    first: usize,
) -> Result<(), IndexError> {
    for (ordinal, blob) in blobs.iter().enumerate().skip(first) {
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
        answers::objection(precondition, self.head_etag.as_deref())
    }

    /// Makes `new` the current version; answers its sequence and whether it replaced another.
    pub(super) async fn store(
        self,
        tx: &mut Tx,
        new: &NewVersion,
        now: Timestamp,
    ) -> Result<(Sequence, bool), IndexError> {
        let (tenant, replaced) = (&new.tenant, self.old.is_some());
        let (seq, due) = (tx.next_seq(), tx.due(now)?);
        let script = match self.old {
            Some(old) => {
                let whose = (tenant, self.bucket_no);
                old.bound(tx.script(&REPLACE), whose, ReclaimReason::Replaced, due)
            }
            None => without_old(tx.script(&STORE), tenant, self.bucket_no),
        };
        let first = new.blobs.first();
        let script = script
            .bind(new.key.as_bytes())
            .bind(&new.version.as_bytes()[..])
            .bind(to_signed(seq.0)?)
            .bind(new.etag.as_str())
            .bind(to_signed(new.size)?)
            .bind(to_signed(new.sealed_bytes)?)
            .bind(to_signed(new.modified.millis())?)
            .bind(new.class.as_str())
            .bind(i64::from(new.class_code.0))
            .bind(&new.kek.as_bytes()[..])
            .bind(i64::from(new.kek_epoch))
            .bind(&new.record[..])
            .bind(first.map(|blob| &blob.id.as_bytes()[..]))
            .bind(first.map(|blob| to_signed(blob.stored_bytes)).transpose()?);
        let stored = if replaced {
            let [a, b, c, d, stored @ ..] = tx.run::<8>(script).await?;
            retired([a, b, c, d])?;
            stored
        } else {
            tx.run(script).await?
        };
        match stored {
            [1, 1, 1, blobs] if blobs == u64::from(first.is_some()) => {}
            [1, 1, 1, 0] => return Err(IndexError::Reclaimed),
            _ => return Err(IndexError::Corrupt { what: "a version was not stored" }),
        }
        insert_blobs(tx, new.version, 0, &new.blobs, 1).await?;
        Ok((seq, replaced))
    }
}

/// The first values of [`store`], where [`retire`] does not stand before it and needs the others.
fn without_old<'q>(script: Statement<'q>, tenant: &'q TenantCode, bucket_no: i64) -> Statement<'q> {
    let none = None::<i64>;
    let script = script.bind(none).bind(&tenant.as_bytes()[..]).bind(none).bind(none);
    script.bind(bucket_no).bind(none).bind(none).bind(none)
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
    if !answers::holds(precondition, Some(value(&row, "head_etag")?)) {
        return Ok(DeleteOutcome::PreconditionFailed);
    }
    let version = old.version;
    let due = tx.due(now)?;
    let script = old.bound(tx.script(&DELETE), (&tenant, bucket_no), ReclaimReason::Deleted, due);
    let [head, gone @ ..] = tx.run::<5>(script.bind(key.as_bytes())).await?;
    if head != 1 {
        return Err(IndexError::Corrupt { what: "a head was not deleted" });
    }
    retired(gone)?;
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
