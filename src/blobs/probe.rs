//! Asks a store at start whether it keeps the contract, and where it says it is.

use std::fmt;

use crate::envelope::Sealed;
use crate::model::{BlobId, Clock, Timestamp};
use crate::placement::Placement;

use super::{BlobStore, Cursor, Error, ErrorKind, Location};

/// What the store turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Whether it refuses to overwrite. A store that does not (Garage) still serves, because names are never reused; the
    /// region's file must then say so.
    pub create_if_absent: bool,
    /// Where it is.
    pub whereabouts: Whereabouts,
    /// How long it keeps what we deleted, out of our sight, in seconds; see
    /// [`Description::deleted_kept_s`](super::Description).
    pub deleted_kept_s: Option<u64>,
}

/// What is declared, what was observed and when: kept apart, because one is a promise and the other a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// What the region's file says.
    pub declared: Option<String>,
    /// What the store said, and when.
    pub observed: Observation,
    /// When the store was asked.
    pub asked: Timestamp,
}

/// The store's own answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// This store cannot be asked, or answers with nothing (`SeaweedFS`): the declaration stands alone, never "verified".
    Silent,
    /// It names the declared location.
    Agrees(String),
    /// It names one where none is declared: nothing to hold it against. (One that *contradicts* the declaration is
    /// [`ProbeError::Elsewhere`]: nothing may be written until somebody has looked.)
    Undeclared(String),
}

/// Why a store may not be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A verb failed.
    #[error("the store failed its start-up probe")]
    Failed(#[from] Error),
    /// A verb succeeded and told a lie.
    #[error("the store does not keep its contract: {0}")]
    Lied(Lie),
    /// The store is somewhere else than declared.
    #[error("the store is in {observed:?} but declared in {declared:?}")]
    Elsewhere {
        /// What the region's file says.
        declared: String,
        /// What the store said.
        observed: String,
    },
}

/// Ways in which a store can break its contract while reporting success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// What was read is not what was written.
    ReadsOtherBytes,
    /// A range is not the bytes of that range.
    IgnoresRanges,
    /// A range past the end came back as if it were whole.
    InventsBytes,
    /// The length told is not the length written.
    WrongLength,
    /// What was written is not listed.
    NotListed,
    /// Writing the same bytes again under the same name, as a retry does, is refused.
    RefusesRetry,
    /// What was deleted is still there.
    KeepsDeleted,
    /// A name that is taken is overwritten, though its region's file does not say so.
    Overwrites,
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadsOtherBytes => "it gives back other bytes than were written",
            Self::IgnoresRanges => "it ignores ranges",
            Self::InventsBytes => "it answers a range past the end as if it were whole",
            Self::WrongLength => "it tells a wrong length",
            Self::NotListed => "it does not list what was written",
            Self::RefusesRetry => "it refuses a retry of the same write",
            Self::KeepsDeleted => "it keeps what was deleted",
            Self::Overwrites => "it overwrites a taken name, which its region's file does not declare",
        })
    }
}

/// Writes, reads, overwrites, lists and deletes a throw-away blob, and asks where the store is.
///
/// `id` must be fresh (random); `first` and `second` are both sealed as blob `id`, under a key that is then thrown away, and
/// differ. Cleans up also where it fails.
pub async fn probe(
    store: &dyn BlobStore,
    placed: &Placement,
    id: BlobId,
    (first, second): (Sealed, Sealed),
    clock: &dyn Clock,
) -> Result<ProbeReport, ProbeError> {
    let whereabouts = whereabouts(store, clock).await?;
    let at = Location::of(placed, id);
    let asked = contract(store, placed, &at, first, second).await;
    let cleaned = store.delete(&at).await;
    let create_if_absent = asked?;
    cleaned?;
    match store.head(&at).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let deleted_kept_s = store.describe().deleted_kept_s;
            Ok(ProbeReport { create_if_absent, whereabouts, deleted_kept_s })
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err(ProbeError::Lied(Lie::KeepsDeleted)),
    }
}

/// Asks only where the store is: the part of the probe that writes nothing, and that is asked again while a process serves.
pub async fn whereabouts(store: &dyn BlobStore, clock: &dyn Clock) -> Result<Whereabouts, ProbeError> {
    let declared = store.describe().declared_location;
    let said = store.locate().await?.filter(|said| !said.is_empty());
    let observed = match (said, &declared) {
        (None, _) => Observation::Silent,
        (Some(said), None) => Observation::Undeclared(said),
        (Some(said), Some(declared)) if said == *declared => Observation::Agrees(said),
        (Some(observed), Some(declared)) => {
            return Err(ProbeError::Elsewhere { declared: declared.clone(), observed });
        }
    };
    Ok(Whereabouts { declared, observed, asked: clock.now() })
}

async fn contract(
    store: &dyn BlobStore,
    placed: &Placement,
    at: &Location,
    first: Sealed,
    second: Sealed,
) -> Result<bool, ProbeError> {
    let ensure = |kept: bool, lie: Lie| if kept { Ok(()) } else { Err(ProbeError::Lied(lie)) };
    let bytes = first.clone().into_bytes();
    let len = bytes.len() as u64;

    store.put(at, first.clone()).await?;
    ensure(store.read(at, 0..len).await? == bytes, Lie::ReadsOtherBytes)?;
    ensure(store.read(at, 1..len).await? == bytes.slice(1..), Lie::IgnoresRanges)?;
    ensure(store.head(at).await?.len == len, Lie::WrongLength)?;
    match store.read(at, 0..len + 1).await {
        Err(error) if error.kind() == ErrorKind::Truncated => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(ProbeError::Lied(Lie::InventsBytes)),
    }
    let before = at.id().as_bytes().iter().rposition(|b| *b > 0).map(|last| {
        let mut before = *at.id().as_bytes();
        before[last] -= 1;
        before[last + 1..].fill(u8::MAX);
        Cursor::after(BlobId::from_bytes(before))
    });
    ensure(store.list(placed, before.as_ref(), 1).await?.ids.contains(&at.id()), Lie::NotListed)?;
    match store.put(at, first).await {
        Err(error) if error.kind() == ErrorKind::Exists => return Err(ProbeError::Lied(Lie::RefusesRetry)),
        again => again?,
    }
    match store.put(at, second).await {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::Exists => Ok(true),
        Err(error) => Err(error.into()),
    }
}
