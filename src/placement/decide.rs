//! The one decision.

use std::sync::Arc;

use super::{ClassFrom, Placement, Refusal};
use crate::catalogue::{Catalogue, ClassProfile, Region};
use crate::model::{ClassId, RegionId, Tenant, TenantStatus, Timestamp, Unclassified};

/// What is asked: may this tenant do this, here, now?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Whose records.
    pub tenant: &'a Tenant,
    /// What is to be done.
    pub operation: &'a Operation,
    /// The region this stack serves.
    pub serving: &'a RegionId,
    /// The present moment.
    pub now: Timestamp,
}

/// What is to be done, as far as placement cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// List the tenant's buckets.
    ListBuckets,
    /// Make a bucket.
    CreateBucket {
        /// The `LocationConstraint` as it was sent; `None` or empty if none was.
        location_constraint: Option<String>,
    },
    /// Look at, configure or remove a bucket, or list what is in it.
    Bucket,
    /// Read a record or its metadata; also the source of a copy.
    Read,
    /// Write a record, begin an upload, or copy to here.
    Write(AskedClass),
    /// Add a part to an upload, or complete it.
    Part {
        /// The class that was fixed when the upload began.
        class: ClassId,
    },
    /// Delete a record, or abort an upload.
    Delete,
    /// The proxy's own work on a tenant's records: reclaiming, scrubbing.
    Maintain,
}

impl Operation {
    /// The operation as audit records spell it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ListBuckets => "list-buckets",
            Self::CreateBucket { .. } => "create-bucket",
            Self::Bucket => "bucket",
            Self::Read => "read",
            Self::Write(_) => "write",
            Self::Part { .. } => "part",
            Self::Delete => "delete",
            Self::Maintain => "maintain",
        }
    }

    /// Whether it brings something new into the region.
    pub const fn adds(&self) -> bool {
        match self {
            Self::CreateBucket { .. } | Self::Write(_) | Self::Part { .. } => true,
            Self::ListBuckets | Self::Bucket | Self::Read | Self::Delete | Self::Maintain => false,
        }
    }
}

/// Every class a write was given. The strictest wins, the tenant's default included, so nothing can lower a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedClass {
    /// By a header, as it was sent: judging it is this module's work.
    pub header: Option<String>,
    /// By a tag, as it was sent.
    pub tag: Option<String>,
    /// By the bucket's rule.
    pub bucket: Option<ClassId>,
    /// For a copy: the class of the source. A copy is no way down.
    pub source: Option<ClassId>,
}

/// Decides. Pure: the same question and catalogue give the same answer, and nothing is read or remembered.
///
/// The order is part of the contract: a caller who is in the wrong region learns that first, whatever else is wrong, since only
/// the right region can tell.
pub fn decide(question: &Question<'_>, catalogue: &Catalogue) -> Result<Placement, Refusal> {
    let Question { tenant, operation, serving, now } = *question;
    let unknown = |region: &RegionId| Refusal::RegionUnknown { region: region.clone() };
    let region = catalogue.region(&tenant.home).ok_or_else(|| unknown(&tenant.home))?;
    if region.id != *serving {
        catalogue.region(serving).ok_or_else(|| unknown(serving))?;
        return Err(Refusal::OtherRegion {
            region: region.id.clone(),
            endpoint: region.endpoints.s3.clone(),
        });
    }
    match tenant.status {
        TenantStatus::Active => {}
        TenantStatus::Suspended => return Err(Refusal::TenantSuspended),
    }
    facets_stay_inside(region)?;
    if operation.adds() {
        certificates_hold(region, now)?;
    }
    if let Operation::CreateBucket { location_constraint } = operation {
        location_is_home(location_constraint.as_deref(), region, catalogue)?;
    }
    let class = class_of(operation, tenant, catalogue)?;
    if let Some((class, _)) = &class {
        class_may_be_in(class, region)?;
    }
    let (profile, class_from) = class.unzip();
    Ok(Placement {
        tenant: tenant.id.clone(),
        tenant_code: tenant.code,
        region: region.id.clone(),
        signing_scope: region.signing_scope.clone(),
        class: profile.as_ref().map(|profile| (profile.id.clone(), profile.code)),
        profile,
        class_from,
        register_version: catalogue.register_version(),
        weight: tenant.weight,
    })
}

/// Storage, processing, index, keys, logs, backup, support and telemetry all within the region's countries. The loader checks
/// it too; here it is checked where it counts.
fn facets_stay_inside(region: &Region) -> Result<(), Refusal> {
    for (facet, detail) in region.facets.iter() {
        if let Some(country) = detail.countries.difference(&region.place.countries).next() {
            return Err(Refusal::FacetOutside { region: region.id.clone(), facet, country: *country });
        }
    }
    Ok(())
}

fn certificates_hold(region: &Region, now: Timestamp) -> Result<(), Refusal> {
    for certificate in &region.certificates {
        if let Some(expired) = certificate.expires.filter(|day| day.ends() <= now) {
            return Err(Refusal::CertificateExpired {
                region: region.id.clone(),
                kind: certificate.kind,
                expired,
            });
        }
    }
    Ok(())
}

fn location_is_home(asked: Option<&str>, home: &Region, catalogue: &Catalogue) -> Result<(), Refusal> {
    // An empty element is what some SDKs send for "none".
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok(()) };
    match catalogue.region_named(asked) {
        None => Err(Refusal::LocationUnknown { home: home.id.clone() }),
        Some(region) if region.id == home.id => Ok(()),
        Some(region) => Err(Refusal::LocationElsewhere { asked: region.id.clone(), home: home.id.clone() }),
    }
}

fn class_may_be_in(class: &ClassProfile, region: &Region) -> Result<(), Refusal> {
    if class.allowed_regions.contains(&region.id) {
        return Ok(());
    }
    Err(Refusal::ClassNotInRegion {
        class: class.id.clone(),
        region: region.id.clone(),
        allowed: class.allowed_regions.to_string(),
    })
}

type Class = (Arc<ClassProfile>, ClassFrom);

fn class_of(operation: &Operation, tenant: &Tenant, catalogue: &Catalogue) -> Result<Option<Class>, Refusal> {
    match operation {
        Operation::Write(asked) => strictest(asked, tenant, catalogue).map(Some),
        Operation::Part { class } => known(class.as_str(), ClassFrom::Upload, catalogue).map(Some),
        Operation::ListBuckets
        | Operation::CreateBucket { .. }
        | Operation::Bucket
        | Operation::Read
        | Operation::Delete
        | Operation::Maintain => Ok(None),
    }
}

/// The strictest class anybody named. Equal ranks are one class, and the origin nearest to the caller is reported.
fn strictest(asked: &AskedClass, tenant: &Tenant, catalogue: &Catalogue) -> Result<Class, Refusal> {
    let named = [
        (asked.header.as_deref(), ClassFrom::Header),
        (asked.tag.as_deref(), ClassFrom::Tag),
        (asked.bucket.as_ref().map(ClassId::as_str), ClassFrom::BucketRule),
        (asked.source.as_ref().map(ClassId::as_str), ClassFrom::Source),
    ];
    if tenant.unclassified == Unclassified::Refused && named.iter().all(|(name, _)| name.is_none()) {
        return Err(Refusal::ClassMissing);
    }
    let mut strictest = known(tenant.default_class.as_str(), ClassFrom::TenantDefault, catalogue)?;
    // Backwards, so that of two that name the same class the first is kept.
    for (name, from) in named.into_iter().rev() {
        let Some(name) = name else { continue };
        let class = known(name, from, catalogue)?;
        if class.0.rank >= strictest.0.rank {
            strictest = class;
        }
    }
    Ok(strictest)
}

fn known(name: &str, named_by: ClassFrom, catalogue: &Catalogue) -> Result<Class, Refusal> {
    let profile = name.parse().ok().and_then(|id: ClassId| catalogue.class(&id));
    profile.map(|profile| (Arc::clone(profile), named_by)).ok_or_else(|| Refusal::ClassUnknown {
        named_by,
        known: catalogue.classes().iter().map(|class| class.id.as_str()).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{FacetName, Tree};

    /// The loader refuses such a region, so no catalogue reaches this; if one ever does, the decision still holds.
    #[test]
    fn a_facet_outside_is_refused_even_if_the_loader_let_it_through() {
        let catalogue =
            Catalogue::from_tree(&Tree::embedded(), Timestamp::from_seconds(1_796_083_200)).unwrap();
        let mut region = Region::clone(catalogue.region_named("fr").unwrap());
        assert_eq!(facets_stay_inside(&region), Ok(()));
        for facet in FacetName::ALL {
            let belgium = "BE".parse().unwrap();
            match facet {
                FacetName::Storage => region.facets.storage.countries.insert(belgium),
                FacetName::Processing => region.facets.processing.countries.insert(belgium),
                FacetName::Index => region.facets.index.countries.insert(belgium),
                FacetName::Keys => region.facets.keys.countries.insert(belgium),
                FacetName::Logs => region.facets.logs.countries.insert(belgium),
                FacetName::Backup => region.facets.backup.countries.insert(belgium),
                FacetName::SupportAccess => region.facets.support_access.countries.insert(belgium),
                FacetName::Telemetry => region.facets.telemetry.countries.insert(belgium),
            };
            let refusal = facets_stay_inside(&region).unwrap_err();
            assert!(
                matches!(refusal, Refusal::FacetOutside { facet: found, country, .. } if found == facet && country == belgium)
            );
            region = Region::clone(catalogue.region_named("fr").unwrap());
        }
    }
}
