//! What a store's failure means to us.

use std::fmt;
use std::time::Duration;

use crate::model::RegionId;

use super::location::Location;

/// A verb of a store that failed, and why.
///
/// Never carries a backend's own message: it may quote what must not be logged, and a caller must not relay it.
#[derive(Debug, thiserror::Error)]
#[error("the store's {verb} failed: {kind}")]
pub struct Error {
    verb: Verb,
    kind: ErrorKind,
    retry_after: Option<Duration>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Making the driver ready.
    Open,
    /// [`put`](super::BlobStore::put)
    Put,
    /// [`read`](super::BlobStore::read)
    Read,
    /// [`head`](super::BlobStore::head)
    Head,
    /// [`delete`](super::BlobStore::delete)
    Delete,
    /// [`list`](super::BlobStore::list)
    List,
    /// [`locate`](super::BlobStore::locate)
    Locate,
}

/// Why a verb failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No blob of that name. To the vault this is loss or corruption, never "no such key": only the index says that.
    NotFound,
    /// The name is taken by other bytes. Names are random, so somebody else writes here: alarm, do not retry.
    Exists,
    /// The store cannot be reached or broke off. An effect may have happened.
    Unavailable,
    /// The store asks us to slow down (429, `SlowDown`); [`Error::retry_after`] has how long, if it said.
    SlowDown,
    /// Too many calls wait for this region's store already, or this one waited too long: refused by us, nothing was sent.
    Overloaded,
    /// The store fails so often that it is left alone for a while: refused by us, nothing was sent.
    /// [`Error::retry_after`] has until when.
    CircuitOpen,
    /// No answer in time. An effect may have happened.
    Timeout,
    /// The store refuses *us* (401, 403): our credentials or its rules are wrong. Never the client's fault, never relayed.
    Denied,
    /// The blob is shorter than the range asked for.
    Truncated,
    /// No room: quota or disk.
    Full,
    /// The blob or the range is empty, reversed or above [`BLOB_BYTES_MAX`](super::BLOB_BYTES_MAX), or the blob was sealed
    /// under another name than its location's. A defect of ours.
    Unacceptable,
    /// The location belongs to another region than the store. A defect of ours, stopped here.
    WrongRegion,
    /// The store answered what a store of its kind does not answer (a redirect, a bucket that is missing, a path that is
    /// not a directory, a host that is not the region's).
    Misconfigured,
    /// The store's answer breaks its protocol, or the driver failed inside.
    Internal,
}

impl Error {
    pub(super) fn new(verb: Verb, kind: ErrorKind) -> Self {
        Self { verb, kind, retry_after: None, source: None }
    }

    pub(super) fn with(
        verb: Verb,
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { verb, kind, retry_after: None, source: Some(source.into()) }
    }

    /// The same, with the earliest time at which another try makes sense, from now.
    #[must_use]
    pub(super) fn after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// What was asked.
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// Why it failed.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// How long to wait before another try, where the store or our circuit breaker said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether the same call may succeed if repeated at once: every verb may be repeated after these, [`put`] included.
    ///
    /// [`put`]: super::BlobStore::put
    pub fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }
}

impl ErrorKind {
    /// Whether the same call may succeed if repeated at once. Not what we refused ourselves: repeating that would take the
    /// queue's place from somebody else, or knock at a circuit that is open.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout | Self::SlowDown)
    }

    /// What the failure says about the store's health: the circuit breaker counts these, and nothing else.
    pub(super) const fn health(self) -> Health {
        match self {
            Self::Unavailable | Self::Timeout | Self::SlowDown => Health::Sick,
            // It answered, and sensibly: a store without room or without permission for us still serves others.
            Self::NotFound | Self::Exists | Self::Truncated | Self::Full | Self::Denied => Health::Well,
            // Never sent, or of a kind that comes and goes with our settings.
            Self::Unacceptable
            | Self::WrongRegion
            | Self::Misconfigured
            | Self::Internal
            | Self::Overloaded
            | Self::CircuitOpen => Health::Silent,
        }
    }

    /// A stable name for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Exists => "exists",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::SlowDown => "slow-down",
            Self::Overloaded => "overloaded",
            Self::CircuitOpen => "circuit-open",
            Self::Denied => "denied",
            Self::Truncated => "truncated",
            Self::Full => "full",
            Self::Unacceptable => "unacceptable",
            Self::WrongRegion => "wrong-region",
            Self::Misconfigured => "misconfigured",
            Self::Internal => "internal",
        }
    }
}

/// What one outcome says about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It works.
    Well,
    /// It does not.
    Sick,
    /// Nothing.
    Silent,
}

impl Verb {
    /// A stable name for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Put => "put",
            Self::Read => "read",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Locate => "locate",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What may be told of a backend's refusal: its status and its code, never its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the backend answered {status} {code}")]
pub struct BackendAnswer {
    /// HTTP status; 0 where there was none.
    pub status: u16,
    /// The code in the answer (`SlowDown`, `NoSuchBucket`), letters only, at most 64 bytes; empty if there was none.
    pub code: String,
}

/// The check that every driver makes first.
pub(super) fn at_home(home: &RegionId, at: &Location, verb: Verb) -> Result<(), Error> {
    same_region(home, at.region(), verb)
}

/// As [`at_home`], for a verb on the whole store.
pub(super) fn same_region(home: &RegionId, asked: &RegionId, verb: Verb) -> Result<(), Error> {
    if home == asked { Ok(()) } else { Err(Error::new(verb, ErrorKind::WrongRegion)) }
}
