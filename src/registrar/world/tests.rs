//! What is to be converted again after a change, against a world without indexes.

use super::*;
use crate::registrar::seen::{
    IngressBackend, IngressPath, IngressRule, IngressTls, Meta, PathType, PortRef, Readiness,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const NAMESPACES: [&str; 2] = ["shop", "bank"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const HOSTS: [Option<&str>; 3] = [None, Some("x.example"), Some("*.example")];

fn meta(name: &Name, annotations: &[(&str, &str)]) -> Meta {
    let annotations = annotations.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    Meta { name: name.clone(), created: 0, annotations: annotations.collect() }
}

fn pod(name: &Name, label: &str, readiness: Readiness) -> Pod {
    Pod { meta: meta(name, &[]), label: label.into(), addresses: Vec::new(), ports: Vec::new(), readiness }
}

fn slice(name: &Name, service: &str) -> Slice {
    Slice { name: name.clone(), service: service.into(), ports: Vec::new(), endpoints: Vec::new() }
}

fn ingress(name: &Name, hosts: &[Option<&str>], service: &str, annotations: &[(&str, &str)]) -> Box<Ingress> {
    let backend = IngressBackend::Service { name: service.into(), port: PortRef::Number(80) };
    let path = IngressPath { path: None, kind: PathType::Prefix, backend };
    let rule = |host: &Option<&str>| IngressRule { host: host.map(Into::into), paths: vec![path.clone()] };
    Box::new(Ingress {
        meta: meta(name, annotations),
        class: None,
        default_backend: None,
        rules: hosts.iter().map(rule).collect(),
        tls: Vec::new(),
        published: Vec::new(),
    })
}

const CANARY: (&str, &str) = ("nginx.ingress.kubernetes.io/canary", "true");

fn units(names: &[(&str, &str)]) -> BTreeSet<Unit> {
    let unit = |(kind, name): &(&str, &str)| match *kind {
        "pods" => Unit::Labelled(BackendId::try_from(*name).unwrap()),
        "service" => Unit::Service(Name::new("shop", name)),
        _ => Unit::Ingress(Name::new("shop", name)),
    };
    names.iter().map(unit).collect()
}

#[test]
fn what_does_not_change_concerns_nobody() {
    let mut world = World::default();
    let name = Name::new("shop", "a");
    let changes = [
        Change::Slice(name.clone(), Some(slice(&name, "web"))),
        Change::Pod(name.clone(), Some(pod(&name, "web", Readiness::Ready))),
        Change::Ingress(name.clone(), Some(ingress(&name, &[None], "web", &[]))),
    ];
    for change in changes {
        assert!(!world.apply(change.clone()).is_empty(), "{change:?}");
        assert!(world.apply(change.clone()).is_empty(), "{change:?}");
    }
    assert!(world.apply(Change::Secret(Name::new("shop", "none"), None)).is_empty());
    assert!(world.apply(Change::Slice(Name::new("shop", "none"), None)).is_empty());
}

#[test]
fn a_slice_that_moves_concerns_both_services() {
    let mut world = World::default();
    let name = Name::new("shop", "s");
    world.apply(Change::Slice(name.clone(), Some(slice(&name, "old"))));
    let dirty = world.apply(Change::Slice(name.clone(), Some(slice(&name, "new"))));
    assert_eq!(dirty, units(&[("service", "old"), ("service", "new")]));
    assert_eq!(world.slices(&Name::new("shop", "old")).count(), 0);
    assert_eq!(world.slices(&Name::new("shop", "new")).count(), 1);
    assert_eq!(world.apply(Change::Slice(name, None)), units(&[("service", "new")]));
}

#[test]
fn a_pod_that_changes_its_label_concerns_both_backends() {
    let mut world = World::default();
    let name = Name::new("shop", "p");
    world.apply(Change::Pod(name.clone(), Some(pod(&name, "old", Readiness::Ready))));
    let dirty = world.apply(Change::Pod(name.clone(), Some(pod(&name, "new", Readiness::Ready))));
    assert_eq!(dirty, units(&[("pods", "shop-old"), ("pods", "shop-new")]));
    let backend = BackendId::try_from("shop-new").unwrap();
    assert_eq!(world.pods_of(&backend).count(), 0, "the store has no such backend");
    assert_eq!(world.set_backend(&backend, true), Some(Unit::Labelled(backend.clone())));
    assert_eq!(world.set_backend(&backend, true), None);
    assert_eq!(world.pods_of(&backend).count(), 1);
}

#[test]
fn a_canary_and_what_it_relieves_concern_each_other() {
    let mut world = World::default();
    let (first, canary) = (Name::new("shop", "web"), Name::new("shop", "web-canary"));
    let host = [Some("x.example")];
    world.apply(Change::Ingress(first.clone(), Some(ingress(&first, &host, "web", &[]))));
    let both = units(&[("ingress", "web"), ("ingress", "web-canary")]);
    let there = Some(ingress(&canary, &host, "next", &[CANARY]));
    assert_eq!(world.apply(Change::Ingress(canary.clone(), there)), both);
    assert_eq!(world.canaries("shop", Some("x.example")).count(), 1);
    let endpoints = Name::new("shop", "next-1");
    let dirty = world.apply(Change::Slice(endpoints.clone(), Some(slice(&endpoints, "next"))));
    assert!(dirty.is_superset(&both), "{dirty:?}");
    assert_eq!(world.apply(Change::Ingress(first.clone(), None)), both);
    world.apply(Change::Ingress(first.clone(), Some(ingress(&first, &host, "web", &[]))));
    assert_eq!(world.apply(Change::Ingress(canary, None)), both);
    assert_eq!(world.canaries("shop", Some("x.example")).count(), 0);
}

#[test]
fn only_what_a_complete_list_does_not_name_is_forgotten() {
    let mut world = World::default();
    for at in NAMES {
        let name = Name::new("shop", at);
        world.apply(Change::Pod(name.clone(), Some(pod(&name, at, Readiness::Ready))));
        let class = IngressClass { name: at.into(), controller: "".into(), is_default: false };
        world.apply(Change::Class(at.into(), Some(class)));
    }
    let kept = [Name::new("shop", "a"), Name::new("shop", "c"), Name::new("bank", "b")].into();
    let dirty = world.retain(Kind::Pod, &kept);
    assert_eq!(dirty, units(&[("pods", "shop-b"), ("pods", "shop-d")]));
    assert_eq!(world.count(Kind::Pod), 2);
    world.retain(Kind::Class, &[Name::new("", "d")].into());
    assert_eq!(world.classes().map(|class| &*class.name).collect::<Vec<_>>(), ["d"]);
}

/// The same without indexes.
#[derive(Default)]
struct Plain {
    services: BTreeMap<Name, Service>,
    slices: BTreeMap<Name, Slice>,
    pods: BTreeMap<Name, Pod>,
    ingresses: BTreeMap<Name, Box<Ingress>>,
    secrets: BTreeMap<Name, Secret>,
    classes: BTreeMap<Box<str>, IngressClass>,
    backends: BTreeSet<BackendId>,
}

impl Plain {
    fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Service(name, object) => drop(put(&mut self.services, &name, object)),
            Change::Slice(name, object) => drop(put(&mut self.slices, &name, object)),
            Change::Pod(name, object) => drop(put(&mut self.pods, &name, object)),
            Change::Ingress(name, object) => drop(put(&mut self.ingresses, &name, object)),
            Change::Secret(name, object) => drop(put(&mut self.secrets, &name, object)),
            Change::Class(name, object) => drop(put(&mut self.classes, &name, object)),
        }
    }

    /// All that each unit's conversion may look at, as text.
    fn inputs(&self) -> BTreeMap<Unit, String> {
        let mut inputs = BTreeMap::new();
        for namespace in NAMESPACES {
            for at in NAMES {
                let name = Name::new(namespace, at);
                inputs.insert(Unit::Service(name.clone()), self.of_service(&name));
                inputs.insert(Unit::Ingress(name.clone()), self.of_ingress(&name));
                let backend = BackendId::try_from(format!("{namespace}-{at}").as_str()).unwrap();
                inputs.insert(Unit::Labelled(backend.clone()), self.of_pods(&backend));
            }
        }
        inputs
    }

    fn of_service(&self, name: &Name) -> String {
        let mine =
            |slice: &&Slice| name.beside(&slice.service) == *name && slice.name.namespace == name.namespace;
        format!("{:?} {:?}", self.services.get(name), self.slices.values().filter(mine).collect::<Vec<_>>())
    }

    fn of_pods(&self, backend: &BackendId) -> String {
        let mine = |pod: &&Pod| format!("{}-{}", pod.meta.name.namespace, pod.label) == backend.as_str();
        match self.backends.contains(backend) {
            true => format!("{:?}", self.pods.values().filter(mine).collect::<Vec<_>>()),
            false => String::new(),
        }
    }

    fn of_ingress(&self, name: &Name) -> String {
        let Some(ingress) = self.ingresses.get(name) else { return String::new() };
        let mut text = format!("{:?} {}", self.classes, self.alone(ingress));
        for other in self.ingresses.values() {
            let beside = other.meta.name.namespace == name.namespace;
            let shares = other.hosts().any(|host| ingress.hosts().any(|own| own == host));
            if beside && shares && other.is_canary() {
                text += &self.alone(other);
            } else if beside && shares && ingress.is_canary() {
                text += &format!("{other:?}");
            }
        }
        text
    }

    fn alone(&self, ingress: &Ingress) -> String {
        let services: Vec<String> = ingress.services().map(|name| self.of_service(&name)).collect();
        let secrets: Vec<_> =
            ingress.secrets().map(|name| self.secrets.get(&name).map(|secret| &secret.kind)).collect();
        format!("{ingress:?} {services:?} {secrets:?}")
    }
}

fn any_ingress(name: &Name, chance: &mut StdRng) -> Box<Ingress> {
    let mut annotations = Vec::new();
    if chance.random_ratio(1, 3) {
        annotations.push(CANARY);
    }
    if chance.random_ratio(1, 4) {
        annotations
            .push(("nginx.ingress.kubernetes.io/auth-secret", ["a", "bank/b"][chance.random_range(0..2)]));
    }
    if chance.random_ratio(1, 4) {
        annotations.push(("nginx.ingress.kubernetes.io/default-backend", NAMES[chance.random_range(0..4)]));
    }
    let hosts: Vec<_> = HOSTS.into_iter().filter(|_| chance.random_ratio(1, 2)).collect();
    let mut made = ingress(name, &hosts, NAMES[chance.random_range(0..4)], &annotations);
    if chance.random_ratio(1, 3) {
        made.tls
            .push(IngressTls { hosts: Vec::new(), secret: Some(NAMES[chance.random_range(0..4)].into()) });
    }
    made
}

fn any_change(chance: &mut StdRng) -> Change {
    let name = Name::new(NAMESPACES[chance.random_range(0..2)], NAMES[chance.random_range(0..4)]);
    let other = NAMES[chance.random_range(0..4)];
    let is_there = chance.random_ratio(2, 3);
    let some: bool = chance.random();
    match chance.random_range(0..8) {
        0 => {
            let made = Service {
                meta: meta(&name, &[]),
                ports: Vec::new(),
                prefers_ipv6: some,
                external_name: None,
            };
            Change::Service(name, is_there.then_some(made))
        }
        1 | 2 => Change::Slice(name.clone(), is_there.then(|| slice(&name, other))),
        3 => {
            let readiness = if some { Readiness::Ready } else { Readiness::NotReady };
            Change::Pod(name.clone(), is_there.then(|| pod(&name, other, readiness)))
        }
        4 | 5 => Change::Ingress(name.clone(), is_there.then(|| any_ingress(&name, chance))),
        6 => {
            let made = Secret { name: name.clone(), kind: other.into(), data: BTreeMap::new() };
            Change::Secret(name, is_there.then_some(made))
        }
        _ => {
            let made = IngressClass { name: other.into(), controller: "".into(), is_default: some };
            Change::Class(other.into(), is_there.then_some(made))
        }
    }
}

#[test]
fn every_unit_whose_inputs_changed_is_named() {
    let seed: u64 = rand::random();
    let mut chance = StdRng::seed_from_u64(seed);
    let (mut world, mut plain) = (World::default(), Plain::default());
    let mut before = plain.inputs();
    let mut named = 0;
    for step in 0..4000 {
        let (what, dirty) = if chance.random_ratio(1, 10) {
            let id =
                format!("{}-{}", NAMESPACES[chance.random_range(0..2)], NAMES[chance.random_range(0..4)]);
            let (id, is_there) = (BackendId::try_from(id.as_str()).unwrap(), chance.random());
            if is_there {
                plain.backends.insert(id.clone())
            } else {
                plain.backends.remove(&id)
            };
            (format!("{id:?} {is_there}"), world.set_backend(&id, is_there).into_iter().collect())
        } else {
            let change = any_change(&mut chance);
            plain.apply(&change);
            (format!("{change:?}"), world.apply(change))
        };
        let now = plain.inputs();
        for (unit, input) in &now {
            assert!(
                before.get(unit) == Some(input) || dirty.contains(unit),
                "seed {seed}, step {step}: {what} misses {unit:?}"
            );
        }
        named += dirty.len();
        before = now;
        check_indexes(&world, &plain);
    }
    assert!(named < 4000 * 6, "seed {seed}: nearly everything is named");
}

fn check_indexes(world: &World, plain: &Plain) {
    assert_eq!(world.count(Kind::Slice), plain.slices.len());
    for namespace in NAMESPACES {
        for at in NAMES {
            let name = Name::new(namespace, at);
            let slices: Vec<_> = world.slices(&name).collect();
            let mine =
                |slice: &&Slice| slice.name.namespace == name.namespace && *slice.service == *name.name;
            assert_eq!(slices, plain.slices.values().filter(mine).collect::<Vec<_>>());
        }
        for host in HOSTS {
            let found: Vec<_> = world.canaries(namespace, host).collect();
            let mine = |ingress: &&Ingress| {
                *ingress.meta.name.namespace == *namespace
                    && ingress.is_canary()
                    && ingress.hosts().any(|own| own == host)
            };
            let expected: Vec<_> = plain.ingresses.values().map(|ingress| &**ingress).filter(mine).collect();
            assert_eq!(found, expected);
        }
    }
    for backend in &plain.backends {
        let mine = |pod: &&Pod| format!("{}-{}", pod.meta.name.namespace, pod.label) == backend.as_str();
        let expected: Vec<_> = plain.pods.values().filter(mine).collect();
        assert_eq!(world.pods_of(backend).collect::<Vec<_>>(), expected);
    }
}
