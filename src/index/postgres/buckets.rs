//! Buckets: who has which name.

use super::row::{Fields, is_owner, number, to_signed};
use super::run::{Attempt, Change, Context, Inner};
use super::sql;
use crate::database::Lease;
use crate::index::sql as shared;
use crate::index::{Bucket, CreateBucket, DeleteBucket, IndexError, NewBlob, SetBucketClass, answers};
use crate::model::{BucketName, ClassId, TenantCode, Timestamp};

pub(super) async fn bucket(inner: &Inner, name: &BucketName) -> Result<Option<Bucket>, IndexError> {
    let row = inner.row(|| sqlx::query(shared::BUCKET).bind(name.as_str())).await?;
    row.as_ref().map(answers::bucket).transpose()
}

pub(super) async fn list(
    inner: &Inner,
    tenant: TenantCode,
    after: Option<&BucketName>,
    limit: u16,
) -> Result<Vec<Bucket>, IndexError> {
    let ask = || {
        sqlx::query(shared::BUCKETS_OF)
            .bind(tenant.as_bytes().to_vec())
            .bind(after.map_or("", BucketName::as_str))
            .bind(i64::from(limit))
    };
    inner.rows(ask).await?.iter().map(answers::bucket).collect()
}

/// [`crate::index::Index::create_bucket`]: under a lock, so that the bound on a tenant's buckets is exact.
pub(super) struct Create {
    pub(super) name: BucketName,
    pub(super) tenant: TenantCode,
    pub(super) class: Option<ClassId>,
    pub(super) now: Timestamp,
}

impl Change for Create {
    type Out = CreateBucket;

    async fn attempt(&mut self, lease: &mut Lease, context: Context) -> Attempt<CreateBucket> {
        lease.begin().await?;
        let next = lease.row(sqlx::query(sql::BUCKET_NEXT)).await?;
        let next = next.ok_or(IndexError::Corrupt { what: "the numbers of buckets are missing" })?;
        if let Some(row) = lease.row(sqlx::query(shared::BUCKET).bind(self.name.as_str())).await? {
            let is_ours = is_owner(&row, self.tenant)?;
            return Ok(Some(if is_ours { CreateBucket::AlreadyYours } else { CreateBucket::TakenByOther }));
        }
        let tenant = &self.tenant.as_bytes()[..];
        let counted = lease.row(sqlx::query(shared::BUCKETS_COUNT).bind(tenant)).await?;
        let count = counted.as_ref().map_or(Ok(0), |row| number(row, "count"))?;
        if count >= u64::from(context.buckets_per_tenant_max) {
            return Ok(Some(CreateBucket::TooMany));
        }
        let insert = sqlx::query(shared::BUCKET_INSERT)
            .bind(next.int("value")?)
            .bind(self.name.as_str())
            .bind(tenant)
            .bind(self.class.as_ref().map(ClassId::as_str))
            .bind(to_signed(self.now.millis())?);
        lease.write(insert).await?;
        lease.commit().await?;
        Ok(Some(CreateBucket::Created))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

/// [`crate::index::Index::delete_bucket`].
pub(super) struct Delete {
    pub(super) name: BucketName,
    pub(super) tenant: TenantCode,
}

impl Change for Delete {
    type Out = DeleteBucket;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<DeleteBucket> {
        let tenant = &self.tenant.as_bytes()[..];
        let delete = sqlx::query(sql::BUCKET_DELETE).bind(self.name.as_str()).bind(tenant);
        let Some(row) = lease.row(delete).await? else { return Ok(Some(DeleteBucket::NoBucket)) };
        if !is_owner(&row, self.tenant)? {
            return Ok(Some(DeleteBucket::NotYours));
        }
        if row.int("used")? == 1 {
            return Ok(Some(DeleteBucket::NotEmpty));
        }
        Ok((row.int("count")? == 1).then_some(DeleteBucket::Deleted))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

/// [`crate::index::Index::set_bucket_class`].
pub(super) struct SetClass {
    pub(super) name: BucketName,
    pub(super) tenant: TenantCode,
    pub(super) class: Option<ClassId>,
}

impl Change for SetClass {
    type Out = SetBucketClass;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<SetBucketClass> {
        let set = sqlx::query(sql::BUCKET_SET_CLASS)
            .bind(self.name.as_str())
            .bind(&self.tenant.as_bytes()[..])
            .bind(self.class.as_ref().map(ClassId::as_str));
        let Some(row) = lease.row(set).await? else { return Ok(Some(SetBucketClass::NoBucket)) };
        if !is_owner(&row, self.tenant)? {
            return Ok(Some(SetBucketClass::NotYours));
        }
        Ok((row.int("count")? == 1).then_some(SetBucketClass::Set))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}
