//! Request targets (RFC 9112 section 3.2) and authorities.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::Method;
use super::syntax;

/// Longest host name in bytes (RFC 1035 section 2.3.4, with room for a final dot).
const HOST_BYTES_MAX: usize = 255;

/// Where the parts of a target lie in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/path?query`, or `*` for OPTIONS.
    Origin,
    /// `http://authority/path?query`: the authority, and where the path begins. No path: what follows the authority
    /// is empty or begins with `?`.
    Absolute { authority: Range<usize>, path: usize },
    /// `host:port`, for CONNECT.
    Authority,
}

/// Which form a target has; `None` where it has none that its method allows, or a byte that may not stand in it.
pub(super) fn form(target: &[u8], method: Method) -> Option<Target> {
    let (valid, percent) = syntax::target_bytes(target);
    if !valid || (percent && method != Method::Connect && has_encoded_nul(target)) {
        return None;
    }
    match target {
        _ if method == Method::Connect => Some(Target::Authority),
        [b'/', ..] => Some(Target::Origin),
        b"*" => (method == Method::Options).then_some(Target::Origin),
        _ => {
            let start = [b"http://".as_slice(), b"https://"]
                .iter()
                .find(|scheme| target.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))?
                .len();
            let rest = target.get(start..)?;
            let path = start + rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
            Some(Target::Absolute { authority: start..path, path })
        }
    }
}

/// Whether the path has a `%00`. In a query it is data; in a path it ends the name for whoever decodes it into a file.
fn has_encoded_nul(target: &[u8]) -> bool {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    target.get(..end).unwrap_or_default().windows(3).any(|three| three == b"%00")
}

/// Where the host lies in a valid authority.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// The host without brackets and without a final dot.
    pub(super) host: Range<usize>,
    /// It has capitals.
    pub(super) capitals: bool,
    /// A port is given.
    pub(super) port: bool,
}

/// Reads `host` or `host:port`: a name of letters, digits, `-`, `_` and single dots, an IPv4 address, or an IPv6
/// address in brackets; a port up to 65535. User information, empty hosts and empty ports are refused.
pub(super) fn authority(text: &[u8]) -> Option<Authority> {
    if let [b'[', rest @ ..] = text {
        let length = memchr::memchr(b']', rest)?;
        let inner = rest.get(..length)?;
        std::str::from_utf8(inner).ok()?.parse::<Ipv6Addr>().ok()?;
        let port = port(rest.get(length + 1..)?)?;
        return Some(Authority {
            host: 1..1 + length,
            capitals: inner.iter().any(u8::is_ascii_uppercase),
            port,
        });
    }
    let (length, capitals) = syntax::host_name(text);
    let port = port(text.get(length..)?)?;
    let end = if text.get(..length)?.ends_with(b".") { length - 1 } else { length };
    (end > 0 && length <= HOST_BYTES_MAX).then_some(Authority { host: 0..end, capitals, port })
}

/// Whether a port is given in what follows a host; `None` where that is no port.
fn port(text: &[u8]) -> Option<bool> {
    let digits = match text {
        [] => return Some(false),
        [b':', digits @ ..] => digits,
        _ => return None,
    };
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    let mut port = 0_u32;
    for b in digits {
        if !b.is_ascii_digit() {
            return None;
        }
        port = port * 10 + u32::from(b - b'0');
    }
    (port <= 65_535).then_some(true)
}
