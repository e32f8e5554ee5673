//! What a region file claims: one [`Region`] per `regions/<id>.toml`. The annotated example is `regions/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::leaf::{Authority, Country, Day, Endpoint, parse, parse_list};
use super::parts::{Audit, Index, KeyStore, Keys, Store, Telemetry};
use crate::model::RegionId;

/// One region: where it is, who runs it, what it may touch, where its bytes go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Region {
    /// The file's stem; also the `LocationConstraint` of its buckets.
    #[serde(deserialize_with = "parse")]
    pub id: RegionId,
    /// What SDKs put in the credential scope; equal to `id`.
    pub signing_scope: String,
    /// The region's name, for people.
    pub names: Names,
    /// Where callers reach the region.
    pub endpoints: Endpoints,
    /// Where the region is, and the only countries any facet of it may touch.
    pub place: Place,
    /// Who runs the store.
    pub operator: Operator,
    /// What the operator is certified for.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Where each kind of handling really happens.
    pub facets: Facets,
    /// Where sealed blobs go.
    pub store: Store,
    /// Where names, versions and sizes go.
    pub index: Index,
    /// Where root keys are.
    pub keys: Keys,
    /// Where wrapped keys go; absent: a file beside the root keys.
    #[serde(default)]
    pub key_store: KeyStore,
    /// Where decisions are recorded.
    pub audit: Audit,
    /// Where metrics and traces are sent; absent: nowhere.
    pub telemetry: Option<Telemetry>,
    /// Presets of retention bounds. An aid, not advice.
    #[serde(default)]
    pub regimes: Vec<Regime>,
    /// What an overlay replaced; never in a file.
    #[serde(skip)]
    pub overlaid: Option<Overlaid>,
}

impl Region {
    /// Where the region's own files are on this machine, under `state_dir` unless its file says otherwise.
    pub fn local_paths(&self, state_dir: &Path) -> LocalPaths {
        LocalPaths {
            store: match &self.store {
                Store::Fs(folder) => Some(state_dir.join(&folder.path)),
                Store::S3(_) | Store::Gcs(_) | Store::Memory {} => None,
            },
            index: match &self.index {
                Index::Sqlite(file) => Some(state_dir.join(&file.path)),
                Index::Postgres(_) => None,
            },
            keys: match &self.keys {
                Keys::LocalFile(file) => Some(state_dir.join(&file.path)),
            },
            audit: state_dir.join(&self.audit.directory),
        }
    }

    /// Every host the region's connectors may reach: the union of its facets' hosts. Anything else is refused.
    pub fn egress(&self) -> BTreeSet<&Authority> {
        self.facets.iter().flat_map(|(_, facet)| &facet.hosts).collect()
    }
}

/// A region's files on one machine; `None` where the part is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPaths {
    /// The folder of blobs.
    pub store: Option<PathBuf>,
    /// The index's database file.
    pub index: Option<PathBuf>,
    /// The file of root keys.
    pub keys: Option<PathBuf>,
    /// The folder of the audit log.
    pub audit: PathBuf,
}

/// A name in the two languages of the reports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// English.
    pub en: String,
    /// French.
    pub fr: String,
}

/// Where callers reach a region.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// The S3 front, as redirects name it.
    #[serde(deserialize_with = "parse")]
    pub s3: Endpoint,
}

/// Where a region is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The only countries any facet may touch.
    #[serde(deserialize_with = "parse_list")]
    pub countries: BTreeSet<Country>,
    /// A state or province, where law differs by it.
    pub subdivision: Option<String>,
    /// The site or cloud location, as the operator names it.
    pub site: String,
    /// How we know.
    pub evidence: Evidence,
}

/// How a statement is known. Nothing read from a file is *verified*: only an observation of the store can be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Evidence {
    /// How firm it is.
    pub standing: Standing,
    /// Where it was read: a contract, a page, a register.
    pub source: String,
    /// When a person last compared it with the source.
    pub reviewed_on: Day,
}

/// How firm a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nobody has shown it yet: the operator of this deployment must confirm it before relying on it.
    ToConfirm,
    /// The provider states it.
    Declared,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToConfirm => "to-confirm",
            Self::Declared => "declared",
        })
    }
}

/// The company that runs a region's store, and whose laws reach it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Operator {
    /// Its name.
    pub name: String,
    /// The country of its legal seat.
    #[serde(deserialize_with = "parse")]
    pub seat: Country,
    /// The company that controls it, if any.
    pub parent: Option<Parent>,
    /// Countries in which it is established.
    #[serde(default, deserialize_with = "parse_list")]
    pub establishments: BTreeSet<Country>,
    /// Laws of other countries that can oblige it to disclose.
    #[serde(default)]
    pub third_country_laws: Vec<String>,
    /// What is done about them.
    #[serde(default)]
    pub mitigations: Vec<String>,
    /// What remains, in words. Empty is refused: there is always something to say.
    pub residual_risk: String,
    /// How we know.
    pub evidence: Evidence,
}

/// A controlling company.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its name.
    pub name: String,
    /// The country of its legal seat.
    #[serde(deserialize_with = "parse")]
    pub seat: Country,
}

/// A certificate the operator holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Which one.
    pub kind: CertificateKind,
    /// HDS v2: the activities covered, 1 to 6.
    #[serde(default)]
    pub activities: BTreeSet<u8>,
    /// The first day it is valid; may be absent while it is still to be confirmed.
    pub issued: Option<Day>,
    /// The last day it is valid; may be absent while it is still to be confirmed.
    pub expires: Option<Day>,
    /// How we know.
    pub evidence: Evidence,
}

/// The certificates the reports know how to speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateKind {
    /// French health-data hosting, framework of 2024.
    HdsV2,
    /// Information security management.
    #[serde(rename = "iso-27001")]
    Iso27001,
    /// Privacy information management.
    #[serde(rename = "iso-27701")]
    Iso27701,
    /// Service organisation controls, type 2.
    #[serde(rename = "soc-2")]
    Soc2,
    /// HITRUST CSF.
    Hitrust,
    /// French qualification of trusted clouds, version 3.2.
    #[serde(rename = "secnumcloud-3-2")]
    SecNumCloud,
}

impl fmt::Display for CertificateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HdsV2 => "hds-v2",
            Self::Iso27001 => "iso-27001",
            Self::Iso27701 => "iso-27701",
            Self::Soc2 => "soc-2",
            Self::Hitrust => "hitrust",
            Self::SecNumCloud => "secnumcloud-3-2",
        })
    }
}

/// Where each kind of handling happens. All are required: what is not said is not known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Facets {
    /// Sealed blobs.
    pub storage: Facet,
    /// The proxy itself, where bodies are in the clear.
    pub processing: Facet,
    /// Names, sizes and times of records.
    pub index: Facet,
    /// Root keys.
    pub keys: Facet,
    /// The audit log and the process's own log.
    pub logs: Facet,
    /// Copies made for restoring.
    pub backup: Facet,
    /// People who can touch the above.
    pub support_access: Facet,
    /// Metrics and traces.
    pub telemetry: Facet,
}

impl Facets {
    /// All facets with their names, in the order of the reports.
    pub fn iter(&self) -> impl Iterator<Item = (FacetName, &Facet)> {
        FacetName::ALL.into_iter().map(|name| (name, self.named(name)))
    }

    /// The facet called `name`.
    pub fn named(&self, name: FacetName) -> &Facet {
        match name {
            FacetName::Storage => &self.storage,
            FacetName::Processing => &self.processing,
            FacetName::Index => &self.index,
            FacetName::Keys => &self.keys,
            FacetName::Logs => &self.logs,
            FacetName::Backup => &self.backup,
            FacetName::SupportAccess => &self.support_access,
            FacetName::Telemetry => &self.telemetry,
        }
    }

    pub(super) fn named_mut(&mut self, name: FacetName) -> &mut Facet {
        match name {
            FacetName::Storage => &mut self.storage,
            FacetName::Processing => &mut self.processing,
            FacetName::Index => &mut self.index,
            FacetName::Keys => &mut self.keys,
            FacetName::Logs => &mut self.logs,
            FacetName::Backup => &mut self.backup,
            FacetName::SupportAccess => &mut self.support_access,
            FacetName::Telemetry => &mut self.telemetry,
        }
    }
}

/// A kind of handling that has a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FacetName {
    /// Sealed blobs.
    Storage,
    /// The proxy itself.
    Processing,
    /// Names, sizes and times.
    Index,
    /// Root keys.
    Keys,
    /// Audit and process logs.
    Logs,
    /// Copies for restoring.
    Backup,
    /// People's access.
    SupportAccess,
    /// Metrics and traces.
    Telemetry,
}

impl FacetName {
    /// Every facet.
    pub const ALL: [Self; 8] = [
        Self::Storage,
        Self::Processing,
        Self::Index,
        Self::Keys,
        Self::Logs,
        Self::Backup,
        Self::SupportAccess,
        Self::Telemetry,
    ];

    /// The facet as files and reports spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Processing => "processing",
            Self::Index => "index",
            Self::Keys => "keys",
            Self::Logs => "logs",
            Self::Backup => "backup",
            Self::SupportAccess => "support-access",
            Self::Telemetry => "telemetry",
        }
    }
}

impl fmt::Display for FacetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where one kind of handling happens, by whom, and which hosts it reaches for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facet {
    /// Countries in which it happens. Never empty.
    #[serde(deserialize_with = "parse_list")]
    pub countries: BTreeSet<Country>,
    /// The hosts it connects to; none if it never leaves the process's own machine.
    #[serde(default, deserialize_with = "parse_list")]
    pub hosts: Vec<Authority>,
    /// Who does it.
    pub by: String,
    /// How we know.
    pub evidence: Evidence,
}

/// Retention bounds that a law or a custom suggests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Regime {
    /// A stable name.
    pub id: String,
    /// What it is about.
    pub subject: String,
    /// Kept at least so long, in days.
    pub floor_days: Option<u32>,
    /// Kept at most so long, in days.
    pub ceiling_days: Option<u32>,
    /// How we know.
    pub evidence: Evidence,
}

/// What an overlay replaced in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlaid {
    /// The overlay's name.
    pub by: String,
    /// What the region file said, and what stands in its place: `store` to (`s3 https://…`, `fs store`).
    pub replaced: BTreeMap<&'static str, (String, String)>,
}
