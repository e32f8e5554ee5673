//! What a connection may take: time, bytes, places.

/// Limits of one listener. Each is tested; the defaults are for production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. One more is answered 503 (in clear) or closed (TLS).
    pub connections_max: usize,
    /// TLS handshake, from accept to end.
    pub handshake_ms: u64,
    /// From the first byte of a request's head (of a connection's first request: from accept) to the end of the head. In
    /// HTTP/2 also for any frame but one of data.
    pub header_read_ms: u64,
    /// A request's head, in bytes: 431 beyond. In HTTP/2 the size of the list as RFC 9113, 6.5.2 counts it.
    pub header_bytes_max: usize,
    /// A request's headers: 431 beyond.
    pub headers_max: usize,
    /// A kept-alive connection without a request. Longer than SDKs keep theirs (60 to 90 s), so that it is the client who
    /// closes: a server that closes first races with the client's next request.
    pub keep_alive_ms: u64,
    /// The longest wait for the next bytes of a request's body.
    pub body_idle_ms: u64,
    /// The longest wait for a reader to take any more bytes of an answer.
    pub answer_stall_ms: u64,
    /// Bytes per second below which a body is cut, either way, measured over [`Limits::rate_window_ms`] of waiting.
    pub rate_bytes_min: u64,
    /// The window of the minimum rate.
    pub rate_window_ms: u64,
    /// hyper's buffer for one connection, each way; at least 8 KiB.
    pub buffer_bytes_max: usize,
    /// What is read and thrown away after an answer to a request whose body was not read.
    pub linger_bytes_max: usize,
    /// How long that may take.
    pub linger_ms: u64,
    /// From being told to stop until the drain begins: connections are taken and served as ever, so that load balancers can
    /// notice first that we are not ready.
    pub notice_ms: u64,
    /// In a drain, how long a connection without a request is kept for the one that may be on its way. Longer than a round
    /// trip around the world (0.3 s).
    pub drain_idle_ms: u64,
    /// How long a drain waits for requests that run.
    pub drain_ms: u64,
    /// HTTP/2's own.
    pub http2: Http2Limits,
}

/// What HTTP/2 alone can make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams of one connection at a time; one more is refused (`REFUSED_STREAM`), which a client may repeat. RFC 9113, 6.5.2
    /// recommends no less than 100.
    pub streams_max: u32,
    /// Bytes of one request's body that may arrive before anybody reads them.
    pub stream_window_bytes: u32,
    /// The same for all of a connection's requests together: what a connection can make us hold.
    pub connection_window_bytes: u32,
    /// Bytes of one answer that wait in the connection for the reader.
    pub send_buffer_bytes_max: usize,
    /// Requests a connection may withdraw before they are answered, in 10 s; beyond, it is closed (CVE-2023-44487).
    pub withdrawn_max: u32,
    /// Resets that a connection may make us send for its errors, ever; beyond, it is closed (CVE-2025-8671).
    pub resets_max: usize,
    /// A quiet connection is asked for a sign of life after this.
    pub ping_ms: u64,
    /// How long it has for it.
    pub ping_answer_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            handshake_ms: 10_000,
            header_read_ms: 10_000,
            header_bytes_max: 64 * 1024,
            headers_max: 100,
            keep_alive_ms: 120_000,
            body_idle_ms: 15_000,
            answer_stall_ms: 15_000,
            rate_bytes_min: 1024,
            rate_window_ms: 30_000,
            buffer_bytes_max: 256 * 1024,
            linger_bytes_max: 64 * 1024,
            linger_ms: 1_000,
            notice_ms: 0,
            drain_idle_ms: 500,
            drain_ms: 30_000,
            http2: Http2Limits::default(),
        }
    }
}

impl Default for Http2Limits {
    /// Windows as hyper's own, the sums bounded: at most 1 MiB inwards and 100 × 64 KiB outwards for one connection.
    fn default() -> Self {
        Self {
            streams_max: 100,
            stream_window_bytes: 512 * 1024,
            connection_window_bytes: 1024 * 1024,
            send_buffer_bytes_max: 64 * 1024,
            withdrawn_max: 200,
            resets_max: 100,
            ping_ms: 30_000,
            ping_answer_ms: 15_000,
        }
    }
}
