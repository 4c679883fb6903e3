//! Ingresses with the annotations of ingress-nginx, on a real cluster: requests get what the annotations promise, and
//! what is not carried over is named.
//!
//! Each file in `ingresses/` is a manifest that says in comments what it promises. `>` is a request, with what it brings
//! below it; `<` the answer's status and fields, `@` the pods that it reached, as what and with which fields. A field with
//! a hyphen before it is not there. `!` is an annotation that is named as not carried over.

mod case;

use super::process::Registrar;
use crate::support::echo::Echo;
use crate::support::kubernetes::{Cluster, Kubelet, deployment, in_cluster, service};
use crate::support::{Flipgate, Keys, TestAuthority, TestCertificate, alone, directory, get, until};
use case::{Case, Curl, Promise};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const MOST: Duration = Duration::from_secs(60);

/// Where a server that speaks TLS stands among the pods.
const SECURE: &str = "10.244.200.1";

/// Hosts that are asked over HTTPS.
const SECURE_HOSTS: [&str; 3] = ["secure.example", "both.example", "known.example"];

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

/// Everything that takes part.
struct Edge<'c> {
    cluster: &'c Cluster,
    kubelet: Kubelet,
    proxy: Flipgate,
    registrar: Registrar,
    curl: Curl,
    _secure: Echo,
}

#[test]
fn ingresses_get_what_their_annotations_promise() {
    let _machine = alone();
    let promises = Promise::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/registrar/ingresses"));
    assert!(promises.len() >= 30, "{} manifests", promises.len());
    in_cluster(|cluster| {
        let edge = Edge::start(cluster, &promises);
        let cases = promises.iter().flat_map(|promise| promise.cases.iter().map(move |case| (promise, case)));
        let failures: Vec<String> = cases.filter_map(|(promise, case)| edge.failure(promise, case)).collect();
        assert!(failures.is_empty(), "{failures:#?}");
        edge.canaries_get_their_share();
        edge.clients_stay_with_their_server();
        edge.limits_hold();
        edge.copies_arrive();
        edge.what_is_not_carried_over_is_named(&promises);
    });
}

impl<'c> Edge<'c> {
    fn start(cluster: &'c Cluster, promises: &[Promise]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Keys::start();
        keys.put_listener();
        keys.put("listeners/https", &directory::listener("https"));
        let seal = dir.path().join("seal");
        std::fs::write(&seal, "0f".repeat(32)).unwrap();
        let sealed = ["--seal-key-file", seal.to_str().unwrap()];

        let certificate = TestCertificate::of(&SECURE_HOSTS);
        let authority = TestAuthority::new("clients");
        let inner = TestCertificate::of(&["inner.test"]);
        let secure = Echo::secure_at(SocketAddr::new(SECURE.parse().unwrap(), 8443), &inner);
        let authorities = format!("{}{}", authority.certificate, inner.certificate);
        let secrets = [
            secret(
                "certificate",
                "kubernetes.io/tls",
                &[("tls.crt", &certificate.certificate), ("tls.key", &certificate.key)],
            ),
            secret("authority", "Opaque", &[("ca.crt", &authorities)]),
        ];
        for object in secrets.into_iter().chain(servers()) {
            cluster.client().create(&object);
        }
        for promise in promises {
            cluster.apply(&promise.manifest);
        }
        let kubelet = Kubelet::start(cluster.kubeconfig());
        for (name, count) in [("web", 2), ("next", 1), ("mirror", 1)] {
            cluster.wait_endpoints(name, count, MOST);
        }
        let arguments = [&["--ingress-class", "flipgate,nginx"], &sealed[..]].concat();
        let registrar = Registrar::ready_with(cluster, &keys.url(), &arguments);
        let proxy = Flipgate::on(&keys.url()).arguments(&sealed).ready();
        let addresses = (proxy.address("http"), proxy.address("https"));
        let curl = Curl::new(dir, addresses, &certificate, &authority.client("ann", 1));
        Self { cluster, kubelet, proxy, registrar, curl, _secure: secure }
    }

    fn http(&self) -> SocketAddr {
        self.proxy.address("http")
    }

    /// What is not as promised; it may become so a moment after the registrar wrote it.
    fn failure(&self, promise: &Promise, case: &Case) -> Option<String> {
        let end = Instant::now() + Duration::from_secs(5);
        while let Err(reason) = case.judge(&self.curl.ask(case)) {
            if Instant::now() > end {
                return Some(format!("{}: {}: {reason}", promise.name, case.request));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        None
    }

    /// The colour or name of the pod that answers a GET.
    fn answered(&self, host: &str, field: &str, headers: &[(&str, &str)]) -> String {
        let case = Case::get(&format!("http://{host}/"), headers);
        let answer = self.curl.ask(&case);
        answer.told[field].as_str().unwrap_or_else(|| panic!("{host}: {answer:?}")).to_owned()
    }

    fn canaries_get_their_share(&self) {
        let colours: Vec<String> =
            (0..200).map(|_| get(self.http(), "weighed.example", "/").json()["colour"].to_string()).collect();
        let next = colours.iter().filter(|colour| colour.contains("next")).count();
        // Half of 200 misses these by seven standard deviations.
        assert!((50..=150).contains(&next), "{next} of 200 for a canary with half of the weight");
    }

    fn clients_stay_with_their_server(&self) {
        let answer = self.curl.ask(&Case::get("http://sticky.example/", &[]));
        let cookie = answer.fields.iter().find(|(name, _)| name == "set-cookie").unwrap().1.clone();
        for attribute in ["Max-Age=3600", "SameSite=Strict"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let (pair, _) = cookie.split_once(';').unwrap();
        let pod = answer.told["pod"].as_str().unwrap().to_owned();
        for _ in 0..8 {
            assert_eq!(self.answered("sticky.example", "pod", &[("Cookie", pair)]), pod);
        }
        let pods = |users: &[&str]| -> BTreeSet<String> {
            users.iter().map(|user| self.answered("hashed.example", "pod", &[("X-User", user)])).collect()
        };
        assert_eq!(pods(&["ann"; 6]).len(), 1);
        let many: Vec<String> = (0..24).map(|number| format!("user-{number}")).collect();
        // All 24 on one of two servers: once in eight million.
        assert_eq!(pods(&many.iter().map(String::as_str).collect::<Vec<_>>()).len(), 2);
    }

    fn limits_hold(&self) {
        let statuses = |path: &str, count: usize| -> Vec<u16> {
            (0..count).map(|_| get(self.http(), "limited.example", path).status).collect()
        };
        // One a second, and twice as many and one more at once; both paths share them.
        let all = [statuses("/", 6), statuses("/other", 6)].concat();
        let passed = all.iter().filter(|status| **status == 200).count();
        assert_eq!(all.get(..3), Some(&[200; 3][..]), "{all:?}");
        assert!(passed < 9 && all.contains(&429), "{all:?}");

        std::thread::scope(|scope| {
            let address = self.http();
            let pod = &self.kubelet.pods("default/next-")[0];
            let slow = scope.spawn(move || get(address, "crowded.example", "/slow/3000").status);
            until("the slow request is with its pod", MOST, || (pod.stats().open > 0).then_some(()));
            assert_eq!(get(address, "crowded.example", "/").status, 429);
            assert_eq!(slow.join().unwrap(), 200);
            assert_eq!(get(address, "crowded.example", "/").status, 200);
        });
    }

    fn copies_arrive(&self) {
        let pod = &self.kubelet.pods("default/mirror-")[0];
        let before = pod.stats().begun;
        assert_eq!(get(self.http(), "mirrored.example", "/again").status, 200);
        until("the copy arrives", MOST, || (pod.stats().begun > before).then_some(()));
    }

    fn what_is_not_carried_over_is_named(&self, promises: &[Promise]) {
        let problems: Value = serde_json::from_str(&self.registrar.problems()).unwrap();
        let problems = problems["problems"].as_array().unwrap();
        let all = || promises.iter().flat_map(|promise| &promise.named);
        for name in all() {
            let field = format!("nginx.ingress.kubernetes.io/{name}");
            assert!(problems.iter().any(|problem| problem["field"] == *field), "{name}: {problems:#?}");
            until(&format!("an Event that names {name}"), MOST, || {
                let events = self.cluster.client().list(EVENTS);
                let names = |event: &Value| event["note"].as_str().is_some_and(|note| note.contains(&field));
                events.iter().any(names).then_some(())
            });
        }
        // Nothing else is: what is promised is carried over.
        for problem in problems {
            let field = problem["field"].as_str().unwrap();
            let known = all().any(|name| field.ends_with(&format!("/{name}")));
            let awaited = field.starts_with("spec.tls") && problem["about"] == *"ingress/default/acme";
            assert!(known || awaited, "{problem:#}");
        }
    }
}

fn secret(name: &str, kind: &str, fields: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> =
        fields.iter().map(|(field, text)| (field.to_string(), json!(text))).collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "stringData": data,
    })
}

/// Deployments whose pods tell what they are asked, their Services, one without pods, and one of a server with TLS.
fn servers() -> impl Iterator<Item = Value> {
    let named = [("web", 2), ("next", 1), ("mirror", 1)].into_iter().flat_map(|(name, replicas)| {
        let mut deployment = deployment(name, replicas, 8080);
        deployment["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "ECHO", "value": "true"}]);
        [deployment, service(name, 8080)]
    });
    let secure = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "secure"},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 8443}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "secure-1", "labels": {"kubernetes.io/service-name": "secure"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 8443, "protocol": "TCP"}],
        "endpoints": [{"addresses": [SECURE], "conditions": {"ready": true}}],
    });
    named.chain([service("empty", 8080), secure, slice])
}
