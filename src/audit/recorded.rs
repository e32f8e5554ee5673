//! The proof that a decision is durable, and the guard that records how the request ended.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::event::{Ended, Outcome};
use super::log::Shared;
use super::writer::Job;
use crate::model::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

/// A `T` whose decision record is durable. Only [`super::Log::record`] makes one.
///
/// Operations take nothing else, so nothing happens unrecorded. Dropping it records the outcome `dropped`.
#[derive(Debug)]
#[must_use = "a recorded request that is dropped is recorded as dropped"]
pub struct Recorded<T> {
    value: T,
    completion: Completion,
}

impl<T> Recorded<T> {
    pub(super) const fn new(value: T, completion: Completion) -> Self {
        Self { value, completion }
    }

    /// What was recorded, and the guard to say how it ended.
    pub fn into_parts(self) -> (T, Completion) {
        (self.value, self.completion)
    }

    /// The sequence number of the decision record.
    pub const fn sequence(&self) -> u64 {
        self.completion.decision
    }
}

impl<T> Deref for Recorded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Says how a recorded request ended: once, by [`Completion::finish`], or as [`Outcome::Dropped`] when it is dropped.
///
/// Neither waits. The record is durable with one of the next commits, and at the latest when [`super::Log::close`] returns;
/// each guard holds its place in the queue from the start, so there is always room for it.
#[must_use = "dropping a completion records the outcome `dropped`"]
pub struct Completion {
    decision: u64,
    request: Box<str>,
    started: Timestamp,
    /// `Some` from the moment the decision is durable until the end was said.
    armed: Option<Armed>,
}

/// What a guard needs to speak: the log, and its place in the queue.
pub(super) struct Armed {
    pub(super) shared: Arc<Shared>,
    pub(super) place: OwnedSemaphorePermit,
}

/// A completion on its way to the writer.
pub(super) struct Finished {
    pub(super) decision: u64,
    pub(super) request: Box<str>,
    pub(super) duration_ms: u64,
    pub(super) ended: Ended,
    /// Given back, by being dropped, when the record is durable.
    pub(super) _place: OwnedSemaphorePermit,
}

impl Completion {
    pub(super) const fn new(decision: u64, request: Box<str>, started: Timestamp, armed: Armed) -> Self {
        Self { decision, request, started, armed: Some(armed) }
    }

    /// The sequence number of the decision record this belongs to.
    pub const fn decision(&self) -> u64 {
        self.decision
    }

    /// The request ended like this.
    pub fn finish(mut self, ended: Ended) {
        self.say(ended);
    }

    fn say(&mut self, ended: Ended) {
        let Some(Armed { shared, place }) = self.armed.take() else { return };
        let duration = shared.clock.now().since(self.started);
        let finished = Finished {
            decision: self.decision,
            request: std::mem::take(&mut self.request),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            ended,
            _place: place,
        };
        shared.send(Job::Completion(finished));
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.say(Ended::new(Outcome::Dropped, None));
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").field("decision", &self.decision).finish_non_exhaustive()
    }
}
