//! Counts and times every verb that reaches a store: each try of its own, so it stands inside the retries.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;

use crate::envelope::Sealed;
use crate::placement::Placement;
use crate::telemetry::{Metrics, Stage, StoreOutcome, StoreVerb, stage_told};

use super::{BlobInfo, BlobStore, Cursor, Description, Error, ErrorKind, Location, Page};

/// A store whose verbs are counted.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Metered<S> {
    /// Counts into `metrics`.
    pub const fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    async fn count<T>(
        &self,
        verb: StoreVerb,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let done = stage_told(span_of(verb), work, |done| outcome_of(done).as_str()).await;
        self.metrics.store_request(verb, outcome_of(&done), started.elapsed());
        done
    }
}

fn outcome_of<T>(done: &Result<T, Error>) -> StoreOutcome {
    match done {
        Ok(_) => StoreOutcome::Ok,
        Err(error) => match error.kind() {
            ErrorKind::NotFound => StoreOutcome::Absent,
            ErrorKind::Denied => StoreOutcome::Denied,
            ErrorKind::Timeout => StoreOutcome::Timeout,
            ErrorKind::Unavailable => StoreOutcome::Unavailable,
            _ => StoreOutcome::Error,
        },
    }
}

const fn span_of(verb: StoreVerb) -> Stage {
    match verb {
        StoreVerb::Put => Stage::StorePut,
        StoreVerb::Get => Stage::StoreGet,
        StoreVerb::Head => Stage::StoreHead,
        StoreVerb::Delete => Stage::StoreDelete,
        StoreVerb::List => Stage::StoreList,
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: BlobStore> BlobStore for Metered<S> {
    async fn put(&self, at: &Location, sealed: Sealed) -> Result<(), Error> {
        self.count(StoreVerb::Put, self.inner.put(at, sealed)).await
    }

    async fn read(&self, at: &Location, range: Range<u64>) -> Result<Bytes, Error> {
        self.count(StoreVerb::Get, self.inner.read(at, range)).await
    }

    async fn head(&self, at: &Location) -> Result<BlobInfo, Error> {
        self.count(StoreVerb::Head, self.inner.head(at)).await
    }

    async fn delete(&self, at: &Location) -> Result<(), Error> {
        self.count(StoreVerb::Delete, self.inner.delete(at)).await
    }

    async fn list(&self, placed: &Placement, after: Option<&Cursor>, limit: usize) -> Result<Page, Error> {
        self.count(StoreVerb::List, self.inner.list(placed, after, limit)).await
    }

    async fn locate(&self) -> Result<Option<String>, Error> {
        self.inner.locate().await
    }

    fn describe(&self) -> Description {
        self.inner.describe()
    }
}
