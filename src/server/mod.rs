//! Sockets, TLS, hyper, and the limits that hold before any of our own code sees a request.
//!
//! [`serve`] accepts connections, runs one service on each request, enforces [`Limits`], and drains when told. What it adds
//! to hyper, and why:
//!  - *Time limits by phase.* hyper's header timeout runs while a kept-alive connection is idle too, so one number would have
//!    to serve both; here waiting for a request and reading one have limits of their own (`connection.rs`).
//!  - *A pace for bodies*, both ways: an idle limit and a minimum rate, counting only time spent waiting for the other side
//!    (`pace.rs`).
//!  - *Another look before anybody is cut*: on a busy machine it may be us who are late (`alarm.rs`).
//!  - *HTTP/2*, over TLS only, with limits that h2 does not have (`http2.rs`, `frames.rs`, `outlet.rs`).
//!  - *A drain that loses no request*: hyper's own closes connections under a request that is on its way (`http1.rs`).
//!  - *Certificates that are replaced while serving* (`certificates.rs`).
//!  - *Panics that cost one request* (`answer.rs`).
//!  - *Lingering close.* An answer that is sent before the request's body was read must reach a client that is still writing:
//!    closing with unread bytes resets the connection and may destroy the answer. We half-close, discard a bounded amount,
//!    then close (`linger.rs`). So an early error, or a redirect that reads nothing, needs only to drop the body.
//!  - `Expect: 100-continue` is hyper's: 100 is sent when the service first polls the body, never after an answer was begun.

mod alarm;
mod answer;
mod certificates;
mod connection;
mod frames;
mod http1;
mod http2;
mod inbound;
mod io;
mod limits;
mod linger;
mod outlet;
mod pace;
mod phases;
mod serve;
mod tls;

pub use certificates::{Certificates, watch};
pub use inbound::{Inbound, InboundError, Paced, Peer, TooSlow};
pub use limits::{Http2Limits, Limits};
pub use linger::discard;
pub use serve::{Drained, Server, serve};
pub use tls::{TlsError, TlsFiles};
