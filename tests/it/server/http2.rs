//! HTTP/2 with frames made by hand: every limit, and how failures look.

use tokio_rustls::client::TlsStream;

use super::*;
use tls::{certificate, tls};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113, 7.
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [[a, b, c, kind, flags].as_slice(), &stream.to_be_bytes(), payload].concat()
}

/// HPACK without tables: `name: value`, both under 127 bytes.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0x00], text(name), text(value)].concat()
}

/// `:scheme: https`, `:authority: a`, method and path.
fn head(method: &str, path: &str) -> Vec<u8> {
    [field(":method", method), vec![0x87], field(":authority", "a"), field(":path", path)].concat()
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("GET", path))
}

struct Raw {
    tls: TlsStream<TcpStream>,
    running: Running,
    begun: Instant,
    _certificate: tls::Certificate,
}

impl Raw {
    /// A connection that has sent its preface and `settings`.
    async fn with(limits: Limits, settings: &[u8]) -> Self {
        let mut raw = Self::silent(limits).await;
        raw.send(
            &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, settings)].concat(),
        )
        .await;
        raw
    }

    async fn new(limits: Limits) -> Self {
        Self::with(limits, &[]).await
    }

    async fn silent(limits: Limits) -> Self {
        let certificate = certificate();
        let running = start_tls(limits, Some(certificate.load())).await;
        // The server may know of the handshake's end before we do.
        let begun = Instant::now();
        let tls = tls(&running, &certificate, b"h2").await;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        Self { tls, running, begun, _certificate: certificate }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.tls.write_all(bytes).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    /// The next frame; none when the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.tls.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, rest @ ..] = head;
            let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
            self.tls.read_exact(&mut payload).await.ok()?;
            Some(Frame { kind, flags, stream: u32::from_be_bytes(rest), payload })
        };
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("a frame, or the end")
    }

    /// The next frame of one kind.
    async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        while let Some(frame) = self.next().await {
            if frame.kind == kind {
                return Some(frame);
            }
        }
        None
    }

    /// Reads to the server's close; how long it took since the connection was made, and what was said in GOAWAY.
    async fn closed(&mut self) -> (Duration, Option<u32>) {
        let mut said = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                said = Some(frame.code());
            }
        }
        (self.begun.elapsed(), said)
    }

    /// Answers pings, reads everything, and gives the frames of one stream until it ends or is reset.
    async fn stream(&mut self, stream: u32) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let next = self.next().await.expect("the stream's end before the connection's");
            if next.stream == stream && next.kind != WINDOW_UPDATE {
                let ended = next.kind == RST_STREAM || next.flags & END_STREAM != 0;
                frames.push(next);
                if ended {
                    return frames;
                }
            }
        }
    }

    /// Whether the connection still works: a ping comes back.
    async fn assert_alive(&mut self) {
        self.send(&frame(PING, 0, 0, b"terroir!")).await;
        while let Some(frame) = self.next_of(PING).await {
            if frame.flags == 1 && frame.payload == b"terroir!" {
                return;
            }
        }
        panic!("the connection is gone");
    }
}

#[tokio::test]
async fn requests_are_answered_side_by_side_and_know_their_peer() {
    let mut raw = Raw::new(limits()).await;
    raw.send(&[get(1, "/wait"), get(3, "/peer")].concat()).await;
    let peer = raw.stream(3).await;
    let body: Vec<u8> = peer.iter().filter(|f| f.kind == DATA).flat_map(|f| f.payload.clone()).collect();
    assert!(String::from_utf8(body).unwrap().ends_with(" true"));
    raw.running.gate.add_permits(1);
    raw.stream(1).await;
    let put = frame(HEADERS, END_HEADERS, 5, &head("PUT", "/sink"));
    raw.send(&[put, frame(DATA, 0, 5, b"hel"), frame(DATA, END_STREAM, 5, b"lo")].concat()).await;
    let answer = raw.stream(5).await;
    assert!(answer.iter().any(|frame| frame.payload == b"read 5"));
    let metrics = Arc::clone(&raw.running.metrics);
    assert_eq!(metrics.body_bytes(Direction::In).value(), 5);
    drop(raw.tls);
    raw.running.drained().await;
    assert_eq!((metrics.connections().value(), metrics.in_flight().value()), (0, 0));
}

/// Also where the stream's end would be the only sign: a reset, and no frame of data with its end.
#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_and_no_other() {
    let mut raw = Raw::new(limits()).await;
    for (stream, path) in [(1, "/broken"), (3, "/panic-later")] {
        raw.send(&get(stream, path)).await;
        let frames = raw.stream(stream).await;
        let last = frames.last().unwrap();
        assert_eq!((last.kind, last.code()), (RST_STREAM, INTERNAL_ERROR), "{path}");
        assert!(
            frames.iter().all(|frame| frame.kind == RST_STREAM || frame.flags & END_STREAM == 0),
            "{path}"
        );
        raw.assert_alive().await;
    }
    raw.send(&get(5, "/panic")).await;
    // `:status: 500`, from the static table (RFC 7541, A).
    assert_eq!(raw.stream(5).await[0].payload[0], 0x8e);
    raw.assert_alive().await;
    assert_eq!(raw.running.metrics.panics().value(), 2);
}

#[tokio::test]
async fn an_early_error_reaches_a_client_that_is_still_writing_and_the_connection_lives() {
    let mut raw = Raw::new(limits()).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &head("PUT", "/deny"))).await;
    raw.send(&frame(DATA, 0, 1, &[b'x'; 10_000])).await;
    let frames = raw.stream(1).await;
    assert!(frames.iter().any(|frame| frame.payload == b"denied"));
    raw.assert_alive().await;
    raw.send(&get(3, "/ok")).await;
    assert!(raw.stream(3).await.iter().any(|frame| frame.payload == b"ok"));
}

// ---- slow clients

#[tokio::test]
async fn a_client_that_says_nothing_or_half_a_hello_is_cut() {
    for said in [
        b"".as_slice(),
        b"PRI * HTTP",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06",
    ] {
        let mut raw = Raw::silent(Limits { header_read_ms: 300, ..limits() }).await;
        raw.send(said).await;
        assert_took(raw.closed().await.0, 300);
        assert_eq!(raw.running.metrics.connections_timed_out().value(), 1);
    }
}

#[tokio::test]
async fn a_quiet_connection_is_told_to_go_after_its_time() {
    let mut raw = Raw::new(Limits { keep_alive_ms: 700, linger_ms: 300, ..limits() }).await;
    let (took, said) = raw.closed().await;
    // The last word would follow the answer to the ping before it; who does not give it has twice the time to linger.
    assert_took(took, 700 + 2 * 300);
    assert_eq!(said, Some(0));
}

/// Each frame arrives well within the time of a head, the block does not.
#[tokio::test]
async fn a_block_of_headers_that_does_not_end_is_cut_though_bytes_keep_coming() {
    let mut raw = Raw::new(Limits { header_read_ms: 1_000, ..limits() }).await;
    raw.begun = Instant::now();
    raw.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/ok"))).await;
    let (mut reader, mut writer) = tokio::io::split(raw.tls);
    let drip = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for byte in frame(CONTINUATION, 0, 1, &field("x", "1")).iter().cycle() {
            ticks.tick().await;
            if writer.write_all(&[*byte]).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    });
    rest(&mut reader).await;
    assert_took(raw.begun.elapsed(), 1_000);
    // h2 counts such frames, and ends the connection at the sixth by itself: within the slack of the time.
    assert_eq!(raw.running.metrics.connections_timed_out().value(), 1);
    drip.abort();
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_cut_at_the_time_of_its_kind() {
    let one = Limits { header_read_ms: 300, ..limits() };
    let other = Limits { rate_window_ms: 600, rate_bytes_min: 0, ..limits() };
    for (kind, limits, limit_ms) in [(HEADERS, one, 300), (DATA, other, 600)] {
        let mut raw = Raw::new(limits).await;
        if kind == DATA {
            raw.send(&frame(HEADERS, END_HEADERS, 1, &head("PUT", "/sink"))).await;
        }
        raw.begun = Instant::now();
        let half = frame(kind, END_HEADERS, 1, &[0; 100]);
        raw.send(&half[..50]).await;
        assert_took(raw.closed().await.0, limit_ms);
    }
}

#[tokio::test]
async fn a_body_that_stops_or_trickles_is_answered_408_and_the_connection_lives() {
    let idle = Limits { body_idle_ms: 300, ..limits() };
    let rate = Limits { rate_window_ms: 600, ..limits() };
    for (trickles, limits, limit_ms) in [(false, idle, 300), (true, rate, 600)] {
        let mut raw = Raw::new(limits).await;
        let begun = Instant::now();
        raw.send(&frame(HEADERS, END_HEADERS, 1, &head("PUT", "/sink"))).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let frames = loop {
            tokio::select! {
                frames = raw.next_of(HEADERS) => break frames.unwrap(),
                _ = ticks.tick(), if trickles => raw.send(&frame(DATA, 0, 1, b"x")).await,
            }
        };
        assert_took(begun.elapsed(), limit_ms);
        // A literal of index 8 (`:status`), three digits in Huffman's code or plain; none of the indexed 200s.
        assert_ne!(frames.payload[0], 0x88);
        raw.assert_alive().await;
    }
}

/// The window is the reader's: shut from the start, or opened by one byte now and then.
#[tokio::test]
async fn an_answer_that_nobody_takes_is_reset_and_the_connection_lives() {
    let shut = [0, 4, 0, 0, 0, 0];
    let stall = Limits { answer_stall_ms: 300, ..limits() };
    let rate = Limits { rate_window_ms: 600, ..limits() };
    for (path, trickles, limits, limit_ms) in
        [("/ok", false, stall, 300), ("/big", false, stall, 300), ("/big", true, rate, 600)]
    {
        let mut raw = Raw::with(limits, &shut).await;
        let begun = Instant::now();
        raw.send(&get(1, path)).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let reset = loop {
            tokio::select! {
                reset = raw.next_of(RST_STREAM) => break reset.unwrap(),
                _ = ticks.tick(), if trickles => raw.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await,
            }
        };
        assert_took(begun.elapsed(), limit_ms);
        assert_eq!((reset.stream, reset.code()), (1, CANCEL), "{path}");
        raw.assert_alive().await;
        assert_eq!(raw.running.metrics.in_flight().value(), 0);
    }
}

#[tokio::test]
async fn a_reader_that_takes_its_time_above_the_least_rate_gets_everything() {
    let small = [0, 4, 0, 0, 4, 0]; // 1 KiB
    let short = Limits { answer_stall_ms: 500, rate_window_ms: 600, ..limits() };
    let mut raw = Raw::with(short, &small).await;
    let begun = Instant::now();
    raw.send(&get(1, "/big")).await;
    let mut read = 0;
    // More than three windows, and more than what waits in buffers.
    while begun.elapsed() < Duration::from_secs(2) || read <= 100_000 {
        let data = raw.next_of(DATA).await.expect("still open");
        read += data.payload.len();
        let step = u32::try_from(data.payload.len()).unwrap().to_be_bytes();
        raw.send(&[frame(WINDOW_UPDATE, 0, 0, &step), frame(WINDOW_UPDATE, 0, 1, &step)].concat()).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_cut() {
    let http2 = Http2Limits { ping_ms: 300, ping_answer_ms: 300, ..limits().http2 };
    let mut raw = Raw::new(Limits { http2, ..limits() }).await;
    raw.send(&get(1, "/wait")).await;
    assert_took(raw.closed().await.0, 600);
}

// ---- too much

#[tokio::test]
async fn too_many_or_too_large_headers_are_431_or_worse() {
    let many: Vec<u8> = (0..40).flat_map(|_| field("x-a", "1")).collect();
    let large: Vec<u8> = (0..200).flat_map(|_| field("x-a", &"x".repeat(100))).collect();
    for headers in [many, large] {
        let mut raw = Raw::new(limits()).await;
        let block = [head("GET", "/ok"), headers].concat();
        let (first, rest) = block.split_at(block.len().min(16_000));
        if rest.is_empty() {
            raw.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, first)).await;
        } else {
            raw.send(&frame(HEADERS, END_STREAM, 1, first)).await;
            raw.send(&frame(CONTINUATION, END_HEADERS, 1, rest)).await;
        }
        let answer = raw.next_of(HEADERS).await.expect("an answer");
        // `:status` by name (index 8), then "431" in Huffman's code: 17 bits, filled up with ones (RFC 7541, B).
        assert_eq!(answer.payload[..5], [0x48, 0x83, 0x69, 0x90, 0xff], "{:x?}", answer.payload);
        raw.assert_alive().await;
    }
}

/// CVE-2024-27316: headers without end in frames without end.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection_long_before_the_time_limit() {
    let mut raw = Raw::new(limits()).await;
    let flood = frame(CONTINUATION, 0, 1, &field("x-a", &"x".repeat(100)));
    let mut sent = 0;
    let mut bytes = frame(HEADERS, END_STREAM, 1, &head("GET", "/ok"));
    while raw.tls.write_all(&bytes).await.is_ok() && sent < 1_000_000 {
        sent += 1;
        bytes.clone_from(&flood);
    }
    let (_, said) = raw.closed().await;
    println!("{sent} frames, GOAWAY {said:?}");
    // What was written stands in the kernel's buffers for the most part.
    assert!(sent < 200_000, "{sent}");
    assert!(matches!(said, None | Some(11)), "{said:?}");
    assert!(raw.begun.elapsed() < Duration::from_secs(20));
}

/// CVE-2023-44487: requests that are taken back as soon as they are made, which never makes too many at a time.
#[tokio::test]
async fn a_flood_of_withdrawn_requests_ends_the_connection() {
    let mut raw = Raw::new(limits()).await;
    let mut asked = 0;
    for stream in (1..200_001).step_by(2) {
        let reset = frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
        // Its own write each: the server starts on most of them before it hears that they are off.
        if raw.tls.write_all(&get(stream, "/wait")).await.is_err() || raw.tls.flush().await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
        if raw.tls.write_all(&reset).await.is_err() || raw.tls.flush().await.is_err() {
            break;
        }
        asked += 1;
    }
    let (_, said) = raw.closed().await;
    println!("{asked} requests, GOAWAY {said:?}");
    assert!(asked < 50_000, "{asked}");
    while raw.running.metrics.connections().value() > 0 {
        tokio::task::yield_now().await;
    }
    while raw.running.metrics.in_flight().value() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_few_withdrawn_requests_are_a_clients_right() {
    let mut raw = Raw::new(limits()).await;
    for stream in (1..61).step_by(2) {
        raw.send(&get(stream, "/wait")).await;
        raw.send(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())).await;
        raw.assert_alive().await;
    }
    while raw.running.metrics.in_flight().value() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_may_be_asked_again() {
    let mut raw = Raw::new(limits()).await;
    let streams = limits().http2.streams_max;
    // Who did not wait for our settings cannot know the limit; who read them does.
    raw.assert_alive().await;
    for number in 0..=streams {
        raw.send(&get(number * 2 + 1, "/wait")).await;
    }
    let refused = raw.next_of(RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (streams * 2 + 1, REFUSED_STREAM));
    raw.running.gate.add_permits(streams as usize);
    raw.stream(1).await;
    raw.assert_alive().await;
}

/// A body that nobody reads stops at its window; what a connection can make us hold is the sum of them, and bounded.
#[tokio::test]
async fn the_windows_that_are_granted_are_the_limits() {
    let http2 =
        Http2Limits { stream_window_bytes: 70_000, connection_window_bytes: 200_000, ..limits().http2 };
    let mut raw = Raw::new(Limits { http2, ..limits() }).await;
    let settings = raw.next_of(SETTINGS).await.unwrap();
    let granted: Vec<_> =
        settings.payload.chunks(6).map(|s| (s[1], u32::from_be_bytes(s[2..].try_into().unwrap()))).collect();
    assert!(granted.contains(&(4, 70_000)), "{granted:?}");
    assert!(granted.contains(&(3, limits().http2.streams_max)), "{granted:?}");
    assert!(granted.contains(&(6, u32::try_from(limits().header_bytes_max).unwrap())), "{granted:?}");
    let update = raw.next_of(WINDOW_UPDATE).await.unwrap();
    assert_eq!((update.stream, update.code()), (0, 200_000 - 65_535));
}

// ---- drain

/// RFC 9113, 6.8: a warning first, and the last word after the ping that went with it came back. What was asked in between is
/// answered.
#[tokio::test]
async fn a_request_that_meets_the_goaway_half_way_is_answered() {
    let mut raw = Raw::new(limits()).await;
    raw.send(&get(1, "/wait")).await;
    while raw.running.metrics.in_flight().value() == 0 {
        tokio::task::yield_now().await;
    }
    raw.running.stop.cancel();
    let warning = raw.next_of(GOAWAY).await.unwrap();
    assert_eq!((&warning.payload[..4], warning.code()), ([0x7f, 0xff, 0xff, 0xff].as_slice(), 0));
    let ping = raw.next_of(PING).await.unwrap();
    raw.send(&get(3, "/ok")).await;
    raw.send(&frame(PING, 1, 0, &ping.payload)).await;
    raw.running.gate.add_permits(1);
    let mut ended = Vec::new();
    let mut last = None;
    while let Some(frame) = raw.next().await {
        if frame.kind == GOAWAY {
            last = Some(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
        } else if frame.flags & END_STREAM != 0 && matches!(frame.kind, DATA | HEADERS) {
            ended.push(frame.stream);
        }
    }
    ended.sort_unstable();
    assert_eq!((ended, last), (vec![1, 3], Some(3)));
    drop(raw.tls);
    assert_eq!(raw.running.task.await.unwrap(), Drained { idle: 0, finished: 1, aborted: 0 });
}

#[tokio::test]
async fn a_client_that_ignores_a_goaway_does_not_hold_the_drain() {
    let raw = Raw::new(Limits { linger_ms: 300, ..limits() }).await;
    let begun = Instant::now();
    let Raw { running, tls, .. } = raw;
    let drained = running.drained().await;
    assert!(begun.elapsed() < Duration::from_millis(600) + SLACK, "{:?}", begun.elapsed());
    assert_eq!(drained, Drained { idle: 1, finished: 0, aborted: 0 });
    drop(tls);
}

/// The header has no meaning in HTTP/2 and is left out; what it says is said by GOAWAY.
#[tokio::test]
async fn an_answer_that_closes_says_goaway() {
    let mut raw = Raw::new(limits()).await;
    raw.send(&get(1, "/closing")).await;
    let mut came = Vec::new();
    while let Some(next) = raw.next().await {
        came.push((next.kind, next.stream));
        if next.kind == PING && next.flags == 0 {
            raw.send(&frame(PING, 1, 0, &next.payload)).await;
        }
    }
    let at = |wanted| came.iter().position(|one| *one == wanted);
    let (answer, goaway) = (at((HEADERS, 1)).expect("an answer"), at((GOAWAY, 0)).expect("a goodbye"));
    assert!(answer < goaway, "{came:?}");
    until("its end", || raw.running.metrics.connections().value() == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_on_asking_after_its_goaway_is_cut() {
    let mut raw = Raw::new(limits()).await;
    let mut answered = 0;
    'asking: for stream in (1..2_001).step_by(2) {
        if raw.tls.write_all(&get(stream, "/closing")).await.is_err() || raw.tls.flush().await.is_err() {
            break;
        }
        loop {
            let Some(next) = raw.next().await else { break 'asking };
            if next.stream == stream && next.flags & END_STREAM != 0 {
                break;
            }
        }
        answered += 1;
    }
    // As many as can have been on their way.
    assert!((5..50).contains(&answered), "{answered}");
    until("its end", || raw.running.metrics.connections().value() == 0).await;
}
