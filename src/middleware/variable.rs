//! What of a request a limit counts by.

use super::RequestContext;
use crate::message::RequestHead;
use crate::meter::Key;
use crate::model::{Variable, VariableSpec};
use std::net::{IpAddr, Ipv6Addr};

/// The key of a request; one that lacks the variable has the key of the empty text.
pub(super) fn key(by: &VariableSpec, request: &RequestHead, context: &RequestContext<'_>) -> Key {
    let value = match &by.variable {
        Variable::ClientIp => return client_key(context.client, by.ipv6_prefix),
        Variable::Host => request.host().as_bytes(),
        Variable::Header(name) => request.fields.get(name).unwrap_or_default(),
        Variable::Cookie(name) => {
            let cookie = request.cookies().find(|(known, _)| *known == &**name);
            cookie.map(|(_, value)| value.as_bytes()).unwrap_or_default()
        }
    };
    Key::of(value)
}

fn client_key(client: Option<IpAddr>, ipv6_prefix: u8) -> Key {
    match client.map(|client| client.to_canonical()) {
        // Over a Unix socket.
        None => Key::of(&b""[..]),
        Some(IpAddr::V4(client)) => Key::of(client),
        Some(IpAddr::V6(client)) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix.min(128))).unwrap_or(0);
            Key::of(Ipv6Addr::from_bits(client.to_bits() & kept))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_their_prefix() {
        let same = |one: &str, other: &str, prefix: u8| {
            let key = |text: &str| client_key(Some(text.parse().unwrap()), prefix);
            key(one) == key(other)
        };
        for (one, other, prefix, expected) in [
            ("192.0.2.1", "192.0.2.1", 64, true),
            ("192.0.2.1", "192.0.2.2", 1, false),
            ("192.0.2.1", "::ffff:192.0.2.1", 64, true),
            ("2001:db8::1", "2001:db8::2", 128, false),
            ("2001:db8::1", "2001:db8::2", 64, true),
            ("2001:db8::1", "2001:db8:0:1::1", 64, false),
            ("2001:db8::1", "2001:db8:0:1::1", 63, true),
            ("8000::", "7fff::", 1, false),
        ] {
            assert_eq!(same(one, other, prefix), expected, "{one} {other} /{prefix}");
        }
        assert_ne!(client_key(None, 128), client_key(Some(IpAddr::from([0, 0, 0, 0])), 128));
    }
}
