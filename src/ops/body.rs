//! The body of an answer, and the audit completion that ends with it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};

use crate::audit::{Completion, Outcome};
use crate::shares::Share;
use crate::telemetry::event;
use crate::vault::{Reading, VaultError};

use super::ended;
use super::findings::Findings;

/// The answer broke off: the connection must be reset, never ended as if all were well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer was broken off")]
pub struct BodyError;

/// The body of an answer.
#[derive(Debug)]
pub struct Body {
    content: Content,
    sent: u64,
    end: Option<End>,
    /// The request's place, and the memory of a body that is all there: given back when the last piece is sent, or the body dropped.
    shares: Vec<Share>,
}

enum Content {
    Whole(Bytes),
    Reading(Box<Streaming>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Whole(_) => "Whole",
            Self::Reading(_) => "Reading",
        })
    }
}

/// What is recorded when the body is through.
#[derive(Debug)]
struct End {
    completion: Completion,
    status: StatusCode,
    received: u64,
    findings: Arc<Findings>,
}

type NextPiece = Pin<Box<dyn Future<Output = (Reading, Option<Result<Bytes, VaultError>>)> + Send>>;

/// A record being read: either at rest, or with its next piece under way.
struct Streaming {
    left_bytes: u64,
    state: Option<Reading>,
    next: Option<NextPiece>,
}

impl Body {
    /// A body that is all there, for answers that are not recorded (errors before a decision).
    pub fn whole(bytes: Bytes) -> Self {
        Self { content: Content::Whole(bytes), sent: 0, end: None, shares: Vec::new() }
    }

    /// Holds `share` for as long as the body lasts: a slow reader's request is in flight until it has read.
    #[must_use]
    pub fn holding(mut self, share: Share) -> Self {
        self.shares.push(share);
        self
    }
}

/// A finished operation's answer, not yet joined with its completion.
pub(super) struct Answer {
    response: Response<()>,
    content: Content,
    received: u64,
    lease: Option<Share>,
}

impl Answer {
    /// An answer whose body is all there.
    pub(super) fn whole(response: Response<Bytes>) -> Self {
        let (parts, bytes) = response.into_parts();
        Self {
            response: Response::from_parts(parts, ()),
            content: Content::Whole(bytes),
            received: 0,
            lease: None,
        }
    }

    /// An answer whose body is a record.
    pub(super) fn reading(response: Response<()>, reading: Reading) -> Self {
        let left_bytes = reading.left_bytes();
        let streaming = Streaming { left_bytes, state: Some(reading), next: None };
        Self { response, content: Content::Reading(Box::new(streaming)), received: 0, lease: None }
    }

    /// Says how many bytes were received for it.
    pub(super) fn having_received(mut self, bytes: u64) -> Self {
        self.received = bytes;
        self
    }

    /// Holds the memory of its body until that is sent.
    pub(super) fn holding(mut self, lease: Share) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The headers, for what every answer about a record carries.
    pub(super) fn headers_mut(&mut self) -> &mut http::HeaderMap {
        self.response.headers_mut()
    }

    /// Joins the completion: it is recorded when the body is through. What is found on the way goes to `findings`.
    pub(super) fn completing(self, completion: Completion, findings: Arc<Findings>) -> Response<Body> {
        let status = self.response.status();
        let end = End { completion, status, received: self.received, findings };
        self.response.map(|()| Body {
            content: self.content,
            sent: 0,
            end: Some(end),
            shares: self.lease.into_iter().collect(),
        })
    }
}

impl Body {
    /// Says why, once, and records it.
    fn break_off(&mut self, error: &VaultError) {
        if !error.is_corruption() {
            event::answer_broken_off(error);
            return self.finish(Outcome::Error { code: "broken-off" });
        }
        if let Some(end) = &self.end {
            end.findings.corrupt(error);
        }
        self.finish(Outcome::Corrupt);
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(end) = self.end.take() {
            end.completion.finish(ended(outcome, end.status, end.received, self.sent));
        }
    }
}

impl Drop for Body {
    /// A body that is dropped before its end was broken off by the caller, or by our drain.
    fn drop(&mut self) {
        let done = match &self.content {
            // An answer without a body (HEAD, 204) is never polled.
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Reading(reading) => reading.left_bytes == 0,
        };
        self.finish(if done { Outcome::Ok } else { Outcome::Aborted });
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let piece = match &mut this.content {
            Content::Whole(bytes) if bytes.is_empty() => None,
            Content::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Content::Reading(streaming) => ready!(streaming.poll(cx)),
        };
        Poll::Ready(match piece {
            None => {
                this.finish(Outcome::Ok);
                None
            }
            Some(Ok(bytes)) => {
                this.sent += bytes.len() as u64;
                // hyper stops polling once the announced length is sent, so the end is here.
                if !this.is_through() {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                this.finish(Outcome::Ok);
                Some(Ok(Frame::data(this.last(bytes))))
            }
            Some(Err(error)) => {
                this.break_off(&error);
                Some(Err(BodyError))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_through()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Whole(bytes) => bytes.len() as u64,
            Content::Reading(reading) => reading.left_bytes,
        })
    }
}

impl Body {
    /// The last piece, with all that the body holds: hyper drops a body as soon as it has its last piece, and keeps that until the
    /// reader takes it, which may be never.
    fn last(&mut self, bytes: Bytes) -> Bytes {
        let content = std::mem::replace(&mut self.content, Content::Whole(Bytes::new()));
        Bytes::from_owner(Last { bytes, _content: content, _shares: std::mem::take(&mut self.shares) })
    }

    fn is_through(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Reading(reading) => reading.left_bytes == 0,
        }
    }
}

/// The last piece of a body, and what is given back with it.
struct Last {
    bytes: Bytes,
    _content: Content,
    _shares: Vec<Share>,
}

impl AsRef<[u8]> for Last {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, VaultError>>> {
        if self.next.is_none() {
            let Some(mut reading) = self.state.take() else { return Poll::Ready(None) };
            self.next = Some(Box::pin(async move {
                let piece = reading.next().await;
                (reading, piece)
            }));
        }
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let (reading, piece) = ready!(next.as_mut().poll(cx));
        self.next = None;
        // After an error nothing more is read.
        if let Some(Ok(bytes)) = &piece {
            self.left_bytes = self.left_bytes.saturating_sub(bytes.len() as u64);
            self.state = Some(reading);
        }
        Poll::Ready(piece)
    }
}
