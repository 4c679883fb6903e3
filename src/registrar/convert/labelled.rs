//! Pods that join a backend by their label, as vulcanized had it.

use super::annotations::{Given, Part};
use super::{Converted, servers, settings};
use crate::model::{BackendId, Scheme};
use crate::registrar::seen::{Pod, Readiness};
use crate::registrar::unit::Source;
use crate::registrar::world::World;
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(super) fn convert(world: &World, backend: &BackendId, converted: &mut Converted) {
    let mut found: BTreeMap<SocketAddr, (Readiness, Scheme)> = BTreeMap::new();
    for pod in world.pods_of(backend).filter(|pod| pod.readiness != Readiness::NotReady) {
        let Some((address, scheme)) = place(pod, converted) else { continue };
        // Two pods may have one address where they use their node's; the better word counts.
        let entry = found.entry(address).or_insert((pod.readiness, scheme));
        entry.0 = entry.0.min(pod.readiness);
    }
    let has_ready = found.values().any(|(readiness, _)| *readiness == Readiness::Ready);
    for (address, (readiness, scheme)) in found {
        if let Some(state) = servers::state(readiness, has_ready) {
            servers::put(converted, backend, scheme, address, (state, None));
        }
    }
}

/// Where a pod answers, and in what.
fn place(pod: &Pod, converted: &mut Converted) -> Option<(SocketAddr, Scheme)> {
    let about = Source::Pod(pod.meta.name.clone());
    let given = Given::of(&pod.meta);
    given.check_names(&about, &[Part::Place], &[], converted);
    let scheme = settings::scheme(&about, &given, None, converted);
    let port = port(pod, &given, &about, converted)?;
    let ipv6 = servers::family(&about, given.plain("ip-family"), converted);
    let mut addresses = pod.addresses.iter().filter(|address| !servers::is_own_address(**address));
    let Some(address) = addresses.find(|address| ipv6.is_none_or(|ipv6| address.is_ipv6() == ipv6)) else {
        if !pod.addresses.is_empty() {
            let reason = "has no address of the family that `flipgate.io/ip-family` asks for";
            converted.error(&about, "status.podIPs", reason);
        }
        return None;
    };
    Some((SocketAddr::new(*address, port), scheme))
}

/// The port that its annotation says, else the one named `http`, else the first.
fn port(pod: &Pod, given: &Given<'_>, about: &Source, converted: &mut Converted) -> Option<u16> {
    let named = |name: &str| pod.ports.iter().find(|port| port.name.as_deref() == Some(name));
    let Some(entry) = given.plain("port") else {
        let port = named("http").or(pod.ports.first());
        if port.is_none() {
            let reason = "have no ports; one is needed, or its number in `flipgate.io/port`";
            converted.error(about, "spec.containers", reason);
        }
        return port.map(|port| port.port);
    };
    // Containers need not declare a port that they answer on.
    let port = named(entry.text).map(|port| port.port).or_else(|| entry.text.parse().ok());
    let port = port.filter(|port| *port > 0);
    if port.is_none() {
        let reason = format!("is {:?}, no number and no name of a container's port", entry.text);
        converted.error(about, entry.key, reason);
    }
    port
}
