//! `flipgate doctor` where pods are on a virtual network behind a node, and the proxy stands outside.

use crate::support::directory::listener;
use crate::support::etcd::Etcd;
use crate::support::network::Machine;
use crate::support::pod::Setup;
use crate::support::{Connection, Directory, Flipgate, Pod, flipgate, free_port, shared, until};
use etcd_client::Permission;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Of the pods that run.
const PODS: [&str; 2] = ["10.244.1.2:8080", "10.244.1.3:8080"];

/// Three machines with a wire from each to the next: the edge, where the proxy is, a node, and the pods behind it. The
/// node forwards; the edge knows no route to the pods.
struct Cluster {
    edge: Machine,
    node: Machine,
    pods: Machine,
}

impl Cluster {
    fn start() -> Option<Self> {
        let (edge, node, pods) = (Machine::start("edge")?, Machine::start("node")?, Machine::start("pods")?);
        edge.wire(("to-node", "192.168.50.1/24"), &node, ("to-edge", "192.168.50.2/24"));
        node.wire(("to-pods", "10.244.1.1/24"), &pods, ("to-node", "10.244.1.2/24"));
        pods.ip("address add 10.244.1.3/24 dev to-node");
        pods.ip("route add default via 10.244.1.1");
        node.forward();
        Some(Self { edge, node, pods })
    }

    fn start_pods(&self) -> Vec<Pod> {
        let pod = |address: &str| {
            let setup = Setup { listen: vec![address.parse().unwrap()], ..Setup::default() };
            let name = format!("blue-{}", setup.listen[0].ip().to_string().rsplit('.').next().unwrap());
            Pod::start_as(&name, &setup)
        };
        self.pods.run(move || PODS.iter().map(|address| pod(address)).collect())
    }
}

/// What a doctor at the edge says of a store: its exit status, and its report.
fn doctor(edge: &Machine, store: &Directory) -> (i32, Value) {
    let (code, text, error) = ask(edge, store, "json");
    (code, serde_json::from_str(&text).unwrap_or_else(|wrong| panic!("{wrong}: {text}{error}")))
}

fn ask(edge: &Machine, store: &Directory, output: &'static str) -> (i32, String, String) {
    let url = store.url();
    edge.run(move || flipgate::verb(&["doctor", "--store", &url, "--output", output], Path::new("/")))
}

/// The check of a network, by its name.
fn network<'r>(report: &'r Value, name: &str) -> &'r Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["network"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// Each outcome in a network with the number of its servers.
fn outcomes(network: &Value) -> Vec<(&str, u64)> {
    let all = network["outcomes"].as_array().unwrap().iter();
    all.map(|one| (one["outcome"].as_str().unwrap(), one["number"].as_u64().unwrap())).collect()
}

fn advises(check: &Value, part: &str) {
    let advice = check["advice"].as_array().unwrap();
    assert!(advice.iter().any(|one| one.as_str().unwrap().contains(part)), "{part:?} is not in {check:#}");
}

/// A store in which everything goes to servers at these addresses.
pub fn store_of(servers: &[&str]) -> Directory {
    let store = Directory::new();
    store.put("backends/shop/backend", &json!({"Type": "http"}));
    for server in servers {
        let id = server.replace(':', "-");
        store.put(&format!("backends/shop/servers/{id}"), &json!({"URL": format!("http://{server}")}));
    }
    let frontend = json!({"Type": "http", "BackendId": "shop", "Route": "PathPrefix(`/`)"});
    store.put("frontends/shop/frontend", &frontend);
    store
}

#[test]
fn traffic_flows_where_a_route_is_and_the_doctor_says_where_none_is() {
    let _machine = shared();
    let Some(cluster) = Cluster::start() else { return };
    let _pods = cluster.start_pods();
    let store = store_of(&PODS);
    store.put("listeners/http", &listener("http"));
    let url = store.url();
    let proxy = cluster.edge.run(move || Flipgate::on(&url).ready());
    let (proxy, address) = cluster.edge.run(move || {
        let address = proxy.address("http");
        (proxy, address)
    });

    // Nothing leads to the pods.
    assert_eq!(status(&cluster.edge, address), 502);
    let (code, report) = doctor(&cluster.edge, &store);
    let found = network(&report, "10.244.1.0/24");
    assert_eq!((code, &report["well"], &found["grade"]), (1, &json!(false), &json!("failed")), "{report:#}");
    assert_eq!(outcomes(found), [("networkUnreachable", 2)]);
    assert_eq!(found["way"], json!({"kind": "none"}));
    advises(found, "this machine has no route to this network");
    advises(found, "Calico or Cilium with native routing");
    advises(found, "config/kubernetes/proxy.yaml");
    let (code, text, _) = ask(&cluster.edge, &store, "text");
    let line = text.lines().find(|line| line.contains("network 10.244.1.0/24")).unwrap();
    assert!(code == 1 && line.starts_with("FAILED ") && line.contains("0 of 2 servers reached"), "{text}");
    assert!(text.contains("\n         -> a route on this machine: `ip route add "), "{text}");

    // What the doctor says is done.
    cluster.edge.ip("route add 10.244.1.0/24 via 192.168.50.2");
    let (code, report) = doctor(&cluster.edge, &store);
    let found = network(&report, "10.244.1.0/24");
    assert_eq!(
        (code, &report["well"], outcomes(found)),
        (0, &json!(true), vec![("reached", 2)]),
        "{report:#}"
    );
    assert_eq!(found["way"], json!({"kind": "route", "gateway": "192.168.50.2", "device": "to-node"}));
    until("the proxy reaches pods", Duration::from_secs(10), || {
        (status(&cluster.edge, address) == 200).then_some(())
    });
    let seen = cluster.edge.run(move || {
        let pods = (0..40).map(|_| {
            let answer = Connection::open(address).get("shop.example", "/").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.field("x-pod").unwrap().to_owned()
        });
        pods.collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(seen.iter().collect::<Vec<_>>(), ["blue-2", "blue-3"]);
    cluster.edge.run(move || drop(proxy));
}

fn status(edge: &Machine, address: SocketAddr) -> u16 {
    edge.run(move || Connection::open(address).get("shop.example", "/").unwrap().status)
}

/// What a doctor says of one network of servers that are not all reached.
fn check(cluster: &Cluster, servers: &[&str], name: &str, expected: &[(&str, u64)], advice: &str) {
    let store = store_of(servers);
    let (code, report) = doctor(&cluster.edge, &store);
    let found = network(&report, name);
    assert_eq!((code, outcomes(found)), (1, expected.to_vec()), "{report:#}");
    advises(found, advice);
    // The probe of the state area is gone.
    let left = std::fs::read_dir(store.path().with_extension("state").join("doctor"));
    assert!(left.is_err() || left.unwrap().next().is_none());
}

#[test]
fn what_is_in_the_way_of_traffic_is_told_apart() {
    let _machine = shared();
    let Some(cluster) = Cluster::start() else { return };
    let _pods = cluster.start_pods();
    let (edge, node) = (&cluster.edge, &cluster.node);
    edge.ip("route add 10.244.0.0/16 via 192.168.50.2");

    // One port is closed, the other open.
    let closed = ["10.244.1.2:8080", "10.244.1.3:9999"];
    check(
        &cluster,
        &closed,
        "10.244.1.0/24",
        &[("reached", 1), ("refused", 1)],
        "nothing listens at the port",
    );
    // A pod that is gone: nobody has its address.
    check(
        &cluster,
        &["10.244.1.2:8080", "10.244.1.77:8080"],
        "10.244.1.0/24",
        &[("reached", 1), ("timedOut", 1)],
        "others in this network answer",
    );
    // The node throws packets away, or says that it knows no way.
    node.ip("route add blackhole 10.244.2.0/24");
    check(&cluster, &["10.244.2.2:8080"], "10.244.2.0/24", &[("timedOut", 1)], "nothing comes back");
    node.ip("route add unreachable 10.244.3.0/24");
    check(
        &cluster,
        &["10.244.3.2:8080"],
        "10.244.3.0/24",
        &[("hostUnreachable", 1)],
        "go to 192.168.50.2 on to-node",
    );
    check(
        &cluster,
        &["10.244.4.2:8080"],
        "10.244.4.0/24",
        &[("networkUnreachable", 1)],
        "go to 192.168.50.2 on to-node",
    );
    // Only the default route is there.
    edge.ip("route add default via 192.168.50.2");
    node.ip("route add blackhole 10.245.1.0/24");
    check(
        &cluster,
        &["10.245.1.2:8080"],
        "10.245.1.0/24",
        &[("timedOut", 1)],
        "no route of its own to this network",
    );
    // This machine itself is in the way.
    edge.ip("route add blackhole 10.246.1.0/24");
    edge.ip("route add prohibit 10.246.2.0/24");
    check(
        &cluster,
        &["10.246.1.2:8080"],
        "10.246.1.0/24",
        &[("discarded", 1)],
        "`ip route show to match 10.246.1.0`",
    );
    check(
        &cluster,
        &["10.246.2.2:8080"],
        "10.246.2.0/24",
        &[("forbidden", 1)],
        "`ip route show to match 10.246.2.0`",
    );
    // On the wire to the node, where nobody has the address.
    check(&cluster, &["192.168.50.9:8080"], "192.168.50.0/24", &[("timedOut", 1)], "own network on to-node");
}

#[test]
fn what_is_wrong_with_a_store_is_said() {
    let _machine = shared();
    let here = Path::new("/");
    let report = |store: &str, flags: &[&str]| {
        let mut arguments = vec!["doctor", "--store", store, "--output", "json"];
        arguments.extend(flags);
        let (code, text, error) = flipgate::verb(&arguments, here);
        (code, serde_json::from_str::<Value>(&text).unwrap_or_else(|wrong| panic!("{wrong}: {text}{error}")))
    };
    let grades = |report: &Value| {
        let checks = report["checks"].as_array().unwrap().clone();
        let one = |check: &Value| {
            format!("{} {}", check["what"].as_str().unwrap(), check["grade"].as_str().unwrap())
        };
        checks.iter().map(one).filter(|one| !one.starts_with("kubernetes")).collect::<Vec<_>>()
    };
    // There is nothing to look at.
    assert_eq!(flipgate::verb(&["doctor"], here).0, 2);
    assert_eq!(flipgate::verb(&["doctor", "--store", "dir:/no/such/directory"], here).0, 2);

    // Nothing answers.
    let (code, found) = report(&format!("etcd://127.0.0.1:{}", free_port()), &[]);
    assert_eq!((code, grades(&found)), (1, vec!["store failed".to_owned(), "servers skipped".to_owned()]));

    // A user who may only read routes.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let etcd = runtime.block_on(Etcd::start());
    let url = format!("etcd://{}", etcd.endpoint());
    runtime.block_on(async {
        let mut client = etcd.client().await;
        client.kv_client().put("/flipgate/backends/b/backend", r#"{"Type": "http"}"#, None).await.unwrap();
        client.user_add("root", "root", None).await.unwrap();
        client.user_grant_role("root", "root").await.unwrap();
        client.user_add("gate", "secret", None).await.unwrap();
        client.role_add("gate").await.unwrap();
        let read = Permission::read("/flipgate/").with_prefix();
        client.role_grant_permission("gate", read).await.unwrap();
        client.user_grant_role("gate", "gate").await.unwrap();
        client.auth_enable().await.unwrap();
    });
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "secret").unwrap();
    let flags = ["--etcd-user", "gate", "--etcd-password-file", password.to_str().unwrap()];
    let (code, found) = report(&url, &flags);
    let expected = [
        "store ok",
        "state area failed",
        "routing area warning",
        "objects ok",
        "fleet skipped",
        "servers ok",
    ];
    assert_eq!((code, grades(&found)), (1, expected.map(str::to_owned).to_vec()), "{found:#}");
}
