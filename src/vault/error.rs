//! What can go wrong between an operation and its sealed bytes. No variant carries a name or a byte of a record.

use crate::blobs;
use crate::envelope::EnvelopeError;
use crate::index::IndexError;
use crate::keys::KeysError;
use crate::model::EntropyError;

use super::memory::Exhausted;

/// Why an operation on records failed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no such bucket.
    #[error("no such bucket")]
    NoSuchBucket,
    /// The bucket is another tenant's. Callers answer as for a bucket they may not see.
    #[error("the bucket belongs to another tenant")]
    NotYours,
    /// The bucket's name is taken in this region by another tenant.
    #[error("the bucket name is taken")]
    BucketTaken,
    /// The tenant has the bucket already.
    #[error("the bucket exists already and is the caller's")]
    BucketExists,
    /// The tenant has as many buckets as it may.
    #[error("too many buckets")]
    TooManyBuckets,
    /// The tenant has as many open uploads as it may.
    #[error("too many open uploads")]
    TooManyUploads,
    /// The bucket still holds objects or open uploads.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// There is no such key.
    #[error("no such key")]
    NoSuchKey,
    /// There is no such upload, or it was completed or aborted.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part that was named is not there, or is another than the one named.
    #[error("part {number} is not the one named")]
    InvalidPart {
        /// Which part.
        number: u16,
    },
    /// The parts named are not in ascending order.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A part other than the last is smaller than S3 allows.
    #[error("part {number} is too small")]
    PartTooSmall {
        /// Which part.
        number: u16,
    },
    /// The object is larger than S3 allows (5 TiB), or has more blobs than one commit or its record takes.
    #[error("the object would be too large")]
    TooLarge,
    /// What the client said of the whole object (length or checksum) does not hold.
    #[error("the whole is not what the client said: {what}")]
    WholeMismatch {
        /// What does not hold.
        what: &'static str,
    },
    /// A condition of the write does not hold.
    #[error("the precondition does not hold")]
    PreconditionFailed,
    /// The range asks for nothing that is there.
    #[error("the range is outside the object")]
    RangeOutside,
    /// The sealed bytes are not the ones that were written. Nothing of them may be served.
    #[error("the sealed record is corrupt: {what}")]
    Corrupt {
        /// Which check failed.
        what: &'static str,
        /// The envelope's finding, if it was the envelope's.
        #[source]
        source: Option<EnvelopeError>,
    },
    /// Something could not be sealed: a defect of ours, nothing was written.
    #[error("the record could not be sealed")]
    Seal(#[source] EnvelopeError),
    /// The class of a stored record is not in the register any more.
    #[error("the record's class {code} is not in the register")]
    ClassUnknown {
        /// Its code.
        code: u16,
    },
    /// No memory for the body became free in time.
    #[error("no memory for the body")]
    Exhausted(#[from] Exhausted),
    /// The region's store.
    #[error("the region's store failed")]
    Store(#[source] blobs::Error),
    /// The region's index.
    #[error("the region's index failed")]
    Index(#[from] IndexError),
    /// The region's keys.
    #[error("the region's keys failed")]
    Keys(#[from] KeysError),
    /// No randomness, so nothing was sealed.
    #[error("no randomness")]
    Entropy(#[from] EntropyError),
    /// A task of ours ended before its work.
    #[error("an internal task ended early")]
    Interrupted,
}

/// A write fails because of its body, or because of us.
#[derive(Debug)]
pub enum WriteError<E> {
    /// The body: broken framing, a wrong checksum, a client that left.
    Body(E),
    /// The vault.
    Vault(VaultError),
}

impl<E> From<VaultError> for WriteError<E> {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

impl VaultError {
    /// What the envelope found while opening: the record is not what was written.
    pub(super) fn opening(source: EnvelopeError) -> Self {
        Self::Corrupt { what: "it does not open", source: Some(source) }
    }

    /// What a store answered to a read: a blob that a committed version names must be there, whole.
    pub(super) fn reading(error: blobs::Error) -> Self {
        match error.kind() {
            blobs::ErrorKind::NotFound => Self::Corrupt { what: "a blob is missing", source: None },
            blobs::ErrorKind::Truncated => Self::Corrupt { what: "a blob is truncated", source: None },
            _ => Self::Store(error),
        }
    }

    /// Whether what is stored was found wrong: sealed bytes, or a row of the index.
    pub const fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Index(IndexError::Corrupt { .. }))
    }
}
