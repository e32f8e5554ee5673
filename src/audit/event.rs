//! What is recorded: the decision about a request, and how the request ended.

use super::Pseudonym;
use crate::model::{AccessKeyId, ClassId, RegionId, TenantId};

/// The decision about one request or one command, as it stands before anything happens.
///
/// Names that clients choose (buckets, keys) are here only as [`Pseudonym`]s.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The request id that the answer carries; at most 128 bytes are kept.
    pub request: Box<str>,
    /// What was asked, as the S3 API or the command line calls it (`PutObject`, `tenant.create`).
    pub operation: &'static str,
    /// What was decided.
    pub verdict: Verdict,
    /// The region that decided.
    pub region: RegionId,
    /// Whose request it is; `None` for an operator's command that concerns no tenant.
    pub tenant: Option<TenantId>,
    /// With which credential it was signed, or which one a command concerns.
    pub credential: Option<AccessKeyId>,
    /// The class of the record that is read or written.
    pub class: Option<ClassId>,
    /// The bucket, by keyed hash.
    pub bucket: Option<Pseudonym>,
    /// The key, by keyed hash.
    pub key: Option<Pseudonym>,
    /// The caller's address, by keyed hash.
    pub peer: Option<Pseudonym>,
    /// Why the caller says it needs the record; at most 128 bytes are kept.
    pub purpose: Option<Box<str>>,
    /// The length of the body that was announced, in bytes.
    pub bytes: Option<u64>,
    /// Through which door it came.
    pub source: Source,
}

impl Decision {
    /// A decision with nothing optional in it; fill the rest by field.
    pub fn new(
        request: &str,
        operation: &'static str,
        verdict: Verdict,
        region: RegionId,
        source: Source,
    ) -> Self {
        Self {
            request: request.into(),
            operation,
            verdict,
            region,
            tenant: None,
            credential: None,
            class: None,
            bucket: None,
            key: None,
            peer: None,
            purpose: None,
            bytes: None,
            source,
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request may go on, in this region.
    Placed,
    /// It may not.
    Refused {
        /// The error code the caller is told.
        code: &'static str,
    },
}

/// Through which door a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A listener.
    Http,
    /// The command line.
    Cli,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Ok,
    /// With an error that the caller was told.
    Error {
        /// The error code.
        code: &'static str,
    },
    /// A sealed record did not open: wrong bytes in the store, or a wrong key. The answer was broken off.
    Corrupt,
    /// The caller, or our drain, broke it off.
    Aborted,
    /// Nobody said: the request's future was dropped.
    Dropped,
}

/// The numbers that go with an [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// The HTTP status that was answered; `None` if none was, or for a command.
    pub status: Option<u16>,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
}

impl Ended {
    /// An ending without bytes.
    pub const fn new(outcome: Outcome, status: Option<u16>) -> Self {
        Self { outcome, status, bytes_in: 0, bytes_out: 0 }
    }
}
