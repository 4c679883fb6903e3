//! Ingresses in, objects of the store and notes out.

mod access;
mod backends;
mod canary;
mod hosts;
mod paths;
mod redirects;
mod table;
mod traffic;

use super::{notes, objects, slice};
use crate::kubernetes::Name;
use crate::model::{Object, Strictness};
use crate::registrar::convert::{Classes, Converted, Desired, Remit, convert};
use crate::registrar::seen::{
    Ingress, IngressBackend, IngressClass, IngressPath, IngressRule, IngressTls, Meta, PathType, PortRef,
    Secret, Service, ServicePort,
};
use crate::registrar::{Change, Unit, World};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Pairs of annotations, whose names get ingress-nginx's prefix unless they have one.
type Annotations<'a> = &'a [(&'a str, &'a str)];

fn meta(name: &str, annotations: Annotations<'_>) -> Meta {
    let annotation = |(key, text): &(&str, &str)| match key.contains('/') {
        true => ((*key).into(), (*text).into()),
        false => (format!("nginx.ingress.kubernetes.io/{key}").into(), (*text).into()),
    };
    Meta {
        name: Name::new("shop", name),
        created: 0,
        annotations: annotations.iter().map(annotation).collect(),
    }
}

/// An Ingress of the class `nginx`: a rule a line, as `shop.example /api Prefix web:80`; `*` is every host.
fn ingress(name: &str, annotations: Annotations<'_>, lines: &str) -> Ingress {
    let rule = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [host, path, kind, backend] = words[..] else { panic!("{line}") };
        IngressRule {
            host: Some(host).filter(|host| *host != "*").map(Into::into),
            paths: vec![IngressPath {
                path: Some(path.into()),
                kind: match kind {
                    "Exact" => PathType::Exact,
                    "Prefix" => PathType::Prefix,
                    _ => PathType::ImplementationSpecific,
                },
                backend: to(backend),
            }],
        }
    };
    Ingress {
        meta: meta(name, annotations),
        class: Some("nginx".into()),
        default_backend: None,
        rules: lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(rule).collect(),
        tls: Vec::new(),
        published: Vec::new(),
    }
}

/// The Ingress `web` for everything at `shop.example`.
fn plain(annotations: Annotations<'_>) -> Ingress {
    ingress("web", annotations, "shop.example / Prefix web:80")
}

fn with_tls(mut ingress: Ingress, hosts: &[&str], secret: Option<&str>) -> Ingress {
    let hosts = hosts.iter().map(|host| (*host).into()).collect();
    ingress.tls.push(IngressTls { hosts, secret: secret.map(Into::into) });
    ingress
}

/// `web:80` or `web:http`.
fn to(backend: &str) -> IngressBackend {
    let (name, port) = backend.split_once(':').unwrap();
    let port = match port.parse() {
        Ok(number) => PortRef::Number(number),
        Err(_) => PortRef::Name(port.into()),
    };
    IngressBackend::Service { name: name.into(), port }
}

fn service(namespace: &str, name: &str, annotations: Annotations<'_>, ports: &[(&str, u16)]) -> Service {
    let port = |(name, port): &(&str, u16)| ServicePort {
        name: Some(*name).filter(|name| !name.is_empty()).map(Into::into),
        port: *port,
        app_protocol: None,
    };
    let mut meta = meta(name, annotations);
    meta.name.namespace = namespace.into();
    Service { meta, ports: ports.iter().map(port).collect(), prefers_ipv6: false, external_name: None }
}

fn secret(name: &str, fields: &[(&str, &[u8])]) -> Secret {
    let field = |(name, value): &(&str, &[u8])| ((*name).into(), Zeroizing::new(value.to_vec()));
    Secret { name: Name::new("shop", name), kind: "Opaque".into(), data: fields.iter().map(field).collect() }
}

/// A cluster with the Services `web` (with a pod), `next` and `fallback` (without).
fn world(ingresses: &[Ingress]) -> World {
    let mut world = World::default();
    for name in ["web", "next", "fallback"] {
        let service = service("shop", name, &[], &[("http", 80)]);
        world.apply(Change::Service(service.meta.name.clone(), Some(service)));
    }
    let slice = slice("web-1", "http:8080", &["10.0.0.1 ready"]);
    world.apply(Change::Slice(slice.name.clone(), Some(slice)));
    for ingress in ingresses {
        world.apply(Change::Ingress(ingress.meta.name.clone(), Some(Box::new(ingress.clone()))));
    }
    world
}

fn nginx() -> Remit {
    Remit { classes: Classes::new(["flipgate", "nginx"]), ..Remit::default() }
}

/// What the Ingress of that name becomes; all of it may be written.
#[track_caller]
fn converted(world: &World, name: &str) -> Converted {
    let converted = convert(world, &Unit::Ingress(Name::new("shop", name)), &nginx());
    for (key, desired) in &converted.objects {
        let (Desired::Value(value) | Desired::Certificate { value, .. }) = desired;
        let read = Object::parse_value(key, &Value::Object(value.clone()), Strictness::Written);
        assert!(read.object.is_some(), "{key}: {value:?} {:?}", read.findings);
    }
    converted
}

/// What the plain Ingress with annotations becomes: its frontend's and its backend's value, its middlewares' as
/// `TYPE SPEC`, and the notes, of which only what follows the prefix of an annotation is shown.
struct Shown {
    frontend: Value,
    backend: Value,
    middlewares: Vec<String>,
    notes: Vec<String>,
}

#[track_caller]
fn shown(annotations: Annotations<'_>) -> Shown {
    shown_in(&world(&[plain(annotations)]))
}

#[track_caller]
fn shown_in(world: &World) -> Shown {
    let converted = converted(world, "web");
    let objects = objects(&converted);
    let frontend = objects["frontends/shop-web:shop.example/frontend"].clone();
    let backend = frontend["BackendId"].as_str().unwrap_or_default();
    let backend = objects[format!("backends/{backend}/backend")].clone();
    let own = objects.as_object().unwrap().iter();
    let mut own: Vec<_> = own
        .filter(|(key, _)| key.starts_with("frontends/shop-web:shop.example/middlewares/"))
        .map(|(_, value)| value)
        .collect();
    own.sort_by_key(|value| value["Priority"].as_i64());
    let middlewares = own
        .iter()
        .map(|value| {
            format!("{} {}", value["Type"].as_str().unwrap_or_default(), sorted(&value["Middleware"]))
        })
        .collect();
    let said = notes(&converted)
        .into_iter()
        .map(|note| note.replace("ingress/shop/web ", "").replace("nginx.ingress.kubernetes.io/", ""));
    Shown { frontend, backend, middlewares, notes: said.collect() }
}

/// With the fields in the order of their names.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<_, _> = map.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            map.into_iter().collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// The settings that every frontend of an Ingress has.
fn usual() -> Value {
    json!({ "PassHostHeader": true, "Timeouts": { "Response": "1m0s" }, "Retry": {} })
}

/// What middlewares and notes the annotations become.
#[track_caller]
fn check(annotations: Annotations<'_>, middlewares: &[&str], said: &[&str]) {
    let shown = shown(annotations);
    assert_eq!(shown.middlewares, middlewares, "{annotations:?}");
    assert_eq!(shown.notes, said, "{annotations:?}");
}

#[test]
fn only_ingresses_of_the_classes_are_converted() {
    let is_there = |ingress: &Ingress, default: Option<&str>| {
        let mut world = world(std::slice::from_ref(ingress));
        if let Some(name) = default {
            let class = IngressClass { name: name.into(), controller: "k8s.io/any".into(), is_default: true };
            world.apply(Change::Class(name.into(), Some(class)));
        }
        !converted(&world, "web").objects.is_empty()
    };
    let class = |class: Option<&str>, annotations: Annotations<'_>| {
        let mut ingress = plain(annotations);
        ingress.class = class.map(Into::into);
        ingress
    };
    let old = "kubernetes.io/ingress.class";
    assert!(is_there(&class(Some("flipgate"), &[]), None));
    assert!(is_there(&class(None, &[(old, "nginx")]), None));
    assert!(!is_there(&class(Some("traefik"), &[]), Some("nginx")));
    assert!(!is_there(&class(None, &[(old, "traefik")]), Some("nginx")));
    assert!(!is_there(&class(None, &[]), None));
    assert!(!is_there(&class(None, &[]), Some("traefik")));
    assert!(is_there(&class(None, &[]), Some("nginx")));
    // Nor is anything said of others.
    let world = world(&[class(Some("traefik"), &[("server-snippet", "return 200;")])]);
    assert_eq!(converted(&world, "web"), Converted::default());
}
