//! A cluster in which something of everything changes again and again, and a store that is to be as it is.

use super::expected::{LIVE, SERVICES, SLICES, expected, is_pod_ready};
use super::history::History;
use crate::support::kubernetes::{Cluster, Kubelet, deployment, service, services_of_slices};
use crate::support::{Flipgate, Keys, Plan, Traffic, get, nothing, scaled, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub const MOST: Duration = Duration::from_secs(60);

/// Longest time in which Kubernetes does what it was told: its own controllers wait for up to a minute before they ask a
/// server again that was away.
const CLUSTER_MAX: Duration = Duration::from_secs(150);

/// The host of the pods that never change, which get requests all the time.
const HOST: &str = "steady.example";

/// Requests a second. There is nobody to measure, only to notice.
const RATE: u64 = 100;

/// Endpoints of each Service without pods.
const EACH: usize = 3;

/// Flags of an API server whose etcd can be read.
pub const FLAGS: [&str; 1] = ["--storage-media-type=application/json"];

/// Cluster, store, and a proxy with requests.
pub struct Scene<'c> {
    pub cluster: &'c mut Cluster,
    pub keys: Keys,
    pub kubelet: Kubelet,
    pub history: History,
    proxy: Flipgate,
    traffic: Option<Traffic>,
    round: usize,
    /// How many pods there are to be behind the Service `swing`, and with the label.
    sizes: (usize, usize),
    /// Services of the last round, which go in the next.
    passing: Vec<String>,
}

impl<'c> Scene<'c> {
    /// With everything in the cluster, and nothing of it in the store.
    pub fn begin(cluster: &'c mut Cluster) -> Self {
        let mut keys = Keys::start();
        let history = History::of(cluster.store(), &keys);
        keys.put_listener();
        keys.put_backend("default-live", &[]);
        let kubelet = Kubelet::start(cluster.kubeconfig());
        let sizes = (6, 3);
        let mut live = fakes("live", sizes.1);
        live["spec"]["template"]["metadata"]["labels"]["name"] = json!("live");
        let pods = [deployment("steady", 3, 8080), fakes("swing", sizes.0), live];
        cluster.client().create_all(&pods);
        let mut services = services_of_slices("kept", kept(), EACH);
        services.extend([service("steady", 8080), service("swing", 8080)]);
        cluster.client().create_all(&routed(services));
        let proxy = Flipgate::on(&keys.url()).ready();
        let passing = Vec::new();
        Self { cluster, keys, kubelet, history, proxy, traffic: None, round: 0, sizes, passing }
    }

    /// Requests to the pods that never change begin, and go on.
    pub fn start_traffic(&mut self) {
        let address = self.address();
        until("steady pods answer", MOST, || (get(address, HOST, "/").status == 200).then_some(()));
        self.traffic = Some(Traffic::start(Plan::steady(&[address], HOST, 8, RATE)));
    }

    /// No requests any more. What they were answered with so far has been looked at.
    pub fn stop_traffic(&mut self) {
        self.check_traffic("to the end");
        drop(self.traffic.take());
    }

    /// The status of the proxy's answer for the pods that never change.
    pub fn status(&self) -> u16 {
        get(self.address(), HOST, "/").status
    }

    /// The Services without pods of which another endpoint is not ready in this round.
    fn turning(&self) -> impl Iterator<Item = usize> + use<> {
        (self.round % 3..kept()).step_by(3)
    }

    fn address(&self) -> SocketAddr {
        self.proxy.address("http")
    }

    /// Pods and Services come and go, endpoints turn ready and unready, routes become others.
    pub fn change(&mut self) {
        self.round += 1;
        let client = self.cluster.client();
        self.sizes = if self.round.is_multiple_of(2) { (6, 3) } else { (3, 6) };
        for (name, size) in [("swing", self.sizes.0), ("live", self.sizes.1)] {
            let path = format!("/apis/apps/v1/namespaces/default/deployments/{name}");
            client.patch(&path, &json!({"spec": {"replicas": size}}));
        }
        let coming = routed(services_of_slices(&format!("round-{}", self.round), 1, EACH));
        client.create_all(&coming);
        for name in std::mem::replace(&mut self.passing, names(&coming)) {
            client.delete(&format!("{SERVICES}/{name}"));
            client.delete(&format!("{SLICES}/{name}-1"));
        }
        for number in self.turning() {
            let path = format!("{SLICES}/kept-{number}-1");
            let slice = client.get(&path).unwrap();
            client.patch(&path, &json!({"endpoints": turned(&slice, number + self.round)}));
        }
        let route = format!("Host(`kept-{}.example`)", self.round);
        let annotations = json!({"flipgate.io/route": route});
        client.patch(&format!("{SERVICES}/kept-0"), &json!({"metadata": {"annotations": annotations}}));
    }

    /// The same but for pods, past an API server that is away: as if the cluster had another one.
    pub fn change_behind(&mut self) {
        self.round += 1;
        let turning = self.turning();
        let store = self.cluster.store_mut();
        for name in std::mem::take(&mut self.passing) {
            store.delete(&format!("registry/services/specs/default/{name}"));
            store.delete(&format!("registry/endpointslices/default/{name}-1"));
        }
        for number in turning {
            let key = format!("registry/endpointslices/default/kept-{number}-1");
            let mut slice = store.get(&key).unwrap();
            slice["endpoints"] = turned(&slice, number + self.round);
            store.put(&key, &slice);
        }
    }

    /// A Service with endpoints that was not there before.
    pub fn add(&mut self, name: &str) {
        self.cluster.client().create_all(&routed(services_of_slices(name, 1, EACH)));
    }

    /// Waits until the cluster has done what it was told, and the store is as the cluster is; nothing that was ready was
    /// taken on the way, and no request failed.
    pub fn settle(&mut self, what: &str) {
        let begin = Instant::now();
        self.wait_pods();
        let cluster = begin.elapsed();
        self.wait_equal(what);
        let store = begin.elapsed() - cluster;
        let (taken, wrong) = self.judge();
        assert!(wrong.is_empty(), "{what}: taken while it was ready: {wrong:#?}");
        println!(
            "registrar: {what}: the cluster was done after {cluster:.1?}, the store was equal {store:.1?} later; {taken} keys \
             were taken, all rightly"
        );
        self.check_traffic(what);
    }

    /// How many keys were taken from the store since the last time, and which of them wrongly.
    pub fn judge(&mut self) -> (usize, Vec<String>) {
        self.history.judge(self.cluster.store_mut(), &mut self.keys)
    }

    /// Waits until the registrar's keys are those that the cluster asks for, and no others.
    pub fn wait_equal(&mut self, what: &str) {
        let late = Instant::now() + MOST;
        loop {
            let (wanted, owned) = (expected(self.cluster.client()), self.owned());
            if wanted == owned {
                break;
            }
            let difference = difference(&wanted, &owned);
            assert!(Instant::now() < late, "{what}: the store is not as the cluster is: {difference}");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(
            self.keys.get("listeners/http").is_some()
                && self.keys.get("backends/default-live/backend").is_some()
        );
    }

    /// The registrar's keys.
    pub fn owned(&mut self) -> BTreeMap<String, Value> {
        let mut all = self.keys.all();
        all.retain(|_, value| value["Owner"].as_str().is_some_and(|owner| owner.starts_with("kubernetes:")));
        all
    }

    fn wait_pods(&self) {
        let (swing, live) = self.sizes;
        self.cluster.wait_endpoints("swing", swing, CLUSTER_MAX);
        until("as many labelled pods are ready as there should be", CLUSTER_MAX, || {
            let pods = self.cluster.client().list(LIVE);
            (pods.len() == live && pods.iter().all(is_pod_ready)).then_some(())
        });
    }

    fn check_traffic(&self, what: &str) {
        let Some(traffic) = &self.traffic else { return };
        let tally = traffic.take();
        nothing(&format!("registrar: {what}: {}", tally.summary()), &[tally.failed]);
        assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    }
}

/// How many Services without pods there are all the time: more than twice as many as go within a minute, which is held.
pub fn kept() -> usize {
    scaled(30, 90)
}

/// Pods without processes.
fn fakes(name: &str, replicas: usize) -> Value {
    let mut pods = deployment(name, replicas, 8080);
    pods["spec"]["template"]["metadata"]["annotations"] = json!({"test/fake": "true"});
    pods
}

/// Each Service with a route: its name below `.example`.
fn routed(mut objects: Vec<Value>) -> Vec<Value> {
    for service in objects.iter_mut().filter(|object| object["kind"] == "Service") {
        let route = format!("Host(`{}.example`)", service["metadata"]["name"].as_str().unwrap());
        service["metadata"]["annotations"] = json!({"flipgate.io/route": route});
    }
    objects
}

fn names(objects: &[Value]) -> Vec<String> {
    let services = objects.iter().filter(|object| object["kind"] == "Service");
    services.map(|service| service["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// A slice's endpoints with another one that is not ready.
fn turned(slice: &Value, turn: usize) -> Value {
    let mut endpoints = slice["endpoints"].clone();
    for (number, endpoint) in endpoints.as_array_mut().unwrap().iter_mut().enumerate() {
        let is_ready = number != turn % EACH;
        endpoint["conditions"] = json!({"ready": is_ready, "serving": is_ready, "terminating": false});
    }
    endpoints
}

fn difference(wanted: &BTreeMap<String, Value>, owned: &BTreeMap<String, Value>) -> String {
    let keys = wanted.keys().chain(owned.keys().filter(|key| !wanted.contains_key(*key)));
    let different = keys.filter(|key| wanted.get(*key) != owned.get(*key));
    let tell = |key: &String| format!("\n  {key}: {:?} and not {:?}", owned.get(key), wanted.get(key));
    different.take(10).map(tell).collect()
}
