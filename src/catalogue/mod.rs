//! The regions and the data register: from files to a validated [`Catalogue`].
//!
//! Regions are data. Editing a file here can move health data without a line of code, so every file passes named checks,
//! all of which run and all of which are reported, and a catalogue with a broken file is not loaded at all.
//!
//! Reading files is one step ([`Tree`]); everything after it is pure. What a file may say is shown, line by line, in
//! `regions/README.md`.

mod checks;
mod class;
mod decode;
mod embedded;
mod findings;
mod leaf;
mod leaves;
mod overlay;
mod parts;
mod region;
mod summary;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::model::{ClassCode, ClassId, RegionId, Timestamp};

pub use class::{
    AllowedRegions, ClassProfile, Custody, Hint, KeyScope, LengthHiding, ReadFactor, Retention, RootScope,
    Sniff,
};
pub use findings::{Finding, Findings, Severity};
pub use leaf::{Authority, Country, Day, Endpoint, InvalidLeaf};
pub use overlay::{Overlay, OverlayError, RegionOverlay};
pub use parts::{
    Audit, GcsCredentials, GcsStore, Index, KeyStore, Keys, LocalPath, Postgres, S3Quirk, S3Store, Store,
    Telemetry,
};
pub use region::{
    Certificate, CertificateKind, Endpoints, Evidence, Facet, FacetName, Facets, LocalPaths, Names, Operator,
    Overlaid, Parent, Place, Regime, Region, Standing,
};
pub use tree::{Source, Tree, TreeError};

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The files could not be read.
    #[error("the catalogue's files could not be read")]
    Tree(#[from] TreeError),
    /// A file breaks a rule; every finding is in the text.
    #[error("the catalogue is broken:\n{0}")]
    Broken(Findings),
}

/// A SHA-256 digest of the files something was read from. Goes on records and reports, so that both can say by which rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// For tests that need a register of no content.
    #[cfg(feature = "testing")]
    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// Every region and every class, checked. Cheap to clone; never changes.
#[derive(Clone, Debug)]
pub struct Catalogue {
    regions: BTreeMap<RegionId, Arc<Region>>,
    classes: BTreeMap<ClassId, Arc<ClassProfile>>,
    register_version: ContentHash,
    version: ContentHash,
    findings: Findings,
}

impl Catalogue {
    /// Reads and checks a catalogue; certificates and reviews are judged as of `now`.
    ///
    /// Findings that do not break it (an expired certificate, an unconfirmed statement) stay with it: [`Self::findings`].
    pub fn load(source: &Source, now: Timestamp) -> Result<Self, CatalogueError> {
        Self::from_tree(&Tree::read(source)?, now)
    }

    /// The same from files already read. Pure.
    pub fn from_tree(tree: &Tree, now: Timestamp) -> Result<Self, CatalogueError> {
        let decoded = decode::decode(tree);
        let checked = checks::run(&decoded, now);
        if checked.findings.are_broken() {
            return Err(CatalogueError::Broken(checked.findings));
        }
        Ok(Self {
            regions: decoded
                .regions
                .into_iter()
                .map(|file| (file.value.id.clone(), Arc::new(file.value)))
                .collect(),
            classes: decoded
                .classes
                .into_iter()
                .map(|file| (file.value.id.clone(), Arc::new(file.value)))
                .collect(),
            register_version: tree.register_hash(),
            version: tree.hash(),
            findings: checked.findings,
        })
    }

    /// The region called `id`.
    pub fn region(&self, id: &RegionId) -> Option<&Arc<Region>> {
        self.regions.get(id)
    }

    /// The region whose `LocationConstraint` or signing scope is `name`, whatever `name` is.
    pub fn region_named(&self, name: &str) -> Option<&Arc<Region>> {
        self.region(&name.parse().ok()?)
    }

    /// Every region, by id.
    pub fn regions(&self) -> impl Iterator<Item = &Arc<Region>> {
        self.regions.values()
    }

    /// The class called `id`.
    pub fn class(&self, id: &ClassId) -> Option<&Arc<ClassProfile>> {
        self.classes.get(id)
    }

    /// The class an envelope calls `code`.
    pub fn class_by_code(&self, code: ClassCode) -> Option<&Arc<ClassProfile>> {
        self.classes.values().find(|class| class.code == code)
    }

    /// Every class, least strict first.
    pub fn classes(&self) -> Vec<&Arc<ClassProfile>> {
        let mut classes: Vec<_> = self.classes.values().collect();
        classes.sort_by_key(|class| class.rank);
        classes
    }

    /// Which register this is: the digest of its files.
    pub fn register_version(&self) -> ContentHash {
        self.register_version
    }

    /// Which catalogue this is: the digest of all its files. An overlay does not change it; it is reported beside it.
    pub fn version(&self) -> ContentHash {
        self.version
    }

    /// What the checks found that did not break the catalogue.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// One line per overlaid region, for every report and for the start log; `None` if every region is as its file says.
    pub fn overlay_notice(&self) -> Option<String> {
        overlay::notice(self.regions.values())
    }

    /// The catalogue in a stable text form, for review: a change of a region's place or of a class's rules shows in it.
    pub fn summary(&self) -> String {
        summary::summary(self)
    }
}

/// What `terroir check` prints.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Where the files were.
    pub origin: String,
    /// Files read.
    pub files: usize,
    /// Regions and classes that could be decoded.
    pub decoded: (usize, usize),
    /// How often each check ran, by name: a check that never ran proves nothing.
    pub runs: BTreeMap<&'static str, usize>,
    /// Everything found.
    pub findings: Findings,
    /// What an overlay replaced.
    pub overlay_notice: Option<String>,
}

impl CheckReport {
    /// Whether `terroir check` may exit with 0. Advice does not fail it; a lapsed certificate does.
    pub fn is_sound(&self) -> bool {
        self.findings.count(Severity::Broken) == 0 && self.findings.count(Severity::Lapsed) == 0
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings.iter() {
            writeln!(f, "{finding}")?;
        }
        if let Some(notice) = &self.overlay_notice {
            writeln!(f, "{notice}")?;
        }
        write!(
            f,
            "{}: {} files, {} regions, {} classes; {} checks ran {} times: {} broken, {} lapsed, {} advice",
            self.origin,
            self.files,
            self.decoded.0,
            self.decoded.1,
            self.runs.len(),
            self.runs.values().sum::<usize>(),
            self.findings.count(Severity::Broken),
            self.findings.count(Severity::Lapsed),
            self.findings.count(Severity::Advice)
        )
    }
}

/// Runs every check on a catalogue, and on what an overlay makes of it.
///
/// Fails only if the files cannot be read; what is wrong in them is in the report.
pub fn check(source: &Source, overlay: Option<&Overlay>, now: Timestamp) -> Result<CheckReport, TreeError> {
    let tree = Tree::read(source)?;
    Ok(check_tree(&tree, overlay, now))
}

/// The same for files already read. Pure.
pub fn check_tree(tree: &Tree, overlay: Option<&Overlay>, now: Timestamp) -> CheckReport {
    let decoded = decode::decode(tree);
    let checked = checks::run(&decoded, now);
    let mut findings: Vec<_> = checked.findings.iter().cloned().collect();
    let mut overlay_notice = None;
    if let (Some(overlay), Ok(catalogue)) = (overlay, Catalogue::from_tree(tree, now)) {
        match catalogue.overlaid(overlay) {
            Ok(catalogue) => overlay_notice = catalogue.overlay_notice(),
            Err(error) => findings.push(error.finding()),
        }
    }
    CheckReport {
        origin: tree.origin().to_owned(),
        files: tree.files().len(),
        decoded: (decoded.regions.len(), decoded.classes.len()),
        runs: checked.runs,
        findings: Findings::new(findings),
        overlay_notice,
    }
}
