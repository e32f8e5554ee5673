//! A store that takes no new blob while it is not where its region's file says.
//!
//! A bucket can be moved, or made anew elsewhere, while a process serves: the place is not asked for once, at the start, and then
//! believed for months. What lies there already is still read and deleted: that it lies in the wrong place is nobody's reason to lose it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::envelope::Sealed;
use crate::model::Clock;
use crate::placement::Placement;

use super::{
    BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, Location, Page, ProbeError, Verb,
    Whereabouts, whereabouts,
};

/// A store, and whether it was last seen where it belongs.
pub struct Anchored {
    inner: Arc<dyn BlobStore>,
    adrift: AtomicBool,
}

impl Anchored {
    /// Takes `inner` for being where it belongs until [`look`](Self::look) finds otherwise: the start-up probe has asked.
    pub const fn new(inner: Arc<dyn BlobStore>) -> Self {
        Self { inner, adrift: AtomicBool::new(false) }
    }

    /// Whether new blobs are refused.
    pub fn is_adrift(&self) -> bool {
        self.adrift.load(Ordering::SeqCst)
    }

    /// Asks the store where it is. Another place, or a bucket that is not what it must be (it keeps old generations of what is
    /// deleted, or is gone), stops writes; the right answer lets them go on; no answer changes nothing.
    pub async fn look(&self, clock: &dyn Clock) -> Result<Whereabouts, ProbeError> {
        let found = whereabouts(&*self.inner, clock).await;
        match &found {
            Ok(_) => self.adrift.store(false, Ordering::SeqCst),
            Err(ProbeError::Elsewhere { .. }) => self.adrift.store(true, Ordering::SeqCst),
            Err(ProbeError::Failed(error)) if error.kind() == ErrorKind::Misconfigured => {
                self.adrift.store(true, Ordering::SeqCst);
            }
            Err(_) => {}
        }
        found
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BlobStore for Anchored {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        if self.is_adrift() {
            return Err(Error::with(
                Verb::Put,
                ErrorKind::Misconfigured,
                "the store is not where it must be",
            ));
        }
        self.inner.put(at, sealed).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<bytes::Bytes, Error> {
        self.inner.read(at, range).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        self.inner.head(at).await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        self.inner.delete(at).await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        self.inner.list(placed, after, limit).await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        self.inner.locate().await
    }

    fn describe(&self) -> Description {
        self.inner.describe()
    }
}

impl fmt::Debug for Anchored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchored")
            .field("description", &self.describe())
            .field("adrift", &self.is_adrift())
            .finish_non_exhaustive()
    }
}
