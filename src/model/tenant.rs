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

/// How much a tenant counts where tenants compete for what a process has: 1, the default, to 16.
///
/// At most 16, because a tenant alone may take `4 w / (1 + 4 w)` of a thing (see [`crate::shares`]): even the heaviest then
/// leaves a sixty-fifth to whoever comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u8);

/// Not a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a weight is a whole number from 1 to {max}", max = Weight::MAX.0)]
pub struct InvalidWeight;

impl Weight {
    /// The heaviest.
    pub const MAX: Self = Self(16);

    /// The number.
    pub const fn value(self) -> u8 {
        self.0
    }
}

impl Default for Weight {
    /// 1.
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u8> for Weight {
    type Error = InvalidWeight;

    fn try_from(value: u8) -> Result<Self, InvalidWeight> {
        if (1..=Self::MAX.0).contains(&value) { Ok(Self(value)) } else { Err(InvalidWeight) }
    }
}

impl std::str::FromStr for Weight {
    type Err = InvalidWeight;

    fn from_str(text: &str) -> Result<Self, InvalidWeight> {
        text.parse::<u8>().map_err(|_| InvalidWeight)?.try_into()
    }
}

impl std::fmt::Display for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
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
    /// The least class of its records: whatever else names a class, of all that are named the strictest holds.
    pub default_class: ClassId,
    /// Whether a record may name none.
    pub unclassified: Unclassified,
    /// Whether requests are served.
    pub status: TenantStatus,
    /// How much it counts where tenants compete.
    pub weight: Weight,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_outside_one_to_sixteen_is_none() {
        for text in ["0", "17", "256", "-1", "1.5", "", "heavy"] {
            assert!(text.parse::<Weight>().is_err(), "{text}");
        }
        assert_eq!("16".parse::<Weight>().unwrap(), Weight::MAX);
    }
}
