//! What a wrapped key is bound to: the context a KMS authenticates, and the root it is wrapped under.

use std::fmt;

use crate::model::{ClassCode, Environment, KekId, RegionId, TenantCode};

/// Which root a class's KEKs hang from. The register says it; `health` and above have a root per tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootScope {
    /// One root for the region.
    Region,
    /// One root for each tenant of the region.
    Tenant,
}

/// A root key's name in its KMS. Holds opaque codes only: clouds log key names in clear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RootRef {
    /// The root of a region.
    Region(RegionId),
    /// The root of one tenant in a region.
    Tenant(RegionId, TenantCode),
}

impl RootRef {
    /// The region whose KMS holds this root.
    pub fn region(&self) -> &RegionId {
        match self {
            Self::Region(region) | Self::Tenant(region, _) => region,
        }
    }

    /// The tenant whose root it is, if it is a tenant's.
    pub fn tenant(&self) -> Option<TenantCode> {
        match self {
            Self::Region(_) => None,
            Self::Tenant(_, tenant) => Some(*tenant),
        }
    }
}

impl fmt::Display for RootRef {
    /// `fr` or `fr.<32 hex digits>`: safe as a file name and as a KMS key name, and unambiguous since no region holds a dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(region) => write!(f, "{region}"),
            Self::Tenant(region, tenant) => write!(f, "{region}.{tenant}"),
        }
    }
}

/// Whose KEK it is. Given to the KMS as authenticated data, so a wrapped key moved to another row does not open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KekContext {
    /// `prod`, `test`, …
    pub environment: Environment,
    /// The region whose records the KEK protects.
    pub region: RegionId,
    /// The tenant, by its opaque code.
    pub tenant: TenantCode,
    /// The class.
    pub class: ClassCode,
    /// The KEK.
    pub kek_id: KekId,
    /// Its epoch, from 1.
    pub epoch: u32,
}

impl KekContext {
    /// The parts as bytes, in the order of the fields. A KMS authenticates each with its length in front, so that no two
    /// contexts read alike.
    pub fn parts(&self) -> [Vec<u8>; 6] {
        [
            self.environment.as_str().as_bytes().to_vec(),
            self.region.as_str().as_bytes().to_vec(),
            self.tenant.as_bytes().to_vec(),
            self.class.0.to_be_bytes().to_vec(),
            self.kek_id.as_bytes().to_vec(),
            self.epoch.to_be_bytes().to_vec(),
        ]
    }

    /// The parts, each behind its length as a big-endian u32.
    pub fn encoded(&self) -> Vec<u8> {
        let parts = self.parts();
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
        for part in &parts {
            // Every part is at most 16 bytes by the types above.
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(environment: &str, region: &str) -> KekContext {
        KekContext {
            environment: environment.parse().unwrap(),
            region: region.parse().unwrap(),
            tenant: TenantCode::from_bytes([1; 16]),
            class: ClassCode(3),
            kek_id: KekId::from_bytes([2; 16]),
            epoch: 1,
        }
    }

    #[test]
    fn shifting_a_letter_between_parts_changes_the_context() {
        assert_ne!(context("prodf", "rr").encoded(), context("prod", "frr").encoded());
    }

    #[test]
    fn every_field_is_bound() {
        let base = context("prod", "fr");
        let mut seen = std::collections::HashSet::from([base.encoded()]);
        assert!(seen.insert(context("test", "fr").encoded()));
        assert!(seen.insert(context("prod", "us").encoded()));
        assert!(
            seen.insert(KekContext { tenant: TenantCode::from_bytes([9; 16]), ..base.clone() }.encoded())
        );
        assert!(seen.insert(KekContext { class: ClassCode(4), ..base.clone() }.encoded()));
        assert!(seen.insert(KekContext { kek_id: KekId::from_bytes([9; 16]), ..base.clone() }.encoded()));
        assert!(seen.insert(KekContext { epoch: 2, ..base }.encoded()));
    }
}
