//! Ingresses, with the annotations of ingress-nginx.
//!
//! Each path of each host is a frontend. What ingress-nginx does for every Ingress, whatever its annotations, is done
//! here too where somebody would miss it: hosts with TLS redirect to HTTPS, an answer may take a minute, three attempts
//! are made. Not done are the header for strict transport security, which browsers remember for long, and the limit of
//! a megabyte for bodies: who wants them says so.

mod access;
mod annotations;
mod backend;
mod canary;
mod cors;
mod place;
mod redirects;
mod said;
mod tls;
mod traffic;
mod treatment;
mod upstream;

pub use annotations::{ANNOTATIONS, Annotation, PREFIX, Support};

use super::form::{Filter, Rule};
use super::{Classes, Converted, Remit};
use crate::kubernetes::Name;
use crate::model::{BackendId, ObjectKey};
use crate::registrar::seen::{Ingress, IngressBackend, IngressPath, PathType};
use crate::registrar::world::World;
use place::{PathPlace, Place};
use said::{Said, shown};
use std::collections::BTreeSet;
use treatment::Treatment;
use upstream::Custom;

/// What is said of a host that is for other namespaces.
const NOT_OURS: &str = "it is not for this namespace";

/// One Ingress on its way.
struct Conversion<'w> {
    world: &'w World,
    remit: &'w Remit,
    said: Said<'w>,
    custom: Custom,
    treatment: Treatment,
    /// The host that has further names, with them.
    aliases: (Option<&'w str>, Vec<&'w str>),
}

pub(super) fn convert(world: &World, name: &Name, remit: &Remit, converted: &mut Converted) {
    let Some(ingress) = world.ingress(name).filter(|ingress| is_ours(world, &remit.classes, ingress)) else {
        return;
    };
    let said = Said::of(ingress);
    said.name_unsupported(converted);
    if ingress.is_canary() {
        canary::tell(world, remit, &said, converted);
        return;
    }
    said.flag("canary", converted);
    let custom = Custom::of(world, &said, converted);
    let mut treatment = Treatment::of(world, &said, converted);
    tls::put(world, remit, &said, treatment.client_auth.as_ref(), converted);
    access::close_unproven(&said, &mut treatment, converted);
    let aliases = aliases(remit, &said, converted);
    Conversion { world, remit, said, custom, treatment, aliases }.put(converted);
}

/// Whether an Ingress is of a class that the registrar looks after. Without a class it is of the default one.
pub fn is_ours(world: &World, classes: &Classes, ingress: &Ingress) -> bool {
    match ingress.class_name() {
        Some(class) => classes.contains(class),
        None => world.classes().any(|class| class.is_default && classes.contains(&class.name)),
    }
}

/// Whether the Ingress's namespace may have a host; absent: every one.
fn may_have(remit: &Remit, said: &Said<'_>, host: Option<&str>) -> bool {
    remit.hosts.may_have(&said.ingress().meta.name.namespace, host)
}

/// The further names of the first host, in the order of names: it is the same whatever the order of rules.
fn aliases<'i>(remit: &Remit, said: &Said<'i>, converted: &mut Converted) -> (Option<&'i str>, Vec<&'i str>) {
    const NAME: &str = "server-alias";
    let first = said.ingress().hosts().flatten().min();
    let mut names = Vec::new();
    for alias in said.list(NAME) {
        if !may_have(remit, said, Some(alias)) {
            said.error(NAME, format!("has {}; {NOT_OURS}", shown(alias)), converted);
        } else if place::matches(&[alias], &Place::Any).is_ok() && !alias.contains(['~', '<', '$']) {
            names.push(alias);
        } else {
            said.error(NAME, format!("has {}; a host is expected", shown(alias)), converted);
        }
    }
    if first.is_none() && !names.is_empty() {
        said.error(NAME, "is there without a host that it would be another name of", converted);
    }
    (first, names)
}

impl Conversion<'_> {
    fn put(&self, converted: &mut Converted) {
        let ingress = self.said.ingress();
        let mut moved = BTreeSet::new();
        for (number, rule) in ingress.rules.iter().enumerate() {
            for (place, path) in rule.paths.iter().enumerate() {
                let field = format!("spec.rules[{number}].http.paths[{place}]");
                let host = rule.host.as_deref();
                if !may_have(self.remit, &self.said, host) {
                    let whose = host.map_or("every host".to_owned(), shown);
                    let reason = format!("is for {whose}; {NOT_OURS}");
                    self.said.field_error(&field, reason, converted);
                    continue;
                }
                if let Some(backend) = self.put_path(host, path, &field, converted)
                    && let Some(host) = host.filter(|host| moved.insert(*host))
                {
                    self.put_other_name(host, backend, converted);
                }
            }
        }
        self.put_default(converted);
    }

    /// The frontend of a path; the backend that it leads to, if it is one.
    fn put_path(
        &self,
        host: Option<&str>,
        path: &IngressPath,
        field: &str,
        converted: &mut Converted,
    ) -> Option<BackendId> {
        let said = &self.said;
        let is_regexp =
            said.text("rewrite-target").is_some() || said.flag("use-regex", converted) == Some(true);
        let host_name = host.map(str::to_ascii_lowercase);
        let mut hosts: Vec<&str> = host_name.as_deref().into_iter().collect();
        if host.is_some() && self.aliases.0 == host {
            hosts.extend(&self.aliases.1);
        }
        let placed = PathPlace::of(path, is_regexp);
        let placed = placed.and_then(|placed| Ok((place::matches(&hosts, &placed.place)?, placed)));
        let (matches, placed) = match placed {
            Ok(placed) => placed,
            Err(reason) => {
                said.field_error(&format!("{field}.path"), reason, converted);
                return None;
            }
        };
        let id = place::frontend_id(&said.ingress().meta.name, host_name.as_deref(), &placed.place)?;
        if converted.objects.contains_key(&ObjectKey::Frontend(id.clone())) {
            said.field_error(field, "has host and path of another one before it", converted);
            return None;
        }
        let backend = self.backend(&path.backend, field, converted)?;
        let mut rule = Rule::new(id, matches, backend.clone());
        let parts = canary::parts(
            self.world,
            self.remit,
            said,
            &self.custom,
            (host, path),
            backend.clone(),
            converted,
        );
        (rule.backends, rule.split_by) = (parts.backends, parts.split_by);
        self.treat(&mut rule, redirects::of_path(said, host, &placed, converted));
        rule.put(converted);
        Some(backend)
    }

    /// What all frontends of the Ingress have, and what this one has of its own.
    fn treat(&self, rule: &mut Rule, own: Vec<Filter>) {
        rule.settings = self.treatment.settings.clone();
        rule.filters = self.treatment.filters.clone();
        rule.filters.extend(own);
    }

    /// The backend of a path; while that has no endpoints, the one of the annotation `default-backend`.
    fn backend(&self, backend: &IngressBackend, field: &str, converted: &mut Converted) -> Option<BackendId> {
        let own = backend::put(self.world, &self.said, &self.custom, backend, field, converted)?;
        let Some(name) = self.said.text("default-backend") else { return Some(own) };
        let service = self.said.ingress().meta.name.beside(name);
        let Some(port) = self.world.service(&service).and_then(|service| service.ports.first()) else {
            let reason = format!("names the Service {service}, which does not exist or has no port");
            self.said.error("default-backend", reason, converted);
            return Some(own);
        };
        if backend::has_endpoints(self.world, &self.said, backend) {
            return Some(own);
        }
        let fallback = IngressBackend::of_service(name, port.port);
        backend::put(self.world, &self.said, &self.custom, &fallback, field, converted).or(Some(own))
    }

    /// A redirect from a host's name with `www.` to the one without, or the other way round. Whatever else is there
    /// for that name goes before it.
    fn put_other_name(&self, host: &str, backend: BackendId, converted: &mut Converted) {
        const NAME: &str = "from-to-www-redirect";
        if self.said.flag(NAME, converted) != Some(true) {
            return;
        }
        let host = host.to_ascii_lowercase();
        let other =
            redirects::other_name(&host).filter(|other| may_have(self.remit, &self.said, Some(other)));
        let Some(other) = other else { return };
        if self.said.ingress().hosts().flatten().any(|known| known.eq_ignore_ascii_case(&other)) {
            return;
        }
        let id = place::further_id(&self.said.ingress().meta.name, &other, "www");
        match (redirects::to_host(&host), place::matches(&[&other], &Place::Any)) {
            (Ok(filter), Ok(matches)) => {
                let Some(id) = id else { return };
                let mut rule = Rule::new(id, matches, backend);
                rule.priority = -1;
                rule.filters.push(filter);
                rule.put(converted);
            }
            (Err(reason), _) | (_, Err(reason)) => self.said.error(NAME, reason, converted),
        }
    }

    /// `spec.defaultBackend` gets what nothing else takes.
    fn put_default(&self, converted: &mut Converted) {
        let Some(backend) = &self.said.ingress().default_backend else { return };
        let field = "spec.defaultBackend";
        if !may_have(self.remit, &self.said, None) {
            return self.said.field_error(field, format!("is for every host; {NOT_OURS}"), converted);
        }
        let path = IngressPath { path: None, kind: PathType::Prefix, backend: backend.clone() };
        let Ok(placed) = PathPlace::of(&path, false) else { return };
        let Ok(matches) = place::matches(&[], &placed.place) else { return };
        let Some(id) = place::further_id(&self.said.ingress().meta.name, "any", "default") else { return };
        let Some(backend) = self.backend(backend, field, converted) else { return };
        let mut rule = Rule::new(id, matches, backend);
        rule.priority = -1;
        self.treat(&mut rule, redirects::of_path(&self.said, None, &placed, converted));
        rule.put(converted);
    }
}
