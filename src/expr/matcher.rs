//! What a route asks of a request.

use super::pattern::Pattern;
use super::shape::{HostPattern, PathPattern};
use super::text::quoted;
use ipnet::IpNet;
use std::fmt::{self, Write as _};

/// One question about a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Matcher {
    /// The host, without port, in lower case.
    Host(HostPattern),
    /// The host; matches anywhere in it unless anchored, as in Go.
    HostRegexp(Pattern),
    /// The whole path as it was sent.
    Path(PathPattern),
    /// The path's first segments.
    PathPrefix(PathPattern),
    /// The path; matches anywhere in it unless anchored, as in Go. Also a `Path` with `<path:..>` within a segment.
    PathRegexp(Pattern),
    /// The method; methods know upper and lower case (RFC 9110, 9.1).
    Method(Box<str>),
    /// The method; matches anywhere in it unless anchored, as in Go.
    MethodRegexp(Pattern),
    /// A field line of that name, in lower case here, has exactly this value. Each line is judged on its own and
    /// whole; a list in one line is not taken apart.
    Header(Box<str>, Box<str>),
    /// As [`Matcher::Header`], with a regular expression for the value; also a `Header` whose value has parameters.
    HeaderRegexp(Box<str>, Pattern),
    /// A query parameter of that name has exactly this value; both are compared as they were sent.
    Query(Box<str>, Box<str>),
    /// A cookie of that name has exactly this value.
    Cookie(Box<str>, Box<str>),
    /// The client's address lies in this network. IPv4 mapped into IPv6 counts as IPv4.
    ClientIp(IpNet),
}

/// The names of all matchers.
pub(super) const NAMES: [&str; 12] = [
    "Host",
    "HostRegexp",
    "Path",
    "PathPrefix",
    "PathRegexp",
    "Method",
    "MethodRegexp",
    "Header",
    "HeaderRegexp",
    "Query",
    "Cookie",
    "ClientIP",
];

impl Matcher {
    /// Its name in an expression.
    pub fn name(&self) -> &'static str {
        match self {
            Matcher::Host(_) => "Host",
            Matcher::HostRegexp(_) => "HostRegexp",
            Matcher::Path(_) => "Path",
            Matcher::PathPrefix(_) => "PathPrefix",
            Matcher::PathRegexp(_) => "PathRegexp",
            Matcher::Method(_) => "Method",
            Matcher::MethodRegexp(_) => "MethodRegexp",
            Matcher::Header(..) => "Header",
            Matcher::HeaderRegexp(..) => "HeaderRegexp",
            Matcher::Query(..) => "Query",
            Matcher::Cookie(..) => "Cookie",
            Matcher::ClientIp(_) => "ClientIP",
        }
    }

    /// Whether it is about the host.
    pub fn is_host(&self) -> bool {
        matches!(self, Matcher::Host(_) | Matcher::HostRegexp(_))
    }

    /// Whether it is about the path.
    pub fn is_path(&self) -> bool {
        matches!(self, Matcher::Path(_) | Matcher::PathPrefix(_) | Matcher::PathRegexp(_))
    }

    /// Place in a normalised conjunction: what indexes best comes first.
    pub(super) fn order(&self) -> u8 {
        match self {
            Matcher::Host(host) => host.kind() as u8,
            Matcher::HostRegexp(_) => 3,
            Matcher::Path(path) => 4 + u8::from(!path.is_literal()),
            Matcher::PathPrefix(_) => 6,
            Matcher::PathRegexp(_) => 7,
            Matcher::Method(_) => 8,
            Matcher::MethodRegexp(_) => 9,
            Matcher::Header(..) => 10,
            Matcher::HeaderRegexp(..) => 11,
            Matcher::Query(..) => 12,
            Matcher::Cookie(..) => 13,
            Matcher::ClientIp(_) => 14,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name())?;
        match self {
            Matcher::Host(host) => quote(f, host)?,
            Matcher::Path(path) | Matcher::PathPrefix(path) => quote(f, path)?,
            Matcher::HostRegexp(pattern) | Matcher::PathRegexp(pattern) | Matcher::MethodRegexp(pattern) => {
                quote(f, pattern)?;
            }
            Matcher::Method(method) => quote(f, method)?,
            Matcher::Header(name, value) | Matcher::Query(name, value) | Matcher::Cookie(name, value) => {
                quote(f, name)?;
                f.write_str(", ")?;
                quote(f, value)?;
            }
            Matcher::HeaderRegexp(name, pattern) => {
                quote(f, name)?;
                f.write_str(", ")?;
                quote(f, pattern)?;
            }
            Matcher::ClientIp(net) if net.prefix_len() == net.max_prefix_len() => quote(f, &net.addr())?,
            Matcher::ClientIp(net) => quote(f, net)?,
        }
        f.write_char(')')
    }
}

fn quote(f: &mut fmt::Formatter<'_>, value: &dyn fmt::Display) -> fmt::Result {
    f.write_str(&quoted(&value.to_string()))
}

/// A matcher, or its opposite.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The request must not match.
    pub negated: bool,
    /// What is asked.
    pub matcher: Matcher,
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negated {
            f.write_char('!')?;
        }
        self.matcher.fmt(f)
    }
}
