//! A store that fails on purpose, from a seed: what the tests of everything above run against.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::envelope::Sealed;
use crate::model::BlobId;
use crate::placement::Placement;

use super::{BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, Location, Page, Verb};

/// How often each fault strikes, in thousandths of the calls it can strike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Fails with [`ErrorKind::Unavailable`], nothing done.
    pub error_before: u32,
    /// Fails with [`ErrorKind::Unavailable`], though it was done: the answer was lost.
    pub error_after: u32,
    /// Fails with [`ErrorKind::Timeout`], though it was done.
    pub timeout_after: u32,
    /// Fails with [`ErrorKind::SlowDown`], nothing done, and asks to stay away for [`Faults::slow_down_ms`].
    pub slow_down: u32,
    /// How long [`Faults::slow_down`] asks for, in milliseconds; 0 asks for nothing.
    pub slow_down_ms: u64,
    /// Fails with [`ErrorKind::Denied`], nothing done: credentials that ran out.
    pub denied: u32,
    /// Fails with [`ErrorKind::CircuitOpen`], nothing done: as where the store is left alone.
    pub circuit_open: u32,
    /// Fails with [`ErrorKind::Internal`], nothing done: a defect of ours, or an answer that nobody understands.
    pub internal: u32,
    /// `read` only: fails with [`ErrorKind::Truncated`].
    pub truncated: u32,
    /// `read` only: succeeds with one bit turned.
    pub bit_flip: u32,
    /// `put` only: succeeds, but every later read sees one bit turned, always the same.
    pub corrupt_put: u32,
    /// `put` only: succeeds and stores nothing.
    pub lost_put: u32,
    /// Waits up to [`Faults::delay_ms`] first.
    pub delay: u32,
    /// The longest wait, in milliseconds.
    pub delay_ms: u64,
}

/// A store whose faults follow from `seed` and the order of calls, so that a failure is repeated by its seed.
pub struct FaultyStore<S> {
    inner: S,
    faults: Mutex<Faults>,
    /// Blobs whose stored bytes have one bit turned, and which.
    rotten: Mutex<HashMap<BlobId, u64>>,
    /// Blobs that cannot be deleted, as where the store has a lock on them.
    kept: Mutex<HashSet<BlobId>>,
    state: AtomicU64,
    struck: AtomicU64,
}

impl<S: BlobStore> FaultyStore<S> {
    /// Wraps `inner`.
    pub fn new(inner: S, faults: Faults, seed: u64) -> Self {
        Self {
            inner,
            faults: faults.into(),
            rotten: Mutex::default(),
            kept: Mutex::default(),
            state: AtomicU64::new(seed),
            struck: AtomicU64::new(0),
        }
    }

    /// From now on, these.
    pub fn set(&self, faults: Faults) {
        *lock(&self.faults) = faults;
    }

    /// From now on these cannot be deleted: [`ErrorKind::Denied`].
    pub fn keep(&self, blobs: impl IntoIterator<Item = BlobId>) {
        lock(&self.kept).extend(blobs);
    }

    /// How many faults have struck: a test asserts that it met some.
    pub fn struck(&self) -> u64 {
        self.struck.load(Ordering::SeqCst)
    }

    /// The store inside, which does not fail.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn faults(&self) -> Faults {
        *lock(&self.faults)
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014): each call takes the next number, whichever thread it comes from.
    fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn strikes(&self, thousandths: u32) -> bool {
        let hit = thousandths > 0 && self.random() % 1000 < u64::from(thousandths);
        self.struck.fetch_add(u64::from(hit), Ordering::SeqCst);
        hit
    }

    async fn before(&self, verb: Verb) -> Result<Faults, Error> {
        let faults = self.faults();
        if self.strikes(faults.delay) {
            tokio::time::sleep(Duration::from_millis(self.random() % (faults.delay_ms + 1))).await;
        }
        if self.strikes(faults.denied) {
            return Err(Error::new(verb, ErrorKind::Denied));
        }
        if self.strikes(faults.circuit_open) {
            return Err(Error::new(verb, ErrorKind::CircuitOpen));
        }
        if self.strikes(faults.internal) {
            return Err(Error::new(verb, ErrorKind::Internal));
        }
        if self.strikes(faults.slow_down) {
            let asked = (faults.slow_down_ms > 0).then(|| Duration::from_millis(faults.slow_down_ms));
            return Err(Error::new(verb, ErrorKind::SlowDown).after(asked));
        }
        if self.strikes(faults.error_before) {
            return Err(Error::new(verb, ErrorKind::Unavailable));
        }
        Ok(faults)
    }

    fn after<T>(&self, verb: Verb, faults: &Faults, done: T) -> Result<T, Error> {
        if self.strikes(faults.error_after) {
            return Err(Error::new(verb, ErrorKind::Unavailable));
        }
        if self.strikes(faults.timeout_after) {
            return Err(Error::new(verb, ErrorKind::Timeout));
        }
        Ok(done)
    }
}

fn turned(bytes: &Bytes, bit: u64) -> Bytes {
    let mut turned = BytesMut::from(bytes.as_ref());
    if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| turned.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
    turned.freeze()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: BlobStore> BlobStore for FaultyStore<S> {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        let faults = self.before(Verb::Put).await?;
        if self.strikes(faults.lost_put) {
            return Ok(());
        }
        let rots = self.strikes(faults.corrupt_put).then(|| self.random() % (sealed.len() as u64 * 8));
        self.inner.put(at, sealed).await?;
        if let Some(bit) = rots {
            lock(&self.rotten).insert(at.id(), bit);
        }
        self.after(Verb::Put, &faults, ())
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        let faults = self.before(Verb::Read).await?;
        let mut bytes = self.inner.read(at, range.clone()).await?;
        let rotten = lock(&self.rotten).get(&at.id()).copied();
        if let Some(bit) = rotten.filter(|bit| range.contains(&(bit / 8))) {
            bytes = turned(&bytes, bit - range.start * 8);
        }
        if self.strikes(faults.truncated) {
            return Err(Error::new(Verb::Read, ErrorKind::Truncated));
        }
        if self.strikes(faults.bit_flip) {
            bytes = turned(&bytes, self.random() % (bytes.len() as u64 * 8));
        }
        self.after(Verb::Read, &faults, bytes)
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        let faults = self.before(Verb::Head).await?;
        let info = self.inner.head(at).await?;
        self.after(Verb::Head, &faults, info)
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        let faults = self.before(Verb::Delete).await?;
        if lock(&self.kept).contains(&at.id()) {
            return Err(Error::new(Verb::Delete, ErrorKind::Denied));
        }
        self.inner.delete(at).await?;
        self.after(Verb::Delete, &faults, ())
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        let faults = self.before(Verb::List).await?;
        let page = self.inner.list(placed, after, limit).await?;
        self.after(Verb::List, &faults, page)
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        let faults = self.before(Verb::Locate).await?;
        let place = self.inner.locate().await?;
        self.after(Verb::Locate, &faults, place)
    }

    fn describe(&self) -> Description {
        self.inner.describe()
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}
