//! The last two states of a request before its effect: placed, then recorded.
//!
//! ```text
//! Call ─ identify → Identified ─ authorise → Permitted ─ place → Placed ─ record → Recorded ─→ an operation
//! ```
//! Each state has private fields and one constructor that takes the state before it, so the only way to an operation is
//! through all of them. This compiles:
//! ```
//! # use terroir::{audit, ops::{Placed, Recorded}};
//! async fn go<B: Send>(placed: Placed<B>, log: &audit::Log) -> Option<Recorded<B>> {
//!     placed.record(log).await.ok()
//! }
//! ```
//! and this, which takes the request before it was placed, does not:
//! ```compile_fail,E0599
//! # use terroir::{audit, auth::Permitted, ops::{Placed, Recorded}};
//! async fn go<B: Send>(placed: Permitted<B>, log: &audit::Log) -> Option<Recorded<B>> {
//!     placed.record(log).await.ok()
//! }
//! ```
//! A record cannot be made by hand either:
//! ```compile_fail,E0451
//! # use terroir::{audit, ops::{Placed, Recorded}, s3::Call};
//! async fn go<B: Send>(placed: Placed<B>, call: Call) -> Option<Recorded<B>> {
//!     Some(Recorded { call, ..todo!() })
//! }
//! ```

use bytes::Bytes;

use crate::audit::{self, AuditError, AuditKeys, Decision, Log, Source, Verdict};
use crate::auth::{Caller, Origin, Permitted};
use crate::model::RegionId;
use crate::placement::Placement;
use crate::s3::{BodyKind, Call, Payload, S3Error};
use crate::shares::Share;

/// What came with a request.
#[derive(Debug)]
pub enum Content<B> {
    /// The bytes of a record, still to be read.
    Record(Payload<B>),
    /// A document, read and within its limits, its signature and checksums verified.
    Document(Document),
    /// Nothing that the operation reads.
    None,
}

/// A document with the memory for it and for what it is read into; none was taken for one that is empty.
#[derive(Debug)]
pub struct Document {
    bytes: Bytes,
    memory: Option<Share>,
}

impl Document {
    /// `bytes` in `memory`.
    pub const fn new(bytes: Bytes, memory: Option<Share>) -> Self {
        Self { bytes, memory }
    }

    /// What the client sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says. The bytes are let go of, and the memory goes on with what they were read into, for the operation to hold.
    pub(super) fn read<T>(
        self,
        read: impl FnOnce(&[u8]) -> Result<T, S3Error>,
    ) -> Result<(T, Option<Share>), S3Error> {
        let said = read(&self.bytes)?;
        Ok((said, self.memory))
    }
}

/// A permit and a placement of different tenants. Cannot happen; refused all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a placement of one tenant was offered for a request of another")]
pub struct TenantMismatch;

/// A permitted request with the place where it may run.
#[derive(Debug)]
pub struct Placed<B> {
    call: Call,
    caller: Caller,
    origin: Origin,
    content: Content<B>,
    placement: Placement,
}

impl<B> Placed<B> {
    /// Joins a permit and a placement, if they are of the same tenant. `document` is the body where it was read already.
    pub fn new(
        permitted: Permitted<B>,
        placement: Placement,
        document: Option<Document>,
    ) -> Result<Self, TenantMismatch> {
        if permitted.caller().tenant().id != *placement.tenant()
            || permitted.caller().tenant().code != placement.tenant_code()
        {
            return Err(TenantMismatch);
        }
        let (call, caller, origin, body) = permitted.into_parts();
        let content = match (call.body(), document, body) {
            (BodyKind::Record, None, Some(body)) => Content::Record(body),
            (BodyKind::Xml, Some(document), _) => Content::Document(document),
            _ => Content::None,
        };
        Ok(Self { call, caller, origin, content, placement })
    }

    /// Makes the decision durable. The only way to a [`Recorded`]; an error means that nothing may happen.
    pub async fn record(self, log: &Log) -> Result<Recorded<B>, AuditError> {
        let Self { call, caller, origin, content, placement } = self;
        let region = placement.region().clone();
        let mut decision = decision(log.keys(), &call, &caller, &origin, region, Verdict::Placed);
        decision.class = placement.class().map(|(class, _)| class.clone());
        let placement = log.record(decision, placement).await?;
        Ok(Recorded { call, caller, content, placement })
    }
}

/// A request whose decision is durable: what operations take.
#[derive(Debug)]
pub struct Recorded<B> {
    pub(super) call: Call,
    pub(super) caller: Caller,
    pub(super) content: Content<B>,
    pub(super) placement: audit::Recorded<Placement>,
}

/// The audit decision about `call`, its names as keyed hashes.
pub fn decision(
    keys: &AuditKeys,
    call: &Call,
    caller: &Caller,
    origin: &Origin,
    region: RegionId,
    verdict: Verdict,
) -> Decision {
    let mut decision = Decision::new(&origin.request_id, call.name(), verdict, region, Source::Http);
    decision.tenant = Some(caller.tenant().id.clone());
    decision.credential = Some(caller.credential().key_id.clone());
    decision.bucket = call.bucket().map(|bucket| keys.bucket(bucket));
    decision.key = call.object().map(|object| keys.key(&object.bucket, &object.key));
    decision.peer = Some(keys.peer(origin.peer));
    decision
}
