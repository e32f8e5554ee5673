//! The embedded index: one `SQLite` file per region, one writer, a few readers.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Environment, RegionId};

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
    /// Connections that read.
    pub readers_max: u32,
    /// Changes that may wait; one more is [`super::IndexError::Overloaded`].
    pub queue_max: usize,
    /// Changes in one transaction.
    pub batch_max: usize,
    /// How long to wait for another process's lock.
    pub busy_timeout: Duration,
    /// Buckets of one tenant.
    pub buckets_per_tenant_max: u32,
}

impl SqliteOptions {
    /// The usual numbers: 4 readers, 1,024 waiting changes, 256 a transaction, 5 s for a lock, 24 h until a replaced
    /// blob may be deleted, 1,000 buckets a tenant.
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
        }
    }
}
