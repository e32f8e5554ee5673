//! A directory of a local file system: durable when a verb returns, whole or absent after a crash at any moment.
//!
//! ```text
//! root/region         the region's id; a directory of another region is refused
//! root/temp/<random>  blobs being written
//! root/ab/ab34…       blobs, in 256 folders
//! ```
//! A blob is written and synced under a random temporary name, then *linked* to its own name, which fails if that is
//! taken (a rename would replace), then its folder is synced. So no torn blob is ever visible under its name.

use std::collections::BinaryHeap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::envelope::Sealed;
use crate::model::{BlobId, Clock, Entropy, RegionId, Timestamp};
use crate::placement::Placement;

use super::error::{at_home, same_region};
use super::location::{id_of, name_of};
use super::store::{acceptable_blob, acceptable_range};
use super::{
    BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, LIST_NAMES_MAX, Location, Page, StoreKind,
    Verb,
};

/// Temporary files older than this are a crash's leftovers. Far above any write's deadline, so that another process on the
/// same directory (a scrubber, an old replica draining) never loses one it is writing.
const LEFTOVER: Duration = Duration::from_hours(24);

/// Calls that may occupy a thread at once. Above what a disk's queue takes, below tokio's 512 blocking threads, which
/// others need too.
const CALLS_MAX: usize = 128;

const REGION_FILE: &str = "region";
const TEMP_FOLDER: &str = "temp";

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
    calls: Semaphore,
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
        let folders = Folders { root: root.into() };
        let calls = Semaphore::new(CALLS_MAX);
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
        let _turn = self.calls.acquire().await.map_err(|closed| internal(closed.into()))?;
        let folders = self.folders.clone();
        spawn_blocking(move || work(&folders))
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
        }
    }
}

impl fmt::Debug for FsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsStore").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The blocking half.
#[derive(Clone)]
struct Folders {
    root: Arc<Path>,
}

impl Folders {
    fn shard(&self, first: u8) -> PathBuf {
        self.root.join(format!("{first:02x}"))
    }

    fn blob(&self, id: BlobId) -> PathBuf {
        self.root.join(name_of(id))
    }

    fn prepare(&self, region: &RegionId, now: Timestamp) -> Result<(), Error> {
        let failed = |error| of(Verb::Open, error);
        make_folder(&self.root).map_err(failed)?;
        self.claim(region)?;
        let temp = self.root.join(TEMP_FOLDER);
        make_folder(&temp).map_err(failed)?;
        for first in 0..=u8::MAX {
            make_folder(&self.shard(first)).map_err(failed)?;
        }
        // The folders' own names, once and for all: from here on a blob needs only its folder synced.
        sync_folder(&self.root).map_err(failed)?;
        if let Some(parent) = self.root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent).map_err(failed)?;
        }
        remove_leftovers(&temp, now).map_err(failed)
    }

    /// Writes the region's id into a new directory, or compares it in an old one: a mount that was mixed up stops here.
    fn claim(&self, region: &RegionId) -> Result<(), Error> {
        let failed = |error| of(Verb::Open, error);
        let path = self.root.join(REGION_FILE);
        match new_file(&path) {
            Ok(mut file) => {
                file.write_all(region.as_str().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut owner = String::new();
                let file = File::open(&path).map_err(failed)?;
                file.take(RegionId::BYTES_MAX as u64 + 1).read_to_string(&mut owner).map_err(failed)?;
                // Empty: a crash came between making the file and writing it. Nothing was stored before that.
                if owner.is_empty() {
                    let mut file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
                    return file
                        .write_all(region.as_str().as_bytes())
                        .and_then(|()| file.sync_all())
                        .map_err(failed);
                }
                if owner == region.as_str() {
                    Ok(())
                } else {
                    Err(Error::new(Verb::Open, ErrorKind::WrongRegion))
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn put(&self, id: BlobId, temp: BlobId, bytes: &[u8]) -> Result<(), Error> {
        let failed = |error| of(Verb::Put, error);
        let path = self.blob(id);
        let temp = Temp(self.root.join(TEMP_FOLDER).join(temp.to_string()));
        let mut file = new_file(&temp.0).map_err(failed)?;
        point("temp-created");
        file.write_all(bytes).map_err(failed)?;
        point("temp-written");
        // Data and length; the times may be lost.
        file.sync_data().map_err(failed)?;
        point("temp-synced");
        drop(file);
        point("before-link");
        let linked = std::fs::hard_link(&temp.0, &path);
        point("after-link");
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // What is linked was synced before; whether its *name* was, only a sync of the folder tells.
                if !holds(&path, bytes).map_err(failed)? {
                    return Err(Error::new(Verb::Put, ErrorKind::Exists));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        sync_folder(&self.shard(id.as_bytes()[0])).map_err(failed)?;
        point("folder-synced");
        Ok(())
    }

    fn read(&self, id: BlobId, start: u64, len: usize) -> Result<Bytes, Error> {
        let failed = |error| of(Verb::Read, error);
        let file = File::open(self.blob(id)).map_err(|error| self.missing(id, Verb::Read, error))?;
        // `pread` calls an offset beyond i64 an invalid argument; to us it is past the end like any other.
        if i64::try_from(start).is_err() {
            return Err(Error::new(Verb::Read, ErrorKind::Truncated));
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, start).map_err(failed)?;
        Ok(bytes.into())
    }

    /// A blob that is missing where its folder is; without the folder it is the directory that went away (a mount), and to
    /// call that the loss of every record would be a false alarm of the worst kind.
    fn missing(&self, id: BlobId, verb: Verb, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::NotFound && self.shard(id.as_bytes()[0]).is_dir() {
            return Error::with(verb, ErrorKind::NotFound, error);
        }
        of(verb, error)
    }

    fn delete(&self, id: BlobId) -> io::Result<()> {
        match std::fs::remove_file(self.blob(id)) {
            // Also if it is gone already: an earlier try may have removed it and died before the sync.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        sync_folder(&self.shard(id.as_bytes()[0]))
    }

    /// Holds at most `limit + 1` ids, however many files a folder has.
    fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Page> {
        let mut page = Page::default();
        let first = after.map_or(0, |id| id.as_bytes()[0]);
        for shard in first..=u8::MAX {
            let mut lowest = BinaryHeap::new();
            for entry in std::fs::read_dir(self.shard(shard))? {
                let name = entry?.file_name();
                let id = name.to_str().and_then(|name| id_of(&format!("{shard:02x}/{name}")));
                match id {
                    None => page.foreign += 1,
                    Some(id) if after.is_some_and(|after| id <= after) => {}
                    Some(id) => {
                        lowest.push(id);
                        if page.ids.len() + lowest.len() > limit + 1 {
                            lowest.pop();
                        }
                    }
                }
            }
            page.ids.extend(lowest.into_sorted_vec());
            if page.ids.len() > limit {
                page.ids.truncate(limit);
                page.next = page.ids.last().map(|last| Cursor::after(*last));
                break;
            }
        }
        Ok(page)
    }
}

/// A temporary name, removed when its owner is done with it, whatever came of it.
struct Temp(PathBuf);

impl Drop for Temp {
    fn drop(&mut self) {
        // Not removed now, removed at some start: see `LEFTOVER`.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Whether the file holds exactly `bytes`.
fn holds(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let file = File::open(path)?;
    if file.metadata()?.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut stored = vec![0; bytes.len()];
    file.read_exact_at(&mut stored, 0)?;
    Ok(stored == bytes)
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove_leftovers(temp: &Path, now: Timestamp) -> io::Result<()> {
    for entry in std::fs::read_dir(temp)? {
        let entry = entry?;
        let written = entry.metadata().and_then(|about| about.modified());
        let millis = match written.map(|written| written.duration_since(UNIX_EPOCH)) {
            Ok(age) => u64::try_from(age.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
            // Another process has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if now.since(Timestamp::from_millis(millis)) > LEFTOVER {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// What an I/O error means for the verb.
fn of(verb: Verb, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let kind = match error.kind() {
        // Never a blob: see `missing`.
        Io::NotFound | Io::NotADirectory | Io::Unsupported | Io::ReadOnlyFilesystem => {
            ErrorKind::Misconfigured
        }
        Io::PermissionDenied => ErrorKind::Denied,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Full,
        Io::UnexpectedEof => ErrorKind::Truncated,
        Io::Interrupted | Io::ResourceBusy | Io::TimedOut | Io::StaleNetworkFileHandle => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Internal,
    };
    Error::with(verb, kind, error)
}

#[cfg(feature = "testing")]
fn point(name: &str) {
    super::failpoint::pass(name);
}

#[cfg(not(feature = "testing"))]
#[expect(clippy::inline_always, reason = "nothing, in every build but a test's")]
#[inline(always)]
fn point(_: &str) {}
