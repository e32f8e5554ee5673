//! Counts every call to a key service.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Description, KekContext, Kms, KmsError, RootRef, RootStatus, Wrapped};
use crate::model::Secret;
use crate::telemetry::{KeyVerb, Metrics, StoreOutcome};

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

    fn count<T>(&self, verb: KeyVerb, done: Result<T, KmsError>) -> Result<T, KmsError> {
        let outcome = match &done {
            Ok(_) => StoreOutcome::Ok,
            Err(KmsError::Unavailable { .. }) => StoreOutcome::Unavailable,
            Err(KmsError::Denied) => StoreOutcome::Denied,
            Err(_) => StoreOutcome::Error,
        };
        self.metrics.key_calls(verb, outcome).increment();
        done
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
        self.count(KeyVerb::Wrap, self.inner.wrap(root, context, key).await)
    }

    async fn unwrap(
        &self,
        root: &RootRef,
        context: &KekContext,
        wrapped: &Wrapped,
    ) -> Result<Secret<[u8; 32]>, KmsError> {
        self.count(KeyVerb::Unwrap, self.inner.unwrap(root, context, wrapped).await)
    }

    async fn status(&self, root: &RootRef) -> Result<RootStatus, KmsError> {
        self.count(KeyVerb::Other, self.inner.status(root).await)
    }

    fn describe(&self) -> Description {
        self.inner.describe()
    }
}
