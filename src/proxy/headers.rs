//! What the proxy says about the client to the server, and takes away from what the client says of itself.

use super::passage::Passage;
use super::trust::Trust;
use super::tunnel;
use crate::message::{Known, Method, RequestHead, Version};
use crate::model::FrontendSettings;

/// Fields that only a trusted client may set.
const FORWARDED: [Known; 7] = [
    Known::XForwardedFor,
    Known::XForwardedProto,
    Known::XForwardedHost,
    Known::XForwardedPort,
    Known::XForwardedServer,
    Known::XRealIp,
    Known::Forwarded,
];

/// Removes what concerned only the client's connection (RFC 9110 section 7.6.1) and sets the forwarding fields as
/// vulcand does: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `-Server` and `X-Real-Ip`; `Forwarded` (RFC 7239) and
/// a request id where the frontend asks for them.
pub(super) fn prepare(passage: &mut Passage, settings: &FrontendSettings) {
    let websocket = tunnel::is_allowed(&passage.head);
    let head = &mut passage.head;
    head.fields.remove_hop_by_hop();
    if passage.trust == Trust::Nobody {
        FORWARDED.into_iter().for_each(|known| head.fields.remove_known(known));
    }
    let client = &*passage.client.address_text;
    let secure = passage.client.tls.is_some();
    append_client(head, client);
    match passage.client_ip {
        // What a listed proxy says of its client stands in `X-Forwarded-For`; anyone may have written this one.
        Some(ip) if passage.trust == Trust::Listed => {
            head.fields.set_known(Known::XRealIp, |out| out.extend_from_slice(ip.to_string().as_bytes()));
        }
        _ => keep_or_set(head, Known::XRealIp, |out| out.extend_from_slice(client.as_bytes())),
    }
    let told = head.fields.known(Known::XForwardedProto);
    let told_secure = told.map_or(secure, |told| matches!(told, b"https" | b"wss"));
    if websocket || told.is_none() {
        let proto: &[u8] = match (websocket, told_secure) {
            (false, false) => b"http",
            (false, true) => b"https",
            (true, false) => b"ws",
            (true, true) => b"wss",
        };
        head.fields.set_known(Known::XForwardedProto, |out| out.extend_from_slice(proto));
    }
    // A trusted proxy before us may have ended the client's TLS.
    let port = port_of(head.authority(), secure || told_secure);
    keep_or_set(head, Known::XForwardedPort, |out| {
        out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    });
    if !head.authority().is_empty() {
        let authority = smallvec::SmallVec::<[u8; 64]>::from_slice(head.authority().as_bytes());
        keep_or_set(head, Known::XForwardedHost, |out| out.extend_from_slice(&authority));
    }
    if let Some(hostname) = &settings.hostname {
        head.fields.set_known(Known::XForwardedServer, |out| out.extend_from_slice(hostname.as_bytes()));
    }
    append_via(passage);
    if settings.forwarded {
        add_forwarded(passage);
    }
    if let Some(name) = &settings.request_id {
        let id = passage.id_text();
        let known = passage.trust != Trust::Nobody;
        let fields = &mut passage.head.fields;
        if !known || fields.get(name).is_none() {
            fields.set_with(name, |out| out.extend_from_slice(id.as_str().as_bytes()));
        }
    }
}

fn keep_or_set(head: &mut RequestHead, known: Known, write: impl FnOnce(&mut Vec<u8>)) {
    if !head.fields.contains(known) {
        head.fields.set_known(known, write);
    }
}

/// Adds the client's address to what a trusted client said, or begins the list.
fn append_client(head: &mut RequestHead, client: &str) {
    let before = head.fields.known_all(Known::XForwardedFor).map(<[u8]>::to_vec).collect::<Vec<_>>();
    head.fields.set_known(Known::XForwardedFor, |out| {
        for earlier in before {
            out.extend_from_slice(&earlier);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(client.as_bytes());
    });
}

/// Adds this process to the list of those the request came through (RFC 9110 section 7.6.3).
fn append_via(passage: &mut Passage) {
    let head = &mut passage.head;
    let before = head.fields.known_all(Known::Via).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let version: &[u8] = match head.version {
        Version::H10 => b"1.0 ",
        Version::H11 => b"1.1 ",
        Version::H2 => b"2 ",
    };
    let name = &passage.worker.shared.via;
    head.fields.set_known(Known::Via, |out| {
        for earlier in before {
            out.extend_from_slice(&earlier);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(version);
        out.extend_from_slice(name.as_bytes());
    });
}

/// Whether the request has come through this very process before.
pub(super) fn loops(passage: &Passage) -> bool {
    let name = passage.worker.shared.via.as_bytes();
    passage.head.fields.known_all(Known::Via).any(|via| memchr::memmem::find(via, name).is_some())
}

/// Whom a request that goes along with this one came through, this process in any case: a step may have taken it away.
pub(super) fn vias(passage: &Passage) -> Vec<Vec<u8>> {
    let mut vias: Vec<_> = passage.head.fields.known_all(Known::Via).map(<[u8]>::to_vec).collect();
    if !loops(passage) {
        vias.push([b"1.1 ", passage.worker.shared.via.as_bytes()].concat());
    }
    vias
}

/// What `Max-Forwards` of an OPTIONS request asks for (RFC 9110 section 7.6.2): one less is written into the head, and
/// at 0 the request is to be answered here.
pub(super) fn is_last_hop(head: &mut RequestHead) -> bool {
    if !matches!(head.method_kind, Method::Options) {
        return false;
    }
    let told = head.fields.known(Known::MaxForwards).and_then(|value| std::str::from_utf8(value).ok());
    // A value that is no number means nothing.
    let Some(left) = told.and_then(|value| value.parse::<u32>().ok()) else { return false };
    let Some(left) = left.checked_sub(1) else { return true };
    head.fields.set_known(Known::MaxForwards, |out| {
        out.extend_from_slice(itoa::Buffer::new().format(left).as_bytes());
    });
    false
}

/// The port the client meant: the one it named, or its scheme's, as vulcand has it.
fn port_of(authority: &str, secure: bool) -> u16 {
    let named = authority.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    named.and_then(|(_, port)| port.parse().ok()).unwrap_or(if secure { 443 } else { 80 })
}

/// Adds our element (RFC 7239 section 4); IPv6 addresses are quoted and bracketed.
fn add_forwarded(passage: &mut Passage) {
    let before = passage.head.fields.known(Known::Forwarded).map(<[u8]>::to_vec);
    let host = passage.head.authority().to_owned();
    let scheme = passage.client.scheme();
    let client = &passage.client.address_text;
    passage.head.fields.set_with("Forwarded", |out| {
        if let Some(before) = before {
            out.extend_from_slice(&before);
            out.extend_from_slice(b", ");
        }
        let element = match client.contains(':') {
            true => format!("for=\"[{client}]\";host=\"{host}\";proto={scheme}"),
            false => format!("for={client};host=\"{host}\";proto={scheme}"),
        };
        out.extend_from_slice(element.as_bytes());
    });
}

/// Whether the client's connection can stay open after the answer, as far as its version goes.
pub(super) fn may_stay_open(head: &RequestHead) -> bool {
    head.keep_alive && head.version != Version::H2
}

#[cfg(test)]
mod tests {
    use super::port_of;

    #[test]
    fn the_port_is_the_one_the_client_meant() {
        let check = |authority, secure, port| assert_eq!(port_of(authority, secure), port, "{authority}");
        check("a.example", false, 80);
        check("a.example", true, 443);
        check("a.example:8080", true, 8080);
        check("[::1]", false, 80);
        check("[::1]:81", false, 81);
        check("", true, 443);
    }
}
