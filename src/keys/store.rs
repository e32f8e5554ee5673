//! The key store: wrapped KEKs, apart from the index, because an erasure must reach their backups too.

use std::fmt;

use async_trait::async_trait;

use super::{Canary, RootRef, StoreError, Wrapped};
use crate::model::{ClassCode, KekId, TenantCode, Timestamp};

/// Epochs of one KEK, retired ones counted. At one rotation a month it lasts 341 years; it bounds a listing.
pub const EPOCHS_MAX: u32 = 4096;

/// Whether an epoch can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KekState {
    /// It opens, and seals if it is the newest.
    Live,
    /// Its wrapped key is erased. The row stays, so that the number is never used again.
    Retired,
}

/// One epoch of one KEK, wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekRecord {
    /// The KEK: the same for all epochs of a tenant and class (and subject).
    pub kek_id: KekId,
    /// From 1, without gaps.
    pub epoch: u32,
    /// Whose.
    pub tenant: TenantCode,
    /// For records of this class.
    pub class: ClassCode,
    /// For a subject key (SK): a keyed pseudonym of the subject, 1 to 64 bytes. `None` for a class's KEK.
    pub subject: Option<Vec<u8>>,
    /// When it was made.
    pub created: Timestamp,
    /// The root it hangs from.
    pub root: RootRef,
    /// The key under that root; empty once retired.
    pub wrapped: Wrapped,
    /// The shred epoch under whose KMS key version the record itself is wrapped; `None` until that exists.
    pub shred_epoch: Option<u64>,
    /// Whether it can be used.
    pub state: KekState,
}

/// Keeps wrapped keys durably: when a method returns, what it did survives a power cut. Several processes of one region
/// share one store. No default methods.
#[async_trait]
pub trait KeyStore: Send + Sync + fmt::Debug {
    /// Adds `record`, or reads the one that is already there for the same tenant, class, subject and epoch: of two who race
    /// to make an epoch, both get the first one's. The store never holds two.
    async fn insert_or_read(&self, record: &KekRecord) -> Result<KekRecord, StoreError>;

    /// The newest epoch of a class's KEK (no subject), retired or not.
    async fn newest(&self, tenant: TenantCode, class: ClassCode) -> Result<Option<KekRecord>, StoreError>;

    /// One epoch of one KEK.
    async fn find(&self, kek_id: KekId, epoch: u32) -> Result<Option<KekRecord>, StoreError>;

    /// Whether a live record, of any tenant, class or subject, hangs from `root`.
    async fn names(&self, root: &RootRef) -> Result<bool, StoreError>;

    /// Up to `limit` (1 to 1,000) records after `(kek_id, epoch)`, ordered by these: for re-wrapping and reports.
    async fn page(&self, after: Option<(KekId, u32)>, limit: u32) -> Result<Vec<KekRecord>, StoreError>;

    /// Puts `new` in place of `old` if the record still holds `old`; false if somebody else was faster.
    async fn rewrap(
        &self,
        kek_id: KekId,
        epoch: u32,
        old: &Wrapped,
        new: &Wrapped,
    ) -> Result<bool, StoreError>;

    /// Erases the wrapped key of an epoch that is not the newest, and marks it retired. True if it was live.
    async fn retire(&self, kek_id: KekId, epoch: u32) -> Result<bool, StoreError>;

    /// The canary that was written first, whoever wrote it: `canary` if there was none.
    async fn canary_or(&self, canary: &Canary) -> Result<Canary, StoreError>;

    /// The canary, if the store has one.
    async fn canary(&self) -> Result<Option<Canary>, StoreError>;
}
