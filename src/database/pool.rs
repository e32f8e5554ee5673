//! A bounded number of connections, each with every promise checked when it was made. A connection comes back only if its
//! last statement was answered in full; any other is closed, which undoes what was not committed.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, Row};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Address, DemandError, Fault, demands};
use crate::identity::{Identity, Rotating};

/// A statement with its values.
pub type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// What the server adds to a statement's own time before its answer is here: a commit waits for disks and standbys, and the
/// server's clock on the statement stops before.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// How many connections, and how long everything may take.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// The schema that holds the tables.
    pub schema: &'static str,
    /// Connections at once.
    pub connections_max: u32,
    /// How long a caller waits for a free one.
    pub acquire_ms_max: u64,
    /// How long making one may take.
    pub connect_ms_max: u64,
    /// How long a statement may run, waiting for locks included; the server cancels it then.
    pub statement_ms_max: u64,
}

impl PoolSettings {
    /// The usual numbers: 16 connections, 5 s for a free one, 5 s to connect, 10 s a statement.
    pub const fn new(schema: &'static str) -> Self {
        Self {
            schema,
            connections_max: 16,
            acquire_ms_max: 5_000,
            connect_ms_max: 5_000,
            statement_ms_max: 10_000,
        }
    }
}

/// Connections to one database.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

/// A connection that waits, made when the address had changed so often.
struct Idle {
    conn: PgConnection,
    changes: u64,
}

struct Shared {
    address: Identity<Address>,
    settings: PoolSettings,
    idle: Mutex<Vec<Idle>>,
    permits: Arc<Semaphore>,
    /// A question and the one answer that this database gives: a connection that leads elsewhere is refused.
    identity: OnceLock<(&'static str, String)>,
    statements: AtomicU64,
}

impl Pool {
    /// Connects to nothing yet. Connections are made as `address` says at that moment; those made as it said before are closed
    /// when they come back.
    pub fn new(address: Identity<Address>, settings: PoolSettings) -> Self {
        Self(Arc::new(Shared {
            address,
            settings,
            idle: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(settings.connections_max.max(1) as usize)),
            identity: OnceLock::new(),
            statements: AtomicU64::new(0),
        }))
    }

    /// From now on, connections must answer `question` (one row, one text) with `answer`.
    pub fn expect(&self, question: &'static str, answer: String) {
        _ = self.0.identity.set((question, answer));
    }

    /// A connection: one that waits, or a new one.
    pub async fn lease(&self) -> Result<Lease, Fault> {
        let wait = Duration::from_millis(self.0.settings.acquire_ms_max);
        let permit = match tokio::time::timeout(wait, Arc::clone(&self.0.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Fault::Closed),
            Err(_) => return Err(Fault::Overloaded("no connection to the database was free in time")),
        };
        let idle = self.0.take_idle();
        let is_new = idle.is_none();
        let Idle { conn, changes } = match idle {
            Some(idle) => idle,
            None => self.0.connect().await?,
        };
        Ok(Lease {
            conn: Some(conn),
            changes,
            shared: Arc::clone(&self.0),
            is_sound: true,
            in_transaction: false,
            is_new,
            patience: self.0.answer_wait(),
            _permit: permit,
        })
    }

    /// Makes one connection and says why the database may not be used, if it may not.
    pub async fn check_demands(&self) -> Result<Result<(), DemandError>, Fault> {
        let Idle { mut conn, .. } = self.0.open().await?;
        let row = self.0.ask(&mut conn, demands::question()).await?;
        _ = conn.close().await;
        Ok(demands::check(&row))
    }

    /// Statements sent since the pool was made: what tests of an operation's cost compare with a relay's count.
    pub fn statements(&self) -> u64 {
        self.0.statements.load(Ordering::Relaxed)
    }

    /// Waits for what is under way, for at most the time of a statement, then closes. Later leases get [`Fault::Closed`].
    pub async fn close(&self) {
        let all = self.0.settings.connections_max.max(1);
        _ = tokio::time::timeout(self.0.answer_wait(), self.0.permits.acquire_many(all)).await;
        self.0.permits.close();
        let idle = std::mem::take(&mut *lock(&self.0.idle));
        for Idle { conn, .. } in idle {
            _ = tokio::time::timeout(self.0.answer_wait(), conn.close()).await;
        }
    }
}

/// Connects as `address` says and asks `question` (one row) in `schema`: whether there is an answer, or why the database may not be used.
pub async fn prove(
    address: Address,
    schema: &'static str,
    question: &'static str,
) -> Result<Result<bool, DemandError>, Fault> {
    let pool = Pool::new(address.into(), PoolSettings { connections_max: 1, ..PoolSettings::new(schema) });
    if let Err(unmet) = pool.check_demands().await? {
        return Ok(Err(unmet));
    }
    let answer = pool.lease().await?.row(sqlx::query(question)).await?;
    Ok(Ok(answer.is_some()))
}

impl Shared {
    fn answer_wait(&self) -> Duration {
        Duration::from_millis(self.settings.statement_ms_max) + ANSWER_MARGIN
    }

    /// A connection that waits, if there is one that was made as the address says now.
    fn take_idle(&self) -> Option<Idle> {
        let mut idle = lock(&self.idle);
        let changes = self.address.changes();
        idle.retain(|idle| idle.changes == changes);
        idle.pop()
    }

    /// A connection with our session's settings. Who is refused as we are known here may be known otherwise by now.
    async fn open(&self) -> Result<Idle, Fault> {
        let changes = self.address.changes();
        match self.open_once().await {
            Err(fault) if fault.refuses_us() && self.address.refused(changes).await => {
                let changes = self.address.changes();
                self.open_once().await.map(|conn| Idle { conn, changes })
            }
            opened => opened.map(|conn| Idle { conn, changes }),
        }
    }

    async fn open_once(&self) -> Result<PgConnection, Fault> {
        let address = self.address.current();
        let wait = Duration::from_millis(self.settings.connect_ms_max);
        let opening = async {
            let mut conn = address.options().connect().await?;
            sqlx::raw_sql(AssertSqlSafe(self.session())).execute(&mut conn).await?;
            Ok::<_, sqlx::Error>(conn)
        };
        match tokio::time::timeout(wait, opening).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(error)) => Err(match Fault::of(&error) {
                Fault::Lost(why) => Fault::Unreachable(why),
                fault => fault,
            }),
            Err(_) => Err(Fault::Unreachable(String::from("connecting took too long"))),
        }
    }

    /// A connection that may be used: it promises what it must and is the database that was opened.
    async fn connect(&self) -> Result<Idle, Fault> {
        let mut made = self.open().await?;
        let conn = &mut made.conn;
        let row = self.ask(conn, demands::question()).await?;
        demands::check(&row).map_err(|error| Fault::Unreachable(error.to_string()))?;
        if let Some((question, answer)) = self.identity.get() {
            let row = self.ask(conn, (*question).to_owned()).await?;
            if row.try_get::<String, _>(0).ok().as_ref() != Some(answer) {
                return Err(Fault::Unreachable(String::from("another database answers at the same place")));
            }
        }
        Ok(made)
    }

    async fn ask(&self, conn: &mut PgConnection, question: String) -> Result<PgRow, Fault> {
        let asking = sqlx::raw_sql(AssertSqlSafe(question)).fetch_one(conn);
        match tokio::time::timeout(self.answer_wait(), asking).await {
            Ok(answer) => answer.map_err(|error| match Fault::of(&error) {
                Fault::Lost(why) => Fault::Unreachable(why),
                fault => fault,
            }),
            Err(_) => Err(Fault::Unreachable(String::from("no answer in time"))),
        }
    }

    /// Every name is written out in the text, none of it comes from outside. Generic plans: ours only seek, and planning a
    /// commit anew each time would cost more than running it. `pg_temp` last: nobody's temporary table stands before ours.
    fn session(&self) -> String {
        let PoolSettings { schema, statement_ms_max, .. } = self.settings;
        format!(
            "SET search_path = {schema}, pg_catalog, pg_temp; SET statement_timeout = {statement_ms_max}; \
             SET lock_timeout = {statement_ms_max}; SET idle_in_transaction_session_timeout = {statement_ms_max}; \
             SET default_transaction_isolation = 'read committed'; SET plan_cache_mode = force_generic_plan; \
             SET client_min_messages = error"
        )
    }
}

/// A connection, for as long as somebody holds it.
pub struct Lease {
    conn: Option<PgConnection>,
    changes: u64,
    shared: Arc<Shared>,
    is_sound: bool,
    in_transaction: bool,
    is_new: bool,
    patience: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// Whether the connection was made for this lease; one that waited may have died meanwhile.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// All rows that a statement finds or returns.
    pub async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Fault> {
        self.run(|conn| statement.fetch_all(conn)).await
    }

    /// The first row, if any.
    pub async fn row(&mut self, statement: Statement<'_>) -> Result<Option<PgRow>, Fault> {
        self.run(|conn| statement.fetch_optional(conn)).await
    }

    /// Writes; answers how many rows changed.
    pub async fn write(&mut self, statement: Statement<'_>) -> Result<u64, Fault> {
        self.run(|conn| statement.execute(conn)).await.map(|done| done.rows_affected())
    }

    /// Runs a script of ours: several statements, no values, one round trip, one transaction.
    pub async fn script(&mut self, script: String) -> Result<(), Fault> {
        self.run(|conn| sqlx::raw_sql(AssertSqlSafe(script)).execute(conn)).await.map(|_| ())
    }

    /// Begins a transaction, of which nothing happened until [`commit`](Self::commit) was sent.
    pub async fn begin(&mut self) -> Result<(), Fault> {
        self.script(String::from("BEGIN")).await.map_err(never_sent)?;
        self.in_transaction = true;
        Ok(())
    }

    /// Commits it.
    pub async fn commit(&mut self) -> Result<(), Fault> {
        self.in_transaction = false;
        self.script(String::from("COMMIT")).await
    }

    /// Undoes it, if one was begun.
    pub async fn rollback(&mut self) {
        if self.in_transaction && self.is_sound && self.script(String::from("ROLLBACK")).await.is_ok() {
            self.in_transaction = false;
        }
    }

    /// Waits longer than usual for each answer from now on: for changes of the schema.
    pub(super) const fn be_patient(&mut self, patience: Duration) {
        self.patience = patience;
    }

    async fn run<'s, T, F>(&'s mut self, ask: impl FnOnce(&'s mut PgConnection) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let Self { conn, shared, is_sound, in_transaction, patience, .. } = self;
        let Some(conn) = conn.as_mut().filter(|_| *is_sound) else {
            return Err(Fault::Unreachable(String::from("the connection was lost before")));
        };
        // Until the answer is here whole: a caller who leaves in between takes the connection with him.
        *is_sound = false;
        shared.statements.fetch_add(1, Ordering::Relaxed);
        let fault = match tokio::time::timeout(*patience, ask(conn)).await {
            Ok(Ok(answer)) => {
                *is_sound = true;
                return Ok(answer);
            }
            Ok(Err(error)) => {
                let fault = Fault::of(&error);
                *is_sound = !fault.ends_connection(&error);
                fault
            }
            Err(_) => Fault::Silent,
        };
        if !*is_sound {
            // The others that wait were made to the same server; they are likely as dead.
            lock(&shared.idle).clear();
        }
        Err(if *in_transaction { never_sent(fault) } else { fault })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take()
            && self.is_sound
            && !self.in_transaction
            && self.changes == self.shared.address.changes()
            && !self.shared.permits.is_closed()
        {
            lock(&self.shared.idle).push(Idle { conn, changes: self.changes });
        }
    }
}

/// A transaction whose COMMIT was never sent is undone with its connection.
fn never_sent(fault: Fault) -> Fault {
    match fault {
        Fault::Lost(why) => Fault::Unreachable(why),
        Fault::Silent => Fault::Unreachable(Fault::Silent.to_string()),
        fault => fault,
    }
}

/// Nothing under this lock can panic half-way through a change, so a poisoned one is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("address", &self.address.current())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("is_sound", &self.is_sound).finish_non_exhaustive()
    }
}
