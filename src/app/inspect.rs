//! What a blob is, told to an operator: out of its own sealed locator, and out of the index.

use crate::audit::{Ended, Outcome, Verdict};
use crate::index::BlobStanding;
use crate::model::{BlobId, BucketName, ObjectKey, TenantCode, TenantId, VersionId};
use crate::placement::Operation;
use crate::vault::{Identity, OwnerRow, VaultError};

use super::{Site, SiteError};

/// What a blob turned out to be. Names of records are in it: for the operator's eyes, once the audit log has it.
#[derive(Debug)]
pub struct Inspected {
    /// What its own bytes say.
    pub identity: Identity,
    /// Its length as it was found.
    pub length: u64,
    /// Whose it is, if that tenant is known here; only of a blob that a key of this region opened.
    pub tenant: Option<TenantId>,
    /// What the index says of the blob; only of a blob that a key of this region opened.
    pub standing: Option<BlobStanding>,
    /// What the index has under the version that the blob says it is of.
    pub owner: Option<OwnerRow>,
}

/// Why nothing can be said of a blob.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is not there.
    #[error("there is no such blob in the region's store")]
    NoSuchBlob,
    /// The region.
    #[error("the region cannot be asked")]
    Site(#[from] SiteError),
}

impl From<VaultError> for InspectError {
    fn from(error: VaultError) -> Self {
        Self::Site(error.into())
    }
}

impl Site {
    /// Inspects a blob of the region's store.
    pub async fn inspect(&self, blob: BlobId) -> Result<Inspected, InspectError> {
        let decided = self.admit(&self.operator()?, &Operation::Maintain, "inspect").await?;
        let found = self.vault.identify(&decided, blob).await;
        let outcome = if found.is_ok() { Outcome::Ok } else { Outcome::Error { code: "failed" } };
        decided.into_parts().1.finish(Ended::new(outcome, None));
        let (identity, length) = found?.ok_or(InspectError::NoSuchBlob)?;
        self.named(identity, length).await
    }

    /// Inspects a blob out of its first bytes, wherever they come from.
    pub async fn inspect_front(&self, front: &[u8], length: u64) -> Result<Inspected, InspectError> {
        let identity = self.vault.identify_front(front, None).await?;
        self.named(identity, length).await
    }

    /// Adds what the index says. Nothing of a blob that no key here opens: what its header says is not proved.
    ///
    /// Names are only handed out after a record of it is durable.
    async fn named(&self, identity: Identity, length: u64) -> Result<Inspected, InspectError> {
        let Identity::Ours(both) = &identity else {
            return Ok(Inspected { identity, length, tenant: None, standing: None, owner: None });
        };
        let (header, locator) = &**both;
        let code = TenantCode::from_bytes(header.binding.tenant);
        let tenants = self.registry().list_tenants().await.map_err(SiteError::from)?;
        let tenant = tenants.into_iter().find(|tenant| tenant.code == code).map(|tenant| tenant.id);
        let mut decision = self.decision("inspect.names", Verdict::Placed);
        decision.tenant.clone_from(&tenant);
        let key = str::from_utf8(&locator.key).ok().and_then(|key| key.parse::<ObjectKey>().ok());
        if let (Ok(bucket), Some(key)) = (locator.bucket.parse::<BucketName>(), key) {
            decision.bucket = Some(self.log().keys().bucket(&bucket));
            decision.key = Some(self.log().keys().key(&bucket, &key));
        }
        let recorded = self.log().record(decision, ()).await.map_err(SiteError::from)?;
        let standing = self.vault.standings(&[BlobId::from_bytes(header.blob)]).await?;
        let owner = self.vault.owner_row(VersionId::from_bytes(header.binding.version)).await?;
        recorded.into_parts().1.finish(Ended::new(Outcome::Ok, None));
        Ok(Inspected { standing: standing.first().copied(), owner, identity, length, tenant })
    }
}
