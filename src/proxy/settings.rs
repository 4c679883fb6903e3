//! What the data plane is told at its start: limits and times, each with a name and a default.

use super::admission::ClientBits;
use super::overload::MemoryMost;
use super::pages::PageFiles;
use crate::message::Limits;
use ipnet::IpNet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Limits and times of the data plane.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Sizes of heads, trailers and chunk extensions.
    pub limits: Limits,
    /// From a connection's first byte, or an answer's end, to the next request's first byte; default 75 s. The
    /// connection is closed.
    pub keep_alive_timeout: Duration,
    /// From a head's first byte to its last; default 10 s. Answered 408.
    pub head_timeout: Duration,
    /// Longest silence within a body, either way; default 60 s. The connection is cut.
    pub idle_timeout: Duration,
    /// From accepting to the end of the TLS handshake; default 10 s.
    pub handshake_timeout: Duration,
    /// Longest silence of a tunnel such as a WebSocket; default 1 h.
    pub tunnel_timeout: Duration,
    /// How long a client that asked may be left waiting for `100 Continue`; default 1 s.
    pub continue_timeout: Duration,
    /// How many bytes of an unwanted request body are read so that the client sees the answer; default 256 KiB.
    pub drain_bytes_max: u64,
    /// For a request with its whole answer; default none.
    pub request_timeout: Option<Duration>,
    /// Bytes a second at least of a request's body, until its answer begins; default 240, 0: any. Answered 408.
    pub body_rate_min: u64,
    /// Bytes a second at least that a client takes of an answer; default 240, 0: any. The answer is cut.
    pub answer_rate_min: u64,
    /// Open downstream connections over all workers; default 100,000. Further ones take the place of idle ones, or are
    /// refused.
    pub connections_max: usize,
    /// Of these, from one client's network; default 0: any number.
    pub connections_per_client_max: usize,
    /// What a client's network is; default /32 and /64.
    pub client_bits: ClientBits,
    /// Memory past which nothing new is taken on; default any.
    pub memory_max: MemoryMost,
    /// How late an event loop may stay before its worker takes on nothing new; default 1 s, zero: any.
    pub lag_max: Duration,
    /// What a client's HTTP/2 connection may cost.
    pub http2: Http2Settings,
    /// Proxies before this one: what they say of a client is believed, unless a frontend has a list of its own. Default
    /// none.
    pub trusted_proxies: Arc<[IpNet]>,
    /// What clients read in place of bare words; default none.
    pub error_pages: Option<Arc<PageFiles>>,
    /// Files of traces lie below it; by default there are none.
    pub trace_dir: Option<PathBuf>,
}

/// Limits of a client's HTTP/2 connection.
#[derive(Debug, Clone, Copy)]
pub struct Http2Settings {
    /// Most streams at once; default 100. Further ones are refused.
    pub streams_max: u32,
    /// Most requests; default 1,000,000. The connection then ends in good order.
    pub requests_max: u64,
    /// Most frames of one kind at once that carry nothing of a message and that the traffic does not explain; default 500,
    /// of all kinds together twice as many. The connection is closed.
    pub odd_frames_max: u32,
    /// How many of these are forgotten in a second; default 50.
    pub odd_frames_per_second: u32,
    /// How long a client may take nothing of an answer that is ready, or send nothing of a body that it announced; default
    /// 25 s. The stream is reset.
    pub stall_timeout: Duration,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            streams_max: 100,
            requests_max: 1_000_000,
            odd_frames_max: 500,
            odd_frames_per_second: 50,
            stall_timeout: Duration::from_secs(25),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            keep_alive_timeout: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            tunnel_timeout: Duration::from_secs(3600),
            continue_timeout: Duration::from_secs(1),
            drain_bytes_max: 256 * 1024,
            request_timeout: None,
            body_rate_min: 240,
            answer_rate_min: 240,
            connections_max: 100_000,
            connections_per_client_max: 0,
            client_bits: ClientBits { v4: 32, v6: 64 },
            memory_max: MemoryMost::default(),
            lag_max: Duration::from_secs(1),
            http2: Http2Settings::default(),
            trusted_proxies: Arc::default(),
            error_pages: None,
            trace_dir: None,
        }
    }
}
