//! The backends of Ingresses: a Service's own where no annotation changes it, else one of the Ingress's.

use super::super::{Converted, servers};
use super::place::backend_id;
use super::said::Said;
use super::upstream::Custom;
use crate::kubernetes::Name;
use crate::model::{BackendId, ObjectKey, Scheme, ServerId, ServerUrl};
use crate::registrar::seen::{IngressBackend, PortRef, Service};
use crate::registrar::world::World;
use serde_json::{Map, Value};

/// Where a backend's requests go.
struct Target<'w> {
    service: Name,
    /// What tells the port apart: its number, or its name where nobody knows the number.
    port: String,
    endpoints: Endpoints<'w>,
}

enum Endpoints<'w> {
    /// The pods behind a port of this name.
    Pods(Option<&'w str>),
    /// A name elsewhere.
    External(&'w str, u16),
    /// There are none, for this reason.
    None(String),
}

/// The backend of a path, wanted with its servers. It is there, without servers, also where the Service or its port is
/// not: requests are answered with 503 until it appears. `field` names the path in notes.
pub(super) fn put(
    world: &World,
    said: &Said<'_>,
    custom: &Custom,
    backend: &IngressBackend,
    field: &str,
    converted: &mut Converted,
) -> Option<BackendId> {
    let (service, port) = match backend {
        IngressBackend::Service { name, port } => (said.ingress().meta.name.beside(name), port),
        IngressBackend::Resource { what } => {
            let reason = format!("leads to {what}, which is no Service: there is no route for it");
            said.field_error(field, reason, converted);
            return None;
        }
    };
    let target = target(world, service, port);
    if let Endpoints::None(reason) = &target.endpoints {
        said.field_error(field, reason.as_str(), converted);
    }
    put_target(world, said, custom, &target, converted)
}

/// Whether a path's Service has endpoints that may get requests.
pub(super) fn has_endpoints(world: &World, said: &Said<'_>, backend: &IngressBackend) -> bool {
    let IngressBackend::Service { name, port } = backend else { return false };
    let target = target(world, said.ingress().meta.name.beside(name), port);
    match target.endpoints {
        Endpoints::Pods(port) => !servers::endpoints(world, &target.service, port).is_empty(),
        Endpoints::External(..) => true,
        Endpoints::None(_) => false,
    }
}

/// The backend of a URL that an annotation names. A Service's name in the cluster, `NAME.NAMESPACE.svc`, stands for its
/// endpoints, since nobody outside the cluster can resolve it. `what` tells it from the Ingress's other backends.
pub(super) fn put_url(
    world: &World,
    said: &Said<'_>,
    what: &str,
    url: &ServerUrl,
    converted: &mut Converted,
) -> Result<BackendId, String> {
    let ingress = &said.ingress().meta.name;
    let impossible = || "has a name that is too long".to_owned();
    let mut settings = Map::new();
    if let Some(service) = Name::of_service(&url.host) {
        let target = target(world, service, &PortRef::Number(url.port));
        if let Endpoints::None(reason) = &target.endpoints {
            return Err(reason.clone());
        }
        let mut custom = Custom::default();
        if url.scheme == Scheme::Https {
            // Pods are asked by their addresses, which no certificate has.
            settings.insert("TLS".into(), serde_json::json!({ "InsecureSkipVerify": true }));
            custom = Custom { scheme: Scheme::Https, settings };
        }
        return put_target(world, said, &custom, &target, converted).ok_or_else(impossible);
    }
    let id = backend_id(&[&ingress.namespace, &ingress.name, what]).ok_or_else(impossible)?;
    put_backend(&id, settings, converted);
    put_external(&id, url, converted);
    Ok(id)
}

fn target<'w>(world: &'w World, service: Name, port: &PortRef) -> Target<'w> {
    let wanted = match port {
        PortRef::Number(number) => number.to_string(),
        PortRef::Name(name) => name.to_string(),
    };
    let Some(found) = world.service(&service) else {
        let endpoints = Endpoints::None(format!("leads to the Service {service}, which does not exist"));
        return Target { service, port: wanted, endpoints };
    };
    match (found, servers::port(found, port), port) {
        (Service { external_name: Some(name), .. }, known, _) => {
            let number = known.map(|known| known.port).or(match port {
                PortRef::Number(number) => Some(*number),
                PortRef::Name(_) => None,
            });
            match number {
                Some(number) => {
                    let endpoints = Endpoints::External(name, number);
                    Target { service, port: number.to_string(), endpoints }
                }
                None => missing_port(service, wanted),
            }
        }
        (_, Some(known), _) => Target {
            service,
            port: known.port.to_string(),
            endpoints: Endpoints::Pods(known.name.as_deref()),
        },
        (_, None, _) => missing_port(service, wanted),
    }
}

fn missing_port(service: Name, port: String) -> Target<'static> {
    let reason = format!("leads to port {port} of the Service {service}, which has no such port");
    Target { service, port, endpoints: Endpoints::None(reason) }
}

fn put_target(
    world: &World,
    said: &Said<'_>,
    custom: &Custom,
    target: &Target<'_>,
    converted: &mut Converted,
) -> Option<BackendId> {
    let Target { service, port, endpoints } = target;
    let ingress = &said.ingress().meta.name;
    let id = match custom.is_plain() {
        true => backend_id(&[&service.namespace, &service.name, port])?,
        false => backend_id(&[&ingress.namespace, &ingress.name, &service.name, port])?,
    };
    put_backend(&id, custom.settings.clone(), converted);
    match endpoints {
        Endpoints::Pods(port) => {
            for (address, state) in servers::endpoints(world, service, *port) {
                servers::put(converted, &id, custom.scheme, address, state);
            }
        }
        Endpoints::External(name, port) => {
            let host = name.trim_end_matches('.').into();
            put_external(&id, &ServerUrl { scheme: custom.scheme, host, port: *port }, converted);
        }
        Endpoints::None(_) => {}
    }
    Some(id)
}

fn put_backend(id: &BackendId, settings: Map<String, Value>, converted: &mut Converted) {
    let mut value = Map::new();
    value.insert("Type".into(), "http".into());
    if !settings.is_empty() {
        value.insert("Settings".into(), settings.into());
    }
    converted.put(ObjectKey::Backend(id.clone()), value);
}

fn put_external(id: &BackendId, url: &ServerUrl, converted: &mut Converted) {
    let Ok(server) = ServerId::try_from(format!("{}:{}", url.host, url.port).as_str()) else { return };
    let mut value = Map::new();
    value.insert("URL".into(), url.to_string().into());
    converted.put(ObjectKey::Server(id.clone(), server), value);
}
