//! (stub)
use super::*;
use crate::model::*;
use std::{path::PathBuf, sync::Arc};
/// Where and whose.
#[derive(Clone, Debug)]
pub struct FsSettings {
    /// The region the directory belongs to; a directory of another region is refused.
    pub region: RegionId,
    /// The directory. Made, with mode 0700, if it is missing; its parent must exist.
    pub root: PathBuf,
}
/// Blobs of one region in a directory.
#[derive(Debug)]
pub struct FsStore {}
impl FsStore {
    /// Opens the directory, makes its folders, and removes temporary files that a crash left behind.
    pub async fn open(
        _settings: FsSettings,
        _clock: &dyn Clock,
        _entropy: Arc<dyn Entropy>,
    ) -> Result<Self, Error> {
        todo!()
    }
}
