//! The reclaim queue, and what the scrubber, the report and a key's retirement ask.

use sqlx::AssertSqlSafe;

use super::decode::{id, number, reason_code, to_signed, value};
use super::reader::Readers;
use super::writer::{Mutation, Tx};
use crate::index::answers;
use crate::index::{BlobStanding, Counter, DuePosition, IndexError, ReclaimReason, ReclaimRow, sql};
use crate::model::{BlobId, KekId, TenantCode, Timestamp};

/// [`crate::index::Index::enqueue_reclaim`].
pub(super) struct Enqueue {
    pub(super) blobs: Vec<BlobId>,
    pub(super) tenant: TenantCode,
    pub(super) due: Timestamp,
    pub(super) reason: ReclaimReason,
}

impl Mutation for Enqueue {
    type Out = u64;

    async fn apply(self, tx: &mut Tx) -> Result<u64, IndexError> {
        let due = to_signed(self.due.millis())?;
        let mut queued = 0;
        for blob in &self.blobs {
            let insert = sqlx::query(sql::RECLAIM_INSERT)
                .bind(&blob.as_bytes()[..])
                .bind(&self.tenant.as_bytes()[..])
                .bind(due)
                .bind(reason_code(self.reason));
            queued += tx.write(insert).await?;
        }
        Ok(queued)
    }
}

/// [`crate::index::Index::forget`].
pub(super) struct Forget {
    pub(super) blobs: Vec<BlobId>,
}

impl Mutation for Forget {
    type Out = u64;

    async fn apply(self, tx: &mut Tx) -> Result<u64, IndexError> {
        let mut forgotten = 0;
        for blob in &self.blobs {
            forgotten += tx.write(sqlx::query(sql::RECLAIM_FORGET).bind(&blob.as_bytes()[..])).await?;
        }
        Ok(forgotten)
    }
}

pub(super) async fn due(
    readers: &Readers,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<ReclaimRow>, IndexError> {
    let query = sqlx::query(sql::RECLAIM_DUE).bind(to_signed(now.millis())?).bind(i64::from(limit));
    readers.rows(query).await?.iter().map(answers::reclaim).collect()
}

/// What is due behind a place in the order, as one walk of the index.
pub(super) const DUE_AFTER: &str = "SELECT blob_id, tenant, due_ms, reason FROM reclaim WHERE due_ms <= $1 \
    AND (due_ms, blob_id) > ($3, $4) ORDER BY due_ms, blob_id LIMIT $2";

pub(super) async fn due_except(
    readers: &Readers,
    now: Timestamp,
    except: &[TenantCode],
    after: Option<DuePosition>,
    limit: u32,
) -> Result<Vec<ReclaimRow>, IndexError> {
    let query = if except.is_empty() {
        sqlx::query(DUE_AFTER)
    } else {
        let list = (5..5 + except.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(",");
        // Only parameter names are pasted in.
        let statement = format!(
            "SELECT blob_id, tenant, due_ms, reason FROM reclaim WHERE due_ms <= $1 \
             AND (due_ms, blob_id) > ($3, $4) AND tenant NOT IN ({list}) ORDER BY due_ms, blob_id LIMIT $2"
        );
        sqlx::query(AssertSqlSafe(statement)).persistent(false)
    };
    // Before the first of them: no moment is negative.
    let (due, blob) = match after {
        Some(after) => (to_signed(after.due.millis())?, after.blob.as_bytes().to_vec()),
        None => (-1, Vec::new()),
    };
    let mut query = query.bind(to_signed(now.millis())?).bind(i64::from(limit)).bind(due).bind(blob);
    for tenant in except {
        query = query.bind(&tenant.as_bytes()[..]);
    }
    readers.rows(query).await?.iter().map(answers::reclaim).collect()
}

async fn count(readers: &Readers, query: super::writer::Statement<'_>) -> Result<u64, IndexError> {
    let row = readers.row(query).await?.ok_or(IndexError::Corrupt { what: "a count without a row" })?;
    number(&row, "count")
}

pub(super) async fn depth(readers: &Readers) -> Result<u64, IndexError> {
    count(readers, sqlx::query(sql::RECLAIM_DEPTH)).await
}

pub(super) async fn kek_use(readers: &Readers, kek: KekId, epoch: u32) -> Result<u64, IndexError> {
    count(readers, sqlx::query(sql::KEK_USE).bind(&kek.as_bytes()[..]).bind(i64::from(epoch))).await
}

pub(super) async fn counters(readers: &Readers, tenant: TenantCode) -> Result<Vec<Counter>, IndexError> {
    let query = sqlx::query(sql::COUNTERS).bind(&tenant.as_bytes()[..]);
    readers.rows(query).await?.iter().map(answers::counter).collect()
}

/// One statement for both tables: between two, a blob could move from one to the other and be seen in neither.
pub(super) async fn standing(readers: &Readers, blobs: &[BlobId]) -> Result<Vec<BlobStanding>, IndexError> {
    if blobs.is_empty() {
        return Ok(Vec::new());
    }
    let list = (1..=blobs.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(",");
    // Only parameter names are pasted in.
    let statement = format!(
        "SELECT blob_id, 1 AS live FROM blobs WHERE blob_id IN ({list}) \
         UNION ALL SELECT blob_id, 0 AS live FROM reclaim WHERE blob_id IN ({list})"
    );
    let mut query = sqlx::query(AssertSqlSafe(statement)).persistent(false);
    for blob in blobs {
        query = query.bind(&blob.as_bytes()[..]);
    }
    let mut known = std::collections::HashMap::new();
    for row in &readers.rows(query).await? {
        let is_live = value::<i64>(row, "live")? == 1;
        known.insert(
            id::<BlobId>(row, "blob_id")?,
            if is_live { BlobStanding::Live } else { BlobStanding::Reclaiming },
        );
    }
    Ok(blobs.iter().map(|blob| known.get(blob).copied().unwrap_or(BlobStanding::Unknown)).collect())
}
