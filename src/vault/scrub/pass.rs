//! One pass over a region: how far it is, and what it found so far. Kept in the index, so that a killed pass goes on where it was.
//!
//! Holds identifiers and numbers, no name of a record.

use serde::{Deserialize, Serialize};

use crate::index::LivePosition;
use crate::model::{BlobId, Timestamp, VersionId};

/// What became of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// There, of the right length, and every byte of it opens.
    Verified,
    /// The index has it, the store does not.
    Missing,
    /// It is not what was written.
    Corrupt,
    /// Store, keys or memory could not be had: says nothing about the blob.
    Unreadable,
    /// Of a tenant that is not served here now: left alone.
    Skipped,
    /// In the store and not in the index.
    Unknown,
    /// In the store, and sealed for another region or environment, or not by us at all: never touched.
    Elsewhere,
    /// An unknown blob, given to the reclaim queue.
    GivenUp,
    /// Deleted from the store: it was due in the reclaim queue.
    Reclaimed,
}

/// How many blobs came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// [`Outcome::Verified`]
    pub verified: u64,
    /// Stored bytes of those.
    pub verified_bytes: u64,
    /// [`Outcome::Missing`]
    pub missing: u64,
    /// [`Outcome::Corrupt`]
    pub corrupt: u64,
    /// [`Outcome::Unreadable`]
    pub unreadable: u64,
    /// [`Outcome::Skipped`]
    pub skipped: u64,
    /// Blobs that the store lists, all together.
    pub listed: u64,
    /// [`Outcome::Unknown`]; those given up are among them.
    pub unknown: u64,
    /// [`Outcome::Elsewhere`]
    pub elsewhere: u64,
    /// Names in the store that we never give.
    pub foreign_names: u64,
    /// [`Outcome::GivenUp`]
    pub given_up: u64,
    /// [`Outcome::Reclaimed`]
    pub reclaimed: u64,
    /// Deletions that failed; they stay queued.
    pub reclaim_failed: u64,
}

impl Counts {
    /// One more of this outcome.
    pub fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Verified => &mut self.verified,
            Outcome::Missing => &mut self.missing,
            Outcome::Corrupt => &mut self.corrupt,
            Outcome::Unreadable => &mut self.unreadable,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Elsewhere => &mut self.elsewhere,
            Outcome::GivenUp => &mut self.given_up,
            Outcome::Reclaimed => &mut self.reclaimed,
        };
        *count = count.saturating_add(1);
    }

    /// Whether sealed bytes were found wrong or gone.
    pub const fn has_damage(&self) -> bool {
        self.missing > 0 || self.corrupt > 0
    }
}

/// What a pass does, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Verifies what the index has.
    #[default]
    Live,
    /// Tells apart what the store holds.
    Stored,
    /// Empties the reclaim queue.
    Reclaim,
    /// It is over.
    Done,
}

/// One finding. Names the blob, which is opaque, and never its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The blob; of a version whose list of blobs is wrong, the version's record.
    pub blob: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Which check failed, or what it is.
    pub what: String,
    /// How long it is known, in seconds; of unknown blobs alone.
    pub age_s: Option<u64>,
}

/// Findings that a pass keeps one by one; beyond it they are counted (and still logged).
pub(super) const FINDINGS_MAX: usize = 100;

/// How far the walk over live blobs is: version, part, place in the part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place(String, u16, u32);

impl From<LivePosition> for Place {
    fn from(at: LivePosition) -> Self {
        Self(at.version.to_string(), at.part, at.ordinal)
    }
}

/// A pass, under way or over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pass {
    /// Passes of this region are counted from 1.
    pub number: u64,
    /// When it began.
    pub begun_ms: u64,
    /// When it was over.
    pub ended_ms: Option<u64>,
    /// What it is doing.
    pub phase: Phase,
    live_after: Option<Place>,
    stored_after: Option<String>,
    /// What it found.
    pub counts: Counts,
    /// The first findings.
    pub findings: Vec<Found>,
    /// In which life of the index (hex), and since when unknown blobs have been watched in it: what was seen before does not
    /// count towards a removal.
    pub incarnation: String,
    /// See [`Pass::incarnation`].
    pub watched_since_ms: u64,
}

/// Where a pass stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// How much of the phase is done, in thousandths. Identifiers are random, so a place in their order says how much is behind it.
    pub permille: u16,
    /// What it found so far.
    pub counts: Counts,
}

impl Pass {
    /// The pass that the index keeps. What does not read as one begins anew, as number 1: nothing that it said can be trusted.
    pub fn read(state: &[u8]) -> Self {
        serde_json::from_slice(state).unwrap_or_default()
    }

    /// As the index keeps it.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The pass after this one.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Self {
        Self {
            number: self.number + 1,
            begun_ms: now.millis(),
            incarnation: self.incarnation.clone(),
            watched_since_ms: self.watched_since_ms,
            ..Self::default()
        }
    }

    /// Whether it began and is not over.
    pub const fn is_unfinished(&self) -> bool {
        self.number > 0 && self.ended_ms.is_none()
    }

    /// Starts watching for unknown blobs anew if the index is in another life than the one that was watched.
    pub fn watch(&mut self, incarnation: &str, now: Timestamp) {
        if self.incarnation != incarnation {
            incarnation.clone_into(&mut self.incarnation);
            self.watched_since_ms = now.millis();
        }
    }

    /// Counts, and keeps the finding if there is room.
    pub fn found(&mut self, found: Found) {
        self.counts.add(found.outcome);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(found);
        }
    }

    /// Where the walk over live blobs goes on.
    pub fn live_after(&self) -> Option<LivePosition> {
        let Place(version, part, ordinal) = self.live_after.as_ref()?;
        let version: VersionId = version.parse().ok()?;
        Some(LivePosition { version, part: *part, ordinal: *ordinal })
    }

    /// The walk over live blobs is past `at`.
    pub fn is_past(&mut self, at: Option<LivePosition>) {
        self.live_after = at.map(Place::from);
    }

    /// Where the walk over the store goes on.
    pub fn stored_after(&self) -> Option<BlobId> {
        self.stored_after.as_ref()?.parse().ok()
    }

    /// The walk over the store is past `blob`.
    pub fn is_past_blob(&mut self, blob: BlobId) {
        self.stored_after = Some(blob.to_string());
    }

    /// Where it stands.
    pub fn progress(&self) -> Progress {
        let at = match self.phase {
            Phase::Live => self.live_after().map(|at| *at.version.as_bytes()),
            Phase::Stored => self.stored_after().map(|blob| *blob.as_bytes()),
            Phase::Reclaim | Phase::Done => Some([0xff; 16]),
        };
        let [high, low, ..] = at.unwrap_or_default();
        let permille = u32::from(u16::from_be_bytes([high, low])) * 1000 / u32::from(u16::MAX);
        Progress { phase: self.phase, permille: u16::try_from(permille).unwrap_or(1000), counts: self.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_pass_is_read_as_it_was_written() {
        let mut pass = Pass::default().next(now(7));
        pass.watch("ab", now(8));
        pass.is_past(Some(LivePosition {
            version: VersionId::from_bytes([0x80; 16]),
            part: 10_000,
            ordinal: u32::MAX,
        }));
        pass.is_past_blob(BlobId::from_bytes([3; 16]));
        let blob = "03".repeat(16);
        for outcome in [Outcome::Missing, Outcome::Corrupt, Outcome::Unknown, Outcome::GivenUp] {
            pass.found(Found { blob: blob.clone(), outcome, what: "it".to_owned(), age_s: Some(1) });
        }
        assert_eq!(Pass::read(&pass.write()), pass);
        assert_eq!(pass.progress().permille, 501);
        assert!(pass.is_unfinished() && pass.counts.has_damage());
    }

    #[test]
    fn findings_beyond_the_limit_are_counted_and_the_state_stays_small() {
        let mut pass = Pass::default().next(now(0));
        for _ in 0..10_000 {
            let what =
                "the envelope's longest words about what is wrong with a blob, and then some".to_owned();
            pass.found(Found { blob: "00".repeat(16), outcome: Outcome::Corrupt, what, age_s: None });
        }
        assert_eq!((pass.findings.len(), pass.counts.corrupt), (FINDINGS_MAX, 10_000));
        assert!(pass.write().len() < crate::index::JOB_STATE_BYTES_MAX, "{}", pass.write().len());
    }

    #[test]
    fn what_was_seen_in_another_life_of_the_index_does_not_count() {
        let mut pass = Pass::default().next(now(5));
        pass.watch("aa", now(5));
        pass.watch("aa", now(9));
        assert_eq!(pass.watched_since_ms, 5);
        let mut next = pass.next(now(20));
        next.watch("aa", now(20));
        assert_eq!((next.number, next.watched_since_ms), (2, 5), "the next pass watches on");
        next.watch("bb", now(30));
        assert_eq!(next.watched_since_ms, 30);
    }

    #[test]
    fn a_state_that_does_not_read_trusts_nothing_it_said() {
        for state in [&b""[..], b"{", b"[\"x\"]", b"{\"number\":\"x\",\"watched_since_ms\":1}"] {
            let pass = Pass::read(state);
            assert_eq!((pass.number, pass.is_unfinished(), pass.live_after()), (0, false, None));
        }
    }
}
