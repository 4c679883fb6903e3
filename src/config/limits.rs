//! What a client may cost: sizes, times, rates and caps.

use super::{Layers, bytes, count, duration, number};
use std::time::Duration;

/// What a client may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Largest head of a message, in bytes.
    pub head_bytes: usize,
    /// Most header fields of a message.
    pub fields: usize,
    /// For a request's head to arrive, from its first byte.
    pub head_timeout: Duration,
    /// Longest silence within a body.
    pub body_timeout: Duration,
    /// For the next request of a connection to begin.
    pub idle_timeout: Duration,
    /// Longest silence of an upgraded connection.
    pub tunnel_timeout: Duration,
    /// For a request with its answer; `None`: as long as it goes on.
    pub request_timeout: Option<Duration>,
    /// Bytes a second at least of a request's body; 0: none.
    pub body_rate_min: u64,
    /// Bytes a second at least that a client takes of its answer; 0: none.
    pub answer_rate_min: u64,
    /// Open downstream, over all workers.
    pub connections: usize,
    /// Of these, from one client's network; 0: no limit.
    pub connections_per_client: usize,
    /// How many bits of an IPv4 address are a client's network.
    pub client_bits_v4: u8,
    /// How many bits of an IPv6 address are a client's network.
    pub client_bits_v6: u8,
    /// Of memory, past which nothing new is taken on.
    pub memory: MemoryLimit,
    /// How far behind an event loop may stay; zero: any.
    pub lag: Duration,
    /// HTTP/2: at once on a client's connection.
    pub h2_streams: u32,
    /// HTTP/2: on a client's connection, which then ends in good order.
    pub h2_requests: u64,
    /// HTTP/2: frames of a kind, at once, that carry nothing of a message.
    pub h2_odd_frames: u32,
    /// HTTP/2: how many of them are forgotten in a second.
    pub h2_odd_frames_per_second: u32,
    /// HTTP/2: for a client to take something of an answer, or to send something of a body.
    pub h2_stall_timeout: Duration,
}

/// How much memory the process may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLimit {
    /// As much as its control group or its address space allows, if they limit it.
    #[default]
    Machine,
    /// Any.
    Off,
    /// So many bytes.
    Bytes(usize),
}

impl<E: Fn(&str) -> Option<String>> Layers<E> {
    pub(super) fn limits(&mut self) -> LimitSettings {
        const MOST: usize = 10_000_000;
        let rate = |text: &str| count(text, 0, 1 << 30).map(|rate| rate as u64);
        let bits = |most| move |text: &str| count(text, 1, most).map(|bits| bits as u8);
        let connections = self.value("max-connections", |text| count(text, 1, MOST));
        LimitSettings {
            head_bytes: self.value("max-head-bytes", |text| bytes(text, 1 << 10, 1 << 20)),
            fields: self.value("max-header-fields", |text| count(text, 1, 10_000)),
            head_timeout: self.value("head-timeout", duration),
            body_timeout: self.value("body-timeout", duration),
            idle_timeout: self.value("idle-timeout", duration),
            tunnel_timeout: self.value("tunnel-timeout", duration),
            request_timeout: self.optional("request-timeout", duration).filter(|time| !time.is_zero()),
            body_rate_min: self.value("min-body-rate", rate),
            answer_rate_min: self.value("min-answer-rate", rate),
            connections,
            connections_per_client: self
                .optional("max-connections-per-client", |text| count(text, 0, MOST))
                .unwrap_or(connections.div_ceil(10)),
            client_bits_v4: self.value("client-bits-ipv4", bits(32)),
            client_bits_v6: self.value("client-bits-ipv6", bits(128)),
            memory: self.value("max-memory", memory),
            lag: self.value("max-lag", duration),
            h2_streams: self.value("h2-streams", |text| number(text, 1, 10_000)),
            h2_requests: self.value("h2-requests", |text| number(text, 1, 1_000_000_000)),
            h2_odd_frames: self.value("h2-odd-frames", |text| number(text, 10, 1_000_000)),
            h2_odd_frames_per_second: self
                .value("h2-odd-frames-per-second", |text| number(text, 1, 1_000_000)),
            h2_stall_timeout: self.value("h2-stall-timeout", duration),
        }
    }
}

fn memory(text: &str) -> Result<MemoryLimit, String> {
    match text {
        "machine" => Ok(MemoryLimit::Machine),
        "off" => Ok(MemoryLimit::Off),
        size => bytes(size, 16 << 20, 1 << 50)
            .map(MemoryLimit::Bytes)
            .map_err(|error| format!("{error}, nor `machine` or `off`")),
    }
}
