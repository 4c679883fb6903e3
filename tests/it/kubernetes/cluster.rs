//! The cluster of the tests itself, without the program.

use super::address;
use crate::support::kubernetes::{
    Client, Cluster, FLIPGATE, Kubelet, NOBODY, deployment, fake_pods, in_cluster, ready_fake_pods, service,
    services, services_of_slices,
};
use crate::support::{get, scaled, shared, until};
use http::Method;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const MOST: Duration = Duration::from_secs(20);

const SERVICES: &str = "/api/v1/namespaces/default/services";

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

#[test]
fn it_forgets_revisions_and_begins_anew() {
    let _machine = shared();
    in_cluster(|cluster| {
        let kubelet = Kubelet::start(cluster.kubeconfig());
        cluster.client().create(&service("shop", 8080));
        cluster.client().create(&deployment("shop", 1, 8080));
        let endpoints = cluster.wait_endpoints("shop", 1, MOST);

        let list = cluster.client().get(SERVICES).unwrap();
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let watch = format!("{SERVICES}?watch=1&timeoutSeconds=1&resourceVersion={revision}");
        assert_eq!(cluster.client().text(&watch).as_deref(), Some(""));
        cluster.expire_watches();
        let told = cluster.client().text(&watch).unwrap();
        assert!(told.contains("\"code\":410"), "{told}");

        kubelet.pause();
        cluster.start_over_empty();
        assert!(cluster.client().get(&format!("{SERVICES}/shop")).is_none());
        assert!(cluster.client().list("/api/v1/nodes").is_empty());
        let list = cluster.client().get(SERVICES).unwrap();
        let newer = list["metadata"]["resourceVersion"].as_str().unwrap();
        assert!(newer.parse::<u64>().unwrap() < revision.parse().unwrap(), "{newer} after {revision}");
        // The pod knows nothing of it, until its kubelet does.
        assert_eq!(get(address(&endpoints[0]), "a", "/").status, 200);
        kubelet.resume();
        until("the pod has ended", MOST, || kubelet.pods("default/shop-").is_empty().then_some(()));
        assert_eq!(cluster.client().list("/api/v1/nodes").len(), 2);
    });
}

#[test]
fn servers_freeze_and_die_below_it() {
    let _machine = shared();
    in_cluster(|cluster| {
        // Asks for what only etcd knows.
        let silence = |freeze: &dyn Fn(), thaw: &(dyn Fn() + Sync)| {
            let asked = Instant::now();
            freeze();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(300));
                    thaw();
                });
                assert!(cluster.client().get("/api/v1/namespaces/default").is_some());
            });
            asked.elapsed()
        };
        let server = silence(&|| cluster.freeze_server(), &|| cluster.thaw_server());
        let etcd = silence(&|| cluster.store().freeze(), &|| cluster.store().thaw());
        assert!(server.min(etcd) >= Duration::from_millis(300), "{server:?} {etcd:?}");

        cluster.store_mut().kill();
        until("it is not ready", MOST, || {
            (cluster.client().text("/readyz").as_deref() != Some("ok")).then_some(())
        });
        cluster.store_mut().restart();
        until("it is ready again", MOST, || (cluster.client().text("/readyz")? == "ok").then_some(()));
    });
}

#[test]
fn users_may_do_what_roles_say() {
    let _machine = shared();
    in_cluster(|cluster| {
        let list = |client: &Client| {
            client.request(Method::GET, SERVICES, None).map_err(|refused| (refused.status, refused.message))
        };
        let [flipgate, nobody] = [FLIPGATE, NOBODY].map(|user| Client::of(&cluster.kubeconfig_of(user)));
        let (status, message) = list(&flipgate).unwrap_err();
        assert!(status == 403 && message.contains("User \"flipgate\" cannot list"), "{status} {message}");
        cluster.apply(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: registrar, namespace: default}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reader}\n\
             rules: [{apiGroups: [''], resources: [services], verbs: [get, list, watch]}]\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: reader}\n\
             roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}\n\
             subjects:\n- {kind: User, name: flipgate}\n\
             - {kind: ServiceAccount, name: registrar, namespace: default}\n",
        );
        until("the role is in force", MOST, || list(&flipgate).ok());
        let account = Client::of(&cluster.kubeconfig_of_account("default", "registrar"));
        assert!(list(&account).is_ok());
        assert_eq!(list(&nobody).unwrap_err().0, 403);

        // As a pod would, with what is mounted into it.
        let token = cluster.account_token("default", "registrar");
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--header", &format!("Authorization: Bearer {token}"), "--cacert"])
            .args([cluster.certificate().as_os_str(), format!("{}{SERVICES}", cluster.url()).as_ref()])
            .output()
            .unwrap();
        let list = serde_json::from_slice::<Value>(&output.stdout).unwrap();
        assert_eq!(list["kind"], "ServiceList", "{output:?}");
        assert_eq!(
            cluster.kubectl(&["get", "serviceaccounts", "registrar", "-o", "name"]),
            "serviceaccount/registrar\n"
        );
    });
}

#[test]
fn many_services_are_there_soon() {
    let _machine = shared();
    in_cluster(|cluster| {
        let _kubelet = Kubelet::start(cluster.kubeconfig());
        let (count, each) = (scaled(20, 1_000), 10);
        let most = scaled(Duration::from_secs(60), Duration::from_secs(100));
        let mut all = 0;
        let mut there = |cluster: &Cluster, what: &str, services: usize, start: Instant| {
            all += services * each;
            until("all endpoints are there", most, || {
                std::thread::sleep(Duration::from_millis(20));
                (cluster.count_endpoints() == all).then_some(())
            });
            println!("{services} services with {each} endpoints each, {what}: {:.1?}", start.elapsed());
        };
        let start = Instant::now();
        cluster.client().create_all(&services_of_slices("sliced", count, each));
        there(cluster, "by slices", count, start);

        let start = Instant::now();
        cluster.kill_controllers();
        cluster.store_pods(&ready_fake_pods("stored", count, each));
        cluster.client().create_all(&services("stored", count));
        cluster.restart_controllers();
        there(cluster, "by stored pods", count, start);

        let start = Instant::now();
        cluster.client().create_all(&services("run", 10));
        cluster.client().create_all(&fake_pods("run", 10, each));
        there(cluster, "by fake pods", 10, start);

        for kind in ["stored", "run"] {
            let name = format!("{kind}-7");
            let endpoints = cluster.wait_endpoints(&name, each, most);
            assert!(endpoints.iter().all(|one| one.name.starts_with(&format!("{name}-"))), "{endpoints:?}");
            cluster.client().delete(&format!("/api/v1/namespaces/default/pods/{name}-0"));
            cluster.wait_endpoints(&name, each - 1, most);
        }
        let other = json!({"spec": {"selector": {"app": "stored-8"}}});
        cluster.client().patch(&format!("{SERVICES}/run-7"), &other);
        until("others are behind the service", most, || {
            let endpoints = cluster.endpoints("run-7");
            (endpoints.len() == each && endpoints.iter().all(|one| one.name.starts_with("stored-8-")))
                .then_some(())
        });
    });
}
