//! The kubelet of the tests itself, without the program.

use super::address;
use crate::support::kubernetes::{Kubelet, deployment, in_cluster, service};
use crate::support::{Connection, Mode, get, shared, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MOST: Duration = Duration::from_secs(20);

const SHOP: &str = "/apis/apps/v1/namespaces/default/deployments/shop";

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A pod of its own, labelled `app: shop`.
fn pod(name: &str, env: &[(&str, &str)], more: Value) -> Value {
    let mut container = json!({
        "name": "main", "image": "none", "ports": [{"name": "http", "containerPort": 8080}],
        "env": env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>(),
    });
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "shop"}},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]},
    })
}

#[test]
fn a_deployment_runs_and_shrinks() {
    let _machine = shared();
    in_cluster(|cluster| {
        let kubelet = Kubelet::start(cluster.kubeconfig());
        cluster.client().create(&service("shop", 8080));
        cluster.client().create(&deployment("shop", 3, 8080));
        let endpoints = cluster.wait_endpoints("shop", 3, MOST);
        for endpoint in &endpoints {
            let answer = get(address(endpoint), "a", "/");
            assert_eq!(answer.field("x-pod"), Some(endpoint.name.as_str()));
            assert!(answer.text().starts_with("shop "), "{}", answer.text());
        }
        let zone = |name: &str| endpoints.iter().filter(|one| one.zone.as_deref() == Some(name)).count();
        assert!(zone("a") > 0 && zone("b") > 0, "{endpoints:?}");

        // Two end, and say so while they finish what they have.
        let mut open = Vec::new();
        for endpoint in &endpoints {
            kubelet.pod(&format!("default/{}", endpoint.name)).mode(Mode::Slow(1_000));
            let mut connection = Connection::open(address(endpoint));
            connection.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
            open.push(connection);
        }
        cluster.client().patch(SHOP, &json!({"spec": {"replicas": 1}}));
        until("two are ending", MOST, || {
            let endpoints = cluster.endpoints("shop");
            let ending = endpoints.iter().filter(|one| one.terminating && one.serving && !one.ready);
            (ending.count() == 2 && endpoints.len() == 3).then_some(())
        });
        for mut connection in open {
            assert_eq!(connection.answer().status, 200);
        }
        cluster.wait_endpoints("shop", 1, MOST);
        until("two pods are gone", MOST, || (kubelet.pods("default/shop-").len() == 1).then_some(()));
        assert_eq!(cluster.client().list(PODS).len(), 1);
    });
}

#[test]
fn probes_decide_who_is_ready() {
    let _machine = shared();
    in_cluster(|cluster| {
        let kubelet = Kubelet::start(cluster.kubeconfig());
        cluster.client().create(&service("shop", 8080));
        let probe = json!({"readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "failureThreshold": 1}});
        let mut probed = pod("a", &[], probe);
        probed["metadata"]["annotations"] = json!({"test/probe-millis": "20", "test/addresses": "IPv4,IPv6"});
        cluster.client().create(&probed);
        let endpoint = &cluster.wait_endpoints("shop", 1, MOST)[0];
        kubelet.pod("default/a").mode(Mode::Sick);
        until("the sick pod is not ready", MOST, || {
            let now = &cluster.endpoints("shop")[0];
            (!now.ready && !now.serving && !now.terminating).then_some(())
        });
        assert_eq!(get(address(endpoint), "a", "/").status, 200);
        kubelet.pod("default/a").mode(Mode::Well);
        cluster.wait_endpoints("shop", 1, MOST);
        assert!(kubelet.pod("default/a").stats().checks > 1);

        // Its other address, behind a service of its own.
        let mut other = service("six", 8080);
        other["spec"]["ipFamilies"] = json!(["IPv6"]);
        other["spec"]["selector"] = json!({"app": "shop"});
        cluster.client().create(&other);
        let endpoint = &cluster.wait_endpoints("six", 1, MOST)[0];
        assert!(endpoint.address.is_ipv6());
        assert_eq!(get(address(endpoint), "a", "/").field("x-pod"), Some("a"));
    });
}

#[test]
fn pods_end_as_they_are_told() {
    let _machine = shared();
    in_cluster(|cluster| {
        let kubelet = Kubelet::start(cluster.kubeconfig());
        cluster.client().create(&service("shop", 8080));
        let sleep = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}});
        for pod in [
            pod("hasty", &[("ON_TERM", "exit")], json!({})),
            pod("deaf", &[("ON_TERM", "stay")], json!({})),
            pod("lingering", &[("LINGER_MILLIS", "500")], json!({})),
            pod("slept", &[("ON_TERM", "exit")], sleep),
        ] {
            cluster.client().create(&pod);
        }
        let endpoints = cluster.wait_endpoints("shop", 4, MOST);
        let names = ["hasty", "deaf", "lingering", "slept"];
        let at = |name: &str| address(endpoints.iter().find(|one| one.name == name).unwrap());
        let processes = names.map(|name| kubelet.pod(&format!("default/{name}")));
        let told = Instant::now();
        for name in names {
            cluster.client().delete(&format!("{PODS}/{name}"));
        }
        // New requests are welcome while one lingers and another one is not told yet.
        until("they are terminating", MOST, || {
            cluster
                .endpoints("shop")
                .iter()
                .any(|one| one.name == "lingering" && one.terminating)
                .then_some(())
        });
        assert!(get(at("lingering"), "a", "/").status == 200 && get(at("slept"), "a", "/").status == 200);
        let ended = processes.each_ref().map(|process| {
            until("a process has ended", MOST, || process.ended());
            told.elapsed()
        });
        let millis = ended.map(|after| after.as_millis());
        assert!(millis[1] >= 2_000 && millis[2] >= 500 && millis[3] >= 1_000, "{millis:?}");
        assert_eq!(processes[1].ended().unwrap().code(), None);
        until("all pods are gone", MOST, || cluster.client().list(PODS).is_empty().then_some(()));
        until("all endpoints are gone", MOST, || cluster.endpoints("shop").is_empty().then_some(()));
    });
}

#[test]
fn jobs_end_as_their_pods_do() {
    let _machine = shared();
    in_cluster(|cluster| {
        let _kubelet = Kubelet::start(cluster.kubeconfig());
        let jobs = "/apis/batch/v1/namespaces/default/jobs";
        let job = |name: &str, policy: &str, code: &str| {
            let env = json!([{"name": "EXIT_CODE", "value": code}]);
            json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
                "spec": {"backoffLimit": 0, "template": {"spec": {
                    "restartPolicy": policy, "containers": [{"name": "main", "image": "none", "env": env}],
                }}},
            })
        };
        for (name, policy, code, ends) in [
            ("well", "Never", "0", "Complete"),
            ("ill", "Never", "3", "Failed"),
            ("again", "OnFailure", "3", "Failed"),
            ("fine", "OnFailure", "0", "Complete"),
        ] {
            cluster.client().create(&job(name, policy, code));
            until(&format!("the job {name} ends"), MOST, || {
                let job = cluster.client().get(&format!("{jobs}/{name}")).unwrap();
                let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let is =
                    |kind: &str| conditions.iter().any(|one| one["type"] == kind && one["status"] == "True");
                assert!(!is(if ends == "Failed" { "Complete" } else { "Failed" }), "{job}");
                is(ends).then_some(())
            });
            if policy == "Never" {
                let pods = cluster.client().list(&format!("{PODS}?labelSelector=job-name={name}"));
                let state = &pods[0]["status"]["containerStatuses"][0]["state"];
                assert_eq!(state["terminated"]["exitCode"].to_string(), code);
            }
            cluster.client().delete(&format!("{jobs}/{name}?propagationPolicy=Foreground"));
        }
        until("all pods are gone", MOST, || cluster.client().list(PODS).is_empty().then_some(()));
        until("all jobs are gone", MOST, || cluster.client().list(jobs).is_empty().then_some(()));
    });
}
