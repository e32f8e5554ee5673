//! A TCP relay that understands enough of `PostgreSQL`'s protocol to count round trips, and that cuts connections where a test
//! says.
//!
//! A *turn* is a message with which the client ends what it has to say and waits: Sync, or a simple Query (protocol version 3,
//! "message flow"). What a client sends before it waits is one round trip, however many messages it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// More bytes than any test sends.
const NEVER: i64 = i64::MAX / 2;

#[derive(Debug, Default)]
struct State {
    turns: AtomicU64,
    connections: AtomicU64,
    /// Bytes that may still pass, both ways together.
    budget: AtomicI64,
}

/// A relay to a server of this machine. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) port: u16,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        state.budget.store(NEVER, Ordering::SeqCst);
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                    state.connections.fetch_add(1, Ordering::SeqCst);
                    client.set_nodelay(true).ok();
                    server.set_nodelay(true).ok();
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    // Whichever side ends first ends both: a cut is a cut.
                    tokio::select! {
                        () = pass(from_client, to_server, &state, Some(Frames::default())) => {}
                        () = pass(from_server, to_client, &state, None) => {}
                    }
                });
            }
        });
        Self { port, state, accepting }
    }

    /// Turns so far.
    pub(crate) fn turns(&self) -> u64 {
        self.state.turns.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Lets this many more bytes pass, then cuts every connection that wants more.
    pub(crate) fn cut_after(&self, bytes: i64) {
        self.state.budget.store(bytes, Ordering::SeqCst);
    }

    /// Lets everything pass.
    pub(crate) fn mend(&self) {
        self.state.budget.store(NEVER, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, mut frames: Option<Frames>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let wanted = i64::try_from(length).unwrap();
        let left = state.budget.fetch_sub(wanted, Ordering::SeqCst);
        let allowed = usize::try_from(left.clamp(0, wanted)).unwrap();
        if let Some(frames) = &mut frames {
            state.turns.fetch_add(frames.turns(&buffer[..allowed]), Ordering::SeqCst);
        }
        if to.write_all(&buffer[..allowed]).await.is_err() || allowed < length {
            return;
        }
    }
}

/// The question whether the server speaks TLS, which comes before the start-up message (protocol version 3, "SSLRequest").
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// Where the client's messages begin: first a length and a code (start-up), then a type and a length each.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    skip: usize,
    is_started: bool,
}

impl Frames {
    fn turns(&mut self, bytes: &[u8]) -> u64 {
        let mut turns = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(rest.len());
                self.skip -= skipped;
                rest = &rest[skipped..];
                continue;
            }
            self.head.push(rest[0]);
            rest = &rest[1..];
            let length =
                |at: usize, head: &[u8]| u32::from_be_bytes(head[at..at + 4].try_into().unwrap()) as usize;
            if self.is_started && self.head.len() == 5 {
                turns += u64::from(matches!(self.head[0], b'S' | b'Q'));
                self.skip = length(1, &self.head) - 4;
                self.head.clear();
            } else if !self.is_started && self.head.len() == 8 {
                self.skip = length(0, &self.head) - 8;
                self.is_started = self.head[4..] != SSL_REQUEST;
                self.head.clear();
            }
        }
        turns
    }
}

#[test]
fn turns_are_counted_however_the_bytes_are_cut() {
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    };
    let ssl_request = [&8_u32.to_be_bytes()[..], &SSL_REQUEST].concat();
    let start_up = [&16_u32.to_be_bytes()[..], &[0, 3, 0, 0], b"SQSQSQSQ"].concat();
    let stream = [
        ssl_request,
        start_up,
        message(b'P', b"SSSSQQQQ"),
        message(b'B', &[b'S'; 300]),
        message(b'S', b""),
        message(b'Q', b"SELECT 'S'"),
        message(b'X', b""),
    ]
    .concat();
    for step in 1..=stream.len() {
        let mut frames = Frames::default();
        assert_eq!(stream.chunks(step).map(|chunk| frames.turns(chunk)).sum::<u64>(), 2, "steps of {step}");
    }
}
