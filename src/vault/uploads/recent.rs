//! Rows of open uploads that were read a moment ago: where a part goes is asked before it is decided, and again to seal it.
//!
//! What is remembered of an upload never changes while it is open, and whether it still is open is checked by the commit of the
//! part. A row serves once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::index;
use crate::model::{BucketName, ObjectKey, TenantCode, UploadId};

/// Rows remembered: more parts than that between decision and sealing at one moment cost a round trip each.
const ROWS_MAX: usize = 256;

/// The longest row remembered, sealed bytes: S3's own metadata of at most 2 KiB and our locator fit several times.
const ROW_BYTES_MAX: usize = 16 * 1024;

/// A few rows, the oldest forgotten first.
#[derive(Debug, Default)]
pub(in crate::vault) struct RecentUploads(Mutex<VecDeque<index::Upload>>);

impl RecentUploads {
    /// Remembers a row that was just read.
    pub(super) fn remember(&self, row: &index::Upload) {
        if row.record.len() + row.metadata.len() > ROW_BYTES_MAX {
            return;
        }
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while rows.len() >= ROWS_MAX {
            rows.pop_front();
        }
        rows.push_back(row.clone());
    }

    /// The row of that upload, if it was read a moment ago for the same tenant and under the same key.
    pub(super) fn take(
        &self,
        tenant: TenantCode,
        (bucket, key): (&BucketName, &ObjectKey),
        upload: UploadId,
    ) -> Option<index::Upload> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |row: &index::Upload| {
            row.upload == upload && row.tenant == tenant && row.bucket == *bucket && row.key == *key
        };
        let at = rows.iter().position(is_it)?;
        rows.remove(at)
    }
}
