//! Closing so that the other side can read our last answer; throwing away what nobody wants.

use std::time::Duration;

use bytes::Buf;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

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

/// Half-closes `socket`, then reads and discards until the other side closes, [`Limits::linger_bytes_max`] came, or
/// [`Limits::linger_ms`] passed; then closes.
///
/// Closing a socket with unread bytes makes the kernel send a reset, and a reset that overtakes our answer destroys it in the
/// client's receive buffer, or fails the client's next write before it looks for an answer. When the byte limit is reached
/// we stop reading but keep the socket for the rest of the time: a client blocked in a write is not reset while it may still
/// notice the answer.
pub(super) async fn close_lingering(mut socket: Socket, limits: &Limits) {
    let deadline = Instant::now() + Duration::from_millis(limits.linger_ms);
    let half_closed = timeout_at(deadline, socket.shutdown()).await;
    if !matches!(half_closed, Ok(Ok(()))) {
        return;
    }
    // Below TLS: what is thrown away need not be decrypted.
    let closed = timeout_at(deadline, discard_bytes(socket.tcp_mut(), limits.linger_bytes_max)).await;
    if matches!(closed, Ok(false)) {
        tokio::time::sleep_until(deadline).await;
    }
}

/// Whether the other side closed before `bytes_max` came.
async fn discard_bytes(tcp: &mut TcpStream, bytes_max: usize) -> bool {
    let mut left = bytes_max;
    let mut sink = vec![0; 8 * 1024];
    while left > 0 {
        let want = left.min(sink.len());
        match tcp.read(&mut sink[..want]).await {
            Ok(0) | Err(_) => return true,
            Ok(count) => left -= count,
        }
    }
    false
}
