//! A host: a TLS server name with its certificate.

use super::client_auth::{self, ClientAuth};
use super::fields::Fields;
use super::id::HostName;
use super::key_pair::{KeyPairSource, read_key_pair};
use super::server::is_host_name;
use serde_json::{Map, Value};

/// A TLS server name with its certificate. Routing does not need one.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// From the key; an exact name or `*.` and a name.
    pub name: HostName,
    /// Its certificate is shown when no other fits.
    pub default: bool,
    /// Absent: the host has no certificate of its own.
    pub key_pair: Option<KeyPairSource>,
    /// `ClientAuth` (new): what its clients must show of themselves; absent: nothing.
    pub client_auth: Option<ClientAuth>,
}

pub(super) fn read(fields: &mut Fields<'_>, name: &HostName) -> Option<Host> {
    fields.id_from_key("Name", name.as_str());
    let text = name.as_str();
    if !is_host_name(text.strip_prefix("*.").unwrap_or(text)) {
        fields.report().error(
            "",
            "has a key that is no TLS server name: `shop.example` or `*.shop.example` is expected",
        );
    }
    let mut host = Host { name: name.clone(), default: false, key_pair: None, client_auth: None };
    fields.object("Settings", |settings| {
        host.default = settings.boolean("Default").unwrap_or(false);
        host.key_pair = read_key_pair(settings);
        host.client_auth = settings.object("ClientAuth", client_auth::read).flatten();
        settings.inert(&["AutoCert", "OCSP"]);
    });
    Some(host)
}

impl Host {
    /// The value to write, in vulcand's spelling and without defaults. It carries the key pair: it is for a store,
    /// never for an answer or a log.
    pub fn to_value(&self) -> Value {
        let mut settings = Map::new();
        if self.default {
            settings.insert("Default".into(), true.into());
        }
        if let Some(source) = &self.key_pair {
            settings.insert("KeyPair".into(), source.to_value());
        }
        if let Some(client_auth) = &self.client_auth {
            settings.insert("ClientAuth".into(), client_auth.to_value());
        }
        let mut value = Map::new();
        if !settings.is_empty() {
            value.insert("Settings".into(), settings.into());
        }
        value.into()
    }
}
