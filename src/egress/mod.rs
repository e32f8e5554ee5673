//! Connections of one region's connectors: each knows one host, the region's own, and cannot be talked into another.
//!
//! A library's own client would honour proxy variables and connect wherever a rule or a redirect says. A [`Door`] compares
//! scheme, host and port before it resolves a name, and reads no environment; the pool on top of it follows nothing.

mod endpoint;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

pub use endpoint::{Endpoint, EndpointError};

/// Idle connections are closed after this: below the 60 s of common load balancers, so that we close first.
const IDLE: Duration = Duration::from_secs(50);

/// Why no connection was made. Told apart from the network's failures because no retry helps.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// Something asked for a host that is not the region's.
    #[error("a host that is not the connector's own was asked for; refused")]
    OtherHost,
    /// The handshake took too long.
    #[error("no connection within the time allowed")]
    Slow,
    /// The host's certificate is not one we trust, or TLS failed otherwise.
    #[error("the TLS handshake failed")]
    Tls(#[source] std::io::Error),
    /// Resolving or connecting failed.
    #[error("the host cannot be reached")]
    Unreachable(#[source] std::io::Error),
}

/// A pool of connections to `endpoint` and nowhere else, trusting `ca_file` instead of the system's roots if one is given.
///
/// The pool follows no redirect. It looks at the host only when it opens a connection: callers ask [`Endpoint::admits`] first,
/// so that a refusal does not hang on what is pooled.
pub fn pool<B>(
    endpoint: &Endpoint,
    ca_file: Option<&Path>,
    connect_max: Duration,
    idle_connections_max: usize,
) -> Result<Client<Door, B>, EndpointError>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let tls = endpoint.is_tls().then(|| tls_config(ca_file)).transpose()?;
    let door =
        Door(Arc::new(Host { endpoint: endpoint.clone(), tls: tls.map(TlsConnector::from), connect_max }));
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(idle_connections_max)
        .build(door))
}

fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, EndpointError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = ca_file {
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?).map_err(EndpointError::Tls)?;
        }
    } else {
        // Systems carry roots that rustls does not parse; those are left out, as every client does.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err(EndpointError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(EndpointError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // One request at a time per connection: a lost connection costs one request, and every S3 store speaks it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Opens connections, to one host only.
#[derive(Clone)]
pub struct Door(Arc<Host>);

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Door").field(&self.0.endpoint).finish()
    }
}

struct Host {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
    connect_max: Duration,
}

impl Host {
    async fn connect(&self) -> Result<Wire, EgressError> {
        let (name, port) = self.endpoint.address();
        let tcp = TcpStream::connect((name, port)).await.map_err(EgressError::Unreachable)?;
        tcp.set_nodelay(true).map_err(EgressError::Unreachable)?;
        let Some(tls) = &self.tls else { return Ok(Wire { io: TokioIo::new(Either::Left(tcp)) }) };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| EgressError::Tls(std::io::Error::from(std::io::ErrorKind::InvalidInput)))?;
        let stream = tls.connect(name, tcp).await.map_err(|error| {
            // rustls' own refusals (a certificate, a version) come as InvalidData; the rest is the network's.
            if error.kind() == std::io::ErrorKind::InvalidData {
                EgressError::Tls(error)
            } else {
                EgressError::Unreachable(error)
            }
        })?;
        Ok(Wire { io: TokioIo::new(Either::Right(stream)) })
    }
}

impl tower::Service<Uri> for Door {
    type Response = Wire;
    type Error = EgressError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, EgressError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = Arc::clone(&self.0);
        Box::pin(async move {
            if !host.endpoint.admits(&uri) {
                return Err(EgressError::OtherHost);
            }
            timeout(host.connect_max, host.connect()).await.map_err(|_| EgressError::Slow)?
        })
    }
}

pin_project! {
    /// A connection, in clear (loopback) or not.
    pub struct Wire {
        #[pin]
        io: TokioIo<Either<TcpStream, TlsStream<TcpStream>>>,
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bufs)
    }
}
