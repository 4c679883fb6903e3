//! `connlimit`: vulcand's, requests in flight.

use super::ratelimit::required;
use crate::model::fields::Fields;
use crate::model::variable::{self, VariableSpec};
use serde_json::{Map, Value};

/// Most requests in flight that a limit may allow.
const CONNECTIONS_MAX: i64 = 1_000_000_000;

/// `{"Connections","Variable","IPv6Prefix"}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnLimitSpec {
    /// `Connections`: requests in flight at once, at most 1,000,000,000; 0 lets nothing pass.
    pub connections: u32,
    /// What is counted by.
    pub by: VariableSpec,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<ConnLimitSpec> {
    let connections = required(fields, "Connections", 0, CONNECTIONS_MAX);
    if connections == Some(0) {
        fields.warning("Connections", "is 0, which lets no request pass");
    }
    let by = variable::read(fields);
    Some(ConnLimitSpec { connections: u32::try_from(connections?).ok()?, by: by? })
}

impl ConnLimitSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("Connections".into(), self.connections.into());
        self.by.write(&mut value);
        value
    }
}
