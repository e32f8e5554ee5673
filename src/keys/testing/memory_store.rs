//! A key store in memory, for tests that hold time still: it answers without waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::keys::{Canary, KekRecord, KekState, KeyStore, RootRef, StoreError, Wrapped};
use crate::model::{ClassCode, KekId, TenantCode};

/// See the module. Clones are one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryKeyStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    records: BTreeMap<(KekId, u32), KekRecord>,
    canary: Option<Canary>,
    failing: bool,
}

impl MemoryKeyStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every verb fail with [`StoreError::Unavailable`], or work again.
    pub fn fail(&self, failing: bool) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).failing = failing;
    }

    /// Removes the canary, as somebody with the file could.
    pub fn remove_canary(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).canary = None;
    }

    /// Overwrites a record, as somebody with the file could.
    pub fn overwrite(&self, record: &KekRecord) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.records.insert((record.kek_id, record.epoch), record.clone());
    }

    fn inner(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.failing {
            Err(StoreError::Unavailable(String::from("as the test asked")))
        } else {
            Ok(inner)
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl KeyStore for MemoryKeyStore {
    async fn insert_or_read(&self, record: &KekRecord) -> Result<KekRecord, StoreError> {
        let mut inner = self.inner()?;
        let place = |one: &KekRecord| (one.tenant, one.class, one.subject.clone(), one.epoch);
        if let Some(found) = inner.records.values().find(|one| place(one) == place(record)) {
            return Ok(found.clone());
        }
        if inner.records.contains_key(&(record.kek_id, record.epoch)) {
            return Err(StoreError::Corrupt("a KEK id is used twice"));
        }
        inner.records.insert((record.kek_id, record.epoch), record.clone());
        Ok(record.clone())
    }

    async fn newest(&self, tenant: TenantCode, class: ClassCode) -> Result<Option<KekRecord>, StoreError> {
        let inner = self.inner()?;
        let ours = |one: &&KekRecord| one.tenant == tenant && one.class == class && one.subject.is_none();
        Ok(inner.records.values().filter(ours).max_by_key(|one| one.epoch).cloned())
    }

    async fn find(&self, kek_id: KekId, epoch: u32) -> Result<Option<KekRecord>, StoreError> {
        Ok(self.inner()?.records.get(&(kek_id, epoch)).cloned())
    }

    async fn names(&self, root: &RootRef) -> Result<bool, StoreError> {
        Ok(self.inner()?.records.values().any(|one| one.root == *root && one.state == KekState::Live))
    }

    async fn page(&self, after: Option<(KekId, u32)>, limit: u32) -> Result<Vec<KekRecord>, StoreError> {
        let inner = self.inner()?;
        let later = inner.records.iter().filter(|(place, _)| after.is_none_or(|after| **place > after));
        Ok(later.take(limit as usize).map(|(_, record)| record.clone()).collect())
    }

    async fn rewrap(
        &self,
        kek_id: KekId,
        epoch: u32,
        old: &Wrapped,
        new: &Wrapped,
    ) -> Result<bool, StoreError> {
        let mut inner = self.inner()?;
        let live = |one: &&mut KekRecord| one.wrapped == *old && one.state == KekState::Live;
        let found = inner.records.get_mut(&(kek_id, epoch)).filter(live);
        Ok(found.map(|record| record.wrapped = new.clone()).is_some())
    }

    async fn retire(&self, kek_id: KekId, epoch: u32) -> Result<bool, StoreError> {
        let mut inner = self.inner()?;
        let newest = inner.records.keys().filter(|(id, _)| *id == kek_id).map(|(_, epoch)| *epoch).max();
        let Some(record) = inner.records.get_mut(&(kek_id, epoch)) else { return Ok(false) };
        if newest == Some(epoch) || record.state == KekState::Retired {
            return Ok(false);
        }
        record.state = KekState::Retired;
        record.wrapped.bytes.clear();
        Ok(true)
    }

    async fn canary_or(&self, canary: &Canary) -> Result<Canary, StoreError> {
        Ok(self.inner()?.canary.get_or_insert_with(|| canary.clone()).clone())
    }

    async fn canary(&self) -> Result<Option<Canary>, StoreError> {
        Ok(self.inner()?.canary.clone())
    }
}
