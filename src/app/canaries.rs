//! Canaries between fleets: a region writes its own beside its data, operators carry it into the folders of the others, and a
//! process that can open one of those does not start.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::keys::{Canary, InvalidCanary};
use crate::telemetry::event;

use super::{Site, SiteError};

/// How the files' names end.
const EXTENSION: &str = "canary";
/// A canary has at most 2 × 4,096 hexadecimal digits, two names and two numbers.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Fleets of one operator.
const COUNT_MAX: usize = 1_000;

/// Why the canaries of others cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The folder or a file in it cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is something else, or was cut off.
    #[error("{} is not a canary", path.display())]
    NotOne {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: InvalidCanary,
    },
    /// Nothing to compare with: a folder that was misspelt or not mounted must not look like one that was checked.
    #[error("{} holds no file *.canary: put the other regions' there, or leave out foreign-canaries", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// More than anybody has.
    #[error("{} holds more than {count_max} canaries", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The limit.
        count_max: usize,
    },
}

/// The canaries in a folder, each a file of one line.
pub fn read_canaries(folder: &Path) -> Result<Vec<Canary>, CanaryError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CanaryError::Read { path, source }
    };
    let mut canaries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_none_or(|end| end != EXTENSION) {
            continue;
        }
        if canaries.len() == COUNT_MAX {
            return Err(CanaryError::TooMany { path: folder.to_owned(), count_max: COUNT_MAX });
        }
        let mut text = String::new();
        let file = std::fs::File::open(&path).map_err(failed(&path))?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed(&path))?;
        canaries.push(text.trim_end().parse().map_err(|source| CanaryError::NotOne { path, source })?);
    }
    if canaries.is_empty() {
        return Err(CanaryError::Empty { path: folder.to_owned() });
    }
    Ok(canaries)
}

/// Writes a region's own into its state directory, for operators to carry. What fails is only said: the region has its canary
/// in the key store, and serves.
pub(super) fn write(state: &Path, own: &Canary) {
    if let Err(error) = try_write(state, own) {
        event::canary_not_written(&own.region, &error);
    }
}

fn try_write(state: &Path, own: &Canary) -> io::Result<()> {
    let path = state.join(format!("{}.{}.{EXTENSION}", own.environment, own.region));
    let text = format!("{own}\n");
    if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    // Proxy and command line may do it at once: each has a draft of its own.
    let draft = state.join(format!(".canary-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
    written?.write_all(text.as_bytes())?;
    std::fs::rename(&draft, &path)
}

/// Refuses a region whose keys open another's of the same process, or the other way round.
pub(super) async fn refuse_shared_keys(sites: &[Arc<Site>], new: &Site) -> Result<(), SiteError> {
    for site in sites {
        site.ring().refuse_foreign(new.ring().canary()).await?;
        new.ring().refuse_foreign(site.ring().canary()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Wrapped;
    use crate::model::KekId;

    fn canary(region: &str) -> Canary {
        Canary {
            environment: "prod".parse().unwrap(),
            region: region.parse().unwrap(),
            id: KekId::from_bytes([1; 16]),
            wrapped: Wrapped { root_version: 1, bytes: vec![7; Wrapped::BYTES_MAX] },
        }
    }

    #[test]
    fn a_canary_is_read_as_written_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read_canaries(folder.path()), Err(CanaryError::Empty { .. })));
        assert!(matches!(read_canaries(&folder.path().join("none")), Err(CanaryError::Read { .. })));
        for _ in 0..2 {
            write(folder.path(), &canary("us"));
        }
        write(folder.path(), &canary("fr"));
        std::fs::write(folder.path().join("README"), "not one of them").unwrap();
        let mut found = read_canaries(folder.path()).unwrap();
        found.sort_by_key(|canary| canary.region.clone());
        assert_eq!(found, [canary("fr"), canary("us")]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "no drafts are left");
        let text = canary("us").to_string();
        for bad in [&text[..40], "", &text.repeat(2)] {
            std::fs::write(folder.path().join("bad.canary"), bad).unwrap();
            assert!(matches!(read_canaries(folder.path()), Err(CanaryError::NotOne { .. })), "{bad}");
        }
    }
}
