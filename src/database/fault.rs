//! What went wrong with a statement, sorted by what a caller may conclude from it.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// A statement that did not do what it should. Holds no values of rows: the server's details quote them, so only its error
/// code and primary message are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The statement was sent and no answer came. A change may or may not have happened.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The statement was sent and the server is silent. The same as [`Lost`](Self::Lost), but asking again would only wait again.
    #[error("the database did not answer in time")]
    Silent,
    /// There was no connection to send it over, or its transaction was never committed. Nothing happened.
    #[error("no connection to the database: {0}")]
    Unreachable(String),
    /// Another transaction stood in the way (40001, 40P01). Nothing happened; the same may succeed now.
    #[error("the database asks to try again ({0})")]
    TryAgain(String),
    /// A value that must be unique is there already (23505). Nothing happened.
    #[error("a value is not unique, by {0}")]
    Unique(String),
    /// What a row refers to is not there, or still referred to (23503). Nothing happened.
    #[error("a reference is broken, by {0}")]
    Reference(String),
    /// A rule of the schema is broken (23502, 23514). Nothing happened.
    #[error("a rule of the schema is broken, by {0}")]
    Rule(String),
    /// The database is slower than its statements may be, or has no room. Nothing happened.
    #[error("the database is overloaded: {0}")]
    Overloaded(&'static str),
    /// Anything else that the server refuses. Nothing happened.
    #[error("the database refuses with {code}: {message}")]
    Refused {
        /// SQLSTATE (`PostgreSQL` documentation, appendix A).
        code: String,
        /// The server's primary message.
        message: String,
    },
    /// The pool was closed.
    #[error("the connections are closed")]
    Closed,
}

impl Fault {
    /// What the library's error is to us.
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_database(&**error),
            // Their words name kinds of trouble and places, no values.
            sqlx::Error::Io(error) => Self::Lost(error.kind().to_string()),
            sqlx::Error::Tls(_) => Self::Lost(String::from("TLS")),
            sqlx::Error::Protocol(_) => Self::Lost(String::from("what came is no answer")),
            other => Self::Refused { code: String::from("client"), message: kind(other).to_owned() },
        }
    }

    fn of_database(error: &dyn DatabaseError) -> Self {
        let code = error.code().unwrap_or_default().into_owned();
        let constraint = || error.constraint().unwrap_or("a constraint").to_owned();
        match code.as_str() {
            "40001" | "40P01" => Self::TryAgain(code),
            "23505" => Self::Unique(constraint()),
            "23503" => Self::Reference(constraint()),
            "23502" | "23514" => Self::Rule(constraint()),
            "57014" => Self::Overloaded("a statement took longer than it may"),
            "55P03" => Self::Overloaded("a lock was not free in time"),
            "53300" => Self::Overloaded("the server has no more connections"),
            // The server is going away: what it was doing may have been done.
            "57P01" | "57P02" | "57P05" => Self::Lost(code),
            "57P03" => Self::Unreachable(code),
            _ if code.starts_with("08") => Self::Lost(code),
            _ => Self::Refused { code, message: error.message().to_owned() },
        }
    }

    /// Whether a server that was only connected to may not take us for who we say we are: class 28 (invalid authorization), 42501
    /// (no right to connect), and what a pooler in front of it, or TLS, says of the same.
    pub(super) fn refuses_us(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.starts_with("28") || code == "42501",
            Self::Unreachable(why) | Self::Lost(why) => why == "TLS" || why == "08P01",
            _ => false,
        }
    }

    /// Whether the connection is of no further use.
    pub(super) fn ends_connection(&self, error: &sqlx::Error) -> bool {
        let is_fatal = match error {
            sqlx::Error::Database(error) => error
                .try_downcast_ref::<PgDatabaseError>()
                .is_none_or(|error| error.severity() != sqlx::postgres::PgSeverity::Error),
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => false,
            _ => true,
        };
        is_fatal || matches!(self, Self::Lost(_) | Self::Silent | Self::Unreachable(_))
    }
}

fn kind(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Configuration(_) => "the connection's settings",
        sqlx::Error::Encode(_) => "a value cannot be sent",
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => "a value cannot be read",
        sqlx::Error::RowNotFound => "a row is missing",
        _ => "the driver failed",
    }
}
