//! From HTTP to a typed [`Call`]. Reads the head only; the body stays where it is.

use http::Request;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt as _;
use http_body_util::combinators::MapErr;

use crate::audit::{Log, Stranger};
use crate::auth::Origin;
use crate::s3::{self, Call, Code, Domains, S3Error};
use crate::server::InboundError;
use crate::telemetry::{Operation, Stage, note};

use super::step::Step;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body whose sender, if cut off for being slow, is told `RequestTimeout`: clients try that again, and `IncompleteBody` not.
pub type Timed<B> = MapErr<B, fn(<B as Body>::Error) -> S3Error>;

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

impl<B> Step<(Origin, Request<B>)> for Decode
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Out = Decoded<Timed<B>>;
    const STAGE: Stage = Stage::Decode;

    async fn step(&self, (origin, request): (Origin, Request<B>)) -> Result<Decoded<Timed<B>>, S3Error> {
        let (parts, body) = request.into_parts();
        let body: Timed<B> = body.map_err(told as fn(B::Error) -> S3Error);
        match s3::decode(&parts, &self.domains) {
            Ok(call) => {
                note::operation(Operation::named(call.name()));
                Ok(Decoded { origin, parts, call, body })
            }
            Err(refusal) => {
                self.log.count_stranger(Stranger::Malformed);
                Err(refusal)
            }
        }
    }
}

/// The server's finding in S3's words.
fn told<E: Into<BoxError>>(error: E) -> S3Error {
    match error.into().downcast::<InboundError>().map(|error| *error) {
        Ok(InboundError::TooSlow(_)) => Code::RequestTimeout.into(),
        Ok(InboundError::Broken(_)) | Err(_) => Code::IncompleteBody.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::TooSlow;

    #[test]
    fn a_body_cut_off_for_being_slow_was_answered_incomplete_body() {
        assert_eq!(told(InboundError::TooSlow(TooSlow::Idle)).code(), Code::RequestTimeout);
        assert_eq!(told(InboundError::Broken("reset".into())).code(), Code::IncompleteBody);
        assert_eq!(told("anything else").code(), Code::IncompleteBody);
    }
}
