//! Services with a route of their own, and the backends of Services.

use super::annotations::{Entry, Given, Part, is_port, names};
use super::{Converted, servers, settings};
use crate::kubernetes::{Hosts, Name};
use crate::model::{BackendId, FrontendId, ObjectKey};
use crate::registrar::seen::{Service, ServicePort};
use crate::registrar::unit::Source;
use crate::registrar::world::World;
use std::collections::BTreeMap;

/// The parts of the store's objects that a Service may speak about.
const PARTS: [Part; 4] = [Part::Place, Part::Service, Part::Frontend, Part::Backend];

pub(super) fn convert(world: &World, name: &Name, hosts: &Hosts, converted: &mut Converted) {
    let Some(service) = world.service(name) else { return };
    let given = Given::of(&service.meta);
    if given.is_empty() {
        return;
    }
    let about = Source::Service(name.clone());
    given.check_names(&about, &PARTS, &service.ports, converted);
    let main = main_port(service, &given, &about, converted);
    let here = Here { world, service, given, about };
    here.convert_port(main.as_ref(), true, hosts, converted);
    for port in here.further_ports(main.as_ref()) {
        here.convert_port(Some(port), false, hosts, converted);
    }
}

/// Wants the backend of a Service's port with its servers, as the Service's own annotations have it: so all who lead
/// there want the same. What is wrong with the annotations is said where the Service itself is converted.
pub(super) fn put_backend(
    world: &World,
    service: &Service,
    port: &ServicePort,
    converted: &mut Converted,
) -> Option<BackendId> {
    let given = Given::of(&service.meta);
    let about = Source::Service(service.meta.name.clone());
    let mut unheard = Converted::default();
    let main = main_port(service, &given, &about, &mut unheard);
    let is_main = main.as_ref().is_some_and(|main| main.port == port.port);
    let here = Here { world, service, given, about };
    let id = here.backend_id(port, is_main, &mut unheard)?;
    here.put_backend(&id, port, &mut unheard);
    converted.objects.extend(unheard.objects);
    Some(id)
}

/// One Service while it is converted.
struct Here<'w> {
    world: &'w World,
    service: &'w Service,
    given: Given<'w>,
    about: Source,
}

impl Here<'_> {
    fn convert_port(
        &self,
        port: Option<&ServicePort>,
        is_main: bool,
        hosts: &Hosts,
        converted: &mut Converted,
    ) {
        let route = self.own("route", port, is_main, converted);
        let elsewhere = self.own("backend", port, is_main, converted);
        let own_id = self.own("backend-id", port, is_main, converted);
        if let (None, Some(entry)) = (route, elsewhere) {
            converted.warning(&self.about, entry.key, "has no effect without a route");
        }
        let mut backend = None;
        if own_id.is_some() || (route.is_some() && elsewhere.is_none()) {
            backend = self.own_backend(port, is_main, converted);
        }
        let Some(route) = route else { return };
        if let Some(entry) = elsewhere {
            backend = self.read_id(entry, converted);
        }
        let Some(id) = self.frontend_id(port, is_main, converted) else { return };
        let namespace = &self.service.meta.name.namespace;
        let Some(bound) = hosts.bind(namespace, route.text) else {
            let reason = "has no effect: no host is for this namespace";
            return converted.error(&self.about, route.key, reason);
        };
        let place = (Entry { text: &bound, ..route }, &self.given, port);
        let rule =
            backend.and_then(|backend| settings::frontend(&id, &backend, &self.about, place, converted));
        match rule {
            Some(rule) => rule.put(converted),
            None => converted.keep(ObjectKey::Frontend(id)),
        }
    }

    /// The backend of a port, which is made.
    fn own_backend(
        &self,
        port: Option<&ServicePort>,
        is_main: bool,
        converted: &mut Converted,
    ) -> Option<BackendId> {
        let Some(port) = port else {
            // A wrong port has been noted already.
            if self.given.plain("port").is_none() {
                let reason = "are not there; a port is needed, or its number in `flipgate.io/port`";
                converted.error(&self.about, "spec.ports", reason);
            }
            return None;
        };
        let id = self.backend_id(port, is_main, converted)?;
        self.put_backend(&id, port, converted);
        Some(id)
    }

    fn put_backend(&self, id: &BackendId, port: &ServicePort, converted: &mut Converted) {
        let value = settings::backend(id, &self.about, &self.given, port, converted);
        converted.put(ObjectKey::Backend(id.clone()), value);
        let scheme = settings::scheme(&self.about, &self.given, Some(port), converted);
        if let Some(host) = &self.service.external_name {
            servers::put_name(converted, &self.about, id, scheme, (host, port.port));
            return;
        }
        let family = servers::family(&self.about, self.given.closest("ip-family", Some(port)), converted);
        let found = if self.service.ports.is_empty() {
            servers::endpoints_at(self.world, self.service, port.port, family)
        } else {
            servers::endpoints_of(self.world, self.service, port.name.as_deref(), family)
        };
        for (address, standing) in found {
            servers::put(converted, id, scheme, address, standing);
        }
    }

    /// What is given for this port and no other: with its name or number, or, for the main one, with neither.
    fn own(
        &self,
        name: &str,
        port: Option<&ServicePort>,
        is_main: bool,
        converted: &mut Converted,
    ) -> Option<Entry<'_>> {
        let own = port.and_then(|port| self.given.of_port(name, port));
        let plain = self.given.plain(name).filter(|_| is_main);
        if let (Some(own), Some(plain)) = (own, plain) {
            converted.warning(&self.about, plain.key, format!("has no effect beside `{}`", own.key));
        }
        own.or(plain)
    }

    /// The ports beside the main one that have a route or a backend of their own, by number.
    fn further_ports(&self, main: Option<&ServicePort>) -> impl Iterator<Item = &ServicePort> {
        let is_main = |port: &ServicePort| main.is_some_and(|main| main.port == port.port);
        let named = ["route", "backend", "backend-id"].into_iter().flat_map(|name| self.given.all(name));
        let named = named.filter_map(|entry| {
            self.service.ports.iter().find(|port| entry.port.is_some_and(|named| is_port(port, named)))
        });
        let further = named.filter(|port| !is_main(port)).map(|port| (port.port, port));
        further.collect::<BTreeMap<_, _>>().into_values()
    }

    fn backend_id(&self, port: &ServicePort, is_main: bool, converted: &mut Converted) -> Option<BackendId> {
        if let Some(entry) = self.own("backend-id", Some(port), is_main, &mut Converted::default()) {
            return self.read_id(entry, converted).filter(|id| self.may_choose(id, entry, converted));
        }
        let id = self.world.service_id(&self.service.meta.name);
        BackendId::try_from(format!("{id}-{}", port.port).as_str())
            .map_err(|error| converted.error(&self.about, "metadata.name", format!("makes no id: {error}")))
            .ok()
    }

    fn read_id(&self, entry: Entry<'_>, converted: &mut Converted) -> Option<BackendId> {
        BackendId::try_from(entry.text)
            .map_err(|error| converted.error(&self.about, entry.key, format!("is no backend's id: {error}")))
            .ok()
    }

    /// Whoever may write a Service in one namespace must not join the backends of another.
    fn may_choose(&self, id: &BackendId, entry: Entry<'_>, converted: &mut Converted) -> bool {
        let namespace = &self.service.meta.name.namespace;
        let may = self.world.may_choose(namespace, id.as_str());
        if !may {
            let reason = format!(
                "is {:?}, which may be another namespace's: an id that begins with `{namespace}-`, or with `{namespace}.`, \
                 which no other can have, is expected",
                entry.text
            );
            converted.error(&self.about, entry.key, reason);
        }
        may
    }

    fn frontend_id(
        &self,
        port: Option<&ServicePort>,
        is_main: bool,
        converted: &mut Converted,
    ) -> Option<FrontendId> {
        let mut id = self.world.service_id(&self.service.meta.name);
        if let Some(port) = port.filter(|_| !is_main) {
            id = format!("{id}-{}", port.port);
        }
        FrontendId::try_from(id.as_str())
            .map_err(|error| converted.error(&self.about, "metadata.name", format!("makes no id: {error}")))
            .ok()
    }
}

/// The port that annotations without a port are about: the one that `flipgate.io/port` says, else the one named `http`,
/// else the first. Where a Service has no ports, a number is the endpoints' own.
fn main_port(
    service: &Service,
    given: &Given<'_>,
    about: &Source,
    converted: &mut Converted,
) -> Option<ServicePort> {
    let ports = &service.ports;
    if let Some(entry) = given.plain("port") {
        if let Some(port) = ports.iter().find(|port| is_port(port, entry.text)) {
            return Some(port.clone());
        }
        match entry.text.parse().ok().filter(|number| *number > 0 && ports.is_empty()) {
            Some(number) => return Some(ServicePort { name: None, port: number, app_protocol: None }),
            None => converted.error(about, entry.key, format!("is {:?}; {}", entry.text, names(ports))),
        }
        return None;
    }
    let http = ports.iter().find(|port| port.name.as_deref() == Some("http"));
    if let (Some(_), true) = (&service.external_name, ports.is_empty()) {
        let number = settings::scheme(about, given, None, &mut Converted::default()).default_port();
        return Some(ServicePort { name: None, port: number, app_protocol: None });
    }
    http.or(ports.first()).cloned()
}
