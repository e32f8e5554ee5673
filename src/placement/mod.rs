//! Where an operation may run: one pure decision, carried by a type that nothing else can make.
//!
//! [`decide`] is asked for every operation: reads and writes, parts of uploads, sources of copies, the proxy's own clearing up.
//! It answers with a [`Placement`], without which no location can be made and so no store, index or key be touched, or with a
//! [`Refusal`]. It never looks for another region: what is unknown, missing or elsewhere is refused.

mod decide;
mod refusal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::catalogue::{ClassProfile, ContentHash};
use crate::model::{ClassCode, ClassId, RegionId, TenantCode, TenantId, Weight};

pub use decide::{AskedClass, Operation, Question, decide};
pub use refusal::Refusal;

/// The decision that an operation of a tenant may run in a region. Made only by [`decide`].
///
/// It cannot be written down:
/// ```compile_fail,E0451
/// use terroir::placement::Placement;
/// fn forge(real: &Placement) -> Placement {
///     Placement { region: real.region().clone(), ..real.clone() }
/// }
/// ```
/// The same function compiles once it stops at passing a real one on:
/// ```
/// use terroir::placement::Placement;
/// fn forge(real: &Placement) -> Placement {
///     real.clone()
/// }
/// ```
/// It has no default, while an absent one has:
/// ```compile_fail,E0277
/// use terroir::placement::Placement;
/// let _: Placement = Default::default();
/// ```
/// ```
/// use terroir::placement::Placement;
/// let _: Option<Placement> = Default::default();
/// ```
/// A region alone does not become one, while it becomes what it should:
/// ```compile_fail,E0277
/// use terroir::{model::RegionId, placement::Placement};
/// fn forge(region: RegionId) -> Placement { region.into() }
/// ```
/// ```
/// use terroir::{model::RegionId, placement::Placement};
/// fn forge(region: RegionId) -> Option<RegionId> { region.into() }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    tenant: TenantId,
    tenant_code: TenantCode,
    region: RegionId,
    signing_scope: String,
    class: Option<(ClassId, ClassCode)>,
    profile: Option<Arc<ClassProfile>>,
    class_from: Option<ClassFrom>,
    register_version: ContentHash,
    weight: Weight,
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

    /// What callers of that region put in the credential scope, and what `GetBucketLocation` answers.
    pub fn signing_scope(&self) -> &str {
        &self.signing_scope
    }

    /// For a write: the class the record takes, with its code in the envelope. `None` for other operations.
    pub fn class(&self) -> Option<&(ClassId, ClassCode)> {
        self.class.as_ref()
    }

    /// For a write: how records of that class are treated (key scope, cache bounds, length hiding). `None` for other operations.
    pub fn profile(&self) -> Option<&Arc<ClassProfile>> {
        self.profile.as_ref()
    }

    /// For a write: what settled the class.
    pub fn class_from(&self) -> Option<ClassFrom> {
        self.class_from
    }

    /// The register by which it was decided.
    pub fn register_version(&self) -> ContentHash {
        self.register_version
    }

    /// How much the tenant counts where tenants compete for what the region's process has.
    pub fn weight(&self) -> Weight {
        self.weight
    }
}

/// Where a class was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClassFrom {
    /// By a header of the request.
    Header,
    /// By a tag of the request.
    Tag,
    /// By the bucket's rule.
    BucketRule,
    /// By the upload this is a part of.
    Upload,
    /// By the record that is copied.
    Source,
    /// By the tenant's default.
    TenantDefault,
}

impl ClassFrom {
    /// The origin as messages and audit records spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Tag => "tag",
            Self::BucketRule => "bucket rule",
            Self::Upload => "upload",
            Self::Source => "copy source",
            Self::TenantDefault => "tenant default",
        }
    }
}

impl std::fmt::Display for ClassFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Placements for the tests of modules that stand above this one and do not test the decision itself.
#[cfg(feature = "testing")]
pub mod testing {
    use super::{Arc, ClassFrom, ClassProfile, ContentHash, Placement, RegionId, TenantCode, Weight};

    /// A placement in `region` for tenant `clinic`, class `health` (code 3).
    ///
    /// # Panics
    /// Never: the names are constant and the file is one that the checks hold to be sound.
    #[expect(
        clippy::unwrap_used,
        reason = "constant names, and a file that the checks of the catalogue hold to be sound"
    )]
    pub fn placement(region: &RegionId) -> Placement {
        let profile: ClassProfile =
            toml::from_str(include_str!("../../regions/register/health.toml")).unwrap();
        Placement {
            tenant: "clinic".parse().unwrap(),
            tenant_code: TenantCode::from_bytes([7; 16]),
            region: region.clone(),
            signing_scope: region.to_string(),
            class: Some((profile.id.clone(), profile.code)),
            profile: Some(Arc::new(profile)),
            class_from: Some(ClassFrom::TenantDefault),
            register_version: ContentHash::from_bytes([0; 32]),
            weight: Weight::default(),
        }
    }

    /// The same for another tenant.
    pub fn placement_of(tenant: TenantCode, region: &RegionId) -> Placement {
        Placement { tenant_code: tenant, ..placement(region) }
    }
}
