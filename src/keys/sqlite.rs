//! The key store in a SQLite file of its own.

use std::path::Path;

use super::StoreError;

/// `keystore.sqlite`: mode 0600, WAL, full sync. Several processes may have it open.
#[derive(Debug)]
pub struct SqliteKeyStore {}

impl SqliteKeyStore {
    /// Opens the file, making it and its schema if there is none; refuses one that others can read.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// Waits for what is being written and closes.
    pub async fn close(&self) {
        todo!()
    }
}
