//! A store in memory: for tests, and for `dev` without a disk. Lost with the process.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::envelope::Sealed;
use crate::model::{BlobId, RegionId};
use crate::placement::Placement;

use super::error::{at_home, same_region};
use super::location::id_of;
use super::store::{acceptable_blob, acceptable_range};
use super::{
    BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, LIST_NAMES_MAX, Location, Page, StoreKind,
    Verb,
};

/// Blobs of one region in a map. Unbounded: whoever puts it in front of strangers bounds what they may write.
pub struct MemoryStore {
    region: RegionId,
    blobs: Mutex<BTreeMap<BlobId, Bytes>>,
}

impl MemoryStore {
    /// An empty store of `region`.
    pub fn new(region: RegionId) -> Self {
        Self { region, blobs: Mutex::default() }
    }

    /// How many blobs there are.
    pub fn count(&self) -> usize {
        self.blobs().len()
    }

    /// The map holds no invariant that a panic between two calls could break, so poisoning means nothing here.
    fn blobs(&self) -> MutexGuard<'_, BTreeMap<BlobId, Bytes>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob(&self, at: &Location, verb: Verb) -> Result<Bytes, Error> {
        at_home(&self.region, at, verb)?;
        self.blobs().get(&at.id()).cloned().ok_or_else(|| Error::new(verb, ErrorKind::NotFound))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for MemoryStore {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        at_home(&self.region, at, Verb::Put)?;
        let bytes = acceptable_blob(at, sealed)?;
        let mut blobs = self.blobs();
        let stored = blobs.entry(at.id()).or_insert_with(|| bytes.clone());
        if *stored == bytes { Ok(()) } else { Err(Error::new(Verb::Put, ErrorKind::Exists)) }
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        let blob = self.blob(at, Verb::Read)?;
        let len = acceptable_range(&range)?;
        let truncated = || Error::new(Verb::Read, ErrorKind::Truncated);
        let start = usize::try_from(range.start).map_err(|_| truncated())?;
        match start.checked_add(len) {
            Some(end) if end <= blob.len() => Ok(blob.slice(start..end)),
            _ => Err(truncated()),
        }
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        let blob = self.blob(at, Verb::Head)?;
        Ok(BlobInfo { len: blob.len() as u64 })
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        at_home(&self.region, at, Verb::Delete)?;
        self.blobs().remove(&at.id());
        Ok(())
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        same_region(&self.region, placed.region(), Verb::List)?;
        let limit = limit.clamp(1, LIST_NAMES_MAX);
        let from = match after {
            None => Bound::Unbounded,
            Some(cursor) => match id_of(&cursor.0) {
                Some(id) => Bound::Excluded(id),
                None => return Err(Error::new(Verb::List, ErrorKind::Unacceptable)),
            },
        };
        let blobs = self.blobs();
        let mut names = blobs.range((from, Bound::Unbounded)).map(|(id, _)| *id);
        let ids: Vec<BlobId> = names.by_ref().take(limit).collect();
        let next = names.next().and(ids.last()).map(|last| Cursor::after(*last));
        Ok(Page { ids, foreign: 0, next })
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn describe(&self) -> Description {
        Description {
            kind: StoreKind::Memory,
            region: self.region.clone(),
            endpoint_host: None,
            declared_location: None,
            deleted_kept_s: None,
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("region", &self.region).finish_non_exhaustive()
    }
}
