//! One region's parts, opened: index, keys, audit log, store, directory, vault. The proxy and the command line share it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::{AuditError, AuditKeys, Decision, Log, Options, Recorded, Source, Verdict};
use crate::blobs::{Anchored, BlobStore, ProbeError, ProbeReport, S3Store, probe};
use crate::catalogue::{self, Catalogue, ClassProfile, LengthHiding, Region};
use crate::database::{Address, AddressError};
use crate::identity::Identity;
use crate::index::{Index, IndexError, Opening, PostgresIndex, PostgresOptions, SqliteIndex, SqliteOptions};
use crate::keys::{
    KekSpec, KeyStore, KeysError, LocalFileKms, MeteredKms, PostgresKeyStore, Ring, RingParts, RingSettings,
    RootFileError, RootScope, SqliteKeyStore, StoreError,
};
use crate::model::{
    BucketName, Clock, Entropy, EntropyError, Environment, RegionId, Tenant, TenantCode, TenantStatus,
    Timestamp, Unclassified, Weight,
};
use crate::placement::{Operation, Placement, Question, Refusal, decide};
use crate::settings::{Limits, RegionSettings, Scrub, SecretError};
use crate::telemetry::{CollectorError, Metrics, event};
use crate::tenants::{Accepts, Directory, DirectorySettings, Registry, TenantsError, Watch};
use crate::vault::{Classes, Memory, MemoryLimits, Treatment, Vault, VaultError, VaultParts, VaultSettings};

use super::canaries::{self, CanaryError, read_canaries};
use super::credentials::{self, InUse};
use super::{Between, store};

/// Purposes of the audit log's keys. They come from the first epoch for ever: a chain must verify across rotations.
const AUDIT_CHAIN: &str = "audit chain";
const AUDIT_PSEUDONYM: &str = "audit pseudonym";
const AUDIT_EPOCH: u32 = 1;

/// Blobs of one write under way to the store at once.
const UPLOADS_IN_FLIGHT_MAX: usize = 4;

/// What a site is opened from.
#[derive(Clone, Debug)]
pub struct SiteParts {
    /// The region, overlaid or not.
    pub region: Arc<Region>,
    /// Its addresses and directories.
    pub settings: RegionSettings,
    /// Which deployment.
    pub environment: Environment,
    /// Limits.
    pub limits: Limits,
    /// How it is scrubbed.
    pub scrub: Scrub,
    /// Regions and register.
    pub catalogue: Arc<Catalogue>,
    /// How many regions the process serves: each has as much of its budget for bodies.
    pub regions: u64,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What stands in front of store and index; nothing, outside of tests.
    pub between: Option<Arc<dyn Between>>,
}

/// One region, open.
#[derive(Debug)]
pub struct Site {
    pub(super) parts: SiteParts,
    pub(super) store: Arc<dyn BlobStore>,
    /// The same store, without what tests put before it.
    pub(super) anchored: Arc<Anchored>,
    s3: Option<Arc<S3Store>>,
    /// Who we are to its store and its databases.
    pub(super) credentials: Vec<InUse>,
    pub(super) index: Arc<dyn Index>,
    pub(super) ring: Ring,
    pub(super) log: Log,
    pub(super) directory: Directory,
    pub(super) vault: Vault,
    registry: Registry,
    /// Until the site is closed.
    watch: Mutex<Option<Watch>>,
}

/// Why a region's parts do not open.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// A directory cannot be made.
    #[error("the folder {} cannot be made", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A secret that a setting refers to.
    #[error("a secret of the region cannot be read")]
    Secret(#[from] SecretError),
    /// The store.
    #[error("the store does not open")]
    Store(#[from] crate::blobs::Error),
    /// The store does not do what a store must.
    #[error("the store failed its probe")]
    Probe(#[from] ProbeError),
    /// The index.
    #[error("the index does not open")]
    Index(#[from] IndexError),
    /// Root keys in files.
    #[error("the root keys do not open")]
    RootFile(#[from] RootFileError),
    /// What is sent to the collector with every export.
    #[error("the collector's headers cannot be used")]
    Collector(#[from] CollectorError),
    /// The URL of a database.
    #[error("the connection URL of the {what} may not be used")]
    Address {
        /// Of the index or the key store.
        what: &'static str,
        /// Why.
        #[source]
        source: AddressError,
    },
    /// The key store.
    #[error("the key store does not open")]
    KeyStore(#[from] StoreError),
    /// The canaries of other fleets.
    #[error("the canaries of other regions cannot be had")]
    Canaries(#[from] CanaryError),
    /// The keys.
    #[error("the keys do not open")]
    Keys(#[from] KeysError),
    /// The audit log.
    #[error("the audit log does not open")]
    Audit(#[from] AuditError),
    /// The directory of tenants.
    #[error("the directory of tenants does not open")]
    Tenants(#[from] TenantsError),
    /// Something was refused a placement in its own region.
    #[error("a placement was refused: {0}")]
    Refused(Refusal),
    /// No randomness.
    #[error("no randomness")]
    Entropy(#[from] EntropyError),
    /// The vault.
    #[error("the vault failed")]
    Vault(#[from] VaultError),
}

/// How long a blob must have been unknown before it may be removed: a restored index must find its blobs, and a reader must
/// not be cut off.
pub(super) fn removal_horizon(parts: &SiteParts) -> Duration {
    Duration::from_secs(parts.scrub.restore_horizon_s.max(parts.limits.reclaim_delay_s))
}

/// How long a write may take: its first blobs must not be removed as unknown before its last is committed.
fn write_max(parts: &SiteParts) -> Duration {
    removal_horizon(parts) / 2
}

/// One region's budget of memory for bodies: its part of the process's, so that requests that hang on one region's store hold
/// nothing that another's need.
fn memory(parts: &SiteParts) -> Memory {
    let limits = MemoryLimits {
        bytes: memory_bytes(parts),
        waiters_max: parts.limits.memory_waiters_max,
        wait: Duration::from_millis(parts.limits.memory_wait_ms_max),
    };
    Memory::new(limits, Arc::clone(&parts.metrics))
}

fn memory_bytes(parts: &SiteParts) -> u64 {
    parts.limits.memory_bytes_max / parts.regions.max(1)
}

impl Site {
    /// Opens every part of a region. Makes what is missing: on a first start, an empty region.
    pub async fn open(parts: SiteParts) -> Result<Self, SiteError> {
        make_private(&parts.settings.state_dir)?;
        let budget = i64::try_from(memory_bytes(&parts)).unwrap_or(i64::MAX);
        parts.metrics.memory_limit_bytes().set(budget);
        let mut credentials = Vec::new();
        let ring = open_ring(&parts, &mut credentials).await?;
        canaries::write(&parts.settings.state_dir, ring.canary());
        let keys = audit_keys(&ring).await?;
        let mut index = open_index(&parts, &mut credentials).await?;
        let log = open_log(&parts, keys).await?;
        let store::Opened { store: anchored, s3, identity } = store::open(&parts).await?;
        let mut store: Arc<dyn BlobStore> = Arc::<Anchored>::clone(&anchored);
        credentials.extend(identity.map(|identity| InUse { by: "store", identity }));
        if let Some(between) = &parts.between {
            index = between.index(&parts.region.id, index);
            store = between.store(&parts.region.id, store);
        }
        let (clock, entropy) = (&parts.clock, &parts.entropy);
        let directory = Directory::open(
            Arc::clone(&index),
            ring.clone(),
            DirectorySettings::default(),
            Arc::clone(clock),
            Arc::clone(entropy),
        )
        .await?;
        let registry = Registry::new(
            Arc::clone(&index),
            ring.clone(),
            Accepts::of(&parts.catalogue, &parts.region.id).ok_or_else(|| TenantsError::WrongRegion {
                here: parts.region.id.clone(),
                home: parts.region.id.clone(),
            })?,
            Arc::clone(clock),
            Arc::clone(entropy),
        );
        let vault = Vault::new(VaultParts {
            environment: parts.environment.clone(),
            region: parts.region.id.clone(),
            store: Arc::clone(&store),
            index: Arc::clone(&index),
            ring: ring.clone(),
            classes: Classes::new(parts.catalogue.classes().into_iter().map(|class| treatment(class))),
            memory: memory(&parts),
            clock: Arc::clone(clock),
            entropy: Arc::clone(entropy),
            settings: VaultSettings {
                blob_bytes_max: parts.limits.blob_bytes_max,
                uploads_in_flight_max: UPLOADS_IN_FLIGHT_MAX,
                reclaim_delay: Duration::from_secs(parts.limits.reclaim_delay_s),
                write_max: write_max(&parts),
            },
        });
        let watch = directory.watch();
        Ok(Self {
            parts,
            store,
            anchored,
            s3,
            credentials,
            index,
            ring,
            log,
            directory,
            vault,
            registry,
            watch: Mutex::new(Some(watch)),
        })
    }

    /// The region.
    pub fn region(&self) -> &Arc<Region> {
        &self.parts.region
    }

    /// Its records.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The verbs on its tenants and credentials.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The tenants and credentials as requests see them.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Its audit log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its keys.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Its store, for what describes it.
    pub fn store(&self) -> &dyn BlobStore {
        &*self.store
    }

    /// The counters of its metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    /// Brings up to date what is read and not counted: before metrics are scraped or sent.
    pub fn refresh_metrics(&self) {
        let memory = self.vault.memory().used_bytes();
        self.metrics().memory_used_bytes().set(i64::try_from(memory).unwrap_or(i64::MAX));
        self.metrics().store_adrift().set(i64::from(self.anchored.is_adrift()));
    }

    /// The store said where it is, and how long it keeps what is deleted, at that moment.
    pub(super) fn located(&self, asked: Timestamp) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics().store_located().set(gauge(asked.seconds()));
        if let Some(kept_s) = self.store.describe().deleted_kept_s {
            self.metrics().store_deleted_kept_s().set(gauge(kept_s));
        }
    }

    /// Time, as its parts see it.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.parts.clock
    }

    /// Regions and register.
    pub fn catalogue(&self) -> &Catalogue {
        &self.parts.catalogue
    }

    /// Whose a bucket is.
    pub async fn bucket_owner(&self, bucket: &BucketName) -> Result<Option<TenantCode>, SiteError> {
        Ok(self.index.bucket(bucket).await?.map(|bucket| bucket.owner))
    }

    /// Where a blob lies, as people find it: a path, or a URL of the store.
    pub fn store_place(&self, name: &str) -> String {
        match &self.parts.region.store {
            catalogue::Store::Memory {} => format!("memory:{name}"),
            catalogue::Store::Fs(local) => {
                under(&self.parts.settings.state_dir, &local.path).join(name).display().to_string()
            }
            catalogue::Store::S3(s3) => format!("{}/{}/{}{name}", s3.endpoint, s3.bucket, s3.prefix),
            catalogue::Store::Gcs(gcs) => format!("gs://{}/{}{name}", gcs.bucket, gcs.prefix),
        }
    }

    /// Where its index is, as people find it.
    pub fn index_place(&self) -> String {
        match &self.parts.region.index {
            catalogue::Index::Sqlite(local) => {
                under(&self.parts.settings.state_dir, &local.path).display().to_string()
            }
            catalogue::Index::Postgres(database) => database.host.to_string(),
        }
    }

    /// Where its audit log is.
    pub fn audit_place(&self) -> String {
        under(&self.parts.settings.state_dir, &self.parts.region.audit.directory).display().to_string()
    }

    /// Which deployment it is of.
    pub fn environment(&self) -> &Environment {
        &self.parts.environment
    }

    /// Decides on an operation of `tenant` in this region.
    pub fn place(&self, tenant: &Tenant, operation: &Operation) -> Result<Placement, Refusal> {
        let now = self.parts.clock.now();
        let question = Question { tenant, operation, serving: &self.parts.region.id, now };
        decide(&question, &self.parts.catalogue)
    }

    /// Decides on an operation of the proxy's own, or of an operator at the command line, and makes the decision durable.
    pub async fn admit(
        &self,
        tenant: &Tenant,
        operation: &Operation,
        name: &'static str,
    ) -> Result<Recorded<Placement>, SiteError> {
        let placement = self.place(tenant, operation).map_err(SiteError::Refused)?;
        let mut decision = self.decision(name, Verdict::Placed);
        decision.tenant = Some(tenant.id.clone());
        Ok(self.log.record(decision, placement).await?)
    }

    /// A decision record of a command in this region.
    pub fn decision(&self, name: &'static str, verdict: Verdict) -> Decision {
        let mut id = [0; 8];
        // An id is for finding a record again; without randomness it is the clock's.
        if self.parts.entropy.fill(&mut id).is_err() {
            id = self.parts.clock.now().millis().to_be_bytes();
        }
        Decision::new(&hex::encode_upper(id), name, verdict, self.parts.region.id.clone(), Source::Cli)
    }

    /// Asks the store, with a throw-away blob, whether it does what a store must, and where it says it is.
    pub async fn probe(&self) -> Result<ProbeReport, SiteError> {
        let operator = self.operator()?;
        let placed = self.place(&operator, &Operation::Maintain).map_err(SiteError::Refused)?;
        let (blob, sealed) = self.vault.throw_away()?;
        let report = probe(&*self.store, &placed, blob, sealed, self.parts.clock.as_ref()).await?;
        if let Some(s3) = &self.s3 {
            Box::pin(self.probe_quirks(s3, &placed)).await?;
        }
        Ok(report)
    }

    /// Holds what the region's file says of an S3-compatible service against what the service does.
    async fn probe_quirks(&self, s3: &S3Store, placed: &Placement) -> Result<(), SiteError> {
        let (blob, sealed) = self.vault.throw_away()?;
        let observed = Box::pin(s3.observe_quirks(placed, blob, sealed)).await.map_err(ProbeError::Failed)?;
        let differing = s3.declared_quirks().held_against(&observed).map_err(ProbeError::Lied)?;
        if !differing.is_empty() {
            event::store_quirks_differ(&self.parts.region.id, &differing);
        }
        Ok(())
    }

    /// Stands for the operator where an operation needs somebody.
    pub(super) fn operator(&self) -> Result<Tenant, SiteError> {
        operator(&self.parts.region.id, self.parts.clock.as_ref(), &*self.parts.entropy)
    }

    /// Writes out what there is, and lets go.
    pub async fn close(&self, drain: Duration) {
        // First, or the poller meets an index that is closed, and says that it cannot be read.
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watch) = watch {
            watch.stop().await;
        }
        if let Err(error) = self.log.close(drain).await {
            event::audit_not_closed(&self.parts.region.id, &error);
        }
        self.vault.settle(drain).await;
        self.index.close().await;
    }
}

/// Where a region's audit log is, and the keys it verifies under, without opening it for writing.
pub async fn audit_trail(parts: &SiteParts) -> Result<(PathBuf, AuditKeys), SiteError> {
    let ring = open_ring(parts, &mut Vec::new()).await?;
    Ok((under(&parts.settings.state_dir, &parts.region.audit.directory), audit_keys(&ring).await?))
}

async fn audit_keys(ring: &Ring) -> Result<AuditKeys, SiteError> {
    Ok(AuditKeys {
        chain: ring.field_key_at(AUDIT_CHAIN, AUDIT_EPOCH).await?.pseudonym_key()?,
        pseudonym: ring.field_key_at(AUDIT_PSEUDONYM, AUDIT_EPOCH).await?.pseudonym_key()?,
    })
}

/// Stands for the operator where an operation needs somebody: it has no records and no credentials.
fn operator(region: &RegionId, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Tenant, SiteError> {
    #[expect(clippy::expect_used, reason = "constant names that the tests parse")]
    let (id, class) = ("operator".parse().expect("a name"), "operational".parse().expect("a class"));
    Ok(Tenant {
        id,
        code: TenantCode::random(entropy)?,
        home: region.clone(),
        default_class: class,
        unclassified: Unclassified::Refused,
        status: TenantStatus::Active,
        weight: Weight::default(),
        created: clock.now(),
    })
}

async fn open_ring(parts: &SiteParts, credentials: &mut Vec<InUse>) -> Result<Ring, SiteError> {
    let catalogue::Keys::LocalFile(roots) = &parts.region.keys;
    let directory = under(&parts.settings.state_dir, &roots.path);
    // The wrapped keys lie beside the roots' folder, in a file of their own: its backups are others than the index's.
    let folder = directory.parent().map_or_else(|| directory.clone(), Path::to_owned);
    make_private(&folder)?;
    let place =
        parts.region.facets.keys.countries.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let kms = LocalFileKms::open(directory, place, Arc::clone(&parts.clock), Arc::clone(&parts.entropy))?;
    let store: Arc<dyn KeyStore> = match &parts.region.key_store {
        catalogue::KeyStore::File => Arc::new(SqliteKeyStore::open(&folder.join("keystore.sqlite3")).await?),
        catalogue::KeyStore::Postgres(database) => {
            let address = credentials::postgres(database, "key store", PostgresKeyStore::prove)?;
            credentials.push(InUse { by: "key store", identity: Arc::new(address.clone()) });
            Arc::new(PostgresKeyStore::open(address, parts.clock.as_ref()).await?)
        }
    };
    let ring_parts = RingParts {
        kms: Arc::new(MeteredKms::new(kms, Arc::clone(&parts.metrics))),
        store,
        clock: Arc::clone(&parts.clock),
        entropy: Arc::clone(&parts.entropy),
    };
    let settings = RingSettings {
        write_max: write_max(parts),
        ..RingSettings::new(parts.environment.clone(), parts.region.id.clone())
    };
    let foreign = parts.settings.foreign_canaries.as_deref().map_or(Ok(Vec::new()), read_canaries)?;
    Ok(Ring::open(ring_parts, settings, &foreign).await?)
}

async fn open_index(parts: &SiteParts, credentials: &mut Vec<InUse>) -> Result<Arc<dyn Index>, SiteError> {
    match &parts.region.index {
        catalogue::Index::Sqlite(local) => {
            open_sqlite(parts, under(&parts.settings.state_dir, &local.path)).await
        }
        catalogue::Index::Postgres(database) => {
            let address = credentials::postgres(database, "index", PostgresIndex::prove)?;
            credentials.push(InUse { by: "index", identity: Arc::new(address.clone()) });
            open_postgres(parts, address).await
        }
    }
}

async fn open_postgres(parts: &SiteParts, address: Identity<Address>) -> Result<Arc<dyn Index>, SiteError> {
    let limits = &parts.limits;
    let (region, environment) = (parts.region.id.clone(), parts.environment.clone());
    let mut options = PostgresOptions::new(address, region, environment, Opening::CreateIfMissing);
    options.reclaim_delay = Duration::from_secs(limits.reclaim_delay_s);
    options.uploads_per_tenant_max = u32::try_from(limits.tenant_uploads_max).unwrap_or(u32::MAX);
    options.pool.connections_max = u32::try_from(limits.index_connections_max).unwrap_or(u32::MAX);
    options.pool.acquire_ms_max = limits.index_acquire_ms_max;
    options.pool.statement_ms_max = limits.index_statement_ms_max;
    options.metrics = Arc::clone(&parts.metrics);
    let entropy = Arc::clone(&parts.entropy);
    Ok(Arc::new(PostgresIndex::open(options, parts.clock.as_ref(), entropy).await?))
}

async fn open_sqlite(parts: &SiteParts, path: PathBuf) -> Result<Arc<dyn Index>, SiteError> {
    if let Some(folder) = path.parent() {
        make_private(folder)?;
    }
    let mut options = SqliteOptions::new(
        path,
        parts.region.id.clone(),
        parts.environment.clone(),
        Opening::CreateIfMissing,
    );
    options.reclaim_delay = Duration::from_secs(parts.limits.reclaim_delay_s);
    options.uploads_per_tenant_max = u32::try_from(parts.limits.tenant_uploads_max).unwrap_or(u32::MAX);
    options.metrics = Arc::clone(&parts.metrics);
    Ok(Arc::new(SqliteIndex::open(options, parts.clock.as_ref(), &*parts.entropy).await?))
}

async fn open_log(parts: &SiteParts, keys: AuditKeys) -> Result<Log, SiteError> {
    let directory = under(&parts.settings.state_dir, &parts.region.audit.directory);
    make_private(&directory)?;
    let (region, environment, clock) =
        (parts.region.id.clone(), parts.environment.clone(), Arc::clone(&parts.clock));
    let options = Options { metrics: Arc::clone(&parts.metrics), ..Options::default() };
    // Opening reads and repairs: not on a thread that serves.
    let opened = tokio::task::spawn_blocking(move || {
        Log::open_with(&directory, &region, &environment, keys, clock, options)
    });
    Ok(opened.await.map_err(|_| AuditError::Closed)??)
}

fn treatment(class: &ClassProfile) -> Treatment {
    Treatment {
        id: class.id.clone(),
        kek: KekSpec {
            class: class.code,
            root: match class.root_scope {
                catalogue::RootScope::Region => RootScope::Region,
                catalogue::RootScope::Tenant => RootScope::Tenant,
            },
            ttl: Duration::from_secs(class.kek_cache_ttl_s.into()),
            stale: Duration::from_secs(class.kek_stale_window_s.into()),
        },
        hides_length: class.length_hiding == LengthHiding::Padme,
    }
}

/// A path of a region file: relative ones stand under the region's state directory.
pub(super) fn under(state: &Path, path: &Path) -> PathBuf {
    state.join(path)
}

/// Makes a folder that only this user may enter.
pub(super) fn make_private(path: &Path) -> Result<(), SiteError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| SiteError::Folder { path: path.to_owned(), source })
}
