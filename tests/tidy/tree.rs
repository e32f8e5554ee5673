//! The checkout as a list of files: what git tracks plus what it would track, so a new file is judged before its commit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// File names with the means to read them; for unit tests, a map.
pub(crate) enum Tree {
    Checkout { root: PathBuf, files: BTreeSet<String> },
    Sample(BTreeMap<String, String>),
}

impl Tree {
    /// The tree this test was compiled from.
    pub(crate) fn of_checkout() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let listing = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(&root)
            .output()
            .expect("the tidy tests need git");
        assert!(listing.status.success(), "the tidy tests need a git checkout");
        let names = String::from_utf8(listing.stdout).expect("file names are UTF-8");
        let files: BTreeSet<String> = names
            .split('\0')
            .filter(|name| !name.is_empty() && root.join(name).is_file())
            .map(str::to_owned)
            .collect();
        assert!(files.contains("Cargo.toml"), "the listing is not of this repository");
        Self::Checkout { root, files }
    }

    pub(crate) fn sample<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self::Sample(files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect())
    }

    pub(crate) fn files(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Checkout { files, .. } => Box::new(files.iter().map(String::as_str)),
            Self::Sample(files) => Box::new(files.keys().map(String::as_str)),
        }
    }

    /// Does a file of this name, or a folder with something in it, exist?
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty()
            || self
                .files()
                .any(|file| file == path || file.strip_prefix(path).is_some_and(|r| r.starts_with('/')))
    }

    /// The file's text; bytes that are not UTF-8 (pictures, vectors) become replacement characters.
    pub(crate) fn text(&self, path: &str) -> String {
        match self {
            Self::Checkout { root, .. } => {
                let bytes = std::fs::read(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Sample(files) => {
                files.get(path).unwrap_or_else(|| panic!("{path}: not in the sample")).clone()
            }
        }
    }

    pub(crate) fn is_executable(&self, path: &str) -> bool {
        match self {
            Self::Checkout { root, .. } => executable(&root.join(path)),
            Self::Sample(files) => files.contains_key(path),
        }
    }

    pub(crate) fn rust_files(&self, under: &str) -> Vec<String> {
        let is_rust = |path: &&str| Path::new(path).extension().is_some_and(|ext| ext == "rs");
        self.files().filter(|path| path.starts_with(under)).filter(is_rust).map(str::to_owned).collect()
    }

    pub(crate) fn documents(&self) -> Vec<String> {
        self.files()
            .filter(|path| Path::new(path).extension().is_some_and(|ext| ext == "md"))
            .map(str::to_owned)
            .collect()
    }

    /// One rule on each of `files`: all its complaints.
    pub(crate) fn each(&self, files: &[String], rule: fn(&str, &str) -> Vec<String>) -> Vec<String> {
        assert!(!files.is_empty(), "a rule that looks at no file proves nothing");
        files.iter().flat_map(|path| rule(path, &self.text(path))).collect()
    }
}

#[cfg(unix)]
fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn executable(path: &Path) -> bool {
    path.is_file()
}
