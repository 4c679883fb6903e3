//! `ipfilter`: from which addresses requests are taken.

use crate::model::fields::{Fields, quote};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// `{"Allow":[],"Deny":[]}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpFilterSpec {
    /// `Allow`: where it is not empty, nobody else.
    pub allow: Vec<IpNet>,
    /// `Deny`: nobody of these, also where `allow` has them.
    pub deny: Vec<IpNet>,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<IpFilterSpec> {
    let allow = networks(fields, "Allow");
    let deny = networks(fields, "Deny");
    if allow.is_empty() && deny.is_empty() && !fields.report().has_errors() {
        fields.report().error(fields.path(), "filters nothing: Allow or Deny is expected");
    }
    Some(IpFilterSpec { allow, deny })
}

fn networks(fields: &mut Fields<'_>, name: &'static str) -> Vec<IpNet> {
    let texts = fields.texts(name);
    let mut networks = Vec::with_capacity(texts.len());
    for (path, text) in texts {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Ok(IpNet::from(address.to_canonical())),
            Err(_) => text.parse::<IpNet>().map(|network| network.trunc()),
        };
        match network {
            Ok(network) => networks.push(network),
            Err(_) => {
                let reason = "is no address or network, like `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`";
                fields.report().error(path, format!("{} {reason}", quote(text)));
            }
        }
    }
    networks
}

impl IpFilterSpec {
    /// Whether requests of a client are taken; one without an address is as one outside all networks.
    pub fn admits(&self, client: Option<IpAddr>) -> bool {
        let client = client.map(|client| client.to_canonical());
        let is_in = |networks: &[IpNet]| {
            client.is_some_and(|client| networks.iter().any(|net| net.contains(&client)))
        };
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        for (name, networks) in [("Allow", &self.allow), ("Deny", &self.deny)] {
            if !networks.is_empty() {
                let texts = networks.iter().map(|network| Value::from(network.to_string()));
                value.insert(name.into(), texts.collect());
            }
        }
        value
    }
}
