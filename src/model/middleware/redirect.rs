//! `redirect`: to another scheme, host, port or path.

use super::is_path_byte;
use crate::model::fields::{Fields, not_one_of, quote};
use crate::model::server::{Scheme, is_host_name};
use crate::model::template::{Piece, Template};
use serde_json::{Map, Value};
use std::net::Ipv6Addr;

const CODES: [u16; 5] = [301, 302, 303, 307, 308];

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

pub(super) fn read(fields: &mut Fields<'_>) -> Option<RedirectSpec> {
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

impl RedirectSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
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
