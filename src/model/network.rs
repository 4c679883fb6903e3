//! Lists of networks: `["10.0.0.0/8", "192.0.2.7"]`.

use super::fields::{Fields, quote};
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// A list in a field; items that are no network are reported. `None`: absent or empty.
pub(super) fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Box<[IpNet]>> {
    let mut networks = Vec::new();
    for (path, text) in fields.texts(name) {
        let single = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
        match text.parse::<IpNet>().ok().or_else(single) {
            Some(network) => networks.push(network.trunc()),
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
