//! Lists of networks: `["10.0.0.0/8", "192.0.2.7"]`.

use super::fields::{Fields, quote};
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// An address or a network in CIDR form; an IPv4 address that is written as one of IPv6 is what it stands for.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let single = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    text.parse::<IpNet>().ok().map(|network| network.trunc()).or_else(single)
}

/// Whether an address is in one of these networks; none is in none.
pub fn is_listed(address: Option<IpAddr>, networks: &[IpNet]) -> bool {
    let address = address.map(|address| address.to_canonical());
    address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
}

/// A list in a field; items that are no network are reported. `None`: absent or empty.
pub(super) fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Box<[IpNet]>> {
    let mut networks = Vec::new();
    for (path, text) in fields.texts(name) {
        match parse_network(text) {
            Some(network) => networks.push(network),
            None => {
                let reason =
                    format!("is {}; an address or a network like `10.0.0.0/8` is expected", quote(text));
                fields.report().error(path, reason);
            }
        }
    }
    (!networks.is_empty()).then(|| networks.into())
}

/// The list as [`read`] takes it.
pub(super) fn to_value(networks: &[IpNet]) -> Value {
    networks.iter().map(|network| Value::from(network.to_string())).collect()
}
