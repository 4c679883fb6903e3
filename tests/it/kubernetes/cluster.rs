//! The cluster of the tests itself, without the program.

use crate::support::kubernetes::{Endpoint, Kubelet, deployment, in_cluster, service};
use crate::support::{get, shared, until};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const MOST: Duration = Duration::from_secs(20);

const SHOP: &str = "/apis/apps/v1/namespaces/default/deployments/shop";

fn address(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.address, 8080)
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

        // Two end, and say so while they serve what they have.
        for pod in kubelet.pods("default/shop-") {
            pod.mode(crate::support::Mode::Slow(1_000));
        }
        cluster.client().patch(SHOP, &json!({"spec": {"replicas": 1}}));
        until("two are ending", MOST, || {
            let endpoints = cluster.endpoints("shop");
            let ending = endpoints.iter().filter(|one| one.terminating && !one.ready).count();
            (ending == 2 && endpoints.len() == 3).then_some(())
        });
        cluster.wait_endpoints("shop", 1, MOST);
        until("two pods are gone", MOST, || (kubelet.pods("default/shop-").len() == 1).then_some(()));
    });
}

#[test]
fn the_server_comes_back() {
    let _machine = shared();
    in_cluster(|cluster| {
        let kubelet = Kubelet::start(cluster.kubeconfig());
        cluster.client().create(&service("shop", 8080));
        cluster.client().create(&deployment("shop", 1, 8080));
        let before = cluster.wait_endpoints("shop", 1, MOST);
        cluster.kill_server();
        assert!(cluster.client().text("/readyz").is_none());
        assert_eq!(get(address(&before[0]), "a", "/").status, 200);
        cluster.restart_server();
        assert_eq!(cluster.endpoints("shop"), before);
        // The kubelet and the controllers follow it again.
        let name = format!("default/{}", before[0].name);
        kubelet.pod(&name).kill();
        until("the dead pod is not ready", MOST, || {
            (!cluster.endpoints("shop").iter().any(|one| one.ready)).then_some(())
        });
        kubelet.revive(&name);
        assert_eq!(cluster.wait_endpoints("shop", 1, MOST), before);
    });
}
