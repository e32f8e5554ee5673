//! The body of a request: framing off, signatures and checksums verified, streamed without a copy.
//!
//! Bytes are handed out before the last of them is verified; whoever consumes them commits nothing until
//! [`Payload::next`] has said `None`, which it says only when everything holds.

mod chunked;
mod plan;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::model::{Checksum, ChecksumAlgorithm};

use self::chunked::{Decoder, Step};
use super::checksum::{self, Digester};
use super::error::{Code, S3Error};
use super::sigv4::Verified;

pub use plan::{PayloadMode, PayloadPlan, RECORD_BYTES_MAX};

/// An error of the body below. A layer that cuts slow bodies off can put an [`S3Error`] in; all else is `IncompleteBody`.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body being read. Also an [`http_body::Body`] of data frames with [`S3Error`] for its error.
#[derive(Debug)]
pub struct Payload<B> {
    body: B,
    framing: Framing,
    /// Decoded bytes that are promised and have not been handed out.
    left: u64,
    decoded: u64,
    digests: Vec<(Hash, Digester)>,
    promises: Vec<Promise>,
    state: State,
}

/// What a completely read and verified body was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Decoded length in bytes.
    pub bytes: u64,
    /// The checksums that the client sent and that hold, `FullObject` all of them.
    pub checksums: Vec<Checksum>,
}

#[derive(Debug)]
enum Framing {
    Plain,
    Chunked(Box<Decoder>),
}

#[derive(Debug)]
enum State {
    Reading,
    Done(Received),
    Failed(S3Error),
}

/// A hash function; each is computed once however many promises it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Sum(ChecksumAlgorithm),
}

/// A digest that the client promised.
#[derive(Clone, Debug)]
enum Promise {
    Md5([u8; 16]),
    Payload([u8; 32]),
    Sum(Checksum),
    Trailer(ChecksumAlgorithm),
}

impl Promise {
    const fn hash(&self) -> Hash {
        match self {
            Self::Md5(_) => Hash::Md5,
            Self::Payload(_) => Hash::Sum(ChecksumAlgorithm::Sha256),
            Self::Sum(checksum) => Hash::Sum(checksum.algorithm),
            Self::Trailer(algorithm) => Hash::Sum(*algorithm),
        }
    }
}

impl<B> Payload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    /// Starts reading `body` under `plan`.
    pub fn new(body: B, plan: &PayloadPlan, verified: &Verified) -> Self {
        let signed_chunks = matches!(plan.mode, PayloadMode::SignedChunks | PayloadMode::SignedChunksTrailer);
        let signer = signed_chunks.then(|| verified.chunk_signer().clone());
        let framing = if plan.mode.is_chunked() {
            Framing::Chunked(Box::new(Decoder::new(plan.decoded_bytes, signer, plan.trailer)))
        } else {
            Framing::Plain
        };
        let mut promises = Vec::new();
        promises.extend(plan.md5.map(Promise::Md5));
        if let PayloadMode::Signed(digest) = plan.mode {
            promises.push(Promise::Payload(digest));
        }
        promises.extend(plan.checksum.clone().map(Promise::Sum));
        promises.extend(plan.trailer.map(Promise::Trailer));
        let mut digests: Vec<(Hash, Digester)> = Vec::new();
        for hash in promises.iter().map(Promise::hash) {
            if !digests.iter().any(|(known, _)| *known == hash) {
                let digester = match hash {
                    Hash::Md5 => Digester::md5(),
                    Hash::Sum(algorithm) => Digester::of(algorithm),
                };
                digests.push((hash, digester));
            }
        }
        let decoded = plan.decoded_bytes;
        Self { body, framing, left: decoded, decoded, digests, promises, state: State::Reading }
    }

    /// The next decoded bytes, never empty; `None` when the body is complete and everything about it holds.
    ///
    /// # Errors
    /// `IncompleteBody`, `BadDigest`, `XAmzContentSHA256Mismatch`, `SignatureDoesNotMatch`, `MalformedTrailerError`. After
    /// an error every further call returns the same error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Payload::next`] as a poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, S3Error>> {
        match &self.state {
            State::Done(_) => return Poll::Ready(Ok(None)),
            State::Failed(error) => return Poll::Ready(Err(error.clone())),
            State::Reading => {}
        }
        let result = ready!(self.poll_reading(cx));
        if let Err(error) = &result {
            self.state = State::Failed(error.clone());
        }
        Poll::Ready(result)
    }

    /// What was received; `None` until [`Payload::next`] has said `None`.
    pub const fn received(&self) -> Option<&Received> {
        match &self.state {
            State::Done(received) => Some(received),
            State::Reading | State::Failed(_) => None,
        }
    }

    /// How long the decoded body is, as it was promised: more of it is never handed out.
    pub const fn decoded_bytes(&self) -> u64 {
        self.decoded
    }

    /// Reads a whole small body (a document) of at most `bytes_max`; `MaxMessageLengthExceeded` over it.
    pub async fn collect(mut self, bytes_max: usize) -> Result<Bytes, S3Error> {
        let bytes = usize::try_from(self.decoded).ok().filter(|bytes| *bytes <= bytes_max);
        // All at once: what grows takes up to twice what somebody made room for.
        let mut whole = BytesMut::with_capacity(bytes.ok_or(Code::MaxMessageLengthExceeded)?);
        while let Some(bytes) = self.next().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    fn poll_reading(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, S3Error>> {
        loop {
            if let Framing::Chunked(decoder) = &mut self.framing
                && let Step::Data(data) = decoder.step()?
            {
                return Poll::Ready(self.account(data).map(Some));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(self.finish().map(|()| None)),
                Some(Err(error)) => return Poll::Ready(Err(body_error(error.into()))),
                // Trailers of the transfer coding are none of ours.
                Some(Ok(frame)) => match (frame.into_data(), &mut self.framing) {
                    (Ok(data), _) if data.is_empty() => {}
                    (Ok(data), Framing::Chunked(decoder)) => decoder.feed(data),
                    (Ok(data), Framing::Plain) => return Poll::Ready(self.account(data).map(Some)),
                    (Err(_), _) => {}
                },
            }
        }
    }

    /// Counts and digests bytes on their way out.
    fn account(&mut self, data: Bytes) -> Result<Bytes, S3Error> {
        self.left = self.left.checked_sub(data.len() as u64).ok_or(Code::IncompleteBody)?;
        for (_, digester) in &mut self.digests {
            digester.update(&data);
        }
        Ok(data)
    }

    /// The body has ended: is it whole, and is it what was promised?
    fn finish(&mut self) -> Result<(), S3Error> {
        let mut trailer = None;
        if let Framing::Chunked(decoder) = &mut self.framing {
            if decoder.step()? != Step::End {
                return Err(Code::IncompleteBody.into());
            }
            trailer = decoder.trailer();
        }
        if self.left > 0 {
            return Err(Code::IncompleteBody.into());
        }
        let digests: Vec<(Hash, Box<[u8]>)> =
            self.digests.drain(..).map(|(hash, d)| (hash, d.finish())).collect();
        let mut checksums = Vec::new();
        for promise in std::mem::take(&mut self.promises) {
            let hash = promise.hash();
            let computed =
                digests.iter().find(|(known, _)| *known == hash).map(|(_, digest)| digest.as_ref());
            let computed = computed.ok_or(Code::InternalError)?;
            match promise {
                Promise::Md5(md5) => check(&md5, computed, || bad_digest("The Content-MD5"))?,
                Promise::Payload(sha256) => {
                    check(&sha256, computed, || Code::XAmzContentSha256Mismatch.into())?;
                }
                Promise::Sum(sum) => checksums.push(check_sum(sum, computed)?),
                Promise::Trailer(_) => {
                    let sum = trailer.take().ok_or(Code::MalformedTrailer)?;
                    checksums.push(check_sum(sum, computed)?);
                }
            }
        }
        self.state = State::Done(Received { bytes: self.decoded, checksums });
        Ok(())
    }
}

impl<B> Body for Payload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = S3Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, S3Error>>> {
        if let State::Failed(_) = self.state {
            // A body ends after its error.
            return Poll::Ready(None);
        }
        self.poll_next(cx).map(|result| result.transpose().map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        // Never before the verdict: whoever stops at the last byte would miss it.
        !matches!(self.state, State::Reading)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn check(expected: &[u8], computed: &[u8], error: impl FnOnce() -> S3Error) -> Result<(), S3Error> {
    if subtle::ConstantTimeEq::ct_eq(expected, computed).into() { Ok(()) } else { Err(error()) }
}

fn check_sum(sum: Checksum, computed: &[u8]) -> Result<Checksum, S3Error> {
    check(&sum.digest, computed, || bad_digest(checksum::algorithm_name(sum.algorithm)))?;
    Ok(sum)
}

fn bad_digest(what: &str) -> S3Error {
    S3Error::because(Code::BadDigest, format!("{what} you specified did not match the calculated checksum."))
}

fn body_error(error: BodyError) -> S3Error {
    error.downcast::<S3Error>().map_or_else(|_| Code::IncompleteBody.into(), |error| *error)
}
