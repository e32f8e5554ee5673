//! From HTTP to a typed [`Call`]. Reads the head only; the body stays where it is.

use http::Request;
use http::request::Parts;

use crate::audit::{Log, Stranger};
use crate::auth::Origin;
use crate::s3::{self, Call, Domains, S3Error};

use super::step::Step;

/// A request that is understood and not believed yet.
#[derive(Debug)]
pub struct Decoded<B> {
    /// Where it came from.
    pub origin: Origin,
    /// The head as sent: what the signature covers.
    pub parts: Parts,
    /// What it asks.
    pub call: Call,
    /// The body, unread.
    pub body: B,
}

/// Decodes the head, or refuses what it does not understand.
#[derive(Debug)]
pub struct Decode {
    domains: Domains,
    log: Log,
}

impl Decode {
    /// `domains` are the hosts under which a bucket may be a label in front.
    pub const fn new(domains: Domains, log: Log) -> Self {
        Self { domains, log }
    }
}

impl<B: Send + 'static> Step<(Origin, Request<B>)> for Decode {
    type Out = Decoded<B>;

    async fn step(&self, (origin, request): (Origin, Request<B>)) -> Result<Decoded<B>, S3Error> {
        let (parts, body) = request.into_parts();
        match s3::decode(&parts, &self.domains) {
            Ok(call) => Ok(Decoded { origin, parts, call, body }),
            Err(refusal) => {
                self.log.count_stranger(Stranger::Malformed);
                Err(refusal)
            }
        }
    }
}
