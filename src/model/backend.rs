//! A backend: a named group of servers, or an alias of one.

use super::balance::{Balance, Sticky, read_balance, read_sticky};
use super::duration;
use super::fields::{Fields, not_one_of, quote};
use super::frontend::{TIMEOUT_MAX, read_backend_id};
use super::health::{HealthCheck, Outlier, read_health, read_outlier};
use super::id::BackendId;
use super::key_pair::{KeyPairSource, read_key_pair};
use super::server::is_host_name;
use super::tls::{self, CipherSuite, TlsVersion};
use serde_json::{Map, Value};
use std::sync::Arc;
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
        settings: Arc<BackendSettings>,
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
    /// `Protocol`: what is spoken to servers; default `http1`.
    pub protocol: UpstreamProtocol,
    /// `TLS`: how servers with `https://` prove who they are.
    pub tls: UpstreamTls,
    /// `Balance`: whose turn it is.
    pub balance: Balance,
    /// `Sticky`: clients come back to their server; default they do not.
    pub sticky: Option<Sticky>,
    /// `Health`: servers are asked; default they are not.
    pub health: Option<HealthCheck>,
    /// `Outlier`: what requests tell of servers.
    pub outlier: Outlier,
    /// `SlowStart`: how long the share of a server that became well grows to its full; default none.
    pub slow_start: Option<Duration>,
    /// `Limits` of connections and of requests that wait for one.
    pub limits: UpstreamLimits,
}

/// What is spoken to servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// `http1`: HTTP/1.1.
    #[default]
    Http1,
    /// `http2`: HTTP/2, with prior knowledge where there is no TLS.
    Http2,
    /// `auto`: what the server chooses by ALPN; HTTP/1.1 where there is no TLS.
    Auto,
}

impl UpstreamProtocol {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Auto => "auto",
        }
    }
}

/// How servers with `https://` prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `InsecureSkipVerify`: any certificate will do; default false.
    pub insecure: bool,
    /// `CA` (new): certificates of the authorities to trust, as PEM; default those that the system trusts.
    pub authorities: Option<Box<str>>,
    /// `ServerName` (new): the name that servers prove and are asked for; default the host of their URL.
    pub server_name: Option<Box<str>>,
    /// `KeyPair` (new): a certificate with its key, in the forms that a host's has, shown to servers that ask for one.
    pub key_pair: Option<KeyPairSource>,
    /// `MinVersion`, default TLS 1.2.
    pub min_version: TlsVersion,
    /// `MaxVersion`, default TLS 1.3.
    pub max_version: TlsVersion,
    /// `CipherSuites`: those of TLS 1.2 that are offered; empty: all that are sound.
    pub cipher_suites: Vec<CipherSuite>,
    /// `SessionTicketsDisabled`: sessions are not resumed; default false.
    pub tickets_disabled: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            insecure: false,
            authorities: None,
            server_name: None,
            key_pair: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            cipher_suites: Vec::new(),
            tickets_disabled: false,
        }
    }
}

/// Limits towards servers, over all workers of a process; a request past them is answered 503 at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// `Connections` to all servers of the backend; default no limit.
    pub connections: Option<u32>,
    /// `ServerConnections` to each server; default no limit.
    pub server_connections: Option<u32>,
    /// `Pending`: requests that wait for a connection; default 1024.
    pub pending: u32,
    /// `PendingTimeout`: how long one waits; default 1 s.
    pub pending_timeout: Duration,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            connections: None,
            server_connections: None,
            pending: 1_024,
            pending_timeout: Duration::from_secs(1),
        }
    }
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
    /// `Drain` (new): how long requests and tunnels at a server that gets no more may go on; default 5 m.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(50),
            dial: Duration::from_secs(5),
            tls_handshake: Duration::from_secs(10),
            drain: Duration::from_secs(300),
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
            Some(Backend::Http { id: id.clone(), settings: Arc::new(settings) })
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
            ("Drain", &mut timeouts.drain),
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
    settings.protocol = match fields.text("Protocol") {
        None | Some("http1") => UpstreamProtocol::Http1,
        Some("http2") => UpstreamProtocol::Http2,
        Some("auto") => UpstreamProtocol::Auto,
        Some(other) => {
            fields.error("Protocol", not_one_of(other, &["http1", "http2", "auto"]));
            UpstreamProtocol::Http1
        }
    };
    fields.object("TLS", |fields| settings.tls = read_tls(fields));
    settings.balance = read_balance(fields);
    settings.sticky = read_sticky(fields);
    settings.health = read_health(fields);
    settings.outlier = read_outlier(fields);
    settings.slow_start = fields.duration("SlowStart", TIMEOUT_MAX);
    fields.object("Limits", |fields| settings.limits = read_limits(fields));
    settings
}

fn read_tls(fields: &mut Fields<'_>) -> UpstreamTls {
    let server_name = fields.text("ServerName");
    if let Some(name) = server_name.filter(|name| !is_host_name(name)) {
        fields.error("ServerName", format!("is {}; a host name is expected", quote(name)));
    }
    let authorities = fields.text("CA");
    if authorities.is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----")) {
        fields.error("CA", "holds no certificate; PEM text is expected");
    }
    let insecure = fields.boolean("InsecureSkipVerify").unwrap_or(false);
    if insecure && authorities.is_some() {
        fields.warning("CA", "has no effect beside `InsecureSkipVerify`");
    }
    let (min_version, max_version) = tls::read_versions(fields);
    // Sessions are kept always, and which suite is preferred is a server's to say.
    fields.satisfied(&["SessionCache", "PreferServerCipherSuites"]);
    UpstreamTls {
        insecure,
        authorities: authorities.map(Into::into),
        server_name: server_name.map(Into::into),
        key_pair: read_key_pair(fields),
        min_version,
        max_version,
        cipher_suites: tls::read_suites(fields),
        tickets_disabled: fields.boolean("SessionTicketsDisabled").unwrap_or(false),
    }
}

fn read_limits(fields: &mut Fields<'_>) -> UpstreamLimits {
    let mut limits = UpstreamLimits::default();
    let mut number = |name: &'static str| {
        fields.integer(name, 0..=1_000_000).and_then(|number| u32::try_from(number).ok())
    };
    limits.connections = number("Connections").filter(|most| *most > 0);
    limits.server_connections = number("ServerConnections").filter(|most| *most > 0);
    limits.pending = number("Pending").unwrap_or(limits.pending);
    limits.pending_timeout = fields.duration("PendingTimeout", TIMEOUT_MAX).unwrap_or(limits.pending_timeout);
    limits
}

impl Backend {
    /// From the key.
    pub fn id(&self) -> &BackendId {
        match self {
            Self::Http { id, .. } | Self::Alias { id, .. } => id,
        }
    }

    /// The value to write, in vulcand's spelling and without defaults. It carries the key pair: it is for a store,
    /// never for an answer or a log.
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
            ("Drain", self.timeouts.drain, standard.timeouts.drain),
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
        if self.protocol != standard.protocol {
            value.insert("Protocol".into(), self.protocol.as_str().into());
        }
        for (name, part) in [
            ("TLS", self.tls.to_value()),
            ("Balance", self.balance.to_value()),
            ("Sticky", self.sticky.as_ref().map(Sticky::to_value)),
            ("Health", self.health.as_ref().map(HealthCheck::to_value)),
            ("Outlier", self.outlier.to_value()),
            ("SlowStart", self.slow_start.map(|time| duration::format(time).into())),
            ("Limits", self.limits.to_value()),
        ] {
            if let Some(part) = part {
                value.insert(name.into(), part);
            }
        }
        value
    }
}

impl UpstreamTls {
    fn to_value(&self) -> Option<Value> {
        let mut value = Map::new();
        if self.insecure {
            value.insert("InsecureSkipVerify".into(), true.into());
        }
        for (name, text) in [("CA", &self.authorities), ("ServerName", &self.server_name)] {
            if let Some(text) = text {
                value.insert(name.into(), (&**text).into());
            }
        }
        if let Some(source) = &self.key_pair {
            value.insert("KeyPair".into(), source.to_value());
        }
        tls::write(&mut value, (self.min_version, self.max_version), &self.cipher_suites);
        if self.tickets_disabled {
            value.insert("SessionTicketsDisabled".into(), true.into());
        }
        (!value.is_empty()).then(|| value.into())
    }
}

impl UpstreamLimits {
    fn to_value(self) -> Option<Value> {
        let (mut value, standard) = (Map::new(), Self::default());
        for (name, most) in
            [("Connections", self.connections), ("ServerConnections", self.server_connections)]
        {
            if let Some(most) = most {
                value.insert(name.into(), most.into());
            }
        }
        if self.pending != standard.pending {
            value.insert("Pending".into(), self.pending.into());
        }
        if self.pending_timeout != standard.pending_timeout {
            value.insert("PendingTimeout".into(), duration::format(self.pending_timeout).into());
        }
        (!value.is_empty()).then(|| value.into())
    }
}
