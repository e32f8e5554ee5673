//! Conditional reads, in the order of RFC 9110 §13.2.2, which S3 follows.

use crate::model::{ETag, Timestamp};

use super::super::call::ReadConditions;

/// What a read's conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer it.
    Proceed,
    /// 304: [`super::not_modified`].
    NotModified,
    /// 412: `PreconditionFailed`.
    Failed,
}

/// Evaluates `conditions` for an object that is there. HTTP dates have seconds, so `modified` is cut down to them.
pub fn evaluate(conditions: &ReadConditions, etag: &ETag, modified: Timestamp) -> Outcome {
    let modified = modified.seconds();
    match (&conditions.if_match, conditions.if_unmodified_since) {
        (Some(wanted), _) if !wanted.matches(etag) => return Outcome::Failed,
        (None, Some(since)) if modified > since.seconds() => return Outcome::Failed,
        _ => {}
    }
    match (&conditions.if_none_match, conditions.if_modified_since) {
        (Some(known), _) if known.matches(etag) => Outcome::NotModified,
        (None, Some(since)) if modified <= since.seconds() => Outcome::NotModified,
        _ => Outcome::Proceed,
    }
}
