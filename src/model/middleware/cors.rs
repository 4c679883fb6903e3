//! `cors`: which origins' pages may use what browsers otherwise keep from them (the Fetch standard's CORS protocol).

use super::field_name_error;
use crate::expr::is_token;
use crate::model::duration;
use crate::model::fields::{Fields, quote};
use serde_json::{Map, Value};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Longest `MaxAge`; browsers believe less anyway.
const MAX_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Who may do what from a browser.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CorsSpec {
    /// `AllowOrigins`: at least one.
    pub allow_origins: Vec<AllowedOrigin>,
    /// `AllowMethods`: beside GET, HEAD and POST, which browsers do not ask about; `*` is every one.
    pub allow_methods: Vec<Box<str>>,
    /// `AllowHeaders`: fields of requests; `*` is every one but `Authorization`.
    pub allow_headers: Vec<Box<str>>,
    /// `ExposeHeaders`: fields of answers that scripts may read; `*` is every one.
    pub expose_headers: Vec<Box<str>>,
    /// `AllowCredentials`: cookies and the like may go along. Never with a `*` above.
    pub allow_credentials: bool,
    /// `MaxAge`: how long a browser may remember the answer to its preflight; absent: the browser's own time.
    pub max_age: Option<Duration>,
}

/// One item of `AllowOrigins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`
    Any,
    /// `https://shop.example`: byte for byte.
    Exact(Box<str>),
    /// `https://*.shop.example:8443`: what stands before the star, and what stands behind it with its dot.
    Below(Box<str>, Box<str>),
}

impl AllowedOrigin {
    /// Whether an `Origin` is this one. Both are serialised origins (RFC 6454 section 6.2), so bytes are compared.
    pub fn fits(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => &**exact == origin,
            Self::Below(scheme, domain) => {
                let labels = origin.strip_prefix(&**scheme).and_then(|rest| rest.strip_suffix(&**domain));
                labels.is_some_and(|labels| {
                    let is_label = |label: &str| {
                        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                        !label.is_empty() && label.bytes().all(fits)
                    };
                    labels.split('.').all(is_label)
                })
            }
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text == "null" {
            return Err("is what pages of no origin send, which anyone can make one send; name origins");
        }
        let Some((scheme, host)) = text.split_once("://") else { return Err(NO_ORIGIN) };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(plain) {
            return Err(NO_ORIGIN);
        }
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            _ => (host, None),
        };
        let default = matches!((scheme, port), ("http", Some("80")) | ("https", Some("443")));
        if default {
            return Err("has its scheme's own port, which browsers leave out; leave it out too");
        }
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
        if port.is_some_and(|port| !is_port(port)) {
            return Err(NO_ORIGIN);
        }
        let name_fits = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address),
            None => {
                let name = name.strip_prefix("*.").unwrap_or(name);
                let fits =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
                !name.is_empty() && name.bytes().all(fits) && name.split('.').all(|label| !label.is_empty())
            }
        };
        if !name_fits {
            return Err(NO_ORIGIN);
        }
        Ok(match host.strip_prefix('*') {
            Some(domain) => Self::Below(format!("{scheme}://").into(), domain.into()),
            None => Self::Exact(text.into()),
        })
    }

    fn text(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Exact(origin) => origin.to_string(),
            Self::Below(scheme, domain) => format!("{scheme}*{domain}"),
        }
    }
}

const NO_ORIGIN: &str = "is no origin: `*`, or scheme and host as browsers send them are expected, in lower case and \
                         without a path, like `https://shop.example` or `https://*.shop.example`";

pub(super) fn read(fields: &mut Fields<'_>) -> Option<CorsSpec> {
    let missing = fields.value("AllowOrigins").is_none();
    let mut allow_origins = Vec::new();
    let origins = fields.texts("AllowOrigins");
    if missing || (origins.is_empty() && !fields.report().has_errors()) {
        fields.error(
            "AllowOrigins",
            "is missing: a list of origins is expected, like [\"https://shop.example\"]",
        );
    }
    for (path, text) in origins {
        match AllowedOrigin::parse(text) {
            Ok(origin) => allow_origins.push(origin),
            Err(reason) => fields.report().error(path, format!("{} {reason}", quote(text))),
        }
    }
    let mut allow_methods = Vec::new();
    for (path, text) in fields.texts("AllowMethods") {
        if text.len() > 32 || !is_token(text) {
            fields.report().error(path, format!("{} is no method; one like `PUT` is expected", quote(text)));
        } else {
            allow_methods.push(text.into());
        }
    }
    let allow_headers = read_names(fields, "AllowHeaders");
    let expose_headers = read_names(fields, "ExposeHeaders");
    let allow_credentials = fields.boolean("AllowCredentials").unwrap_or(false);
    let max_age = fields.duration("MaxAge", MAX_AGE_MAX);
    let spec =
        CorsSpec { allow_origins, allow_methods, allow_headers, expose_headers, allow_credentials, max_age };
    if spec.allow_credentials && spec.has_star() {
        fields.error(
            "AllowCredentials",
            "stands beside a `*`, which would hand every site its visitors' data; name origins, methods and fields",
        );
    }
    Some(spec)
}

fn read_names(fields: &mut Fields<'_>, name: &'static str) -> Vec<Box<str>> {
    let mut names = Vec::new();
    for (path, text) in fields.texts(name) {
        match field_name_error(text) {
            Some(reason) => fields.report().error(path, format!("{} {reason}", quote(text))),
            None => names.push(text.into()),
        }
    }
    names
}

impl CorsSpec {
    fn has_star(&self) -> bool {
        let lists = [&self.allow_methods, &self.allow_headers, &self.expose_headers];
        self.allows_any() || lists.into_iter().flatten().any(|item| &**item == "*")
    }

    /// Every origin may do it.
    pub fn allows_any(&self) -> bool {
        self.allow_origins.contains(&AllowedOrigin::Any)
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        let origins: Vec<String> = self.allow_origins.iter().map(AllowedOrigin::text).collect();
        value.insert("AllowOrigins".into(), origins.into());
        for (name, list) in [
            ("AllowMethods", &self.allow_methods),
            ("AllowHeaders", &self.allow_headers),
            ("ExposeHeaders", &self.expose_headers),
        ] {
            if !list.is_empty() {
                value.insert(name.into(), list.iter().map(|item| &**item).collect::<Vec<_>>().into());
            }
        }
        if self.allow_credentials {
            value.insert("AllowCredentials".into(), true.into());
        }
        if let Some(age) = self.max_age {
            value.insert("MaxAge".into(), duration::format(age).into());
        }
        value
    }
}
