//! Multipart uploads: open, fill, complete, abort, list.

use std::collections::BTreeMap;

use super::row::{self, Fields, is_absent, is_owner, new_blobs, number, to_signed};
use super::run::{Attempt, Change, Context, Inner, Problem};
use super::{sql, versions};
use crate::database::Lease;
use crate::index::answers::{self, COMPLETED};
use crate::index::rows::chosen_digest;
use crate::index::sql as shared;
use crate::index::{
    AbortOutcome, CompleteOutcome, CreateUpload, IndexError, ListParts, ListUploads, NewBlob, NewPart,
    NewUpload, NewVersion, PartRow, Precondition, PutOutcome, PutPart, UploadLookup,
};
use crate::model::{BucketName, ETag, ObjectKey, TenantCode, Timestamp, UploadId};

pub(super) async fn lookup(
    inner: &Inner,
    tenant: TenantCode,
    (bucket, key, upload): (&BucketName, &ObjectKey, UploadId),
) -> Result<UploadLookup, IndexError> {
    let ask = || {
        sqlx::query(shared::UPLOAD)
            .bind(bucket.as_str())
            .bind(key.as_bytes())
            .bind(upload.as_bytes().to_vec())
    };
    answers::upload(inner.row(ask).await?.as_ref(), tenant)
}

pub(super) async fn list_parts(
    inner: &Inner,
    tenant: TenantCode,
    (bucket, key, upload): (&BucketName, &ObjectKey, UploadId),
    after: u16,
    limit: u16,
) -> Result<ListParts, IndexError> {
    let ask = || {
        sqlx::query(sql::PARTS_LIST)
            .bind(bucket.as_str())
            .bind(key.as_bytes())
            .bind(upload.as_bytes().to_vec())
            .bind(i64::from(after))
            .bind(i64::from(limit) + 1)
    };
    answers::parts(&inner.rows(ask).await?, tenant, limit)
}

pub(super) async fn list_uploads(
    inner: &Inner,
    tenant: TenantCode,
    bucket: &BucketName,
    prefix: &str,
    after: Option<(&str, Option<UploadId>)>,
    limit: u16,
) -> Result<ListUploads, IndexError> {
    let (lower, marker, past) = answers::uploads_after(prefix, after);
    let ask = || {
        sqlx::query(sql::UPLOADS)
            .bind(bucket.as_str())
            .bind(lower)
            .bind(answers::past_prefix(prefix))
            .bind(marker)
            .bind(past.clone())
            .bind(i64::from(limit) + 1)
    };
    answers::uploads(&inner.rows(ask).await?, tenant, limit)
}

pub(super) async fn parts(
    inner: &Inner,
    upload: UploadId,
    numbers: &[u16],
) -> Result<Vec<PartRow>, IndexError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<i64> = numbers.iter().copied().map(i64::from).collect();
    let ask = || sqlx::query(sql::PARTS).bind(upload.as_bytes().to_vec()).bind(numbers.clone());
    inner.rows(ask).await?.iter().map(row::part).collect()
}

/// [`crate::index::Index::create_upload`].
///
/// The bound on a tenant's open uploads is exact: near it, one of a tenant's creates at a time, over all replicas. Further away
/// none waits, since a statement only ever counts too few by those that are under way beside it, and of them there would have to
/// be [`WITHOUT_LOCK`].
pub(super) struct Create(pub(super) NewUpload);

/// How many uploads below its bound a tenant creates them without a lock: more than a database has connections.
const WITHOUT_LOCK: u32 = 1000;

impl Change for Create {
    type Out = CreateUpload;

    async fn attempt(&mut self, lease: &mut Lease, context: Context) -> Attempt<CreateUpload> {
        let max = context.uploads_per_tenant_max;
        if let Some(far) = max.checked_sub(WITHOUT_LOCK) {
            let created = self.within(lease, far).await?;
            if created != Some(CreateUpload::TooMany) {
                return Ok(created);
            }
        }
        lease.begin().await?;
        // A statement of its own: the next one sees what was committed while this one waited.
        lease.row(sqlx::query(sql::UPLOADS_LOCK).bind(row::tenant_guard(self.0.tenant))).await?;
        let created = self.within(lease, max).await?;
        if created == Some(CreateUpload::Created) {
            lease.commit().await?;
        }
        Ok(created)
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

impl Create {
    async fn within(&self, lease: &mut Lease, uploads_max: u32) -> Attempt<CreateUpload> {
        let new = &self.0;
        let create = sqlx::query(sql::UPLOAD_CREATE)
            .bind(&new.upload.as_bytes()[..])
            .bind(new.bucket.as_str())
            .bind(new.key.as_bytes())
            .bind(&new.tenant.as_bytes()[..])
            .bind(&new.version.as_bytes()[..])
            .bind(new.class.as_str())
            .bind(i64::from(new.class_code.0))
            .bind(&new.kek.as_bytes()[..])
            .bind(i64::from(new.kek_epoch))
            .bind(to_signed(new.created.millis())?)
            .bind(&new.record[..])
            .bind(&new.metadata[..])
            .bind(i64::from(uploads_max));
        let Some(row) = lease.row(create).await? else { return Ok(Some(CreateUpload::NoBucket)) };
        if !is_owner(&row, new.tenant)? {
            return Ok(Some(CreateUpload::NotYours));
        }
        if row.int("count")? == 1 {
            return Ok(Some(CreateUpload::Created));
        }
        Ok((row.int("is_full")? == 1).then_some(CreateUpload::TooMany))
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

impl Change for Put {
    type Out = PutPart;

    async fn attempt(&mut self, lease: &mut Lease, context: Context) -> Attempt<PutPart> {
        let part = &self.part;
        let (blobs, lengths) = new_blobs(&part.blobs)?;
        let put = sqlx::query(sql::PART_PUT)
            .bind(self.bucket.as_str())
            .bind(self.key.as_bytes())
            .bind(&part.upload.as_bytes()[..])
            .bind(i64::from(part.number))
            .bind(&self.tenant.as_bytes()[..])
            .bind(part.etag.as_str())
            .bind(to_signed(part.size)?)
            .bind(to_signed(part.modified.millis())?)
            .bind(&part.descriptor[..])
            .bind(blobs)
            .bind(lengths)
            .bind(context.due(self.now)?);
        let Some(row) = lease.row(put).await? else { return Ok(Some(PutPart::NoBucket)) };
        if !is_owner(&row, self.tenant)? {
            return Ok(Some(PutPart::NotYours));
        }
        if is_absent(&row, "state")? || row.int("state")? == COMPLETED {
            return Ok(Some(PutPart::NoUpload));
        }
        let old = if is_absent(&row, "old_etag")? { None } else { Some(row.words("old_etag")?) };
        if old == Some(part.etag.as_str()) {
            return Ok(Some(PutPart::Stored { replaced: false }));
        }
        Ok((row.int("count")? == 1).then_some(PutPart::Stored { replaced: old.is_some() }))
    }

    fn blobs(&self) -> &[NewBlob] {
        &self.part.blobs
    }
}

/// [`crate::index::Index::complete_upload`]: the one change that is more than a statement, since what the client chose is
/// compared with what is there while nobody can add to it.
pub(super) struct Complete {
    pub(super) upload: UploadId,
    pub(super) chosen: Vec<(u16, ETag)>,
    pub(super) new: NewVersion,
    pub(super) precondition: Precondition,
    pub(super) now: Timestamp,
}

impl Change for Complete {
    type Out = CompleteOutcome;

    async fn attempt(&mut self, lease: &mut Lease, context: Context) -> Attempt<CompleteOutcome> {
        lease.begin().await?;
        let outcome = self.within(lease, context).await?;
        if let Some(CompleteOutcome::Completed { .. }) = outcome {
            lease.commit().await?;
        }
        Ok(outcome)
    }

    fn blobs(&self) -> &[NewBlob] {
        &self.new.blobs
    }
}

impl Complete {
    fn named(&self) -> impl Iterator<Item = (u16, &str)> {
        self.chosen.iter().map(|(number, etag)| (*number, etag.as_str()))
    }

    async fn within(&self, lease: &mut Lease, context: Context) -> Attempt<CompleteOutcome> {
        let new = &self.new;
        let id = &self.upload.as_bytes()[..];
        // Parts under way end before this is answered, and what they did is seen by what follows.
        lease.row(sqlx::query(sql::UPLOAD_LOCK).bind(id)).await?;
        let find = sqlx::query(shared::UPLOAD).bind(new.bucket.as_str()).bind(new.key.as_bytes()).bind(id);
        let upload = match answers::upload(lease.row(find).await?.as_ref(), new.tenant)? {
            UploadLookup::Open(upload) => upload,
            UploadLookup::Completed(done) if done.is_of(self.named()) => {
                return Ok(Some(CompleteOutcome::AlreadyCompleted(done)));
            }
            UploadLookup::Completed(_) | UploadLookup::NoUpload => {
                return Ok(Some(CompleteOutcome::NoUpload));
            }
            UploadLookup::NoBucket => return Ok(Some(CompleteOutcome::NoBucket)),
            UploadLookup::NotYours => return Ok(Some(CompleteOutcome::NotYours)),
        };
        if upload.version != new.version {
            let rule = "must complete an upload as the version chosen at its creation";
            return Err(IndexError::Invalid { rule }.into());
        }
        let unchosen = match self.choose(lease).await? {
            Ok(unchosen) => unchosen,
            Err(number) => return Ok(Some(CompleteOutcome::InvalidPart { number })),
        };
        let (seq, replaced) = match versions::store(lease, context, new, &self.precondition, self.now).await?
        {
            Some(PutOutcome::Committed { seq, replaced }) => (seq, replaced),
            Some(PutOutcome::NoSuchKey) => return Ok(Some(CompleteOutcome::NoSuchKey)),
            Some(PutOutcome::PreconditionFailed) => return Ok(Some(CompleteOutcome::PreconditionFailed)),
            Some(PutOutcome::NoBucket) => return Ok(Some(CompleteOutcome::NoBucket)),
            Some(PutOutcome::NotYours) => return Ok(Some(CompleteOutcome::NotYours)),
            None => return Ok(None),
        };
        let clear = sqlx::query(sql::UPLOAD_CLEAR)
            .bind(id)
            .bind(&new.version.as_bytes()[..])
            .bind(unchosen)
            .bind(context.due(self.now)?);
        lease.write(clear).await?;
        let digest = chosen_digest(self.named());
        let complete = sqlx::query(shared::UPLOAD_COMPLETE)
            .bind(id)
            .bind(to_signed(self.now.millis())?)
            .bind(to_signed(seq.0)?)
            .bind(new.etag.as_str())
            .bind(&digest[..])
            .bind(&[0_u8; 0][..]);
        if lease.write(complete).await? != 1 {
            return Err(IndexError::Corrupt { what: "an upload was not completed" }.into());
        }
        Ok(Some(CompleteOutcome::Completed { seq, replaced }))
    }

    /// The numbers of the parts not chosen, or the first chosen one that is not what the client says it is.
    async fn choose(&self, lease: &mut Lease) -> Result<Result<Vec<i64>, u16>, Problem> {
        let rows = lease.rows(sqlx::query(shared::PARTS_BRIEF).bind(&self.upload.as_bytes()[..])).await?;
        let mut parts = BTreeMap::new();
        for row in &rows {
            parts.insert(row::part_number(row)?, (row.words("etag")?, number(row, "size")?));
        }
        let mut size = 0_u64;
        for (chosen, etag) in &self.chosen {
            match parts.remove(chosen) {
                Some((stored, part_size)) if stored == etag.as_str() => size = size.saturating_add(part_size),
                _ => return Ok(Err(*chosen)),
            }
        }
        if size != self.new.size {
            let rule = "must give the sum of the chosen parts' sizes as the version's";
            return Err(IndexError::Invalid { rule }.into());
        }
        Ok(Ok(parts.into_keys().map(i64::from).collect()))
    }
}

/// [`crate::index::Index::abort_upload`]. The upload is locked by a statement of its own: the one after it sees every part that was
/// put until then, while a single one would see those of the moment before it had to wait.
pub(super) struct Abort {
    pub(super) tenant: TenantCode,
    pub(super) bucket: BucketName,
    pub(super) key: ObjectKey,
    pub(super) upload: UploadId,
    pub(super) now: Timestamp,
}

impl Change for Abort {
    type Out = AbortOutcome;

    async fn attempt(&mut self, lease: &mut Lease, context: Context) -> Attempt<AbortOutcome> {
        lease.begin().await?;
        lease.row(sqlx::query(sql::UPLOAD_LOCK).bind(&self.upload.as_bytes()[..])).await?;
        let abort = sqlx::query(sql::UPLOAD_ABORT)
            .bind(self.bucket.as_str())
            .bind(self.key.as_bytes())
            .bind(&self.upload.as_bytes()[..])
            .bind(&self.tenant.as_bytes()[..])
            .bind(context.due(self.now)?);
        let Some(row) = lease.row(abort).await? else { return Ok(Some(AbortOutcome::NoBucket)) };
        if !is_owner(&row, self.tenant)? {
            return Ok(Some(AbortOutcome::NotYours));
        }
        if is_absent(&row, "state")? {
            return Ok(Some(AbortOutcome::NoUpload));
        }
        if row.int("state")? == COMPLETED {
            return Ok(Some(AbortOutcome::AlreadyCompleted));
        }
        if row.int("count")? != 1 {
            return Ok(None);
        }
        lease.commit().await?;
        Ok(Some(AbortOutcome::Aborted))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

/// [`crate::index::Index::forget_completed`].
pub(super) struct ForgetCompleted {
    pub(super) before: Timestamp,
    pub(super) limit: u32,
}

impl Change for ForgetCompleted {
    type Out = u64;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<u64> {
        let before = to_signed(self.before.millis())?;
        let forget = sqlx::query(shared::UPLOADS_FORGET).bind(before).bind(i64::from(self.limit));
        Ok(Some(lease.write(forget).await?))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}
