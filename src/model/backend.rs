//! A backend: a named group of servers, or an alias of one.

use super::duration;
use super::fields::{Fields, not_one_of};
use super::frontend::{TIMEOUT_MAX, read_backend_id};
use super::id::BackendId;
use serde_json::{Map, Value};
use std::time::Duration;

/// Most idle connections that `KeepAlive.MaxIdleConnsPerHost` may keep.
pub const IDLE_CONNECTIONS_MAX: u32 = 100_000;

/// The values of `Type`.
const TYPES: [&str; 2] = ["http", "alias"];

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

pub(super) fn read(fields: &mut Fields<'_>, id: &BackendId) -> Option<Backend> {
    fields.id_from_key("Id", id.as_str());
    match fields.text("Type") {
        None | Some("http") => {
            let settings = fields.object("Settings", read_settings).unwrap_or_default();
            if fields.value("Target").is_some() {
                fields.error("Target", "is only for the type `alias`");
            }
            Some(Backend::Http { id: id.clone(), settings })
        }
        Some("alias") => {
            let target = read_backend_id(fields, "Target")?;
            if target == *id {
                fields.error("Target", "names the alias itself; the id of a real backend is expected");
            }
            if fields.value("Settings").is_some() {
                fields.warning("Settings", "has no effect on an alias; the settings of its target count");
            }
            Some(Backend::Alias { id: id.clone(), target })
        }
        Some(other) => {
            fields.satisfied(&["Settings", "Target"]);
            fields.error("Type", not_one_of(other, &TYPES));
            None
        }
    }
}

fn read_settings(fields: &mut Fields<'_>) -> BackendSettings {
    let mut settings = BackendSettings::default();
    fields.object("Timeouts", |fields| {
        let timeouts = &mut settings.timeouts;
        for (name, timeout) in [
            ("Read", &mut timeouts.read),
            ("Dial", &mut timeouts.dial),
            ("TLSHandshake", &mut timeouts.tls_handshake),
        ] {
            *timeout = fields.duration(name, TIMEOUT_MAX).unwrap_or(*timeout);
        }
    });
    fields.object("KeepAlive", |fields| {
        let keep_alive = &mut settings.keep_alive;
        keep_alive.period = fields.duration("Period", TIMEOUT_MAX).unwrap_or(keep_alive.period);
        // vulcand writes 0 for a field that was never set.
        let idle = fields.integer("MaxIdleConnsPerHost", 0..=i64::from(IDLE_CONNECTIONS_MAX)).unwrap_or(0);
        if let Some(idle) = u32::try_from(idle).ok().filter(|idle| *idle > 0) {
            keep_alive.idle_connections_max = idle;
        }
    });
    match fields.text("Protocol") {
        None | Some("http1") => {}
        Some("http2" | "auto") => {
            fields.warning("Protocol", "is read and kept, but this version speaks HTTP/1.1 to servers");
        }
        Some(other) => fields.error("Protocol", not_one_of(other, &["http1", "http2", "auto"])),
    }
    fields.inert(&["TLS", "Balance", "Health", "Outlier", "Sticky", "SlowStart", "Limits"]);
    settings
}

impl Backend {
    /// From the key.
    pub fn id(&self) -> &BackendId {
        match self {
            Self::Http { id, .. } | Self::Alias { id, .. } => id,
        }
    }

    /// The value to write, in vulcand's spelling and without defaults.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        match self {
            Self::Http { settings, .. } => {
                value.insert("Type".into(), "http".into());
                let settings = settings.to_map();
                if !settings.is_empty() {
                    value.insert("Settings".into(), settings.into());
                }
            }
            Self::Alias { target, .. } => {
                value.insert("Type".into(), "alias".into());
                value.insert("Target".into(), target.as_str().into());
            }
        }
        value.into()
    }
}

impl BackendSettings {
    fn to_map(&self) -> Map<String, Value> {
        let standard = Self::default();
        let (mut timeouts, mut keep_alive) = (Map::new(), Map::new());
        for (name, timeout, default) in [
            ("Read", self.timeouts.read, standard.timeouts.read),
            ("Dial", self.timeouts.dial, standard.timeouts.dial),
            ("TLSHandshake", self.timeouts.tls_handshake, standard.timeouts.tls_handshake),
        ] {
            if timeout != default {
                timeouts.insert(name.into(), duration::format(timeout).into());
            }
        }
        if self.keep_alive.period != standard.keep_alive.period {
            keep_alive.insert("Period".into(), duration::format(self.keep_alive.period).into());
        }
        if self.keep_alive.idle_connections_max != standard.keep_alive.idle_connections_max {
            keep_alive.insert("MaxIdleConnsPerHost".into(), self.keep_alive.idle_connections_max.into());
        }
        let mut value = Map::new();
        for (name, map) in [("Timeouts", timeouts), ("KeepAlive", keep_alive)] {
            if !map.is_empty() {
                value.insert(name.into(), map.into());
            }
        }
        value
    }
}
