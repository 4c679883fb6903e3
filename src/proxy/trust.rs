//! Whom to believe about a request's client: proxies before this one, where they are known by their addresses.

use super::passage::Passage;
use crate::message::{Known, RequestHead};
use crate::model::{FrontendSettings, is_listed};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Most entries of `X-Forwarded-For` that are walked back.
const HOPS_MAX: usize = 32;

/// What a request says of its client is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nothing; it is taken away.
    Nobody,
    /// The frontend has it kept, whoever says it; the client is who is connected.
    Anyone,
    /// It comes from a listed proxy, and is kept; the client is who that says.
    Listed,
}

/// Settles the client's address by the networks that count for all frontends, before a route is known.
pub(super) fn begin(passage: &mut Passage) {
    let worker = &passage.worker;
    let networks = &*worker.settings().trusted_proxies;
    if !networks.is_empty() {
        passage.client_ip = client(&passage.head, passage.client.ip(), networks);
    }
}

/// Settles it by what counts for the frontend, and whether the forwarding fields are believed.
pub(super) fn settle(passage: &mut Passage, settings: &FrontendSettings) {
    let own = settings.trusted_proxies.as_deref();
    let networks = own.unwrap_or(&passage.worker.settings().trusted_proxies);
    let peer = passage.client.ip();
    passage.trust = match networks.is_empty() {
        true if settings.trust_forward_header => Trust::Anyone,
        false if is_listed(peer, networks) => Trust::Listed,
        _ => Trust::Nobody,
    };
    if let Some(own) = own {
        passage.client_ip = client(&passage.head, peer, own);
    }
}

/// Who is behind a listed `peer`: the first address from the right of `X-Forwarded-For` that is not listed, or else the
/// leftmost. A list that is malformed there, or too long, tells nothing: it is the peer.
fn client(head: &RequestHead, peer: Option<IpAddr>, networks: &[IpNet]) -> Option<IpAddr> {
    if !is_listed(peer, networks) {
        return peer;
    }
    let lines: smallvec::SmallVec<[&[u8]; 4]> = head.fields.known_all(Known::XForwardedFor).collect();
    let entries = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let mut furthest = peer;
    for (place, entry) in entries.enumerate() {
        let Some(address) = address(entry).filter(|_| place < HOPS_MAX) else { return peer };
        furthest = Some(address);
        if !is_listed(furthest, networks) {
            break;
        }
    }
    furthest
}

/// `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]` or `[2001:db8::7]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let found = match bare {
        Some(bare) => bare.parse().ok(),
        None => text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|found| found.ip())),
    };
    found.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Limits, Scan, Spare};

    #[track_caller]
    fn check(peer: &str, lines: &[&str], expected: &str) {
        let mut text = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        for line in lines {
            text.extend_from_slice(format!("X-Forwarded-For: {line}\r\n").as_bytes());
        }
        text.extend_from_slice(b"\r\n");
        let limits = Limits { head_bytes: 1 << 20, ..Limits::default() };
        let head = RequestHead::read(&mut text, &mut Scan::default(), &mut Spare::default(), &limits);
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        let found = client(&head.unwrap().unwrap(), Some(peer.parse().unwrap()), &networks);
        assert_eq!(found, Some(expected.parse().unwrap()), "{peer} {lines:?}");
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_listed_proxy() {
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.7"], "192.0.2.7");
        check("10.0.0.1", &["1.1.1.1, 192.0.2.7"], "192.0.2.7");
        check("10.0.0.1", &["1.1.1.1, 192.0.2.7,10.2.3.4 , 2001:db8::9"], "192.0.2.7");
        check("10.0.0.1", &["1.1.1.1", "192.0.2.7", "10.2.3.4"], "192.0.2.7");
        check("10.0.0.1", &["10.9.9.9, 10.2.3.4"], "10.9.9.9");
        check("2001:db8::1", &["[2001:db8:1::9]:80, [2001:db9::7]:443"], "2001:db9::7");
        check("10.0.0.1", &["[2001:db9::7]"], "2001:db9::7");
        check("10.0.0.1", &["192.0.2.7:5000"], "192.0.2.7");
        check("10.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7");
        // Who is not listed is believed nothing.
        check("192.0.2.1", &["1.1.1.1"], "192.0.2.1");
        // What does not need to be read may be anything.
        check("10.0.0.1", &["nonsense, 192.0.2.7"], "192.0.2.7");
        for malformed in
            ["unknown", "192.0.2.7, ", "192.0.2.7, _hidden, 10.0.0.2", "192.0.2", "", "[192.0.2.7"]
        {
            check("10.0.0.1", &[malformed], "10.0.0.1");
        }
        let long = "10.0.0.2, ".repeat(HOPS_MAX);
        check("10.0.0.1", &[&format!("192.0.2.7, {}", long.trim_end_matches(", "))], "10.0.0.1");
        check(
            "10.0.0.1",
            &[&format!("192.0.2.7, {}10.0.0.2", "10.0.0.2, ".repeat(HOPS_MAX - 2))],
            "192.0.2.7",
        );
    }
}
