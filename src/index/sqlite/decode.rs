//! `SQLite`'s rows as [`Fields`].

use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type, ValueRef};

use crate::index::IndexError;
pub(super) use crate::index::fields::*;

/// The column as `T`; a wrong type is corruption.
pub(super) fn value<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, IndexError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(column).map_err(|_| IndexError::Corrupt { what: column })
}

impl Fields for SqliteRow {
    fn int(&self, column: &'static str) -> Result<i64, IndexError> {
        value(self, column)
    }

    fn blob(&self, column: &'static str) -> Result<&[u8], IndexError> {
        value(self, column)
    }

    fn words(&self, column: &'static str) -> Result<&str, IndexError> {
        value(self, column)
    }

    fn is_null(&self, column: &'static str) -> Result<bool, IndexError> {
        self.try_get_raw(column)
            .map(|value| value.is_null())
            .map_err(|_| IndexError::Corrupt { what: column })
    }
}
