//! Buckets: names and owners in the index; nothing of them is in the store.

use crate::index::{Bucket, CreateBucket, DeleteBucket, SetBucketClass};
use crate::model::{BucketName, ClassId, TenantCode};

use super::{Decided, Vault, VaultError};

impl Vault {
    /// Makes a bucket of the decided tenant.
    pub async fn create_bucket(&self, decided: &Decided, name: &BucketName) -> Result<(), VaultError> {
        let now = self.parts.clock.now();
        match self.parts.index.create_bucket(name, decided.tenant_code(), None, now).await? {
            CreateBucket::Created => Ok(()),
            CreateBucket::AlreadyYours => Err(VaultError::BucketExists),
            CreateBucket::TakenByOther => Err(VaultError::BucketTaken),
            CreateBucket::TooMany => Err(VaultError::TooManyBuckets),
        }
    }

    /// The bucket, if it is the decided tenant's.
    pub async fn bucket(&self, decided: &Decided, name: &BucketName) -> Result<Bucket, VaultError> {
        self.own_bucket(decided.tenant_code(), name).await
    }

    /// The tenant's buckets after `after`, by name, at most `limit` (1,000).
    pub async fn buckets(
        &self,
        decided: &Decided,
        after: Option<&BucketName>,
        limit: u16,
    ) -> Result<Vec<Bucket>, VaultError> {
        Ok(self.parts.index.list_buckets(decided.tenant_code(), after, limit).await?)
    }

    /// Removes an empty bucket.
    pub async fn delete_bucket(&self, decided: &Decided, name: &BucketName) -> Result<(), VaultError> {
        match self.parts.index.delete_bucket(name, decided.tenant_code()).await? {
            DeleteBucket::Deleted => Ok(()),
            DeleteBucket::NotEmpty => Err(VaultError::BucketNotEmpty),
            DeleteBucket::NoBucket => Err(VaultError::NoSuchBucket),
            DeleteBucket::NotYours => Err(VaultError::NotYours),
        }
    }

    /// Sets the least class of what is written into a bucket from now on; `None` takes the rule away.
    pub async fn set_bucket_rule(
        &self,
        decided: &Decided,
        name: &BucketName,
        class: Option<&ClassId>,
    ) -> Result<(), VaultError> {
        match self.parts.index.set_bucket_class(name, decided.tenant_code(), class).await? {
            SetBucketClass::Set => Ok(()),
            SetBucketClass::NoBucket => Err(VaultError::NoSuchBucket),
            SetBucketClass::NotYours => Err(VaultError::NotYours),
        }
    }

    /// The class rule of a tenant's bucket: part of the question that placement answers, so it is asked before there is a
    /// decision. Reads one row and changes nothing.
    pub async fn bucket_rule(
        &self,
        tenant: TenantCode,
        name: &BucketName,
    ) -> Result<Option<ClassId>, VaultError> {
        Ok(self.own_bucket(tenant, name).await?.class)
    }

    async fn own_bucket(&self, tenant: TenantCode, name: &BucketName) -> Result<Bucket, VaultError> {
        match self.parts.index.bucket(name).await? {
            None => Err(VaultError::NoSuchBucket),
            Some(bucket) if bucket.owner != tenant => Err(VaultError::NotYours),
            Some(bucket) => Ok(bucket),
        }
    }
}
