//! A listener: an address that accepts connections.

use super::fields::{Fields, not_one_of, quote};
use super::frontend::read_route;
use super::id::ListenerId;
use super::proxy_protocol::{self, ProxyProtocol};
use super::tls::{self, CipherSuite, TlsVersion};
use crate::expr::Route;
use serde_json::{Map, Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest path of a Unix socket, in bytes (`sun_path` with its end).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// An address that accepts connections, with protocol, TLS settings and an optional scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// From the key.
    pub id: ListenerId,
    /// What is spoken on it.
    pub protocol: ListenerProtocol,
    /// Where it listens.
    pub address: ListenAddress,
    /// Requests that do not match it get the answer for an unmatched route.
    pub scope: Option<Route>,
    /// Connections begin with the client's address.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Only with [`ListenerProtocol::Https`].
    pub tls: ListenerTls,
    /// HTTP/2 with prior knowledge on a plain listener (`Settings.H2C`, new).
    pub h2c: bool,
    /// Most connections that it has open (`Settings.Limits.Connections`, new); 0: any number.
    pub connections_max: u64,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// Where a listener listens. Its text form, for flags, is `ADDRESS:PORT`, `:PORT` or `unix:/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `{"Network":"tcp","Address":"0.0.0.0:443"}`; `":443"` is every IPv4 address, `"localhost:443"` is 127.0.0.1,
    /// `"[::]:443"` is every address. Port 0 takes a free one.
    Tcp(SocketAddr),
    /// `{"Network":"unix","Address":"/run/flipgate.sock"}`
    Unix(PathBuf),
}

/// TLS settings of a listener; vulcand's older versions and ciphers are read and raised to what is sound, with a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Default TLS 1.2.
    pub min_version: TlsVersion,
    /// Default TLS 1.3.
    pub max_version: TlsVersion,
    /// `SessionTicketsDisabled`, default false.
    pub tickets_disabled: bool,
    /// `CipherSuites`: those of TLS 1.2 that are offered; empty: all that are sound.
    pub cipher_suites: Vec<CipherSuite>,
    /// `PreferServerCipherSuites`: the first suite of ours that the client has is taken, and not the first of the
    /// client's; default false.
    pub own_order: bool,
}

impl Default for ListenerTls {
    fn default() -> Self {
        Self {
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            tickets_disabled: false,
            cipher_suites: Vec::new(),
            own_order: false,
        }
    }
}

/// Why a text is not an address to listen on, as a predicate that follows the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListenAddress {
    /// Not an IP address with a port.
    #[error("is no address to listen on: `0.0.0.0:443`, `:443`, `localhost:443` or `[::]:443` is expected")]
    Tcp,
    /// Not an absolute path.
    #[error("is no path of a socket: an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes is expected")]
    Unix,
}

impl ListenAddress {
    fn tcp(text: &str) -> Result<Self, InvalidListenAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidListenAddress::Tcp)?;
        let any_of = |ip: Ipv4Addr| {
            // `u16::from_str` takes a sign, an address does not.
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            port.parse().ok().filter(|_| digits).map(|port| SocketAddr::from((ip, port)))
        };
        let address = match host {
            "" => any_of(Ipv4Addr::UNSPECIFIED),
            _ if host.eq_ignore_ascii_case("localhost") => any_of(Ipv4Addr::LOCALHOST),
            _ => text.parse().ok(),
        };
        address.map(Self::Tcp).ok_or(InvalidListenAddress::Tcp)
    }

    fn unix(text: &str) -> Result<Self, InvalidListenAddress> {
        let valid =
            Path::new(text).is_absolute() && text.len() <= SOCKET_PATH_BYTES_MAX && !text.contains('\0');
        if valid { Ok(Self::Unix(text.into())) } else { Err(InvalidListenAddress::Unix) }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        match text.strip_prefix("unix:") {
            Some(path) => Self::unix(path),
            None => Self::tcp(text),
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>, id: &ListenerId) -> Option<Listener> {
    fields.id_from_key("Id", id.as_str());
    let protocol = match fields.required_text("Protocol", "`http` or `https` is expected") {
        // vulcand takes these names in any case.
        Some(name) if name.eq_ignore_ascii_case("http") => Some(ListenerProtocol::Http),
        Some(name) if name.eq_ignore_ascii_case("https") => Some(ListenerProtocol::Https),
        Some(other) => {
            fields.error("Protocol", not_one_of(other, &["http", "https"]));
            None
        }
        None => None,
    };
    if fields.value("Address").is_none() {
        fields
            .error("Address", "is missing: `{\"Network\":\"tcp\",\"Address\":\"0.0.0.0:443\"}` is expected");
    }
    let address = fields.object("Address", read_address).flatten();
    let scope = read_route(fields, "Scope", false);
    let proxy_protocol = proxy_protocol::read(fields, address.as_ref());
    let mut tls = ListenerTls::default();
    let mut h2c = false;
    let mut connections_max = 0;
    fields.object("Settings", |settings| {
        if protocol == Some(ListenerProtocol::Http) && settings.value("TLS").is_some_and(|tls| !is_unset(tls))
        {
            settings.warning("TLS", "has no effect on a listener that speaks `http`");
        }
        settings.object("TLS", |fields| tls = read_tls(fields));
        settings.object("Limits", |limits| {
            connections_max = limits.integer("Connections", 0..=10_000_000).unwrap_or(0).unsigned_abs();
        });
        h2c = settings.boolean("H2C").unwrap_or(false);
        if h2c && protocol == Some(ListenerProtocol::Https) {
            settings.warning(
                "H2C",
                "has no effect on a listener that speaks `https`, where clients choose HTTP/2",
            );
            h2c = false;
        }
    });
    Some(Listener {
        id: id.clone(),
        protocol: protocol?,
        address: address?,
        scope,
        proxy_protocol,
        tls,
        h2c,
        connections_max,
    })
}

fn is_unset(tls: &Value) -> bool {
    tls.as_object().is_some_and(Map::is_empty)
}

fn read_address(fields: &mut Fields<'_>) -> Option<ListenAddress> {
    let network = fields.text("Network").unwrap_or("tcp");
    let text = fields.required_text("Address", "an address to listen on is expected, like `0.0.0.0:443`");
    let parse = match network {
        name if name.eq_ignore_ascii_case("tcp") => ListenAddress::tcp,
        name if name.eq_ignore_ascii_case("unix") => ListenAddress::unix,
        other => {
            fields.error("Network", not_one_of(other, &["tcp", "unix"]));
            return None;
        }
    };
    let text = text?;
    parse(text).map_err(|error| fields.error("Address", format!("{} {error}", quote(text)))).ok()
}

fn read_tls(fields: &mut Fields<'_>) -> ListenerTls {
    let (min_version, max_version) = tls::read_versions(fields);
    let tls = ListenerTls {
        min_version,
        max_version,
        tickets_disabled: fields.boolean("SessionTicketsDisabled").unwrap_or(false),
        cipher_suites: tls::read_suites(fields),
        own_order: fields.boolean("PreferServerCipherSuites").unwrap_or(false),
    };
    // The cache and the verification are about connections to servers; vulcand writes them for listeners too.
    fields.satisfied(&["SessionCache", "InsecureSkipVerify"]);
    tls
}

impl Listener {
    /// The value to write, in vulcand's spelling and without defaults.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        let protocol = match self.protocol {
            ListenerProtocol::Http => "http",
            ListenerProtocol::Https => "https",
        };
        value.insert("Protocol".into(), protocol.into());
        let address = match &self.address {
            ListenAddress::Tcp(address) => json!({ "Network": "tcp", "Address": address.to_string() }),
            ListenAddress::Unix(path) => json!({ "Network": "unix", "Address": path.to_string_lossy() }),
        };
        value.insert("Address".into(), address);
        if let Some(scope) = &self.scope {
            value.insert("Scope".into(), scope.text().into());
        }
        if let Some(proxy_protocol) = &self.proxy_protocol {
            proxy_protocol.write(&mut value);
        }
        let (mut settings, mut tls) = (Map::new(), Map::new());
        let versions = (self.tls.min_version, self.tls.max_version);
        tls::write(&mut tls, versions, &self.tls.cipher_suites);
        if self.tls.own_order {
            tls.insert("PreferServerCipherSuites".into(), true.into());
        }
        if self.tls.tickets_disabled {
            tls.insert("SessionTicketsDisabled".into(), true.into());
        }
        if !tls.is_empty() {
            settings.insert("TLS".into(), tls.into());
        }
        if self.h2c {
            settings.insert("H2C".into(), true.into());
        }
        if self.connections_max > 0 {
            settings.insert("Limits".into(), json!({ "Connections": self.connections_max }));
        }
        if !settings.is_empty() {
            value.insert("Settings".into(), settings.into());
        }
        value.into()
    }
}
