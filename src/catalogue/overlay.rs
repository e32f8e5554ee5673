//! Overlays: a region's store, index and keys replaced by embedded ones, for `dev` and tests, and never silently.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::leaf::{Endpoint, parse_some};
use super::parts::{Audit, Index, KeyStore, Keys, LocalPath, Store, Telemetry};
use super::region::{FacetName, Overlaid, Region};
use super::{Authority, Catalogue, Finding, Severity};
use crate::model::RegionId;

/// What stands in the place of regions' stores, indexes and keys.
///
/// An overlay can only bring bytes nearer: whatever it puts in place lies on this machine, so that no overlay can move a region.
/// In a file it is `name`, then one `[regions.<id>]` for each region it touches; `regions/README.md` shows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    name: String,
    regions: BTreeMap<RegionId, RegionOverlay>,
}

/// What is replaced in one region. What is absent stays as the region file says, except telemetry, which an
/// overlay ends unless it names a collector of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegionOverlay {
    /// The public S3 endpoint, as redirects name it.
    #[serde(default, deserialize_with = "parse_some")]
    pub s3_endpoint: Option<Endpoint>,
    /// The store.
    pub store: Option<Store>,
    /// The index.
    pub index: Option<Index>,
    /// The root keys.
    pub keys: Option<Keys>,
    /// The store of wrapped keys. Where `keys` is replaced and this is not, it is the file beside them.
    pub key_store: Option<KeyStore>,
    /// The audit log's folder.
    pub audit: Option<Audit>,
    /// A collector of metrics and traces on this machine.
    pub telemetry: Option<Telemetry>,
}

/// Why an overlay was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// The file does not decode.
    #[error("{file}:{line}: {message}")]
    File {
        /// The file as it was named.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It names a region that is not in the catalogue.
    #[error("overlay {overlay} names region {region}, which is not in the catalogue")]
    RegionUnknown {
        /// The overlay.
        overlay: String,
        /// The region.
        region: RegionId,
    },
    /// It would send something to another machine.
    #[error(
        "overlay {overlay} sends the {part} of region {region} to another machine; an overlay may only use this one"
    )]
    LeavesThisMachine {
        /// The overlay.
        overlay: String,
        /// The region.
        region: RegionId,
        /// What would go.
        part: &'static str,
    },
}

impl OverlayError {
    /// The error as a finding of `check`.
    pub(super) fn finding(&self) -> Finding {
        let (file, line, message) = match self {
            Self::File { file, line, message } => (file.clone(), *line, message.clone()),
            Self::RegionUnknown { overlay, .. } | Self::LeavesThisMachine { overlay, .. } => {
                (format!("overlay {overlay}"), 1, self.to_string())
            }
        };
        let fix = "correct the overlay, or start without it".to_owned();
        Finding { file, line, severity: Severity::Broken, check: "overlay", message, fix }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    regions: BTreeMap<String, RegionOverlay>,
}

impl Overlay {
    /// An overlay called `name` that replaces nothing yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), regions: BTreeMap::new() }
    }

    /// The same overlay that also replaces this in `region`.
    #[must_use]
    pub fn with(mut self, region: RegionId, replaced: RegionOverlay) -> Self {
        self.regions.insert(region, replaced);
        self
    }

    /// Everything of `region` embedded under its state directory: `store`, `index/index.sqlite3`, `keys/roots`, `audit`; its
    /// S3 front on `listen`.
    #[must_use]
    pub fn with_embedded(self, region: RegionId, listen: std::net::SocketAddr) -> Self {
        let local = |path: &str| LocalPath { path: path.into() };
        let replaced = RegionOverlay {
            s3_endpoint: format!("http://{listen}").parse().ok(),
            store: Some(Store::Fs(local("store"))),
            index: Some(Index::Sqlite(local("index/index.sqlite3"))),
            keys: Some(Keys::LocalFile(local("keys/roots"))),
            key_store: None,
            audit: Some(Audit { directory: "audit".into() }),
            telemetry: None,
        };
        self.with(region, replaced)
    }

    /// Reads an overlay file's text; `file` is what errors call it. Pure.
    pub fn parse(file: &str, text: &str) -> Result<Self, OverlayError> {
        let error = |offset: usize, message: &str| OverlayError::File {
            file: file.to_owned(),
            line: super::decode::line_of(text, offset),
            message: message.to_owned(),
        };
        let read: File =
            toml::from_str(text).map_err(|e| error(e.span().map_or(0, |span| span.start), e.message()))?;
        let mut overlay = Self::new(&read.name);
        for (name, replaced) in read.regions {
            let region = name.parse().map_err(|_| error(0, "a name under [regions] is not a region"))?;
            overlay.regions.insert(region, replaced);
        }
        Ok(overlay)
    }

    /// What reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Catalogue {
    /// The same catalogue under `overlay`. Every region it touched says so: [`Region::overlaid`], [`Self::overlay_notice`].
    pub fn overlaid(&self, overlay: &Overlay) -> Result<Self, OverlayError> {
        let mut catalogue = self.clone();
        for (id, replaced) in &overlay.regions {
            let unknown =
                || OverlayError::RegionUnknown { overlay: overlay.name.clone(), region: id.clone() };
            let region = catalogue.regions.get_mut(id).ok_or_else(unknown)?;
            *region = Arc::new(apply(region, replaced, overlay)?);
        }
        Ok(catalogue)
    }
}

fn apply(region: &Region, with: &RegionOverlay, overlay: &Overlay) -> Result<Region, OverlayError> {
    let leaves = |part| OverlayError::LeavesThisMachine {
        overlay: overlay.name.clone(),
        region: region.id.clone(),
        part,
    };
    let stays = |hosts: &[&Authority], part| {
        if hosts.iter().all(|host| host.is_loopback()) { Ok(()) } else { Err(leaves(part)) }
    };
    let mut made = region.clone();
    let mut replaced = region.overlaid.as_ref().map(|before| before.replaced.clone()).unwrap_or_default();
    let mut note = |part, was: String, is: String| replaced.insert(part, (was, is));
    if let Some(endpoint) = &with.s3_endpoint {
        stays(&[endpoint.authority()], "S3 front")?;
        note("s3-endpoint", region.endpoints.s3.to_string(), endpoint.to_string());
        made.endpoints.s3 = endpoint.clone();
    }
    if let Some(store) = &with.store {
        let hosts: Vec<Authority> = store.hosts().into_iter().cloned().collect();
        stays(&hosts.iter().collect::<Vec<_>>(), "store")?;
        note("store", describe_store(&region.store), describe_store(store));
        made.store = store.clone();
        made.facets.named_mut(FacetName::Storage).hosts = hosts;
    }
    if let Some(index) = &with.index {
        let hosts: Vec<Authority> = index.hosts().into_iter().cloned().collect();
        stays(&hosts.iter().collect::<Vec<_>>(), "index")?;
        note("index", region.index.kind().into(), index.kind().into());
        made.index = index.clone();
        made.facets.named_mut(FacetName::Index).hosts = hosts;
    }
    if let Some(keys) = &with.keys {
        note("keys", region.keys.kind().into(), keys.kind().into());
        made.keys = keys.clone();
        made.key_store = KeyStore::File;
        made.facets.named_mut(FacetName::Keys).hosts.clear();
    }
    if let Some(store) = &with.key_store {
        let hosts: Vec<Authority> = store.hosts().into_iter().cloned().collect();
        stays(&hosts.iter().collect::<Vec<_>>(), "key store")?;
        note("key-store", region.key_store.kind().into(), store.kind().into());
        made.key_store = store.clone();
        made.facets.named_mut(FacetName::Keys).hosts = hosts;
    }
    if let Some(audit) = &with.audit {
        note("audit", "as filed".into(), "local".into());
        made.audit = audit.clone();
    }
    // A collector that is not replaced by one of this machine is gone: what an overlaid region does is nobody's business there.
    let told = |sent: Option<&Telemetry>| sent.map_or("none".to_owned(), |sent| sent.otlp.to_string());
    if made.telemetry != with.telemetry {
        let hosts: Vec<Authority> = with.telemetry.iter().map(|sent| sent.otlp.authority().clone()).collect();
        stays(&hosts.iter().collect::<Vec<_>>(), "telemetry")?;
        note("telemetry", told(region.telemetry.as_ref()), told(with.telemetry.as_ref()));
        made.telemetry.clone_from(&with.telemetry);
        made.facets.named_mut(FacetName::Telemetry).hosts = hosts;
    }
    if made.telemetry.is_none() {
        made.facets.named_mut(FacetName::Telemetry).hosts.clear();
    }
    made.overlaid = Some(Overlaid { by: overlay.name.clone(), replaced });
    Ok(made)
}

/// The kind of a store and the host it lies on: what a reader of a report must know, and no path of a machine.
pub(super) fn describe_store(store: &Store) -> String {
    match store {
        Store::Fs(_) | Store::Memory {} => store.kind().to_owned(),
        Store::S3(s3) => format!("s3 {}", s3.endpoint),
        Store::Gcs(gcs) => format!("gcs {}", gcs.endpoint),
    }
}

pub(super) fn notice<'a>(regions: impl Iterator<Item = &'a Arc<Region>>) -> Option<String> {
    let line = |region: &'a Arc<Region>| {
        let Overlaid { by, replaced } = region.overlaid.as_ref()?;
        let parts: Vec<_> =
            replaced.iter().map(|(part, (was, is))| format!("{part}: {was} -> {is}")).collect();
        Some(format!("OVERLAY {by}: region {} is not as its file says ({})", region.id, parts.join(", ")))
    };
    let lines: Vec<_> = regions.filter_map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
