//! A middleware: one step that sees a request or an answer.

use super::fields::{Fields, not_one_of, quote, show};
use super::id::MiddlewareId;
use super::server::{Scheme, is_host_name};
use super::template::{Part, Piece, Replacement, Template};
use crate::expr::Pattern;
use serde_json::{Map, Value};
use std::net::Ipv6Addr;

/// Longest value of a header field that a middleware sets, in bytes.
pub const FIELD_VALUE_BYTES_MAX: usize = 8_192;

/// The types that this version offers.
pub const TYPES: [&str; 3] = ["rewrite", "redirect", "headers"];

/// The types that are known and refused until they are offered: without them a request would pass that should not.
const TYPES_TO_COME: [&str; 12] = [
    "ratelimit",
    "connlimit",
    "cbreaker",
    "trace",
    "auth",
    "ipfilter",
    "cors",
    "compress",
    "respond",
    "mirror",
    "basicauth",
    "forwardauth",
];

/// Fields that belong to framing or to one connection (RFC 9110 7.6.1) and are the proxy's own business.
const OWN_FIELDS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const CODES: [u16; 5] = [301, 302, 303, 307, 308];

/// A middleware's envelope: `{"Id","Priority","Type","Middleware":{...}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Middleware {
    /// From the key.
    pub id: MiddlewareId,
    /// Smaller runs first; default 0.
    pub priority: i64,
    /// What it does.
    pub spec: MiddlewareSpec,
}

/// What a middleware does.
#[derive(Debug, Clone, PartialEq)]
pub enum MiddlewareSpec {
    /// `rewrite`, vulcand's.
    Rewrite(RewriteSpec),
    /// `redirect` (new).
    Redirect(RedirectSpec),
    /// `headers` (new).
    Headers(HeadersSpec),
}

/// `{"Regexp","Replacement","RewriteBody","Redirect"}` on the full URL `scheme://host/target`. The request's text is
/// never evaluated, whatever it contains.
#[derive(Debug, Clone, PartialEq)]
pub struct RewriteSpec {
    /// Searched anywhere in the URL; every match is replaced.
    pub regexp: Pattern,
    /// `$1`, `${name}`, `$$`; its own text has only bytes that may stand in a URL.
    pub replacement: Replacement,
    /// Answer 302 with the new URL instead of forwarding.
    pub redirect: bool,
}

/// Where a redirect leads: each part that is absent stays as the request had it.
#[derive(Debug, Clone, PartialEq)]
pub struct RedirectSpec {
    /// `Scheme`: `http` or `https`.
    pub scheme: Option<Scheme>,
    /// `Host`: a name in lower case or an IPv6 address in brackets, without a port; may name route parameters as
    /// `<name>`, each for letters, digits, hyphens and underscores.
    pub host: Option<Template>,
    /// `Port`: never 0. Absent, also as 0 in the store: the request's, or the scheme's own where `scheme` changes it.
    pub port: Option<u16>,
    /// `Path`: replaces the whole path; starts with one slash; may name route parameters as `<name>`.
    pub path: Option<Template>,
    /// `PrefixFrom` and `PrefixTo`: replaces a leading run of whole segments; both start with one slash and end
    /// without one (the root is `/`). Never with `path`.
    pub prefix: Option<(Box<str>, Box<str>)>,
    /// `DropQuery`: default false, the query is kept.
    pub drop_query: bool,
    /// `Code`: 301, 302, 303, 307 or 308; default 302.
    pub code: u16,
}

impl Default for RedirectSpec {
    fn default() -> Self {
        Self { scheme: None, host: None, port: None, path: None, prefix: None, drop_query: false, code: 302 }
    }
}

/// `{"Request":{"Set":{},"Add":{},"Remove":[]},"Response":{...}}`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeadersSpec {
    /// Applied before forwarding.
    pub request: HeaderEdits,
    /// Applied to the answer's head.
    pub response: HeaderEdits,
}

/// Edits of header fields; removal runs first, then set, then add.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderEdits {
    /// Replaces all fields of that name by one.
    pub set: Vec<(Box<str>, Box<str>)>,
    /// Adds a field beside those there.
    pub add: Vec<(Box<str>, Box<str>)>,
    /// Removes all fields of that name.
    pub remove: Vec<Box<str>>,
}

pub(super) fn read(fields: &mut Fields<'_>, id: &MiddlewareId) -> Option<Middleware> {
    fields.id_from_key("Id", id.as_str());
    let priority = fields.integer("Priority", i64::MIN..=i64::MAX).unwrap_or(0);
    let kind = fields.required_text("Type", "rewrite, redirect or headers is expected")?;
    let missing = fields.value("Middleware").is_none();
    let spec = match kind {
        "rewrite" => fields.object("Middleware", read_rewrite).flatten().map(MiddlewareSpec::Rewrite),
        "redirect" => fields.object("Middleware", read_redirect).flatten().map(MiddlewareSpec::Redirect),
        "headers" => fields.object("Middleware", read_headers).map(MiddlewareSpec::Headers),
        known if TYPES_TO_COME.contains(&known) => {
            fields.error("Type", format!("is `{known}`, which is known but not offered by this version"));
            return None;
        }
        other => {
            fields.error("Type", not_one_of(other, &TYPES));
            return None;
        }
    };
    if missing {
        fields
            .error("Middleware", format!("is missing: an object with the settings of `{kind}` is expected"));
    }
    Some(Middleware { id: id.clone(), priority, spec: spec? })
}

fn read_rewrite(fields: &mut Fields<'_>) -> Option<RewriteSpec> {
    let regexp = fields.required_text("Regexp", "a regular expression on `scheme://host/target` is expected");
    let regexp = regexp.and_then(|text| match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            fields.error("Regexp", format!("is {error}"));
            None
        }
    });
    let text = fields.text_or_empty("Replacement").unwrap_or_default();
    let redirect = fields.boolean("Redirect").unwrap_or(false);
    fields.inert(&["RewriteBody"]);
    if text.contains("{{") {
        fields.error("Replacement", "has `{{`, but templates are never evaluated; `$1` and `${name}` are");
    }
    let regexp = regexp?;
    let replacement = Replacement::parse(text, regexp.group_count(), |name| regexp.has_group(name));
    let replacement = match replacement {
        Ok(replacement) => replacement,
        Err(error) => {
            fields.error("Replacement", format!("{} {error}", quote(text)));
            return None;
        }
    };
    let is_url = |part: &Part| match part {
        Part::Text(text) => text.bytes().all(|byte| is_path_byte(byte) || b"?\"{|}^[]".contains(&byte)),
        Part::Group(_) | Part::Named(_) => true,
    };
    if !replacement.parts().iter().all(is_url) {
        fields.error("Replacement", format!("is {}; a URL has only visible ASCII characters", quote(text)));
    }
    Some(RewriteSpec { regexp, replacement, redirect })
}

fn read_redirect(fields: &mut Fields<'_>) -> Option<RedirectSpec> {
    let scheme = match fields.text("Scheme") {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(other) => {
            fields.error("Scheme", not_one_of(other, &["http", "https"]));
            None
        }
    };
    let host = read_template(fields, "Host", redirect_host_error);
    let path = read_template(fields, "Path", redirect_path_error);
    let port = fields.integer("Port", 0..=i64::from(u16::MAX)).and_then(|port| u16::try_from(port).ok());
    let prefix = match (read_prefix(fields, "PrefixFrom"), read_prefix(fields, "PrefixTo")) {
        (Some(from), to) => Some((from, to.unwrap_or_else(|| "/".into()))),
        (None, Some(_)) => {
            fields.error("PrefixTo", "stands without PrefixFrom; both are expected");
            None
        }
        (None, None) => None,
    };
    if prefix.is_some() && path.is_some() {
        fields.error(
            "PrefixFrom",
            "stands beside Path, which replaces the whole path; one of them is expected",
        );
    }
    let drop_query = fields.boolean("DropQuery").unwrap_or(false);
    let code = match fields.integer("Code", 0..=i64::from(u16::MAX)).and_then(|code| u16::try_from(code).ok())
    {
        None | Some(0) => 302,
        Some(code) if CODES.contains(&code) => code,
        Some(code) => {
            fields.error("Code", format!("is {code}; one of 301, 302, 303, 307 and 308 is expected"));
            302
        }
    };
    let spec =
        RedirectSpec { scheme, host, port: port.filter(|port| *port > 0), path, prefix, drop_query, code };
    if (RedirectSpec { code: 302, ..spec.clone() }) == RedirectSpec::default()
        && !fields.report().has_errors()
    {
        let reason = "changes nothing: one of Scheme, Host, Port, Path, PrefixFrom and DropQuery is expected";
        fields.report().error(fields.path(), reason);
    }
    Some(spec)
}

/// A template in a field, with what `judge` finds wrong with it reported.
fn read_template(
    fields: &mut Fields<'_>,
    name: &'static str,
    judge: impl Fn(&Template) -> Option<&'static str>,
) -> Option<Template> {
    let text = fields.text(name)?;
    match Template::parse(text) {
        Ok(template) => {
            if let Some(reason) = judge(&template) {
                fields.error(name, format!("{} {reason}", quote(text)));
            }
            Some(template)
        }
        Err(error) => {
            fields.error(name, format!("{} {error}", quote(text)));
            None
        }
    }
}

fn redirect_host_error(host: &Template) -> Option<&'static str> {
    if let Some(address) = host.text().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let valid = address.parse::<Ipv6Addr>().is_ok();
        return (!valid).then_some("is no host: a name or an IPv6 address in brackets is expected");
    }
    // Parameters stand for a part of a label, so one that is filled in has the form of the host.
    let filled: String = host
        .pieces()
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Parameter(_) => "x",
        })
        .collect();
    let valid = is_host_name(&filled) || filled.parse::<std::net::Ipv4Addr>().is_ok();
    if !valid {
        return Some("is no host: a name without scheme, port or path is expected");
    }
    // Otherwise a request could choose the domain it is sent to.
    let open = host.pieces().iter().enumerate().rfind(|(_, piece)| matches!(piece, Piece::Parameter(_)));
    let closed = open.is_none_or(
        |(index, _)| matches!(host.pieces().get(index + 1), Some(Piece::Text(text)) if text.contains('.')),
    );
    (!closed).then_some("ends in a parameter; a domain is expected behind the last one")
}

fn redirect_path_error(path: &Template) -> Option<&'static str> {
    let first = path.pieces().first();
    let starts = matches!(first, Some(Piece::Text(text)) if text.starts_with('/'));
    let literal = path.pieces().iter().all(|piece| match piece {
        Piece::Text(text) => text.bytes().all(is_path_byte),
        Piece::Parameter(_) => true,
    });
    if starts && literal && !path.text().starts_with("//") {
        return None;
    }
    Some("is no path: one slash first, then letters, digits and `-._~!$&'()*+,;=:@%/` are expected")
}

fn read_prefix(fields: &mut Fields<'_>, name: &'static str) -> Option<Box<str>> {
    let text = fields.text(name)?;
    if !text.starts_with('/') || text.starts_with("//") || !text.bytes().all(is_path_byte) {
        let reason = "is no prefix: one slash first, then whole segments are expected, like `/shop`";
        fields.error(name, format!("{} {reason}", quote(text)));
    }
    let trimmed = text.trim_end_matches('/');
    Some(if trimmed.is_empty() { "/".into() } else { trimmed.into() })
}

/// What may stand in a path (RFC 3986 3.3), percent signs and slashes included.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte)
}

fn read_headers(fields: &mut Fields<'_>) -> HeadersSpec {
    let request = fields.object("Request", |edits| read_edits(edits, true)).unwrap_or_default();
    let response = fields.object("Response", |edits| read_edits(edits, false)).unwrap_or_default();
    HeadersSpec { request, response }
}

fn read_edits(fields: &mut Fields<'_>, request: bool) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    fields.object("Set", |set| read_edit_values(set, &mut edits.set, request, false));
    fields.object("Add", |add| read_edit_values(add, &mut edits.add, false, true));
    for (path, name) in fields.texts("Remove") {
        match edit_name_error(name, false) {
            Some(reason) => fields.report().error(path, format!("{} {reason}", quote(name))),
            None => edits.remove.push(name.into()),
        }
    }
    edits
}

/// Fields by name, each with one value or, where `several` may stand, a list of them.
fn read_edit_values(
    fields: &mut Fields<'_>,
    edits: &mut Vec<(Box<str>, Box<str>)>,
    host_allowed: bool,
    several: bool,
) {
    let report = fields.report();
    let parent = fields.path().to_owned();
    for (name, value) in fields.all() {
        let path = format!("{parent}.{}", name.chars().take(60).collect::<String>());
        if let Some(reason) = edit_name_error(name, host_allowed) {
            report.error(path, reason);
            continue;
        }
        let values = match value {
            Value::Null => &[][..],
            Value::Array(values) if several => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let Value::String(text) = value else {
                report.error(path.as_str(), format!("is {}; a string is expected", show(value)));
                continue;
            };
            let text = text.trim_matches([' ', '\t']);
            match edit_value_error(name, text) {
                Some(reason) => report.error(path.as_str(), reason),
                None => edits.push((name.into(), text.into())),
            }
        }
    }
}

/// What is wrong with the value of a field; it may be a secret and is not shown.
fn edit_value_error(name: &str, text: &str) -> Option<String> {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        Some("has a control character, which a field value cannot carry".to_owned())
    } else if text.len() > FIELD_VALUE_BYTES_MAX {
        Some(format!("has {} bytes; at most {FIELD_VALUE_BYTES_MAX} are allowed", text.len()))
    } else if name.eq_ignore_ascii_case("host") && !is_authority(text) {
        Some(format!("is {}; a host with an optional port is expected", quote(text)))
    } else {
        None
    }
}

fn is_authority(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// What is wrong with a field's name, as a predicate that follows it; `None`: nothing (RFC 9110 5.6.2).
pub(super) fn field_name_error(name: &str) -> Option<&'static str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(is_token) {
        return Some("is no name of a header field: letters, digits and hyphens are expected");
    }
    if OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Some("belongs to the connection or to framing, which the proxy decides");
    }
    None
}

fn edit_name_error(name: &str, host_allowed: bool) -> Option<&'static str> {
    if name.eq_ignore_ascii_case("host") && !host_allowed {
        return Some("can only be set, and only on requests");
    }
    field_name_error(name)
}

impl Middleware {
    /// The value to write, in vulcand's spelling and without defaults.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        if self.priority != 0 {
            value.insert("Priority".into(), self.priority.into());
        }
        let (kind, spec) = match &self.spec {
            MiddlewareSpec::Rewrite(spec) => ("rewrite", spec.to_map()),
            MiddlewareSpec::Redirect(spec) => ("redirect", spec.to_map()),
            MiddlewareSpec::Headers(spec) => ("headers", spec.to_map()),
        };
        value.insert("Type".into(), kind.into());
        value.insert("Middleware".into(), spec.into());
        value.into()
    }
}

impl RewriteSpec {
    fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("Regexp".into(), self.regexp.as_str().into());
        value.insert("Replacement".into(), self.replacement.text().into());
        if self.redirect {
            value.insert("Redirect".into(), true.into());
        }
        value
    }
}

impl RedirectSpec {
    fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        let (from, to) = self.prefix.as_ref().map(|(from, to)| (&**from, &**to)).unzip();
        for (name, text) in [
            ("Scheme", self.scheme.map(Scheme::as_str)),
            ("Host", self.host.as_ref().map(Template::text)),
            ("Path", self.path.as_ref().map(Template::text)),
            ("PrefixFrom", from),
            ("PrefixTo", to),
        ] {
            if let Some(text) = text {
                value.insert(name.into(), text.into());
            }
        }
        if let Some(port) = self.port {
            value.insert("Port".into(), port.into());
        }
        if self.drop_query {
            value.insert("DropQuery".into(), true.into());
        }
        if self.code != Self::default().code {
            value.insert("Code".into(), self.code.into());
        }
        value
    }
}

impl HeadersSpec {
    fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        for (name, edits) in [("Request", &self.request), ("Response", &self.response)] {
            let edits = edits.to_map();
            if !edits.is_empty() {
                value.insert(name.into(), edits.into());
            }
        }
        value
    }
}

impl HeaderEdits {
    /// Nothing is removed, set or added.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        for (name, pairs) in [("Set", &self.set), ("Add", &self.add)] {
            let mut fields: Map<String, Value> = Map::new();
            for (name, text) in pairs {
                match fields.get_mut(&**name) {
                    Some(Value::Array(values)) => values.push((&**text).into()),
                    Some(other) => *other = vec![other.take(), (&**text).into()].into(),
                    None => {
                        fields.insert((&**name).into(), (&**text).into());
                    }
                }
            }
            if !fields.is_empty() {
                value.insert(name.into(), fields.into());
            }
        }
        if !self.remove.is_empty() {
            value.insert("Remove".into(), self.remove.iter().map(|name| &**name).collect::<Vec<_>>().into());
        }
        value
    }
}
