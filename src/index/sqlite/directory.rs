//! The directory's rows: compare-and-set by generation, and one number that says whether anything changed.

use bytes::Bytes;

use super::decode::{bytes, directory, number, to_signed};
use super::reader::Readers;
use super::writer::{Mutation, Tx};
use crate::index::{DirectoryRow, IndexError, PutRow, sql};

/// [`crate::index::Index::put_row`].
pub(super) struct Put {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) expected: u64,
    pub(super) sealed: Bytes,
}

impl Mutation for Put {
    type Out = PutRow;

    async fn apply(self, tx: &mut Tx) -> Result<PutRow, IndexError> {
        let found = tx.row(sqlx::query(sql::ROW).bind(&self.kind).bind(&self.id)).await?;
        let (found, sealed) = match &found {
            Some(row) => (number(row, "generation")?, bytes(row, "sealed")?),
            None => (0, Bytes::new()),
        };
        if found != self.expected {
            return Ok(PutRow::Conflict { generation: found, sealed });
        }
        let (generation, change) = (found + 1, tx.next_directory_change());
        let upsert = sqlx::query(sql::ROW_UPSERT)
            .bind(&self.kind)
            .bind(&self.id)
            .bind(to_signed(generation)?)
            .bind(to_signed(change)?)
            .bind(&self.sealed[..]);
        tx.write_one(upsert, "a directory row was not written").await?;
        Ok(PutRow::Stored { generation, change })
    }
}

pub(super) async fn row(readers: &Readers, kind: &str, id: &str) -> Result<Option<DirectoryRow>, IndexError> {
    readers.row(sqlx::query(sql::ROW).bind(kind).bind(id)).await?.as_ref().map(directory).transpose()
}

pub(super) async fn rows(readers: &Readers, kind: &str) -> Result<Vec<DirectoryRow>, IndexError> {
    readers.rows(sqlx::query(sql::ROWS).bind(kind)).await?.iter().map(directory).collect()
}

pub(super) async fn changed(
    readers: &Readers,
    after: u64,
    limit: u32,
) -> Result<Vec<DirectoryRow>, IndexError> {
    let query = sqlx::query(sql::ROWS_CHANGED).bind(to_signed(after)?).bind(i64::from(limit));
    readers.rows(query).await?.iter().map(directory).collect()
}

pub(super) async fn change(readers: &Readers) -> Result<u64, IndexError> {
    let row = readers
        .row(sqlx::query(sql::DIRECTORY_CHANGE))
        .await?
        .ok_or(IndexError::Corrupt { what: "the directory's change number is missing" })?;
    number(&row, "value")
}
