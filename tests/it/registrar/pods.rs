//! Pods come and go under load: each gets requests as soon as it is ready, and none fails while it ends.

use super::process::Registrar;
use crate::support::kubernetes::{Cluster, Kubelet, deployment, in_cluster, service};
use crate::support::{Flipgate, Keys, Plan, Tally, Traffic, alone, figure, nothing, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const MOST: Duration = Duration::from_secs(60);

const HOST: &str = "shop.example";

const PODS: &str = "/api/v1/namespaces/default/pods?labelSelector=app=shop";

/// Requests a second: with 20 pods each gets its turn within some milliseconds.
const RATE: u64 = 1_000;

#[test]
fn labelled_pods_come_and_go_under_load() {
    let _machine = alone();
    in_cluster(|cluster| {
        let mut keys = Keys::start();
        keys.put_backend("default-shop", &[]);
        keys.put_frontend("shop", "Host(`shop.example`)", "default-shop");
        let mut shop = shop();
        shop["spec"]["template"]["metadata"]["labels"]["name"] = json!("shop");
        grow_and_shrink(cluster, keys, &[shop], "pods by label", ready_pods);
    });
}

#[test]
fn pods_of_a_service_come_and_go_under_load() {
    let _machine = alone();
    in_cluster(|cluster| {
        let mut service = service("shop", 8080);
        service["metadata"]["annotations"] = json!({"flipgate.io/route": "Host(`shop.example`)"});
        grow_and_shrink(cluster, Keys::start(), &[service, shop()], "a Service's endpoints", ready_endpoints);
    });
}

/// Its pods go on for a moment after they were told to end, as all do whose end nobody is to notice: Kubernetes itself
/// may take a second and more to tell of it in a slice.
fn shop() -> Value {
    let mut shop = deployment("shop", 1, 8080);
    let container = &mut shop["spec"]["template"]["spec"]["containers"][0];
    container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 3}}});
    shop
}

/// The names of pods that may get requests, as the registrar is told it.
type Ready = fn(&Cluster) -> Vec<String>;

fn ready_pods(cluster: &Cluster) -> Vec<String> {
    let is_ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let pods = cluster.client().list(PODS);
    let ready = pods.iter().filter(|pod| is_ready(pod));
    ready.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn ready_endpoints(cluster: &Cluster) -> Vec<String> {
    let endpoints = cluster.endpoints("shop");
    endpoints.into_iter().filter(|endpoint| endpoint.ready).map(|endpoint| endpoint.name).collect()
}

/// Creates the objects and scales the deployment from 1 to 20 to 3, under load.
fn grow_and_shrink(cluster: &Cluster, mut keys: Keys, objects: &[Value], what: &str, ready: Ready) {
    keys.put_listener();
    let kubelet = Kubelet::start(cluster.kubeconfig());
    let proxy = Flipgate::on(&keys.url()).ready();
    let _registrar = Registrar::ready(cluster, &keys.url());
    for object in objects {
        let created = cluster.try_kubectl(&["create", "-f", "-"], &object.to_string());
        assert!(created.status.success(), "{created:?}");
    }
    let address = proxy.address("http");
    until("the first pod answers", MOST, || {
        (crate::support::get(address, HOST, "/").status == 200).then_some(())
    });

    let plan = Plan { rate: Some(RATE), http2: (0, 0), ..Plan::mixed(&[address], HOST) };
    let traffic = Traffic::start(plan);
    let mut first = Firsts::default();
    first.follow(cluster, &kubelet, ready, 1);
    cluster.kubectl(&["scale", "deployment", "shop", "--replicas=20"]);
    first.follow(cluster, &kubelet, ready, 20);
    let grown = traffic.take();
    cluster.kubectl(&["scale", "deployment", "shop", "--replicas=3"]);
    until("17 pods are gone", MOST, || {
        (kubelet.pods("default/shop-").len() == 3 && cluster.client().list(PODS).len() == 3).then_some(())
    });
    let shrunk = traffic.stop();

    let details =
        format!("{what}: the longest of {} pods, from ready to its first request", first.delays.len());
    let longest = first.delays.values().max().unwrap().as_secs_f64();
    assert!(figure("registrar_first_request", longest, "s", &details, 1.0));
    for (when, tally) in [("1 to 20", &grown), ("20 to 3", &shrunk)] {
        nothing(&format!("{what}, {when}: {}", Tally::summary(tally)), &[tally.failed]);
        assert_eq!(tally.failed, 0, "{:?}", tally.failures);
        assert!(tally.requests > 100);
    }
}

/// How long after they were ready pods got their first requests.
#[derive(Default)]
struct Firsts {
    /// The last time at which a pod was not ready yet: no later than it became so.
    ready: BTreeMap<String, Instant>,
    delays: BTreeMap<String, Duration>,
}

impl Firsts {
    /// Looks until so many pods have got one.
    fn follow(&mut self, cluster: &Cluster, kubelet: &Kubelet, ready: Ready, count: usize) {
        let mut before = Instant::now();
        until("every pod gets requests", MOST, || {
            let now = Instant::now();
            for name in ready(cluster) {
                self.ready.entry(name).or_insert(before);
            }
            before = now;
            for (name, ready) in &self.ready {
                let waits = !self.delays.contains_key(name);
                if waits && kubelet.pod(&format!("default/{name}")).stats().begun > 0 {
                    self.delays.insert(name.clone(), ready.elapsed());
                }
            }
            (self.delays.len() == count).then_some(())
        });
    }
}
