//! A server: one upstream address.

use super::id::{BackendId, ServerId};

/// One upstream address, normally a pod's IP and port.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// From the key.
    pub backend: BackendId,
    /// From the key.
    pub id: ServerId,
    /// Where it answers.
    pub url: ServerUrl,
    /// Share of the requests, 0 to 1000; default 1; 0 gets none (new).
    pub weight: u16,
    /// Whether it gets new requests (new).
    pub state: ServerState,
}

/// `http://10.2.3.4:8080`: scheme, host and port; a path is a warning and ignored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    /// `http` or `https`
    pub scheme: Scheme,
    /// An IP address without brackets, or a name that is resolved at connect.
    pub host: Box<str>,
    /// Default 80 or 443.
    pub port: u16,
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A server's scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

/// Whether a server gets new requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerState {
    /// It does.
    #[default]
    Active,
    /// It does not; what it has may finish.
    Draining,
    /// It does not, and idle connections to it are closed.
    Disabled,
}
