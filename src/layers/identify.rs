//! Who is calling: the signature against the directory of tenants; then what the caller may do.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use crate::audit::{Log, Stranger};
use crate::auth::{Cause, Identified, Permitted};
use crate::model::{Clock, RegionId};
use crate::s3::S3Error;
use crate::telemetry::{Stage, note};
use crate::tenants::Directory;

use super::decode::Decoded;
use super::step::Step;

/// Authenticates and authorises.
#[derive(Debug)]
pub struct Identify {
    directory: Directory,
    region: RegionId,
    clock: Arc<dyn Clock>,
    log: Log,
}

impl Identify {
    /// Against `directory`, for signatures scoped to `region`.
    pub fn new(directory: Directory, region: RegionId, clock: Arc<dyn Clock>, log: Log) -> Self {
        Self { directory, region, clock, log }
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
        let now = self.clock.now();
        match Identified::identify(origin, &parts, call, body, &self.directory, &self.region, now) {
            Ok(identified) => {
                let permitted = identified.authorise();
                note::tenant(&permitted.caller().tenant().id);
                Ok(permitted)
            }
            Err(denied) => {
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
        Cause::UnknownKey => Stranger::UnknownKey,
        Cause::BadSignature => Stranger::BadSignature,
        Cause::Expired => Stranger::Expired,
        Cause::Unavailable => return None,
    })
}
