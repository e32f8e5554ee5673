//! A strict double of Google Cloud Storage on one loopback port: the JSON API for bodies (HTTP/1.1), gRPC
//! `google.storage.v2` for the rest, and the hosts that issue tokens.
//!
//! Where the real service is lenient or silent, this one refuses: an insert without a precondition, a checksum that does not
//! match, an upload in pieces that leaves a hole, a call without routing parameters. It keeps what it received, so that a
//! test can search it. As a process (`process.rs`) it may have a folder, TLS and an address of its own.

pub(crate) mod bucket;
mod command;
mod control;
mod download;
pub(crate) mod faults;
mod folder;
mod json;
mod respond;
mod server;
mod tokens;
mod upload;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use self::bucket::Bucket;
use self::faults::{Call, Fault, Faults};
pub(crate) use self::tokens::SUBJECT_TOKEN;
use self::upload::Session;

/// The most bytes of requests that are kept for searching; a test that sends more must not rely on the search.
const SEEN_BYTES_MAX: usize = 512 * 1024 * 1024;

/// How strict it is, beyond what cannot be turned off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// What faults follow from.
    pub(crate) seed: u64,
    /// Refuse an insert that has no precondition: a blob is written once, and its writer must say so.
    pub(crate) demand_precondition: bool,
    /// Refuse calls without a token that this double has issued, or that is signed by [`Double::trust`].
    pub(crate) demand_token: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { seed: 1, demand_precondition: true, demand_token: false }
    }
}

/// Where it stands, and what of it outlives it.
pub(crate) struct Place {
    pub(crate) listen: SocketAddr,
    /// TLS instead of clear text.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Where buckets are kept; without it, in memory alone.
    pub(crate) folder: Option<PathBuf>,
    /// The most bytes of bodies that are kept for searching.
    pub(crate) seen_bytes_max: usize,
}

impl Place {
    /// In memory, in clear text, on this port of 127.0.0.1.
    pub(crate) fn on_port(port: u16) -> Self {
        let listen = (Ipv4Addr::LOCALHOST, port).into();
        Self { listen, tls: None, folder: None, seen_bytes_max: SEEN_BYTES_MAX }
    }
}

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) call: Call,
    pub(crate) method: http::Method,
    pub(crate) at: Instant,
    /// The fault that it met, as commands call it.
    pub(crate) fault: Option<&'static str>,
    /// Path and query.
    pub(crate) target: String,
    /// The host it was meant for, without port.
    pub(crate) host: String,
    /// Names and values, one a line.
    pub(crate) headers: String,
    /// Empty, if more came before than is kept.
    pub(crate) body: Bytes,
}

impl Seen {
    /// Whether it holds these bytes anywhere.
    pub(crate) fn holds(&self, what: &[u8]) -> bool {
        let texts = [self.target.as_bytes(), self.headers.as_bytes(), &self.body];
        texts.into_iter().any(|text| bucket::find(text, what).is_some())
    }
}

#[derive(Debug)]
struct State {
    buckets: BTreeMap<String, Bucket>,
    sessions: BTreeMap<String, Session>,
    /// Public key (DER, PKCS#1) of the service account that may sign its own tokens, and its name.
    trusted: Option<(Vec<u8>, String)>,
    seen: Vec<Seen>,
    seen_bytes: usize,
    faults: Faults,
    /// Generations and session ids; grows by one with each.
    last: i64,
}

impl State {
    fn bucket(&mut self, name: &str) -> Result<&mut Bucket, bucket::Refusal> {
        let missing = || bucket::Refusal::not_found("the specified bucket does not exist");
        self.buckets.get_mut(name).ok_or_else(missing)
    }

    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    address: SocketAddr,
    /// `http` or `https`.
    scheme: &'static str,
    folder: Option<PathBuf>,
    seen_bytes_max: usize,
    started: Instant,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running double; it ends with this value.
#[derive(Debug)]
pub(crate) struct Double {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Double {
    /// Starts one on a free port of 127.0.0.1.
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::start_at(settings, 0).await
    }

    /// Starts one on this port of 127.0.0.1.
    pub(crate) async fn start_at(settings: Settings, port: u16) -> Self {
        Self::start_in(settings, Place::on_port(port)).await
    }

    /// Starts one there, with what its folder holds.
    pub(crate) async fn start_in(settings: Settings, place: Place) -> Self {
        let listener = TcpListener::bind(place.listen).await.expect("a port of this machine");
        let address = listener.local_addr().expect("an address");
        let buckets = place.folder.as_deref().map(folder::Folder::all).unwrap_or_default();
        let now_us = || {
            #[allow(clippy::disallowed_methods, reason = "another service has another clock")]
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
            i64::try_from(now.as_micros()).expect("a time of ours")
        };
        let state = State {
            buckets: buckets.into_iter().map(|bucket| (bucket.name.clone(), bucket)).collect(),
            sessions: BTreeMap::new(),
            trusted: None,
            seen: Vec::new(),
            seen_bytes: 0,
            faults: Faults::seeded(settings.seed),
            // Generations of the real service are microseconds since 1970; nothing may rely on small numbers.
            // With a folder, none may come twice in two lives.
            last: if place.folder.is_some() { now_us() } else { 1_700_000_000_000_000 },
        };
        let shared = Arc::new(Shared {
            settings,
            address,
            scheme: if place.tls.is_some() { "https" } else { "http" },
            folder: place.folder,
            seen_bytes_max: place.seen_bytes_max,
            started: Instant::now(),
            state: Mutex::new(state),
        });
        let accepting = tokio::spawn(server::accept(listener, place.tls, Arc::clone(&shared)));
        Self { shared, accepting }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The same as a URL without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.shared.scheme, self.shared.address)
    }

    /// Makes a bucket, or takes a changed one back.
    pub(crate) fn put_bucket(&self, bucket: Bucket) {
        self.shared.state().buckets.insert(bucket.name.clone(), bucket);
    }

    /// A copy of a bucket, to look at.
    pub(crate) fn bucket(&self, name: &str) -> Bucket {
        self.shared.state().buckets[name].clone()
    }

    /// Takes a bucket away.
    pub(crate) fn remove_bucket(&self, name: &str) {
        self.shared.state().buckets.remove(name);
    }

    /// Accepts tokens that this account has signed with this key (DER, PKCS#1).
    pub(crate) fn trust(&self, public_key: &[u8], account: &str) {
        self.shared.state().trusted = Some((public_key.to_vec(), account.to_owned()));
    }

    /// The next `times` calls of this kind meet the fault; `None`: all.
    pub(crate) fn fault(&self, on: Call, what: Fault, times: Option<u32>) {
        self.shared.state().faults.set(on, what, times);
    }

    /// Of all calls of this kind, this share meets the fault.
    pub(crate) fn fault_rate(&self, on: Call, what: Fault, per_mille: u32) {
        self.shared.state().faults.set_rate(on, what, per_mille);
    }

    /// No faults any more.
    pub(crate) fn heal(&self) {
        self.shared.state().faults.clear();
    }

    /// How many faults were injected.
    pub(crate) fn injected(&self) -> u64 {
        self.shared.state().faults.injected()
    }

    /// Every request so far. Fails if more came than is kept.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let state = self.shared.state();
        assert!(
            state.seen_bytes <= self.shared.seen_bytes_max,
            "more was received than is kept for searching"
        );
        state.seen.clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
