//! Tenants and their S3 credentials.

use super::{AccessKeyId, ClassId, RegionId, Secret, TenantCode, TenantId, Timestamp};

/// Whether a tenant's requests are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantStatus {
    /// Served.
    Active,
    /// Every request is refused; nothing is deleted.
    Suspended,
}

/// What happens to a write that names no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclassified {
    /// It takes the tenant's default class.
    TakesDefault,
    /// It is refused: this tenant wants every record labelled.
    Refused,
}

/// A customer that chose a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The name people use.
    pub id: TenantId,
    /// The name stores and envelopes use.
    pub code: TenantCode,
    /// Where the tenant's records live. The only region that may ever hold or process them.
    pub home: RegionId,
    /// The class of a record that names none.
    pub default_class: ClassId,
    /// Whether a record may name none.
    pub unclassified: Unclassified,
    /// Whether requests are served.
    pub status: TenantStatus,
    /// When the tenant was created.
    pub created: Timestamp,
}

/// Whether a credential may sign requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialStatus {
    /// It may.
    Active,
    /// It may not, at once and for good: a disabled key is not enabled again, a new one is made.
    Disabled,
}

/// One S3 access key of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The public half; carries the region.
    pub key_id: AccessKeyId,
    /// Whose key it is.
    pub tenant: TenantId,
    /// The secret half, 40 characters. Shown once, at creation; stored sealed.
    pub secret: Secret<String>,
    /// What the tenant calls it, for `terroir credential list`.
    pub label: String,
    /// Whether it may sign.
    pub status: CredentialStatus,
    /// When it was created.
    pub created: Timestamp,
}
