//! The application: settings and parts in, running listeners out. The only module that knows every other.

mod canaries;
mod control;
mod credentials;
mod housekeeping;
mod inspect;
mod listeners;
mod observe;
mod scrub;
mod site;
mod small;
mod store;
mod telemetry;
mod whereabouts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::blobs::BlobStore;
use crate::catalogue::Catalogue;
use crate::envelope::{self, EnvelopeError};
use crate::index::Index;
use crate::model::{Clock, Entropy, RegionId, SystemClock, SystemEntropy};
use crate::server::{Drained, TlsError};
use crate::settings::Settings;
use crate::telemetry::{Collector, CollectorError, Metrics, event};

pub use canaries::{CanaryError, read_canaries};
pub use inspect::{InspectError, Inspected};
pub use scrub::{Begin, ScrubRequest, Scrubbed};
pub use site::{Site, SiteError, SiteParts, audit_trail};

/// What an application is built from beside its settings: what a test replaces.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What stands in front of the regions' stores and indexes; nothing, outside of tests.
    pub between: Option<Arc<dyn Between>>,
}

/// Stands in front of a region's store and index: counts what is asked of them, makes them fail. It sees what they see:
/// sealed blobs, and rows.
pub trait Between: Send + Sync + std::fmt::Debug {
    /// The store that the region's parts are given instead of `store`.
    fn store(&self, region: &RegionId, store: Arc<dyn BlobStore>) -> Arc<dyn BlobStore>;
    /// The index that the region's parts are given instead of `index`.
    fn index(&self, region: &RegionId, index: Arc<dyn Index>) -> Arc<dyn Index>;
}

impl Default for Parts {
    /// The machine's clock and random number generator.
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), between: None }
    }
}

/// Why an application does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The two AEAD implementations disagree, or one does not work: nothing may be sealed.
    #[error("the start-up self-test of the ciphers failed")]
    SelfTest(#[source] EnvelopeError),
    /// A region that is to be served is not in the catalogue.
    #[error("region {0} is not in the catalogue")]
    RegionUnknown(RegionId),
    /// A part of a region does not open.
    #[error("region {region} does not start")]
    Site {
        /// The region.
        region: RegionId,
        /// What does not open.
        #[source]
        source: Box<SiteError>,
    },
    /// A listener's address is taken or not ours.
    #[error("region {region}: cannot listen on {address} ({listener})")]
    Listen {
        /// The region.
        region: RegionId,
        /// Which listener.
        listener: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A private key that is to be read from the environment.
    #[error("region {region}: the TLS private key must be in a file: set `private-key = \"file:/path\"`")]
    TlsKeyNotInFile {
        /// The region.
        region: RegionId,
    },
    /// What is sent to the region's collector cannot be set up.
    #[error("region {region}: metrics and traces cannot be sent")]
    Collector {
        /// The region.
        region: RegionId,
        /// Why.
        #[source]
        source: Box<CollectorError>,
    },
    /// Certificate or key.
    #[error("region {region}: TLS cannot be set up")]
    Tls {
        /// The region.
        region: RegionId,
        /// Why.
        #[source]
        source: Box<TlsError>,
    },
}

/// Where one region listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The region.
    pub region: RegionId,
    /// S3.
    pub data: SocketAddr,
    /// Control.
    pub control: SocketAddr,
    /// Live, ready, metrics.
    pub observe: SocketAddr,
    /// Whether S3 is spoken over TLS.
    pub tls: bool,
}

/// A started application. Dropping it ends it without a drain; call [`Running::drain`].
#[derive(Debug)]
pub struct Running {
    addresses: Vec<Addresses>,
    sites: Vec<Arc<Site>>,
    collectors: Vec<Collector>,
    listeners: JoinSet<Drained>,
    observers: JoinSet<Drained>,
    /// What looks after files that may be replaced while serving.
    watchers: JoinSet<()>,
    reload: watch::Sender<u64>,
    stop: CancellationToken,
    stop_observing: CancellationToken,
    drain: Duration,
}

/// Starts every region of `settings`: opens its parts, asks its store what it really does, and listens.
///
/// Regions share nothing but the clock and the random number generator; of the process's budget of memory for bodies each has
/// its part.
pub async fn build(
    settings: &Settings,
    catalogue: Arc<Catalogue>,
    parts: Parts,
) -> Result<Running, StartError> {
    envelope::self_test().map_err(StartError::SelfTest)?;
    let stop = CancellationToken::new();
    let mut running = Running {
        addresses: Vec::new(),
        sites: Vec::new(),
        collectors: Vec::new(),
        listeners: JoinSet::new(),
        observers: JoinSet::new(),
        watchers: JoinSet::new(),
        reload: watch::Sender::new(0),
        stop: stop.clone(),
        stop_observing: CancellationToken::new(),
        drain: Duration::from_millis(settings.limits.drain_ms_max),
    };
    for region in &settings.regions {
        let profile =
            catalogue.region(&region.id).ok_or_else(|| StartError::RegionUnknown(region.id.clone()))?;
        let site = Site::open(SiteParts {
            region: Arc::clone(profile),
            settings: region.clone(),
            environment: settings.environment.clone(),
            limits: settings.limits,
            scrub: settings.scrub,
            catalogue: Arc::clone(&catalogue),
            regions: settings.regions.len() as u64,
            metrics: Arc::new(Metrics::default()),
            clock: Arc::clone(&parts.clock),
            entropy: Arc::clone(&parts.entropy),
            between: parts.between.clone(),
        })
        .await
        .map_err(|source| StartError::Site { region: region.id.clone(), source: Box::new(source) })?;
        canaries::refuse_shared_keys(&running.sites, &site)
            .await
            .map_err(|source| StartError::Site { region: region.id.clone(), source: Box::new(source) })?;
        let report = site
            .probe()
            .await
            .map_err(|source| StartError::Site { region: region.id.clone(), source: Box::new(source) })?;
        event::store_probed(
            &region.id,
            report.create_if_absent,
            &report.whereabouts.observed,
            report.deleted_kept_s,
        );
        site.located(report.whereabouts.asked);
        let site = Arc::new(site);
        let (collector, in_use) = telemetry::start(&site, &settings.limits, settings.telemetry)?.unzip();
        let told = listeners::Told {
            tracing: collector.as_ref().map(|collector| collector.tracing().clone()),
            line: telemetry::line(settings.telemetry),
            collector: in_use,
        };
        running.collectors.extend(collector);
        let addresses =
            listeners::listen(&mut running, Arc::clone(&site), region, &settings.limits, told).await?;
        running.addresses.push(addresses);
        running.sites.push(Arc::clone(&site));
        housekeeping::start(&mut running.listeners, Arc::clone(&site), stop.clone());
        let period = Duration::from_millis(settings.limits.whereabouts_check_ms);
        whereabouts::start(&mut running.listeners, Arc::clone(&site), period, stop.clone());
        scrub::start(&mut running.listeners, site, stop.clone());
    }
    Ok(running)
}

impl Running {
    /// Where each region listens.
    pub fn addresses(&self) -> &[Addresses] {
        &self.addresses
    }

    /// The open parts of each region.
    pub fn sites(&self) -> &[Arc<Site>] {
        &self.sites
    }

    /// Has certificates, keys and credentials read again, whether their files changed or not. Returns at once; what
    /// cannot be used is logged, counted, and the one before stays.
    pub fn reload(&self) {
        self.reload.send_modify(|asked| *asked += 1);
    }

    /// Takes no more connections, lets requests end for at most the drain time, closes audit logs and indexes.
    pub async fn drain(mut self) -> Drained {
        self.stop.cancel();
        let mut total = Drained::default();
        while let Some(ended) = self.listeners.join_next().await {
            if let Ok(drained) = ended {
                total.idle += drained.idle;
                total.finished += drained.finished;
                total.aborted += drained.aborted;
            }
        }
        for site in &self.sites {
            site.close(self.drain).await;
        }
        // After the last request, whose spans are still to be sent; each region's own, all at once.
        let closing = self.collectors.iter_mut().map(|collector| collector.close(self.drain));
        futures_util::future::join_all(closing).await;
        // Last: until here `/ready` says that we are draining.
        self.stop_observing.cancel();
        while self.observers.join_next().await.is_some() {}
        total
    }
}
