//! Versions and heads: what a write, a deletion, a lookup and a listing do.

use std::collections::HashMap;

use super::row::{Fields, id, is_absent, is_owner, new_blobs, number, shard, to_signed};
use super::run::{Attempt, Change, Context, Inner};
use super::sql;
use crate::database::Lease;
use crate::index::answers::{self, holds, length, lower_bound, objection, past_prefix};
use crate::index::sql as shared;
use crate::index::{
    DeleteMany, DeleteOutcome, IndexError, ListOutcome, ListRequest, Lookup, NamedVersion, NewBlob,
    NewVersion, Precondition, PutOutcome, Sequence,
};
use crate::model::{BucketName, ObjectKey, TenantCode, Timestamp, VersionId};

pub(super) async fn lookup(
    inner: &Inner,
    tenant: TenantCode,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<Lookup, IndexError> {
    let row = inner.row(|| sqlx::query(shared::LOOKUP).bind(bucket.as_str()).bind(key.as_bytes())).await?;
    answers::lookup(row.as_ref(), tenant)
}

pub(super) async fn by_id(inner: &Inner, version: VersionId) -> Result<Option<NamedVersion>, IndexError> {
    let row = inner.row(|| sqlx::query(shared::VERSION).bind(version.as_bytes().to_vec())).await?;
    row.as_ref().map(answers::named).transpose()
}

pub(super) async fn list(
    inner: &Inner,
    tenant: TenantCode,
    bucket: &BucketName,
    request: &ListRequest,
) -> Result<ListOutcome, IndexError> {
    let steps = i64::from(request.limit) + 1;
    let (lower, upper) = (lower_bound(request), past_prefix(&request.prefix));
    let prefix = length(&request.prefix)?;
    let rows = match &request.delimiter {
        None => {
            let ask =
                || sqlx::query(sql::LIST).bind(bucket.as_str()).bind(&lower[..]).bind(&upper[..]).bind(steps);
            inner.rows(ask).await?
        }
        Some(delimiter) => {
            let delimiter_length = length(delimiter)?;
            let ask = || {
                sqlx::query(sql::WALK)
                    .bind(bucket.as_str())
                    .bind(&lower[..])
                    .bind(&upper[..])
                    .bind(steps)
                    .bind(prefix)
                    .bind(delimiter.as_bytes())
                    .bind(delimiter_length)
            };
            inner.rows(ask).await?
        }
    };
    answers::list(&rows, tenant, request)
}

/// A condition as [`sql::PUT`] and [`sql::DELETE`] take it: which, and its tag.
fn condition(precondition: &Precondition) -> (i64, Option<&str>) {
    match precondition {
        Precondition::None => (0, None),
        Precondition::IfNoneMatchStar => (1, None),
        Precondition::IfMatch(etag) => (2, Some(etag.as_str())),
        Precondition::IfMatchStar => (3, None),
    }
}

/// [`crate::index::Index::commit_put`].
pub(super) struct Put {
    pub(super) new: NewVersion,
    pub(super) precondition: Precondition,
    pub(super) now: Timestamp,
}

impl Change for Put {
    type Out = PutOutcome;

    async fn attempt(&mut self, lease: &mut Lease, context: Context) -> Attempt<PutOutcome> {
        store(lease, context, &self.new, &self.precondition, self.now).await
    }

    fn blobs(&self) -> &[NewBlob] {
        &self.new.blobs
    }
}

/// Makes `new` the current version of its key if the condition holds: one statement.
pub(super) async fn store(
    lease: &mut Lease,
    context: Context,
    new: &NewVersion,
    precondition: &Precondition,
    now: Timestamp,
) -> Attempt<PutOutcome> {
    let (which, tag) = condition(precondition);
    let (blobs, lengths) = new_blobs(&new.blobs)?;
    let put = sqlx::query(sql::PUT)
        .bind(new.bucket.as_str())
        .bind(new.key.as_bytes())
        .bind(&new.version.as_bytes()[..])
        .bind(&new.tenant.as_bytes()[..])
        .bind(which)
        .bind(tag)
        .bind(new.etag.as_str())
        .bind(to_signed(new.size)?)
        .bind(to_signed(new.sealed_bytes)?)
        .bind(to_signed(new.modified.millis())?)
        .bind(new.class.as_str())
        .bind(i64::from(new.class_code.0))
        .bind(&new.kek.as_bytes()[..])
        .bind(i64::from(new.kek_epoch))
        .bind(&new.record[..])
        .bind(blobs)
        .bind(lengths)
        .bind(context.due(now)?)
        .bind(shard(&new.key));
    let Some(row) = lease.row(put).await? else { return Ok(Some(PutOutcome::NoBucket)) };
    if !is_owner(&row, new.tenant)? {
        return Ok(Some(PutOutcome::NotYours));
    }
    if !is_absent(&row, "own_seq")? {
        let is_same =
            row.int("own_bucket")? == row.int("bucket_no")? && row.blob("own_key")? == new.key.as_bytes();
        if !is_same {
            return Err(IndexError::Invalid { rule: "must use a version id that no other key has" }.into());
        }
        let seq = Sequence(number(&row, "own_seq")?);
        return Ok(Some(PutOutcome::Committed { seq, replaced: false }));
    }
    if !is_absent(&row, "seq")? {
        let replaced = !is_absent(&row, "old_id")?;
        return Ok(Some(PutOutcome::Committed { seq: Sequence(number(&row, "seq")?), replaced }));
    }
    Ok(objection(precondition, head_tag(&row)?))
}

fn head_tag(row: &impl Fields) -> Result<Option<&str>, IndexError> {
    if is_absent(row, "head_etag")? { Ok(None) } else { row.words("head_etag").map(Some) }
}

/// [`crate::index::Index::delete`].
pub(super) struct Delete {
    pub(super) tenant: TenantCode,
    pub(super) bucket: BucketName,
    pub(super) key: ObjectKey,
    pub(super) precondition: Precondition,
    pub(super) now: Timestamp,
}

impl Change for Delete {
    type Out = DeleteOutcome;

    async fn attempt(&mut self, lease: &mut Lease, context: Context) -> Attempt<DeleteOutcome> {
        let (which, tag) = condition(&self.precondition);
        let delete = sqlx::query(sql::DELETE)
            .bind(self.bucket.as_str())
            .bind(self.key.as_bytes())
            .bind(&self.tenant.as_bytes()[..])
            .bind(which)
            .bind(tag)
            .bind(context.due(self.now)?)
            .bind(shard(&self.key));
        let Some(row) = lease.row(delete).await? else { return Ok(Some(DeleteOutcome::NoBucket)) };
        if !is_owner(&row, self.tenant)? {
            return Ok(Some(DeleteOutcome::NotYours));
        }
        let Some(head) = head_tag(&row)? else { return Ok(Some(DeleteOutcome::NoKey)) };
        if !holds(&self.precondition, Some(head)) {
            return Ok(Some(DeleteOutcome::PreconditionFailed));
        }
        if is_absent(&row, "seq")? {
            return Ok(None);
        }
        let seq = Sequence(number(&row, "seq")?);
        Ok(Some(DeleteOutcome::Deleted { version: id(&row, "head_version")?, seq }))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

/// [`crate::index::Index::delete_many`]. Keys that somebody else changed meanwhile are deleted by another statement.
pub(super) struct DeleteKeys {
    pub(super) tenant: TenantCode,
    pub(super) bucket: BucketName,
    pub(super) keys: Vec<ObjectKey>,
    pub(super) now: Timestamp,
    /// What was answered so far.
    pub(super) done: HashMap<Vec<u8>, DeleteOutcome>,
}

impl Change for DeleteKeys {
    type Out = DeleteMany;

    async fn attempt(&mut self, lease: &mut Lease, context: Context) -> Attempt<DeleteMany> {
        let mut open: Vec<&ObjectKey> =
            self.keys.iter().filter(|key| !self.done.contains_key(key.as_bytes())).collect();
        open.sort_by_key(|key| key.as_bytes());
        open.dedup();
        let delete = sqlx::query(sql::DELETE_MANY)
            .bind(self.bucket.as_str())
            .bind(open.iter().map(|key| key.as_bytes().to_vec()).collect::<Vec<_>>())
            .bind(open.iter().map(|key| shard(key)).collect::<Vec<_>>())
            .bind(&self.tenant.as_bytes()[..])
            .bind(context.due(self.now)?);
        let rows = lease.rows(delete).await?;
        let Some(first) = rows.first() else { return Ok(Some(DeleteMany::NoBucket)) };
        if !is_owner(first, self.tenant)? {
            return Ok(Some(DeleteMany::NotYours));
        }
        let mut raced = Vec::new();
        let mut answered: HashMap<Vec<u8>, DeleteOutcome> = HashMap::new();
        for row in &rows {
            if is_absent(row, "key")? {
                continue;
            }
            let key = row.blob("key")?.to_vec();
            if is_absent(row, "seq")? {
                raced.push(key);
            } else {
                let seq = Sequence(number(row, "seq")?);
                answered.insert(key, DeleteOutcome::Deleted { version: id(row, "head_version")?, seq });
            }
        }
        for key in open {
            let key = key.as_bytes().to_vec();
            if !raced.contains(&key) {
                let outcome = answered.get(&key).copied().unwrap_or(DeleteOutcome::NoKey);
                self.done.insert(key, outcome);
            }
        }
        if !raced.is_empty() {
            return Ok(None);
        }
        // Of a key asked twice, the second one finds nothing.
        let outcome = |key: &ObjectKey| self.done.insert(key.as_bytes().to_vec(), DeleteOutcome::NoKey);
        let outcomes =
            self.keys.iter().map(outcome).map(|done| done.unwrap_or(DeleteOutcome::NoKey)).collect();
        Ok(Some(DeleteMany::Keys(outcomes)))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}
