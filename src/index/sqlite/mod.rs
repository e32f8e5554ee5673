//! The embedded index: one `SQLite` file per region, one writer, a few readers.

mod buckets;
mod connect;
mod decode;
mod directory;
mod engine;
mod list;
#[cfg(test)]
mod plans;
mod port;
mod reader;
mod reclaim;
mod scrub;
mod uploads;
mod versions;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Incarnation, IndexError, sql};
use crate::model::{Clock, Entropy, Environment, RegionId};
use crate::telemetry::{IndexVerb, Metrics};
use connect::FileIdentity;
use reader::Readers;
use writer::{Mutation, Queue};

/// Whether a missing database may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It must be there: a path that is wrong must not become an empty region.
    Existing,
    /// It is made if it is not there: first start, tests.
    CreateIfMissing,
}

/// How to open a [`SqliteIndex`].
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file; its `-wal` and `-shm` lie beside it. All get mode 0600.
    pub path: PathBuf,
    /// The region it must belong to.
    pub region: RegionId,
    /// The environment it must belong to.
    pub environment: Environment,
    /// Whether it may be made.
    pub opening: Opening,
    /// How long a blob stays readable after its version is gone: longer than the longest request.
    pub reclaim_delay: Duration,
    /// Connections that read for requests; what the directory is read over has one more.
    pub readers_max: u32,
    /// Changes that may wait; one more is [`super::IndexError::Overloaded`].
    pub queue_max: usize,
    /// Changes in one transaction.
    pub batch_max: usize,
    /// How long to wait for another process's lock.
    pub busy_timeout: Duration,
    /// Buckets of one tenant.
    pub buckets_per_tenant_max: u32,
    /// Open multipart uploads of one tenant.
    pub uploads_per_tenant_max: u32,
    /// Where round trips are counted.
    pub metrics: Arc<Metrics>,
}

impl SqliteOptions {
    /// The usual numbers: 4 readers, 1,024 waiting changes, 256 a transaction, 5 s for a lock, 24 h until a replaced
    /// blob may be deleted, 1,000 buckets and 10,000 open uploads a tenant.
    pub fn new(path: PathBuf, region: RegionId, environment: Environment, opening: Opening) -> Self {
        Self {
            path,
            region,
            environment,
            opening,
            reclaim_delay: Duration::from_hours(24),
            readers_max: 4,
            queue_max: 1024,
            batch_max: 256,
            busy_timeout: Duration::from_secs(5),
            buckets_per_tenant_max: 1000,
            uploads_per_tenant_max: 10_000,
            metrics: Arc::default(),
        }
    }
}

/// A region's index in one `SQLite` file. Several processes may have it open; its lock orders their writers.
#[derive(Debug)]
pub struct SqliteIndex {
    readers: Readers,
    /// One that is the directory's alone: a crowd that holds all the others does not keep a key from being disabled.
    directory: Readers,
    writer: Queue,
    is_closed: AtomicBool,
    incarnation: Incarnation,
    path: PathBuf,
    file: FileIdentity,
    statements: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl SqliteIndex {
    /// Opens the database, makes or migrates its schema, and starts the writer on the current Tokio runtime.
    ///
    /// Errors: [`IndexError::Missing`], [`IndexError::WrongRegion`], [`IndexError::WrongEnvironment`],
    /// [`IndexError::NewerSchema`], [`IndexError::Corrupt`], [`IndexError::Overloaded`] (locked for the whole bounded
    /// wait), [`IndexError::Unavailable`]. Nothing is changed in a database that is not the one asked for.
    pub async fn open(
        options: SqliteOptions,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, IndexError> {
        connect::prepare_file(&options)?;
        let mut conn = connect::connect(&options).await?;
        let incarnation = connect::settle(&mut conn, &options, entropy, clock.now()).await?;
        let file = connect::file_identity(&options.path)?;
        let statements = Arc::new(AtomicU64::new(0));
        let readers = Readers::new(&options, incarnation, Arc::clone(&statements));
        let one = SqliteOptions { readers_max: 1, ..options.clone() };
        let directory = Readers::new(&one, incarnation, Arc::clone(&statements));
        let (path, metrics) = (options.path.clone(), Arc::clone(&options.metrics));
        let writer = writer::start(conn, options, incarnation, Arc::clone(&statements));
        Ok(Self {
            readers,
            directory,
            writer,
            is_closed: AtomicBool::new(false),
            incarnation,
            path,
            file,
            statements,
            metrics,
        })
    }

    /// Statements sent to the engine since the index was opened: what tests of an operation's cost count.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    fn readers(&self) -> Result<&Readers, IndexError> {
        if self.is_closed.load(Ordering::Acquire) { Err(IndexError::Closed) } else { Ok(&self.readers) }
    }

    fn directory(&self) -> Result<&Readers, IndexError> {
        self.readers().map(|_| &self.directory)
    }

    async fn change<M: Mutation>(&self, mutation: M) -> Result<M::Out, IndexError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(IndexError::Closed);
        }
        self.metrics.round_trip(IndexVerb::Write, self.writer.change(mutation)).await
    }

    /// A file that was replaced or removed under us still answers through the open handles: only its name tells.
    async fn check_identity(&self) -> Result<(), IndexError> {
        if connect::file_identity(&self.path)? != self.file {
            return Err(IndexError::Corrupt { what: "the database file was replaced while it was open" });
        }
        let row = self.readers()?.row(sqlx::query(sql::META)).await?;
        let row = row.ok_or(IndexError::Corrupt { what: "the index's identity is missing" })?;
        let incarnation = decode::bytes(&row, "incarnation")?;
        if incarnation[..] == self.incarnation.0 {
            Ok(())
        } else {
            Err(IndexError::Corrupt { what: "the index's identity changed while it was open" })
        }
    }

    async fn shut(&self) {
        self.is_closed.store(true, Ordering::Release);
        // Readers first: the last connection to close is the one that may checkpoint the log.
        self.directory.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}
