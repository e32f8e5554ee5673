//! The verbs: create, list, show, suspend, disable, rotate. Each changes one row, checked by its generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::TenantsError;
use crate::index::Index;
use crate::keys::Ring;
use crate::model::{
    AccessKeyId, ClassId, Clock, Credential, CredentialStatus, Entropy, RegionId, Tenant, TenantId, Timestamp,
    Unclassified,
};

/// Tenants of one region. A fleet of one region is not for more (the snapshot is in memory).
pub const TENANTS_MAX: usize = 10_000;

/// Active credentials of one tenant; with the disabled ones, ten times as many.
pub const CREDENTIALS_PER_TENANT_MAX: usize = 20;

/// What the catalogue allows in this region: made by the caller from the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// The region of this directory: in the catalogue, and the only home its tenants may have.
    pub region: RegionId,
    /// The classes of the register that this region may hold.
    pub classes: BTreeSet<ClassId>,
}

/// A tenant to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTenant {
    /// Its name.
    pub id: TenantId,
    /// Its home: must be this region.
    pub home: RegionId,
    /// Its default class.
    pub default_class: ClassId,
    /// Whether a write may name no class.
    pub unclassified: Unclassified,
}

/// A credential without its secret: what lists show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSummary {
    /// The public half.
    pub key_id: AccessKeyId,
    /// Whose.
    pub tenant: TenantId,
    /// What the tenant calls it.
    pub label: String,
    /// Whether it may sign.
    pub status: CredentialStatus,
    /// When it was created.
    pub created: Timestamp,
}

/// The verbs on one region's directory. Reads the index itself, not the snapshot: what it shows is what is stored.
#[derive(Clone, Debug)]
pub struct Registry {}

impl Registry {
    /// Over the index and the ring of one region.
    pub fn new(
        index: Arc<dyn Index>,
        ring: Ring,
        accepts: Accepts,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        todo!()
    }

    /// Creates an active tenant.
    pub async fn create_tenant(&self, new: NewTenant) -> Result<Tenant, TenantsError> {
        todo!()
    }

    /// All tenants, by name.
    pub async fn list_tenants(&self) -> Result<Vec<Tenant>, TenantsError> {
        todo!()
    }

    /// One tenant.
    pub async fn show_tenant(&self, id: &TenantId) -> Result<Tenant, TenantsError> {
        todo!()
    }

    /// Refuses all of a tenant's requests from now on; deletes nothing. Doing it twice is not an error.
    pub async fn suspend_tenant(&self, id: &TenantId) -> Result<Tenant, TenantsError> {
        todo!()
    }

    /// Serves a suspended tenant again.
    pub async fn resume_tenant(&self, id: &TenantId) -> Result<Tenant, TenantsError> {
        todo!()
    }

    /// Sets the class of writes that name none. Records already stored keep theirs.
    pub async fn set_default_class(
        &self,
        id: &TenantId,
        class: &ClassId,
        unclassified: Unclassified,
    ) -> Result<Tenant, TenantsError> {
        todo!()
    }

    /// Creates a credential. The only time the secret is returned.
    pub async fn create_credential(&self, tenant: &TenantId, label: &str) -> Result<Credential, TenantsError> {
        todo!()
    }

    /// A tenant's credentials, disabled ones too, by creation.
    pub async fn list_credentials(&self, tenant: &TenantId) -> Result<Vec<CredentialSummary>, TenantsError> {
        todo!()
    }

    /// One credential.
    pub async fn show_credential(&self, key_id: &AccessKeyId) -> Result<CredentialSummary, TenantsError> {
        todo!()
    }

    /// Disables a credential for good and erases its secret. Doing it twice is not an error.
    pub async fn disable_credential(&self, key_id: &AccessKeyId) -> Result<CredentialSummary, TenantsError> {
        todo!()
    }

    /// Makes a new credential with the same tenant and label. The old one stays active until disabled, unless
    /// `disable_old`: then it is disabled once the new one is stored.
    pub async fn rotate_credential(&self, key_id: &AccessKeyId, disable_old: bool) -> Result<Credential, TenantsError> {
        todo!()
    }
}
