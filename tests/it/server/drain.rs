//! Drains: nothing that was asked stays unanswered, and nothing outlives the limit.

use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use tls::{certificate, connector, localhost};

#[tokio::test]
async fn a_drain_ends_what_runs_closes_what_idles_and_accepts_no_more() {
    let running = start(limits()).await;
    let mut idle = running.connect().await;
    idle.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    one_answer(&mut idle).await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    while running.metrics.in_flight().value() == 0 {
        tokio::task::yield_now().await;
    }
    running.stop.cancel();
    assert_eq!(until_end(&mut idle).await, "");
    drop(idle);
    let (address, gate) = (running.address, Arc::clone(&running.gate));
    assert!(!running.task.is_finished());
    gate.add_permits(1);
    let answer = until_end(&mut busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("waited"), "{answer}");
    drop(busy);
    assert_eq!(running.task.await.unwrap(), Drained { idle: 1, finished: 1, aborted: 0 });
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let running = start(Limits { drain_ms: 200, ..limits() }).await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    while running.metrics.in_flight().value() == 0 {
        tokio::task::yield_now().await;
    }
    let metrics = Arc::clone(&running.metrics);
    let begun = Instant::now();
    assert_eq!(running.drained().await, Drained { idle: 0, finished: 0, aborted: 1 });
    assert_took(begun.elapsed(), 200);
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!((metrics.connections().value(), metrics.in_flight().value()), (0, 0));
}

/// What hyper's own graceful shutdown does not: the request is written when the server has already been told to stop.
#[tokio::test]
async fn a_request_that_meets_the_drain_half_way_is_answered() {
    for fresh in [true, false] {
        let running = start(Limits { drain_idle_ms: 60_000, ..limits() }).await;
        let mut socket = running.connect().await;
        while running.metrics.connections().value() == 0 {
            tokio::task::yield_now().await;
        }
        if !fresh {
            socket.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            one_answer(&mut socket).await;
        }
        running.stop.cancel();
        // The listener is gone, so the drain has begun on every connection.
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        // A connection that nobody keeps for what may be on its way is closed by then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        socket.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let answer = until_end(&mut socket).await;
        assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{fresh} {answer:?}");
        drop(socket);
        assert_eq!(running.task.await.unwrap().aborted, 0);
    }
}

#[tokio::test]
async fn a_server_that_was_held_up_in_a_drain_closed_under_a_request_that_had_come() {
    let running = start(limits()).await;
    let mut socket = running.connect().await;
    socket.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    one_answer(&mut socket).await;
    running.stop.cancel();
    let client = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(limits().drain_idle_ms - 100)).await;
        socket.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        until_end(&mut socket).await
    });
    hold_up(100, limits().drain_idle_ms * 2).await;
    let answer = client.await.unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer:?}");
    assert_eq!(running.task.await.unwrap().aborted, 0);
}

/// An answer that began before the drain promised to keep the connection: the next request on it must not meet its end.
#[tokio::test]
async fn an_answer_that_began_before_the_drain_does_not_close_under_the_next_request() {
    let running = start(Limits { drain_idle_ms: 60_000, ..limits() }).await;
    let mut socket = running.connect().await;
    socket.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut head = [0; 64];
    socket.read_exact(&mut head).await.unwrap();
    running.stop.cancel();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let mut tail = [0; 5];
    let mut block = vec![0; 256 * 1024];
    while !tail.ends_with(b"0\r\n\r\n") {
        let count = socket.read(&mut block).await.unwrap();
        assert!(count > 0, "closed in the middle");
        let kept = [&tail, &block[..count]].concat();
        tail.copy_from_slice(&kept[kept.len() - 5..]);
    }
    socket.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = until_end(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer:?}");
    drop(socket);
    assert_eq!(running.task.await.unwrap().aborted, 0);
}

#[tokio::test]
async fn before_a_drain_there_is_time_to_notice() {
    let running = start(Limits { notice_ms: 500, ..limits() }).await;
    let begun = Instant::now();
    running.stop.cancel();
    let mut answered = 0;
    // New connections are taken and kept as ever, until the notice is over.
    while let Ok(mut socket) = TcpStream::connect(running.address).await {
        socket.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(one_answer(&mut socket).await.ends_with("ok"));
        answered += 1;
    }
    assert_took(begun.elapsed(), 500);
    assert!(answered > 0);
    running.task.await.unwrap();
}

/// A drain during a handshake: the client's first request comes with the end of it.
#[tokio::test]
async fn a_handshake_under_way_is_finished_and_its_request_answered() {
    let certificate = certificate();
    let running = start_tls(Limits { drain_idle_ms: 60_000, ..limits() }, Some(certificate.load())).await;
    let socket = running.connect().await;
    while running.metrics.connections().value() == 0 {
        tokio::task::yield_now().await;
    }
    running.stop.cancel();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let connector = connector(&certificate.roots, rustls::ALL_VERSIONS, &[b"http/1.1"]);
    let mut tls = connector.connect(localhost(), socket).await.unwrap();
    tls.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = until_end(&mut tls).await;
    assert!(answer.ends_with("ok"), "{answer:?}");
}

#[tokio::test]
async fn a_crowd_that_the_kernel_had_connected_was_reset_by_the_drain() {
    use std::io::{Read, Write};
    // Fewer than the listener's backlog, more than the runtime takes without a break.
    const CROWD: usize = 400;
    const A_WHILE: std::time::Duration = std::time::Duration::from_secs(5);
    let running = start(Limits { connections_max: 1_000, ..limits() }).await;
    // Without a pause in which the server could take one: they are with the kernel when it is told to stop.
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut socket = std::net::TcpStream::connect_timeout(&running.address, A_WHILE).unwrap();
            socket.write_all(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            socket
        })
        .collect();
    running.stop.cancel();
    let answers = tokio::task::spawn_blocking(move || {
        let answered = crowd.into_iter().map(|mut socket| {
            let mut answer = String::new();
            socket.read_to_string(&mut answer).is_ok_and(|_| answer.ends_with("ok"))
        });
        answered.filter(|answered| *answered).count()
    });
    assert_eq!(answers.await.unwrap(), CROWD);
    assert_eq!(running.task.await.unwrap().aborted, 0);
}

// ---- no descriptors

const STARVED: &str = "TERROIR_TEST_WITHOUT_DESCRIPTORS";

/// Not a test of its own: what the next one runs in a process whose descriptors it may take away.
#[tokio::test]
#[ignore = "the other half of the test below, which runs it as a process of its own"]
async fn child_has_no_descriptors_in_its_notice() {
    if std::env::var_os(STARVED).is_none() {
        return;
    }
    let failures = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&failures);
    let lines = tracing_subscriber::fmt::layer().with_writer(move || Counting(Arc::clone(&counting)));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines)).unwrap();
    let running = start(Limits { notice_ms: 1_000, ..limits() }).await;
    // It is with the kernel: nobody has accepted yet.
    let _waiting = std::net::TcpStream::connect(running.address).unwrap();
    let next = std::fs::File::open("/dev/null").unwrap().as_raw_fd();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let none = rustix::process::Rlimit { current: Some(u64::try_from(next).unwrap()), ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, none).unwrap();
    running.drained().await;
    println!("failures: {}", failures.load(Ordering::Relaxed));
}

/// Counts the log's lines about connections that could not be taken.
struct Counting(Arc<AtomicUsize>);

impl std::io::Write for Counting {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if line.windows(13).any(|part| part == b"accept_failed") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_server_without_descriptors_spun_in_its_notice() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "server::drain::child_has_no_descriptors_in_its_notice",
        "--ignored",
        "--nocapture",
    ]);
    let child = command.env(STARVED, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let failures = said.split("failures: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<u32>().ok());
    println!("{failures:?} failures to accept in a second of notice");
    // One in 50 ms, and half a second more for those who wait when the drain begins.
    assert!(failures.is_some_and(|failures| (1..=35).contains(&failures)), "{said}");
}

// ---- under load

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// An answer, whole; and whether the server said that it was the connection's last.
    Answer { last: bool },
    /// The client did not send it: it had been told before that there would be no answer.
    NotSent,
    /// It was sent, and there was no answer. When it had left, where the protocol lets a server close under a request that
    /// comes late.
    Failed { sent: Option<Instant> },
}

/// A client that follows the protocol it agreed on.
pub(super) enum Client {
    Http1(Box<TlsStream<TcpStream>>),
    Http2(SendRequest<Empty<Bytes>>),
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, connector: &TlsConnector) -> std::io::Result<Self> {
        let tls = connector.connect(localhost(), TcpStream::connect(address).await?).await?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Ok(Self::Http1(Box::new(tls)));
        }
        let io = TokioIo::new(tls);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self::Http2(sender))
    }

    pub(super) async fn request(&mut self, path: &str) -> Got {
        match self {
            Self::Http1(tls) => http1_request(tls, path).await,
            Self::Http2(sender) => http2_request(sender, path).await,
        }
    }
}

async fn http1_request(tls: &mut TlsStream<TcpStream>, path: &str) -> Got {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let asked = async {
        tls.write_all(request.as_bytes()).await?;
        tls.flush().await
    };
    let asked = asked.await;
    let sent = Some(Instant::now());
    match asked.and(http1_answer(tls).await) {
        Ok(Some(head)) => Got::Answer { last: head.contains("connection: close") },
        Ok(None) | Err(_) => Got::Failed { sent },
    }
}

/// The head of one answer, if it comes.
async fn http1_answer(tls: &mut TlsStream<TcpStream>) -> std::io::Result<Option<String>> {
    let mut text = Vec::new();
    let mut block = [0; 4096];
    loop {
        let count = tls.read(&mut block).await?;
        if count == 0 {
            return Ok(None);
        }
        text.extend_from_slice(&block[..count]);
        if text.ends_with(b"\r\n\r\nok") {
            let head = String::from_utf8_lossy(&text).into_owned();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            return Ok(Some(head));
        }
    }
}

async fn http2_request(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Got {
    if sender.ready().await.is_err() {
        return Got::NotSent;
    }
    let request = Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap();
    match sender.try_send_request(request).await {
        Ok(answer) => {
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            if body.is_ok_and(|body| body == "ok") {
                Got::Answer { last: false }
            } else {
                Got::Failed { sent: None }
            }
        }
        // The server's last word did not count this request: it was not looked at, and may be sent elsewhere (RFC 9113, 8.7).
        // hyper says the same of one it had not sent yet. A connection that just ends says something else.
        Err(mut error) => {
            if error.take_message().is_some() {
                return Got::NotSent;
            }
            let h2 = std::error::Error::source(error.error())
                .and_then(|source| source.downcast_ref::<h2::Error>());
            let unprocessed = h2.is_some_and(|h2| {
                h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR)
            });
            println!("{h2:?}");
            if unprocessed { Got::NotSent } else { Got::Failed { sent: None } }
        }
    }
}

/// How clients fared in one drain.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    not_sent: AtomicUsize,
    failed: AtomicUsize,
    /// Failed, and had come when the connection may have been quiet for as long as a drain keeps it: HTTP/1 has no way to rule
    /// that out (RFC 9112, 9.5), and on a busy machine a client may be kept from sending for so long.
    late: AtomicUsize,
    handshakes_lost: AtomicUsize,
    /// When the server was told to stop, or a moment before.
    told: OnceLock<Instant>,
}

impl Tally {
    fn failed(&self, sent: Option<Instant>) {
        let kept = Duration::from_millis(limits().drain_idle_ms);
        let late = self.told.get().zip(sent).is_some_and(|(told, sent)| sent > *told + kept);
        let count = if late { &self.late } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps asking, on one connection as long as it lasts, until nobody listens any more.
async fn hammer(address: SocketAddr, connector: TlsConnector, tally: Arc<Tally>, number: usize) {
    let mut asked = number;
    loop {
        let mut client = match Client::connect(address, &connector).await {
            Ok(client) => client,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return,
            // The kernel connected it and the listener closed before anybody took it: nothing was asked yet.
            Err(_) => {
                tally.handshakes_lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        };
        loop {
            // Different distances, so that requests meet the drain at every point of their life.
            for _ in 0..asked % 7 * 3 {
                tokio::task::yield_now().await;
            }
            asked += 1;
            match client.request("/ok").await {
                Got::Answer { last: false } => tally.answered.fetch_add(1, Ordering::Relaxed),
                Got::Answer { last: true } => {
                    tally.answered.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Got::NotSent => {
                    tally.not_sent.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Got::Failed { sent } => {
                    tally.failed(sent);
                    break;
                }
            };
        }
    }
}

async fn drains_under_load(alpn: &[u8]) {
    const DRAINS: usize = 24;
    const CLIENTS: usize = 12;
    let certificate = certificate();
    let connector = connector(&certificate.roots, rustls::ALL_VERSIONS, &[alpn]);
    let (mut answered, mut lost, mut late) = (0, 0, 0);
    for round in 0..DRAINS {
        let running = start_tls(limits(), Some(certificate.load())).await;
        let (tally, address) = (Arc::new(Tally::default()), running.address);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| tokio::spawn(hammer(address, connector.clone(), Arc::clone(&tally), number)))
            .collect();
        while tally.answered.load(Ordering::Relaxed) < CLIENTS * 5 + round {
            tokio::task::yield_now().await;
        }
        let metrics = Arc::clone(&running.metrics);
        tally.told.set(Instant::now()).unwrap();
        let drained = running.drained().await;
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(tally.failed.load(Ordering::Relaxed), 0, "round {round}: {drained:?}");
        assert_eq!(drained.aborted, 0, "round {round}");
        assert_eq!((metrics.connections().value(), metrics.in_flight().value()), (0, 0), "round {round}");
        answered += tally.answered.load(Ordering::Relaxed);
        lost += tally.handshakes_lost.load(Ordering::Relaxed);
        late += tally.late.load(Ordering::Relaxed);
    }
    // A server that cut off whoever was quiet for so long, and told nobody before, would fail most clients this way.
    assert!(late <= DRAINS, "{late} late of {} clients", DRAINS * CLIENTS);
    println!(
        "{DRAINS} drains of {CLIENTS} clients: {answered} answered, 0 failed, {late} late, {lost} handshakes lost"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_in_drains_under_load_over_tls_in_http1() {
    drains_under_load(b"http/1.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_in_drains_under_load_over_tls_in_http2() {
    drains_under_load(b"h2").await;
}
