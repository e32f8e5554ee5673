//! Multipart uploads: open, fill, complete, abort, list.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use super::decode::{self, id, is_absent, is_owner, number, to_signed, value};
use super::reader::Readers;
use super::versions::{Found, Target, insert_blobs, queued_all, reclaim_version};
use super::writer::{Mutation, Script, Tx, script};
use crate::index::answers::{self, COMPLETED};
use crate::index::rows::chosen_digest;
use crate::index::{
    AbortOutcome, CompleteOutcome, CreateUpload, IndexError, ListParts, ListUploads, NewPart, NewUpload,
    NewVersion, PartRow, Precondition, PutOutcome, PutPart, ReclaimReason, Upload, UploadLookup, sql,
};
use crate::model::{BucketName, ETag, ObjectKey, TenantCode, Timestamp, UploadId, VersionId};

/// Moves a part's blobs to the reclaim queue. $1 version, $2 tenant, $3 due, $4 reason, $5 part.
const RECLAIM_PART: Script<2> = script!(
    "INSERT INTO reclaim (blob_id, tenant, due_ms, reason) \
     SELECT blob_id, $2, $3, $4 FROM blobs WHERE version_id = $1 AND part = $5; \
     DELETE FROM blobs WHERE version_id = $1 AND part = $5"
);

fn find<'q>(bucket: &'q BucketName, key: &'q ObjectKey, upload: UploadId) -> super::writer::Statement<'q> {
    sqlx::query(sql::UPLOAD).bind(bucket.as_str()).bind(key.as_bytes()).bind(upload.as_bytes().to_vec())
}

pub(super) async fn lookup(
    readers: &Readers,
    tenant: TenantCode,
    bucket: &BucketName,
    key: &ObjectKey,
    upload: UploadId,
) -> Result<UploadLookup, IndexError> {
    answers::upload(readers.row(find(bucket, key, upload)).await?.as_ref(), tenant)
}

/// [`crate::index::Index::create_upload`].
pub(super) struct Create(pub(super) NewUpload);

impl Mutation for Create {
    type Out = CreateUpload;

    async fn apply(self, tx: &mut Tx) -> Result<CreateUpload, IndexError> {
        let new = self.0;
        let Some(bucket) = tx.row(sqlx::query(sql::BUCKET).bind(new.bucket.as_str())).await? else {
            return Ok(CreateUpload::NoBucket);
        };
        if !is_owner(&bucket, new.tenant)? {
            return Ok(CreateUpload::NotYours);
        }
        let found = tx.row(find(&new.bucket, &new.key, new.upload)).await?;
        if let UploadLookup::Open(_) | UploadLookup::Completed(_) =
            answers::upload(found.as_ref(), new.tenant)?
        {
            return Ok(CreateUpload::Created);
        }
        let max = u64::from(tx.uploads_per_tenant_max);
        let count = sqlx::query(sql::UPLOADS_COUNT).bind(&new.tenant.as_bytes()[..]).bind(to_signed(max)?);
        if tx.row(count).await?.as_ref().map_or(Ok(0), |row| number(row, "count"))? >= max {
            return Ok(CreateUpload::TooMany);
        }
        let insert = sqlx::query(sql::UPLOAD_INSERT)
            .bind(&new.upload.as_bytes()[..])
            .bind(value::<i64>(&bucket, "bucket_no")?)
            .bind(new.key.as_bytes())
            .bind(&new.tenant.as_bytes()[..])
            .bind(&new.version.as_bytes()[..])
            .bind(new.class.as_str())
            .bind(i64::from(new.class_code.0))
            .bind(&new.kek.as_bytes()[..])
            .bind(i64::from(new.kek_epoch))
            .bind(to_signed(new.created.millis())?)
            .bind(&new.record[..])
            .bind(&new.metadata[..]);
        tx.write_one(insert, "an upload was not inserted").await?;
        Ok(CreateUpload::Created)
    }
}

/// [`crate::index::Index::put_part`].
pub(super) struct Put {
    pub(super) tenant: TenantCode,
    pub(super) bucket: BucketName,
    pub(super) key: ObjectKey,
    pub(super) part: NewPart,
    pub(super) now: Timestamp,
}

impl Mutation for Put {
    type Out = PutPart;

    async fn apply(self, tx: &mut Tx) -> Result<PutPart, IndexError> {
        let part = self.part;
        let query = sqlx::query(sql::PART_TARGET)
            .bind(self.bucket.as_str())
            .bind(self.key.as_bytes())
            .bind(&part.upload.as_bytes()[..])
            .bind(i64::from(part.number));
        let Some(row) = tx.row(query).await? else { return Ok(PutPart::NoBucket) };
        if !is_owner(&row, self.tenant)? {
            return Ok(PutPart::NotYours);
        }
        if is_absent(&row, "state")? || value::<i64>(&row, "state")? == COMPLETED {
            return Ok(PutPart::NoUpload);
        }
        let version: VersionId = id(&row, "version_id")?;
        let replaced = !is_absent(&row, "etag")?;
        if replaced {
            if value::<&str>(&row, "etag")? == part.etag.as_str() {
                return Ok(PutPart::Stored { replaced: false });
            }
            reclaim_part(tx, version, part.number, self.tenant, ReclaimReason::ReplacedPart, self.now)
                .await?;
        }
        let upsert = sqlx::query(sql::PART_UPSERT)
            .bind(&part.upload.as_bytes()[..])
            .bind(i64::from(part.number))
            .bind(part.etag.as_str())
            .bind(to_signed(part.size)?)
            .bind(to_signed(part.modified.millis())?)
            .bind(&part.descriptor[..]);
        tx.write_one(upsert, "a part was not written").await?;
        insert_blobs(tx, version, part.number, &part.blobs, 0).await?;
        Ok(PutPart::Stored { replaced })
    }
}

async fn reclaim_part(
    tx: &mut Tx,
    version: VersionId,
    number: u16,
    tenant: TenantCode,
    reason: ReclaimReason,
    now: Timestamp,
) -> Result<(), IndexError> {
    let due = tx.due(now)?;
    let reclaim = tx
        .script(&RECLAIM_PART)
        .bind(&version.as_bytes()[..])
        .bind(&tenant.as_bytes()[..])
        .bind(due)
        .bind(decode::reason_code(reason))
        .bind(i64::from(number));
    queued_all(tx.run(reclaim).await?)
}

/// [`crate::index::Index::complete_upload`].
pub(super) struct Complete {
    pub(super) upload: UploadId,
    pub(super) chosen: Vec<(u16, ETag)>,
    pub(super) new: NewVersion,
    pub(super) precondition: Precondition,
    pub(super) now: Timestamp,
}

impl Mutation for Complete {
    type Out = CompleteOutcome;

    async fn apply(self, tx: &mut Tx) -> Result<CompleteOutcome, IndexError> {
        let new = &self.new;
        let target = match Target::read(tx, new).await? {
            Found::NoBucket => return Ok(CompleteOutcome::NoBucket),
            Found::NotYours => return Ok(CompleteOutcome::NotYours),
            Found::Yes(target) => target,
        };
        let found = tx.row(find(&new.bucket, &new.key, self.upload)).await?;
        let upload = match answers::upload(found.as_ref(), new.tenant)? {
            UploadLookup::Open(upload) => upload,
            UploadLookup::Completed(done) if done.is_of(self.named()) => {
                return Ok(CompleteOutcome::AlreadyCompleted(done));
            }
            UploadLookup::Completed(_) | UploadLookup::NoUpload => return Ok(CompleteOutcome::NoUpload),
            UploadLookup::NoBucket => return Ok(CompleteOutcome::NoBucket),
            UploadLookup::NotYours => return Ok(CompleteOutcome::NotYours),
        };
        if upload.version != new.version {
            return Err(IndexError::Invalid {
                rule: "must complete an upload as the version chosen at its creation",
            });
        }
        let unchosen = match self.choose(tx).await? {
            Ok(unchosen) => unchosen,
            Err(number) => return Ok(CompleteOutcome::InvalidPart { number }),
        };
        match target.objection(&self.precondition) {
            Some(PutOutcome::NoSuchKey) => return Ok(CompleteOutcome::NoSuchKey),
            Some(_) => return Ok(CompleteOutcome::PreconditionFailed),
            None => {}
        }
        for number in unchosen {
            reclaim_part(tx, new.version, number, new.tenant, ReclaimReason::UnchosenPart, self.now).await?;
        }
        tx.write(sqlx::query(sql::PARTS_DELETE).bind(&self.upload.as_bytes()[..])).await?;
        let (seq, replaced) = target.store(tx, new, self.now).await?;
        let digest = chosen_digest(self.named());
        let complete = sqlx::query(sql::UPLOAD_COMPLETE)
            .bind(&self.upload.as_bytes()[..])
            .bind(to_signed(self.now.millis())?)
            .bind(to_signed(seq.0)?)
            .bind(new.etag.as_str())
            .bind(&digest[..])
            .bind(&[][..]);
        tx.write_one(complete, "an upload was not completed").await?;
        Ok(CompleteOutcome::Completed { seq, replaced })
    }
}

impl Complete {
    fn named(&self) -> impl Iterator<Item = (u16, &str)> {
        self.chosen.iter().map(|(number, etag)| (*number, etag.as_str()))
    }

    /// The numbers of the parts not chosen, or the first chosen one that is not what the client says it is.
    async fn choose(&self, tx: &mut Tx) -> Result<Result<Vec<u16>, u16>, IndexError> {
        let rows = tx.rows(sqlx::query(sql::PARTS_BRIEF).bind(&self.upload.as_bytes()[..])).await?;
        let mut parts = BTreeMap::new();
        for row in &rows {
            parts.insert(decode::part_number(row)?, (value::<&str>(row, "etag")?, number(row, "size")?));
        }
        let mut size = 0_u64;
        for (chosen, etag) in &self.chosen {
            match parts.remove(chosen) {
                Some((stored, part_size)) if stored == etag.as_str() => size = size.saturating_add(part_size),
                _ => return Ok(Err(*chosen)),
            }
        }
        if size != self.new.size {
            return Err(IndexError::Invalid {
                rule: "must give the sum of the chosen parts' sizes as the version's",
            });
        }
        Ok(Ok(parts.into_keys().collect()))
    }
}

/// [`crate::index::Index::abort_upload`].
pub(super) struct Abort {
    pub(super) tenant: TenantCode,
    pub(super) bucket: BucketName,
    pub(super) key: ObjectKey,
    pub(super) upload: UploadId,
    pub(super) now: Timestamp,
}

impl Mutation for Abort {
    type Out = AbortOutcome;

    async fn apply(self, tx: &mut Tx) -> Result<AbortOutcome, IndexError> {
        let found = tx.row(find(&self.bucket, &self.key, self.upload)).await?;
        let upload: Box<Upload> = match answers::upload(found.as_ref(), self.tenant)? {
            UploadLookup::Open(upload) => upload,
            UploadLookup::Completed(_) => return Ok(AbortOutcome::AlreadyCompleted),
            UploadLookup::NoUpload => return Ok(AbortOutcome::NoUpload),
            UploadLookup::NoBucket => return Ok(AbortOutcome::NoBucket),
            UploadLookup::NotYours => return Ok(AbortOutcome::NotYours),
        };
        reclaim_version(tx, upload.version, self.tenant, ReclaimReason::AbortedUpload, self.now).await?;
        let id = &self.upload.as_bytes()[..];
        tx.write(sqlx::query(sql::PARTS_DELETE).bind(id)).await?;
        tx.write_one(sqlx::query(sql::UPLOAD_DELETE).bind(id), "an upload was not deleted").await?;
        Ok(AbortOutcome::Aborted)
    }
}

/// [`crate::index::Index::forget_completed`].
pub(super) struct ForgetCompleted {
    pub(super) before: Timestamp,
    pub(super) limit: u32,
}

impl Mutation for ForgetCompleted {
    type Out = u64;

    async fn apply(self, tx: &mut Tx) -> Result<u64, IndexError> {
        let before = to_signed(self.before.millis())?;
        tx.write(sqlx::query(sql::UPLOADS_FORGET).bind(before).bind(i64::from(self.limit))).await
    }
}

pub(super) async fn list_parts(
    readers: &Readers,
    tenant: TenantCode,
    (bucket, key, upload): (&BucketName, &ObjectKey, UploadId),
    after: u16,
    limit: u16,
) -> Result<ListParts, IndexError> {
    let query = sqlx::query(sql::PARTS_LIST)
        .bind(bucket.as_str())
        .bind(key.as_bytes())
        .bind(&upload.as_bytes()[..])
        .bind(i64::from(after))
        .bind(i64::from(limit) + 1);
    let rows = readers.rows(query).await?;
    answers::parts(&rows, tenant, limit)
}

pub(super) async fn parts(
    readers: &Readers,
    upload: UploadId,
    numbers: &[u16],
) -> Result<Vec<PartRow>, IndexError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    // Only parameter names are pasted in.
    let query = sqlx::query(AssertSqlSafe(parts_statement(numbers.len()))).persistent(false);
    let mut query = query.bind(&upload.as_bytes()[..]);
    for number in numbers {
        query = query.bind(i64::from(*number));
    }
    readers.rows(query).await?.iter().map(decode::part).collect()
}

/// Of the upload $1, the parts with the numbers $2 and following.
pub(super) fn parts_statement(count: usize) -> String {
    let list = (2..2 + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(",");
    format!(
        "SELECT number, etag, size, modified_ms, descriptor FROM parts \
         WHERE upload_id = $1 AND number IN ({list}) ORDER BY number"
    )
}

pub(super) async fn list_uploads(
    readers: &Readers,
    tenant: TenantCode,
    bucket: &BucketName,
    prefix: &str,
    after: Option<(&str, Option<UploadId>)>,
    limit: u16,
) -> Result<ListUploads, IndexError> {
    let (lower, marker, past) = answers::uploads_after(prefix, after);
    let query = sqlx::query(sql::UPLOADS)
        .bind(bucket.as_str())
        .bind(lower)
        .bind(answers::past_prefix(prefix))
        .bind(marker)
        .bind(past)
        .bind(i64::from(limit) + 1);
    let rows = readers.rows(query).await?;
    answers::uploads(&rows, tenant, limit)
}
