//! A cluster, a store, a registrar and a fleet of two, in which the application `shop` is deployed.

use super::process::Deployer;
use crate::registrar::process::Registrar;
use crate::support::fleet::HOST;
use crate::support::kubernetes::{Cluster, Kubelet};
use crate::support::{Fleet, Plan, Tally, Traffic, get, nothing, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

pub const MOST: Duration = Duration::from_secs(60);

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Everything that a deployer works with.
pub struct Scene<'c> {
    pub cluster: &'c mut Cluster,
    pub fleet: Fleet,
    pub kubelet: Kubelet,
    _registrar: Registrar,
}

/// What of the application is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Left {
    /// In the cluster.
    pub deployments: BTreeSet<String>,
    pub pods: BTreeSet<String>,
    pub jobs: BTreeSet<String>,
    /// What the Service within the cluster selects.
    pub selected: Option<String>,
    /// Routing objects, as `backends/ID` or `frontends/ID`.
    pub objects: BTreeSet<String>,
    /// What the alias leads to.
    pub target: Option<String>,
    /// Servers of all backends.
    pub servers: usize,
}

impl<'c> Scene<'c> {
    pub fn begin(cluster: &'c mut Cluster) -> Self {
        let fleet = Fleet::of(2).start();
        let kubelet = Kubelet::start(cluster.kubeconfig());
        let registrar = Registrar::ready(cluster, &fleet.keys.url());
        cluster.wait_nodes();
        until("the namespace has its account", MOST, || {
            cluster.client().get("/api/v1/namespaces/default/serviceaccounts/default")
        });
        fleet.wait_members(&["p1", "p2"]);
        Self { cluster, fleet, kubelet, _registrar: registrar }
    }

    pub fn deployer(&self) -> Deployer {
        Deployer::start(&self.cluster.kubeconfig(), &self.fleet.keys.url())
    }

    /// The first version, which serves when this returns; its deployment.
    pub fn deploy_first(&self, deployer: &Deployer) -> String {
        let id = deployer.deploy(&shop("1"));
        deployer.ends(&id, "DEPLOYED");
        self.wait_served("1");
        id
    }

    /// Waits until every proxy answers for the application, with a pod of this version.
    pub fn wait_served(&self, version: &str) {
        for address in self.fleet.addresses() {
            until(&format!("{address} serves version {version}"), MOST, || {
                let answer = get(address, HOST, "/");
                (answer.status == 200 && answer.text().starts_with(&format!("{version} "))).then_some(())
            });
        }
    }

    /// Requests to all proxies, over kept and new connections, GETs and POSTs.
    pub fn traffic(&self, rate: u64) -> Traffic {
        self.traffic_of(Some(rate))
    }

    /// As many as go through, if there is no rate.
    pub fn traffic_of(&self, rate: Option<u64>) -> Traffic {
        Traffic::start(Plan { rate, ..Plan::mixed(&self.fleet.addresses(), HOST) })
    }

    /// What of the application is there now.
    pub fn left(&mut self) -> Left {
        let client = self.cluster.client();
        let names = |path: &str| {
            let all = client.list(path);
            all.iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let service = client.get("/api/v1/namespaces/default/services/shop");
        let selected =
            service.and_then(|service| Some(service["spec"]["selector"]["version"].as_str()?.to_owned()));
        let keys = self.fleet.keys.all();
        let is_own = |key: &&String| key.contains("/default-shop") || key.starts_with("hosts/");
        let own = keys.keys().filter(is_own);
        let objects = own.clone().filter(|key| !key.contains("/servers/"));
        let target = keys.get("backends/default-shop/backend").and_then(|one| one["Target"].as_str());
        Left {
            deployments: names(DEPLOYMENTS),
            pods: names(PODS),
            jobs: names(JOBS),
            selected,
            objects: objects.map(|key| key.rsplit_once('/').unwrap().0.to_owned()).collect(),
            target: target.map(str::to_owned),
            servers: own.filter(|key| key.contains("/servers/")).count(),
        }
    }

    /// Waits until one version is there with so many pods, and nothing of any other.
    pub fn settled(&mut self, version: &str, pods: usize) {
        let backend = format!("default-shop-{version}");
        let mut last = None;
        for _ in 0..600 {
            let left = self.left();
            let is_so = left.deployments == BTreeSet::from([format!("shop-{version}")])
                && left.pods.len() == pods
                && left.pods.iter().all(|pod| pod.starts_with(&format!("shop-{version}-")))
                && left.jobs.is_empty()
                && left.selected.as_deref() == Some(version)
                && left.objects
                    == BTreeSet::from([
                        format!("backends/{backend}"),
                        "backends/default-shop".to_owned(),
                        "frontends/default-shop".to_owned(),
                    ])
                && left.target.as_deref() == Some(&backend)
                && left.servers == pods;
            if is_so {
                return;
            }
            last = Some(left);
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("there is not version {version} alone, with {pods} pods: {last:#?}");
    }

    /// Waits until nothing of the application is there.
    pub fn gone(&mut self) {
        let mut last = None;
        for _ in 0..600 {
            let left = self.left();
            let is_so = left.deployments.is_empty() && left.pods.is_empty() && left.jobs.is_empty();
            if is_so && left.selected.is_none() && left.objects.is_empty() && left.servers == 0 {
                return;
            }
            last = Some(left);
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("something of the application is left: {last:#?}");
    }

    /// Nobody is at work on anything, and there is no record but of applications and of deployments that are over.
    pub fn closed(&mut self) {
        until("everything is written down as over", MOST, || {
            let state = self.fleet.keys.state("deployer/");
            let is_open = |(key, value): (&String, &Value)| match key.split('/').nth(1) {
                Some("locks" | "asks") => true,
                Some("applications") => !value["open"].is_null(),
                Some("deployments") => {
                    value["position"].is_object()
                        || matches!(value["status"].as_str(), Some("DEPLOYING" | "UNDEPLOYING"))
                }
                _ => false,
            };
            (!state.iter().any(is_open) && self.fleet.keys.open_flips().is_empty()).then_some(())
        });
    }
}

/// The application `shop`, of two pods that are asked for their health.
pub fn shop(version: &str) -> Value {
    shop_with(version, &[], json!({}))
}

/// With variables for its pods, and further or other fields.
pub fn shop_with(version: &str, environment: &[(&str, &str)], fields: Value) -> Value {
    let env =
        environment.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>();
    let mut descriptor = json!({
        "deploymentType": "blue-green", "namespace": "default", "appName": "shop", "newVersion": version,
        "replicas": 2, "frontend": HOST, "useHealthCheck": true,
        "podspec": {
            "terminationGracePeriodSeconds": 10,
            "containers": [{
                "name": "main", "image": "none", "env": env,
                "ports": [{"name": "http", "containerPort": 8080}],
            }],
        },
        "timeouts": {"ready": "60s", "health": "20s", "clusterDrain": "1s"},
    });
    merge(&mut descriptor, &fields);
    descriptor
}

/// A hook whose pod ends with this exit code.
pub fn hook(exit_code: &str) -> Value {
    json!({"podspec": {"containers": [{
        "name": "main", "image": "none", "env": [{"name": "EXIT_CODE", "value": exit_code}],
    }]}, "timeout": "30s"})
}

/// Objects into objects; everything else takes the place of what was there.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// No request of a load failed.
pub fn none_failed(what: &str, tally: &Tally) {
    nothing(&format!("{what}: {}", tally.summary()), &[tally.failed]);
    assert_eq!(tally.failed, 0, "{what}: {:?}", tally.failures);
    assert!(tally.requests > 0, "{what}: there was no request");
}
