//! The backends of Ingresses: a Service's own, as the Service says, where no annotation of the Ingress changes it; else
//! one of the Ingress's with the same servers.

use super::super::{Converted, Desired, servers, service};
use super::place::backend_id;
use super::said::Said;
use super::upstream::Custom;
use crate::kubernetes::Name;
use crate::model::{BackendId, ObjectKey, Scheme, ServerId, ServerUrl, edit};
use crate::registrar::seen::{IngressBackend, PortRef, Service, ServicePort};
use crate::registrar::world::World;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What somebody leads to: a Service's port.
struct Target<'w> {
    name: Name,
    /// Its number, or its name where nobody knows the number.
    port: String,
    /// What is there; else why nothing is, as a predicate.
    found: Result<(&'w Service, ServicePort), String>,
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
    let target = match backend {
        IngressBackend::Service { name, port } => {
            Target::of(world, said.ingress().meta.name.beside(name), port)
        }
        IngressBackend::Resource { what } => {
            let reason = format!("leads to {what}, which is no Service: there is no route for it");
            said.field_error(field, reason, converted);
            return None;
        }
    };
    if let Err(reason) = &target.found {
        said.field_error(field, reason.as_str(), converted);
    }
    target.put(world, said, custom, None, converted)
}

/// Whether a path's Service has endpoints.
pub(super) fn has_endpoints(world: &World, said: &Said<'_>, backend: &IngressBackend) -> bool {
    let IngressBackend::Service { name, port } = backend else { return false };
    let target = Target::of(world, said.ingress().meta.name.beside(name), port);
    target.objects(world).keys().any(|key| matches!(key, ObjectKey::Server(..)))
}

/// The backend of a URL that an annotation names. A Service's name in the cluster, `NAME.NAMESPACE.svc`, stands for its
/// endpoints, since nobody outside the cluster can resolve it. `what` tells it from the Ingress's other backends.
///
/// # Errors
/// What is wrong with it, as a predicate.
pub(super) fn put_url(
    world: &World,
    said: &Said<'_>,
    what: &str,
    url: &ServerUrl,
    converted: &mut Converted,
) -> Result<BackendId, String> {
    let ingress = &said.ingress().meta.name;
    let impossible = || "has a name that is too long".to_owned();
    if let Some(name) = Name::of_service(&url.host) {
        let target = Target::of(world, name, &PortRef::Number(url.port));
        if let Err(reason) = &target.found {
            return Err(reason.clone());
        }
        let mut custom = Custom::default();
        if url.scheme == Scheme::Https {
            custom.scheme = Some(Scheme::Https);
            // Pods are asked by their addresses, which no certificate has.
            custom.settings.insert("TLS".into(), json!({ "InsecureSkipVerify": true }));
        }
        return target.put(world, said, &custom, Some(what), converted).ok_or_else(impossible);
    }
    // Whoever may write an Ingress must not reach what listens there.
    if servers::is_own_machine(&url.host) {
        return Err("leads to each proxy's own machine".to_owned());
    }
    let id = backend_id(&[&own_start(ingress), what]).ok_or_else(impossible)?;
    let server = ServerId::try_from(format!("{}:{}", url.host, url.port).as_str());
    let server = ObjectKey::Server(id.clone(), server.map_err(|error| error.to_string())?);
    converted.put(ObjectKey::Backend(id.clone()), Map::from_iter([("Type".into(), "http".into())]));
    converted.put(server, Map::from_iter([("URL".into(), url.to_string().into())]));
    Ok(id)
}

impl<'w> Target<'w> {
    fn of(world: &'w World, name: Name, port: &PortRef) -> Self {
        let wanted = match port {
            PortRef::Number(number) => number.to_string(),
            PortRef::Name(name) => name.to_string(),
        };
        let Some(service) = world.service(&name) else {
            let found = Err(format!("leads to the Service {name}, which does not exist"));
            return Self { name, port: wanted, found };
        };
        // A name elsewhere has any port.
        let any = || match port {
            PortRef::Number(number) if service.external_name.is_some() => {
                Some(ServicePort { name: None, port: *number, app_protocol: None })
            }
            _ => None,
        };
        match servers::port(service, port).cloned().or_else(any) {
            Some(port) => Self { name, port: port.port.to_string(), found: Ok((service, port)) },
            None => {
                let found =
                    Err(format!("leads to port {wanted} of the Service {name}, which it does not have"));
                Self { name, port: wanted, found }
            }
        }
    }

    /// The Service's own backend with its servers.
    fn objects(&self, world: &World) -> BTreeMap<ObjectKey, Desired> {
        let mut scratch = Converted::default();
        let known = match &self.found {
            Ok((service, port)) => service::put_backend(world, service, port, &mut scratch),
            Err(_) => None,
        };
        if known.is_none()
            && let Some(id) = backend_id(&[&world.service_id(&self.name), &self.port])
        {
            scratch.put(ObjectKey::Backend(id), Map::from_iter([("Type".into(), "http".into())]));
        }
        scratch.objects
    }

    fn put(
        &self,
        world: &World,
        said: &Said<'_>,
        custom: &Custom,
        what: Option<&str>,
        converted: &mut Converted,
    ) -> Option<BackendId> {
        let objects = self.objects(world);
        let own = objects.keys().find_map(|key| match key {
            ObjectKey::Backend(id) => Some(id.clone()),
            _ => None,
        })?;
        if custom.is_plain() {
            converted.objects.extend(objects);
            return Some(own);
        }
        let start = own_start(&said.ingress().meta.name);
        let names = [Some(&*start), what, Some(&self.name.name), Some(&self.port)];
        let id = backend_id(&names.into_iter().flatten().collect::<Vec<_>>())?;
        for (key, desired) in objects {
            let Desired::Value(value) = desired else { continue };
            match key {
                ObjectKey::Backend(_) => {
                    let changed = edit::merge(&value.into(), &json!({ "Settings": custom.settings }));
                    let Value::Object(changed) = changed else { continue };
                    converted.put(ObjectKey::Backend(id.clone()), changed);
                }
                ObjectKey::Server(_, server) => {
                    converted.put(ObjectKey::Server(id.clone(), server), with_scheme(value, custom.scheme));
                }
                _ => {}
            }
        }
        Some(id)
    }
}

/// What the ids of an Ingress's own backends begin with. No namespace has a dot, so two of them never meet in one
/// backend, whose servers would be put together.
fn own_start(ingress: &Name) -> String {
    format!("{}.{}", ingress.namespace, ingress.name)
}

fn with_scheme(mut server: Map<String, Value>, scheme: Option<Scheme>) -> Map<String, Value> {
    let url = server.get("URL").and_then(Value::as_str).and_then(|url| url.parse::<ServerUrl>().ok());
    if let (Some(mut url), Some(scheme)) = (url, scheme) {
        url.scheme = scheme;
        server.insert("URL".into(), url.to_string().into());
    }
    server
}
