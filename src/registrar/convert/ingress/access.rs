//! Who gets in. Where something that should keep people out cannot be done, nobody gets in: the frontends answer 503.

use super::super::Converted;
use super::backend;
use super::said::{Said, shown};
use super::traffic::split_url;
use super::treatment::{Treatment, filter, order};
use crate::model::{HostName, ObjectKey, ServerUrl};
use crate::registrar::world::World;
use serde_json::{Map, Value, json};

/// What browsers show where nothing else is given.
const REALM: &str = "Authentication Required";

pub(super) fn read(world: &World, said: &Said<'_>, treatment: &mut Treatment, converted: &mut Converted) {
    let read = [read_addresses(said, treatment, converted), read_password(world, said, treatment, converted)];
    let asked = read_question(world, said, treatment, converted);
    let shown = read_certificate(world, said, treatment, converted);
    if read.into_iter().chain([asked, shown]).any(|done| done.is_none()) {
        treatment.refuse();
    }
    if said.word("satisfy", &["all", "any"], converted) == Some("any") {
        said.warning("satisfy", "is not carried over: who gets in has to satisfy all", converted);
    }
}

/// Where a certificate is required, every host of the Ingress has to be one that asks for it: else nobody gets in.
pub(super) fn close_unproven(said: &Said<'_>, treatment: &mut Treatment, converted: &mut Converted) {
    if treatment.client_auth.as_ref().is_none_or(|auth| auth["Mode"] != "required") {
        return;
    }
    let asks = |name: &str| {
        let key = HostName::try_from(name).map(ObjectKey::Host);
        key.is_ok_and(|key| converted.objects.contains_key(&key))
    };
    let is_proven = |host: &str| {
        let host = host.to_ascii_lowercase();
        asks(&host) || host.split_once('.').is_some_and(|(_, below)| asks(&format!("*.{below}")))
    };
    let hosts = said.ingress().hosts().map(|host| host.ok_or("every host"));
    let all = hosts.chain(said.ingress().default_backend.iter().map(|_| Err("every host")));
    let open =
        all.filter(|host| !host.is_ok_and(is_proven)).map(|host| host.unwrap_or_else(|every| every)).min();
    if let Some(open) = open {
        let reason = format!(
            "is not in force for {}, for which the Ingress has no certificate: everything is answered with 503",
            shown(open)
        );
        said.error("auth-tls-secret", reason, converted);
        treatment.refuse();
    }
}

/// `None` here and below: it cannot be done, which is noted.
fn read_addresses(said: &Said<'_>, treatment: &mut Treatment, converted: &mut Converted) -> Option<()> {
    let mut spec = Map::new();
    let mut blamed = None;
    for (name, field) in [
        ("whitelist-source-range", "Allow"),
        ("allowlist-source-range", "Allow"),
        ("denylist-source-range", "Deny"),
    ] {
        if said.text(name).is_none() {
            continue;
        }
        let networks = said.networks(name, converted)?;
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        spec.insert(field.into(), networks.into());
        blamed = Some(name);
    }
    let Some(blamed) = blamed else { return Some(()) };
    let made = filter("addresses", "ipfilter", order::ADDRESSES, spec.into());
    treatment.add(said, blamed, made, converted).then_some(())
}

fn read_password(
    world: &World,
    said: &Said<'_>,
    treatment: &mut Treatment,
    converted: &mut Converted,
) -> Option<()> {
    match said.text("auth-type") {
        None => return Some(()),
        Some("basic") => {}
        Some(_) => return said.unreadable("auth-type", "`basic`", converted),
    }
    const NAME: &str = "auth-secret";
    if said.text(NAME).is_none() {
        said.error("auth-type", "has no `auth-secret` beside it", converted);
        return None;
    }
    if said.text("auth-secret-type").is_some_and(|kind| kind != "auth-file") {
        return said.unreadable("auth-secret-type", "`auth-file`", converted);
    }
    let secret = said.secret(world, NAME, converted)?;
    let Some(file) = secret.data.get("auth").and_then(|file| std::str::from_utf8(file).ok()) else {
        said.error(NAME, "names a Secret that has no text in `auth`", converted);
        return None;
    };
    let users = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let realm: String = said.text("auth-realm").unwrap_or(REALM).chars().filter(|c| !is_quote(*c)).collect();
    // The server sees who it is, as it does behind nginx.
    let spec = json!({
        "Users": users.collect::<Vec<_>>(),
        "Realm": realm,
        "PassAuthorization": true,
    });
    treatment
        .add(said, NAME, filter("password", "basicauth", order::PASSWORDS, spec), converted)
        .then_some(())
}

fn is_quote(c: char) -> bool {
    c == '"' || c == '\\' || c.is_control()
}

fn read_question(
    world: &World,
    said: &Said<'_>,
    treatment: &mut Treatment,
    converted: &mut Converted,
) -> Option<()> {
    const NAME: &str = "auth-url";
    let Some(text) = said.text(NAME) else { return Some(()) };
    let (origin, path) = split_url(text);
    let expected = "a URL without variables, like `http://NAME.NAMESPACE.svc.cluster.local:PORT/PATH`,";
    let Some(url) = origin.parse::<ServerUrl>().ok().filter(|_| !text.contains('$')) else {
        return said.unreadable(NAME, expected, converted);
    };
    let id = match backend::put_url(world, said, "auth", &url, converted) {
        Ok(id) => id,
        Err(reason) => {
            said.error(NAME, reason, converted);
            return None;
        }
    };
    if let Some(method) = said.text("auth-method").filter(|method| !method.eq_ignore_ascii_case("GET")) {
        let reason = format!("is {}, but the service is asked with GET", shown(method));
        said.warning("auth-method", reason, converted);
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut spec = json!({ "BackendId": id.as_str(), "Path": format!("{slash}{path}") });
    let headers: Vec<&str> = said.list("auth-response-headers").collect();
    if let Value::Object(spec) = &mut spec
        && !headers.is_empty()
    {
        spec.insert("ResponseHeaders".into(), headers.into());
    }
    treatment.add(said, NAME, filter("ask", "forwardauth", order::ASK, spec), converted).then_some(())
}

/// Of the hosts with TLS; over plain HTTP nobody shows a certificate.
fn read_certificate(
    world: &World,
    said: &Said<'_>,
    treatment: &mut Treatment,
    converted: &mut Converted,
) -> Option<()> {
    if said.text("auth-tls-match-cn").is_some() {
        return None;
    }
    const NAME: &str = "auth-tls-secret";
    if said.text(NAME).is_none() {
        return Some(());
    }
    let mode = match said.text("auth-tls-verify-client") {
        None | Some("on") => "required",
        Some("off") => return Some(()),
        Some("optional") => "optional",
        Some("optional_no_ca") => {
            let reason = "is taken as `optional`: a certificate that is shown must be good";
            said.warning("auth-tls-verify-client", reason, converted);
            "optional"
        }
        Some(_) => return said.unreadable("auth-tls-verify-client", "`on`, `optional` or `off`", converted),
    };
    let secret = said.secret(world, NAME, converted)?;
    let Some(authorities) = secret.authorities() else {
        said.error(NAME, "names a Secret that has no certificates in `ca.crt`", converted);
        return None;
    };
    let mut auth = json!({ "Mode": mode, "CA": authorities });
    if said.flag("auth-tls-pass-certificate-to-upstream", converted) == Some(true) {
        let reason = "tells servers of subject and fingerprint in `X-Client-Cert-*`, not of the certificate";
        said.warning("auth-tls-pass-certificate-to-upstream", reason, converted);
        auth = json!({ "Mode": mode, "CA": authorities, "Forward": true });
    }
    treatment.client_auth = Some(auth);
    Some(())
}
