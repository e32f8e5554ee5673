//! Refusals of callers who proved nothing: counted, and recorded in batches, so that a flood cannot fill the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a caller was turned away before it was known who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// No credential at all.
    Anonymous,
    /// A key id that is not in the directory.
    UnknownKey,
    /// A known key id, a signature that does not match.
    BadSignature,
    /// A signature that is too old, or from the future.
    Expired,
    /// A key id of another region: redirected.
    OtherRegion,
    /// A request that could not be understood.
    Malformed,
}

impl Stranger {
    pub(super) const ALL: [Self; 6] = [
        Self::Anonymous,
        Self::UnknownKey,
        Self::BadSignature,
        Self::Expired,
        Self::OtherRegion,
        Self::Malformed,
    ];
}

/// Counts since the last summary record.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    counts: [AtomicU64; Stranger::ALL.len()],
    total: AtomicU64,
}

impl Strangers {
    /// Counts one; says how many there are since the last summary, this one included.
    pub(super) fn add(&self, kind: Stranger) -> u64 {
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Acquire)
    }

    /// Takes the counts, leaving zero. One that is added meanwhile lands in this summary or the next, never in both.
    pub(super) fn take(&self) -> [u64; Stranger::ALL.len()] {
        self.total.swap(0, Ordering::AcqRel);
        std::array::from_fn(|kind| self.counts[kind].swap(0, Ordering::AcqRel))
    }

    /// Puts counts back whose summary could not be written.
    pub(super) fn put_back(&self, counts: &[u64; Stranger::ALL.len()]) {
        for (slot, count) in self.counts.iter().zip(counts) {
            slot.fetch_add(*count, Ordering::Relaxed);
        }
        self.total.fetch_add(counts.iter().sum(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_slot() {
        for (index, kind) in Stranger::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn counts_that_could_not_be_written_are_not_lost() {
        let strangers = Strangers::default();
        strangers.add(Stranger::Expired);
        let taken = strangers.take();
        assert_eq!(strangers.total(), 0);
        strangers.put_back(&taken);
        assert_eq!(strangers.add(Stranger::Expired), 2);
        assert_eq!(strangers.take()[Stranger::Expired as usize], 2);
    }
}
