//! How questions and changes are run: over which connection, how often, and what a failure means.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgRow;
use tokio_util::task::TaskTracker;

use super::PostgresOptions;
use super::row::{blob_ids, to_signed};
use super::sql;
use crate::database::{Fault, Lease, Pool, Statement};
use crate::index::fields::Fields;
use crate::index::{IndexError, NewBlob};
use crate::model::{BlobId, Entropy, Timestamp};
use crate::telemetry::{IndexVerb, Metrics, carry, event};

/// The first pause before a change is tried again because the database asks for it; doubled each time, up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How often a change is tried again that found an identifier taken: the first time it may have met its own repetition.
const TAKEN_ATTEMPTS_MAX: u32 = 2;

/// The connections, by who waits for them.
#[derive(Debug)]
pub(super) struct Pools {
    /// Those of requests.
    pub(super) requests: Pool,
    /// One that is the directory's alone: behind a crowd that holds all of those, a key would be disabled for nobody, and after
    /// the directory's patience everybody would be refused.
    pub(super) directory: Pool,
}

/// What every question and change needs.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pools: Pools,
    pub(super) context: Context,
    attempts_max: u32,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
    /// Changes under way, whoever still waits for them.
    changes: TaskTracker,
}

/// What changes are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    reclaim_delay: Duration,
    pub(super) buckets_per_tenant_max: u32,
    pub(super) uploads_per_tenant_max: u32,
}

impl Context {
    /// When a blob given up at `now` may be deleted.
    pub(super) fn due(self, now: Timestamp) -> Result<i64, IndexError> {
        to_signed(now.after(self.reclaim_delay).millis())
    }
}

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) enum Problem {
    /// The database.
    Fault(Fault),
    /// The caller, or a row.
    Index(IndexError),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<IndexError> for Problem {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

/// What one attempt at a change answers: `None` if somebody else changed the same thing in between, and nothing happened.
pub(super) type Attempt<T> = Result<Option<T>, Problem>;

/// One change to the index, which may be attempted several times.
pub(super) trait Change: Send + 'static {
    /// What the caller is told after the commit.
    type Out: Send + 'static;

    /// Tries it, all or nothing.
    fn attempt(
        &mut self,
        lease: &mut Lease,
        context: Context,
    ) -> impl Future<Output = Attempt<Self::Out>> + Send;

    /// The blobs that it makes live.
    fn blobs(&self) -> &[NewBlob];
}

impl Inner {
    pub(super) fn new(pools: Pools, options: &PostgresOptions, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            pools,
            context: Context {
                reclaim_delay: options.reclaim_delay,
                buckets_per_tenant_max: options.buckets_per_tenant_max,
                uploads_per_tenant_max: options.uploads_per_tenant_max,
            },
            attempts_max: options.attempts_max.max(1),
            entropy,
            metrics: Arc::clone(&options.metrics),
            changes: TaskTracker::new(),
        }
    }

    /// Finishes the changes under way, refuses new ones, closes the connections.
    pub(super) async fn close(&self) {
        self.changes.close();
        // Bounded by the bounds of every change's attempts.
        self.changes.wait().await;
        self.pools.directory.close().await;
        self.pools.requests.close().await;
    }

    /// All rows of a question. One statement, so one moment of the database.
    pub(super) async fn rows<'q>(&self, ask: impl Fn() -> Statement<'q>) -> Result<Vec<PgRow>, IndexError> {
        self.rows_over(&self.pools.requests, ask).await
    }

    /// The same, over the directory's connection.
    pub(super) async fn directory_rows<'q>(
        &self,
        ask: impl Fn() -> Statement<'q>,
    ) -> Result<Vec<PgRow>, IndexError> {
        self.rows_over(&self.pools.directory, ask).await
    }

    async fn rows_over<'q>(
        &self,
        pool: &Pool,
        ask: impl Fn() -> Statement<'q>,
    ) -> Result<Vec<PgRow>, IndexError> {
        loop {
            let asked = async {
                let mut lease = pool.lease().await.map_err(index_error)?;
                let is_new = lease.is_new();
                match lease.rows(ask()).await {
                    // It waited while the server went away: the others that waited are gone with it, the next one is new.
                    Err(Fault::Lost(_)) if !is_new => Ok(None),
                    answer => answer.map(Some).map_err(index_error),
                }
            };
            if let Some(rows) = self.metrics.round_trip(IndexVerb::Read, asked).await? {
                return Ok(rows);
            }
        }
    }

    /// The first row of a question, if any.
    pub(super) async fn row<'q>(&self, ask: impl Fn() -> Statement<'q>) -> Result<Option<PgRow>, IndexError> {
        Ok(self.rows(ask).await?.into_iter().next())
    }

    /// Makes a change; it goes on if its caller leaves.
    pub(super) async fn change<C: Change>(self: &Arc<Self>, change: C) -> Result<C::Out, IndexError> {
        if self.changes.is_closed() {
            return Err(IndexError::Closed);
        }
        let inner = Arc::clone(self);
        self.changes
            .spawn(carry(async move { inner.attempts(change).await }))
            .await
            .unwrap_or(Err(IndexError::Ambiguous))
    }

    async fn attempts<C: Change>(&self, mut change: C) -> Result<C::Out, IndexError> {
        let (mut pause, mut taken) = (PAUSE_MIN, 0);
        for _ in 0..self.attempts_max {
            let attempted = async {
                let mut lease = self.pools.requests.lease().await.map_err(index_error)?;
                let outcome = change.attempt(&mut lease, self.context).await;
                lease.rollback().await;
                outcome
            };
            match self.metrics.round_trip(IndexVerb::Write, attempted).await {
                Ok(Some(out)) => return Ok(out),
                Ok(None) | Err(Problem::Fault(Fault::Reference(_))) => {}
                Err(Problem::Index(error)) => return Err(error),
                Err(Problem::Fault(Fault::TryAgain(_))) => {
                    tokio::time::sleep(self.jittered(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(Problem::Fault(Fault::Unique(_))) => {
                    taken += 1;
                    if taken == TAKEN_ATTEMPTS_MAX {
                        return Err(self.taken(change.blobs()).await);
                    }
                }
                Err(Problem::Fault(fault @ (Fault::Lost(_) | Fault::Silent))) => {
                    event::index_outcome_unknown(Some(&fault));
                    return Err(IndexError::Ambiguous);
                }
                Err(Problem::Fault(fault)) => return Err(index_error(fault)),
            }
        }
        Err(IndexError::Overloaded { what: "too many change the same thing at once" })
    }

    /// Which identifier was taken: that of a blob given up, or any other.
    async fn taken(&self, blobs: &[NewBlob]) -> IndexError {
        let ids: Vec<BlobId> = blobs.iter().map(|blob| blob.id).collect();
        match self.rows(|| sqlx::query(sql::STANDING).bind(blob_ids(&ids))).await {
            Ok(rows) if rows.iter().any(|row| row.int("live").is_ok_and(|live| live == 0)) => {
                IndexError::Reclaimed
            }
            Ok(_) => IndexError::Invalid { rule: "must use identifiers that were not used before" },
            Err(error) => error,
        }
    }

    /// Half of `at_most` and a random part of the other half.
    fn jittered(&self, at_most: Duration) -> Duration {
        let mut random = [0; 2];
        // Without randomness there is no jitter, which costs only politeness.
        let part = if self.entropy.fill(&mut random).is_ok() { u16::from_be_bytes(random) } else { 0 };
        at_most / 2 + at_most.mul_f64(f64::from(part) / f64::from(u16::MAX) / 2.0)
    }
}

/// What a failed question, or a change that certainly did not happen, is to the caller.
pub(super) fn index_error(fault: Fault) -> IndexError {
    match fault {
        Fault::Overloaded(what) => IndexError::Overloaded { what },
        Fault::TryAgain(_) => IndexError::Overloaded { what: "the database asked to try again" },
        Fault::Unique(_) => IndexError::Invalid { rule: "must use identifiers that were not used before" },
        Fault::Reference(_) | Fault::Rule(_) => IndexError::Corrupt { what: "a constraint of the schema" },
        // data_corrupted, index_corrupted
        Fault::Refused { code, .. } if ["XX001", "XX002"].contains(&code.as_str()) => {
            IndexError::Corrupt { what: "the database's files" }
        }
        Fault::Closed => IndexError::Closed,
        fault => IndexError::Unavailable { what: "asking the database", source: Box::new(fault) },
    }
}
