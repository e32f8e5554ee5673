//! Regions started in one process from a folder, with tenants, credentials and S3 clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};

use crate::app::{self, Addresses, Parts, Running, Site, StartError};
use crate::catalogue::{
    Audit, Catalogue, Index, KeyStore, Keys, LocalPath, Overlay, Postgres, RegionOverlay, Source, Store,
    Telemetry,
};
use crate::model::{
    ClassId, Clock, Credential, RegionId, SecretRef, SystemClock, SystemEntropy, Tenant, Unclassified,
};
use crate::server::Drained;
use crate::settings::{self, Limits, Listen, RegionSettings, Scrub, Settings};
use crate::tenants::NewTenant;

use super::{Tap, Taps};

/// No request of a test takes longer: a longer one hangs, and says so.
const REQUEST_MAX: Duration = Duration::from_mins(2);

/// Where the regions of a test keep their blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Embedded {
    /// In `<dir>/<region>/store`.
    #[default]
    Fs,
    /// In the process.
    Memory,
}

/// What the replicas of one region share.
#[derive(Clone, Debug)]
pub struct SharedParts {
    /// A database on this machine, as `127.0.0.1:port`.
    pub host: String,
    /// The file that holds its URL.
    pub url_file: PathBuf,
    /// The folder of blobs.
    pub store: PathBuf,
    /// The folder of root keys.
    pub roots: PathBuf,
}

/// What an application of a test is started from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The catalogue's folder; `None`: the shipped one.
    pub regions_dir: Option<PathBuf>,
    /// The regions to start.
    pub regions: Vec<RegionId>,
    /// Where blobs lie.
    pub store: Embedded,
    /// What replicas share; nothing: there is one, and everything is in its folder.
    pub shared: Option<SharedParts>,
    /// Other stores on this machine, in place of the embedded one.
    pub stores: BTreeMap<RegionId, Store>,
    /// Limits.
    pub limits: Limits,
    /// What is told of requests.
    pub telemetry: settings::Telemetry,
    /// The regions' collectors, as URLs of this machine; none: nothing is sent.
    pub collectors: BTreeMap<RegionId, String>,
    /// Who signs their certificates.
    pub collector_ca: Option<PathBuf>,
    /// What is sent to each of them beside the exports.
    pub collector_headers: BTreeMap<String, SecretRef>,
    /// How regions are scrubbed; unless told otherwise, by no pass but a test's own.
    pub scrub: Scrub,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What the stores' faults follow from.
    pub seed: u64,
}

impl Default for Setup {
    /// The two shipped regions on file systems, with a process's default limits.
    fn default() -> Self {
        Self {
            regions_dir: None,
            regions: vec![region("fr"), region("us")],
            store: Embedded::Fs,
            shared: None,
            stores: BTreeMap::new(),
            limits: Limits::default(),
            telemetry: settings::Telemetry::default(),
            collectors: BTreeMap::new(),
            collector_ca: None,
            collector_headers: BTreeMap::new(),
            scrub: Scrub { interval_s: 0, ..Scrub::default() },
            clock: Arc::new(SystemClock),
            seed: 1,
        }
    }
}

fn region(name: &str) -> RegionId {
    name.parse().expect("a region's name")
}

/// A tenant with a credential.
#[derive(Clone, Debug)]
pub struct TestTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its credential.
    pub credential: Credential,
    /// A client with that credential at the tenant's home.
    pub s3: Client,
}

/// Running regions. Dropping it ends them without a drain.
#[derive(Debug)]
pub struct TestApp {
    dir: PathBuf,
    taps: Arc<Taps>,
    running: Running,
}

impl TestApp {
    /// Starts what `setup` says in `dir`; on a folder that was used before, what was there goes on.
    pub async fn start(dir: &Path, setup: &Setup) -> Self {
        let started = Self::try_start(dir, setup).await;
        started.unwrap_or_else(|error| panic!("the application does not start: {error:?}"))
    }

    /// The same, or why it does not start.
    pub async fn try_start(dir: &Path, setup: &Setup) -> Result<Self, StartError> {
        let taps = Arc::new(Taps::seeded(setup.seed));
        let parts = Parts {
            clock: Arc::clone(&setup.clock),
            entropy: Arc::new(SystemEntropy),
            between: Some(Arc::clone(&taps) as Arc<dyn app::Between>),
        };
        let catalogue = catalogue(setup);
        let running = Box::pin(app::build(&settings(dir, setup), Arc::new(catalogue), parts)).await?;
        Ok(Self { dir: dir.to_owned(), taps, running })
    }

    /// The listeners of a region.
    pub fn at(&self, region: &str) -> &Addresses {
        let found = self.running.addresses().iter().find(|at| at.region.as_str() == region);
        found.expect("the region is running")
    }

    /// The open parts of a region.
    pub fn site(&self, region: &str) -> &Arc<Site> {
        let found = self.running.sites().iter().find(|site| site.region().id.as_str() == region);
        found.expect("the region is running")
    }

    /// What stands in front of a region's store and index.
    pub fn tap(&self, region: &str) -> Arc<Tap> {
        self.taps.of(&self::region(region)).expect("the region is running")
    }

    /// A region's folder.
    pub fn dir(&self, region: &str) -> PathBuf {
        self.dir.join(region)
    }

    /// A region's folder of blobs.
    pub fn store_dir(&self, region: &str) -> PathBuf {
        self.dir(region).join("store")
    }

    /// A region's index.
    pub fn index_path(&self, region: &str) -> PathBuf {
        self.dir(region).join("index/index.sqlite3")
    }

    /// A region's audit log.
    pub fn audit_dir(&self, region: &str) -> PathBuf {
        self.dir(region).join("audit")
    }

    /// The address of a region's S3 front, as a URL without a slash at its end.
    pub fn url(&self, region: &str) -> String {
        format!("http://{}", self.at(region).data)
    }

    /// Makes a tenant whose records take `default_class`, with a credential that works at once.
    pub async fn tenant(&self, region: &str, id: &str, default_class: &str) -> TestTenant {
        self.tenant_that(region, id, default_class, Unclassified::TakesDefault).await
    }

    /// Makes a tenant, with a credential that works at once.
    pub async fn tenant_that(
        &self,
        region: &str,
        id: &str,
        default_class: &str,
        unclassified: Unclassified,
    ) -> TestTenant {
        let registry = self.site(region).registry();
        let default_class: ClassId = default_class.parse().expect("a class");
        let new = NewTenant {
            id: id.parse().expect("a tenant's name"),
            home: self::region(region),
            default_class,
            unclassified,
        };
        let tenant = registry.create_tenant(new).await.expect("a new tenant");
        let credential = registry.create_credential(&tenant.id, "tests").await.expect("a credential");
        self.site(region).directory().refresh().await.expect("the directory answers");
        let s3 = self.client(region, &credential);
        TestTenant { tenant, credential, s3 }
    }

    /// A client with `credential` at the door of `region`: the SDK as it comes, but it does not repeat what failed.
    pub fn client(&self, region: &str, credential: &Credential) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.url(region))
            .region(Region::new(region.to_owned()))
            .credentials_provider(Credentials::new(
                credential.key_id.as_str(),
                credential.secret.expose(),
                None,
                None,
                "tests",
            ))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(REQUEST_MAX).build())
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }

    /// Every file under a region's folder of blobs with its length, probes left out.
    pub fn blobs(&self, region: &str) -> BTreeMap<PathBuf, u64> {
        let store = self.store_dir(region);
        let mut blobs = files(&store);
        // A write under way stands in `temp`, and may end as nothing.
        blobs.retain(|path, _| !path.starts_with(store.join("temp")));
        blobs
    }

    /// Every line of a region's audit log.
    pub fn audit_lines(&self, region: &str) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        for path in files(&self.audit_dir(region)).keys() {
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                let text = std::fs::read_to_string(path).expect("a segment of the log");
                lines.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
            }
        }
        lines
    }

    /// Drains, closes, and lets go.
    pub async fn stop(self) -> Drained {
        self.running.drain().await
    }
}

/// Every file under `dir` with its length; none if there is no such folder.
pub(super) fn files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => {
                    found.insert(entry.path(), metadata.len());
                }
                // Gone between the two looks: a temporary file.
                Err(_) => {}
            }
        }
    }
    found
}

/// Every region embedded under its state directory; its public endpoint stays what its file says.
fn catalogue(setup: &Setup) -> Catalogue {
    let source = setup.regions_dir.clone().map_or(Source::Embedded, Source::Directory);
    let catalogue = Catalogue::load(&source, setup.clock.now());
    let catalogue = catalogue.unwrap_or_else(|error| panic!("the catalogue does not load: {error}"));
    let local = |path: &str| LocalPath { path: path.into() };
    let overlay = setup.regions.iter().fold(Overlay::new("tests"), |overlay, region| {
        let mut replaced = match &setup.shared {
            Some(shared) => replica(shared),
            None => RegionOverlay {
                s3_endpoint: None,
                store: Some(match (setup.stores.get(region), setup.store) {
                    (Some(store), _) => store.clone(),
                    (None, Embedded::Fs) => Store::Fs(local("store")),
                    (None, Embedded::Memory) => Store::Memory {},
                }),
                index: Some(Index::Sqlite(local("index/index.sqlite3"))),
                keys: Some(Keys::LocalFile(local("keys/roots"))),
                key_store: None,
                audit: Some(Audit { directory: "audit".into() }),
                telemetry: None,
            },
        };
        replaced.telemetry = setup.collectors.get(region).map(|otlp| Telemetry {
            otlp: otlp.parse().expect("a collector's endpoint"),
            ca_file: setup.collector_ca.clone(),
            headers: setup.collector_headers.clone(),
        });
        overlay.with(region.clone(), replaced)
    });
    catalogue.overlaid(&overlay).unwrap_or_else(|error| panic!("the overlay does not fit: {error}"))
}

/// One of several replicas: only its audit log is its own.
fn replica(shared: &SharedParts) -> RegionOverlay {
    let database = Postgres {
        host: shared.host.parse().expect("a host"),
        url: crate::model::SecretRef::File(shared.url_file.clone()),
    };
    RegionOverlay {
        s3_endpoint: None,
        store: Some(Store::Fs(LocalPath { path: shared.store.clone() })),
        index: Some(Index::Postgres(database.clone())),
        keys: Some(Keys::LocalFile(LocalPath { path: shared.roots.clone() })),
        key_store: Some(KeyStore::Postgres(database)),
        audit: Some(Audit { directory: "audit".into() }),
        telemetry: None,
    }
}

fn settings(dir: &Path, setup: &Setup) -> Settings {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let regions = setup.regions.iter().map(|region| RegionSettings {
        id: region.clone(),
        listen: Listen { data: free, control: free, observe: free },
        tls: None,
        state_dir: dir.join(region.as_str()),
        foreign_canaries: None,
    });
    Settings {
        environment: "tests".parse().expect("an environment"),
        regions_dir: setup.regions_dir.clone(),
        overlay: None,
        regions: regions.collect(),
        limits: setup.limits,
        telemetry: setup.telemetry,
        scrub: setup.scrub,
    }
}
