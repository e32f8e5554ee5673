//! What a region's index, keys, directory, audit log and credentials report.

use std::error::Error;
use std::fmt::Display;

use tracing::{error, info, warn};

use super::chain;
use crate::model::{ClassCode, KekId, RegionId};

/// The audit log failed to commit; requests are answered 503 until it does.
pub fn audit_failed(error: &dyn Error) {
    error!(event = "audit_failed", error = chain(error));
}

/// The audit log commits again.
pub fn audit_recovered() {
    info!(event = "audit_recovered");
}

/// Bytes behind the audit log's last whole record were cut off: a crash left them.
pub fn audit_repaired(bytes: u64) {
    warn!(event = "audit_repaired", bytes);
}

/// Credentials of the store, the index, the key store or the collector were replaced while serving.
pub fn credentials_reloaded(region: &RegionId, by: &'static str) {
    info!(event = "credentials_reloaded", %region, by);
}

/// New credentials of the store, the index, the key store or the collector cannot be read, or may not be used; the ones before stay.
pub fn credentials_kept(region: &RegionId, by: &'static str, error: &dyn Error) {
    error!(event = "credentials_kept", %region, by, error = chain(error));
}

/// The audit log was not closed cleanly. What was acknowledged is durable; the next start looks at its end.
pub fn audit_not_closed(region: &RegionId, error: &dyn Error) {
    error!(event = "audit_not_closed", %region, error = chain(error));
}

/// A schema was brought to `version`.
pub fn schema_migrated(schema: &str, version: u64) {
    info!(event = "schema_migrated", schema, version);
}

/// Whether a commit of the index went through is unknown; who waited for it hears so. Without an error, the engine gave none.
pub fn index_outcome_unknown(error: Option<&dyn Error>) {
    error!(event = "index_outcome_unknown", error = error.map(chain));
}

/// The directory cannot be read. Without an error, it was not read in time.
pub fn directory_failed(error: Option<&dyn Error>) {
    let error = error.map_or_else(|| String::from("not in time"), chain);
    warn!(event = "directory_failed", error);
}

/// The directory can be read again.
pub fn directory_recovered() {
    info!(event = "directory_recovered");
}

/// A row of the directory is corrupt; it is not served.
pub fn directory_row_corrupt(kind: &str, generation: u64) {
    error!(event = "directory_row_corrupt", kind, generation);
}

/// A row of the directory came back that is older than the one already seen; it is passed over.
pub fn directory_row_older(kind: &str, generation: u64) {
    error!(event = "directory_row_older", kind, generation);
}

/// An epoch of a KEK was made.
pub fn kek_made(kek: KekId, epoch: u32, class: ClassCode) {
    info!(event = "kek_made", %kek, epoch, class = class.0);
}

/// A root key's file was changed. `root` is its name, which holds opaque codes only.
pub fn root_changed(root: &dyn Display, verb: &'static str) {
    info!(event = "root_changed", %root, verb);
}

/// The key store has keys under a root that the key service does not have. None is made in its place.
pub fn root_lost(root: &dyn Display) {
    error!(event = "root_lost", %root);
}

/// The key store was not vacuumed after a retirement: the erased key leaves its table when the server sees to that.
pub fn key_store_not_vacuumed(error: &dyn Error) {
    warn!(event = "key_store_not_vacuumed", error = chain(error));
}

/// A region's canary could not be written to its state directory. The key store has it.
pub fn canary_not_written(region: &RegionId, error: &std::io::Error) {
    warn!(event = "canary_not_written", %region, %error);
}
