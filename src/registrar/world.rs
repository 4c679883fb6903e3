//! What is known of the cluster, and what of the store the conversion depends on.

use super::seen::{Ingress, IngressClass, Pod, Secret, Service, Slice};
use super::unit::Unit;
use crate::kubernetes::Name;
use crate::model::BackendId;
use std::collections::{BTreeMap, BTreeSet};

/// The kinds of objects that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Services.
    Service,
    /// EndpointSlices.
    Slice,
    /// Pods with the label.
    Pod,
    /// Ingresses.
    Ingress,
    /// Secrets.
    Secret,
    /// IngressClasses.
    Class,
}

impl Kind {
    /// All, in the order in which they are asked for.
    pub const ALL: [Self; 6] =
        [Self::Service, Self::Slice, Self::Pod, Self::Ingress, Self::Secret, Self::Class];

    /// As in the API's paths and in metrics: `endpointslices`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Slice => "endpointslices",
            Self::Pod => "pods",
            Self::Ingress => "ingresses",
            Self::Secret => "secrets",
            Self::Class => "ingressclasses",
        }
    }
}

/// One object is there, as it is now, or it is gone.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A Service.
    Service(Name, Option<Service>),
    /// An EndpointSlice.
    Slice(Name, Option<Slice>),
    /// A pod.
    Pod(Name, Option<Pod>),
    /// An Ingress.
    Ingress(Name, Option<Box<Ingress>>),
    /// A Secret.
    Secret(Name, Option<Secret>),
    /// An IngressClass, which belongs to no namespace.
    Class(Box<str>, Option<IngressClass>),
}

/// All that a conversion may look at.
#[derive(Debug, Default)]
pub struct World {
    services: BTreeMap<Name, Service>,
    /// By the beginning of the ids that they would have: several where `a-b` and `c` meet `a` and `b-c`.
    namesakes: Index<String>,
    /// Services whose backends have ids of their authors' choice.
    choosers: BTreeSet<Name>,
    /// By Service, then by the slice's own name.
    slices: BTreeMap<Name, BTreeMap<Name, Slice>>,
    slice_services: BTreeMap<Name, Name>,
    pods: BTreeMap<Name, Pod>,
    ingresses: BTreeMap<Name, Box<Ingress>>,
    secrets: BTreeMap<Name, Secret>,
    classes: BTreeMap<Box<str>, IngressClass>,
    /// Those in the store that can have servers: neither aliases nor the registrar's own.
    backends: BTreeSet<BackendId>,
    by_service: Index<Name>,
    by_secret: Index<Name>,
    /// By namespace and host: where a canary finds whom it relieves.
    by_host: Index<(Box<str>, Option<Box<str>>)>,
    pods_of: BTreeMap<BackendId, BTreeSet<Name>>,
}

/// The objects that depend on something: Ingresses, but for [`World::namesakes`].
type Index<K> = BTreeMap<K, BTreeSet<Name>>;

impl World {
    /// Takes a change in; the units that are to be converted again. There are none where nothing changes: a fresh list
    /// tells all objects again.
    pub fn apply(&mut self, change: Change) -> BTreeSet<Unit> {
        let mut dirty = BTreeSet::new();
        match change {
            Change::Service(name, service) => {
                let id = joined(&name);
                let comes_or_goes = self.services.contains_key(&name) != service.is_some();
                note(&mut self.namesakes, id.clone(), &name, service.is_some());
                self.choosers.remove(&name);
                if service.as_ref().is_some_and(chooses) {
                    self.choosers.insert(name.clone());
                }
                if put(&mut self.services, &name, service) {
                    if comes_or_goes {
                        self.soil_choosers(&id, &name.namespace, &mut dirty);
                    }
                    self.soil_service(&name, &mut dirty);
                    for other in self.namesakes.get(&id).into_iter().flatten() {
                        self.soil_service(other, &mut dirty);
                    }
                }
            }
            Change::Slice(name, slice) => self.put_slice(name, slice, &mut dirty),
            Change::Pod(name, pod) => self.put_pod(name, pod, &mut dirty),
            Change::Ingress(name, ingress) => self.put_ingress(name, ingress, &mut dirty),
            Change::Secret(name, secret) => {
                if put(&mut self.secrets, &name, secret) {
                    for ingress in self.by_secret.get(&name).into_iter().flatten() {
                        self.soil_ingress(ingress, &mut dirty);
                    }
                }
            }
            Change::Class(name, class) => {
                if put(&mut self.classes, &name, class) {
                    dirty.extend(self.ingresses.keys().cloned().map(Unit::Ingress));
                }
            }
        }
        dirty
    }

    /// Forgets what a complete list does not name: `kept` are the names in the list, or an IngressClass's name with an
    /// empty namespace. Call it once the list's objects were applied.
    pub fn retain(&mut self, kind: Kind, kept: &BTreeSet<Name>) -> BTreeSet<Unit> {
        let mut dirty = BTreeSet::new();
        for name in self.names(kind) {
            if kept.contains(&name) {
                continue;
            }
            dirty.extend(self.apply(match kind {
                Kind::Service => Change::Service(name, None),
                Kind::Slice => Change::Slice(name, None),
                Kind::Pod => Change::Pod(name, None),
                Kind::Ingress => Change::Ingress(name, None),
                Kind::Secret => Change::Secret(name, None),
                Kind::Class => Change::Class(name.name, None),
            }));
        }
        dirty
    }

    /// A backend of somebody else's appeared in the store, or went: pods may join it by their label.
    pub fn set_backend(&mut self, id: &BackendId, is_there: bool) -> Option<Unit> {
        let changed =
            if is_there { self.backends.insert(id.clone()) } else { self.backends.remove(id.as_str()) };
        changed.then(|| Unit::Labelled(id.clone()))
    }

    /// How many objects of a kind are known.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Service => self.services.len(),
            Kind::Slice => self.slice_services.len(),
            Kind::Pod => self.pods.len(),
            Kind::Ingress => self.ingresses.len(),
            Kind::Secret => self.secrets.len(),
            Kind::Class => self.classes.len(),
        }
    }

    /// A Service.
    pub fn service(&self, name: &Name) -> Option<&Service> {
        self.services.get(name)
    }

    /// What the ids of a Service's objects begin with: `NAMESPACE-NAME`, but where that is an older Service's already,
    /// `NAMESPACE.NAME`, which can be nobody else's.
    pub fn service_id(&self, name: &Name) -> String {
        let id = joined(name);
        // One that is not there is the youngest.
        let age = |name: &Name| self.service(name).map_or(i64::MAX, |service| service.meta.created);
        let mine = (age(name), name);
        let mut others = self.namesakes.get(&id).into_iter().flatten().filter(|other| *other != name);
        if others.any(|other| (age(other), other) < mine) {
            return format!("{}.{}", name.namespace, name.name);
        }
        id
    }

    /// Whether the author of a Service in a namespace may choose a backend's id: it begins with the namespace and a hyphen
    /// or dot, and is not what another namespace's Services have or may choose.
    pub fn may_choose(&self, namespace: &str, id: &str) -> bool {
        let rest = id.strip_prefix(namespace);
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.'])) {
            return false;
        }
        let ends = id.char_indices().filter(|(_, c)| matches!(c, '-' | '.')).map(|(at, _)| at);
        let mut longer = ends.chain([id.len()]).filter(|end| *end > namespace.len());
        let is_anothers = longer.any(|end| id.get(..end).is_some_and(|other| self.has_services(other)));
        let without_port = id.rsplit_once('-').and_then(|(service, _)| self.namesakes.get(service));
        !is_anothers && without_port.into_iter().flatten().all(|service| *service.namespace == *namespace)
    }

    /// The slices of a Service, in the order of their names.
    pub fn slices(&self, service: &Name) -> impl Iterator<Item = &Slice> {
        self.slices.get(service).into_iter().flat_map(BTreeMap::values)
    }

    /// An Ingress.
    pub fn ingress(&self, name: &Name) -> Option<&Ingress> {
        self.ingresses.get(name).map(|ingress| &**ingress)
    }

    /// All Ingresses, in the order of their names.
    pub fn ingresses(&self) -> impl Iterator<Item = &Ingress> {
        self.ingresses.values().map(|ingress| &**ingress)
    }

    /// The canaries in a namespace that have a rule for a host (or for every host), in the order of their names.
    pub fn canaries(&self, namespace: &str, host: Option<&str>) -> impl Iterator<Item = &Ingress> {
        let key = (namespace.into(), host.map(Into::into));
        let names = self.by_host.get(&key).into_iter().flatten();
        names.filter_map(|name| self.ingress(name)).filter(|ingress| ingress.is_canary())
    }

    /// A Secret.
    pub fn secret(&self, name: &Name) -> Option<&Secret> {
        self.secrets.get(name)
    }

    /// All IngressClasses.
    pub fn classes(&self) -> impl Iterator<Item = &IngressClass> {
        self.classes.values()
    }

    /// The pods that would join a backend; nobody's if the store has no such backend.
    pub fn pods_of(&self, backend: &BackendId) -> impl Iterator<Item = &Pod> {
        let names = if self.backends.contains(backend) { self.pods_of.get(backend) } else { None };
        names.into_iter().flatten().filter_map(|name| self.pods.get(name))
    }

    fn names(&self, kind: Kind) -> Vec<Name> {
        match kind {
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::Slice => self.slice_services.keys().cloned().collect(),
            Kind::Pod => self.pods.keys().cloned().collect(),
            Kind::Ingress => self.ingresses.keys().cloned().collect(),
            Kind::Secret => self.secrets.keys().cloned().collect(),
            Kind::Class => self.classes.keys().map(|name| Name::new("", name)).collect(),
        }
    }

    fn put_slice(&mut self, name: Name, slice: Option<Slice>, dirty: &mut BTreeSet<Unit>) {
        let now = slice.as_ref().map(|slice| name.beside(&slice.service));
        let before = match &now {
            Some(service) => self.slice_services.insert(name.clone(), service.clone()),
            None => self.slice_services.remove(&name),
        };
        if let Some(before) = before.filter(|before| now.as_ref() != Some(before)) {
            if let Some(slices) = self.slices.get_mut(&before) {
                slices.remove(&name);
                if slices.is_empty() {
                    self.slices.remove(&before);
                }
            }
            self.soil_service(&before, dirty);
        }
        if let Some(service) = now
            && put(self.slices.entry(service.clone()).or_default(), &name, slice)
        {
            self.soil_service(&service, dirty);
        }
    }

    fn put_pod(&mut self, name: Name, pod: Option<Pod>, dirty: &mut BTreeSet<Unit>) {
        let before = self.pods.get(&name).and_then(backend_of);
        let now = pod.as_ref().and_then(backend_of);
        if before != now {
            if let Some(backend) = &before
                && let Some(pods) = self.pods_of.get_mut(backend)
            {
                pods.remove(&name);
                if pods.is_empty() {
                    self.pods_of.remove(backend);
                }
            }
            if let Some(backend) = &now {
                self.pods_of.entry(backend.clone()).or_default().insert(name.clone());
            }
        }
        if put(&mut self.pods, &name, pod) {
            dirty.extend(before.into_iter().chain(now).map(Unit::Labelled));
        }
    }

    fn put_ingress(&mut self, name: Name, ingress: Option<Box<Ingress>>, dirty: &mut BTreeSet<Unit>) {
        if self.ingresses.get(&name) == ingress.as_ref() {
            return;
        }
        self.soil_ingress(&name, dirty);
        self.index_ingress(&name, false);
        put(&mut self.ingresses, &name, ingress);
        self.index_ingress(&name, true);
        self.soil_ingress(&name, dirty);
    }

    /// Enters an Ingress into the indexes, or takes it out.
    fn index_ingress(&mut self, name: &Name, is_there: bool) {
        let Some(ingress) = self.ingresses.get(name) else { return };
        for service in ingress.services() {
            note(&mut self.by_service, service, name, is_there);
        }
        for secret in ingress.secrets() {
            note(&mut self.by_secret, secret, name, is_there);
        }
        for host in ingress.hosts() {
            note(&mut self.by_host, (name.namespace.clone(), host.map(Into::into)), name, is_there);
        }
    }

    fn soil_service(&self, name: &Name, dirty: &mut BTreeSet<Unit>) {
        dirty.insert(Unit::Service(name.clone()));
        for ingress in self.by_service.get(name).into_iter().flatten() {
            self.soil_ingress(ingress, dirty);
        }
    }

    fn has_services(&self, namespace: &str) -> bool {
        let mut from = self.services.range(Name::new(namespace, "")..);
        from.next().is_some_and(|(name, _)| *name.namespace == *namespace)
    }

    /// Services of other namespaces that may have chosen what now is, or no longer is, another's: ids begin with their
    /// namespaces.
    fn soil_choosers(&self, joined: &str, namespace: &str, dirty: &mut BTreeSet<Unit>) {
        for (end, _) in joined.match_indices('-') {
            let Some(other) = joined.get(..end).filter(|other| *other != namespace) else { continue };
            let from = self.choosers.range(Name::new(other, "")..);
            for chooser in from.take_while(|name| *name.namespace == *other) {
                self.soil_service(chooser, dirty);
            }
        }
    }

    /// An Ingress, and those that it relieves if it is a canary; if it is none, the canaries that may relieve it.
    fn soil_ingress(&self, name: &Name, dirty: &mut BTreeSet<Unit>) {
        dirty.insert(Unit::Ingress(name.clone()));
        let Some(ingress) = self.ingress(name) else { return };
        let is_canary = ingress.is_canary();
        for host in ingress.hosts() {
            let key = (name.namespace.clone(), host.map(Into::into));
            let others = self.by_host.get(&key).into_iter().flatten();
            let depend =
                others.filter(|other| is_canary || self.ingress(other).is_some_and(Ingress::is_canary));
            dirty.extend(depend.cloned().map(Unit::Ingress));
        }
    }
}

/// Whether it has an annotation `flipgate.io/backend-id`, for whichever port.
fn chooses(service: &Service) -> bool {
    service.meta.annotations.keys().any(|key| key.starts_with("flipgate.io/backend-id"))
}

/// `<namespace>-<label>`; none where that cannot be an id.
fn backend_of(pod: &Pod) -> Option<BackendId> {
    BackendId::try_from(format!("{}-{}", pod.meta.name.namespace, pod.label).as_str()).ok()
}

/// Whether it was otherwise before.
fn put<K: Ord + Clone, V: PartialEq>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) -> bool {
    let Some(value) = value else { return map.remove(key).is_some() };
    if map.get(key) == Some(&value) {
        return false;
    }
    map.insert(key.clone(), value);
    true
}

fn joined(name: &Name) -> String {
    format!("{}-{}", name.namespace, name.name)
}

fn note<K: Ord>(index: &mut Index<K>, key: K, name: &Name, is_there: bool) {
    if is_there {
        index.entry(key).or_default().insert(name.clone());
    } else if let Some(names) = index.get_mut(&key) {
        names.remove(name);
        if names.is_empty() {
            index.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
