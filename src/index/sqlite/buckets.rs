//! Buckets: who has which name.

use super::decode::{is_owner, number, to_signed, value};
use super::reader::Readers;
use super::writer::{Mutation, Tx};
use crate::index::answers;
use crate::index::{Bucket, CreateBucket, DeleteBucket, IndexError, SetBucketClass, sql};
use crate::model::{BucketName, ClassId, TenantCode, Timestamp};

pub(super) async fn bucket(readers: &Readers, name: &BucketName) -> Result<Option<Bucket>, IndexError> {
    readers.row(sqlx::query(sql::BUCKET).bind(name.as_str())).await?.as_ref().map(answers::bucket).transpose()
}

pub(super) async fn list(
    readers: &Readers,
    tenant: TenantCode,
    after: Option<&BucketName>,
    limit: u16,
) -> Result<Vec<Bucket>, IndexError> {
    let query = sqlx::query(sql::BUCKETS_OF)
        .bind(&tenant.as_bytes()[..])
        .bind(after.map_or("", BucketName::as_str))
        .bind(i64::from(limit));
    readers.rows(query).await?.iter().map(answers::bucket).collect()
}

/// [`crate::index::Index::create_bucket`].
pub(super) struct Create {
    pub(super) name: BucketName,
    pub(super) tenant: TenantCode,
    pub(super) class: Option<ClassId>,
    pub(super) now: Timestamp,
}

impl Mutation for Create {
    type Out = CreateBucket;

    async fn apply(self, tx: &mut Tx) -> Result<CreateBucket, IndexError> {
        if let Some(row) = tx.row(sqlx::query(sql::BUCKET).bind(self.name.as_str())).await? {
            let is_ours = is_owner(&row, self.tenant)?;
            return Ok(if is_ours { CreateBucket::AlreadyYours } else { CreateBucket::TakenByOther });
        }
        let counted = tx.row(sqlx::query(sql::BUCKETS_COUNT).bind(&self.tenant.as_bytes()[..])).await?;
        let count = counted.as_ref().map_or(Ok(0), |row| number(row, "count"))?;
        if count >= u64::from(tx.buckets_per_tenant_max) {
            return Ok(CreateBucket::TooMany);
        }
        let bucket_no = to_signed(tx.next_bucket())?;
        let insert = sqlx::query(sql::BUCKET_INSERT)
            .bind(bucket_no)
            .bind(self.name.as_str())
            .bind(&self.tenant.as_bytes()[..])
            .bind(self.class.as_ref().map(ClassId::as_str))
            .bind(to_signed(self.now.millis())?);
        tx.write_one(insert, "a bucket that was not there was not inserted").await?;
        Ok(CreateBucket::Created)
    }
}

/// [`crate::index::Index::delete_bucket`].
pub(super) struct Delete {
    pub(super) name: BucketName,
    pub(super) tenant: TenantCode,
}

impl Mutation for Delete {
    type Out = DeleteBucket;

    async fn apply(self, tx: &mut Tx) -> Result<DeleteBucket, IndexError> {
        let Some(row) = tx.row(sqlx::query(sql::BUCKET).bind(self.name.as_str())).await? else {
            return Ok(DeleteBucket::NoBucket);
        };
        if !is_owner(&row, self.tenant)? {
            return Ok(DeleteBucket::NotYours);
        }
        let bucket_no: i64 = value(&row, "bucket_no")?;
        if tx.row(sqlx::query(sql::BUCKET_IN_USE).bind(bucket_no)).await?.is_some() {
            return Ok(DeleteBucket::NotEmpty);
        }
        let tenant = &self.tenant.as_bytes()[..];
        tx.write(sqlx::query(sql::BUCKET_DELETE_COUNTERS).bind(tenant).bind(bucket_no)).await?;
        tx.write(sqlx::query(sql::BUCKET_DELETE_COMPLETED).bind(bucket_no)).await?;
        tx.write_one(sqlx::query(sql::BUCKET_DELETE).bind(bucket_no), "a bucket was not deleted").await?;
        Ok(DeleteBucket::Deleted)
    }
}

/// [`crate::index::Index::set_bucket_class`].
pub(super) struct SetClass {
    pub(super) name: BucketName,
    pub(super) tenant: TenantCode,
    pub(super) class: Option<ClassId>,
}

impl Mutation for SetClass {
    type Out = SetBucketClass;

    async fn apply(self, tx: &mut Tx) -> Result<SetBucketClass, IndexError> {
        let Some(row) = tx.row(sqlx::query(sql::BUCKET).bind(self.name.as_str())).await? else {
            return Ok(SetBucketClass::NoBucket);
        };
        if !is_owner(&row, self.tenant)? {
            return Ok(SetBucketClass::NotYours);
        }
        let bucket_no: i64 = value(&row, "bucket_no")?;
        let update =
            sqlx::query(sql::BUCKET_SET_CLASS).bind(bucket_no).bind(self.class.as_ref().map(ClassId::as_str));
        tx.write_one(update, "a bucket was not updated").await?;
        Ok(SetBucketClass::Set)
    }
}
