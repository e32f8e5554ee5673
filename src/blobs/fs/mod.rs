//! A directory of a local file system: durable when a verb returns, whole or absent after a crash at any moment.
//!
//! ```text
//! root/region         the region's id; a directory of another region is refused
//! root/temp/<random>  blobs being written
//! root/ab/ab34…       blobs, in 256 folders
//! ```
//! A blob is written and synced under a random temporary name, then *linked* to its own name, which fails if that is
//! taken (a rename would replace), then its folder is synced. So no torn blob is ever visible under its name.

mod folders;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::envelope::Sealed;
use crate::model::{BlobId, Clock, Entropy, RegionId};
use crate::placement::Placement;

use self::folders::{Folders, of};
use super::error::{at_home, same_region};
use super::location::id_of;
use super::store::{acceptable_blob, acceptable_range};
use super::{
    BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, LIST_NAMES_MAX, Location, Page, StoreKind,
    Verb,
};

/// Calls that may occupy a thread at once. Above what a disk's queue takes, below tokio's 512 blocking threads, which
/// others need too.
const CALLS_MAX: usize = 128;

/// What is read by the caller itself if it is in memory already: a trip to a blocking thread and back costs as much as copying about
/// this much does (some 10 µs).
const AT_HAND_BYTES_MAX: usize = 128 * 1024;

/// Where, and whose.
#[derive(Clone, Debug)]
pub struct FsSettings {
    /// The region the directory belongs to; a directory of another region is refused.
    pub region: RegionId,
    /// The directory. Made, with mode 0700, if it is missing; its parent must exist. Must allow hard links.
    pub root: PathBuf,
}

/// Blobs of one region in a directory.
pub struct FsStore {
    region: RegionId,
    folders: Folders,
    entropy: Arc<dyn Entropy>,
    calls: Arc<Semaphore>,
}

impl FsStore {
    /// Opens the directory, makes its folders, and removes temporary files that a crash left behind.
    pub async fn open(
        settings: FsSettings,
        clock: &dyn Clock,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        let now = clock.now();
        let FsSettings { region, root } = settings;
        let folders = Folders::at(root);
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        let (theirs, id) = (folders.clone(), region.clone());
        let opened = spawn_blocking(move || theirs.prepare(&id, now)).await;
        opened.map_err(|panic| Error::with(Verb::Open, ErrorKind::Internal, panic))??;
        Ok(Self { region, folders, entropy, calls })
    }

    /// Runs `work` on a blocking thread. It runs to its end even if the caller goes away: half a write is then a leftover.
    async fn blocking<T: Send + 'static>(
        &self,
        verb: Verb,
        work: impl FnOnce(&Folders) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let internal = |cause| Error::with(verb, ErrorKind::Internal, cause);
        let turn = Arc::clone(&self.calls).acquire_owned().await.map_err(|closed| internal(closed.into()))?;
        let folders = self.folders.clone();
        let run = move || {
            // Kept as long as the thread is, not as long as the caller waits.
            let _turn = turn;
            work(&folders)
        };
        spawn_blocking(run)
            .await
            .map_err(|panic| internal(Box::<dyn std::error::Error + Send + Sync>::from(panic)))?
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for FsStore {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        at_home(&self.region, at, Verb::Put)?;
        let bytes = acceptable_blob(at, sealed)?;
        let id = at.id();
        let temp = BlobId::random(&*self.entropy);
        let temp = temp.map_err(|none| Error::with(Verb::Put, ErrorKind::Internal, none))?;
        self.blocking(Verb::Put, move |folders| folders.put(id, temp, &bytes)).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        at_home(&self.region, at, Verb::Read)?;
        let len = acceptable_range(&range)?;
        let id = at.id();
        if len <= AT_HAND_BYTES_MAX
            && let Some(bytes) = self.folders.read_at_hand(id, range.start, len)
        {
            return Ok(bytes);
        }
        self.blocking(Verb::Read, move |folders| folders.read(id, range.start, len)).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        at_home(&self.region, at, Verb::Head)?;
        let id = at.id();
        self.blocking(Verb::Head, move |folders| {
            let about = std::fs::metadata(folders.blob(id))
                .map_err(|error| folders.missing(id, Verb::Head, error))?;
            Ok(BlobInfo { len: about.len() })
        })
        .await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        at_home(&self.region, at, Verb::Delete)?;
        let id = at.id();
        self.blocking(Verb::Delete, move |folders| {
            folders.delete(id).map_err(|error| of(Verb::Delete, error))
        })
        .await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        same_region(&self.region, placed.region(), Verb::List)?;
        let limit = limit.clamp(1, LIST_NAMES_MAX);
        let after = match after.map(|cursor| id_of(&cursor.0)) {
            None => None,
            Some(Some(id)) => Some(id),
            Some(None) => return Err(Error::new(Verb::List, ErrorKind::Unacceptable)),
        };
        self.blocking(Verb::List, move |folders| {
            folders.list(after, limit).map_err(|error| of(Verb::List, error))
        })
        .await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn describe(&self) -> Description {
        Description {
            kind: StoreKind::Fs,
            region: self.region.clone(),
            endpoint_host: None,
            declared_location: None,
            deleted_kept_s: None,
        }
    }
}

impl fmt::Debug for FsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsStore").field("region", &self.region).finish_non_exhaustive()
    }
}
