//! Counts and times every call to a key service.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::{Description, KekContext, Kms, KmsError, RootRef, RootStatus, Wrapped};
use crate::model::Secret;
use crate::telemetry::{KeyVerb, Metrics, Stage, StoreOutcome, stage_told};

/// A KMS whose calls are counted.
#[derive(Debug)]
pub struct MeteredKms<K> {
    inner: K,
    metrics: Arc<Metrics>,
}

impl<K> MeteredKms<K> {
    /// Counts into `metrics`.
    pub const fn new(inner: K, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }

    async fn count<T>(
        &self,
        verb: KeyVerb,
        work: impl Future<Output = Result<T, KmsError>> + Send,
    ) -> Result<T, KmsError> {
        let started = Instant::now();
        let done = stage_told(span_of(verb), work, |done| outcome_of(done).as_str()).await;
        self.metrics.key_calls(verb, outcome_of(&done)).increment();
        self.metrics.key_durations(verb).observe(started.elapsed());
        done
    }
}

fn outcome_of<T>(done: &Result<T, KmsError>) -> StoreOutcome {
    match done {
        Ok(_) => StoreOutcome::Ok,
        Err(KmsError::Unavailable { .. }) => StoreOutcome::Unavailable,
        Err(KmsError::Denied) => StoreOutcome::Denied,
        Err(_) => StoreOutcome::Error,
    }
}

const fn span_of(verb: KeyVerb) -> Stage {
    match verb {
        KeyVerb::Wrap => Stage::KmsWrap,
        KeyVerb::Unwrap => Stage::KmsUnwrap,
        KeyVerb::Other => Stage::KmsOther,
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<K: Kms> Kms for MeteredKms<K> {
    async fn wrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        key: &Secret<[u8; 32]>,
    ) -> Result<Wrapped, KmsError> {
        self.count(KeyVerb::Wrap, self.inner.wrap(root, context, key)).await
    }

    async fn unwrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        wrapped: &Wrapped,
    ) -> Result<Secret<[u8; 32]>, KmsError> {
        self.count(KeyVerb::Unwrap, self.inner.unwrap(root, context, wrapped)).await
    }

    async fn status(&self, root: &RootRef) -> Result<RootStatus, KmsError> {
        self.count(KeyVerb::Other, self.inner.status(root)).await
    }

    fn describe(&self) -> Description {
        self.inner.describe()
    }
}
