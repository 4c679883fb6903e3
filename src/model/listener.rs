//! A listener: an address that accepts connections.

use super::id::ListenerId;
use crate::expr::Route;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// Only with [`ListenerProtocol::Https`].
    pub tls: ListenerTls,
    /// HTTP/2 with prior knowledge on a plain listener (`Settings.H2C`, new).
    pub h2c: bool,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// `{"Network":"tcp","Address":"0.0.0.0:443"}`; `":443"` and `"localhost:443"` are read too.
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
}

impl Default for ListenerTls {
    fn default() -> Self {
        Self { min_version: TlsVersion::V1_2, max_version: TlsVersion::V1_3, tickets_disabled: false }
    }
}

/// The TLS versions spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246
    V1_2,
    /// RFC 8446
    V1_3,
}
