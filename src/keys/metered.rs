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
        // Until there is an answer, it is one that did not come in time: whoever gives it up drops it here.
        let mut call =
            Counted { metrics: &self.metrics, verb, started: Instant::now(), outcome: StoreOutcome::Timeout };
        let done = stage_told(span_of(verb), work, |done| outcome_of(done).as_str()).await;
        call.outcome = outcome_of(&done);
        done
    }
}

/// A call under way, counted when it ends, however it ends.
struct Counted<'a> {
    metrics: &'a Metrics,
    verb: KeyVerb,
    started: Instant,
    outcome: StoreOutcome,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.key_calls(self.verb, self.outcome).increment();
        self.metrics.key_durations(self.verb).observe(self.started.elapsed());
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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::RegionId;

    /// A key service that never answers.
    #[derive(Debug)]
    struct Silent;

    #[async_trait]
    impl Kms for Silent {
        async fn wrap(&self, _: &RootRef, _: &KekContext, _: &Secret<[u8; 32]>) -> Result<Wrapped, KmsError> {
            std::future::pending().await
        }

        async fn unwrap(
            &self,
            _: &RootRef,
            _: &KekContext,
            _: &Wrapped,
        ) -> Result<Secret<[u8; 32]>, KmsError> {
            std::future::pending().await
        }

        async fn status(&self, _: &RootRef) -> Result<RootStatus, KmsError> {
            std::future::pending().await
        }

        fn describe(&self) -> Description {
            unreachable!("nobody asks what it is")
        }
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_was_not_counted_so_that_a_silent_key_service_looked_well() {
        let metrics = Arc::new(Metrics::default());
        let kms = MeteredKms::new(Silent, Arc::clone(&metrics));
        let region: RegionId = "fr".parse().unwrap();
        let asked = RootRef::Region(region);
        assert!(tokio::time::timeout(Duration::from_millis(5), kms.status(&asked)).await.is_err());
        assert_eq!(metrics.key_calls(KeyVerb::Other, StoreOutcome::Timeout).value(), 1);
    }
}
