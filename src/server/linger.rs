//! Closing so that the other side can read our last answer; throwing away what nobody wants.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, timeout_at};

use super::Limits;
use super::io::Socket;

/// Reads `body` and throws it away, up to `bytes_max` bytes and `time_max`. Whether it ended.
///
/// For a handler that answers an error and would like to keep the connection; one that does not care drops the body.
pub async fn discard<B>(mut body: B, bytes_max: usize, time_max: Duration) -> bool
where
    B: Body + Unpin,
{
    let deadline = Instant::now() + time_max;
    let mut left = bytes_max;
    while !body.is_end_stream() {
        match timeout_at(deadline, body.frame()).await {
            Ok(None) => return true,
            Err(_) | Ok(Some(Err(_))) => return false,
            Ok(Some(Ok(frame))) => {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Buf::remaining)) else {
                    return false;
                };
                left = rest;
            }
        }
    }
    true
}

/// Half-closes, then reads and discards until the other side closes, [`Limits::linger_bytes_max`] came, or
/// [`Limits::linger_ms`] passed.
///
/// Closing a socket with unread bytes makes the kernel send a reset, and a reset that overtakes our answer destroys it in the
/// client's receive buffer, or fails the client's next write before it looks for an answer. When the byte limit is reached
/// we stop reading but keep the socket for the rest of the time: a client blocked in a write is not reset while it may still
/// notice the answer.
#[derive(Debug)]
pub(super) struct Linger {
    time_max: Duration,
    bytes_left: usize,
    half_closed: bool,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    pub(super) const fn new(limits: &Limits) -> Self {
        Self {
            time_max: Duration::from_millis(limits.linger_ms),
            bytes_left: limits.linger_bytes_max,
            half_closed: false,
            alarm: None,
        }
    }

    /// Ready when the socket may be dropped. An error of the other side's is no error: it is gone, that is what we waited for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<()>> {
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.time_max)));
        if alarm.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !self.half_closed {
            match ready!(Pin::new(&mut *socket).poll_shutdown(cx)) {
                Ok(()) => self.half_closed = true,
                Err(_) => return Poll::Ready(Ok(())),
            }
        }
        let mut sink = [MaybeUninit::uninit(); 2 * 1024];
        while self.bytes_left > 0 {
            let want = self.bytes_left.min(sink.len());
            let mut buffer = ReadBuf::uninit(&mut sink[..want]);
            // Below TLS: what is thrown away need not be decrypted.
            let read = ready!(Pin::new(socket.tcp_mut()).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.bytes_left -= buffer.filled().len();
        }
        Poll::Pending
    }
}
