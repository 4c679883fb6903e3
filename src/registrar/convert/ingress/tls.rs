//! Certificates of an Ingress's hosts, from its Secrets.

use super::super::{Converted, Desired, Remit};
use super::said::Said;
use super::{NOT_OURS, may_have};
use crate::model::{HostName, ObjectKey, is_host_name};
use crate::registrar::unit::Source;
use crate::registrar::world::World;
use crate::tls::Certificate;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Wants a host for each name that `spec.tls` gives a certificate; where it gives no names, for those of the rules.
pub(super) fn put(
    world: &World,
    remit: &Remit,
    said: &Said<'_>,
    client_auth: Option<&Value>,
    converted: &mut Converted,
) {
    let ingress = said.ingress();
    for (number, tls) in ingress.tls.iter().enumerate() {
        let Some(secret_name) = tls.secret.as_deref() else { continue };
        let secret_name = ingress.meta.name.beside(secret_name);
        let field = format!("spec.tls[{number}].secretName");
        let mut error = |reason: String| said.field_error(&field, reason, converted);
        let Some(secret) = world.secret(&secret_name) else {
            error(format!("names the Secret {secret_name}, which does not exist or may not be read"));
            continue;
        };
        let (Some(certificate), Some(key)) = (secret.data.get("tls.crt"), secret.data.get("tls.key")) else {
            error(format!("names the Secret {secret_name}, which has no `tls.crt` and `tls.key`"));
            continue;
        };
        if let Err(reason) = Certificate::from_pem(certificate, key) {
            error(format!("names the Secret {secret_name}, which cannot be used: {reason}"));
            continue;
        }
        let named: BTreeSet<String> = match tls.hosts.is_empty() {
            true => ingress.hosts().flatten().map(str::to_ascii_lowercase).collect(),
            false => tls.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        };
        for host in named {
            let valid = is_host_name(host.strip_prefix("*.").unwrap_or(&host));
            let Some(name) = HostName::try_from(host.as_str()).ok().filter(|_| valid) else {
                said.field_error(&field, format!("is for `{host}`, which is no host name"), converted);
                continue;
            };
            if !may_have(remit, said, Some(&host)) {
                said.field_error(&field, format!("is for `{host}`; {NOT_OURS}"), converted);
                continue;
            }
            let mut value = Map::new();
            if let Some(client_auth) = client_auth {
                value.insert("Settings".into(), json!({ "ClientAuth": client_auth }));
            }
            let desired = Desired::Certificate {
                value,
                certificate: certificate.clone(),
                key: key.clone(),
                secret: Source::Secret(secret_name.clone()),
            };
            converted.objects.insert(ObjectKey::Host(name), desired);
        }
    }
}
