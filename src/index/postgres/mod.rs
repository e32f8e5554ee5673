//! The index in `PostgreSQL`: any number of replicas on one database, none of which remembers anything.

mod buckets;
mod directory;
mod open;
mod port;
mod questions;
mod reclaim;
mod row;
mod run;
mod scrub;
mod sql;
mod uploads;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use super::{Incarnation, IndexError};
use crate::database::{self, Address, Migration, PoolSettings};
use crate::identity::Identity;
use crate::model::{Clock, Entropy, Environment, RegionId};
use crate::telemetry::Metrics;
use run::Inner;

use super::sqlite::Opening;

/// The schema that holds the index's tables: apart from whatever else the database holds.
pub const INDEX_SCHEMA: &str = "terroir_index";

/// How to open a [`PostgresIndex`].
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Where the database is, and who we are to it.
    pub address: Identity<Address>,
    /// The region it must belong to.
    pub region: RegionId,
    /// The environment it must belong to.
    pub environment: Environment,
    /// Whether the schema may be made.
    pub opening: Opening,
    /// How long a blob stays readable after its version is gone: longer than the longest request.
    pub reclaim_delay: Duration,
    /// Connections of requests (what the directory is read over has one more), and how long everything may take.
    pub pool: PoolSettings,
    /// Buckets of one tenant.
    pub buckets_per_tenant_max: u32,
    /// Open multipart uploads of one tenant.
    pub uploads_per_tenant_max: u32,
    /// How often a change is tried again when others change the same thing, or the database asks for it.
    pub attempts_max: u32,
    /// Where round trips are counted.
    pub metrics: Arc<Metrics>,
    /// Steps that a later release would add: how tests play that release.
    pub later: &'static [Migration],
}

impl PostgresOptions {
    /// The usual numbers: those of [`PoolSettings::new`], 24 h until a replaced blob may be deleted, 1,000 buckets and 10,000 open
    /// uploads a tenant, 64 attempts (of writers who race for one key, one wins each round).
    pub fn new(
        address: impl Into<Identity<Address>>,
        region: RegionId,
        environment: Environment,
        opening: Opening,
    ) -> Self {
        Self {
            address: address.into(),
            region,
            environment,
            opening,
            reclaim_delay: Duration::from_hours(24),
            pool: PoolSettings::new(INDEX_SCHEMA),
            buckets_per_tenant_max: 1000,
            uploads_per_tenant_max: 10_000,
            attempts_max: 64,
            metrics: Arc::default(),
            later: &[],
        }
    }
}

/// A region's index in a `PostgreSQL` database.
#[derive(Debug)]
pub struct PostgresIndex {
    inner: Arc<Inner>,
    incarnation: Incarnation,
}

impl PostgresIndex {
    /// Connects, checks what the server promises, makes or migrates the schema, checks whose database it is.
    ///
    /// Errors: [`IndexError::Demand`], [`IndexError::Missing`], [`IndexError::WrongRegion`], [`IndexError::WrongEnvironment`],
    /// [`IndexError::NewerSchema`], [`IndexError::Corrupt`], [`IndexError::Overloaded`], [`IndexError::Unavailable`]. Nothing is
    /// changed in a database that is not the one asked for.
    pub async fn open(
        options: PostgresOptions,
        clock: &dyn Clock,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, IndexError> {
        let (pools, incarnation) = open::open(&options, clock, &*entropy).await?;
        Ok(Self { inner: Arc::new(Inner::new(pools, &options, entropy)), incarnation })
    }

    /// Whether an index could be asked there: the server promises what it must, and shows us the tables.
    pub async fn prove(address: Address) -> Result<(), IndexError> {
        let answers =
            database::prove(address, INDEX_SCHEMA, sql::IDENTITY).await.map_err(run::index_error)??;
        answers.then_some(()).ok_or(IndexError::Missing)
    }

    /// Statements sent since the index was opened. What they cost in round trips is counted by a relay in the tests.
    pub fn statements(&self) -> u64 {
        self.inner.pools.requests.statements() + self.inner.pools.directory.statements()
    }
}
