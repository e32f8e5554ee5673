//! Bringing a schema up to date: one replica does, the others wait, under the lock of one row.
//!
//! *Expand, then contract*: a migration only adds, in a way that the release before it can live with; what it made
//! superfluous goes one release later. So a release runs on its own schema N and on N + 1, and replicas may be replaced one by
//! one: the first new one migrates while the old ones go on. Anything newer is refused.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Row};

use super::{Fault, Lease, Statement};
use crate::telemetry::event;

/// How long a replica waits for another's migration, and for its own.
const MIGRATION_MAX: Duration = Duration::from_mins(5);

/// Attempts to make what several replicas make at once (`IF NOT EXISTS` does not keep two creators apart), and to see what another one
/// made.
const BOOTSTRAP_ATTEMPTS_MAX: u32 = 50;

/// Pause between two of them.
const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(20);

/// How many schemas newer than its own a release can live with: what comes next only adds.
const AHEAD_MAX: u64 = 1;

/// One step. Once released it is never edited.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The schema's version after it.
    pub version: u64,
    /// What it does.
    pub ddl: &'static str,
}

/// What a schema should become.
#[derive(Clone, Copy, Debug)]
pub struct SchemaPlan<'p> {
    /// Its name.
    pub schema: &'static str,
    /// Every step this release knows, oldest first.
    pub migrations: &'p [Migration],
    /// A table that the first of them makes.
    pub witness: &'static str,
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A release that this one cannot live beside has changed it.
    #[error("the schema has version {found}, this release knows {known} and can run on {}", known + AHEAD_MAX)]
    Newer {
        /// What it is.
        found: u64,
        /// The newest this release makes.
        known: u64,
    },
    /// The database.
    #[error("the database failed")]
    Fault(#[from] Fault),
}

impl SchemaPlan<'_> {
    fn known(&self) -> u64 {
        self.migrations.last().map_or(0, |last| last.version)
    }
}

/// The schema's version; `None` where there is no schema. Refuses one that is too new.
pub async fn found(lease: &mut Lease, plan: SchemaPlan<'_>) -> Result<Option<u64>, SchemaError> {
    let SchemaPlan { schema, .. } = plan;
    let there = format!("SELECT to_regclass('{schema}.migrations') IS NOT NULL AS there");
    let row = lease.row(sqlx::query(AssertSqlSafe(there)).persistent(false)).await?;
    if !row.is_some_and(|row| row.try_get("there").unwrap_or_default()) {
        return Ok(None);
    }
    let version = newest(lease, plan).await?;
    match version {
        Some(found) if found > plan.known() + AHEAD_MAX => {
            Err(SchemaError::Newer { found, known: plan.known() })
        }
        version => Ok(version),
    }
}

/// The newest step that was taken, once its tables can be seen.
///
/// `PostgreSQL` shows the rows of a transaction that has just ended a moment before it tells the other connections of the tables that
/// it made. One that asks in between reads here that the schema is there, and hears next that its tables are not.
async fn newest(lease: &mut Lease, plan: SchemaPlan<'_>) -> Result<Option<u64>, Fault> {
    let SchemaPlan { schema, witness, .. } = plan;
    let newest = format!(
        "SELECT max(version) AS version, to_regclass('{schema}.{witness}') IS NOT NULL AS seen FROM {schema}.migrations"
    );
    let mut attempt = 1;
    loop {
        let row = lease.row(sqlx::query(AssertSqlSafe(newest.clone())).persistent(false)).await?;
        let version = row.as_ref().and_then(|row| row.try_get::<Option<i64>, _>("version").ok()).flatten();
        let is_seen = row.as_ref().is_none_or(|row| row.try_get("seen").unwrap_or_default());
        // A table that stays away was lost: whoever asks for it is told.
        if version.is_none() || is_seen || attempt == BOOTSTRAP_ATTEMPTS_MAX {
            return Ok(version.and_then(|version| u64::try_from(version).ok()));
        }
        attempt += 1;
        tokio::time::sleep(BOOTSTRAP_PAUSE).await;
    }
}

/// Brings the schema up to date, in one transaction. If it was made from nothing, `first` runs in the same one. Does
/// nothing, not even lock, if there is nothing to do.
pub async fn migrate(
    lease: &mut Lease,
    plan: SchemaPlan<'_>,
    now_ms: i64,
    first: Option<Statement<'_>>,
) -> Result<(), SchemaError> {
    if found(lease, plan).await?.is_some_and(|version| version >= plan.known()) {
        return Ok(());
    }
    lease.be_patient(MIGRATION_MAX);
    bootstrap(lease, plan.schema).await?;
    lease.begin().await?;
    let done = under_lock(lease, plan, now_ms, first).await;
    match done {
        Ok(()) => Ok(lease.commit().await?),
        Err(error) => {
            lease.rollback().await;
            Err(error)
        }
    }
}

async fn under_lock(
    lease: &mut Lease,
    plan: SchemaPlan<'_>,
    now_ms: i64,
    first: Option<Statement<'_>>,
) -> Result<(), SchemaError> {
    let schema = plan.schema;
    let wait_ms = MIGRATION_MAX.as_millis();
    lease
        .script(format!(
            "SET LOCAL lock_timeout = {wait_ms}; SET LOCAL statement_timeout = {wait_ms}; \
             SELECT one FROM {schema}.migration_lock FOR UPDATE"
        ))
        .await?;
    // Somebody else may have been faster, and newer.
    let found = found(lease, plan).await?;
    for step in plan.migrations.iter().filter(|step| Some(step.version) > found) {
        lease
            .script(format!(
                "{}; INSERT INTO {schema}.migrations (version, applied_ms) VALUES ({}, {now_ms})",
                step.ddl.trim_end().trim_end_matches(';'),
                step.version
            ))
            .await?;
        event::schema_migrated(schema, step.version);
    }
    if let Some(first) = first.filter(|_| found.is_none()) {
        lease.write(first).await?;
    }
    Ok(())
}

/// The tables that migrating itself needs.
async fn bootstrap(lease: &mut Lease, schema: &str) -> Result<(), Fault> {
    let script = format!(
        "CREATE SCHEMA IF NOT EXISTS {schema}; \
         CREATE TABLE IF NOT EXISTS {schema}.migrations (version BIGINT PRIMARY KEY, applied_ms BIGINT NOT NULL); \
         CREATE TABLE IF NOT EXISTS {schema}.migration_lock (one BIGINT PRIMARY KEY CHECK (one = 1)); \
         INSERT INTO {schema}.migration_lock (one) VALUES (1) ON CONFLICT DO NOTHING"
    );
    let mut attempt = 1;
    loop {
        match lease.script(script.clone()).await {
            Err(Fault::Unique(_) | Fault::TryAgain(_)) if attempt < BOOTSTRAP_ATTEMPTS_MAX => {}
            // duplicate_schema, duplicate_table, duplicate_object, "tuple concurrently updated"
            Err(Fault::Refused { code, .. })
                if attempt < BOOTSTRAP_ATTEMPTS_MAX
                    && ["42P06", "42P07", "42710", "XX000"].contains(&code.as_str()) => {}
            done => return done,
        }
        attempt += 1;
        tokio::time::sleep(BOOTSTRAP_PAUSE).await;
    }
}
