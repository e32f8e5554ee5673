//! Making, opening and re-wrapping KEKs: every call to the KMS on a request's path goes through here, with its bounds.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::cache::jittered;
use super::{
    EPOCHS_MAX, KekContext, KekHandle, KekRecord, KekSpec, KekState, KeysError, KmsError, Rewrapped,
    RingParts, RingSettings, RootRef, RootScope, Wrapped,
};
use crate::model::{ClassCode, Entropy, EntropyError, Environment, KekId, RegionId, Secret, TenantCode};
use crate::telemetry::event;

/// Records re-wrapped between two reads of the store.
const PAGE: u32 = 200;

/// Makes and opens KEKs of one environment and region. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Mint {
    pub(super) parts: RingParts,
    pub(super) settings: Arc<RingSettings>,
    scope: Arc<(Environment, RegionId)>,
}

impl Mint {
    pub(super) fn new(parts: RingParts, settings: RingSettings, scope: Arc<(Environment, RegionId)>) -> Self {
        Self { parts, settings: Arc::new(settings), scope }
    }

    /// The root that KEKs of a tenant hang from.
    pub(super) fn root(&self, tenant: TenantCode, scope: RootScope) -> RootRef {
        match scope {
            RootScope::Region => RootRef::Region(self.scope.1.clone()),
            RootScope::Tenant => RootRef::Tenant(self.scope.1.clone(), tenant),
        }
    }

    /// Opens an epoch, if it is that tenant's and class's, this region's, and live.
    pub(super) async fn open(
        &self,
        tenant: TenantCode,
        class: ClassCode,
        kek_id: KekId,
        epoch: u32,
    ) -> Result<KekHandle, KeysError> {
        let record = self.parts.store.find(kek_id, epoch).await?.ok_or(KeysError::UnknownKek)?;
        let ours = record.tenant == tenant && record.class == class && record.subject.is_none();
        if !ours || !self.is_possible_root(&record) {
            return Err(KeysError::UnknownKek);
        }
        let key = self.unwrap(&record).await?;
        Ok(KekHandle { id: kek_id, epoch, root_version: record.wrapped.root_version, key })
    }

    /// A new epoch, wrapped but not stored, and open.
    pub(super) async fn make(
        &self,
        tenant: TenantCode,
        spec: &KekSpec,
        newest: Option<&KekRecord>,
    ) -> Result<(KekRecord, KekHandle), KeysError> {
        let (kek_id, epoch) = match newest {
            Some(newest) => (newest.kek_id, newest.epoch + 1),
            None => (KekId::random(&*self.parts.entropy)?, 1),
        };
        if epoch > EPOCHS_MAX {
            return Err(KeysError::TooManyEpochs { epochs_max: EPOCHS_MAX });
        }
        let root = self.root(tenant, spec.root);
        self.refuse_if_lost(&root).await?;
        let key = random_key(&*self.parts.entropy)?;
        let mut record = KekRecord {
            kek_id,
            epoch,
            tenant,
            class: spec.class,
            subject: None,
            created: self.parts.clock.now(),
            root,
            wrapped: Wrapped { root_version: 0, bytes: Vec::new() },
            shred_epoch: None,
            state: KekState::Live,
        };
        record.wrapped = self.wrap(&record, &key).await?;
        let handle = KekHandle { id: kek_id, epoch, root_version: record.wrapped.root_version, key };
        Ok((record, handle))
    }

    /// To wrap makes a root where there is none. One that keys hang from already was lost: another in its place would hide that,
    /// and a copy that is put back would take what it wrapped with it. The store is asked first: with both answers the other way
    /// round, a root made in between would look lost.
    async fn refuse_if_lost(&self, root: &RootRef) -> Result<(), KeysError> {
        if !self.parts.store.names(root).await? {
            return Ok(());
        }
        match self.attempt(|| self.parts.kms.status(root)).await {
            Ok(_) => Ok(()),
            Err(KmsError::Denied) => {
                event::root_lost(root);
                Err(KeysError::RootLost)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// See [`super::Ring::rewrap`].
    pub(super) async fn rewrap(&self) -> Result<Rewrapped, KeysError> {
        let mut versions: HashMap<RootRef, u32> = HashMap::new();
        let mut outcome = Rewrapped::default();
        let mut after = None;
        loop {
            let page = self.parts.store.page(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(outcome) };
            after = Some((last.kek_id, last.epoch));
            for record in &page {
                let done = self.rewrap_one(record, &mut versions).await?;
                *(if done { &mut outcome.rewrapped } else { &mut outcome.unchanged }) += 1;
            }
        }
    }

    async fn rewrap_one(
        &self,
        record: &KekRecord,
        versions: &mut HashMap<RootRef, u32>,
    ) -> Result<bool, KeysError> {
        if record.state == KekState::Retired {
            return Ok(false);
        }
        let newest = if let Some(version) = versions.get(&record.root) {
            *version
        } else {
            let status = self.attempt(|| self.parts.kms.status(&record.root)).await?;
            versions.insert(record.root.clone(), status.version);
            status.version
        };
        // Version 0: the provider does not tell, so wrapping again is the only way to be sure.
        if newest != 0 && record.wrapped.root_version >= newest {
            return Ok(false);
        }
        let key = self.unwrap(record).await?;
        let wrapped = self.wrap(record, &key).await?;
        Ok(self.parts.store.rewrap(record.kek_id, record.epoch, &record.wrapped, &wrapped).await?)
    }

    async fn wrap(&self, record: &KekRecord, key: &Secret<[u8; 32]>) -> Result<Wrapped, KeysError> {
        let context = self.context(record);
        let wrapped = self.attempt(|| self.parts.kms.wrap(&record.root, &context, key)).await?;
        let sane = (1..=Wrapped::BYTES_MAX).contains(&wrapped.bytes.len());
        if sane { Ok(wrapped) } else { Err(KmsError::Corrupt.into()) }
    }

    async fn unwrap(&self, record: &KekRecord) -> Result<Secret<[u8; 32]>, KeysError> {
        if record.state == KekState::Retired {
            return Err(KeysError::Retired);
        }
        let context = self.context(record);
        Ok(self.attempt(|| self.parts.kms.unwrap(&record.root, &context, &record.wrapped)).await?)
    }

    /// Calls the KMS: at most `attempts_max` times, each at most `call_ms_max` long, with jittered pauses between.
    async fn attempt<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, KmsError>
    where
        F: Future<Output = Result<T, KmsError>>,
    {
        let limit = Duration::from_millis(self.settings.call_ms_max);
        let mut pause = Duration::from_millis(self.settings.pause_ms);
        for _ in 1..self.settings.attempts_max {
            match tokio::time::timeout(limit, call()).await {
                Ok(Err(error)) if error.is_retryable() => {}
                Ok(outcome) => return outcome,
                Err(_) => {}
            }
            tokio::time::sleep(jittered(pause, &*self.parts.entropy)).await;
            pause = pause.saturating_mul(2);
        }
        tokio::time::timeout(limit, call()).await.unwrap_or(Err(KmsError::Unavailable("no answer in time")))
    }

    /// The key store's word on where a key hangs is bounded: this region's root, or this tenant's in this region.
    fn is_possible_root(&self, record: &KekRecord) -> bool {
        [RootScope::Region, RootScope::Tenant]
            .iter()
            .any(|scope| self.root(record.tenant, *scope) == record.root)
    }

    fn context(&self, record: &KekRecord) -> KekContext {
        KekContext {
            environment: self.scope.0.clone(),
            region: self.scope.1.clone(),
            tenant: record.tenant,
            class: record.class,
            kek_id: record.kek_id,
            epoch: record.epoch,
        }
    }
}

/// 32 random bytes.
pub(super) fn random_key(entropy: &dyn Entropy) -> Result<Secret<[u8; 32]>, EntropyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy.fill(bytes.as_mut())?;
    Ok(Secret::new(*bytes))
}
