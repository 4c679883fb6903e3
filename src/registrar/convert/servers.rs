//! The servers of a backend, from the endpoints of a Service.

use super::Converted;
use super::annotations::Entry;
use crate::model::{BackendId, ObjectKey, Scheme, ServerId, ServerState, ServerUrl};
use crate::registrar::seen::{PortRef, Readiness, Service, ServicePort, Slice};
use crate::registrar::unit::Source;
use crate::registrar::world::World;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The port of a Service that somebody means.
pub(super) fn port<'s>(service: &'s Service, wanted: &PortRef) -> Option<&'s ServicePort> {
    service.ports.iter().find(|port| match wanted {
        PortRef::Number(number) => port.port == *number,
        PortRef::Name(name) => port.name.as_ref() == Some(name),
    })
}

/// Servers to be, by address: whether they may get requests, and their zone.
pub(super) type Found = BTreeMap<SocketAddr, (ServerState, Option<Box<str>>)>;

/// Where the endpoints of a Service's port are, in the Service's first family of addresses unless another is asked for:
/// true is IPv6. `port` is the port's name.
///
/// An endpoint that ends is draining, but where no other is ready those that still answer go on, as kube-proxy has it.
/// One that is not ready is not there.
pub(super) fn endpoints_of(
    world: &World,
    service: &Service,
    port: Option<&str>,
    ipv6: Option<bool>,
) -> Found {
    let numbers = |slice: &Slice| -> Vec<u16> {
        slice.ports.iter().filter(|it| it.name.as_deref() == port).map(|it| it.port).collect()
    };
    found(world, service, ipv6, numbers)
}

/// The endpoints of a Service without ports, at a number of their own.
pub(super) fn endpoints_at(world: &World, service: &Service, number: u16, ipv6: Option<bool>) -> Found {
    found(world, service, ipv6, |_| vec![number])
}

fn found(
    world: &World,
    service: &Service,
    ipv6: Option<bool>,
    numbers: impl Fn(&Slice) -> Vec<u16>,
) -> Found {
    let mut found: BTreeMap<SocketAddr, (Readiness, Option<Box<str>>)> = BTreeMap::new();
    for slice in world.slices(&service.meta.name) {
        for number in numbers(slice) {
            // Whoever may write a slice must not reach what listens there, whatever the API server lets pass.
            for endpoint in slice.endpoints.iter().filter(|it| !is_own_address(it.address)) {
                let address = SocketAddr::new(endpoint.address, number);
                // An endpoint may stand in two slices for a while; the better word counts.
                let entry = found.entry(address).or_insert((Readiness::NotReady, None));
                entry.0 = entry.0.min(endpoint.readiness);
                entry.1 = entry.1.take().or_else(|| endpoint.zone.clone());
            }
        }
    }
    // A pod with two addresses is one server.
    let usual = service.prefers_ipv6;
    let ipv6 = ipv6.or_else(|| found.keys().any(|it| it.is_ipv6() == usual).then_some(usual));
    found.retain(|address, _| ipv6.is_none_or(|ipv6| address.is_ipv6() == ipv6));
    let has_ready = found.values().any(|(readiness, _)| *readiness == Readiness::Ready);
    let placed = |(address, (readiness, zone))| Some((address, (state(readiness, has_ready)?, zone)));
    found.into_iter().filter_map(placed).collect()
}

/// The family of addresses that an annotation asks for; true is IPv6.
pub(super) fn family(about: &Source, entry: Option<Entry<'_>>, converted: &mut Converted) -> Option<bool> {
    let entry = entry?;
    match entry.text {
        "ipv4" => Some(false),
        "ipv6" => Some(true),
        text => {
            converted.warning(about, entry.key, format!("is {text:?}; `ipv4` or `ipv6` is expected"));
            None
        }
    }
}

/// What a readiness means, by whether its backend has any endpoint that is ready; `None`: it is not there.
pub(super) fn state(readiness: Readiness, has_ready: bool) -> Option<ServerState> {
    match readiness {
        Readiness::Ready => Some(ServerState::Active),
        Readiness::Ending if !has_ready => Some(ServerState::Active),
        Readiness::Ending | Readiness::Ended => Some(ServerState::Draining),
        Readiness::NotReady => None,
    }
}

/// Wants a server, whose id is its address and port.
pub(super) fn put(
    converted: &mut Converted,
    backend: &BackendId,
    scheme: Scheme,
    address: SocketAddr,
    (state, zone): (ServerState, Option<Box<str>>),
) {
    let url = ServerUrl { scheme, host: host(address.ip()), port: address.port() };
    // `10.1.2.3:8080`, `[fd00::1]:8080`: nothing that an id cannot carry.
    let Ok(id) = ServerId::try_from(address.to_string().as_str()) else { return };
    let mut value = Map::new();
    value.insert("URL".into(), url.to_string().into());
    if state != ServerState::Active {
        value.insert("State".into(), state.as_str().into());
    }
    if let Some(zone) = zone {
        value.insert("Zone".into(), Value::from(&*zone));
    }
    converted.put(ObjectKey::Server(backend.clone(), id), value);
}

/// Wants the one server of a Service that is only a name, which proxies resolve. A name of the proxy's own machine is
/// none.
pub(super) fn put_name(
    converted: &mut Converted,
    about: &Source,
    backend: &BackendId,
    scheme: Scheme,
    (name, port): (&str, u16),
) {
    const FIELD: &str = "spec.externalName";
    let id = format!("{}:{port}", name.trim_end_matches('.'));
    let url = format!("{}://{id}", scheme.as_str()).parse::<ServerUrl>();
    let (Ok(url), Ok(id)) = (url, ServerId::try_from(id.as_str())) else {
        return converted.error(about, FIELD, format!("is {name:?}, no name of a host"));
    };
    if is_own_machine(&url.host) {
        return converted.error(about, FIELD, format!("is {name:?}, which is each proxy's own machine"));
    }
    converted.warning(
        about,
        FIELD,
        "is resolved by each proxy as it connects; it is one server for all its addresses",
    );
    converted.put(
        ObjectKey::Server(backend.clone(), id),
        Map::from_iter([("URL".into(), url.to_string().into())]),
    );
}

/// Whether a host is the proxy's own machine, or an address that only has a meaning beside it: `localhost`, `127.0.0.1`
/// in all the spellings that resolvers take, `169.254.169.254`, `fe80::1`. Kubernetes takes them for no endpoint's
/// either.
pub(super) fn is_own_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(address) => is_own_address(address),
        // `127.1`, `0x7f000001`, `2130706433`: a name of a host ends in a letter's label.
        Err(_) if is_number(host.rsplit('.').next().unwrap_or_default()) => true,
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The same of an address.
pub(super) fn is_own_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()
        }
    }
}

fn is_number(label: &str) -> bool {
    let digits = label.strip_prefix("0x").unwrap_or(label);
    let is_hexadecimal = digits.len() < label.len();
    let fits = |c: char| if is_hexadecimal { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
    (is_hexadecimal || !digits.is_empty()) && digits.chars().all(fits)
}

fn host(address: IpAddr) -> Box<str> {
    address.to_string().into()
}
