//! Callers of other regions, sent home before anything of theirs is read.
//!
//! Trusts nothing: it reads the access key id (which names its region) and no other part of the request, logs no path,
//! header or key, and reads no byte of the body.

use std::sync::Arc;

use http::Request;

use crate::audit::{Log, Stranger};
use crate::auth::Origin;
use crate::catalogue::Catalogue;
use crate::model::RegionId;
use crate::s3::{self, Code, S3Error};
use crate::telemetry::Stage;

use super::step::Step;

/// Answers 301 to callers whose key id names another region of the catalogue.
#[derive(Debug)]
pub struct Redirect {
    here: RegionId,
    catalogue: Arc<Catalogue>,
    log: Log,
}

impl Redirect {
    /// For the stack of region `here`.
    pub fn new(here: RegionId, catalogue: Arc<Catalogue>, log: Log) -> Self {
        Self { here, catalogue, log }
    }
}

impl<B: Send + 'static> Step<(Origin, Request<B>)> for Redirect {
    type Out = (Origin, Request<B>);
    const STAGE: Stage = Stage::Redirect;

    async fn step(&self, (origin, request): (Origin, Request<B>)) -> Result<Self::Out, S3Error> {
        let (parts, body) = request.into_parts();
        let elsewhere = s3::key_id(&parts).filter(|id| *id.region() != self.here);
        match elsewhere {
            None => Ok((origin, Request::from_parts(parts, body))),
            Some(id) => {
                self.log.count_stranger(Stranger::OtherRegion);
                // A region that is in no catalogue gets no address: unknown is an error, never a default.
                Err(match self.catalogue.region(id.region()) {
                    Some(region) => S3Error::new(Code::PermanentRedirect)
                        .with_region(region.signing_scope.as_str())
                        .with_endpoint(region.endpoints.s3.to_string())
                        .closing(),
                    None => S3Error::new(Code::InvalidAccessKeyId).closing(),
                })
            }
        }
    }
}
