//! Root keys in files: for development and for air-gapped sites. Whoever can read the directory has the keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Clock, Entropy};

use super::{RootRef, RootStatus};

/// A KMS in a directory (mode 0700) of files (mode 0600), one per root.
#[derive(Debug)]
pub struct LocalFileKms {}

/// A verb on root files is refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum RootFileError {}

impl LocalFileKms {
    /// Opens the directory, making it if need be; refuses one that others can read. `place` is what reports say.
    pub fn open(
        directory: PathBuf,
        place: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, RootFileError> {
        todo!()
    }

    /// Adds a version to an enabled root; older versions still unwrap. Returns the new version.
    pub fn rotate(&self, root: &RootRef) -> Result<u32, RootFileError> {
        todo!()
    }

    /// Enables a disabled root.
    pub fn enable(&self, root: &RootRef) -> Result<(), RootFileError> {
        todo!()
    }

    /// Disables an enabled root, or cancels its destruction.
    pub fn disable(&self, root: &RootRef) -> Result<(), RootFileError> {
        todo!()
    }

    /// Schedules a root for destruction after `wait`, at least 24 h.
    pub fn schedule_destruction(&self, root: &RootRef, wait: Duration) -> Result<(), RootFileError> {
        todo!()
    }

    /// Destroys a scheduled root whose wait is over. For good.
    pub fn destroy(&self, root: &RootRef) -> Result<(), RootFileError> {
        todo!()
    }

    /// Every root and its state, by name.
    pub fn roots(&self) -> Result<Vec<(RootRef, RootStatus)>, RootFileError> {
        todo!()
    }
}
