//! What a connection may take: time, bytes, places.

/// Limits of one listener. Each is tested; the defaults are for production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. One more is answered 503 (in clear) or closed (TLS).
    pub connections_max: usize,
    /// TLS handshake, from accept to end.
    pub handshake_ms: u64,
    /// From the first byte of a request's head (of a connection's first request: from accept) to the end of the head.
    pub header_read_ms: u64,
    /// A request's head, in bytes: 431 beyond.
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
    /// How long a drain waits for requests that run.
    pub drain_ms: u64,
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
            drain_ms: 30_000,
        }
    }
}
