//! The one exhaustive map from what the vault says to what S3 clients are told, and to what is recorded.
//!
//! Two messages for each: the public one here, the internal one in the log, written once.

use crate::audit::Outcome;
use crate::s3::{Code, S3Error};
use crate::telemetry::event;
use crate::vault::{IndexError, StoreError, StoreErrorKind, VaultError, WriteError};

use super::findings::Findings;

/// A failed operation: what the client is told, and how it is recorded.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) answer: S3Error,
    pub(super) outcome: Outcome,
    /// What was found wrong with a stored record, or is counted in place of a line in the log, until it is told.
    untold: Option<Box<VaultError>>,
}

impl From<S3Error> for Failure {
    fn from(answer: S3Error) -> Self {
        let outcome = Outcome::Error { code: answer.code().as_str() };
        Self { answer, outcome, untold: None }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        failure(error)
    }
}

impl From<WriteError<S3Error>> for Failure {
    fn from(error: WriteError<S3Error>) -> Self {
        match error {
            WriteError::Body(answer) => answer.into(),
            WriteError::Vault(error) => failure(error),
        }
    }
}

impl Failure {
    /// The same, after what was found wrong with a stored record, or is counted, has been told: it is not before.
    #[must_use]
    pub(super) fn told(mut self, findings: &Findings) -> Self {
        match self.untold.take() {
            Some(error) if error.is_corruption() => findings.corrupt(&error),
            Some(error) => findings.refused(&error),
            None => {}
        }
        self
    }
}

/// Logs what is ours, tells what is the client's business.
fn failure(error: VaultError) -> Failure {
    let answer = answer(&error);
    if error.is_corruption() {
        return Failure { answer, outcome: Outcome::Corrupt, untold: Some(Box::new(error)) };
    }
    if is_refusal(&error) {
        return Failure { untold: Some(Box::new(error)), ..answer.into() };
    }
    let status = answer.code().status();
    if status.is_server_error() {
        event::request_failed(status.as_u16(), &error);
    }
    answer.into()
}

/// Whether we turned the request away, because a share, a queue or the index was used up, or the store is left alone: counted,
/// not logged line by line. A flood, or an outage that lasts, must not fill the log.
fn is_refusal(error: &VaultError) -> bool {
    match error {
        VaultError::Exhausted(_) | VaultError::Index(IndexError::Overloaded { .. }) => true,
        VaultError::Store(error) => {
            matches!(error.kind(), StoreErrorKind::Overloaded | StoreErrorKind::CircuitOpen)
        }
        _ => false,
    }
}

fn answer(error: &VaultError) -> S3Error {
    match error {
        VaultError::NoSuchBucket => Code::NoSuchBucket.into(),
        VaultError::NotYours => Code::AccessDenied.into(),
        VaultError::BucketTaken => Code::BucketAlreadyExists.into(),
        VaultError::BucketExists => Code::BucketAlreadyOwnedByYou.into(),
        VaultError::TooManyBuckets => Code::TooManyBuckets.into(),
        // S3 has no code for it, and none that clients do not try again would be true: waiting does not help.
        VaultError::TooManyUploads => S3Error::because(
            Code::InvalidRequest,
            "You have as many open multipart uploads as you may. Complete or abort some, then try again.",
        ),
        VaultError::BucketNotEmpty => Code::BucketNotEmpty.into(),
        VaultError::NoSuchKey => Code::NoSuchKey.into(),
        VaultError::NoSuchUpload => Code::NoSuchUpload.into(),
        VaultError::InvalidPart { .. } => Code::InvalidPart.into(),
        VaultError::InvalidPartOrder => Code::InvalidPartOrder.into(),
        VaultError::PartTooSmall { number } => S3Error::because(
            Code::EntityTooSmall,
            format!("Part {number} is smaller than 5 MiB, which only the last part may be."),
        ),
        VaultError::TooLarge => Code::EntityTooLarge.into(),
        VaultError::WholeMismatch { what: "length" } => S3Error::because(
            Code::InvalidRequest,
            "The parts' lengths do not add up to x-amz-mp-object-size.",
        ),
        VaultError::WholeMismatch { .. } => Code::BadDigest.into(),
        VaultError::PreconditionFailed => Code::PreconditionFailed.into(),
        VaultError::RangeOutside => Code::InvalidRange.into(),
        // Never bytes, never a hint at which check failed: the log has it.
        VaultError::Corrupt { .. } | VaultError::Index(IndexError::Corrupt { .. }) => S3Error::because(
            Code::InternalError,
            "The stored record failed verification and is not served. Tell the operator the request id.",
        ),
        // No other try makes it right.
        VaultError::Seal(_)
        | VaultError::ClassUnknown { .. }
        | VaultError::Interrupted
        | VaultError::Index(IndexError::Invalid { .. }) => Code::InternalError.into(),
        VaultError::Exhausted(_) => S3Error::new(Code::SlowDown).with_retry_after_s(1),
        VaultError::Store(error) => store_failed(error),
        VaultError::Index(IndexError::Overloaded { .. }) => {
            S3Error::new(Code::SlowDown).with_retry_after_s(1)
        }
        VaultError::Index(_) => unavailable("The index of this region"),
        VaultError::Keys(_) => unavailable("The key service of this region"),
        VaultError::Entropy(_) => unavailable("The random number generator of this machine"),
    }
}

/// The longest that clients are asked to stay away for a store's sake, in seconds: longer, and they ask again to learn it.
const RETRY_AFTER_S_MAX: u64 = 60;

/// 500 for a defect of ours, which no other try makes right; else 503, `SlowDown` where fewer requests would help, and for as
/// long as the store or its circuit said.
fn store_failed(error: &StoreError) -> S3Error {
    use StoreErrorKind::{Internal, Overloaded, SlowDown, Unacceptable, WrongRegion};
    if matches!(error.kind(), Unacceptable | WrongRegion | Internal) {
        return Code::InternalError.into();
    }
    // Rounded up: who comes too early is refused once more.
    let wait = error.retry_after().map_or(1, |wait| wait.as_millis().div_ceil(1000));
    let wait = u64::try_from(wait).unwrap_or(u64::MAX).clamp(1, RETRY_AFTER_S_MAX);
    let answer = match error.kind() {
        Overloaded | SlowDown => S3Error::new(Code::SlowDown),
        _ => unavailable("The store of this region"),
    };
    answer.with_retry_after_s(u32::try_from(wait).unwrap_or(1))
}

/// 503 for this region. It is never answered from another one.
fn unavailable(what: &str) -> S3Error {
    S3Error::because(Code::ServiceUnavailable, format!("{what} cannot be reached at the moment. Try again."))
        .with_retry_after_s(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;
    use crate::telemetry::{MetBy, Metrics};

    /// Counts the lines of the log.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_request_that_an_overloaded_index_turned_away_was_logged_and_counted_nowhere() {
        let (lines, metrics) = (Lines::default(), Arc::new(Metrics::default()));
        let findings = Findings::new("fr".parse().unwrap(), Arc::clone(&metrics));
        let subscriber = tracing_subscriber::registry().with(lines.clone());
        let code = |error: IndexError| Failure::from(VaultError::Index(error)).told(&findings).answer.code();
        let counted = || (lines.0.load(Ordering::SeqCst), metrics.index_refusals().value());
        tracing::subscriber::with_default(subscriber, || {
            assert_eq!(code(IndexError::Overloaded { what: "a queue" }), Code::SlowDown);
            assert_eq!(counted(), (0, 1));
            assert_eq!(code(IndexError::Closed), Code::ServiceUnavailable);
            assert_eq!(counted(), (1, 1), "a failure is logged");
            assert_eq!(code(IndexError::Invalid { rule: "must not happen" }), Code::InternalError);
            assert_eq!(counted(), (2, 1), "a defect of ours too");
            assert_eq!(code(IndexError::Corrupt { what: "a row" }), Code::InternalError);
            assert_eq!((counted(), metrics.records_corrupt(MetBy::Read).value()), ((3, 1), 1));
        });
    }
}
