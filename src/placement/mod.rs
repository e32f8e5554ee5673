//! Where an operation may run: one pure decision, carried by a type that nothing else can make.

use crate::model::{ClassCode, ClassId, RegionId, TenantCode, TenantId};

/// The decision that an operation of a tenant may run in a region. Made only by `decide`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    tenant: TenantId,
    tenant_code: TenantCode,
    region: RegionId,
    class: Option<(ClassId, ClassCode)>,
}

impl Placement {
    /// Whose records.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The tenant as envelopes spell it.
    pub fn tenant_code(&self) -> TenantCode {
        self.tenant_code
    }

    /// The only region whose store, index and keys may be touched.
    pub fn region(&self) -> &RegionId {
        &self.region
    }

    /// For a write: the class the record takes, with its code in the envelope. `None` for other operations.
    pub fn class(&self) -> Option<&(ClassId, ClassCode)> {
        self.class.as_ref()
    }
}

/// Placements for the tests of modules that stand above this one and do not test the decision itself.
#[cfg(feature = "testing")]
pub mod testing {
    use super::*;

    /// A placement in `region` for tenant `clinic`, class `health` (code 3).
    pub fn placement(region: &RegionId) -> Placement {
        #[expect(clippy::unwrap_used, reason = "constant names")]
        Placement {
            tenant: "clinic".parse().unwrap(),
            tenant_code: TenantCode::from_bytes([7; 16]),
            region: region.clone(),
            class: Some(("health".parse().unwrap(), ClassCode(3))),
        }
    }
}
