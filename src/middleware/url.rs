//! The URL a client asked for, and the parts of one that a step built.

use crate::model::Scheme;
use std::net::Ipv6Addr;

/// `scheme://authority/target`, in parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Url<'a> {
    pub(super) scheme: Scheme,
    /// Host, and port where one was given; empty where the client named none.
    pub(super) authority: &'a str,
    /// Path and query; begins with a slash.
    pub(super) target: &'a str,
}

impl<'a> Url<'a> {
    /// Reads an absolute URL, whose authority may be empty. A target that lacks its slash is given as it stands: empty, or
    /// beginning with `?`. `None`: not such a URL, or bytes in it that a URL cannot have.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return None,
        };
        let (authority, target) = rest.split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len()))?;
        let valid = (authority.is_empty() || is_authority(authority)) && is_visible(target);
        valid.then_some(Self { scheme, authority, target })
    }

    /// Without brackets or port, and without a final dot.
    pub(super) fn host(&self) -> &'a str {
        let (host, _) = split_port(self.authority);
        host.strip_suffix('.').unwrap_or(host)
    }

    /// The port given, or the scheme's own.
    pub(super) fn port(&self) -> u16 {
        self.given_port().unwrap_or(self.scheme.default_port())
    }

    pub(super) fn given_port(&self) -> Option<u16> {
        split_port(self.authority).1.and_then(|port| port.parse().ok())
    }

    /// Both lead to the same place.
    pub(super) fn is_same(&self, other: &Url<'_>) -> bool {
        self.scheme == other.scheme
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
            && behind_slash(self.target) == behind_slash(other.target)
    }
}

fn behind_slash(target: &str) -> &str {
    target.strip_prefix('/').unwrap_or(target)
}

/// Host with its brackets, and the text of the port.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// A name or an address with an optional port; no user name.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = split_port(text);
    let valid_port =
        port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    let valid_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_host(host),
    };
    valid_port && valid_host
}

/// Letters, digits, `-`, `_` and single dots.
fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    !name.is_empty() && name.split('.').all(is_label)
}

/// Letters, digits, hyphens and underscores.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_label_byte)
}

pub(super) fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Visible ASCII characters, and none that browsers take for a slash or that ends a target.
pub(super) fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'<' | b'>' | b'`' | b'#'))
}
