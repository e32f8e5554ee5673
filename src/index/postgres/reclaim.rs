//! The reclaim queue.

use super::row::{blob_ids, number, reason_code, to_signed};
use super::run::{Attempt, Change, Context, Inner};
use super::sql;
use crate::database::Lease;
use crate::index::{DuePosition, IndexError, NewBlob, ReclaimReason, ReclaimRow, answers};
use crate::model::{BlobId, TenantCode, Timestamp};

/// [`crate::index::Index::enqueue_reclaim`].
pub(super) struct Enqueue {
    pub(super) blobs: Vec<BlobId>,
    pub(super) tenant: TenantCode,
    pub(super) due: Timestamp,
    pub(super) reason: ReclaimReason,
}

impl Change for Enqueue {
    type Out = u64;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<u64> {
        let enqueue = sqlx::query(sql::RECLAIM_ENQUEUE)
            .bind(blob_ids(&self.blobs))
            .bind(&self.tenant.as_bytes()[..])
            .bind(to_signed(self.due.millis())?)
            .bind(reason_code(self.reason));
        Ok(Some(lease.write(enqueue).await?))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

/// [`crate::index::Index::forget`].
pub(super) struct Forget {
    pub(super) blobs: Vec<BlobId>,
}

impl Change for Forget {
    type Out = u64;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<u64> {
        Ok(Some(lease.write(sqlx::query(sql::RECLAIM_FORGET).bind(blob_ids(&self.blobs))).await?))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

pub(super) async fn due(inner: &Inner, now: Timestamp, limit: u32) -> Result<Vec<ReclaimRow>, IndexError> {
    let now = to_signed(now.millis())?;
    let rows = inner.rows(|| sqlx::query(sql::RECLAIM_DUE).bind(now).bind(i64::from(limit))).await?;
    rows.iter().map(answers::reclaim).collect()
}

pub(super) async fn due_except(
    inner: &Inner,
    now: Timestamp,
    except: &[TenantCode],
    after: Option<DuePosition>,
    limit: u32,
) -> Result<Vec<ReclaimRow>, IndexError> {
    let now = to_signed(now.millis())?;
    let except: Vec<Vec<u8>> = except.iter().map(|tenant| tenant.as_bytes().to_vec()).collect();
    // Before the first of them: no moment is negative.
    let (due, blob) = match after {
        Some(after) => (to_signed(after.due.millis())?, after.blob.as_bytes().to_vec()),
        None => (-1, Vec::new()),
    };
    let ask = || {
        let ask = sqlx::query(sql::RECLAIM_DUE_EXCEPT).bind(now).bind(i64::from(limit)).bind(except.clone());
        ask.bind(due).bind(blob.clone())
    };
    inner.rows(ask).await?.iter().map(answers::reclaim).collect()
}

pub(super) async fn depth(inner: &Inner) -> Result<u64, IndexError> {
    let row = inner.row(|| sqlx::query(sql::RECLAIM_DEPTH)).await?;
    number(&row.ok_or(IndexError::Corrupt { what: "a count without a row" })?, "count")
}
