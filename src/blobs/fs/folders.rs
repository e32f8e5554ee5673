//! The directory itself: what the driver does on a blocking thread.

use std::collections::BinaryHeap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};

use crate::blobs::location::{id_of, name_of};
use crate::blobs::{Cursor, Error, ErrorKind, Page, Verb};
use crate::model::failpoint::pass as point;
use crate::model::{BlobId, RegionId, Timestamp};

/// Temporary files older than this are a crash's leftovers. Far above any write's deadline, so that another process on the
/// same directory (a scrubber, an old replica draining) never loses one it is writing.
const LEFTOVER: Duration = Duration::from_hours(24);

const REGION_FILE: &str = "region";
const TEMP_FOLDER: &str = "temp";

/// The blocking half.
#[derive(Clone)]
pub(super) struct Folders {
    root: Arc<Path>,
}

impl Folders {
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root: root.into() }
    }

    fn shard(&self, first: u8) -> PathBuf {
        self.root.join(format!("{first:02x}"))
    }

    pub(super) fn blob(&self, id: BlobId) -> PathBuf {
        self.root.join(name_of(id))
    }

    pub(super) fn prepare(&self, region: &RegionId, now: Timestamp) -> Result<(), Error> {
        let failed = |error| of(Verb::Open, error);
        let is_new = make_folder(&self.root).map_err(failed)?;
        self.claim(region)?;
        let temp = self.root.join(TEMP_FOLDER);
        make_folder(&temp).map_err(failed)?;
        for first in 0..=u8::MAX {
            make_folder(&self.shard(first)).map_err(failed)?;
        }
        // The folders' own names, once and for all: from here on a blob needs only its folder synced.
        sync_folder(&self.root).map_err(failed)?;
        if let Some(parent) = self.root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            match sync_folder(parent) {
                // A root that others made (a mount) may have a parent that is closed to us; it is theirs to keep.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_new => {}
                synced => synced.map_err(failed)?,
            }
        }
        remove_leftovers(&temp, now).map_err(failed)
    }

    /// Writes the region's id into a new directory, or compares it in an old one: a mount that was mixed up stops here.
    fn claim(&self, region: &RegionId) -> Result<(), Error> {
        let failed = |error| of(Verb::Open, error);
        let path = self.root.join(REGION_FILE);
        let write = |mut file: File| {
            file.write_all(region.as_str().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
        };
        match new_file(&path) {
            Ok(file) => return write(file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let mut owner = String::new();
        let file = File::open(&path).map_err(failed)?;
        file.take(RegionId::BYTES_MAX as u64 + 1).read_to_string(&mut owner).map_err(failed)?;
        if owner == region.as_str() {
            return Ok(());
        }
        // A crash came between making the file and writing it: then there is no folder yet. With folders it is damage.
        if owner.is_empty() && !self.shard(0).exists() {
            return write(OpenOptions::new().write(true).open(&path).map_err(failed)?);
        }
        Err(Error::new(Verb::Open, ErrorKind::WrongRegion))
    }

    pub(super) fn put(&self, id: BlobId, temp: BlobId, bytes: &[u8]) -> Result<(), Error> {
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

    pub(super) fn read(&self, id: BlobId, start: u64, len: usize) -> Result<Bytes, Error> {
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

    /// The same if it takes no waiting: the name, the blob and all of the bytes are in the kernel's memory. Everything else, errors
    /// too, is `None`, for [`Folders::read`] to do and to tell.
    pub(super) fn read_at_hand(&self, id: BlobId, start: u64, len: usize) -> Option<Bytes> {
        // Linux 5.12 and 4.14; older ones and other file systems say so, and the read takes the long way.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat2(CWD, self.blob(id), flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
        let mut bytes = vec![0; len];
        let read =
            preadv2(&file, &mut [io::IoSliceMut::new(&mut bytes)], start, ReadWriteFlags::NOWAIT).ok()?;
        // Fewer: the rest is not in memory, or not there.
        (read == len).then(|| bytes.into())
    }

    /// A blob that is missing where its folder is; without the folder it is the directory that went away (a mount), and to
    /// call that the loss of every record would be a false alarm of the worst kind.
    pub(super) fn missing(&self, id: BlobId, verb: Verb, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::NotFound && self.shard(id.as_bytes()[0]).is_dir() {
            return Error::with(verb, ErrorKind::NotFound, error);
        }
        of(verb, error)
    }

    pub(super) fn delete(&self, id: BlobId) -> io::Result<()> {
        match std::fs::remove_file(self.blob(id)) {
            // Also if it is gone already: an earlier try may have removed it and died before the sync.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        sync_folder(&self.shard(id.as_bytes()[0]))
    }

    /// Holds at most `limit + 1` ids, however many files a folder has.
    pub(super) fn list(&self, after: Option<BlobId>, limit: usize) -> io::Result<Page> {
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

/// Whether it was made, or was there.
fn make_folder(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        made => made.map(|()| true),
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
pub(super) fn of(verb: Verb, error: io::Error) -> Error {
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
