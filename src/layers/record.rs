//! The decision, made durable: nothing below this layer runs without its record on disk.

use crate::audit::Log;
use crate::ops::{Placed, Recorded};
use crate::s3::{Code, S3Error};
use crate::telemetry::{RefusalCode, Stage, note};

use super::step::Step;

/// Writes the decision record and waits until it is durable.
#[derive(Debug)]
pub struct Record {
    log: Log,
}

impl Record {
    /// Into `log`.
    pub const fn new(log: Log) -> Self {
        Self { log }
    }
}

impl<B: Send + 'static> Step<Placed<B>> for Record {
    type Out = Recorded<B>;
    const STAGE: Stage = Stage::Record;

    async fn step(&self, placed: Placed<B>) -> Result<Recorded<B>, S3Error> {
        placed.record(&self.log).await.map_err(|_| unrecordable())
    }
}

/// The answer where the audit log cannot be written, noted as what it is: closed, never open.
pub(super) fn unrecordable() -> S3Error {
    note::refusal(RefusalCode::Unrecorded);
    S3Error::because(
        Code::ServiceUnavailable,
        "The audit log of this region cannot be written at the moment, so nothing was done. Try again.",
    )
    .with_retry_after_s(1)
}
