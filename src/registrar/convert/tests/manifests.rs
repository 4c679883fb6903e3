//! Manifests as people write them, and as the controllers answer them.

use super::{checked, notes, objects};
use crate::kubernetes::Name;
use crate::model::BackendId;
use crate::registrar::convert::{Remit, convert};
use crate::registrar::seen::{Pod, Service, Slice};
use crate::registrar::{Change, Unit, World};
use serde::de::DeserializeOwned;
use serde_json::json;

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations:
    flipgate.io/route: Host("shop.example") && PathPrefix("/")
    flipgate.io/route.grpc: Host("grpc.example")
    flipgate.io/health: /healthz
    flipgate.io/health.grpc: '{"protocol": "grpc"}'
    flipgate.io/retry: "2"
    prometheus.io/scrape: "true"
spec:
  ipFamilies: [IPv6, IPv4]
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: grpc, port: 90, targetPort: 9090, appProtocol: kubernetes.io/h2c}
  - {name: dns, port: 53, protocol: UDP}
"#;

const SLICES: [&str; 2] = [
    r#"
metadata: {name: web-4, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}, {name: grpc, port: 9090, protocol: TCP}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true, serving: true, terminating: false}, zone: a}
"#,
    r#"
metadata: {name: web-6, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080, protocol: TCP}, {name: grpc, port: 9090, protocol: TCP}]
endpoints:
- {addresses: ["fd00::1"], conditions: {ready: true, serving: true, terminating: false}, zone: a}
- {addresses: ["fd00::2"], conditions: {ready: false, serving: true, terminating: true}, zone: b}
- {addresses: ["fd00::3"], conditions: {ready: false, serving: false, terminating: false}, zone: b}
"#,
];

const PODS: [&str; 2] = [
    r#"
metadata: {name: web-1, namespace: shop, labels: {name: web}}
spec: {containers: [{name: main, ports: [{containerPort: 9100}, {name: http, containerPort: 8080}]}]}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
  conditions: [{type: Ready, status: "True"}]
"#,
    r#"
metadata:
  name: web-2
  namespace: shop
  labels: {name: web}
  annotations: {flipgate.io/scheme: https, flipgate.io/port: "8443"}
  deletionTimestamp: "2026-01-01T00:00:00Z"
spec: {containers: [{name: main}]}
status:
  phase: Running
  podIP: 10.0.0.2
  conditions: [{type: Ready, status: "True"}]
"#,
];

fn read<T: DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

#[test]
fn a_service_becomes_what_its_manifest_says() {
    let mut world = World::default();
    let service = Service::from_api(&read(SERVICE)).unwrap();
    world.apply(Change::Service(service.meta.name.clone(), Some(service)));
    for slice in SLICES.map(|yaml| Slice::from_api(&read(yaml)).unwrap()) {
        world.apply(Change::Slice(slice.name.clone(), Some(slice)));
    }
    let converted = checked(convert(&world, &Unit::Service(Name::new("shop", "web")), &Remit::default()));
    let frontend = |backend: &str, route: &str| {
        json!({ "Type": "http", "BackendId": backend, "Route": route,
            "Settings": { "PassHostHeader": true, "Retry": { "Attempts": 2 } } })
    };
    let expected = json!({
        "frontends/shop-web/frontend":
            frontend("shop-web-80", "Host(\"shop.example\") && PathPrefix(\"/\")"),
        "frontends/shop-web-90/frontend": frontend("shop-web-90", "Host(\"grpc.example\")"),
        "backends/shop-web-80/backend": { "Type": "http", "Settings": { "Health": { "Path": "/healthz" } } },
        "backends/shop-web-90/backend":
            { "Type": "http", "Settings": { "Protocol": "http2", "Health": { "Protocol": "grpc" } } },
        "backends/shop-web-80/servers/[fd00::1]:8080": { "URL": "http://[fd00::1]:8080", "Zone": "a" },
        "backends/shop-web-80/servers/[fd00::2]:8080":
            { "URL": "http://[fd00::2]:8080", "State": "draining", "Zone": "b" },
        "backends/shop-web-90/servers/[fd00::1]:9090": { "URL": "http://[fd00::1]:9090", "Zone": "a" },
        "backends/shop-web-90/servers/[fd00::2]:9090":
            { "URL": "http://[fd00::2]:9090", "State": "draining", "Zone": "b" },
    });
    assert_eq!(objects(&converted), expected);
    assert_eq!(notes(&converted), [""; 0]);
}

#[test]
fn pods_become_what_their_manifests_say() {
    let (mut world, backend) = (World::default(), BackendId::try_from("shop-web").unwrap());
    for pod in PODS.map(|yaml| Pod::from_api(&read(yaml), "name").unwrap()) {
        world.apply(Change::Pod(pod.meta.name.clone(), Some(pod)));
    }
    let unit = Unit::Labelled(backend.clone());
    // Nobody has made the backend yet.
    assert_eq!(objects(&convert(&world, &unit, &Remit::default())), json!({}));
    assert_eq!(world.set_backend(&backend, true), Some(unit.clone()));
    let converted = checked(convert(&world, &unit, &Remit::default()));
    let expected = json!({
        "backends/shop-web/servers/10.0.0.1:8080": { "URL": "http://10.0.0.1:8080" },
        "backends/shop-web/servers/10.0.0.2:8443": { "URL": "https://10.0.0.2:8443", "State": "draining" },
    });
    assert_eq!(objects(&converted), expected);
    assert_eq!(notes(&converted), [""; 0]);
}
