//! `trace`: vulcand's record of every request, for syslog, a file or the standard output.

use super::field_name_error;
use crate::model::fields::{Fields, quote};
use serde_json::{Map, Value};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What is recorded, and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSpec {
    /// `ReqHeaders`: fields of the request that are recorded.
    pub request_headers: Vec<Box<str>>,
    /// `RespHeaders`: fields of the answer that are recorded.
    pub response_headers: Vec<Box<str>>,
    /// `Addr`.
    pub address: Arc<TraceAddress>,
}

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceAddress {
    text: Box<str>,
    /// What kind of place it is.
    pub target: TraceTarget,
}

/// Kinds of places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TraceTarget {
    /// `syslog://...`: RFC 3164 datagrams.
    Syslog {
        /// Who takes them.
        to: SyslogPlace,
        /// Facility and severity, as syslog has them.
        priority: u8,
        /// Stands before each record.
        prefix: Box<str>,
    },
    /// `file:///PATH`: a line each. The path is absolute and has no `..`.
    File(PathBuf),
    /// `stdout`: a line each.
    Stdout,
}

/// Who takes syslog datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SyslogPlace {
    /// `HOST:PORT` over UDP.
    Udp(Box<str>),
    /// The socket of a daemon on this machine.
    Socket(PathBuf),
    /// This machine's own, wherever it listens.
    Local,
}

/// vulcand's prefix, by which rsyslog finds the JSON.
const PREFIX: &str = "@cee: ";
const PREFIX_BYTES_MAX: usize = 64;
const SYSLOG_PORT: u16 = 514;

const SEVERITIES: [(&str, u8); 7] =
    [("ALERT", 1), ("CRIT", 2), ("ERR", 3), ("WARNING", 4), ("NOTICE", 5), ("INFO", 6), ("DEBUG", 7)];
const FACILITIES: [(&str, u8); 19] = [
    ("USER", 1),
    ("MAIL", 2),
    ("DAEMON", 3),
    ("AUTH", 4),
    ("SYSLOG", 5),
    ("LPR", 6),
    ("NEWS", 7),
    ("UUCP", 8),
    ("CRON", 9),
    ("AUTHPRIV", 10),
    ("FTP", 11),
    ("LOG_LOCAL0", 16),
    ("LOG_LOCAL1", 17),
    ("LOG_LOCAL2", 18),
    ("LOG_LOCAL3", 19),
    ("LOG_LOCAL4", 20),
    ("LOG_LOCAL5", 21),
    ("LOG_LOCAL6", 22),
    ("LOG_LOCAL7", 23),
];

impl TraceAddress {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn parse(text: &str) -> Result<Self, String> {
        let target = if text == "stdout" {
            TraceTarget::Stdout
        } else if let Some(path) = text.strip_prefix("file://") {
            let path = Path::new(path);
            let plain =
                path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            if !path.is_absolute() || !plain || path.file_name().is_none() || text.contains('\0') {
                return Err(
                    "is no file: an absolute path without `..` is expected, like `file:///var/log/a`".into(),
                );
            }
            TraceTarget::File(path.into())
        } else if let Some(rest) = text.strip_prefix("syslog://") {
            syslog(rest)?
        } else {
            return Err(
                "is no place for traces: `syslog://[HOST:PORT][/PATH]`, `file:///PATH` or `stdout` is \
                        expected"
                    .into(),
            );
        };
        Ok(Self { text: text.into(), target })
    }
}

fn syslog(rest: &str) -> Result<TraceTarget, String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let to = match (host, path) {
        ("", "" | "/") => SyslogPlace::Local,
        ("", path) => SyslogPlace::Socket(path.into()),
        (host, _) => {
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) if !port.contains(']') => (name, Some(port)),
                _ => (host, None),
            };
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
            let port = port.map_or(Ok(SYSLOG_PORT), str::parse);
            match port {
                Ok(port) if port > 0 && !name.is_empty() && name.bytes().all(fits) => {
                    SyslogPlace::Udp(format!("{name}:{port}").into())
                }
                _ => return Err("names no host and port, like `syslog://logs.example:514`".into()),
            }
        }
    };
    let (mut facility, mut severity, mut prefix) = (16, 7, PREFIX.to_owned());
    let of = |table: &[(&str, u8)], value: &str, what: &str| {
        let found = table.iter().find(|(name, _)| *name == value).map(|(_, number)| *number);
        found.ok_or_else(|| {
            let names = table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            format!("has the {what} {}; one of {names} is expected", quote(value))
        })
    };
    for (name, value) in
        query.split('&').filter(|pair| !pair.is_empty()).map(|it| it.split_once('=').unwrap_or((it, "")))
    {
        match name {
            _ if value.is_empty() => {}
            "f" => facility = of(&FACILITIES, value, "facility")?,
            "sev" => severity = of(&SEVERITIES, value, "severity")?,
            "prefix" => prefix = decoded(value).ok_or("has a prefix that cannot stand in a line")?,
            other => return Err(format!("has {}; f, sev and prefix are known", quote(other))),
        }
    }
    Ok(TraceTarget::Syslog { to, priority: facility * 8 + severity, prefix: prefix.into() })
}

/// A value of a query; `None`: it is too long, or has bytes that are no text or no part of a line.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    let text = String::from_utf8(bytes).ok()?;
    (text.len() <= PREFIX_BYTES_MAX && !text.chars().any(char::is_control)).then_some(text)
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<TraceSpec> {
    let request_headers = read_names(fields, "ReqHeaders");
    let response_headers = read_names(fields, "RespHeaders");
    let text = fields.required_text("Addr", "where traces go is expected, like `syslog:///dev/log`")?;
    match TraceAddress::parse(text) {
        Ok(address) => Some(TraceSpec { request_headers, response_headers, address: address.into() }),
        Err(reason) => {
            fields.error("Addr", format!("{} {reason}", quote(text)));
            None
        }
    }
}

/// Names of fields, which may be any: nothing is changed.
fn read_names(fields: &mut Fields<'_>, list: &'static str) -> Vec<Box<str>> {
    let mut names = Vec::new();
    for (path, name) in fields.texts(list) {
        let wrong = field_name_error(name).filter(|reason| reason.starts_with("is no name"));
        match wrong {
            Some(reason) => fields.report().error(path, format!("{} {reason}", quote(name))),
            None => names.push(name.into()),
        }
    }
    names
}

impl TraceSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        for (name, list) in [("ReqHeaders", &self.request_headers), ("RespHeaders", &self.response_headers)] {
            if !list.is_empty() {
                value.insert(name.into(), list.iter().map(|it| &**it).collect::<Vec<_>>().into());
            }
        }
        value.insert("Addr".into(), self.address.text().into());
        value
    }
}
