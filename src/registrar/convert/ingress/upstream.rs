//! How a backend's servers are spoken to, by an Ingress's annotations.

use super::super::Converted;
use super::said::{Said, shown};
use crate::model::{Scheme, cookie_name_error, duration, is_host_name};
use crate::registrar::world::World;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The sticky cookie's name where none is given.
const COOKIE: &str = "INGRESSCOOKIE";
/// What connecting may take unless something else is given: there and here.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What annotations make of a backend.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Custom {
    /// Of its servers; absent: as the Service says.
    pub(super) scheme: Option<Scheme>,
    /// `Settings` in place of the Service's.
    pub(super) settings: Map<String, Value>,
}

impl Custom {
    /// Of all backends of an Ingress.
    pub(super) fn of(world: &World, said: &Said<'_>, converted: &mut Converted) -> Self {
        let mut custom = Self::default();
        if let Some(timeout) = said.seconds("proxy-connect-timeout", converted)
            && timeout != CONNECT_TIMEOUT
        {
            let timeouts = json!({ "Dial": duration::format(timeout) });
            custom.settings.insert("Timeouts".into(), timeouts);
        }
        custom.read_protocol(said, converted);
        if custom.scheme == Some(Scheme::Https) {
            custom.settings.insert("TLS".into(), tls(world, said, converted).into());
        }
        custom.read_choice(said, converted);
        custom
    }

    /// With what a canary says of itself: which of its servers get a request, and nothing else.
    pub(super) fn of_canary(&self, canary: &Said<'_>, converted: &mut Converted) -> Self {
        let mut custom = self.clone();
        custom.read_choice(canary, converted);
        custom
    }

    /// Nothing is changed: the Service's own backend will do.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    fn read_protocol(&mut self, said: &Said<'_>, converted: &mut Converted) {
        const NAME: &str = "backend-protocol";
        match said.text(NAME).map(str::to_ascii_uppercase).as_deref() {
            None | Some("HTTP") => {}
            Some("HTTPS") => self.scheme = Some(Scheme::Https),
            Some(grpc @ ("GRPC" | "GRPCS")) => {
                self.settings.insert("Protocol".into(), "http2".into());
                if grpc == "GRPCS" {
                    self.scheme = Some(Scheme::Https);
                }
            }
            Some(other @ ("AUTO_HTTP" | "FCGI" | "AJP")) => {
                said.error(NAME, format!("is `{other}`, which is not spoken; HTTP is"), converted);
            }
            Some(_) => {
                said.unreadable::<()>(NAME, "`HTTP`, `HTTPS`, `GRPC` or `GRPCS`", converted);
            }
        }
        if said.text("proxy-http-version").is_some_and(|version| version != "1.1") {
            said.warning(
                "proxy-http-version",
                "is not carried over: servers are spoken to as 1.1",
                converted,
            );
        }
    }

    /// Balance and affinity.
    fn read_choice(&mut self, said: &Said<'_>, converted: &mut Converted) {
        let hash = match said.text("upstream-hash-by") {
            None => None,
            Some(text) => match hash_key(text) {
                Some(key) => Some(key),
                None => said.unreadable(
                    "upstream-hash-by",
                    "`$remote_addr`, `$request_uri`, `$http_NAME` or `$cookie_NAME`",
                    converted,
                ),
            },
        };
        const POLICIES: [&str; 4] = ["round_robin", "ewma", "least_conn", "ip_hash"];
        let policy = said.word("load-balance", &POLICIES, converted);
        let balance = match (hash, policy) {
            (Some(key), _) => Some(json!({ "Policy": "hash", "Key": key })),
            (None, Some("ewma")) => Some("peak_ewma".into()),
            (None, Some("least_conn")) => Some("least_requests".into()),
            (None, Some("ip_hash")) => Some(json!({ "Policy": "hash", "Key": "client_ip" })),
            (None, _) => None,
        };
        if let Some(balance) = balance {
            self.settings.insert("Balance".into(), balance);
        }
        if said.word("affinity", &["cookie"], converted).is_some() {
            self.settings.insert("Sticky".into(), sticky(said, converted).into());
        }
    }
}

/// What of a request decides, as in `Balance.Key`.
fn hash_key(text: &str) -> Option<String> {
    let name = text.strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match name {
        "remote_addr" | "binary_remote_addr" | "the_real_ip" => Some("client_ip".into()),
        "request_uri" | "uri" => Some("path".into()),
        "host" | "http_host" => Some("header:Host".into()),
        _ => match (name.strip_prefix("http_"), name.strip_prefix("cookie_")) {
            (Some(header), _) if is_name(header) => Some(format!("header:{}", header.replace('_', "-"))),
            (_, Some(cookie)) if is_name(cookie) => Some(format!("cookie:{cookie}")),
            _ => None,
        },
    }
}

fn sticky(said: &Said<'_>, converted: &mut Converted) -> Map<String, Value> {
    let mut sticky = Map::new();
    let name = said.text("session-cookie-name").unwrap_or(COOKIE);
    match cookie_name_error(name) {
        None => sticky.insert("Cookie".into(), name.into()),
        Some(_) => {
            said.unreadable::<()>("session-cookie-name", "a cookie's name", converted);
            sticky.insert("Cookie".into(), COOKIE.into())
        }
    };
    let age = said
        .seconds("session-cookie-max-age", converted)
        .or_else(|| said.seconds("session-cookie-expires", converted));
    if let Some(age) = age {
        sticky.insert("MaxAge".into(), duration::format(age).into());
    }
    if let Some(site) = said.word("session-cookie-samesite", &["Lax", "Strict", "None"], converted) {
        sticky.insert("SameSite".into(), site.into());
    }
    if let Some(path) = said.text("session-cookie-path").filter(|path| *path != "/") {
        let reason = format!("is {}, but the cookie's path is always `/`", shown(path));
        said.warning("session-cookie-path", reason, converted);
    }
    if said.flag("session-cookie-secure", converted) == Some(true) {
        let reason = "is so over HTTPS alone: over HTTP the cookie comes without";
        said.warning("session-cookie-secure", reason, converted);
    }
    said.word("affinity-mode", &["balanced", "persistent"], converted);
    sticky
}

/// `TLS` of a backend whose servers speak it. Unless a certificate is asked for, any will do, as with ingress-nginx:
/// pods are spoken to by addresses that certificates seldom have.
fn tls(world: &World, said: &Said<'_>, converted: &mut Converted) -> Map<String, Value> {
    let mut tls = Map::new();
    let verify = said.switch("proxy-ssl-verify", converted).unwrap_or(false);
    if !verify {
        tls.insert("InsecureSkipVerify".into(), true.into());
    }
    if let Some(name) = said.text("proxy-ssl-name") {
        match is_host_name(name) {
            true => {
                tls.insert("ServerName".into(), name.into());
            }
            false => {
                said.unreadable::<()>("proxy-ssl-name", "a host name", converted);
            }
        }
    }
    if said.switch("proxy-ssl-server-name", converted) == Some(false) && tls.contains_key("ServerName") {
        said.warning("proxy-ssl-server-name", "is `off`, but the name is always sent", converted);
    }
    read_secret(world, said, verify, &mut tls, converted);
    read_versions(said, &mut tls, converted);
    tls
}

fn read_secret(
    world: &World,
    said: &Said<'_>,
    verify: bool,
    tls: &mut Map<String, Value>,
    converted: &mut Converted,
) {
    const NAME: &str = "proxy-ssl-secret";
    let Some(secret) = said.secret(world, NAME, converted) else { return };
    if secret.data.contains_key("tls.crt") {
        let reason = "has a certificate of the proxy's own, which is not carried over";
        said.warning(NAME, reason, converted);
    }
    if !verify {
        return;
    }
    match secret.authorities() {
        Some(pem) => {
            tls.insert("CA".into(), pem.into());
        }
        None => said.error(NAME, "has no certificates of authorities in `ca.crt`", converted),
    }
}

fn read_versions(said: &Said<'_>, tls: &mut Map<String, Value>, converted: &mut Converted) {
    const NAME: &str = "proxy-ssl-protocols";
    let Some(text) = said.text(NAME) else { return };
    let has = |version: &str| text.split_whitespace().any(|word| word == version);
    match (has("TLSv1.2"), has("TLSv1.3")) {
        (true, true) => {}
        (true, false) => {
            tls.insert("MaxVersion".into(), "VersionTLS12".into());
        }
        (false, true) => {
            tls.insert("MinVersion".into(), "VersionTLS13".into());
        }
        (false, false) => {
            said.unreadable::<()>(NAME, "`TLSv1.2`, `TLSv1.3` or both", converted);
        }
    }
}
