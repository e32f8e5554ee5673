//! The socket under hyper: clear or TLS, with a pace for what we write, a note of what arrives, and a close that lingers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Limits;
use super::frames::Frames;
use super::linger::Linger;
use super::pace::{Pace, PaceLimits};
use super::phases::Phases;

/// A connection's socket.
pub(super) enum Socket {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Whether TLS agreed on HTTP/2.
    pub(super) fn agreed_on_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// The TCP socket underneath.
    pub(super) fn tcp_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Clear(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0,
        }
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Clear(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            Socket::Tls(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => stream.poll_shutdown(cx))
    }
}

/// What the reading side looks at.
pub(super) enum Arrivals {
    /// HTTP/1: bytes while none are due begin a request.
    Requests,
    /// HTTP/2: only frames tell.
    Frames(Frames),
}

/// A [`Socket`] whose reader must keep a pace, and that is closed so that the other side can read our last bytes.
///
/// A write that takes too long fails with [`io::ErrorKind::TimedOut`].
pub(super) struct PacedSocket {
    socket: Socket,
    pace: Pace,
    phases: Arc<Phases>,
    arrivals: Arrivals,
    linger: Linger,
}

impl PacedSocket {
    pub(super) fn new(socket: Socket, arrivals: Arrivals, limits: &Limits, phases: Arc<Phases>) -> Self {
        Self {
            socket,
            pace: Pace::new(PaceLimits::of_answers(limits)),
            phases,
            arrivals,
            linger: Linger::new(limits),
        }
    }

    /// Dropped, it tells the other side that something went wrong: an answer that broke off must not look like one that ended.
    pub(super) fn reset(&mut self) {
        let _ = self.socket.tcp_mut().set_zero_linger();
    }

    /// Puts `written` to the pace's account; while it is pending, the pace's alarm wakes the task.
    fn paced<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Ok(done)) => {
                self.pace.moved(bytes(&done));
                Poll::Ready(Ok(done))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let too_slow = ready!(self.pace.poll_waiting(cx));
                self.phases.reader_too_slow();
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, too_slow)))
            }
        }
    }

    fn arrived(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.arrivals {
            Arrivals::Requests => self.phases.bytes_arrived(),
            Arrivals::Frames(frames) => {
                let (unfinished, anew) = frames.read(bytes);
                self.phases.unfinished(unfinished, anew);
                if frames.is_greeted() {
                    self.phases.greeted();
                }
            }
        }
    }
}

impl AsyncRead for PacedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        self.arrived(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for PacedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.phases.unwritten(true);
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.paced(cx, written, |count| *count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.phases.unwritten(true);
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.paced(cx, written, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        // hyper and h2 flush when they have written all they had.
        self.phases.unwritten(!matches!(flushed, Poll::Ready(Ok(()))));
        self.paced(cx, flushed, |()| 0)
    }

    /// Half-closes, then discards for a while what still comes: see [`Linger`].
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.linger.poll(cx, &mut this.socket)
    }
}
