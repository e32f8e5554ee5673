//! What happens to a call on its way to a region's store, top to bottom. Above every layer stands the reason for its position.
//!
//! Each region has a stack of its own: budget, places and circuit of one know nothing of another's.

mod attempt;
mod calls;
mod circuit;
mod driver;
mod gate;
mod limit;
mod request;
mod retry;

use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, retry::RetryLayer};

use crate::envelope::Sealed;
use crate::model::Entropy;
use crate::placement::Placement;
use crate::shares::away;
use crate::telemetry::Metrics;

use super::{BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, Location, Page, Verb};

use self::attempt::{Attempt, Patience};
use self::calls::{Calls, Deadline};
use self::circuit::Breaker;
use self::driver::Driver;
use self::gate::{Gate, Watch};
use self::limit::Limit;
use self::request::{BlobAnswer, BlobRequest, Call};
use self::retry::Again;

pub use self::circuit::CircuitSettings;
pub use self::limit::LimitSettings;
pub use self::request::{in_background, is_in_background};
pub use self::retry::RetrySettings;

/// How a region's store is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundSettings {
    /// How long a call may take in milliseconds: waiting, all tries and the pauses between them.
    pub deadline_ms: u64,
    /// How long one try may take in milliseconds, beside the time its bytes need at 512 KiB/s.
    pub attempt_ms: u64,
    /// Repeating.
    pub retry: RetrySettings,
    /// How many at once.
    pub limit: LimitSettings,
    /// When to leave the store alone.
    pub circuit: CircuitSettings,
}

impl Default for OutboundSettings {
    /// 45 s for all: below the 60 s after which S3 SDKs give up by default. 8 s for a store to find an answer, which a
    /// healthy one does in a hundredth of it. 128 at once: with 5 ms each that is 25,000 a second.
    fn default() -> Self {
        Self {
            deadline_ms: 45_000,
            attempt_ms: 8_000,
            retry: RetrySettings::default(),
            limit: LimitSettings { in_flight_max: 128, waiting_max: 1_024, wait_ms_max: 3_000 },
            circuit: CircuitSettings::default(),
        }
    }
}

/// A region's store behind all that stands between it and its callers.
pub struct Outbound {
    stack: BoxCloneSyncService<Call, BlobAnswer, Error>,
    store: Arc<dyn BlobStore>,
    /// A disk of ours is shared by turns, like all that is ours; a service elsewhere has a queue of its own.
    is_elsewhere: bool,
}

/// How long a request keeps its turn while it waits for a store on a disk of ours: many times what a healthy one takes. One that
/// hangs must not keep out those that do not need it.
const LOCAL_MAX: Duration = Duration::from_millis(100);

impl Outbound {
    /// Puts the stack in front of `store`; `entropy` spreads the pauses.
    pub fn new(
        store: Arc<dyn BlobStore>,
        settings: OutboundSettings,
        metrics: &Arc<Metrics>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let is_elsewhere = store.describe().endpoint_host.is_some();
        Self { stack: stack(Arc::clone(&store), settings, metrics, entropy), store, is_elsewhere }
    }

    async fn ask(&self, request: BlobRequest) -> Result<BlobAnswer, Error> {
        let mut answer = pin!(self.stack.clone().oneshot(Call::new(request)));
        if !self.is_elsewhere
            && let Ok(answer) = timeout(LOCAL_MAX, answer.as_mut()).await
        {
            return answer;
        }
        away(answer).await
    }
}

/// Assembles the stack.
///
/// The types admit hardly another order: the deadline makes what the retries take, the gate what limit and watch take, and the
/// watch what an attempt takes.
fn stack(
    store: Arc<dyn BlobStore>,
    settings: OutboundSettings,
    metrics: &Arc<Metrics>,
    entropy: Arc<dyn Entropy>,
) -> BoxCloneSyncService<Call, BlobAnswer, Error> {
    let millis = Duration::from_millis;
    let region = store.describe().region;
    let breaker = Breaker::new(settings.circuit, region, Arc::clone(metrics));
    let patience = Patience::new(millis(settings.attempt_ms));
    let service = ServiceBuilder::new()
        // Outermost: it sees what callers see, whichever layer below answers them.
        .layer(Calls::layer(Arc::clone(metrics)))
        // Above everything that takes time: tries, pauses and queues together end by then.
        .layer(Deadline::layer(millis(settings.deadline_ms)))
        // Below the deadline, for a retry that cannot end in time is not begun; above circuit and queue, so that a pause holds
        // no place, and each try asks and waits like any other.
        .layer(RetryLayer::new(Again::new(settings.retry, entropy, Arc::clone(metrics))))
        // Above the queue: while the store is left alone nobody stands in line behind attempts that hang.
        .layer(Gate::layer(Arc::clone(&breaker)))
        // Below the gate, around one attempt: a place is held only while the store has something to do.
        .layer(Limit::layer(settings.limit, Arc::clone(metrics)))
        // Below the queue, whose length is ours and not the store's; above the attempt's time limit, which tells of its health.
        .layer(Watch::layer(patience))
        // Innermost: counts and times what reaches the store, each try for itself, and nothing else.
        .layer(Attempt::layer(patience, Arc::clone(metrics)))
        .service(Driver(store));
    BoxCloneSyncService::new(service)
}

/// What cannot be: a driver that answers one verb with another's answer.
fn crossed(verb: Verb) -> Error {
    Error::new(verb, ErrorKind::Internal)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for Outbound {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        match self.ask(BlobRequest::Put(at.clone(), sealed)).await? {
            BlobAnswer::Done => Ok(()),
            _ => Err(crossed(Verb::Put)),
        }
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        match self.ask(BlobRequest::Read(at.clone(), range)).await? {
            BlobAnswer::Bytes(bytes) => Ok(bytes),
            _ => Err(crossed(Verb::Read)),
        }
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        match self.ask(BlobRequest::Head(at.clone())).await? {
            BlobAnswer::Info(info) => Ok(info),
            _ => Err(crossed(Verb::Head)),
        }
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        match self.ask(BlobRequest::Delete(at.clone())).await? {
            BlobAnswer::Done => Ok(()),
            _ => Err(crossed(Verb::Delete)),
        }
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        let request = BlobRequest::List { placed: placed.clone(), after: after.cloned(), limit };
        match self.ask(request).await? {
            BlobAnswer::Page(page) => Ok(page),
            _ => Err(crossed(Verb::List)),
        }
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        match self.ask(BlobRequest::Locate).await? {
            BlobAnswer::Place(place) => Ok(place),
            _ => Err(crossed(Verb::Locate)),
        }
    }

    fn describe(&self) -> Description {
        self.store.describe()
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("store", &self.store).finish_non_exhaustive()
    }
}
