//! What goes down the outbound stack: a verb as a value that can be repeated, and what each layer adds to it.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use tokio::time::Instant;

use crate::envelope::Sealed;
use crate::placement::Placement;
use crate::shares::Claimant;
use crate::telemetry::StoreVerb;

use super::super::location::claimant;
use super::super::{BLOB_BYTES_MAX, BlobInfo, Cursor, Error, Location, Page, Verb};
use super::circuit::Pass;

/// The future of every layer that has to wait for something itself.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<BlobAnswer, Error>> + Send>>;

/// One verb of a store with all it needs. Cheap to clone: bytes are shared.
#[derive(Clone, Debug)]
pub(super) enum BlobRequest {
    Put(Location, Sealed),
    Read(Location, Range<u64>),
    Head(Location),
    Delete(Location),
    List { placed: Placement, after: Option<Cursor>, limit: usize },
    Locate,
}

/// What a verb answers.
#[derive(Debug)]
pub(super) enum BlobAnswer {
    Done,
    Bytes(Bytes),
    Info(BlobInfo),
    Page(Page),
    Place(Option<String>),
}

/// Whose turn it is when there is not room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Somebody waits for it.
    Foreground,
    /// Nobody does: clearing up, checking. It gets what the other lane leaves.
    Background,
}

/// A request as the top of the stack takes it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) request: BlobRequest,
    pub(super) lane: Lane,
}

/// A call that knows when it must be over. Made by the deadline alone.
#[derive(Clone, Debug)]
pub(super) struct Timed {
    pub(super) call: Call,
    pub(super) deadline: Instant,
}

/// One attempt that the circuit let pass. Made by the gate alone.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) timed: Timed,
    pub(super) pass: Pass,
}

tokio::task_local! {
    static IN_BACKGROUND: ();
}

/// Runs `work` with all its calls to any store in the background lane: they take a small share of the places, stand in no
/// request's way, and retry from a budget of their own. Deleting and listing always do; this is for maintenance that reads.
///
/// Holds for the calls made in `work` itself, not for tasks it spawns.
pub async fn in_background<T>(work: impl Future<Output = T>) -> T {
    IN_BACKGROUND.scope((), work).await
}

/// Whether the calls made here and now are [`in_background`].
pub fn is_in_background() -> bool {
    IN_BACKGROUND.try_with(|()| ()).is_ok()
}

impl Call {
    /// A call in the lane of its verb and of the task that makes it.
    pub(super) fn new(request: BlobRequest) -> Self {
        // No request of a client deletes from a store or lists it: only reclaiming and scrubbing do.
        let maintains = matches!(request, BlobRequest::Delete(_) | BlobRequest::List { .. });
        let background = maintains || is_in_background();
        Self { request, lane: if background { Lane::Background } else { Lane::Foreground } }
    }
}

impl BlobRequest {
    pub(super) fn verb(&self) -> Verb {
        match self {
            Self::Put(..) => Verb::Put,
            Self::Read(..) => Verb::Read,
            Self::Head(_) => Verb::Head,
            Self::Delete(_) => Verb::Delete,
            Self::List { .. } => Verb::List,
            Self::Locate => Verb::Locate,
        }
    }

    /// The verb as metrics name it. Where a store is, is asked at start and seldom after: not counted.
    pub(super) fn label(&self) -> Option<StoreVerb> {
        match self {
            Self::Put(..) => Some(StoreVerb::Put),
            Self::Read(..) => Some(StoreVerb::Get),
            Self::Head(_) => Some(StoreVerb::Head),
            Self::Delete(_) => Some(StoreVerb::Delete),
            Self::List { .. } => Some(StoreVerb::List),
            Self::Locate => None,
        }
    }

    /// Whose share of the places it takes.
    pub(super) fn claimant(&self) -> Claimant {
        match self {
            Self::Put(at, _) | Self::Read(at, _) | Self::Head(at) | Self::Delete(at) => at.claimant(),
            Self::List { placed, .. } => claimant(placed),
            Self::Locate => Claimant::maintenance(),
        }
    }

    /// Bytes of blobs that it moves, either way; never more than a blob has, whatever is asked for.
    pub(super) fn moved_bytes(&self) -> u64 {
        let bytes = match self {
            Self::Put(_, sealed) => sealed.len() as u64,
            Self::Read(_, range) => range.end.saturating_sub(range.start),
            Self::Head(_) | Self::Delete(_) | Self::List { .. } | Self::Locate => 0,
        };
        bytes.min(BLOB_BYTES_MAX)
    }
}
