//! A backend: a named group of servers, or an alias of one.

use super::id::BackendId;
use std::time::Duration;

/// A named group of servers, or an alias.
#[derive(Debug, Clone, PartialEq)]
pub enum Backend {
    /// `{"Type":"http","Settings":{...}}`
    Http {
        /// From the key.
        id: BackendId,
        /// How its servers are spoken to.
        settings: BackendSettings,
    },
    /// `{"Type":"alias","Target":"<backend>"}`: a pointer to a real backend (new).
    Alias {
        /// From the key.
        id: BackendId,
        /// A real backend, never an alias.
        target: BackendId,
    },
}

/// How a backend's servers are spoken to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BackendSettings {
    /// How long to wait for a server.
    pub timeouts: Timeouts,
    /// How connections are kept.
    pub keep_alive: KeepAlive,
}

/// How long to wait for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// `Read`: from the complete request to the answer's head; default 50 s.
    pub read: Duration,
    /// `Dial`: to a TCP connection; default 5 s.
    pub dial: Duration,
    /// `TLSHandshake`: default 10 s.
    pub tls_handshake: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(50),
            dial: Duration::from_secs(5),
            tls_handshake: Duration::from_secs(10),
        }
    }
}

/// How connections to servers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// `Period`: TCP keep-alive, and how long an idle connection is kept; default 30 s.
    pub period: Duration,
    /// `MaxIdleConnsPerHost`: idle connections kept per server over all workers; default 128.
    pub idle_connections_max: u32,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { period: Duration::from_secs(30), idle_connections_max: 128 }
    }
}
