//! sqlx's errors as ours.

use sqlx::error::ErrorKind;

use crate::index::IndexError;

/// Primary result codes, the low byte of what `SQLite` answers (sqlite.org/rescode.html).
const SQLITE_BUSY: i64 = 5;
const SQLITE_LOCKED: i64 = 6;
const SQLITE_CORRUPT: i64 = 11;
const SQLITE_NOTADB: i64 = 26;

/// What `error` means to a caller who was doing `what`. Constraint violations are local to one change; everything
/// unavailable or overloaded spoils the transaction.
pub(super) fn translate(error: sqlx::Error, what: &'static str) -> IndexError {
    match &error {
        sqlx::Error::PoolTimedOut => {
            return IndexError::Overloaded { what: "no read connection was free, or none could be made" };
        }
        sqlx::Error::PoolClosed => return IndexError::Closed,
        sqlx::Error::Database(database) => {
            match database.kind() {
                ErrorKind::UniqueViolation => {
                    return IndexError::Invalid { rule: "must use identifiers that were not used before" };
                }
                ErrorKind::ForeignKeyViolation | ErrorKind::NotNullViolation | ErrorKind::CheckViolation => {
                    return IndexError::Corrupt { what: "a constraint of the schema" };
                }
                _ => {}
            }
            let code = database.code().and_then(|code| code.parse::<i64>().ok()).unwrap_or_default();
            match code & 0xff {
                SQLITE_BUSY | SQLITE_LOCKED => {
                    return IndexError::Overloaded { what: "the database stayed locked" };
                }
                SQLITE_CORRUPT | SQLITE_NOTADB => return IndexError::Corrupt { what: "the database file" },
                _ => {}
            }
        }
        _ => {}
    }
    IndexError::Unavailable { what, source: Box::new(error) }
}
