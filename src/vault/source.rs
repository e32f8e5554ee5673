//! Where clear bytes come from: what a write needs of a request's body.

use std::future::Future;

use bytes::Bytes;

use crate::model::Checksum;

/// A body of known length, in pieces of any size.
pub trait Source: Send {
    /// Why a body can fail: broken framing, a wrong checksum or signature, a client that stalled or left.
    type Error: Send + 'static;

    /// The clear length in bytes, as declared; [`Source::next`] yields exactly that many or fails.
    fn clear_bytes(&self) -> u64;

    /// The next piece; `None` once everything has arrived **and** every checksum and signature of it was verified.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Self::Error>> + Send;

    /// The client's checksums that were verified. Meaningful after [`Source::next`] gave `None`.
    fn verified(&mut self) -> Vec<Checksum>;
}
