//! What the scrubber, the report, a key's retirement and the health check ask.

use std::collections::HashMap;

use super::row::{Fields, blob_ids, id, number};
use super::run::Inner;
use super::sql;
use crate::index::sql as shared;
use crate::index::{BlobStanding, Counter, Incarnation, IndexError, answers};
use crate::model::{BlobId, KekId, TenantCode};

pub(super) async fn counters(inner: &Inner, tenant: TenantCode) -> Result<Vec<Counter>, IndexError> {
    let rows = inner.rows(|| sqlx::query(sql::COUNTERS).bind(tenant.as_bytes().to_vec())).await?;
    rows.iter().map(answers::counter).collect()
}

pub(super) async fn kek_use(inner: &Inner, kek: KekId, epoch: u32) -> Result<u64, IndexError> {
    let ask = || sqlx::query(shared::KEK_USE).bind(kek.as_bytes().to_vec()).bind(i64::from(epoch));
    number(&inner.row(ask).await?.ok_or(IndexError::Corrupt { what: "a count without a row" })?, "count")
}

pub(super) async fn standing(inner: &Inner, blobs: &[BlobId]) -> Result<Vec<BlobStanding>, IndexError> {
    if blobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = HashMap::new();
    for row in &inner.rows(|| sqlx::query(sql::STANDING).bind(blob_ids(blobs))).await? {
        let is_live = row.int("live")? == 1;
        let standing = if is_live { BlobStanding::Live } else { BlobStanding::Reclaiming };
        known.insert(id::<BlobId>(row, "blob_id")?, standing);
    }
    Ok(blobs.iter().map(|blob| known.get(blob).copied().unwrap_or(BlobStanding::Unknown)).collect())
}

/// Whether the database answers, takes writes, and is the one that was opened.
pub(super) async fn health(inner: &Inner, life: Incarnation) -> Result<(), IndexError> {
    let row = inner.row(|| sqlx::query(sql::HEALTH)).await?;
    let row = row.ok_or(IndexError::Corrupt { what: "the index's identity is missing" })?;
    if row.words("incarnation")? != hex::encode(life.0) {
        return Err(IndexError::Corrupt { what: "the index's identity changed while it was open" });
    }
    if row.words("read_only")? != "off" {
        let source = "the database takes no writes".into();
        return Err(IndexError::Unavailable { what: "looking after the database", source });
    }
    Ok(())
}
