//! The read connections. Each question is one statement, so it sees one moment of the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqlitePoolOptions, SqliteRow};

use super::SqliteOptions;
use super::connect::{check_life, connect_options};
use super::engine::translate;
use super::writer::Statement;
use crate::index::{Incarnation, IndexError};
use crate::telemetry::{IndexVerb, Metrics};

/// A few connections that may only read.
#[derive(Debug)]
pub(super) struct Readers {
    pool: SqlitePool,
    statements: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl Readers {
    /// Opens them as they are needed.
    pub(super) fn new(options: &SqliteOptions, life: Incarnation, statements: Arc<AtomicU64>) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(options.readers_max)
            .acquire_timeout(options.busy_timeout)
            // A connection to a local file does not go stale; looking every time would double the cost of a lookup.
            .test_before_acquire(false)
            .idle_timeout(None::<Duration>)
            .max_lifetime(None::<Duration>)
            .after_connect(move |conn, _| {
                Box::pin(async move {
                    check_life(conn, life).await.map_err(|error| sqlx::Error::Configuration(Box::new(error)))
                })
            })
            .connect_lazy_with(connect_options(options).pragma("query_only", "on"));
        Self { pool, statements, metrics: Arc::clone(&options.metrics) }
    }

    /// The one row that a statement finds, if any.
    pub(super) async fn row(&self, statement: Statement<'_>) -> Result<Option<SqliteRow>, IndexError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let answer = self.metrics.round_trip(IndexVerb::Read, statement.fetch_optional(&self.pool));
        answer.await.map_err(|error| translate(error, "reading"))
    }

    /// All rows that a statement finds.
    pub(super) async fn rows(&self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, IndexError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let answer = self.metrics.round_trip(IndexVerb::Read, statement.fetch_all(&self.pool));
        answer.await.map_err(|error| translate(error, "reading"))
    }

    /// Waits for the questions under way, then closes.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Opening, SqliteIndex, SqliteOptions};
    use crate::index::{Index, IndexError};
    use crate::model::{ManualClock, SystemEntropy, Timestamp};
    use std::time::Duration;

    #[tokio::test]
    async fn the_directory_is_read_while_every_connection_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (region, environment) = ("fr".parse().unwrap(), "test".parse().unwrap());
        let path = folder.path().join("index.db");
        let options = SqliteOptions {
            readers_max: 2,
            busy_timeout: Duration::from_millis(200),
            ..SqliteOptions::new(path, region, environment, Opening::CreateIfMissing)
        };
        let clock = ManualClock::at(Timestamp::from_seconds(1));
        let index = SqliteIndex::open(options, &clock, &SystemEntropy).await.unwrap();
        index.put_row("tenant", "one", 0, bytes::Bytes::from_static(b"sealed")).await.unwrap();
        let pool = &index.readers.pool;
        let taken = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        assert_ne!(index.directory_change().await.unwrap(), 0);
        assert_eq!(index.rows_changed(0, 10).await.unwrap().len(), 1);
        let refused = index.row("tenant", "one").await.map(|_| ());
        assert!(matches!(refused, Err(IndexError::Overloaded { .. })), "the others are taken: {refused:?}");
        drop(taken);
        index.row("tenant", "one").await.unwrap();
        index.close().await;
        assert!(matches!(index.directory_change().await, Err(IndexError::Closed)));
    }
}
