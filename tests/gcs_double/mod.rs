//! A strict double of Google Cloud Storage on one loopback port: the JSON API for bodies (HTTP/1.1), gRPC
//! `google.storage.v2` for the rest, and the hosts that issue tokens.
//!
//! Where the real service is lenient or silent, this one refuses: an insert without a precondition, a checksum that does not
//! match, an upload in pieces that leaves a hole, a call without routing parameters. It keeps what it received, so that a
//! test can search it.

pub(crate) mod bucket;
mod command;
mod control;
mod download;
pub(crate) mod faults;
mod json;
mod respond;
mod server;
mod tokens;
mod upload;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

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

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) call: Call,
    /// Path and query.
    pub(crate) target: String,
    /// The host it was meant for, without port.
    pub(crate) host: String,
    /// Names and values, one a line.
    pub(crate) headers: String,
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
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port of this machine");
        let address = listener.local_addr().expect("an address");
        let state = State {
            buckets: BTreeMap::new(),
            sessions: BTreeMap::new(),
            trusted: None,
            seen: Vec::new(),
            seen_bytes: 0,
            faults: Faults::seeded(settings.seed),
            // Generations of the real service are microseconds since 1970; nothing may rely on small numbers.
            last: 1_700_000_000_000_000,
        };
        let shared = Arc::new(Shared { settings, address, state: Mutex::new(state) });
        let accepting = tokio::spawn(server::accept(listener, Arc::clone(&shared)));
        Self { shared, accepting }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The same as a URL without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.shared.address)
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
        assert!(state.seen_bytes <= SEEN_BYTES_MAX, "more was received than is kept for searching");
        state.seen.clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
