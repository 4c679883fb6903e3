//! `ipfilter`: from which addresses requests are taken.

use crate::model::fields::Fields;
use crate::model::network;
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::net::IpAddr;

/// `{"Allow":[],"Deny":[]}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpFilterSpec {
    /// `Allow`: where it is not empty, nobody else.
    pub allow: Box<[IpNet]>,
    /// `Deny`: nobody of these, also where `allow` has them.
    pub deny: Box<[IpNet]>,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<IpFilterSpec> {
    let allow = network::read(fields, "Allow").unwrap_or_default();
    let deny = network::read(fields, "Deny").unwrap_or_default();
    if allow.is_empty() && deny.is_empty() && !fields.report().has_errors() {
        fields.report().error(fields.path(), "filters nothing: Allow or Deny is expected");
    }
    Some(IpFilterSpec { allow, deny })
}

impl IpFilterSpec {
    /// Whether requests of a client are taken; one without an address is as one outside all networks.
    pub fn admits(&self, client: Option<IpAddr>) -> bool {
        !network::is_listed(client, &self.deny)
            && (self.allow.is_empty() || network::is_listed(client, &self.allow))
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        for (name, networks) in [("Allow", &self.allow), ("Deny", &self.deny)] {
            if !networks.is_empty() {
                value.insert(name.into(), network::to_value(networks));
            }
        }
        value
    }
}
