//! Who is calling: the signature against the directory of tenants; then what the caller may do.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use crate::audit::{Log, Stranger};
use crate::auth::{Cause, Identified, Permitted};
use crate::model::{Clock, RegionId};
use crate::s3::{self, S3Error};
use crate::telemetry::{Metrics, RefusalCode, Stage, note};
use crate::tenants::{Directory, Reason};

use super::decode::Decoded;
use super::step::Step;
use super::strangers::Strangers;

/// Authenticates and authorises.
#[derive(Debug)]
pub struct Identify {
    directory: Directory,
    region: RegionId,
    clock: Arc<dyn Clock>,
    log: Log,
    strangers: Strangers,
}

impl Identify {
    /// Against `directory`, for signatures scoped to `region`. Of requests without the key id of an active credential at most
    /// `strangers_per_s_max` a second are looked at; more are told to slow down.
    pub fn new(
        directory: Directory,
        region: RegionId,
        clock: Arc<dyn Clock>,
        log: Log,
        strangers_per_s_max: u64,
        metrics: Arc<Metrics>,
    ) -> Self {
        let strangers = Strangers::new(strangers_per_s_max, Arc::clone(&clock), metrics);
        Self { directory, region, clock, log, strangers }
    }

    /// Whether the request names the key of an active credential. Two look-ups; a directory that is stale knows nobody, which
    /// is not the caller's fault.
    fn is_known(&self, parts: &http::request::Parts) -> bool {
        s3::key_id(parts).is_some_and(|id| match self.directory.lookup(&id) {
            Ok(_) => true,
            Err(unidentified) => unidentified.reason == Reason::Stale,
        })
    }
}

impl<B> Step<Decoded<B>> for Identify
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Out = Permitted<B>;
    const STAGE: Stage = Stage::Identify;

    async fn step(&self, request: Decoded<B>) -> Result<Permitted<B>, S3Error> {
        let Decoded { origin, parts, call, body } = request;
        if !self.is_known(&parts) {
            self.strangers.admit()?;
        }
        let now = self.clock.now();
        match Identified::identify(origin, &parts, call, body, &self.directory, &self.region, now) {
            Ok(identified) => {
                let permitted = identified.authorise();
                note::tenant(&permitted.caller().tenant().id);
                Ok(permitted)
            }
            Err(denied) => {
                // The answer does not tell it, so that a stranger learns nothing; the count does.
                if denied.cause == Cause::Suspended {
                    note::refusal(RefusalCode::Suspended);
                }
                if let Some(kind) = stranger(denied.cause) {
                    self.log.count_stranger(kind);
                }
                Err(denied.answer)
            }
        }
    }
}

/// Strangers are counted, not recorded one by one, so that a flood of them cannot fill the log.
fn stranger(cause: Cause) -> Option<Stranger> {
    Some(match cause {
        Cause::Anonymous => Stranger::Anonymous,
        Cause::Malformed => Stranger::Malformed,
        Cause::UnknownKey | Cause::Suspended => Stranger::UnknownKey,
        Cause::BadSignature => Stranger::BadSignature,
        Cause::Expired => Stranger::Expired,
        Cause::Unavailable => return None,
    })
}
