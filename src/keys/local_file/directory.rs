//! The directory of root files: modes, lock, and writes that are whole or not there.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::RootFileError;
use crate::keys::RootRef;

const LOCK_FILE: &str = ".lock";
const PREFIX: &str = "root-";
const SUFFIX: &str = ".key";
/// A file of 100 versions has some 10 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// 100 tries 20 ms apart: a change takes a few milliseconds, so 2 s means that something is wrong.
const LOCK_TRIES_MAX: u32 = 100;
const LOCK_PAUSE_MS: u64 = 20;

/// A directory that only its owner can enter: the one that was opened, and no other that comes to stand in its place.
///
/// It is not held open, since that would keep its volume from being unmounted.
#[derive(Debug)]
pub(super) struct RootDirectory {
    path: PathBuf,
    identity: Identity,
}

/// Which directory: an unmounted volume leaves its mount point at the same path, empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl RootDirectory {
    pub(super) fn open(path: PathBuf) -> Result<Self, RootFileError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io("make the directory above the root files"))?;
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(io("make the directory of root files")(error));
            }
            _ => {}
        }
        let metadata = look_at(&path)?;
        refuse_if_exposed(&metadata)?;
        Ok(Self { path, identity: Identity::of(&metadata) })
    }

    /// The text of a root's file; `None` if there is none.
    pub(super) fn read(&self, root: &RootRef) -> Result<Option<Zeroizing<String>>, RootFileError> {
        self.check()?;
        let mut file = match File::open(self.path(root)) {
            Ok(file) => file,
            // Only in the directory itself does it mean that there is no such root, so once more: it may have just gone away.
            Err(error) if error.kind() == ErrorKind::NotFound => return self.check().map(|()| None),
            Err(error) => return Err(io("open a root file")(error)),
        };
        let metadata = file.metadata().map_err(io("look at a root file"))?;
        if is_exposed(&metadata) {
            return Err(RootFileError::Exposed { what: "a root file" });
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(RootFileError::Corrupt("the file is too long"));
        }
        // Room for all of it at once: a buffer that grows leaves copies of keys behind.
        let capacity = usize::try_from(metadata.len()).unwrap_or(0) + 1;
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        match Read::by_ref(&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text) {
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(RootFileError::Corrupt("it is not text"))
            }
            Err(error) => Err(io("read a root file")(error)),
        }
    }

    /// Replaces a root's file, durably: after a crash there is the old file or the new one. The caller holds the lock.
    pub(super) fn write(&self, root: &RootRef, text: &str) -> Result<(), RootFileError> {
        let path = self.path(root);
        let draft = path.with_extension("draft");
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io("remove an unfinished root file")(error));
            }
            _ => {}
        }
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).to_owned();
        let mut file = options.open(&draft).map_err(io("make a root file"))?;
        file.write_all(text.as_bytes()).map_err(io("write a root file"))?;
        file.sync_all().map_err(io("sync a root file"))?;
        std::fs::rename(&draft, &path).map_err(io("put a root file in place"))?;
        let directory = File::open(&self.path).map_err(io("open the directory of root files"))?;
        // Looked at after the file is in place: one that was put elsewhere is not used.
        self.refuse_another(&directory.metadata().map_err(io("look at the directory of root files"))?)?;
        directory.sync_all().map_err(io("sync the directory of root files"))
    }

    /// Every root that has a file, by name.
    pub(super) fn roots(&self) -> Result<Vec<RootRef>, RootFileError> {
        self.check()?;
        let mut roots = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(io("list the root files"))? {
            let name = entry.map_err(io("list the root files"))?.file_name();
            roots.extend(name.to_str().and_then(parse_name));
        }
        roots.sort();
        Ok(roots)
    }

    /// One change at a time, over all processes. Released when the file is dropped.
    pub(super) fn lock(&self) -> Result<File, RootFileError> {
        self.check()?;
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).to_owned();
        let file = options.open(self.path.join(LOCK_FILE)).map_err(io("open the lock of the root files"))?;
        for _ in 0..LOCK_TRIES_MAX {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(LOCK_PAUSE_MS)),
                Err(TryLockError::Error(error)) => return Err(io("lock the root files")(error)),
            }
        }
        Err(RootFileError::Busy)
    }

    /// The directory is there, and nobody else's. Which one is asked first: a mount point is often open to all, which is no
    /// word on the keys.
    fn check(&self) -> Result<(), RootFileError> {
        let metadata = look_at(&self.path)?;
        self.refuse_another(&metadata)?;
        refuse_if_exposed(&metadata)
    }

    fn refuse_another(&self, found: &Metadata) -> Result<(), RootFileError> {
        if Identity::of(found) == self.identity { Ok(()) } else { Err(RootFileError::Elsewhere) }
    }

    fn path(&self, root: &RootRef) -> PathBuf {
        // A region is a slug and a tenant code hexadecimal, so the name cannot leave the directory.
        self.path.join(format!("{PREFIX}{root}{SUFFIX}"))
    }
}

fn look_at(path: &Path) -> Result<Metadata, RootFileError> {
    std::fs::metadata(path).map_err(io("look at the directory of root files"))
}

fn refuse_if_exposed(metadata: &Metadata) -> Result<(), RootFileError> {
    if metadata.is_dir() && !is_exposed(metadata) {
        Ok(())
    } else {
        Err(RootFileError::Exposed { what: "the directory of root files" })
    }
}

/// Whether group or others have any right.
fn is_exposed(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

fn parse_name(name: &str) -> Option<RootRef> {
    let name = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    match name.split_once('.') {
        None => Some(RootRef::Region(name.parse().ok()?)),
        Some((region, tenant)) => Some(RootRef::Tenant(region.parse().ok()?, tenant.parse().ok()?)),
    }
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> RootFileError {
    move |source| RootFileError::Io { what, source }
}
