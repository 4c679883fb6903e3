//! How a backend chooses among its servers: the policy, the sticky cookie, and what tells clients apart.

use super::duration;
use super::fields::{Fields, not_one_of, quote};
use super::frontend::TIMEOUT_MAX;
use super::middleware::field_name_error;
use crate::expr::is_token;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// The values of `Balance.Policy`.
const POLICIES: [&str; 4] = ["round_robin", "least_requests", "peak_ewma", "hash"];

/// `Settings.Balance`: the policy's name, or `{"Policy":"hash","Key":"cookie:session"}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Balance {
    /// `Policy`; default `round_robin`.
    pub policy: Policy,
    /// `PreferZone`: servers of the proxy's own zone first, as long as one of them is well; default false. Kept, but not
    /// acted on: a proxy does not know its zone yet.
    pub prefer_zone: bool,
}

/// Who gets the next request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Policy {
    /// `round_robin`: in turn, smoothly by weight.
    #[default]
    RoundRobin,
    /// `least_requests`: of two drawn by weight, the one with fewer requests open.
    LeastRequests,
    /// `peak_ewma`: of two drawn by weight, the one with the lower product of recent latency and open requests. A failure
    /// counts as a long latency.
    PeakEwma,
    /// `hash`: the same key goes to the same server for as long as that is well; few keys move when servers change.
    Hash(ClientKey),
}

/// What of a request tells its client apart: `client_ip`, `path`, `header:NAME` or `cookie:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientKey {
    /// The client's address.
    #[default]
    Ip,
    /// The path, without the query.
    Path,
    /// A request header; requests without it are spread.
    Header(Box<str>),
    /// A cookie; requests without it are spread.
    Cookie(Box<str>),
}

/// `Settings.Sticky`: a cookie that brings a client back to its server for as long as that may get requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// `Cookie`: its name; default `flipgate`.
    pub cookie: Box<str>,
    /// `MaxAge`: how long the client keeps it; default until the browser closes.
    pub max_age: Option<Duration>,
    /// `SameSite`: `Lax` (default), `Strict` or `None`.
    pub same_site: &'static str,
}

impl Default for Sticky {
    fn default() -> Self {
        Self { cookie: "flipgate".into(), max_age: None, same_site: "Lax" }
    }
}

impl Policy {
    /// As stored.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequests => "least_requests",
            Self::PeakEwma => "peak_ewma",
            Self::Hash(_) => "hash",
        }
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => f.write_str("client_ip"),
            Self::Path => f.write_str("path"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl ClientKey {
    /// The key in a field; absent counts as `client_ip`.
    pub(super) fn read(fields: &mut Fields<'_>, name: &'static str) -> Self {
        let Some(text) = fields.text(name) else { return Self::default() };
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let named = |error: Option<&str>| match error {
            Some(error) => {
                fields.error(name, error);
                None
            }
            None => Some(rest.into()),
        };
        let key = match (kind, rest) {
            ("client_ip", "") => Some(Self::Ip),
            ("path", "") => Some(Self::Path),
            ("header", _) => named(field_name_error(rest)).map(Self::Header),
            ("cookie", _) => named(cookie_name_error(rest)).map(Self::Cookie),
            _ => {
                fields.error(
                    name,
                    format!("is {}; client_ip, path, header:NAME or cookie:NAME is expected", quote(text)),
                );
                None
            }
        };
        key.unwrap_or_default()
    }
}

/// Why a text is no cookie's name (RFC 6265 section 4.1.1).
pub fn cookie_name_error(name: &str) -> Option<&'static str> {
    let valid = name.len() <= 128 && is_token(name);
    (!valid).then_some("is no cookie's name: letters, digits and `-_.` are expected")
}

pub(super) fn read_balance(fields: &mut Fields<'_>) -> Balance {
    match fields.value("Balance") {
        None => Balance::default(),
        Some(Value::String(name)) => {
            Balance { policy: policy(fields, "Balance", name, None), prefer_zone: false }
        }
        Some(_) => fields
            .object("Balance", |fields| {
                let key = fields.value("Key").map(|_| ClientKey::read(fields, "Key"));
                let policy = match fields.text("Policy") {
                    Some(name) => policy(fields, "Policy", name, key),
                    None if key.is_some() => Policy::Hash(key.unwrap_or_default()),
                    None => Policy::default(),
                };
                let prefer_zone = fields.boolean("PreferZone").unwrap_or(false);
                // A proxy does not know its zone yet.
                fields.inert(&["PreferZone"]);
                Balance { policy, prefer_zone }
            })
            .unwrap_or_default(),
    }
}

fn policy(fields: &Fields<'_>, field: &'static str, name: &str, key: Option<ClientKey>) -> Policy {
    if key.is_some() && name != "hash" {
        fields.error("Key", "is only for the policy `hash`");
    }
    match name {
        "" | "round_robin" => Policy::RoundRobin,
        "least_requests" => Policy::LeastRequests,
        "peak_ewma" => Policy::PeakEwma,
        "hash" => Policy::Hash(key.unwrap_or_default()),
        other => {
            fields.error(field, not_one_of(other, &POLICIES));
            Policy::default()
        }
    }
}

pub(super) fn read_sticky(fields: &mut Fields<'_>) -> Option<Sticky> {
    fields.object("Sticky", |fields| {
        let mut sticky = Sticky::default();
        if let Some(name) = fields.text("Cookie") {
            if let Some(error) = cookie_name_error(name) {
                fields.error("Cookie", error);
            }
            sticky.cookie = name.into();
        }
        sticky.max_age = fields.duration("MaxAge", TIMEOUT_MAX);
        const SITES: [&str; 3] = ["Lax", "Strict", "None"];
        if let Some(text) = fields.text("SameSite") {
            match SITES.iter().find(|site| site.eq_ignore_ascii_case(text)) {
                Some(site) => sticky.same_site = site,
                None => fields.error("SameSite", not_one_of(text, &SITES)),
            }
        }
        sticky
    })
}

impl Balance {
    /// The value to write; none where it is the default.
    pub(super) fn to_value(&self) -> Option<Value> {
        if *self == Self::default() {
            return None;
        }
        let key = match &self.policy {
            Policy::Hash(key) => Some(key.to_string()),
            _ => None,
        };
        if key.is_none() && !self.prefer_zone {
            return Some(self.policy.as_str().into());
        }
        let mut value = Map::new();
        value.insert("Policy".into(), self.policy.as_str().into());
        if let Some(key) = key {
            value.insert("Key".into(), key.into());
        }
        if self.prefer_zone {
            value.insert("PreferZone".into(), true.into());
        }
        Some(value.into())
    }
}

impl Sticky {
    pub(super) fn to_value(&self) -> Value {
        let mut value = Map::new();
        value.insert("Cookie".into(), (&*self.cookie).into());
        if let Some(age) = self.max_age {
            value.insert("MaxAge".into(), duration::format(age).into());
        }
        if self.same_site != "Lax" {
            value.insert("SameSite".into(), self.same_site.into());
        }
        value.into()
    }
}
