//! The ring: the only place where an open KEK is handed out.

use std::sync::Arc;
use std::time::Duration;

use super::cache::{Cache, Limits, Window};
use super::mint::Mint;
use super::spec::{SYSTEM, SYSTEM_TENANT};
use super::{
    Canary, Description, FieldKey, KekHandle, KekRecord, KekSpec, KeysError, Rewrapped, RingParts,
    RingSettings, canary,
};
use crate::model::{ClassCode, Environment, KekId, RegionId, Secret, TenantCode};
use crate::telemetry::event;

/// How long a process may go on sealing under an epoch after another one made a newer (plus a tenth, plus the class's stale
/// window while it cannot read the key store).
pub const POINTER_TTL: Duration = Duration::from_mins(1);

/// Added to the longest write before an epoch may be retired: for a commit's own time, and for clocks of two processes.
const RETIRE_MARGIN: Duration = Duration::from_hours(1);

/// Suite 1 of the envelope's format, the only one there is.
const SUITE: u8 = 1;

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
    /// and unless every process has long stopped sealing under it and no write that began with it can still be under way.
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
        // Another process may seal under its pointer for a while, more if it cannot read the key store; and a write that began
        // with the old epoch is counted by the index only once it is committed.
        let margins = RETIRE_MARGIN.saturating_add(POINTER_TTL).saturating_add(spec.stale);
        let quiet = margins.saturating_add(self.mint.settings.write_max);
        let left = quiet.saturating_sub(self.mint.parts.clock.now().since(newest.created));
        if !left.is_zero() {
            return Err(KeysError::TooSoon { seconds: left.as_secs().max(1) });
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

    /// Refuses if another fleet's canary opens, as [`Ring::open`] does.
    pub async fn refuse_foreign(&self, other: &Canary) -> Result<(), KeysError> {
        canary::refuse_if_it_opens(&*self.mint.parts.kms, &self.mint.settings, other).await
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
            event::kek_made(kept.kek_id, kept.epoch, kept.class);
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
