//! From arguments to an opened region.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::app::{Parts, Site, SiteParts};
use crate::audit::{Ended, Outcome, Verdict};
use crate::catalogue::{Catalogue, Overlay, Source, Tree};
use crate::model::{Clock, RegionId, SystemClock};
use crate::settings::{DEV_PORT_BASE, Settings};
use crate::telemetry::Metrics;

use super::Failure;
use super::args::SiteArgs;

/// Settings and catalogue of an installation.
pub(super) struct Installation {
    pub(super) settings: Settings,
    pub(super) catalogue: Arc<Catalogue>,
}

/// Where the catalogue's files are.
pub(super) fn source(regions: Option<&PathBuf>) -> Source {
    regions.map_or(Source::Embedded, |directory| Source::Directory(directory.clone()))
}

impl Installation {
    /// A real one, from its settings.
    pub(super) fn configured(config: &Path) -> Result<Self, Failure> {
        let settings = Settings::load(config).map_err(|error| Failure::wrong_config(&error))?;
        let now = SystemClock.now();
        let mut catalogue = Catalogue::load(&source(settings.regions_dir.as_ref()), now)
            .map_err(|error| Failure::wrong_config(&error))?;
        if let Some(path) = &settings.overlay {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::io("cannot read the overlay", &error))?;
            let overlay = Overlay::parse(&path.display().to_string(), &text)
                .map_err(|error| Failure::wrong_config(&error))?;
            catalogue = catalogue.overlaid(&overlay).map_err(|error| Failure::wrong_config(&error))?;
        }
        Ok(Self { settings, catalogue: Arc::new(catalogue) })
    }

    /// A development one: every region of the catalogue embedded under `data_dir`.
    pub(super) fn dev(data_dir: &Path, port_base: u16, regions: Option<&PathBuf>) -> Result<Self, Failure> {
        let now = SystemClock.now();
        let catalogue =
            Catalogue::load(&source(regions), now).map_err(|error| Failure::wrong_config(&error))?;
        let ids = dev_order(&catalogue, now)?;
        let settings =
            Settings::dev(data_dir, port_base, &ids).map_err(|error| Failure::wrong_config(&error))?;
        let overlay = settings.regions.iter().fold(Overlay::new("dev"), |overlay, region| {
            overlay.with_embedded(region.id.clone(), region.listen.data)
        });
        let catalogue = catalogue.overlaid(&overlay).map_err(|error| Failure::wrong_config(&error))?;
        Ok(Self { settings, catalogue: Arc::new(catalogue) })
    }

    fn of(args: &SiteArgs) -> Result<Self, Failure> {
        if let Some(config) = &args.config {
            let installation = Self::configured(config)?;
            // A folder that is misspelt must not become an empty region with keys of its own.
            return match installation.settings.region(&args.region) {
                Some(region) if !region.state_dir.is_dir() => Err(Failure::config(format!(
                    "region {} has no data in {}: correct state-dir, or start `terroir serve` once to make it",
                    region.id,
                    region.state_dir.display()
                ))),
                _ => Ok(installation),
            };
        }
        let state = args.data_dir.join(args.region.as_str());
        if !state.is_dir() {
            let shown = args.data_dir.display();
            return Err(Failure::config(format!(
                "there is no region {} under {shown}: start `terroir dev --data-dir {shown}` first, or name the settings of \
                 an installation with --config",
                args.region
            )));
        }
        Self::dev(&args.data_dir, DEV_PORT_BASE, args.regions.as_ref())
    }

    /// What a region of this installation is opened from.
    pub(super) fn site_parts(&self, region: &RegionId) -> Result<SiteParts, Failure> {
        let missing =
            || Failure::config(format!("region {region} is not in the settings, or not in the catalogue"));
        let parts = Parts::default();
        Ok(SiteParts {
            region: Arc::clone(self.catalogue.region(region).ok_or_else(missing)?),
            settings: self.settings.region(region).ok_or_else(missing)?.clone(),
            environment: self.settings.environment.clone(),
            limits: self.settings.limits,
            catalogue: Arc::clone(&self.catalogue),
            regions: 1,
            metrics: Arc::new(Metrics::default()),
            clock: parts.clock,
            entropy: parts.entropy,
            between: parts.between,
        })
    }
}

/// The shipped regions first, so that a region that is added moves nobody's ports.
fn dev_order(catalogue: &Catalogue, now: crate::model::Timestamp) -> Result<Vec<RegionId>, Failure> {
    let shipped =
        Catalogue::from_tree(&Tree::embedded(), now).map_err(|error| Failure::wrong_config(&error))?;
    let mut ids: Vec<RegionId> = catalogue.regions().map(|region| region.id.clone()).collect();
    ids.sort_by_key(|id| (shipped.region(id).is_none(), id.clone()));
    Ok(ids)
}

/// What a region of the arguments' installation is opened from.
pub(super) fn parts(args: &SiteArgs) -> Result<SiteParts, Failure> {
    Installation::of(args)?.site_parts(&args.region)
}

/// Opens the arguments' region.
pub(super) async fn open(args: &SiteArgs) -> Result<Site, Failure> {
    Ok(Site::open(parts(args)?).await?)
}

/// Runs a verb that changes something: its decision is durable before, its end recorded after.
pub(super) async fn recorded<T, E>(
    site: &Site,
    operation: &'static str,
    concerns: impl FnOnce(&mut crate::audit::Decision),
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure>
where
    E: Into<Failure>,
{
    let mut decision = site.decision(operation, Verdict::Placed);
    concerns(&mut decision);
    let recorded = site.log().record(decision, ()).await.map_err(|error| Failure::of(&error))?;
    let done = work.await;
    let outcome = if done.is_ok() { Outcome::Ok } else { Outcome::Error { code: "failed" } };
    recorded.into_parts().1.finish(Ended::new(outcome, None));
    done.map_err(Into::into)
}

/// Closes a region after a command.
pub(super) async fn close(site: Site) {
    site.close(std::time::Duration::from_secs(10)).await;
}
