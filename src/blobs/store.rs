//! The contract of a store: five verbs on opaque names, and two questions about the store itself.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::envelope::Sealed;
use crate::model::{BlobId, RegionId};
use crate::placement::Placement;

use super::location::{Location, name_of};
use super::{BLOB_BYTES_MAX, Error, ErrorKind, Verb};

/// One region's store of sealed blobs.
///
/// Every verb may be repeated after a retryable error; a verb that is dropped halfway leaves either its whole effect or
/// none. No method has a default, so a wrapper cannot forget one.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Writes the blob, durable when this returns. `sealed` must have been sealed as the blob that `at` names.
    ///
    /// Create if absent: a name that holds *other* bytes is [`ErrorKind::Exists`]; a name that holds the *same* bytes is
    /// success. Names are random and belong to one attempt, so the same bytes mean that an earlier try of this attempt
    /// arrived though its answer was lost. (A store that ignores conditions, see
    /// [`ProbeReport::create_if_absent`](super::ProbeReport), overwrites instead: harmless while names are never reused.)
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error>;

    /// Reads exactly `range` (bytes of the sealed blob, half open, not empty): all of it, or an error.
    ///
    /// A blob that ends earlier is [`ErrorKind::Truncated`], one that is missing [`ErrorKind::NotFound`].
    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error>;

    /// What the store knows of the blob, or [`ErrorKind::NotFound`].
    async fn head(&self, at: &Location) -> Result<BlobInfo, Error>;

    /// Deletes the blob, durably. A blob that is not there is success.
    async fn delete(&self, at: &Location) -> Result<(), Error>;

    /// A page of what the store holds, ascending by id, for maintenance: the names after `after`, at most `limit` of
    /// them (from 1 to [`LIST_NAMES_MAX`](super::LIST_NAMES_MAX); values outside are moved inside).
    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error>;

    /// Where the store *says* it is (`GetBucketLocation`): an observation, to be held against the declaration. `None` if
    /// this store cannot say.
    async fn locate(&self) -> Result<Option<String>, Error>;

    /// What this store is. No I/O.
    fn describe(&self) -> Description;
}

/// What [`BlobStore::head`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Length of the sealed blob in bytes.
    pub len: u64,
}

/// What [`BlobStore::list`] tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The blobs, ascending.
    pub ids: Vec<BlobId>,
    /// How many names under our prefix are none that we give. Not ours to touch; worth an alarm.
    pub foreign: usize,
    /// Where the next page starts; `None` after the last one. A page may be empty and still have a next one.
    pub next: Option<Cursor>,
}

/// A position in a listing: after this name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(super) String);

impl Cursor {
    /// Right after blob `id`, whether or not it exists.
    pub fn after(id: BlobId) -> Self {
        Self(name_of(id))
    }
}

/// The kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// A map in memory: lost with the process.
    Memory,
    /// A directory of a local file system.
    Fs,
    /// An S3-compatible service.
    S3,
    /// Google Cloud Storage.
    Gcs,
}

impl StoreKind {
    /// As region files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fs => "fs",
            Self::S3 => "s3",
            Self::Gcs => "gcs",
        }
    }
}

/// What a store is: for logs, reports and the start-up line. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its kind.
    pub kind: StoreKind,
    /// The only region it serves.
    pub region: RegionId,
    /// The host it talks to, without port; `None` for stores without a network.
    pub endpoint_host: Option<String>,
    /// The location its region file declares, if the store can be asked for one.
    pub declared_location: Option<String>,
    /// How long the store keeps what we deleted, out of our sight, in seconds, as it last said: a promise of deletion holds only
    /// after that time. `None` where the store was not asked or cannot say; 0 where it said that it keeps nothing.
    pub deleted_kept_s: Option<u64>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: BlobStore + ?Sized> BlobStore for Arc<S> {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        (**self).put(at, sealed).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        (**self).read(at, range).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        (**self).head(at).await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        (**self).delete(at).await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        (**self).list(placed, after, limit).await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        (**self).locate().await
    }

    fn describe(&self) -> Description {
        (**self).describe()
    }
}

/// The length of a range that may be read, or [`ErrorKind::Unacceptable`].
pub(super) fn acceptable_range(range: &Range<u64>) -> Result<usize, Error> {
    range
        .end
        .checked_sub(range.start)
        .filter(|len| (1..=BLOB_BYTES_MAX).contains(len))
        .and_then(|len| usize::try_from(len).ok())
        .ok_or_else(|| Error::new(Verb::Read, ErrorKind::Unacceptable))
}

/// The bytes of a blob that may be written there, or [`ErrorKind::Unacceptable`].
///
/// Pair assertion: what the envelope sealed as one blob is not stored as another, where nobody could open it again.
pub(super) fn acceptable_blob(at: &Location, sealed: Sealed) -> Result<Bytes, Error> {
    let fits = sealed.len() > 0 && sealed.len() as u64 <= BLOB_BYTES_MAX;
    if fits && sealed.blob() == at.id().as_bytes() {
        Ok(sealed.into_bytes())
    } else {
        Err(Error::new(Verb::Put, ErrorKind::Unacceptable))
    }
}
