//! The directory's rows: compare-and-set by generation, and one number that says whether anything changed.

use bytes::Bytes;

use super::row::{self, bytes, is_absent, number, to_signed};
use super::run::{Attempt, Change, Context, Inner};
use super::sql;
use crate::database::Lease;
use crate::index::sql as shared;
use crate::index::{DirectoryRow, IndexError, NewBlob, PutRow};

/// [`crate::index::Index::put_row`].
pub(super) struct Put {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) expected: u64,
    pub(super) sealed: Bytes,
}

impl Change for Put {
    type Out = PutRow;

    async fn attempt(&mut self, lease: &mut Lease, _: Context) -> Attempt<PutRow> {
        let put = sqlx::query(sql::ROW_PUT)
            .bind(&self.kind)
            .bind(&self.id)
            .bind(to_signed(self.expected)?)
            .bind(&self.sealed[..]);
        let row = lease.row(put).await?.ok_or(IndexError::Corrupt { what: "an answer without a row" })?;
        if !is_absent(&row, "change")? {
            let change = number(&row, "change")?;
            return Ok(Some(PutRow::Stored { generation: self.expected + 1, change }));
        }
        let (found, sealed) = if is_absent(&row, "generation")? {
            (0, Bytes::new())
        } else {
            (number(&row, "generation")?, bytes(&row, "sealed")?)
        };
        Ok((found != self.expected).then_some(PutRow::Conflict { generation: found, sealed }))
    }

    fn blobs(&self) -> &[NewBlob] {
        &[]
    }
}

pub(super) async fn row(inner: &Inner, kind: &str, id: &str) -> Result<Option<DirectoryRow>, IndexError> {
    let row = inner.row(|| sqlx::query(shared::ROW).bind(kind).bind(id)).await?;
    row.as_ref().map(row::directory).transpose()
}

pub(super) async fn rows(inner: &Inner, kind: &str) -> Result<Vec<DirectoryRow>, IndexError> {
    inner.rows(|| sqlx::query(shared::ROWS).bind(kind)).await?.iter().map(row::directory).collect()
}

pub(super) async fn changed(inner: &Inner, after: u64, limit: u32) -> Result<Vec<DirectoryRow>, IndexError> {
    let after = to_signed(after)?;
    let ask = || sqlx::query(shared::ROWS_CHANGED).bind(after).bind(i64::from(limit));
    let rows = inner.directory_rows(ask).await?;
    rows.iter().map(row::directory).collect()
}

pub(super) async fn change(inner: &Inner) -> Result<u64, IndexError> {
    let rows = inner.directory_rows(|| sqlx::query(sql::DIRECTORY_CHANGE)).await?;
    let row = rows.first().ok_or(IndexError::Corrupt { what: "the directory's change number is missing" })?;
    number(row, "value")
}
