//! Clear ⇄ sealed: the only module that calls envelope, keys, index and store together.
//!
//! A write is *bytes first*: blobs durable in the store, then one index transaction, then the answer. A read opens the
//! sealed record that the index holds, plans which ciphertext it needs, and opens every byte before it hands it on.
//! Every method takes a [`Decided`]: a placement whose audit record is durable.

mod buckets;
mod classes;
mod cut;
mod debris;
mod error;
mod housekeeping;
mod memory;
mod read;
mod records;
mod scrub;
mod sealing;
mod source;
mod sure_time;
mod uploads;
mod write;

use std::sync::Arc;
use std::time::Duration;

use crate::audit::Recorded;
use crate::blobs::BlobStore;
use crate::index::Index;
use crate::keys::Ring;
use crate::model::{Clock, Entropy, Environment, RegionId, Timestamp};
use crate::placement::Placement;
use crate::telemetry::event;

pub use crate::blobs::{Error as StoreError, ErrorKind as StoreErrorKind};
pub use crate::index::{IndexError, ListRequest, Position, Precondition};
pub use classes::{Classes, Treatment};
pub use error::{VaultError, WriteError};
pub use housekeeping::{Due, DueAfter, Reclaimed};
pub use memory::{Exhausted, Lease, Memory, MemoryLimits};
pub use read::{Reading, Stored};
pub use records::Trace;
pub use scrub::{Checked, Counts, Found, Identity, Outcome, Owner, OwnerRow, Pace, Pass, Phase, Progress};
pub use source::Source;
pub use uploads::{ChosenPart, Completion, NewUpload, PartWritten, UploadFacts, Whole};
pub use write::{Write, Written};

use debris::Sweeper;
use sure_time::SureTime;

/// A placement whose decision record is durable: what every effect needs.
pub type Decided = Recorded<Placement>;

/// What a vault is built from.
#[derive(Clone, Debug)]
pub struct VaultParts {
    /// Which deployment.
    pub environment: Environment,
    /// The one region served.
    pub region: RegionId,
    /// Holds the blobs.
    pub store: Arc<dyn BlobStore>,
    /// Knows the names.
    pub index: Arc<dyn Index>,
    /// Hands out KEKs.
    pub ring: Ring,
    /// How each class is treated.
    pub classes: Classes,
    /// The region's budget for bodies.
    pub memory: Memory,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Bounds.
    pub settings: VaultSettings,
}

/// Bounds of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultSettings {
    /// Clear bytes of a record per blob: 64 KiB to 8 MiB.
    pub blob_bytes_max: u64,
    /// Blobs of one write under way to the store at once.
    pub uploads_in_flight_max: usize,
    /// How long a blob that nothing names any more is kept: longer than the longest request, and at least the index's
    /// restore horizon.
    pub reclaim_delay: Duration,
    /// How long a write may last, from its begin to its commit: well below the time after which its blobs, if no row names
    /// them, may be given up. Half of it leaves the other half for clocks that differ.
    pub write_max: Duration,
}

/// One region's records.
#[derive(Clone, Debug)]
pub struct Vault {
    parts: Arc<VaultParts>,
    sweeper: Sweeper,
    recent: Arc<uploads::RecentUploads>,
    sure: Arc<SureTime>,
}

impl Vault {
    /// Over the parts of one region. Starts the task that clears up after failed writes; call within a runtime.
    pub fn new(parts: VaultParts) -> Self {
        let sweeper =
            Sweeper::start(Arc::clone(&parts.index), Arc::clone(&parts.clock), parts.settings.reclaim_delay);
        // The longest of the delays: twice [`VaultSettings::write_max`] is the least age of what is given up.
        let kept = parts.settings.reclaim_delay.max(parts.settings.write_max * 2).max(housekeeping::REPLAY);
        let sure = Arc::new(SureTime::new(kept, parts.clock.as_ref()));
        Self { parts: Arc::new(parts), sweeper, recent: Arc::default(), sure }
    }

    /// The time as far as it is sure, for deleting what was given a delay of at most `delay`: a wall clock that was set ahead
    /// is believed when the step is older than that. Not later than the wall clock.
    pub fn sure_now(&self, delay: Duration) -> Timestamp {
        self.sure.now(self.parts.clock.as_ref(), delay)
    }

    /// The region whose records these are.
    pub fn region(&self) -> &RegionId {
        &self.parts.region
    }

    /// Waits, for at most `limit`, until what failed writes left behind is queued for deletion. To be called before the index
    /// is closed: a drain that cuts writes off leaves blobs that nothing else remembers.
    pub async fn settle(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.sweeper.settled()).await.is_err() {
            event::debris_left(None, "they could not be queued before the drain ended");
        }
    }

    /// The budget for bodies.
    pub fn memory(&self) -> &Memory {
        &self.parts.memory
    }
}
