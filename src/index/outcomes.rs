//! What an operation answers when the index works: every case a caller must map to its own answer, and none to forget.

use bytes::Bytes;

use super::rows::{CompletedUpload, ListPage, PartsPage, Sequence, Upload, UploadsPage, VersionRow};
use crate::model::{ETag, VersionId};

/// A condition on the current version of a key, checked in the same transaction as the change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever is there.
    #[default]
    None,
    /// `If-None-Match: *`: there is no current version.
    IfNoneMatchStar,
    /// `If-Match: "etag"`: the current version has this tag.
    IfMatch(ETag),
    /// `If-Match: *`: there is a current version.
    IfMatchStar,
}

/// Answer of [`super::Index::create_bucket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateBucket {
    /// It is new.
    Created,
    /// The same tenant has it already; nothing was changed.
    AlreadyYours,
    /// Another tenant has it.
    TakenByOther,
    /// The tenant has as many buckets as the index allows.
    TooMany,
}

/// Answer of [`super::Index::delete_bucket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteBucket {
    /// It is gone.
    Deleted,
    /// It holds versions or open uploads.
    NotEmpty,
    /// There is none of that name.
    NoBucket,
    /// Another tenant has it.
    NotYours,
}

/// Answer of [`super::Index::set_bucket_class`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBucketClass {
    /// It is set.
    Set,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has it.
    NotYours,
}

/// Answer of [`super::Index::lookup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
    /// The bucket has no current version of the key.
    NoKey,
    /// The current version.
    Found(Box<VersionRow>),
}

/// Answer of [`super::Index::commit_put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is the current version now (or was, if this repeats an earlier commit of the same version id).
    Committed {
        /// Its place in the order.
        seq: Sequence,
        /// Whether another version went to reclaim for it; false in the answer to a repetition.
        replaced: bool,
    },
    /// The current version, or its absence, is not what the precondition asked for.
    PreconditionFailed,
    /// If-Match on a key that has no current version: S3 says 404, not 412.
    NoSuchKey,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::delete`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// It is gone; its blobs wait in the reclaim queue.
    Deleted {
        /// Which version.
        version: VersionId,
        /// The deletion's place in the order.
        seq: Sequence,
    },
    /// There was none.
    NoKey,
    /// The current version is not what the precondition asked for.
    PreconditionFailed,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::delete_many`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteMany {
    /// One answer per key, in the order asked; only `Deleted` and `NoKey` occur.
    Keys(Vec<DeleteOutcome>),
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListOutcome {
    /// A page.
    Page(ListPage),
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::create_upload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateUpload {
    /// It is open (or was opened by an earlier call with the same identifiers).
    Created,
    /// The tenant has as many open uploads as it may.
    TooMany,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::upload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadLookup {
    /// It is open.
    Open(Box<Upload>),
    /// It was completed not long ago.
    Completed(Box<CompletedUpload>),
    /// There is none of that identity under that key.
    NoUpload,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::put_part`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutPart {
    /// It is the part now.
    Stored {
        /// Whether an older attempt went to reclaim for it; false in the answer to a repetition.
        replaced: bool,
    },
    /// There is no open upload of that identity under that key.
    NoUpload,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::list_parts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListParts {
    /// A page.
    Page(PartsPage),
    /// There is no open upload of that identity under that key.
    NoUpload,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::list_uploads`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListUploads {
    /// A page.
    Page(UploadsPage),
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::complete_upload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompleteOutcome {
    /// The version is the current one now.
    Completed {
        /// Its place in the order.
        seq: Sequence,
        /// Whether another version went to reclaim for it.
        replaced: bool,
    },
    /// It was completed before, of the same parts; nothing was changed. The first Complete's answer is to be given again.
    AlreadyCompleted(Box<CompletedUpload>),
    /// A chosen part does not exist or has another tag.
    InvalidPart {
        /// The first such part.
        number: u16,
    },
    /// The current version, or its absence, is not what the precondition asked for.
    PreconditionFailed,
    /// If-Match on a key that has no current version.
    NoSuchKey,
    /// There is no upload of that identity under that key, or it was completed of other parts.
    NoUpload,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::abort_upload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortOutcome {
    /// It is gone; its blobs wait in the reclaim queue.
    Aborted,
    /// There is none (any more).
    NoUpload,
    /// It became a version, which an abort does not touch.
    AlreadyCompleted,
    /// There is no such bucket.
    NoBucket,
    /// Another tenant has the bucket.
    NotYours,
}

/// Answer of [`super::Index::put_row`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutRow {
    /// It is stored.
    Stored {
        /// The row's generation: one more than was expected.
        generation: u64,
        /// The directory's change number.
        change: u64,
    },
    /// The row has another generation; nothing was changed.
    Conflict {
        /// The generation found; 0 if there is no such row.
        generation: u64,
        /// The row found; empty if there is none.
        sealed: Bytes,
    },
}
