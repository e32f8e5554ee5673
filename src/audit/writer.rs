//! The thread that writes: gathers what waits into one batch, commits it, then tells everyone in it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::chain::LINE_BYTES_MAX;
use super::commit::{Appender, BATCH_BYTES_MAX};
use super::event::Decision;
use super::log::{Common, Counts};
use super::record::Body;
use super::recorded::{Armed, Finished};
use super::strangers::Stranger;
use super::{AuditError, Completion};
use crate::model::Timestamp;
use crate::telemetry::{AuditEvent, event};

/// Records in one commit: as many as fit, should every line have its greatest length; two are kept for a repair note and a
/// summary.
const BATCH_RECORDS_MAX: usize = BATCH_BYTES_MAX / LINE_BYTES_MAX - 2;

/// How soon a commit that failed is tried again when nobody waits for it (completions and summaries do not).
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long a completion waits for a decision to be committed with. Nobody waits for a completion, and each commit is a sync of the
/// disk: the largest part of what a small read costs. A crash in between leaves the decision unfinished, as a crash a moment before
/// the completion would.
const COMPLETION_PAUSE: Duration = Duration::from_millis(10);

/// What the writer is asked.
pub(super) enum Job {
    /// Make a decision durable and tell.
    Decision(Box<Waiting>),
    /// Make a completion durable.
    Completion(Finished),
    /// Strangers were counted.
    Wake,
    /// Write everything, say goodbye, end.
    Close(oneshot::Sender<Result<Counts, AuditError>>),
}

/// A decision and who waits for it.
pub(super) struct Waiting {
    pub(super) decision: Decision,
    pub(super) started: Timestamp,
    pub(super) armed: Armed,
    pub(super) tell: oneshot::Sender<Result<Completion, AuditError>>,
    /// Given back with the answer.
    pub(super) _place: OwnedSemaphorePermit,
}

/// The thread's state.
pub(super) struct Writer {
    appender: Appender,
    jobs: Receiver<Job>,
    common: Arc<Common>,
    counts: watch::Sender<Counts>,
    /// Completions wait here until a commit takes them; bounded by the places their guards hold.
    finished: VecDeque<Finished>,
    /// When the first of those that wait came.
    finished_since: Option<Instant>,
    /// When the first stranger of the next summary was noticed.
    strangers_since: Option<Instant>,
    closing: Option<oneshot::Sender<Result<Counts, AuditError>>>,
    /// Every handle and guard is gone.
    abandoned: bool,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn spawn(
        appender: Appender,
        jobs: Receiver<Job>,
        common: &Arc<Common>,
        counts: watch::Sender<Counts>,
    ) -> Result<(), AuditError> {
        let writer = Self {
            appender,
            jobs,
            common: Arc::clone(common),
            counts,
            finished: VecDeque::new(),
            finished_since: None,
            strangers_since: None,
            closing: None,
            abandoned: false,
        };
        let thread = std::thread::Builder::new().name("audit".to_owned());
        thread.spawn(move || writer.run()).map(drop).map_err(AuditError::Thread)
    }

    fn run(mut self) {
        loop {
            let waiting = self.gather();
            let ending = self.abandoned || self.closing.is_some();
            self.commit(waiting, ending);
            if ending && (self.finished.is_empty() || self.counts.borrow().failing) {
                return self.end();
            }
        }
    }

    /// Waits for something to do; answers the decisions of the next batch.
    fn gather(&mut self) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        while waiting.is_empty() && !self.is_due() {
            match self.next_job() {
                Some(job) => self.take(job, &mut waiting),
                None => return waiting,
            }
        }
        while waiting.len() + self.finished.len() < BATCH_RECORDS_MAX && self.closing.is_none() {
            match self.jobs.try_recv() {
                Ok(job) => self.take(job, &mut waiting),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.abandoned = true;
                    break;
                }
            }
        }
        waiting
    }

    /// Whether there is something to commit although no decision waits.
    fn is_due(&self) -> bool {
        let is_full = self.finished.len() >= BATCH_RECORDS_MAX
            || self.common.strangers.total() >= self.common.options.strangers_max;
        // After a failure the next decision tries again, or the pause is over.
        self.closing.is_some() || (is_full && !self.counts.borrow().failing)
    }

    /// The next job, or `None` when it is time for something else.
    fn next_job(&mut self) -> Option<Job> {
        let job = match self.patience() {
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(limit) => self.jobs.recv_timeout(limit),
        };
        self.abandoned = matches!(job, Err(RecvTimeoutError::Disconnected));
        job.ok()
    }

    /// How long to wait for a job at most.
    fn patience(&self) -> Option<Duration> {
        let completions = self.finished_since.map(|since| COMPLETION_PAUSE.saturating_sub(since.elapsed()));
        let interval = Duration::from_millis(self.common.options.strangers_interval_ms);
        let strangers = self.strangers_since.map(|since| interval.saturating_sub(since.elapsed()));
        let left = completions.into_iter().chain(strangers).min()?;
        Some(if self.counts.borrow().failing { left.max(RETRY_PAUSE) } else { left })
    }

    fn take(&mut self, job: Job, waiting: &mut Vec<Waiting>) {
        match job {
            Job::Decision(one) => waiting.push(*one),
            Job::Completion(one) => {
                self.finished_since.get_or_insert_with(Instant::now);
                self.finished.push_back(one);
            }
            Job::Wake => {
                self.strangers_since.get_or_insert_with(Instant::now);
            }
            Job::Close(done) => self.closing = Some(done),
        }
    }

    /// One commit: decisions first (somebody waits), then as many completions as fit, then what else is due.
    fn commit(&mut self, waiting: Vec<Waiting>, ending: bool) {
        let count = self.finished.len().min(BATCH_RECORDS_MAX.saturating_sub(waiting.len()));
        let strangers = self.strangers_due(ending).then(|| self.common.strangers.take());
        let strangers = strangers.filter(|counts| counts.iter().any(|count| *count > 0));
        if waiting.is_empty() && count == 0 && strangers.is_none() {
            return;
        }
        let decisions = waiting.iter().map(|one| Body::decision(&one.decision));
        let completions = self.finished.iter().take(count).map(Body::completion);
        let bodies: Vec<_> =
            decisions.chain(completions).chain(strangers.as_ref().map(Body::strangers)).collect();
        let begun = Instant::now();
        let result = self.appender.commit(&bodies);
        drop(bodies);
        self.common.options.metrics.audit_commits().observe(begun.elapsed());
        match result {
            Ok(first) => self.committed(first, waiting, count, strangers.is_some()),
            Err(error) => self.failed(error, waiting, strangers.as_ref()),
        }
    }

    fn committed(&mut self, first: u64, waiting: Vec<Waiting>, count: usize, summary: bool) {
        let was_failing = self.counts.borrow().failing;
        let decided = waiting.len() as u64;
        // Gives their places back, before the counts say so.
        self.finished.drain(..count);
        self.finished_since = (!self.finished.is_empty()).then(Instant::now);
        self.counts.send_modify(|counts| {
            counts.decisions += decided;
            counts.completions += count as u64;
            counts.summaries += u64::from(summary);
            counts.unfinished = (counts.unfinished + decided).saturating_sub(count as u64);
            counts.sequence = self.appender.sequence();
            counts.failing = false;
        });
        let metrics = &self.common.options.metrics;
        metrics.audit(AuditEvent::Decision).add(decided);
        metrics.audit(AuditEvent::Completion).add(count as u64);
        metrics.audit(AuditEvent::Strangers).add(u64::from(summary));
        metrics.audit_sequence().set(i64::try_from(self.appender.sequence()).unwrap_or(i64::MAX));
        if was_failing {
            event::audit_recovered();
        }
        for (sequence, one) in (first..).zip(waiting) {
            let Waiting { decision, started, armed, tell, _place } = one;
            // Whoever asked may be gone: the guard is then dropped here, and says so in the log.
            drop(tell.send(Ok(Completion::new(sequence, decision.request, started, armed))));
        }
    }

    fn failed(
        &mut self,
        error: AuditError,
        waiting: Vec<Waiting>,
        strangers: Option<&[u64; Stranger::ALL.len()]>,
    ) {
        self.common.options.metrics.audit(AuditEvent::Failed).increment();
        if !self.counts.borrow().failing {
            event::audit_failed(&error);
        }
        self.counts.send_modify(|counts| counts.failing = true);
        if let Some(counts) = strangers {
            self.common.strangers.put_back(counts);
            self.strangers_since.get_or_insert_with(Instant::now);
        }
        let error = Arc::new(error);
        for one in waiting {
            drop(one.tell.send(Err(AuditError::Commit(Arc::clone(&error)))));
        }
    }

    fn strangers_due(&mut self, ending: bool) -> bool {
        let interval = Duration::from_millis(self.common.options.strangers_interval_ms);
        let late = self.strangers_since.is_some_and(|since| since.elapsed() >= interval);
        let due = late || ending || self.common.strangers.total() >= self.common.options.strangers_max;
        if due {
            self.strangers_since = None;
        }
        due
    }

    /// The last record, the head on the disk, and the answer to whoever closed.
    fn end(mut self) {
        let unfinished = self.counts.borrow().unfinished;
        let closed = self.appender.commit(&[Body::Closed { unfinished }]);
        let result = closed.and_then(|_| self.appender.sync_head());
        self.counts.send_modify(|counts| counts.sequence = self.appender.sequence());
        let counts = *self.counts.borrow();
        match self.closing.take() {
            Some(done) => drop(done.send(result.map(|()| counts))),
            None => {
                if let Err(error) = result {
                    event::audit_failed(&error);
                }
            }
        }
    }
}
