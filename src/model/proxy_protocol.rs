//! The PROXY protocol on a listener: whether a connection begins with the client's address, and who may say it.

use super::fields::{Fields, not_one_of};
use super::listener::ListenAddress;
use super::network;
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
    pub from: Box<[IpNet]>,
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
        peer.is_none() || self.from.is_empty() || network::is_listed(peer, &self.from)
    }

    pub(super) fn write(&self, value: &mut Map<String, Value>) {
        value.insert("ProxyProtocol".into(), self.versions.as_str().into());
        if !self.from.is_empty() {
            value.insert("ProxyProtocolFrom".into(), network::to_value(&self.from));
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
    let from = network::read(fields, "ProxyProtocolFrom").unwrap_or_default();
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
