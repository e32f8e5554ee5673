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
