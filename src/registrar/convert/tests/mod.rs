//! Objects of a cluster in, objects of the store and notes out.

mod ingress;
mod labelled;
mod manifests;
mod services;
mod tenants;

use super::{Converted, Desired, Remit, convert};
use crate::kubernetes::Name;
use crate::model::{BackendId, Object, Severity, Strictness};
use crate::registrar::seen::{
    Endpoint, Meta, Pod, PodPort, Readiness, Service, ServicePort, Slice, SlicePort,
};
use crate::registrar::{Change, Note, Unit, World};
use serde_json::{Map, Value};

/// Pairs of annotations, whose names get the prefix.
type Annotations<'a> = &'a [(&'a str, &'a str)];

fn meta(name: &str, annotations: Annotations<'_>) -> Meta {
    let annotation = |(key, text): &(&str, &str)| (format!("flipgate.io/{key}").into(), (*text).into());
    Meta {
        name: Name::new("shop", name),
        created: 0,
        annotations: annotations.iter().map(annotation).collect(),
    }
}

/// Ports as `http:80`, `:80` and `grpc:90:kubernetes.io/h2c`.
fn service(annotations: Annotations<'_>, ports: &str) -> Service {
    let port = |text: &str| {
        let mut parts = text.splitn(3, ':');
        let name = parts.next().filter(|name| !name.is_empty()).map(Into::into);
        let port = parts.next().unwrap().parse().unwrap();
        ServicePort { name, port, app_protocol: parts.next().map(Into::into) }
    };
    Service {
        meta: meta("web", annotations),
        ports: ports.split_whitespace().map(port).collect(),
        prefers_ipv6: false,
        external_name: None,
    }
}

/// A slice of the Service `web`: ports as `http:8080`, endpoints as `10.0.0.1 ready zone-a`.
fn slice(name: &str, ports: &str, endpoints: &[&str]) -> Slice {
    let port = |text: &str| {
        let (name, port) = text.split_once(':').unwrap();
        let name = Some(name).filter(|name| !name.is_empty()).map(Into::into);
        SlicePort { name, port: port.parse().unwrap() }
    };
    let endpoint = |text: &&str| {
        let mut words = text.split_whitespace();
        Endpoint {
            address: words.next().unwrap().parse().unwrap(),
            readiness: readiness(words.next().unwrap()),
            zone: words.next().map(Into::into),
        }
    };
    Slice {
        name: Name::new("shop", name),
        service: "web".into(),
        ports: ports.split_whitespace().map(port).collect(),
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

/// A pod with the label `web`: ports as `http:8080`.
fn pod(name: &str, annotations: Annotations<'_>, ports: &str, addresses: &str, ready: &str) -> Pod {
    let port = |text: &str| {
        let (name, port) = text.split_once(':').unwrap();
        let name = Some(name).filter(|name| !name.is_empty()).map(Into::into);
        PodPort { name, port: port.parse().unwrap() }
    };
    Pod {
        meta: meta(name, annotations),
        label: "web".into(),
        addresses: addresses.split_whitespace().map(|address| address.parse().unwrap()).collect(),
        ports: ports.split_whitespace().map(port).collect(),
        readiness: readiness(ready),
    }
}

fn readiness(word: &str) -> Readiness {
    match word {
        "ready" => Readiness::Ready,
        "ending" => Readiness::Ending,
        "ended" => Readiness::Ended,
        _ => Readiness::NotReady,
    }
}

/// What a Service and its slices become.
fn convert_service(service: &Service, slices: &[Slice]) -> Converted {
    let mut world = World::default();
    world.apply(Change::Service(service.meta.name.clone(), Some(service.clone())));
    for slice in slices {
        world.apply(Change::Slice(slice.name.clone(), Some(slice.clone())));
    }
    checked(convert(&world, &Unit::Service(service.meta.name.clone()), &Remit::default()))
}

/// What pods become that have the label of the backend `shop-web`.
fn convert_pods(pods: &[Pod]) -> Converted {
    let (mut world, backend) = (World::default(), BackendId::try_from("shop-web").unwrap());
    world.set_backend(&backend, true);
    for pod in pods {
        world.apply(Change::Pod(pod.meta.name.clone(), Some(pod.clone())));
    }
    checked(convert(&world, &Unit::Labelled(backend), &Remit::default()))
}

/// All that is wanted must be what may be written, in canonical spelling and without defaults.
#[track_caller]
fn checked(converted: Converted) -> Converted {
    for (key, desired) in &converted.objects {
        let Desired::Value(value) = desired else { continue };
        let read = Object::parse_value(key, &Value::Object(value.clone()), Strictness::Written);
        assert!(read.object.is_some(), "{key}: {value:?} {:?}", read.findings);
    }
    converted
}

/// Keys with values.
fn objects(converted: &Converted) -> Value {
    let shown = |(key, desired): (&_, &Desired)| match desired {
        Desired::Value(value) => (ToString::to_string(key), Value::Object(value.clone())),
        Desired::Certificate { .. } => (ToString::to_string(key), "a certificate".into()),
    };
    converted.objects.iter().map(shown).collect::<Map<_, _>>().into()
}

/// `error service/shop/web flipgate.io/route is no expression`.
fn notes(converted: &Converted) -> Vec<String> {
    let shown = |note: &Note| {
        let severity = match note.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        format!("{severity} {} {} {}", note.about, note.field, note.reason)
    };
    converted.notes.iter().map(shown).collect()
}
