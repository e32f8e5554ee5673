//! Why an operation may not run: each reason with a code that never changes.

use crate::catalogue::{CertificateKind, Country, Day, Endpoint, FacetName};
use crate::model::{ClassId, RegionId};

use super::ClassFrom;

/// Why an operation was refused. Its text is fit for the caller: it says what to do, and repeats nothing the caller sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The tenant's records live elsewhere: the caller must go there.
    #[error(
        "this tenant's records live in region {region}: send the request to {endpoint}, signed for {region}"
    )]
    OtherRegion {
        /// The tenant's home.
        region: RegionId,
        /// Where that region answers.
        endpoint: Endpoint,
    },
    /// The tenant's home, or the region that is served, is in no region file.
    #[error("region {region} is not in the catalogue: nothing is placed in an unknown region")]
    RegionUnknown {
        /// The name nobody knows.
        region: RegionId,
    },
    /// The tenant is suspended.
    #[error("the tenant is suspended: ask the operator of this proxy; nothing has been deleted")]
    TenantSuspended,
    /// The `LocationConstraint` names no region.
    #[error("the location constraint names no region of this catalogue: leave it out, or use {home}")]
    LocationUnknown {
        /// The only one this tenant may name.
        home: RegionId,
    },
    /// The `LocationConstraint` names a region that is not the tenant's.
    #[error(
        "the location constraint names region {asked}, but this tenant's records live in {home}: leave it out, or use {home}"
    )]
    LocationElsewhere {
        /// The region that was named.
        asked: RegionId,
        /// The only one this tenant may name.
        home: RegionId,
    },
    /// The class that was named is not in the register.
    #[error("the class named by the {named_by} is not in the data register: use one of {known}")]
    ClassUnknown {
        /// Where it was named.
        named_by: ClassFrom,
        /// The classes there are.
        known: String,
    },
    /// No class was named, and the tenant demands one.
    #[error(
        "this tenant demands a class with every record: name one with x-amz-meta-terroir-class, the tag terroir:class or a bucket rule"
    )]
    ClassMissing,
    /// Records of the class may not be placed in the region.
    #[error(
        "records of class {class} may not be placed in region {region}: the data register allows {allowed}"
    )]
    ClassNotInRegion {
        /// The class the record would take.
        class: ClassId,
        /// The tenant's home.
        region: RegionId,
        /// Where it may.
        allowed: String,
    },
    /// A certificate of the region has expired: what is there can be read, nothing is added.
    #[error(
        "region {region} takes no new records: its certificate {kind} ended on {expired}; records already there can be read"
    )]
    CertificateExpired {
        /// The tenant's home.
        region: RegionId,
        /// Which certificate.
        kind: CertificateKind,
        /// Its last day.
        expired: Day,
    },
    /// A facet of the region reaches into a country the region does not allow.
    #[error(
        "region {region} is not served: its {facet} reaches into {country}, which the region does not allow"
    )]
    FacetOutside {
        /// The tenant's home.
        region: RegionId,
        /// Which facet.
        facet: FacetName,
        /// Where it reaches.
        country: Country,
    },
}

impl Refusal {
    /// The code clients, dashboards and audit records know the reason by. Never changed, never reused.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OtherRegion { .. } => "TR-OTHER-REGION",
            Self::RegionUnknown { .. } => "TR-REGION-UNKNOWN",
            Self::TenantSuspended => "TR-TENANT-SUSPENDED",
            Self::LocationUnknown { .. } => "TR-LOCATION-UNKNOWN",
            Self::LocationElsewhere { .. } => "TR-LOCATION-ELSEWHERE",
            Self::ClassUnknown { .. } => "TR-CLASS-UNKNOWN",
            Self::ClassMissing => "TR-CLASS-MISSING",
            Self::ClassNotInRegion { .. } => "TR-CLASS-NOT-IN-REGION",
            Self::CertificateExpired { .. } => "TR-CERTIFICATE-EXPIRED",
            Self::FacetOutside { .. } => "TR-FACET-OUTSIDE",
        }
    }

    /// Whether it is S3's `IllegalLocationConstraintException`.
    pub const fn is_location_constraint(&self) -> bool {
        matches!(self, Self::LocationUnknown { .. } | Self::LocationElsewhere { .. })
    }
}
