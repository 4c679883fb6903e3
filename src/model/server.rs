//! A server: one upstream address.

use super::fields::{Fields, not_one_of, quote};
use super::id::{BackendId, ServerId};
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Largest `Weight`.
pub const WEIGHT_MAX: u16 = 1_000;

/// Longest host name, in bytes (RFC 1035 2.3.4).
pub(super) const HOST_BYTES_MAX: usize = 253;

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
    /// `Zone`: where it stands, for `Balance.PreferZone` (new).
    pub zone: Option<Box<str>>,
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
        let scheme = self.scheme.as_str();
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

impl Scheme {
    /// `http` or `https`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// 80 or 443.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
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

impl ServerState {
    const NAMES: [&'static str; 3] = ["active", "draining", "disabled"];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// Why a text is not a server's URL, as a predicate that follows the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServerUrl {
    /// Neither `http://` nor `https://` at its start.
    #[error("does not start with `http://` or `https://`")]
    Scheme,
    /// A user name before the host.
    #[error("carries a user name, which servers are not sent")]
    UserInfo,
    /// Nothing, or something that is neither a name nor an address.
    #[error("has no valid host: a name, an IPv4 address or an IPv6 address in brackets is expected")]
    Host,
    /// An address that is not one server's.
    #[error("names an address that cannot be connected to")]
    Address,
    /// Not a number from 1 to 65535.
    #[error("has no valid port: a number from 1 to 65535 is expected")]
    Port,
}

impl ServerUrl {
    /// The URL, and whether something stood behind host and port that is ignored.
    fn parse(text: &str) -> Result<(Self, bool), InvalidServerUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidServerUrl::Scheme)?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(InvalidServerUrl::Scheme),
        };
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at_checked(end).ok_or(InvalidServerUrl::Host)?;
        if authority.contains('@') {
            return Err(InvalidServerUrl::UserInfo);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or(InvalidServerUrl::Host)?;
                let address: Ipv6Addr = address.parse().map_err(|_| InvalidServerUrl::Host)?;
                let port = match rest {
                    "" => None,
                    _ => Some(rest.strip_prefix(':').ok_or(InvalidServerUrl::Host)?),
                };
                (connectable(IpAddr::V6(address).to_canonical())?, port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host_of(host)?, Some(port)),
                None => (host_of(authority)?, None),
            },
        };
        let port = match port {
            None => scheme.default_port(),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port > 0).ok_or(InvalidServerUrl::Port)?
            }
            Some(_) => return Err(InvalidServerUrl::Port),
        };
        Ok((Self { scheme, host, port }, !matches!(tail, "" | "/")))
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    /// What stands behind host and port is ignored.
    fn from_str(text: &str) -> Result<Self, InvalidServerUrl> {
        Self::parse(text).map(|(url, _)| url)
    }
}

/// A name in lower case, or an IPv4 address.
fn host_of(text: &str) -> Result<Box<str>, InvalidServerUrl> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return connectable(address.into());
    }
    if is_host_name(text) { Ok(text.to_ascii_lowercase().into()) } else { Err(InvalidServerUrl::Host) }
}

/// Letters, digits, hyphens and underscores in labels of at most 63 bytes; the last label is not a number, which
/// would be a mistyped address. A dot at the end is allowed.
pub fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= HOST_BYTES_MAX
        && name.split('.').all(is_label)
        && !name.split('.').next_back().is_some_and(is_number)
}

fn connectable(address: IpAddr) -> Result<Box<str>, InvalidServerUrl> {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(InvalidServerUrl::Address);
    }
    Ok(address.to_string().into())
}

pub(super) fn read(fields: &mut Fields<'_>, backend: &BackendId, id: &ServerId) -> Option<Server> {
    fields.id_from_key("Id", id.as_str());
    let url =
        fields.required_text("URL", "an address is expected, like `http://10.2.3.4:8080`").and_then(|text| {
            match ServerUrl::parse(text) {
                Ok((url, ignored)) => {
                    if ignored {
                        fields.warning(
                            "URL",
                            format!("is {}; only {url} is used, the rest is ignored", quote(text)),
                        );
                    }
                    Some(url)
                }
                // A user name may come with a password, so that text is not shown.
                Err(error) if text.contains('@') => {
                    fields.error("URL", error.to_string());
                    None
                }
                Err(error) => {
                    fields.error("URL", format!("{} {error}", quote(text)));
                    None
                }
            }
        });
    let weight = fields.integer("Weight", 0..=i64::from(WEIGHT_MAX)).unwrap_or(1);
    let state = match fields.text("State") {
        None | Some("active") => ServerState::Active,
        Some("draining") => ServerState::Draining,
        Some("disabled") => ServerState::Disabled,
        Some(other) => {
            fields.error("State", not_one_of(other, &ServerState::NAMES));
            ServerState::Disabled
        }
    };
    let zone = fields.text("Zone").map(Into::into);
    Some(Server {
        backend: backend.clone(),
        id: id.clone(),
        url: url?,
        weight: u16::try_from(weight).unwrap_or(1),
        state,
        zone,
    })
}

impl Server {
    /// The value to write, in vulcand's spelling and without defaults.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        value.insert("URL".into(), self.url.to_string().into());
        if self.weight != 1 {
            value.insert("Weight".into(), self.weight.into());
        }
        if self.state != ServerState::Active {
            value.insert("State".into(), self.state.as_str().into());
        }
        if let Some(zone) = &self.zone {
            value.insert("Zone".into(), (&**zone).into());
        }
        value.into()
    }
}
