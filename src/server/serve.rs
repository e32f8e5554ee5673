//! The accept loop and the drain.

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::answer::BoxError;
use super::connection::{self, Ended};
use super::inbound::{Inbound, Peer};
use super::io::Socket;
use super::{Certificates, Limits};
use crate::shares::Seat;
use crate::telemetry::{Metrics, event};

/// What a listener needs besides its socket and its service.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name in log events (`data`, `control`, `observe`).
    pub name: &'static str,
    /// With certificate and key, or in clear.
    pub tls: Option<Arc<Certificates>>,
    /// Its limits.
    pub limits: Limits,
    /// Where its metrics go.
    pub metrics: Arc<Metrics>,
}

/// How a drain ended, in connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Had no request when the drain began; closed at once.
    pub idle: usize,
    /// Had one, and it was answered to the end.
    pub finished: usize,
    /// Were cut when [`Limits::drain_ms`] had passed.
    pub aborted: usize,
}

/// Serves `service` on `listener` until `stop` is cancelled. Then, for [`Limits::notice_ms`], goes on as ever, so that load
/// balancers notice; then drains: takes what was connected already and no more, tells every client that this was the last
/// request (`Connection: close`, GOAWAY), closes quiet connections after [`Limits::drain_idle_ms`], lets requests end for
/// [`Limits::drain_ms`], and cuts the rest.
///
/// Each request has a [`Peer`] among its extensions. An answer whose body fails resets the connection, or in HTTP/2 its stream.
pub async fn serve<S, B>(
    listener: TcpListener,
    server: Server,
    service: S,
    stop: CancellationToken,
) -> Drained
where
    S: Service<Request<Inbound>, Response = Response<B>, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let server = Arc::new(server);
    let drain = CancellationToken::new();
    let mut open =
        Open { connections: JoinSet::new(), server: Arc::clone(&server), service, drain: drain.clone() };
    let noticed = async {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_millis(server.limits.notice_ms)).await;
    };
    let mut noticed = pin!(noticed);
    loop {
        tokio::select! {
            biased;
            () = &mut noticed => break,
            Some(_) = open.connections.join_next() => {}
            accepted = listener.accept() => if let Err(error) = open.take(accepted) {
                event::accept_failed(&error);
                if paused(noticed.as_mut()).await {
                    break;
                }
            },
        }
    }
    // Clients that the kernel connected already believe that we took them: closing the listener would reset them.
    open.take_waiting(listener).await;
    drain.cancel();
    drained(open.connections, &server).await
}

/// Waits a little after a failure to accept: out of descriptors, most likely, and trying again at once would spin. Whether the
/// notice was over before, which ends the pause; that it has begun does not.
async fn paused(noticed: Pin<&mut impl Future<Output = ()>>) -> bool {
    timeout(ACCEPT_PAUSE, noticed).await.is_ok()
}

/// The connections of a listener, and who answers them.
struct Open<S> {
    connections: JoinSet<Ended>,
    server: Arc<Server>,
    service: S,
    drain: CancellationToken,
}

impl<S, B> Open<S>
where
    S: Service<Request<Inbound>, Response = Response<B>, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Runs a connection, or turns it away if there are too many.
    fn take(&mut self, accepted: std::io::Result<(TcpStream, SocketAddr)>) -> std::io::Result<()> {
        let (tcp, address) = accepted?;
        if self.connections.len() < self.server.limits.connections_max {
            let one = one_connection(
                tcp,
                address,
                Arc::clone(&self.server),
                self.service.clone(),
                self.drain.clone(),
            );
            self.connections.spawn(one);
        } else {
            turn_away(&tcp, &self.server);
        }
        Ok(())
    }

    /// Takes what the kernel holds connected, then closes the listener. Whoever connects between the kernel's "no more" and that is
    /// reset, which nobody can help.
    ///
    /// The kernel itself is asked: the runtime may not have heard yet of a connection that is there, and lets a task take no more
    /// than 128 without a break.
    async fn take_waiting(&mut self, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        let mut failed = 0;
        for _ in 0..BACKLOG_MAX {
            let accepted = listener.accept().and_then(|(tcp, address)| {
                tcp.set_nonblocking(true)?;
                Ok((TcpStream::from_std(tcp)?, address))
            });
            match self.take(accepted) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    event::accept_failed(&error);
                    failed += 1;
                    if failed == FAILED_MAX {
                        return;
                    }
                    // Out of descriptors, most likely: those who leave give theirs back.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections taken at most when a drain begins: what the kernel holds of them (`net.core.somaxconn`, 4,096 since Linux 5.4). More
/// came after it.
const BACKLOG_MAX: usize = 4_096;

/// Failures to take one of them before the rest is given up: half a second.
const FAILED_MAX: usize = 10;

/// One connection from accept to close.
async fn one_connection<S, B>(
    tcp: TcpStream,
    address: SocketAddr,
    server: Arc<Server>,
    service: S,
    drain: CancellationToken,
) -> Ended
where
    S: Service<Request<Inbound>, Response = Response<B>, Error = Infallible> + Clone + Send + Unpin + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let metrics = Arc::clone(&server.metrics);
    let _open = metrics.connections().hold();
    // Answers are written whole; waiting for more of them (Nagle) only delays.
    let _ = tcp.set_nodelay(true);
    let peer = Peer { address, tls: server.tls.is_some() };
    let Some(socket) = handshake(tcp, &server).await else { return Ended::default() };
    // Whoever identifies a request of this connection may leave in it what is to be given back at the connection's end.
    let seat = Seat::default();
    let service = service.map_request(move |mut request: Request<Inbound>| {
        request.extensions_mut().insert(seat.clone());
        request
    });
    connection::run(socket, peer, server, service, drain.cancelled_owned()).await
}

/// TLS, if there is any to speak. `None` if it failed or took too long. A drain does not end it: in TLS 1.3 the client may send
/// its request with the handshake's last message.
async fn handshake(tcp: TcpStream, server: &Server) -> Option<Socket> {
    let Some(certificates) = &server.tls else { return Some(Socket::Clear(tcp)) };
    let accepting = TlsAcceptor::from(certificates.config()).accept(tcp);
    let accepted = timeout(Duration::from_millis(server.limits.handshake_ms), accepting).await;
    if let Ok(Ok(tls)) = accepted {
        return Some(Socket::Tls(Box::new(tls)));
    }
    server.metrics.handshakes_failed().increment();
    match accepted {
        Ok(Err(error)) => event::connection_failed(&error),
        _ => event::connection_failed(&"TLS handshake took too long"),
    }
    None
}

/// What a connection beyond the limit is told, if it is in clear. S3 clients take a 503 as "slow down" and try again.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Tells a client that there are too many, as far as that is free: one write into an empty socket buffer. Under TLS it would
/// cost a handshake, the dearest thing we do, so the connection is just closed.
fn turn_away(tcp: &TcpStream, server: &Server) {
    server.metrics.connections_refused().increment();
    if server.tls.is_none() {
        let _ = tcp.try_write(TOO_MANY);
    }
}

async fn drained(mut connections: JoinSet<Ended>, server: &Server) -> Drained {
    let deadline = Instant::now() + Duration::from_millis(server.limits.drain_ms);
    event::draining(server.name, connections.len());
    let mut drained = Drained::default();
    while let Ok(Some(joined)) = timeout_at(deadline, connections.join_next()).await {
        match joined {
            Ok(ended) if !ended.busy_at_stop => drained.idle += 1,
            _ => drained.finished += 1,
        }
    }
    drained.aborted = connections.len();
    connections.shutdown().await;
    event::drained(server.name, drained.finished, drained.aborted);
    drained
}
