//! The ring: the only place where an open KEK is handed out.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::cache::{Cache, Limits, Window};
use super::mint::Mint;
use super::{Canary, Description, FieldKey, KekRecord, KeyStore, KeysError, Kms, RootScope, canary};
use crate::envelope;
use crate::model::{ClassCode, Clock, Entropy, Environment, KekId, RegionId, Secret, TenantCode};

/// How long a process may go on sealing under an epoch after another one made a newer (plus a tenth, plus the class's stale
/// window while it cannot read the key store).
pub const POINTER_TTL: Duration = Duration::from_secs(60);

/// Longer than any request: added before an epoch may be retired.
const RETIRE_MARGIN: Duration = Duration::from_secs(60 * 60);

/// Suite 1 of the envelope's format, the only one there is.
const SUITE: u8 = 1;

/// The region's own KEK, for sealed fields: no tenant, no class.
const SYSTEM_TENANT: TenantCode = TenantCode::from_bytes([0; 16]);
const SYSTEM: KekSpec = KekSpec {
    class: ClassCode(0),
    root: RootScope::Region,
    ttl: Duration::from_secs(60 * 60),
    stale: Duration::from_secs(12 * 60 * 60),
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a class says about its KEKs: the register's values, without the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KekSpec {
    /// The class. Code 0 is the region's own and refused here.
    pub class: ClassCode,
    /// Which root its KEKs hang from.
    pub root: RootScope,
    /// How long the KMS's word holds: at most one call per KEK and `ttl`. 1 s to 24 h.
    pub ttl: Duration,
    /// How long after that an open KEK may still be used while the KMS cannot be *reached*. 0 to 24 h. A KMS that denies is
    /// obeyed at once, whatever this says.
    pub stale: Duration,
}

impl KekSpec {
    fn check(&self) -> Result<(), KeysError> {
        if self.class == SYSTEM.class {
            return Err(KeysError::ReservedClass);
        }
        let ok = (Duration::from_secs(1)..=DAY).contains(&self.ttl) && self.stale <= DAY;
        if ok { Ok(()) } else { Err(KeysError::Settings("a class's ttl or stale window")) }
    }

    const fn window(&self) -> Window {
        Window { ttl: self.ttl, stale: self.stale }
    }
}

/// Bounds of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// Which deployment.
    pub environment: Environment,
    /// The one region served.
    pub region: RegionId,
    /// Open KEKs held at most; the least recently used goes first. 1 to 1,000,000.
    pub kek_count_max: usize,
    /// Longest wait for one call to the KMS.
    pub call_ms_max: u64,
    /// Calls for one refresh at most, the first one counted. 1 to 5.
    pub attempts_max: u32,
    /// First pause between attempts; doubles each time, jittered by half.
    pub pause_ms: u64,
    /// After a failed refresh nobody asks the KMS for the same key for this long, doubling up to
    /// [`RingSettings::backoff_ms_max`], jittered by half.
    pub backoff_ms: u64,
    /// The longest such time.
    pub backoff_ms_max: u64,
}

impl RingSettings {
    /// The defaults for a region: 16,384 keys (1,000 tenants × 4 classes × 4 epochs), 2 s a call, 3 attempts 100 ms apart,
    /// 1 s to 30 s of backoff.
    pub fn new(environment: Environment, region: RegionId) -> Self {
        Self {
            environment,
            region,
            kek_count_max: 16_384,
            call_ms_max: 2_000,
            attempts_max: 3,
            pause_ms: 100,
            backoff_ms: 1_000,
            backoff_ms_max: 30_000,
        }
    }

    fn check(&self) -> Result<(), KeysError> {
        if !(1..=1_000_000).contains(&self.kek_count_max) {
            return Err(KeysError::Settings("kek_count_max"));
        }
        if !(1..=60_000).contains(&self.call_ms_max)
            || !(1..=5).contains(&self.attempts_max)
            || self.pause_ms > 10_000
        {
            return Err(KeysError::Settings("calls and pauses"));
        }
        if self.backoff_ms == 0 || self.backoff_ms > self.backoff_ms_max || self.backoff_ms_max > 600_000 {
            return Err(KeysError::Settings("backoff"));
        }
        Ok(())
    }
}

/// What a ring is built from.
#[derive(Clone, Debug)]
pub struct RingParts {
    /// Holds the roots.
    pub kms: Arc<dyn Kms>,
    /// Holds the wrapped KEKs.
    pub store: Arc<dyn KeyStore>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// An open KEK. Wiped when the last holder drops it.
#[derive(Debug)]
pub struct KekHandle {
    pub(super) id: KekId,
    pub(super) epoch: u32,
    pub(super) root_version: u32,
    pub(super) key: Secret<[u8; 32]>,
}

impl KekHandle {
    /// Which KEK.
    pub fn id(&self) -> KekId {
        self.id
    }

    /// Which epoch of it.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The version of the root that wraps it in the key store; 0 where the KMS does not tell.
    pub fn root_version(&self) -> u32 {
        self.root_version
    }

    /// The key as the envelope takes it: a copy, wiped when dropped.
    pub fn to_envelope(&self) -> envelope::Kek {
        envelope::Kek::new(
            *self.id.as_bytes(),
            self.epoch,
            self.root_version,
            Zeroizing::new(*self.key.expose()),
        )
    }

    /// The key itself.
    pub fn key(&self) -> &Secret<[u8; 32]> {
        &self.key
    }
}

/// How a re-wrapping went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Records now under the newest root version.
    pub rewrapped: u64,
    /// Records that were already, are retired, or that somebody else re-wrapped meanwhile.
    pub unchanged: u64,
}

/// Which open KEK: everything that could make two of them differ, so that no mistake elsewhere hands out another one's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KekKey {
    scope: Arc<(Environment, RegionId)>,
    tenant: TenantCode,
    class: ClassCode,
    kek_id: KekId,
    epoch: u32,
    suite: u8,
}

/// Hands out open KEKs of one environment and region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ring {
    scope: Arc<(Environment, RegionId)>,
    mint: Mint,
    canary: Arc<Canary>,
    keks: Cache<KekKey, Arc<KekHandle>>,
    newest: Cache<(TenantCode, ClassCode), (KekId, u32)>,
}

impl Ring {
    /// Opens the ring: makes the region's root, own KEK and canary on first use; afterwards refuses unless the key store's
    /// canary names this environment and region and opens under this KMS, and unless every one of `foreign` does **not**.
    pub async fn open(
        parts: RingParts,
        settings: RingSettings,
        foreign: &[Canary],
    ) -> Result<Self, KeysError> {
        settings.check()?;
        let canary = canary::own(&parts, &settings).await?;
        for other in foreign {
            canary::refuse_if_it_opens(&*parts.kms, &settings, other).await?;
        }
        let limits = Limits {
            count_max: settings.kek_count_max,
            backoff_ms: settings.backoff_ms,
            backoff_ms_max: settings.backoff_ms_max,
        };
        let scope = Arc::new((settings.environment.clone(), settings.region.clone()));
        let ring = Self {
            keks: Cache::new(limits, Arc::clone(&parts.clock), Arc::clone(&parts.entropy)),
            newest: Cache::new(limits, Arc::clone(&parts.clock), Arc::clone(&parts.entropy)),
            mint: Mint::new(parts, settings, Arc::clone(&scope)),
            canary: Arc::new(canary),
            scope,
        };
        ring.current_of(SYSTEM_TENANT, &SYSTEM).await?;
        Ok(ring)
    }

    /// The KEK new records of that tenant and class are sealed under; makes the first epoch when there is none, and a new
    /// one when the class now asks for another root.
    pub async fn current(&self, tenant: TenantCode, spec: &KekSpec) -> Result<Arc<KekHandle>, KeysError> {
        spec.check()?;
        self.current_of(tenant, spec).await
    }

    /// The KEK a stored record names. [`KeysError::UnknownKek`] unless it is that tenant's and class's.
    pub async fn by_id(
        &self,
        tenant: TenantCode,
        spec: &KekSpec,
        kek_id: KekId,
        epoch: u32,
    ) -> Result<Arc<KekHandle>, KeysError> {
        spec.check()?;
        self.open_epoch(tenant, spec, kek_id, epoch).await
    }

    /// Starts a new epoch for new records; old records keep theirs. Returns the new epoch. Other processes follow within
    /// [`POINTER_TTL`].
    pub async fn rotate(&self, tenant: TenantCode, spec: &KekSpec) -> Result<u32, KeysError> {
        spec.check()?;
        self.rotate_of(tenant, spec).await
    }

    /// Starts a new epoch of the region's own KEK. Fields sealed before keep theirs until they are sealed again.
    pub async fn rotate_own(&self) -> Result<u32, KeysError> {
        self.rotate_of(SYSTEM_TENANT, &SYSTEM).await
    }

    /// Erases an old epoch. `records` is how many records (and open uploads) the index says still name it: refused unless 0,
    /// and unless every process has long stopped sealing under it.
    pub async fn retire(
        &self,
        tenant: TenantCode,
        spec: &KekSpec,
        epoch: u32,
        records: u64,
    ) -> Result<(), KeysError> {
        spec.check()?;
        if records > 0 {
            return Err(KeysError::InUse { records });
        }
        let newest = self.mint.parts.store.newest(tenant, spec.class).await?.ok_or(KeysError::UnknownKek)?;
        if epoch >= newest.epoch {
            return Err(if epoch == newest.epoch { KeysError::CurrentEpoch } else { KeysError::UnknownKek });
        }
        // Another process may seal under its pointer for a while, more if it cannot read the key store.
        let quiet = RETIRE_MARGIN.saturating_add(POINTER_TTL).saturating_add(spec.stale);
        let waited = self.mint.parts.clock.now().since(newest.created);
        if waited < quiet {
            return Err(KeysError::TooSoon { seconds: (quiet - waited).as_secs().max(1) });
        }
        self.keks.remove(&self.key(tenant, spec, newest.kek_id, epoch));
        let erased = self.mint.parts.store.retire(newest.kek_id, epoch).await?;
        if erased { Ok(()) } else { Err(KeysError::Retired) }
    }

    /// Wraps every KEK again that is not under the newest version of its root. Stops at the first failure; doing it again
    /// goes on where it stopped.
    pub async fn rewrap(&self) -> Result<Rewrapped, KeysError> {
        self.mint.rewrap().await
    }

    /// The newest key for sealed fields of `purpose`. Purposes are constants of the callers.
    pub async fn field_key(&self, purpose: &'static str) -> Result<Arc<FieldKey>, KeysError> {
        let kek = self.current_of(SYSTEM_TENANT, &SYSTEM).await?;
        self.derive_field_key(&kek, purpose)
    }

    /// The key for sealed fields of `purpose` of an older epoch.
    pub async fn field_key_at(&self, purpose: &'static str, epoch: u32) -> Result<Arc<FieldKey>, KeysError> {
        let newest = self.current_of(SYSTEM_TENANT, &SYSTEM).await?;
        let kek = self.open_epoch(SYSTEM_TENANT, &SYSTEM, newest.id, epoch).await?;
        self.derive_field_key(&kek, purpose)
    }

    /// Opens a sealed field of whatever epoch.
    pub async fn open_field(
        &self,
        purpose: &'static str,
        bound_to: &[&[u8]],
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, KeysError> {
        let epoch = FieldKey::epoch_of(sealed).ok_or(KeysError::FieldCorrupt)?;
        let key = self.field_key_at(purpose, epoch).await.map_err(|error| match error {
            // The number came with the field: an epoch that never was is a forged field.
            KeysError::UnknownKek => KeysError::FieldCorrupt,
            error => error,
        })?;
        key.open(bound_to, sealed)
    }

    /// Wipes open KEKs that are past their windows. To be called now and then: a ring that nobody asks forgets nothing.
    pub fn sweep(&self) {
        self.keks.sweep();
        self.newest.sweep();
    }

    /// This fleet's canary, for the settings of the others.
    pub fn canary(&self) -> &Canary {
        &self.canary
    }

    /// The region this ring serves.
    pub fn region(&self) -> &RegionId {
        &self.scope.1
    }

    /// Which deployment.
    pub fn environment(&self) -> &Environment {
        &self.scope.0
    }

    /// Where the roots are and who can use them.
    pub fn describe(&self) -> Description {
        self.mint.parts.kms.describe()
    }

    async fn current_of(&self, tenant: TenantCode, spec: &KekSpec) -> Result<Arc<KekHandle>, KeysError> {
        let window = Window { ttl: spec.ttl.min(POINTER_TTL), stale: spec.stale };
        let (ring, wanted) = (self.clone(), *spec);
        let find = async move { ring.newest_or_next(tenant, &wanted).await };
        let (kek_id, epoch) = self.newest.value(&(tenant, spec.class), window, find).await?;
        self.open_epoch(tenant, spec, kek_id, epoch).await
    }

    async fn open_epoch(
        &self,
        tenant: TenantCode,
        spec: &KekSpec,
        kek_id: KekId,
        epoch: u32,
    ) -> Result<Arc<KekHandle>, KeysError> {
        let key = self.key(tenant, spec, kek_id, epoch);
        let (mint, class) = (self.mint.clone(), spec.class);
        let fetch = async move { mint.open(tenant, class, kek_id, epoch).await.map(Arc::new) };
        self.keks.value(&key, spec.window(), fetch).await
    }

    async fn newest_or_next(&self, tenant: TenantCode, spec: &KekSpec) -> Result<(KekId, u32), KeysError> {
        match self.mint.parts.store.newest(tenant, spec.class).await? {
            Some(newest) if newest.root == self.mint.root(tenant, spec.root) => {
                Ok((newest.kek_id, newest.epoch))
            }
            newest => self.next_epoch(tenant, spec, newest).await,
        }
    }

    async fn rotate_of(&self, tenant: TenantCode, spec: &KekSpec) -> Result<u32, KeysError> {
        let newest = self.mint.parts.store.newest(tenant, spec.class).await?;
        let (kek_id, epoch) = self.next_epoch(tenant, spec, newest).await?;
        let window = Window { ttl: spec.ttl.min(POINTER_TTL), stale: spec.stale };
        self.newest.insert(&(tenant, spec.class), window, (kek_id, epoch))?;
        Ok(epoch)
    }

    /// Makes the epoch after `newest`, or takes the one that somebody else made meanwhile.
    async fn next_epoch(
        &self,
        tenant: TenantCode,
        spec: &KekSpec,
        newest: Option<KekRecord>,
    ) -> Result<(KekId, u32), KeysError> {
        let (made, handle) = self.mint.make(tenant, spec, newest.as_ref()).await?;
        let kept = self.mint.parts.store.insert_or_read(&made).await?;
        if kept == made {
            // Already open: no call to the KMS to open what was just wrapped.
            self.keks.insert(
                &self.key(tenant, spec, kept.kek_id, kept.epoch),
                spec.window(),
                Arc::new(handle),
            )?;
            tracing::info!(kek = %kept.kek_id, epoch = kept.epoch, class = kept.class.0, "a KEK epoch was made");
        }
        Ok((kept.kek_id, kept.epoch))
    }

    fn derive_field_key(&self, kek: &KekHandle, purpose: &str) -> Result<Arc<FieldKey>, KeysError> {
        let entropy = Arc::clone(&self.mint.parts.entropy);
        FieldKey::derive(&kek.key, kek.epoch, &self.scope, purpose, entropy).map(Arc::new)
    }

    fn key(&self, tenant: TenantCode, spec: &KekSpec, kek_id: KekId, epoch: u32) -> KekKey {
        KekKey { scope: Arc::clone(&self.scope), tenant, class: spec.class, kek_id, epoch, suite: SUITE }
    }
}
