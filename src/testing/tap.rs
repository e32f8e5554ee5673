//! A tap on a region's store and index: what was asked of them, and faults on demand.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::app::Between;
use crate::blobs::testing::{Faults, FaultyStore};
use crate::blobs::{BlobInfo, BlobStore, Cursor, Description, Error, Location, Page, is_in_background};
use crate::envelope::Sealed;
use crate::index::Index;
use crate::model::{BlobId, RegionId};
use crate::placement::Placement;

use super::{CountedIndex, IndexTap};

/// What was asked of a region's store and index, in calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Blobs written.
    pub puts: u64,
    /// Ranges read.
    pub reads: u64,
    /// Blobs looked at.
    pub heads: u64,
    /// Blobs deleted.
    pub deletes: u64,
    /// Pages listed.
    pub lists: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Of all the calls, those that gave way to requests.
    pub background: u64,
    /// Round trips of the index.
    pub index: u64,
}

impl Asked {
    /// Calls of the store, of every verb.
    pub const fn store(&self) -> u64 {
        self.puts + self.reads + self.heads + self.deletes + self.lists
    }
}

impl std::ops::Sub for Asked {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            puts: self.puts - before.puts,
            reads: self.reads - before.reads,
            heads: self.heads - before.heads,
            deletes: self.deletes - before.deletes,
            lists: self.lists - before.lists,
            read_bytes: self.read_bytes - before.read_bytes,
            background: self.background - before.background,
            index: self.index - before.index,
        }
    }
}

/// One region's tap.
#[derive(Debug)]
pub struct Tap {
    store: FaultyStore<Arc<dyn BlobStore>>,
    puts: AtomicU64,
    reads: AtomicU64,
    heads: AtomicU64,
    deletes: AtomicU64,
    lists: AtomicU64,
    read_bytes: AtomicU64,
    background: AtomicU64,
    index: Arc<IndexTap>,
}

impl Tap {
    fn new(store: Arc<dyn BlobStore>, seed: u64, index: Arc<IndexTap>) -> Self {
        Self {
            store: FaultyStore::new(store, Faults::default(), seed),
            puts: AtomicU64::default(),
            reads: AtomicU64::default(),
            heads: AtomicU64::default(),
            deletes: AtomicU64::default(),
            lists: AtomicU64::default(),
            read_bytes: AtomicU64::default(),
            background: AtomicU64::default(),
            index,
        }
    }

    /// From now on the store fails like this. Faults strike above the region's retries: one is enough.
    pub fn fail(&self, faults: Faults) {
        self.store.set(faults);
    }

    /// From now on nothing reaches the store, or everything does.
    pub fn down(&self, down: bool) {
        self.fail(Faults { error_before: if down { 1000 } else { 0 }, ..Faults::default() });
    }

    /// From now on the store does not delete these.
    pub fn keep(&self, blobs: impl IntoIterator<Item = BlobId>) {
        self.store.keep(blobs);
    }

    /// How many faults have struck.
    pub fn struck(&self) -> u64 {
        self.store.struck()
    }

    /// What stands in front of the index.
    pub fn index(&self) -> &IndexTap {
        &self.index
    }

    fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::SeqCst);
        self.background.fetch_add(is_in_background().into(), Ordering::SeqCst);
    }

    /// What was asked so far.
    pub fn asked(&self) -> Asked {
        let value = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Asked {
            puts: value(&self.puts),
            reads: value(&self.reads),
            heads: value(&self.heads),
            deletes: value(&self.deletes),
            lists: value(&self.lists),
            read_bytes: value(&self.read_bytes),
            background: value(&self.background),
            index: self.index.round_trips(),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for Tap {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        self.count(&self.puts);
        self.store.put(at, sealed).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        self.count(&self.reads);
        self.read_bytes.fetch_add(range.end - range.start, Ordering::SeqCst);
        self.store.read(at, range).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        self.count(&self.heads);
        self.store.head(at).await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        self.count(&self.deletes);
        self.store.delete(at).await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        self.count(&self.lists);
        self.store.list(placed, after, limit).await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        self.store.locate().await
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}

/// The taps of every region of an application.
#[derive(Debug, Default)]
pub struct Taps {
    seed: u64,
    opened: Mutex<BTreeMap<RegionId, Arc<Tap>>>,
    indexes: Mutex<BTreeMap<RegionId, Arc<IndexTap>>>,
}

impl Taps {
    /// Taps whose faults follow from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The tap of `region`, once it is open.
    pub fn of(&self, region: &RegionId) -> Option<Arc<Tap>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(region).cloned()
    }

    fn index_of(&self, region: &RegionId) -> Arc<IndexTap> {
        let mut all = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(region.clone()).or_default())
    }
}

impl Between for Taps {
    fn store(&self, region: &RegionId, store: Arc<dyn BlobStore>) -> Arc<dyn BlobStore> {
        let tap = Arc::new(Tap::new(store, self.seed, self.index_of(region)));
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(region.clone(), Arc::clone(&tap));
        tap
    }

    fn index(&self, region: &RegionId, index: Arc<dyn Index>) -> Arc<dyn Index> {
        Arc::new(CountedIndex::new(index, self.index_of(region)))
    }
}
