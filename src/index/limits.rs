//! The rules of an operation that every implementation checks before it asks its engine.

use bytes::Bytes;

use super::{
    BLOB_IDS_MAX, BLOBS_PER_COMMIT_MAX, IndexError, NewBlob, NewVersion, PAGE_MAX, PART_NUMBER_MAX,
    RECORD_BYTES_MAX,
};
use crate::model::BlobId;

pub(in crate::index) fn check(is_kept: bool, rule: &'static str) -> Result<(), IndexError> {
    if is_kept { Ok(()) } else { Err(IndexError::Invalid { rule }) }
}

pub(in crate::index) fn check_page(limit: u16) -> Result<(), IndexError> {
    check(limit <= PAGE_MAX, "must ask for at most 1000 entries")
}

pub(in crate::index) fn check_record(record: &Bytes) -> Result<(), IndexError> {
    check(record.len() <= RECORD_BYTES_MAX, "must keep sealed records within 4 MiB")
}

pub(in crate::index) fn check_blobs(blobs: &[NewBlob]) -> Result<(), IndexError> {
    check(blobs.len() <= BLOBS_PER_COMMIT_MAX, "must name at most 10240 blobs")
}

pub(in crate::index) fn check_blob_ids(blobs: &[BlobId]) -> Result<(), IndexError> {
    check(blobs.len() <= BLOB_IDS_MAX, "must name at most 10240 blobs")
}

pub(in crate::index) fn check_version(new: &NewVersion) -> Result<(), IndexError> {
    check_record(&new.record)?;
    check_blobs(&new.blobs)
}

pub(in crate::index) fn check_part_numbers(numbers: impl IntoIterator<Item = u16>) -> Result<(), IndexError> {
    let is_valid = |number| (1..=PART_NUMBER_MAX).contains(&number);
    check(numbers.into_iter().all(is_valid), "must have part numbers from 1 to 10000")
}
