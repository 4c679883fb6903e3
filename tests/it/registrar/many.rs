//! A large cluster: how soon a change is served, in how many transactions, and in how much memory.

use super::process::Registrar;
use crate::support::kubernetes::{Cluster, Kubelet, in_cluster, services_of_slices};
use crate::support::{Flipgate, Keys, alone, figure, full, quantile, resident_bytes, scaled, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

const LOAD_MAX: Duration = Duration::from_secs(300);

/// Longest time for a single change.
const MOST: Duration = Duration::from_secs(20);

const EACH: usize = 10;

/// A key's change in etcd: the key below the prefix, and its revision.
type Changes = Receiver<(String, i64)>;

#[test]
fn a_change_is_soon_served_in_a_large_cluster() {
    let _machine = alone();
    in_cluster(|cluster| {
        let count = scaled(50, 1_000);
        let mut keys = Keys::start();
        keys.put_listener();
        keys.put_backend("default-live", &[]);
        let mut objects = services_of_slices("shop", count, EACH);
        for service in objects.iter_mut().filter(|object| object["kind"] == "Service") {
            let host = format!("{}.example", service["metadata"]["name"].as_str().unwrap());
            service["metadata"]["annotations"] = json!({"flipgate.io/route": format!("Host(`{host}`)")});
        }
        cluster.client().create_all(&objects);
        cluster.client().create_all(&(0..EACH).map(labelled_pod).collect::<Vec<_>>());
        let _kubelet = Kubelet::start(cluster.kubeconfig());
        let proxy = Flipgate::on(&keys.url()).ready();
        let begin = Instant::now();
        let registrar = Registrar::ready(cluster, &keys.url());
        until("all endpoints are in the store", LOAD_MAX, || {
            (keys.count("backends/") == count * (1 + EACH) + 1 + EACH).then_some(())
        });
        println!(
            "{count} services and {} endpoints are in the store after {:.1?}",
            count * EACH,
            begin.elapsed()
        );

        let changes = keys.changes("backends/");
        let mut measured =
            Measured { changes, proxy: &proxy, revisions: BTreeSet::new(), millis: Vec::new() };
        let rounds = scaled(40, 200);
        for round in 0..rounds {
            change_slice(cluster, &mut measured, (round / 2) % count, round % 2 == 0);
        }
        measured.tell("an endpoint of a Service", count);
        for round in 0..rounds {
            change_pod(cluster, &mut measured, (round / 2) % EACH, round % 2 == 1);
        }
        measured.tell("a labelled pod", count);
        let resident = resident_bytes(registrar.pid()) as f64 / 1e6;
        let details = format!("{count} services, {} endpoints, {}", count * EACH, built());
        assert!(figure("registrar_resident", resident, "MB", &details, 150.0));
        assert!(proxy.admin().problems().is_empty(), "{:?}", proxy.admin().problems());
    });
}

/// Changes that were made one by one.
struct Measured<'t> {
    changes: Changes,
    proxy: &'t Flipgate,
    revisions: BTreeSet<i64>,
    millis: Vec<f64>,
}

impl Measured<'_> {
    /// Makes a change to Kubernetes, of which one server's key in the store is to tell, and waits until all workers serve
    /// what came of it.
    fn change(&mut self, key: &str, change: impl FnOnce()) {
        let begin = Instant::now();
        change();
        let (changed, revision) = self.changes.recv_timeout(MOST).expect("the store changes");
        assert_eq!(changed, key);
        self.proxy.admin().served(revision);
        self.millis.push(begin.elapsed().as_secs_f64() * 1e3);
        // Each in a transaction of its own, and none in two: the next change is the next one's.
        assert!(self.revisions.insert(revision), "{key}: revision {revision} is an earlier change's");
    }

    fn tell(&mut self, what: &str, count: usize) {
        assert!(self.changes.try_recv().is_err(), "more was written than was changed");
        let mut millis = std::mem::take(&mut self.millis);
        let (half, most) = (quantile(&mut millis, 0.5), quantile(&mut millis, 0.99));
        let details = format!(
            "{what}, {count} services, p99 of {}, p50 {half:.1} ms, request to Kubernetes included, {}",
            millis.len(),
            built()
        );
        assert!(figure("registrar_change_to_served", most, "ms", &details, 150.0));
    }
}

/// An endpoint of a Service goes, or is there again.
fn change_slice(cluster: &Cluster, measured: &mut Measured<'_>, number: usize, goes: bool) {
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/shop-{number}-1");
    let slice = cluster.client().get(&path).unwrap();
    let mut endpoints = slice["endpoints"].as_array().unwrap().clone();
    endpoints[0]["conditions"] = json!({"ready": !goes, "serving": !goes, "terminating": false});
    let address = endpoints[0]["addresses"][0].as_str().unwrap().to_owned();
    let key = format!("backends/default-shop-{number}-80/servers/{address}:8080");
    measured.change(&key, || {
        cluster.client().patch(&path, &json!({"endpoints": endpoints}));
    });
}

/// A pod is no longer ready, or again.
fn change_pod(cluster: &Cluster, measured: &mut Measured<'_>, number: usize, ready: bool) {
    let path = format!("/api/v1/namespaces/default/pods/live-{number}");
    let pod = cluster.client().get(&path).unwrap();
    let mut conditions = pod["status"]["conditions"].as_array().unwrap().clone();
    let condition = conditions.iter_mut().find(|one| one["type"] == "Ready").unwrap();
    condition["status"] = json!(if ready { "True" } else { "False" });
    let address = pod["status"]["podIP"].as_str().unwrap();
    let key = format!("backends/default-live/servers/{address}:8080");
    measured.change(&key, || {
        cluster.client().patch(&format!("{path}/status"), &json!({"status": {"conditions": conditions}}));
    });
}

/// A pod without a process, which is ready as soon as the kubelet sees it.
fn labelled_pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("live-{number}"), "labels": {"name": "live"},
            "annotations": {"test/fake": "true"}},
        "spec": {"nodeName": "one", "containers": [
            {"name": "main", "image": "none", "ports": [{"name": "http", "containerPort": 8080}]}]},
    })
}

/// Which build was measured.
fn built() -> &'static str {
    if full() && std::env::var_os("FLIPGATE_BIN").is_some() {
        "the program of FLIPGATE_BIN"
    } else {
        "debug build"
    }
}
