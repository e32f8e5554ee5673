//! The one writer: takes what is queued, puts it into one transaction, syncs once, and only then answers anybody.
//!
//! Each change runs inside a savepoint of its own, so one that fails leaves the others as they are. An engine failure
//! spoils the whole batch, and everybody in it hears so. While one batch syncs, the next one gathers: no timer.
//!
//! The engine has a thread of its own, and a trip there and back costs more than a statement. So what can be said together is one
//! script: a batch begins and ends in one trip each, and a change of its own takes one to look and one to write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Connection, Either, Executor, Sqlite};
use tokio::sync::{mpsc, oneshot};

use super::SqliteOptions;
use super::connect;
use super::decode::{number, to_signed, value};
use super::engine::translate;
use crate::index::{Incarnation, IndexError, Sequence};
use crate::model::{Timestamp, failpoint};
use crate::telemetry::event;

/// How a transaction begins: with the lock, what was handed out before, and the first change's savepoint.
const BEGIN: &str = "BEGIN IMMEDIATE; SELECT name, value FROM sequences; SAVEPOINT change";
/// How one ends in which values were handed out: $1 to $3 are the last of each kind.
const COMMIT: &str = "UPDATE sequences SET value = CASE name WHEN 'commit' THEN $1 WHEN 'bucket' THEN $2 ELSE $3 END \
    WHERE name IN ('commit', 'bucket', 'directory'); COMMIT";

/// A statement with its values.
pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// `N` statements that write, in one trip.
///
/// Values are numbered over the whole script, and all of them have to be bound: the engine takes a missing one, and those behind
/// it, for NULL.
pub(super) struct Script<const N: usize> {
    /// As they are.
    pub(super) statements: &'static str,
    /// The same behind the end of what an earlier change of the batch wrote.
    pub(super) after_another: &'static str,
}

/// The [`Script`] of one or more literals.
macro_rules! script {
    ($($statements:expr),+) => {
        crate::index::sqlite::writer::Script {
            statements: concat!($($statements),+),
            after_another: concat!("RELEASE change; SAVEPOINT change; ", $($statements),+),
        }
    };
}
pub(super) use script;

/// One change to the index.
///
/// Checks come before writes: a change that answers `Ok` without writing has changed nothing, and an `Err` is undone.
pub(super) trait Mutation: Send + 'static {
    /// What the caller is told after the commit.
    type Out: Send + 'static;

    /// Does it, inside the writer's transaction.
    fn apply(self, tx: &mut Tx) -> impl Future<Output = Result<Self::Out, IndexError>> + Send;
}

/// Values handed out in order; written back once per batch.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Marks {
    commit: u64,
    bucket: u64,
    directory: u64,
}

/// The open transaction.
pub(super) struct Tx {
    conn: SqliteConnection,
    marks: Marks,
    marks_before: Marks,
    /// The change under way has written. A savepoint is open throughout a batch.
    has_written: bool,
    /// What an earlier change wrote stands in the open savepoint: ending that is left to the next change that writes, or to the
    /// commit, which make the trip anyway.
    holds_kept: bool,
    statements: Arc<AtomicU64>,
    /// How long a replaced blob stays.
    pub(super) reclaim_delay: Duration,
    /// Buckets of one tenant.
    pub(super) buckets_per_tenant_max: u32,
    pub(super) uploads_per_tenant_max: u32,
}

impl Tx {
    /// The next place in the region's order.
    pub(super) fn next_seq(&mut self) -> Sequence {
        self.marks.commit += 1;
        Sequence(self.marks.commit)
    }

    /// A bucket number never used before.
    pub(super) fn next_bucket(&mut self) -> u64 {
        self.marks.bucket += 1;
        self.marks.bucket
    }

    /// The directory's next change number.
    pub(super) fn next_directory_change(&mut self) -> u64 {
        self.marks.directory += 1;
        self.marks.directory
    }

    /// When a blob given up at `now` may be deleted.
    pub(super) fn due(&self, now: Timestamp) -> Result<i64, IndexError> {
        to_signed(now.after(self.reclaim_delay).millis())
    }

    /// The one row that a statement finds, if any.
    pub(super) async fn row(&mut self, statement: Statement<'_>) -> Result<Option<SqliteRow>, IndexError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        statement
            .fetch_optional(&mut self.conn)
            .await
            .map_err(|error| translate(error, "reading before a change"))
    }

    /// All rows that a statement finds.
    pub(super) async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, IndexError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        statement.fetch_all(&mut self.conn).await.map_err(|error| translate(error, "reading before a change"))
    }

    /// Writes; answers how many rows changed.
    pub(super) async fn write(&mut self, statement: Statement<'_>) -> Result<u64, IndexError> {
        self.save().await?;
        self.statements.fetch_add(1, Ordering::Relaxed);
        let done = statement.execute(&mut self.conn).await.map_err(|error| translate(error, "changing"))?;
        Ok(done.rows_affected())
    }

    /// `script`, to be given its values and then to [`Tx::run`], before this change writes anything else.
    pub(super) fn script<'q, const N: usize>(&mut self, script: &Script<N>) -> Statement<'q> {
        sqlx::query(if self.begins_after_another() { script.after_another } else { script.statements })
    }

    /// Runs a script; answers how many rows each of its statements changed.
    pub(super) async fn run<const N: usize>(
        &mut self,
        script: Statement<'_>,
    ) -> Result<[u64; N], IndexError> {
        let (changed, error) = self.told(script).await;
        match (error, changed.last_chunk()) {
            (Some(error), _) => Err(error),
            (None, Some(counts)) => Ok(*counts),
            (None, None) => {
                Err(IndexError::Unavailable { what: "changing", source: "the engine went away".into() })
            }
        }
    }

    /// Runs a script as far as it goes: the rows that each statement changed, and the error that ended it.
    async fn told(&mut self, script: Statement<'_>) -> (Vec<u64>, Option<IndexError>) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let mut changed = Vec::new();
        let mut answers = self.conn.fetch_many(script);
        loop {
            match answers.try_next().await {
                Ok(Some(Either::Left(done))) => changed.push(done.rows_affected()),
                Ok(Some(Either::Right(_))) => {}
                Ok(None) => return (changed, None),
                Err(error) => return (changed, Some(translate(error, "changing"))),
            }
        }
    }

    /// Writes; answers the first row that `RETURNING` gave.
    pub(super) async fn write_returning(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Option<SqliteRow>, IndexError> {
        self.save().await?;
        self.statements.fetch_add(1, Ordering::Relaxed);
        statement.fetch_optional(&mut self.conn).await.map_err(|error| translate(error, "changing"))
    }

    /// Writes what must change exactly one row.
    pub(super) async fn write_one(
        &mut self,
        statement: Statement<'_>,
        what: &'static str,
    ) -> Result<(), IndexError> {
        if self.write(statement).await? == 1 { Ok(()) } else { Err(IndexError::Corrupt { what }) }
    }

    async fn plain(&mut self, statement: &'static str) -> Result<(), IndexError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        sqlx::query(statement).execute(&mut self.conn).await.map_err(|error| translate(error, "changing"))?;
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), IndexError> {
        (self.has_written, self.holds_kept) = (false, false);
        // Another process may have committed since, so the marks are read under the lock, every time.
        for row in self.rows(sqlx::query(BEGIN)).await? {
            let mark = number(&row, "value")?;
            match value::<&str>(&row, "name")? {
                "commit" => self.marks.commit = mark,
                "bucket" => self.marks.bucket = mark,
                "directory" => self.marks.directory = mark,
                _ => {}
            }
        }
        Ok(())
    }

    /// Begins what can be undone, before a change's first write.
    async fn save(&mut self) -> Result<(), IndexError> {
        if self.begins_after_another() {
            self.plain("RELEASE change; SAVEPOINT change").await?;
        }
        Ok(())
    }

    /// Notes that the change under way writes; answers whether what an earlier one wrote has to be ended first.
    fn begins_after_another(&mut self) -> bool {
        !std::mem::replace(&mut self.has_written, true) && std::mem::take(&mut self.holds_kept)
    }

    /// Keeps what the last change did.
    fn keep(&mut self) {
        self.holds_kept |= std::mem::take(&mut self.has_written);
    }

    /// Undoes what the last change did. The savepoint stays.
    async fn undo(&mut self) -> Result<(), IndexError> {
        self.marks = self.marks_before;
        if std::mem::take(&mut self.has_written) {
            self.plain("ROLLBACK TO change").await?;
        }
        Ok(())
    }

    /// Ends the transaction that began with the marks `before`.
    async fn commit(&mut self, before: Marks) -> BatchEnd {
        let Marks { commit, bucket, directory } = self.marks;
        let (script, statements) = if self.marks == before {
            (sqlx::query("COMMIT"), 1)
        } else {
            let marks = [to_signed(commit), to_signed(bucket), to_signed(directory)];
            let [Ok(commit), Ok(bucket), Ok(directory)] = marks else {
                return BatchEnd::failed(&IndexError::Corrupt { what: "the sequences are used up" });
            };
            (sqlx::query(COMMIT).bind(commit).bind(bucket).bind(directory), 2)
        };
        match self.told(script).await {
            (done, None) if done.len() == statements => BatchEnd::Committed,
            (done, Some(error)) if done.len() + 1 < statements => BatchEnd::failed(&error),
            (_, error) => {
                event::index_outcome_unknown(error.as_ref().map(|error| error as _));
                BatchEnd::Ambiguous
            }
        }
    }
}

/// How a batch ended, for those in it.
#[derive(Clone)]
enum BatchEnd {
    Committed,
    Overloaded(&'static str),
    Failed(String),
    Ambiguous,
}

impl BatchEnd {
    fn failed(error: &IndexError) -> Self {
        match error {
            IndexError::Overloaded { what } => Self::Overloaded(what),
            other => {
                let source =
                    std::error::Error::source(other).map(|source| format!(": {source}")).unwrap_or_default();
                Self::Failed(format!("{other}{source}"))
            }
        }
    }
}

#[async_trait]
trait Job: Send {
    /// Runs the change; `Err` if the whole batch is spoilt.
    async fn run(&mut self, tx: &mut Tx) -> Result<(), IndexError>;
    fn answer(self: Box<Self>, end: &BatchEnd);
}

struct Pending<M: Mutation> {
    mutation: Option<M>,
    outcome: Option<Result<M::Out, IndexError>>,
    caller: oneshot::Sender<Result<M::Out, IndexError>>,
}

#[async_trait]
impl<M: Mutation> Job for Pending<M> {
    async fn run(&mut self, tx: &mut Tx) -> Result<(), IndexError> {
        let Some(mutation) = self.mutation.take() else { return Ok(()) };
        tx.marks_before = tx.marks;
        match mutation.apply(tx).await {
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                tx.undo().await?;
                self.outcome = Some(Err(error));
            }
            Ok(outcome) => {
                tx.keep();
                self.outcome = Some(Ok(outcome));
            }
        }
        Ok(())
    }

    fn answer(self: Box<Self>, end: &BatchEnd) {
        let answer = match (end, self.outcome) {
            (BatchEnd::Committed, Some(outcome)) => outcome,
            // A rejection stands whatever became of the batch: it changed nothing.
            (_, Some(Err(error))) => Err(error),
            (BatchEnd::Overloaded(what), _) => Err(IndexError::Overloaded { what }),
            (BatchEnd::Failed(why), _) => {
                Err(IndexError::Unavailable { what: "changing", source: why.clone().into() })
            }
            (BatchEnd::Ambiguous | BatchEnd::Committed, _) => Err(IndexError::Ambiguous),
        };
        // Nobody listening any more is no reason to undo what is durable.
        _ = self.caller.send(answer);
    }
}

enum Message {
    Change(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Sender<Message>);

impl Queue {
    /// Queues a change and waits until it is durable or refused. Dropping the future does not withdraw it.
    pub(super) async fn change<M: Mutation>(&self, mutation: M) -> Result<M::Out, IndexError> {
        let (caller, answer) = oneshot::channel();
        let job = Pending { mutation: Some(mutation), outcome: None, caller };
        self.0.try_send(Message::Change(Box::new(job))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                IndexError::Overloaded { what: "the queue of changes is full" }
            }
            mpsc::error::TrySendError::Closed(_) => IndexError::Closed,
        })?;
        answer.await.unwrap_or(Err(IndexError::Ambiguous))
    }

    /// Lets the writer finish what was queued before, and stop.
    pub(super) async fn close(&self) {
        let (done, wait) = oneshot::channel();
        if self.0.send(Message::Close(done)).await.is_ok() {
            _ = wait.await;
        }
    }
}

/// Starts the writer on the current runtime. It ends when the queue is closed or dropped.
pub(super) fn start(
    conn: SqliteConnection,
    options: SqliteOptions,
    life: Incarnation,
    statements: Arc<AtomicU64>,
) -> Queue {
    let (sender, receiver) = mpsc::channel(options.queue_max);
    let mut writer = Writer { tx: None, options, life, statements };
    writer.tx = Some(writer.adopt(conn));
    tokio::spawn(writer.run(receiver));
    Queue(sender)
}

struct Writer {
    /// `None` after a failure, until the next batch connects again.
    tx: Option<Tx>,
    options: SqliteOptions,
    life: Incarnation,
    statements: Arc<AtomicU64>,
}

impl Writer {
    /// Connects again after a failure, to the same database or to none.
    async fn reconnect(&self) -> Result<Tx, IndexError> {
        let mut conn = connect::connect(&self.options).await?;
        connect::check_life(&mut conn, self.life).await?;
        Ok(self.adopt(conn))
    }

    fn adopt(&self, conn: SqliteConnection) -> Tx {
        Tx {
            conn,
            marks: Marks::default(),
            marks_before: Marks::default(),
            has_written: false,
            holds_kept: false,
            statements: Arc::clone(&self.statements),
            reclaim_delay: self.options.reclaim_delay,
            buckets_per_tenant_max: self.options.buckets_per_tenant_max,
            uploads_per_tenant_max: self.options.uploads_per_tenant_max,
        }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(self.options.batch_max);
        while queue.recv_many(&mut messages, self.options.batch_max).await > 0 {
            let mut jobs = Vec::with_capacity(messages.len());
            let mut closing = None;
            for message in messages.drain(..) {
                match message {
                    Message::Change(job) => jobs.push(job),
                    Message::Close(done) => {
                        closing = Some(done);
                        queue.close();
                    }
                }
            }
            if !jobs.is_empty() {
                let end = self.batch(&mut jobs).await;
                for job in jobs {
                    job.answer(&end);
                }
            }
            if let Some(done) = closing {
                self.shut(&mut queue).await;
                _ = done.send(());
                return;
            }
        }
        self.shut(&mut queue).await;
    }

    /// Does what slipped in before the queue closed, then closes the connection, which checkpoints the log.
    async fn shut(&mut self, queue: &mut mpsc::Receiver<Message>) {
        while let Some(message) = queue.recv().await {
            if let Message::Change(job) = message {
                let mut jobs = vec![job];
                let end = self.batch(&mut jobs).await;
                for job in jobs {
                    job.answer(&end);
                }
            }
        }
        if let Some(tx) = self.tx.take() {
            _ = tx.conn.close().await;
        }
    }

    async fn batch(&mut self, jobs: &mut [Box<dyn Job>]) -> BatchEnd {
        let mut tx = match self.tx.take() {
            Some(tx) => tx,
            None => match self.reconnect().await {
                Ok(tx) => tx,
                Err(error) => return BatchEnd::failed(&error),
            },
        };
        let before = match Self::fill(&mut tx, jobs).await {
            Ok(before) => before,
            // Dropping the connection rolls back, whatever state it is in; the next batch connects again.
            Err(error) => return BatchEnd::failed(&error),
        };
        failpoint::pass("index-written");
        let end = tx.commit(before).await;
        if matches!(end, BatchEnd::Committed) {
            failpoint::pass("index-committed");
            self.tx = Some(tx);
        }
        end
    }

    /// Does the jobs; answers what was handed out before them.
    async fn fill(tx: &mut Tx, jobs: &mut [Box<dyn Job>]) -> Result<Marks, IndexError> {
        tx.begin().await?;
        let before = tx.marks;
        for job in jobs {
            job.run(tx).await?;
        }
        Ok(before)
    }
}
