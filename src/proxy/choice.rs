//! What a request says about where it goes: to which part of a split, to which server, and how long that may take.

use super::exchange::Times;
use super::passage::Passage;
use super::request::scheme;
use crate::message::{RequestHead, ResponseHead, Version};
use crate::model::{BackendId, ClientKey, FrontendSettings, Pin, Policy, Split};
use crate::upstream::{Backend, mix};
use std::net::IpAddr;
use std::time::Duration;

/// Longest `grpc-timeout` that is believed.
const GRPC_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The backend of a split: the first part whose pin fits; else by the client's key, or by chance where it has none.
pub(super) fn part_of<'s>(
    split: &'s Split,
    head: &RequestHead,
    client: Option<IpAddr>,
    random: u64,
) -> Option<&'s BackendId> {
    let pinned = split.parts.iter().find(|part| part.pin.as_ref().is_some_and(|pin| fits(pin, head)));
    if let Some(part) = pinned {
        return Some(&part.backend);
    }
    split.at(split.by.as_ref().and_then(|by| client_key(by, head, client)).unwrap_or(random))
}

fn fits(pin: &Pin, head: &RequestHead) -> bool {
    match pin {
        Pin::Header(name, value) => head.fields.get_all(name).any(|found| found == value.as_bytes()),
        Pin::Cookie(name, value) => cookie(head, name).any(|found| found == &**value),
    }
}

/// The values of a request's cookies of one name.
pub(super) fn cookie<'h>(head: &'h RequestHead, name: &str) -> impl Iterator<Item = &'h str> {
    head.cookies().filter(move |(found, _)| *found == name).map(|(_, value)| value)
}

/// The number that stands for a request's client; the same in every process. `None`: the request lacks what tells.
pub(super) fn client_key(key: &ClientKey, head: &RequestHead, client: Option<IpAddr>) -> Option<u64> {
    Some(match key {
        ClientKey::Ip => match client?.to_canonical() {
            IpAddr::V4(ip) => spread(&ip.octets()),
            IpAddr::V6(ip) => spread(&ip.octets()),
        },
        ClientKey::Path => spread(head.path().as_bytes()),
        ClientKey::Header(name) => spread(head.fields.get(name)?),
        ClientKey::Cookie(name) => spread(cookie(head, name).next()?.as_bytes()),
    })
}

/// Notes what the request says about its server, where the backend asks.
pub(super) fn note(passage: &mut Passage, backend: &Backend) {
    let settings = &backend.settings;
    if let Policy::Hash(key) = &settings.balance.policy {
        passage.client_key = client_key(key, &passage.head, passage.client_ip);
    }
    if let Some(sticky) = &settings.sticky {
        let key = &passage.worker.shared.sticky_key;
        let mut known = cookie(&passage.head, &sticky.cookie).filter_map(|it| key.decode(&backend.id, it));
        passage.sticky = known.next();
    }
}

/// Tells the client which server it had, where its backend is sticky and its cookie does not say so already.
pub(super) fn bind(passage: &Passage, head: &mut ResponseHead) {
    let (Some((backend, _)), Some((server, _))) = (&passage.backend, &passage.server) else { return };
    let Some(sticky) = &backend.settings.sticky else { return };
    if passage.sticky == Some(server.hash()) {
        return;
    }
    let value = passage.worker.shared.sticky_key.encode(&backend.id, &server.id);
    let mut cookie = format!("{}={value}; Path=/; HttpOnly; SameSite={}", sticky.cookie, sticky.same_site);
    if let Some(age) = sticky.max_age {
        cookie.push_str(&format!("; Max-Age={}", age.as_secs()));
    }
    if scheme(passage) == "https" {
        cookie.push_str("; Secure");
    }
    // Names and values are tokens.
    let _ = head.fields.add("Set-Cookie", cookie.as_bytes());
}

/// FNV-1a, with its bits mixed so that the high ones are as good as the low ones.
fn spread(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    mix(hash)
}

/// The time limits of an attempt: the frontend's before the backend's, and for gRPC the call's own deadline in place of
/// both, since a call may rightly be silent until then.
pub(super) fn times(passage: &Passage, backend: &Backend, settings: Option<&FrontendSettings>) -> Times {
    let deadline = passage.head.fields.get("grpc-timeout").and_then(grpc_timeout);
    let worker = passage.worker.settings();
    let answer = settings.and_then(|own| own.response_timeout).unwrap_or(backend.settings.timeouts.read);
    let idle = settings.and_then(|own| own.idle_timeout).unwrap_or(worker.idle_timeout);
    // Its calls may say little for long before they are answered.
    let grpc = passage.head.version == Version::H2
        && passage.head.fields.get("content-type").is_some_and(|it| it.starts_with(b"application/grpc"));
    Times {
        body_rate: if grpc { 0 } else { worker.body_rate_min },
        ends: worker.request_timeout.map(|most| passage.started + most),
        answer: deadline.unwrap_or(answer),
        idle: deadline.map_or(idle, |deadline| deadline.max(idle)),
        drain: backend.settings.timeouts.drain,
        continued: worker.continue_timeout,
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let number: u64 = std::str::from_utf8(digits).ok().filter(|text| text.len() <= 8)?.parse().ok()?;
    let timeout = match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    };
    Some(timeout.min(GRPC_TIMEOUT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        let check = |text: &str, expected: Option<Duration>| {
            assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text}");
        };
        check("1S", Some(Duration::from_secs(1)));
        check("250m", Some(Duration::from_millis(250)));
        check("99999999H", Some(GRPC_TIMEOUT_MAX));
        check("7n", Some(Duration::from_nanos(7)));
        for text in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S"] {
            check(text, None);
        }
    }

    #[test]
    fn numbers_of_clients_are_spread_over_all_points() {
        let mut quarters = [0; 4];
        for last in 0..=255 {
            quarters[(spread(&[10, 0, 0, last]) >> 62) as usize] += 1;
        }
        assert!(quarters.iter().all(|count| (40..=90).contains(count)), "{quarters:?}");
    }
}
