//! The PROXY protocol on a listener: whether a connection begins with the client's address, and who may say it.

use super::fields::{Fields, not_one_of, quote};
use super::listener::ListenAddress;
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// The values of `ProxyProtocol`; the first stands for none.
const NAMES: [&str; 4] = ["NONE", "PROXY_V1", "PROXY_V2", "PROXY"];

/// Connections begin with a header that names the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// `ProxyProtocol`: which versions are taken.
    pub versions: ProxyVersions,
    /// `ProxyProtocolFrom` (new): peers that send the header, and must; the connections of others are taken as they
    /// are. Empty: every peer. Who connects over a Unix socket always belongs to them.
    pub from: Vec<IpNet>,
}

/// Versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersions {
    /// `PROXY_V1`: the line of text.
    V1,
    /// `PROXY_V2` (new): the binary header.
    V2,
    /// `PROXY` (new): either.
    Either,
}

impl ProxyVersions {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "PROXY_V1",
            Self::V2 => "PROXY_V2",
            Self::Either => "PROXY",
        }
    }
}

impl ProxyProtocol {
    /// Whether the header of this peer is read and believed; `None` is a peer at a Unix socket.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return true };
        self.from.is_empty() || self.from.iter().any(|network| network.contains(&peer))
    }

    pub(super) fn write(&self, value: &mut Map<String, Value>) {
        value.insert("ProxyProtocol".into(), self.versions.as_str().into());
        if !self.from.is_empty() {
            let networks = self.from.iter().map(|network| network.to_string().into());
            value.insert("ProxyProtocolFrom".into(), Value::Array(networks.collect()));
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>, address: Option<&ListenAddress>) -> Option<ProxyProtocol> {
    let name = fields.text("ProxyProtocol").map(str::to_ascii_uppercase);
    let versions = match name.as_deref() {
        None | Some("NONE") => None,
        Some("PROXY_V1") => Some(ProxyVersions::V1),
        Some("PROXY_V2") => Some(ProxyVersions::V2),
        Some("PROXY") => Some(ProxyVersions::Either),
        Some(other) => {
            fields.error("ProxyProtocol", not_one_of(other, &NAMES));
            None
        }
    };
    let mut from = Vec::new();
    for (path, text) in fields.texts("ProxyProtocolFrom") {
        let single = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
        match text.parse::<IpNet>().ok().or_else(single) {
            Some(network) => from.push(network.trunc()),
            None => fields
                .report()
                .error(path, format!("is {}; a network like `10.0.0.0/8` is expected", quote(text))),
        }
    }
    let Some(versions) = versions else {
        if !from.is_empty() {
            fields.warning("ProxyProtocolFrom", "has no effect without `ProxyProtocol`");
        }
        return None;
    };
    if from.is_empty() && address.is_some_and(is_open) {
        fields.warning(
            "ProxyProtocol",
            "lets whoever can connect say what address he comes from; name those who may in `ProxyProtocolFrom`",
        );
    }
    Some(ProxyProtocol { versions, from })
}

/// Whether strangers may reach an address: it is neither of this machine nor of a private network.
fn is_open(address: &ListenAddress) -> bool {
    let ListenAddress::Tcp(address) = address else { return false };
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}
