//! `config/kubernetes`: a cluster takes it, and its accounts may do what they have to and no more.

use super::doctor::store_of;
use super::process::Registrar;
use crate::support::kubernetes::{Client, Cluster, NOBODY, in_cluster};
use crate::support::{Directory, flipgate, shared, until};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

fn manifest(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kubernetes").join(name).display().to_string()
}

#[test]
fn a_cluster_takes_the_manifests_and_accounts_may_do_no_more_than_they_have_to() {
    let _machine = shared();
    in_cluster(|cluster| {
        // Nothing can be tried within a namespace that is not there.
        cluster.kubectl(&["apply", "-f", &manifest("namespace.yaml")]);
        let tried = cluster.kubectl(&["apply", "--dry-run=server", "-k", &manifest("")]);
        assert!(
            tried.lines().count() >= 12 && tried.lines().all(|line| line.ends_with("(server dry run)")),
            "{tried}"
        );
        assert_eq!(cluster.client().list("/apis/apps/v1/namespaces/flipgate/deployments"), [] as [Value; 0]);
        cluster.kubectl(&["apply", "-k", &manifest("")]);
        for name in ["rbac-status", "rbac-deployer", "rbac-deployer-secrets", "deployer"] {
            cluster.kubectl(&["apply", "-f", &manifest(&format!("{name}.yaml"))]);
        }
        for path in [
            "/apis/apps/v1/namespaces/flipgate/deployments/flipgate-deployer",
            "/apis/apps/v1/namespaces/flipgate/deployments/flipgate-registrar",
            "/apis/apps/v1/namespaces/flipgate/daemonsets/flipgate-proxy",
            "/apis/apps/v1/namespaces/flipgate/statefulsets/flipgate-etcd",
            "/apis/networking.k8s.io/v1/ingressclasses/flipgate",
        ] {
            let object = cluster.client().get(path).unwrap_or_else(|| panic!("no {path}"));
            check_pods(&object);
        }
        accounts(cluster);
    });
}

/// What every program's pod promises, and how long the proxy's has to end.
fn check_pods(object: &Value) {
    let spec = &object["spec"]["template"]["spec"];
    for container in spec["containers"].as_array().into_iter().flatten() {
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true, "{container:#}");
        assert_eq!(context["allowPrivilegeEscalation"], false, "{container:#}");
        assert_eq!(
            (&context["capabilities"]["drop"], &spec["securityContext"]["runAsNonRoot"]),
            (&json!(["ALL"]), &json!(true))
        );
        assert!(container["readinessProbe"].is_object() && container["livenessProbe"].is_object());
        assert!(container["resources"]["limits"]["memory"].is_string());
        let seconds = |flag: &str| {
            let words = container["command"].as_array().unwrap().iter().filter_map(Value::as_str);
            let value = words.filter_map(|word| word.strip_prefix(flag)).next();
            value.map(|value| value.trim_end_matches('s').parse::<i64>().unwrap())
        };
        if let (Some(delay), Some(timeout)) = (seconds("--drain-delay="), seconds("--drain-timeout=")) {
            assert!(spec["terminationGracePeriodSeconds"].as_i64().unwrap() > delay + timeout);
        }
    }
}

/// `verb group/resource` of everything that an account may do in a namespace, but for what everybody may.
fn rules(client: &Client, namespace: &str) -> BTreeSet<String> {
    let kind = "SelfSubjectRulesReview";
    let spec = json!({"namespace": namespace});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = client.request(Method::POST, path, Some(&review)).unwrap();
    let texts = |rule: &Value, name: &str| -> Vec<String> {
        rule[name].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        let names = texts(rule, "resourceNames").iter().map(|name| format!(" {name}")).collect::<String>();
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                all.extend(
                    texts(rule, "verbs").iter().map(|verb| format!("{verb} {group}/{resource}{names}")),
                );
            }
        }
    }
    all.retain(|one| !one.contains("/selfsubject"));
    all
}

fn accounts(cluster: &Cluster) {
    let kubeconfig = cluster.kubeconfig_of_account("flipgate", "flipgate-registrar");
    let client = Client::of(&kubeconfig);
    let rights = [
        ("/pods", "list watch"),
        ("/services", "list watch"),
        ("/secrets", "list watch"),
        ("discovery.k8s.io/endpointslices", "list watch"),
        ("networking.k8s.io/ingresses", "list watch"),
        ("networking.k8s.io/ingressclasses", "list watch"),
        ("networking.k8s.io/ingresses/status", "patch"),
        ("events.k8s.io/events", "create patch"),
    ];
    let each = |(resource, verbs): (&'static str, &'static str)| {
        verbs.split(' ').map(move |verb| format!("{verb} {resource}"))
    };
    let mut expected: BTreeSet<String> = rights.into_iter().flat_map(each).collect();
    assert_eq!(rules(&client, "default"), expected);
    let of_lease = [
        "get coordination.k8s.io/leases flipgate-registrar",
        "update coordination.k8s.io/leases flipgate-registrar",
        "create coordination.k8s.io/leases",
    ];
    expected.extend(of_lease.map(str::to_owned));
    assert_eq!(rules(&client, "flipgate"), expected);

    let refused = client.request(Method::DELETE, "/api/v1/namespaces/flipgate/pods/any", None).unwrap_err();
    assert_eq!(refused.status, 403, "{refused:?}");
    what_the_registrar_does(cluster, &kubeconfig, &client);

    let deployer = Client::of(&cluster.kubeconfig_of_account("flipgate", "flipgate-deployer"));
    let all = "get list create patch update delete";
    let rights = [
        ("apps/deployments", all),
        ("batch/jobs", all),
        ("/services", all),
        ("/pods", "list create"),
        ("/pods/log", "get"),
        ("/namespaces", "get"),
        ("/resourcequotas", "list"),
        ("/nodes", "list"),
        ("/secrets", "get"),
    ];
    assert_eq!(rules(&deployer, "default"), rights.into_iter().flat_map(each).collect::<BTreeSet<_>>());

    let proxy = Client::of(&cluster.kubeconfig_of_account("flipgate", "flipgate-proxy"));
    assert_eq!(rules(&proxy, "flipgate"), BTreeSet::new());

    let (code, report) = doctor(
        &kubeconfig,
        &Directory::new(),
        &["--lease-namespace", "flipgate", "--ingress-class", "flipgate", "--write-status", "192.0.2.7"],
    );
    assert_eq!(code, 0, "{report:#}");
    let permissions = check(&report, "permissions");
    assert_eq!(permissions["missing"], json!([]), "{report:#}");
    assert_eq!(check(&report, "identity")["user"], "system:serviceaccount:flipgate:flipgate-registrar");
}

/// It follows every kind, leads, and tells users: all with the rights of its account.
fn what_the_registrar_does(cluster: &Cluster, kubeconfig: &Path, client: &Client) {
    let store = Directory::new();
    let flags = ["--lease-namespace", "flipgate", "--ingress-class", "flipgate"];
    let _registrar = Registrar::ready_as(kubeconfig, &store.url(), &flags);
    cluster.client().create(&json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "shop", "annotations": {"flipgate.io/route": "Host(`shop.example`)"}},
        "spec": {"selector": {"name": "shop"}, "ports": [{"port": 80}]}}));
    until("the Service is a frontend", Duration::from_secs(20), || {
        store.path().join("frontends/default-shop").is_dir().then_some(())
    });
    assert!(
        cluster
            .client()
            .get("/apis/coordination.k8s.io/v1/namespaces/flipgate/leases/flipgate-registrar")
            .is_some()
    );
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "told", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Convert", "reason": "Told", "type": "Warning",
        "reportingController": "flipgate.io/registrar", "reportingInstance": "test",
        "regarding": {"kind": "Service", "name": "shop", "namespace": "default"}});
    client.request(Method::POST, "/apis/events.k8s.io/v1/namespaces/default/events", Some(&event)).unwrap();
    let path = "/apis/events.k8s.io/v1/namespaces/default/events/told";
    client
        .request(
            Method::PATCH,
            path,
            Some(&json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}})),
        )
        .unwrap();
}

fn doctor(kubeconfig: &Path, store: &Directory, flags: &[&str]) -> (i32, Value) {
    let (url, kubeconfig) = (store.url(), kubeconfig.display().to_string());
    let mut arguments = vec!["doctor", "--store", &url, "--kubeconfig", &kubeconfig, "--output", "json"];
    arguments.extend(flags);
    let (code, text, error) = flipgate::verb(&arguments, Path::new("/"));
    (code, serde_json::from_str(&text).unwrap_or_else(|wrong| panic!("{wrong}: {text}{error}")))
}

fn check<'r>(report: &'r Value, what: &str) -> &'r Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("no {what} in {report:#}"))
}

#[test]
fn what_a_user_may_not_do_is_named_with_the_manifest_that_allows_it() {
    let _machine = shared();
    in_cluster(|cluster| {
        let (nobody, store) = (cluster.kubeconfig_of(NOBODY), Directory::new());
        let (code, report) = doctor(&nobody, &store, &["--ingress-class", "flipgate"]);
        let permissions = check(&report, "permissions");
        assert_eq!((code, &permissions["grade"]), (1, &json!("failed")), "{report:#}");
        assert_eq!(permissions["missing"].as_array().unwrap().len(), 17, "{permissions:#}");
        assert!(check(&report, "kubernetes")["version"].as_str().unwrap().starts_with("v1."), "{report:#}");

        let advice = permissions["advice"][0].as_str().unwrap();
        cluster.apply(advice.split_once('\n').unwrap().1);
        let (code, report) = doctor(&nobody, &store, &["--ingress-class", "flipgate"]);
        assert_eq!((code, &check(&report, "permissions")["missing"]), (0, &json!([])), "{report:#}");
        // It may not list nodes, and need not.
        assert_eq!(check(&report, "nodes")["grade"], "skipped");

        // An administrator hears which node holds the pods that cannot be reached.
        cluster
            .client()
            .create(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker-1"},
            "spec": {"podCIDR": "10.9.1.0/24", "podCIDRs": ["10.9.1.0/24"]}}));
        let addresses = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.168.7.7"}]}});
        cluster.client().patch("/api/v1/nodes/worker-1/status", &addresses);
        let (code, report) = doctor(&cluster.kubeconfig(), &store_of(&["10.9.1.2:8080"]), &[]);
        let network = check(&report, "network 10.9.1.0/24 (node worker-1)");
        assert_eq!((code, &network["grade"]), (1, &json!("failed")), "{report:#}");
        let route = network["advice"][1].as_str().unwrap();
        assert!(route.contains("`ip route add 10.9.1.0/24 via 192.168.7.7`"), "{route}");

        // Nothing answers there.
        let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
        let elsewhere = store.path().with_extension("kubeconfig");
        let port = cluster.url().rsplit(':').next().unwrap().to_owned();
        std::fs::write(&elsewhere, text.replace(&format!(":{port}"), ":1")).unwrap();
        let (code, report) = doctor(&elsewhere, &store, &[]);
        assert_eq!((code, &check(&report, "kubernetes")["grade"]), (1, &json!("failed")), "{report:#}");
    });
}
