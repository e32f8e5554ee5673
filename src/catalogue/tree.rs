//! The files of a catalogue, read whole and bounded: the only I/O of the module.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ContentHash, embedded};

/// The largest region or register file, in bytes. The shipped ones are under 8 KiB; more is a mistake or an attack.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The most files of one folder. There are about two hundred countries.
const FILES_MAX: usize = 1024;

/// Where a catalogue comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The one that was built into this binary.
    Embedded,
    /// A folder of region files with a folder `register` in it.
    Directory(PathBuf),
}

/// Why the files of a catalogue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A folder could not be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read, or is not UTF-8.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any region needs.
    #[error("{} holds more than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A folder holds more files than there can be regions.
    #[error("{} holds more than {FILES_MAX} files", path.display())]
    TooMany {
        /// Which.
        path: PathBuf,
    },
}

/// One file of a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Its path under the catalogue's folder, with `/`.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// Every file of a catalogue, by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    origin: String,
    files: Vec<File>,
}

impl Tree {
    /// Reads the files of `source`.
    pub fn read(source: &Source) -> Result<Self, TreeError> {
        match source {
            Source::Embedded => Ok(Self::embedded()),
            Source::Directory(directory) => Self::read_directory(directory),
        }
    }

    /// The files that were built into this binary.
    pub fn embedded() -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Self::of("regions (embedded)", embedded::FILES.iter().map(file).collect())
    }

    /// A tree of these files, called `origin` in findings.
    pub fn of(origin: &str, mut files: Vec<File>) -> Self {
        files.sort();
        Self { origin: origin.to_owned(), files }
    }

    /// What findings call the catalogue's folder.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Every file, by path.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    pub(super) fn hash(&self) -> ContentHash {
        hash(self.files.iter())
    }

    pub(super) fn register_hash(&self) -> ContentHash {
        hash(self.files.iter().filter(|file| file.path.starts_with("register/")))
    }

    fn read_directory(directory: &Path) -> Result<Self, TreeError> {
        let mut files = read_folder(directory, "")?;
        let register = directory.join("register");
        if register.is_dir() {
            files.extend(read_folder(&register, "register/")?);
        }
        Ok(Self::of(&directory.display().to_string(), files))
    }
}

/// The TOML files of one folder. What starts with a dot is a file manager's or a mounted volume's business; everything else that
/// is not TOML is prose.
fn read_folder(folder: &Path, prefix: &str) -> Result<Vec<File>, TreeError> {
    let list = |source| TreeError::List { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for (count, entry) in fs::read_dir(folder).map_err(list)?.enumerate() {
        if count >= FILES_MAX {
            return Err(TreeError::TooMany { path: folder.to_owned() });
        }
        let name = entry.map_err(list)?.file_name();
        let is_toml =
            |name: &&str| !name.starts_with('.') && Path::new(name).extension().is_some_and(|e| e == "toml");
        let Some(name) = name.to_str().filter(is_toml) else { continue };
        let path = folder.join(name);
        let read = |source| TreeError::Read { path: path.clone(), source };
        if fs::metadata(&path).map_err(read)?.len() > FILE_BYTES_MAX {
            return Err(TreeError::TooLarge { path });
        }
        files.push(File { path: format!("{prefix}{name}"), text: fs::read_to_string(&path).map_err(read)? });
    }
    Ok(files)
}

/// Length before content, so that moving a byte from one file to the next is a different catalogue.
fn hash<'a>(files: impl Iterator<Item = &'a File>) -> ContentHash {
    let mut hasher = Sha256::new();
    for part in files.flat_map(|file| [&file.path, &file.text]) {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    ContentHash(hasher.finalize().into())
}
