//! What is found out about a region's store and the records in it, and what is cleared up there.

use std::error::Error;
use std::time::Duration;

use tracing::{error, info, warn};

use super::super::CircuitState;
use super::chain;
use crate::model::{BlobId, RegionId};

/// A region's store was asked what it really does, and did what a store must. `deleted_kept_s` is how long it keeps what was
/// deleted, where it says so.
pub fn store_probed(
    region: &RegionId,
    create_if_absent: bool,
    whereabouts: &dyn std::fmt::Debug,
    deleted_kept_s: Option<u64>,
) {
    info!(event = "store_probed", %region, create_if_absent, ?whereabouts, ?deleted_kept_s);
}

/// A region's store is not where it must be, or not what it must be: no more writes go there.
pub fn store_adrift(region: &RegionId, error: &dyn Error) {
    error!(event = "store_adrift", %region, error = chain(error));
}

/// The store is where it must be again: writes go on.
pub fn store_back(region: &RegionId) {
    info!(event = "store_back", %region);
}

/// A region's store has quirks that its file does not declare, or lacks some that it does: it was exchanged or upgraded.
pub fn store_quirks_differ(region: &RegionId, quirks: &[&'static str]) {
    warn!(event = "store_quirks_differ", %region, ?quirks);
}

/// A region's store is left alone, tried, or called again.
pub fn store_circuit(region: &RegionId, before: CircuitState, after: CircuitState) {
    let (before, after) = (before.as_str(), after.as_str());
    warn!(event = "store_circuit", %region, before, after);
}

/// A sealed record did not open, or a blob of it is missing. `request` is the id of the request that met it, or names the
/// scrubber's pass and the blob. No name of the record: the audit log has its pseudonyms.
pub fn record_corrupt(request: &str, region: &RegionId, error: &dyn std::error::Error) {
    error!(event = "record_corrupt", request, %region, error = chain(error));
}

/// Blobs that are not in the index, or not of this region, were found in the store. Nothing is wrong with what is served.
pub fn blobs_unknown(region: &RegionId, unknown: u64, elsewhere: u64, foreign_names: u64) {
    warn!(event = "blobs_unknown", %region, unknown, elsewhere, foreign_names);
}

/// A blob says that it was sealed for another region or environment, or is none of ours: somebody else writes into this store.
pub fn blob_elsewhere(region: &RegionId, blob: BlobId, what: &str) {
    error!(event = "blob_elsewhere", %region, %blob, what);
}

/// A pass of the scrubber is over.
pub fn scrub_ended(
    region: &RegionId,
    pass: u64,
    verified: u64,
    damaged: u64,
    unreadable: u64,
    took: Duration,
) {
    info!(event = "scrub_ended", %region, pass, verified, damaged, unreadable, took_s = took.as_secs());
}

/// A pass of the scrubber stopped before its end; it goes on there.
pub fn scrub_interrupted(region: &RegionId, pass: u64, why: &str) {
    warn!(event = "scrub_interrupted", %region, pass, why);
}

/// A pass of the scrubber failed; the next one goes on where it was.
pub fn scrub_failed(region: &RegionId, error: &dyn std::error::Error) {
    warn!(event = "scrub_failed", %region, error = chain(error));
}

/// Blobs of failed writes were left to the scrubber, which will find them unknown. Without a number, nobody counted them.
pub fn debris_left(blobs: Option<usize>, why: &'static str) {
    warn!(event = "debris_left", blobs, why);
}

/// Blobs could not be deleted; they stay queued. `blob` and `error` are the first of them.
pub fn blobs_not_deleted(failed: u64, blob: BlobId, error: &dyn std::error::Error) {
    warn!(event = "blobs_not_deleted", failed, %blob, error = chain(error));
}

/// A round of housekeeping failed; the next one tries again.
pub fn housekeeping_failed(region: &RegionId, error: &dyn std::error::Error) {
    warn!(event = "housekeeping_failed", %region, error = chain(error));
}

/// The number of the last pass could not be noted beside the index, where it would tell that an older index was put back.
pub fn scrub_pass_not_noted(region: &RegionId, error: &std::io::Error) {
    warn!(event = "scrub_pass_not_noted", %region, %error);
}
