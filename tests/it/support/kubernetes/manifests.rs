//! Objects as tests write them, for what stands in every one of them.

use super::status::{Seen, State, now, status};
use serde_json::{Value, json};
use std::net::IpAddr;

/// A deployment of pods labelled `app: NAME` that listen on a port.
pub fn deployment(name: &str, replicas: usize, port: u16) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{"name": "main", "image": "none", "ports": [{"name": "http", "containerPort": port}]}],
                },
            },
        },
    })
}

/// A service on port 80 for pods labelled `app: NAME`, which listen on a port.
pub fn service(name: &str, target_port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": target_port}]},
    })
}

/// Services `PREFIX-0`, `PREFIX-1`, ... on port 80 for pods labelled `app: PREFIX-0` and so on.
pub fn services(prefix: &str, count: usize) -> Vec<Value> {
    (0..count).map(|number| service(&format!("{prefix}-{number}"), 8080)).collect()
}

/// So many fake pods for each of [`services`].
pub fn fake_pods(prefix: &str, count: usize, each: usize) -> Vec<Value> {
    let pod = |number: usize| {
        let app = format!("{prefix}-{}", number / each);
        fake_pod(&app, &format!("{app}-{}", number % each), 8080)
    };
    (0..count * each).map(pod).collect()
}

/// [`fake_pods`] as they are stored once they are ready: for [`Cluster::store_pods`](super::Cluster::store_pods).
pub fn ready_fake_pods(prefix: &str, count: usize, each: usize) -> Vec<Value> {
    let ready = |(number, mut pod): (usize, Value)| {
        // From the middle of the range up.
        let [high, low] = (0x8000 + u16::try_from(number).unwrap()).to_be_bytes();
        let object = serde_json::from_value(pod.clone()).unwrap();
        let addresses = vec![IpAddr::from([10, 244, high, low])];
        let seen = Seen { addresses, state: State::Running, is_ready: true, restarts: 0 };
        pod["status"] = status(&object, &seen, &now())["status"].take();
        pod["metadata"]["namespace"] = json!("default");
        pod["metadata"]["creationTimestamp"] = json!(now());
        pod["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
        pod
    };
    fake_pods(prefix, count, each).into_iter().enumerate().map(ready).collect()
}

/// Services without pods and selectors, and their slices written by hand: the quickest way to have many endpoints. No two
/// have one address.
pub fn services_of_slices(prefix: &str, count: usize, each: usize) -> Vec<Value> {
    let named = |number: usize| {
        let name = format!("{prefix}-{number}");
        let mut service = service(&name, 8080);
        service["spec"].as_object_mut().unwrap().remove("selector");
        // From the upper half of the range down; the kubelet gives addresses from the lower end up.
        let address = |endpoint: usize| {
            let [high, low] = (u16::MAX - u16::try_from(number * each + endpoint + 1).unwrap()).to_be_bytes();
            IpAddr::from([10, 244, high, low])
        };
        let addresses = (0..each).map(address).collect::<Vec<_>>();
        [service, endpoint_slice(&name, &addresses, 8080)]
    };
    (0..count).flat_map(named).collect()
}

/// A pod labelled `app: APP` that is ready as soon as the kubelet sees it, and has no process.
fn fake_pod(app: &str, name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}, "annotations": {"test/fake": "true"}},
        "spec": {
            "nodeName": "one",
            "containers": [{"name": "main", "image": "none", "ports": [{"name": "http", "containerPort": port}]}],
        },
    })
}

/// A slice with ready endpoints. The service must have no selector, or the controllers write slices beside it.
fn endpoint_slice(service: &str, addresses: &[IpAddr], port: u16) -> Value {
    let endpoints = addresses.iter().map(|address| {
        json!({"addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false}, "zone": "a"})
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-1"), "labels": {"kubernetes.io/service-name": service}},
        "addressType": if addresses.iter().all(IpAddr::is_ipv4) { "IPv4" } else { "IPv6" },
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}
