//! A pass over a region: verify what the index has, tell apart what the store holds, empty the reclaim queue.
//!
//! At most one pass per region, over all replicas and commands: whoever runs it holds the index's job of that name, keeps it
//! every few seconds together with how far the pass is, and stops when it was lost. So a killed pass goes on where it was, in
//! whatever process comes next. It works on one blob at a time, no faster than it was told, and behind the requests.

mod live;
mod run;
mod schedule;
mod stored;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::audit::{Ended, Outcome};
use crate::blobs::in_background;
use crate::index::Holder;
use crate::model::Timestamp;
use crate::placement::Operation;
use crate::telemetry::event;
use crate::vault::{Pass, Progress};

use super::{Site, SiteError};
use run::{Run, Stop};

pub(super) use schedule::start;

/// The job's name in the index.
const JOB: &str = "scrub";

/// How long a process that was killed keeps the job from others.
const LEASE: Duration = Duration::from_secs(15);

/// How often the job and the pass's state are kept: what a kill makes the next one do again.
const KEEP: Duration = Duration::from_secs(3);

/// Where a pass begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the beginning, whatever an earlier pass left.
    Fresh,
    /// Where a pass that did not end was; if there is none, nothing is done.
    Resume,
    /// Where a pass that did not end was, or at the beginning.
    Either,
    /// As [`Begin::Either`], but a new pass only if the last one began this long ago.
    Due(Duration),
}

/// What a pass is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubRequest {
    /// Where it begins.
    pub begin: Begin,
    /// Bytes of blobs read in a second, at most.
    pub bytes_per_s_max: u64,
    /// Blobs verified in a second, at most.
    pub blobs_per_s_max: u64,
    /// Whether unknown blobs that are old enough are given to the reclaim queue.
    pub remove_unknown: bool,
}

/// What became of a request for a pass.
#[derive(Clone, Debug)]
pub enum Scrubbed {
    /// It is over. What it found is in its counts.
    Ended(Pass),
    /// It stopped before its end; the next one goes on there.
    Interrupted {
        /// The pass so far.
        pass: Pass,
        /// Why.
        why: &'static str,
    },
    /// Another process runs one.
    Busy,
    /// There is none to go on with.
    NothingToResume,
    /// None is due before this moment.
    NotDue(Timestamp),
}

impl Site {
    /// What the settings say of a pass that begins like this.
    pub fn scrub_request(&self, begin: Begin) -> ScrubRequest {
        let scrub = &self.parts.scrub;
        ScrubRequest {
            begin,
            bytes_per_s_max: scrub.bytes_per_s_max,
            blobs_per_s_max: scrub.blobs_per_s_max,
            remove_unknown: scrub.remove_unknown,
        }
    }

    /// How long a blob must have been unknown before it may be removed.
    pub fn removal_horizon(&self) -> Duration {
        super::site::removal_horizon(&self.parts)
    }

    /// Runs a pass, telling `progress` every few seconds. Dropping the future stops it; what it did is kept up to the last few
    /// seconds.
    pub async fn scrub(
        &self,
        request: ScrubRequest,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Scrubbed, SiteError> {
        let mut holder = Holder([0; 16]);
        self.parts.entropy.fill(&mut holder.0)?;
        let now = self.parts.clock.now();
        let Some(state) = self.index.take_job(JOB, holder, now, now.after(LEASE)).await? else {
            return Ok(Scrubbed::Busy);
        };
        let last = Pass::read(&state);
        let pass = match begun(request.begin, &last, now) {
            Ok(pass) => pass,
            Err(not) => {
                self.index.keep_job(JOB, holder, now, state).await?;
                return Ok(not);
            }
        };
        let pass = Mutex::new(self.watched(pass, now));
        let number = lock(&pass).number;
        let decided = self.admit(&self.operator()?, &Operation::Maintain, "scrub").await?;
        let mut run = Run::new(self, request, &pass, decided);
        let done = tokio::select! {
            // What it reads from the store must not take the places, and the retries, of those who wait for an answer.
            done = in_background(Box::pin(run.run())) => done,
            () = self.keep(holder, &pass, progress) => Err(Stop::Lost),
        };
        let pass = run.close(&done);
        let expires = self.parts.clock.now();
        let kept = self.index.keep_job(JOB, holder, expires, Bytes::from(run::state_of(&pass, &done))).await;
        self.remember(number);
        match done {
            Ok(()) => {
                kept?;
                self.tell(&pass);
                Ok(Scrubbed::Ended(pass))
            }
            Err(Stop::Site(error)) => Err(*error),
            Err(stop) => {
                let why = stop.why();
                event::scrub_interrupted(&self.parts.region.id, number, why);
                Ok(Scrubbed::Interrupted { pass, why })
            }
        }
    }

    /// Keeps the job and the state; ends when the job was lost, or could not be kept for as long as it lasts.
    async fn keep(&self, holder: Holder, pass: &Mutex<Pass>, progress: &(dyn Fn(Progress) + Send + Sync)) {
        let mut kept = Instant::now();
        loop {
            let (state, at) = {
                let pass = lock(pass);
                (pass.write(), pass.progress())
            };
            self.metrics().scrub_progress_permille().set(i64::from(at.permille));
            progress(at);
            let expires = self.parts.clock.now().after(LEASE);
            match self.index.keep_job(JOB, holder, expires, Bytes::from(state)).await {
                Ok(true) => kept = Instant::now(),
                Ok(false) => return,
                Err(_) if kept.elapsed() >= LEASE => return,
                Err(_) => {}
            }
            sleep(KEEP).await;
        }
    }

    /// Starts watching unknown blobs anew if the index is not the one that was watched: another life of it, or an earlier state
    /// of the same, put back. What such an index does not know may be what it forgot.
    fn watched(&self, mut pass: Pass, now: Timestamp) -> Pass {
        if let Some(seen) = self.remembered().filter(|seen| *seen > pass.number) {
            pass.incarnation.clear();
            // Once is enough: the passes after this one are counted on from what was seen.
            pass.number = seen + 1;
        }
        pass.watch(&hex::encode(self.vault.incarnation().0), now);
        pass
    }

    /// The highest number of a pass that was run from this folder: an index that has a lower one was put back.
    fn remembered(&self) -> Option<u64> {
        std::fs::read_to_string(self.memory_path()).ok()?.trim().parse().ok()
    }

    fn remember(&self, number: u64) {
        let number = number.max(self.remembered().unwrap_or_default());
        if let Err(error) = std::fs::write(self.memory_path(), format!("{number}\n")) {
            event::scrub_pass_not_noted(&self.parts.region.id, &error);
        }
    }

    fn memory_path(&self) -> std::path::PathBuf {
        self.parts.settings.state_dir.join("scrub-pass")
    }

    fn tell(&self, pass: &Pass) {
        let (counts, region) = (&pass.counts, &self.parts.region.id);
        let damaged = counts.missing + counts.corrupt;
        let took = Duration::from_millis(pass.ended_ms.unwrap_or_default().saturating_sub(pass.begun_ms));
        event::scrub_ended(region, pass.number, counts.verified, damaged, counts.unreadable, took);
        if counts.unknown + counts.elsewhere + counts.foreign_names > 0 {
            event::blobs_unknown(region, counts.unknown, counts.elsewhere, counts.foreign_names);
        }
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = self.metrics();
        metrics.scrub_damaged().set(gauge(damaged));
        metrics.scrub_unknown().set(gauge(counts.unknown + counts.elsewhere));
        metrics.scrub_ended_seconds().set(gauge(pass.ended_ms.unwrap_or_default() / 1000));
        metrics.scrub_progress_permille().set(1000);
    }
}

/// The pass to run, or why there is none.
#[expect(clippy::result_large_err, reason = "asked once for a pass that reads a whole store")]
fn begun(begin: Begin, last: &Pass, now: Timestamp) -> Result<Pass, Scrubbed> {
    let due = |every: Duration| Timestamp::from_millis(last.begun_ms).after(every);
    match begin {
        Begin::Fresh => Ok(last.next(now)),
        _ if last.is_unfinished() => Ok(last.clone()),
        Begin::Resume => Err(Scrubbed::NothingToResume),
        Begin::Due(every) if last.number > 0 && due(every) > now => Err(Scrubbed::NotDue(due(every))),
        Begin::Either | Begin::Due(_) => Ok(last.next(now)),
    }
}

/// A pass is plain data: a panic between two changes breaks nothing in it.
fn lock(pass: &Mutex<Pass>) -> MutexGuard<'_, Pass> {
    pass.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ended(outcome: Outcome) -> Ended {
    Ended::new(outcome, None)
}
