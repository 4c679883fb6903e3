//! The servers of a backend, from the endpoints of a Service.

use super::Converted;
use crate::kubernetes::Name;
use crate::model::{BackendId, ObjectKey, Scheme, ServerId, ServerState, ServerUrl};
use crate::registrar::seen::{PortRef, Readiness, Service, ServicePort};
use crate::registrar::world::World;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The port of a Service that somebody means.
pub fn port<'s>(service: &'s Service, wanted: &PortRef) -> Option<&'s ServicePort> {
    service.ports.iter().find(|port| match wanted {
        PortRef::Number(number) => port.port == *number,
        PortRef::Name(name) => port.name.as_ref() == Some(name),
    })
}

/// Where the endpoints of a Service's port are, and whether they may get requests. `port` is the port's name.
///
/// An endpoint that ends is draining, but where no other is ready those that still answer go on, as kube-proxy has it.
/// One that is not ready is not there.
pub fn endpoints(
    world: &World,
    service: &Name,
    port: Option<&str>,
) -> BTreeMap<SocketAddr, (ServerState, Option<Box<str>>)> {
    let mut found: BTreeMap<SocketAddr, (Readiness, Option<Box<str>>)> = BTreeMap::new();
    for slice in world.slices(service) {
        for number in slice.ports.iter().filter(|it| it.name.as_deref() == port).map(|it| it.port) {
            for endpoint in &slice.endpoints {
                let address = SocketAddr::new(endpoint.address, number);
                // An endpoint may stand in two slices for a while; the better word counts.
                let entry = found.entry(address).or_insert((Readiness::NotReady, None));
                entry.0 = entry.0.min(endpoint.readiness);
                entry.1 = entry.1.take().or_else(|| endpoint.zone.clone());
            }
        }
    }
    let has_ready = found.values().any(|(readiness, _)| *readiness == Readiness::Ready);
    let placed = |(address, (readiness, zone))| Some((address, (state(readiness, has_ready)?, zone)));
    found.into_iter().filter_map(placed).collect()
}

/// What a readiness means, by whether its backend has any endpoint that is ready; `None`: it is not there.
pub fn state(readiness: Readiness, has_ready: bool) -> Option<ServerState> {
    match readiness {
        Readiness::Ready => Some(ServerState::Active),
        Readiness::Ending if !has_ready => Some(ServerState::Active),
        Readiness::Ending | Readiness::Ended => Some(ServerState::Draining),
        Readiness::NotReady => None,
    }
}

/// Wants a server, whose id is its address and port.
pub fn put(
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

fn host(address: IpAddr) -> Box<str> {
    address.to_string().into()
}
