//! What a register file says: one [`ClassProfile`] per `regions/register/<id>.toml`.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer};

use super::leaf::{parse, parse_list};
use super::region::Names;
use crate::model::{ClassCode, ClassId, RegionId};

/// How records of one class are treated, wherever they lie.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClassProfile {
    /// The file's stem.
    #[serde(deserialize_with = "parse")]
    pub id: ClassId,
    /// The class in the envelope's clear header. Never reused, not even after the class is gone.
    #[serde(deserialize_with = "code")]
    pub code: ClassCode,
    /// Strictness: the higher wins where several classes are asked for. No two classes share one.
    pub rank: u16,
    /// The class's name, for people.
    pub names: Names,
    /// What belongs in it, for people.
    pub description: String,
    /// Whose key-encryption key seals it.
    pub key_scope: KeyScope,
    /// Whose root key wraps that key.
    pub root_scope: RootScope,
    /// How well the root key must be guarded.
    pub custody: Custody,
    /// Regions where the holder of the root keys must not be the storage provider.
    #[serde(default, deserialize_with = "parse_list")]
    pub keys_apart_from_store: BTreeSet<RegionId>,
    /// How long an unwrapped key may be used without asking the KMS again, in seconds.
    pub kek_cache_ttl_s: u32,
    /// How long past that it may be used while the KMS is unreachable (never when it denies), in seconds.
    pub kek_stale_window_s: u32,
    /// Whether lengths are hidden from the store.
    pub length_hiding: LengthHiding,
    /// What a person must show to read a record.
    pub human_read: BTreeSet<ReadFactor>,
    /// How long records are kept.
    #[serde(default)]
    pub retention: Retention,
    /// Where records of the class may be placed.
    pub allowed_regions: AllowedRegions,
    /// Signs by which a record of the class can be recognised. A hint may only raise a class.
    #[serde(default)]
    pub detect: Vec<Hint>,
}

fn code<'de, D: Deserializer<'de>>(from: D) -> Result<ClassCode, D::Error> {
    u16::deserialize(from).map(ClassCode)
}

/// Whose key-encryption key seals a class's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyScope {
    /// One per tenant and class.
    TenantClass,
    /// The same, and a key per subject beside it: destroying that erases one person's records.
    TenantClassSubject,
}

impl KeyScope {
    /// The scope as files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TenantClass => "tenant-class",
            Self::TenantClassSubject => "tenant-class-subject",
        }
    }
}

/// Whose root key wraps a key-encryption key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootScope {
    /// The region's.
    Region,
    /// The tenant's own.
    Tenant,
}

impl RootScope {
    /// The scope as files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Tenant => "tenant",
        }
    }
}

/// How well a root key is guarded, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Custody {
    /// By software of the same machine.
    Software,
    /// By a key management service.
    Kms,
    /// By a key management service that is established in the region's own jurisdiction.
    KmsInJurisdiction,
    /// By a hardware module in that jurisdiction, or by the tenant.
    Hsm,
}

impl Custody {
    /// The custody as files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Kms => "kms",
            Self::KmsInJurisdiction => "kms-in-jurisdiction",
            Self::Hsm => "hsm",
        }
    }
}

/// Whether the length of a record is hidden from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LengthHiding {
    /// The store sees the length.
    None,
    /// Padded as PADMÉ does (Nikitin et al., PETS 2019): at most 12 % more, the length's low bits gone.
    Padme,
}

impl LengthHiding {
    /// The setting as files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Padme => "padme",
        }
    }
}

/// What a person must show to read a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFactor {
    /// A role that may read.
    Role,
    /// A stated purpose, which is recorded.
    Purpose,
    /// A second factor, shown for this reading.
    SecondFactor,
}

impl ReadFactor {
    /// The factor as files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Purpose => "purpose",
            Self::SecondFactor => "second-factor",
        }
    }
}

/// How long records are kept, in days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retention {
    /// At least; absent: no floor of the class itself.
    pub floor_days: Option<u32>,
    /// At most; absent: no ceiling of the class itself.
    pub ceiling_days: Option<u32>,
    /// Whether the region's regime presets bound it too.
    #[serde(default)]
    pub by_regime: bool,
}

/// Where records of a class may be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedRegions {
    /// In any region of the catalogue; which one is the tenant's choice. Written `["*"]`, so that it is never an omission.
    Any,
    /// In these only.
    Only(BTreeSet<RegionId>),
}

impl AllowedRegions {
    /// Whether `region` is among them.
    pub fn contains(&self, region: &RegionId) -> bool {
        match self {
            Self::Any => true,
            Self::Only(regions) => regions.contains(region),
        }
    }
}

impl<'de> Deserialize<'de> for AllowedRegions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let names = Vec::<String>::deserialize(from)?;
        match names.as_slice() {
            [] => Err(D::Error::custom("must name a region, or be [\"*\"] for every region")),
            [star] if star == "*" => Ok(Self::Any),
            names => names
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()
                .map(Self::Only)
                .map_err(D::Error::custom),
        }
    }
}

impl fmt::Display for AllowedRegions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Only(regions) => {
                f.write_str(&regions.iter().map(RegionId::as_str).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A sign by which a record of a class can be recognised.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hint {
    /// Its key starts so.
    Prefix(String),
    /// Its media type is this one, parameters aside.
    ContentType(String),
    /// Its first bytes look like this.
    Sniff(Sniff),
}

/// Formats that show in a record's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sniff {
    /// DICOM part 10: `DICM` at byte 128 (PS3.10 section 7.1).
    Dicom,
    /// FHIR JSON: an object with a `resourceType` (R4, section 2.6.2).
    Fhir,
    /// FHIR JSON with a `meta.security` label among the given kind of very sensitive ones.
    FhirRestricted,
    /// European Data Format: an eight-byte version `0` and padding (EDF specification, 1992).
    Edf,
}

impl Sniff {
    /// The format as files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dicom => "dicom",
            Self::Fhir => "fhir",
            Self::FhirRestricted => "fhir-restricted",
            Self::Edf => "edf",
        }
    }
}
