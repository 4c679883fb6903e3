//! What is said back to a real API server, with no more rights than the manifests give; and what of it an import reads.

use crate::support::flipgate::verb;
use crate::support::kubernetes::{Cluster, in_cluster, service};
use crate::support::{shared, until};
use ::flipgate::kubernetes::{Access, Name, connect};
use ::flipgate::model::Severity;
use ::flipgate::registrar::events::Events;
use ::flipgate::registrar::status::{StatusWriter, Statuses};
use ::flipgate::registrar::{Finder, Note, Notes, Source};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

const MOST: Duration = Duration::from_secs(30);
const INGRESS: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/web";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn ingress() -> Value {
    let backend = json!({ "service": { "name": "shop", "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    let annotations = json!({
        "nginx.ingress.kubernetes.io/configuration-snippet": "x",
        "nginx.ingress.kubernetes.io/proxy-body-size": "1m",
    });
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "web", "namespace": "default", "annotations": annotations },
        "spec": { "ingressClassName": "nginx", "rules": [{ "host": "a.example", "http": { "paths": [path] } }] },
    })
}

fn account(cluster: &Cluster) -> Access {
    let manifest = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kubernetes").join(name).display().to_string()
    };
    for name in ["namespace.yaml", "rbac.yaml", "rbac-status.yaml"] {
        cluster.kubectl(&["apply", "-f", &manifest(name)]);
    }
    let kubeconfig = cluster.kubeconfig_of_account("flipgate", "flipgate-registrar");
    Access { kubeconfig: Some(kubeconfig), context: None }
}

fn event(cluster: &Cluster, reason: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    until(&format!("an Event with {reason}"), MOST, || {
        cluster.client().list(EVENTS).into_iter().find(|event| event["reason"] == *reason && is_it(event))
    })
}

#[test]
fn notes_and_addresses_reach_the_cluster() {
    let _machine = shared();
    in_cluster(|cluster| {
        cluster.client().create(&service("shop", 8080));
        let created = cluster.client().create(&ingress());
        let access = account(cluster);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(connect(&access)).unwrap();
        let (notes, statuses, leads) = (Notes::default(), Statuses::default(), watch::Sender::new(true));
        runtime.spawn(Events::new(client.clone(), notes.clone(), leads.subscribe(), "edge").run());
        let addresses = "192.0.2.7,edge.example".parse().unwrap();
        let writer = StatusWriter::new(client, addresses, statuses.clone(), notes.clone(), leads.subscribe());
        runtime.spawn(writer.run());

        let name = Name::new("default", "web");
        let about = Source::Ingress(name.clone());
        let note = Note {
            about: about.clone(),
            field: "nginx.ingress.kubernetes.io/configuration-snippet".into(),
            reason: "is not carried over".into(),
            severity: Severity::Warning,
        };
        notes.replace(Finder::Sync, &about, [note.clone()].into());
        statuses.saw(&name, Some(&[]));
        let told = event(cluster, "NotCarriedOver", |_| true);
        assert_eq!(told["regarding"]["uid"], created["metadata"]["uid"], "{told:#}");
        let described = cluster.kubectl(&["describe", "ingress", "web"]);
        assert!(described.contains("configuration-snippet is not carried over"), "{described}");
        let published = until("the status", MOST, || {
            let status = cluster.client().get(INGRESS)?["status"]["loadBalancer"]["ingress"].clone();
            status.is_array().then_some(status)
        });
        assert_eq!(published, json!([{ "ip": "192.0.2.7" }, { "hostname": "edge.example" }]));
        // It is well, and ill again: the API takes a count for what it has already.
        notes.replace(Finder::Sync, &about, [].into());
        event(cluster, "Synced", |event| event["type"] == *"Normal");
        notes.replace(Finder::Sync, &about, [note].into());
        event(cluster, "NotCarriedOver", |event| event["series"]["count"] == 2);
        imported(cluster);
    });
}

fn imported(cluster: &Cluster) {
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let arguments = ["import", "ingress-nginx", "--kubeconfig", &kubeconfig, "--dry-run", "--output", "json"];
    let (code, out, error) = verb(&arguments, Path::new("/"));
    assert_eq!(code, 1, "{error}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let web = &told["ingresses"][0];
    assert_eq!(
        (&web["ingress"], &web["frontends"][0]["leadsTo"]),
        (&json!("default/web"), &json!("default-shop-80"))
    );
    let supports: Vec<(&str, &str)> = web["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|verdict| (verdict["what"].as_str().unwrap(), verdict["support"].as_str().unwrap()))
        .collect();
    assert_eq!(supports, [("configuration-snippet", "no"), ("proxy-body-size", "yes")]);
    assert_eq!(told["configmap"]["found"], false);
}
