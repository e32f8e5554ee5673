//! Who is calling, and what they may do.
//!
//! A request passes through here twice: [`Identified::identify`] proves who signed it, [`Identified::authorise`] says
//! that this caller may ask for this. Each result is a type with private fields and one constructor, so neither step can
//! be left out further down.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;

use crate::model::{AccessKeyId, Credential, RegionId, Tenant, Timestamp};
use crate::s3::{self, BodyKind, Call, Code, Payload, PayloadPlan, Presented, S3Error, SigningKey};
use crate::shares::Seat;
use crate::tenants::{Directory, Identity, Reason};

/// Where a request came from, before anybody believed anything it says.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The request's id, given by us.
    pub request_id: Box<str>,
    /// The peer's address as the socket says; no header changes it.
    pub peer: IpAddr,
    /// The connection's place among its tenant's.
    pub seat: Seat,
}

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    tenant: Arc<Tenant>,
    credential: Arc<Credential>,
}

impl Caller {
    /// The tenant whose credential signed.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The credential that signed.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// A request whose signer is known. The body is not read yet; its own signature and checksums are checked as it streams.
#[derive(Debug)]
pub struct Identified<B> {
    call: Call,
    caller: Caller,
    origin: Origin,
    body: Payload<B>,
}

/// Why a caller was not believed: the answer, and the kind for the audit log's count of strangers.
#[derive(Debug, thiserror::Error)]
#[error("the caller was not identified ({cause:?})")]
pub struct Denied {
    /// The kind.
    pub cause: Cause,
    /// What the caller is told.
    #[source]
    pub answer: S3Error,
}

/// Kinds of [`Denied`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing was signed.
    Anonymous,
    /// The signature, or what it covers, is malformed.
    Malformed,
    /// The key id is unknown.
    UnknownKey,
    /// The key id is of a suspended tenant, or disabled. The caller cannot tell this from an unknown one.
    Suspended,
    /// The signature is not that of the key's secret.
    BadSignature,
    /// Too old, or from the future.
    Expired,
    /// The directory of tenants cannot be relied on at the moment.
    Unavailable,
}

impl Cause {
    fn of(code: Code) -> Self {
        match code {
            Code::SignatureDoesNotMatch => Self::BadSignature,
            Code::RequestTimeTooSkewed => Self::Expired,
            Code::AccessDenied => Self::Anonymous,
            _ => Self::Malformed,
        }
    }
}

impl Denied {
    fn unidentified(reason: Reason) -> Self {
        let cause = match reason {
            Reason::UnknownKey => Cause::UnknownKey,
            Reason::CredentialDisabled | Reason::TenantSuspended => Cause::Suspended,
            Reason::Stale => {
                let answer = S3Error::because(
                    Code::ServiceUnavailable,
                    "The directory of tenants of this region cannot be read at the moment. Try again.",
                );
                return Self { cause: Cause::Unavailable, answer: answer.with_retry_after_s(1) };
            }
        };
        Self { cause, answer: S3Error::new(Code::InvalidAccessKeyId) }
    }
}

impl From<S3Error> for Denied {
    fn from(answer: S3Error) -> Self {
        Self { cause: Cause::of(answer.code()), answer }
    }
}

impl<B> Identified<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Verifies the signature of `parts` (header or query, Signature V4) against the directory.
    ///
    /// An unknown key costs the same work as a wrong signature, so that the time taken does not tell them apart.
    pub fn identify(
        origin: Origin,
        parts: &Parts,
        call: Call,
        body: B,
        directory: &Directory,
        region: &RegionId,
        now: Timestamp,
    ) -> Result<Self, Denied> {
        let presented = Presented::from_parts(parts)?;
        // A key id that is not of our form is nobody's; saying so gives nothing away.
        let Ok(key_id) = presented.key_id().parse::<AccessKeyId>() else {
            return Err(Denied::unidentified(Reason::UnknownKey));
        };
        let known = directory.lookup(&key_id);
        let secret = match &known {
            Ok(identity) => &identity.credential.secret,
            Err(unidentified) => unidentified.decoy(),
        };
        let key = SigningKey::derive(secret, presented.date(), presented.region());
        let verdict = s3::verify(&presented, &key, parts, now, region);
        let identity = known.map_err(|unidentified| Denied::unidentified(unidentified.reason))?;
        let verified = verdict?;
        let plan = PayloadPlan::from_parts(parts, &call)?;
        let body = Payload::new(body, &plan, &verified);
        let Identity { tenant, credential } = identity;
        Ok(Self { call, caller: Caller { tenant, credential }, origin, body })
    }

    /// Decides whether this caller may ask for this at all.
    ///
    /// The rule of this release: a credential may do everything to its own tenant's records and nothing to anybody
    /// else's. Whose a bucket is, the index says in the same transaction that acts on it.
    pub fn authorise(self) -> Permitted<B> {
        let Self { call, caller, origin, body } = self;
        Permitted { call, caller, origin, body: Some(body) }
    }
}

/// A request whose caller may ask for it, not yet placed anywhere.
#[derive(Debug)]
pub struct Permitted<B> {
    call: Call,
    caller: Caller,
    origin: Origin,
    /// `None` once it was read as a document.
    body: Option<Payload<B>>,
}

impl<B> Permitted<B> {
    /// What is asked.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Who asks.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// From where.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Takes the request apart, for the layer that placed it.
    pub fn into_parts(self) -> (Call, Caller, Origin, Option<Payload<B>>) {
        (self.call, self.caller, self.origin, self.body)
    }
}

impl<B> Permitted<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// How long the document is that comes with the call, before anything of it is read; `None` if the call takes none.
    ///
    /// # Errors
    /// `MaxMessageLengthExceeded` over `bytes_max`.
    pub fn document_bytes(&self, bytes_max: usize) -> Result<Option<u64>, S3Error> {
        let bytes =
            self.body.as_ref().filter(|_| self.call.body() == BodyKind::Xml).map(Payload::decoded_bytes);
        if bytes.is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(Code::MaxMessageLengthExceeded.into());
        }
        Ok(bytes)
    }

    /// Reads the body as a document of at most `bytes_max`, if the call's body is one: placement may depend on it. The caller
    /// has made room for it.
    pub async fn read_document(&mut self, bytes_max: usize) -> Result<Option<Bytes>, S3Error> {
        if self.call.body() != BodyKind::Xml {
            return Ok(None);
        }
        match self.body.take() {
            Some(body) => body.collect(bytes_max).await.map(Some),
            None => Ok(None),
        }
    }
}
