//! The handle that requests and commands write through.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};

use super::commit::Appender;
use super::event::Decision;
use super::recorded::{Armed, Recorded};
use super::strangers::{Stranger, Strangers};
use super::writer::{Job, Waiting, Writer};
use super::{AuditError, AuditKeys};
use crate::model::{Clock, Environment, RegionId};
use crate::telemetry::{AuditEvent, Metrics};

/// The log's limits; the defaults are for production.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment that has grown past this is closed and the next one begun.
    pub segment_bytes_max: u64,
    /// Decisions that wait for a commit; one more is refused with [`AuditError::Full`].
    pub waiting_records_max: usize,
    /// Requests whose end is not yet recorded durably; one more is refused with [`AuditError::Full`].
    pub unfinished_max: usize,
    /// How long a decision may wait to become durable.
    pub commit_ms_max: u64,
    /// How long a commit waits for another process to let the log go.
    pub lock_ms_max: u64,
    /// A summary of strangers is written this long after the first one is counted.
    pub strangers_interval_ms: u64,
    /// A summary of strangers is written at once when there are this many.
    pub strangers_max: u64,
    /// Where the log's metrics go.
    pub metrics: Arc<Metrics>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes_max: 64 * 1024 * 1024,
            waiting_records_max: 4096,
            unfinished_max: 65_536,
            commit_ms_max: 10_000,
            lock_ms_max: 5_000,
            strangers_interval_ms: 60_000,
            strangers_max: 10_000,
            metrics: Arc::default(),
        }
    }
}

/// What this handle's process wrote since it opened the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Durable decision records.
    pub decisions: u64,
    /// Durable completion records.
    pub completions: u64,
    /// Durable summaries of strangers.
    pub summaries: u64,
    /// Decisions that became durable and whose completion is not durable yet.
    pub unfinished: u64,
    /// The sequence number of the last durable record.
    pub sequence: u64,
    /// Whether the last commit failed; readiness should say so.
    pub failing: bool,
}

/// A region's audit log. Clones write to the same one.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

/// What handles, guards and the writer have in common.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    common: Arc<Common>,
    counts: watch::Receiver<Counts>,
    keys: AuditKeys,
    jobs: mpsc::Sender<Job>,
    /// Places of decisions that wait for a commit.
    waiting: Arc<Semaphore>,
    /// Places of requests that have not ended durably.
    unfinished: Arc<Semaphore>,
    closed: AtomicBool,
}

/// What the writer shares with them: no way to send it a job, or it would never see that all handles are gone.
pub(super) struct Common {
    pub(super) strangers: Strangers,
    pub(super) options: Options,
}

impl Log {
    /// Opens the log in `dir` with the default [`Options`], making it if the directory is empty or absent. Blocks; call it at
    /// start.
    ///
    /// Checks that the log ends where its head says, repairs what a crash may have left, and writes an `opened` record.
    pub fn open(
        dir: &Path,
        region: &RegionId,
        environment: &Environment,
        keys: AuditKeys,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuditError> {
        Self::open_with(dir, region, environment, keys, clock, Options::default())
    }

    /// [`Log::open`] with limits.
    pub fn open_with(
        dir: &Path,
        region: &RegionId,
        environment: &Environment,
        keys: AuditKeys,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, AuditError> {
        let appender = Appender::open(dir, region, environment, &keys, Arc::clone(&clock), &options)?;
        let (jobs, queue) = mpsc::channel();
        let (told, counts) = watch::channel(Counts { sequence: appender.sequence(), ..Counts::default() });
        let waiting = Arc::new(Semaphore::new(options.waiting_records_max));
        let unfinished = Arc::new(Semaphore::new(options.unfinished_max));
        let common = Arc::new(Common { strangers: Strangers::default(), options });
        Writer::spawn(appender, queue, &common, told)?;
        let closed = AtomicBool::new(false);
        let shared = Arc::new(Shared { clock, common, counts, keys, jobs, waiting, unfinished, closed });
        Ok(Self { shared })
    }

    /// Makes `decision` durable, and only then hands `of` back, as [`Recorded`].
    ///
    /// If the caller goes away meanwhile and the decision became durable all the same, the outcome `dropped` is recorded.
    pub async fn record<T>(&self, decision: Decision, of: T) -> Result<Recorded<T>, AuditError> {
        let answer = self.enqueue(decision).inspect_err(|_| {
            self.shared.common.options.metrics.audit(AuditEvent::Refused).increment();
        })?;
        let limit = Duration::from_millis(self.shared.common.options.commit_ms_max);
        let completion = tokio::time::timeout(limit, answer)
            .await
            .map_err(|_| AuditError::Slow)?
            .map_err(|_| AuditError::Closed)??;
        Ok(Recorded::new(of, completion))
    }

    /// Counts a caller who proved nothing. Costs no record; summaries are written now and then.
    pub fn count_stranger(&self, kind: Stranger) {
        let count = self.shared.common.strangers.add(kind);
        if count == 1 || count == self.shared.common.options.strangers_max {
            self.shared.send(Job::Wake);
        }
    }

    /// The keys, for pseudonyms.
    pub fn keys(&self) -> &AuditKeys {
        &self.shared.keys
    }

    /// What was written so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until `reached` holds of the counts; `None` if the writer ended first.
    pub async fn wait_until(&self, reached: impl FnMut(&Counts) -> bool) -> Option<Counts> {
        self.shared.counts.clone().wait_for(reached).await.ok().map(|counts| *counts)
    }

    /// Takes no more decisions, waits up to `drain` for the requests that run to end, writes what there is, a last summary
    /// and a `closed` record, and syncs the head. Answers the final counts; `unfinished` in them tells how many requests did
    /// not end in time (they have a decision record and no completion).
    pub async fn close(&self, drain: Duration) -> Result<Counts, AuditError> {
        self.shared.closed.store(true, Ordering::Release);
        // Running out of time is told by the counts.
        let _ = tokio::time::timeout(drain, self.wait_until(|counts| counts.unfinished == 0)).await;
        let (done, answer) = oneshot::channel();
        self.shared.send(Job::Close(done));
        answer.await.map_err(|_| AuditError::Closed)?
    }

    fn enqueue(
        &self,
        decision: Decision,
    ) -> Result<oneshot::Receiver<Result<super::Completion, AuditError>>, AuditError> {
        let shared = &self.shared;
        if shared.closed.load(Ordering::Acquire) {
            return Err(AuditError::Closed);
        }
        let waiting = Arc::clone(&shared.waiting).try_acquire_owned().map_err(|_| AuditError::Full)?;
        let place = Arc::clone(&shared.unfinished).try_acquire_owned().map_err(|_| AuditError::Full)?;
        let (tell, answer) = oneshot::channel();
        let started = shared.clock.now();
        let armed = Armed { shared: Arc::clone(shared), place };
        shared.send(Job::Decision(Box::new(Waiting { decision, started, armed, tell, _place: waiting })));
        Ok(answer)
    }
}

impl Shared {
    /// Hands a job to the writer. If the writer is gone the job is dropped, which tells whoever waits for it; a completion
    /// that nobody can write any more is at least counted.
    pub(super) fn send(&self, job: Job) {
        if let Err(mpsc::SendError(Job::Completion(_))) = self.jobs.send(job) {
            self.common.options.metrics.audit(AuditEvent::Failed).increment();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
