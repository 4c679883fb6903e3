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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_networks_however_they_are_written() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.9.9.9", true),
            ("10.0.0.0/8", "::ffff:10.9.9.9", true),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "10.0.0.1", false),
        ] {
            let networks = [parse_network(network).unwrap()];
            assert_eq!(is_listed(address.parse().ok(), &networks), expected, "{address} in {network}");
            assert!(!is_listed(None, &networks));
        }
        for bad in ["", "a", "10.0.0.0/33", "10.0.0", "10.0.0.1:80"] {
            assert_eq!(parse_network(bad), None, "{bad}");
        }
    }
}
