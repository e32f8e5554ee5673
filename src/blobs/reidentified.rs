//! Asks once more, under the credentials as they are by then, what the store refused under the ones before.
//!
//! A rotation at the store and one of our files are never at the same moment. Between them requests are refused that need not be.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::envelope::Sealed;
use crate::identity::Rotating;
use crate::placement::Placement;

use super::{BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, Location, Page};

/// A store that repeats, once, what was refused while its credentials were being replaced.
#[derive(Debug)]
pub struct Reidentified<S> {
    inner: S,
    identity: Arc<dyn Rotating>,
}

impl<S: BlobStore> Reidentified<S> {
    /// Wraps `inner`, whose requests are made as `identity`.
    pub const fn new(inner: S, identity: Arc<dyn Rotating>) -> Self {
        Self { inner, identity }
    }

    async fn run<T, F>(&self, call: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let used = self.identity.changes();
        match call().await {
            Err(error) if error.kind() == ErrorKind::Denied && self.identity.refused(used).await => {
                call().await
            }
            done => done,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: BlobStore> BlobStore for Reidentified<S> {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        self.run(|| self.inner.put(at, sealed.clone())).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        self.run(|| self.inner.read(at, range.clone())).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        self.run(|| self.inner.head(at)).await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        self.run(|| self.inner.delete(at)).await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        self.run(|| self.inner.list(placed, after, limit)).await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        self.run(|| self.inner.locate()).await
    }

    fn describe(&self) -> Description {
        self.inner.describe()
    }
}
