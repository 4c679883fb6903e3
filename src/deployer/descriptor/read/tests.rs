use super::*;
use crate::deployer::descriptor::{FlipPlan, HealthCheckType, Timeouts};
use serde_json::json;
use std::time::Duration;

/// A descriptor with as little as possible, and fields in place of its own; null takes one away.
fn text(fields: Value) -> String {
    let mut value = json!({
        "appName": "web", "newVersion": "7", "podspec": { "containers": [{ "name": "main", "image": "web:7" }] },
    });
    for (name, field) in fields.as_object().unwrap() {
        match field {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            field => value[name] = field.clone(),
        }
    }
    value.to_string()
}

#[track_caller]
fn good(fields: Value) -> Descriptor {
    let text = text(fields);
    let read = Descriptor::read(text.as_bytes()).unwrap_or_else(|wrong| panic!("{text}\n{wrong:#?}"));
    let stored = serde_json::to_vec(&read).unwrap();
    assert_eq!(serde_json::from_slice::<Descriptor>(&stored).unwrap(), read, "as stored");
    assert_eq!(Descriptor::read(&stored).as_ref(), Ok(&read), "sent as it was stored");
    read
}

/// Exactly these fields are wrong, each for a reason with these words.
#[track_caller]
fn wrong(fields: Value, expected: &[(&str, &str)]) {
    let text = text(fields);
    check_wrong(text.as_bytes(), expected);
}

#[track_caller]
fn check_wrong(text: &[u8], expected: &[(&str, &str)]) {
    let shown = String::from_utf8_lossy(text.get(..500).unwrap_or(text)).into_owned();
    let Err(mut found) = Descriptor::read(text) else { panic!("nothing is wrong with {shown}") };
    found.sort_by(|a, b| a.field.cmp(&b.field));
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let fields: Vec<_> = found.iter().map(|wrong| wrong.field.as_str()).collect();
    let names: Vec<_> = expected.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields, names, "{shown}\n{found:#?}");
    for (found, (_, words)) in found.iter().zip(&expected) {
        assert!(found.reason.contains(words), "{found:?} does not say {words:?}");
    }
}

#[test]
fn what_is_not_said_is_as_amdatu_has_it() {
    let read = good(json!({}));
    assert_eq!((&*read.deployment_type, &*read.namespace, read.replicas), ("blue-green", "default", 1));
    assert_eq!((&*read.health_check_path, read.health_check_type), ("health", HealthCheckType::Probe));
    assert_eq!((read.flip, read.timeouts), (FlipPlan::default(), Timeouts::default()));
    let podspec = json!({
        "containers": [{ "name": "main", "image": "web:7", "imagePullPolicy": "Always" }],
        "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
    });
    assert_eq!(read.podspec, podspec);
    let ports = json!({ "containers": [{ "name": "main", "image": "i", "imagePullPolicy": "Never",
        "ports": [{ "containerPort": 80 }, { "containerPort": 53, "protocol": "UDP" }] }] });
    let container = good(json!({ "podspec": ports })).podspec["containers"][0].clone();
    assert_eq!(container["imagePullPolicy"], "Never");
    let ports =
        json!([{ "containerPort": 80, "protocol": "TCP" }, { "containerPort": 53, "protocol": "UDP" }]);
    assert_eq!(container["ports"], ports);
}

#[test]
fn a_descriptor_of_amdatus_documentation_is_read() {
    let read = good(json!({
        "deploymentType": "blue-green", "namespace": "default", "useHealthCheck": true, "newVersion": "#",
        "appName": "Todo_App.Demo", "replicas": 0, "frontend": "Todo.Amdatu.com", "redirectWww": true,
        "useCompression": true, "useStickySessions": true, "ignoreHealthCheck": false, "tlsSecretName": "todo-tls",
        "additionHttpHeaders": [{ "Header": "Access-Control-Allow-Origin", "Value": "*" }],
        "webhooks": [{ "key": "k-1", "description": "main" }], "email": "a@shop.example", "password": "hidden",
        "environment": { "LEVEL": "debug" }, "healthCheckPath": "/status/health", "healthCheckPort": 9999,
        "healthCheckType": "simple", "useExternalHealthCheck": false, "externalHealthCheckPath": "x",
        "readinessPort": 0, "deployedVersion": "3", "deploymentTs": "now", "id": "d1", "created": "then",
        "lastModified": "now",
    }));
    assert_eq!((&*read.app_name, read.replicas, &*read.new_version), ("todo-app-demo", 1, "#"));
    assert_eq!(read.frontend.as_deref(), Some("todo.amdatu.com"));
    assert_eq!((read.health_check_port, read.health_check_type), (Some(9999), HealthCheckType::Simple));
    let kept: Vec<&str> = read.kept.keys().map(String::as_str).collect();
    assert_eq!(kept, KEPT);
    let public = read.public();
    assert_eq!(
        (&public["id"], &public["created"], &public["lastModified"]),
        (&json!("d1"), &json!("then"), &json!("now"))
    );
    let public = public.to_string();
    assert!(!public.contains("hidden") && !public.contains("k-1") && public.contains("main"), "{public}");
}

#[test]
fn names_are_read_as_go_reads_them() {
    assert!(good(json!({ "REDIRECTwww": true, "Frontend": "shop.example" })).redirect_www);
    let unset = json!({ "frontend": "", "tlsSecretName": "", "healthCheckPort": 0, "healthCheckType": "", "flip": {} });
    let read = good(unset);
    assert_eq!((read.frontend, read.tls_secret_name, read.health_check_port), (None, None, None));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let fields = json!({
        "appName": 5, "newVersion": null, "replicas": "two", "frontend": "http://shop.example", "useHealthCheck": "yes",
        "healthCheckType": "prob", "redirectwwww": true, "timeouts": { "ready": "soon" },
        "podspec": { "containers": [{ "name": "main" }], "hostNetwork": "no" },
    });
    let expected = [
        ("appName", "is the number 5; a string is expected"),
        ("newVersion", "is missing"),
        ("replicas", "a whole number is expected"),
        ("frontend", "has a scheme"),
        ("useHealthCheck", "true or false is expected"),
        ("healthCheckType", "did you mean `probe`?"),
        ("redirectwwww", "did you mean `redirectWww`?"),
        ("timeouts.ready", "is not a duration"),
        ("podspec.containers[0].image", "is missing"),
        ("podspec.hostNetwork", "is a string; true or false is expected"),
    ];
    wrong(fields, &expected);
}

#[test]
fn what_is_no_object_is_refused() {
    check_wrong(b"", &[("", "is not JSON")]);
    check_wrong(b"{\"appName\": \"web\",}", &[("", "line 1 column 19")]);
    check_wrong(b"[]", &[("", "is a list; a JSON object is expected")]);
    check_wrong(&vec![b' '; BYTES_MAX + 1], &[("", "at most 1048576 are read")]);
    check_wrong(b"{}", &[("appName", "is missing"), ("newVersion", "is missing"), ("podspec", "is missing")]);
}

#[test]
fn names_fit_the_cluster() {
    good(json!({ "newVersion": "1-0-2-snapshot" }));
    good(json!({ "appName": "a".repeat(61), "newVersion": "7" }));
    good(json!({ "appName": "a".repeat(52), "newVersion": "#" }));
    let lines = [
        (json!({ "appName": "7web" }), "appName", "begins with a letter"),
        (json!({ "appName": "web-" }), "appName", "DNS label"),
        (json!({ "appName": "we b" }), "appName", "DNS label"),
        (json!({ "appName": "" }), "appName", "is missing"),
        (json!({ "appName": "a".repeat(62) }), "newVersion", "of 64 characters"),
        (json!({ "appName": "a".repeat(53), "newVersion": "#" }), "newVersion", "of 64 characters"),
        (json!({ "newVersion": "1.0.2" }), "newVersion", "`1-0-2` is one"),
        (json!({ "newVersion": "##" }), "newVersion", "`#` or a DNS label"),
        (json!({ "newVersion": 7 }), "newVersion", "is the number 7; a string"),
        (json!({ "namespace": "Shop" }), "namespace", "DNS label"),
        (json!({ "tlsSecretName": "shop_tls" }), "tlsSecretName", "name of a Secret"),
        (json!({ "deploymentType": "rolling" }), "deploymentType", "`blue-green` is expected"),
        (json!({ "replicas": 1001 }), "replicas", "at most 1000"),
        (json!({ "replicas": 1.5 }), "replicas", "whole number"),
        (json!({ "vulcanFrontend": "web" }), "vulcanFrontend", "`frontend` with the host"),
        (json!({ "colour": "blue" }), "colour", "is not a known field"),
    ];
    for (fields, field, words) in lines {
        wrong(fields, &[(field, words)]);
    }
}

#[test]
fn a_frontend_is_one_host() {
    let lines = [
        ("https://shop.example", "has a scheme"),
        ("shop.example/cart", "has a path"),
        ("shop.example:443", "has a port"),
        ("*.shop.example", "is for many hosts"),
        ("shop..example", "is no host name"),
        ("shop.example.", "is no host name"),
        ("10.0.0.1", "is no host name"),
        ("shop`)||Host(`", "is no host name"),
    ];
    for (host, words) in lines {
        wrong(json!({ "frontend": host, "redirectWww": true }), &[("frontend", words)]);
    }
    wrong(json!({ "redirectWww": true }), &[("redirectWww", "stands without `frontend`")]);
    wrong(
        json!({ "redirectWww": true, "frontend": "www.shop.example" }),
        &[("redirectWww", "begins with `www.`")],
    );
    assert!(!good(json!({ "redirectWww": false, "frontend": "www.shop.example" })).redirect_www);
}

#[test]
fn headers_are_fields_of_an_answer() {
    let header = |name: &str, value: &str| json!({ "additionHttpHeaders": [{ "Header": "A", "Value": "" }, { "Header": name, "Value": value }] });
    assert_eq!(good(header("X-Frame-Options", "DENY")).addition_http_headers.len(), 2);
    let lines = [
        (header("a b", ""), "additionHttpHeaders[1].Header", "no name of a header field"),
        (header("Content-Length", "5"), "additionHttpHeaders[1].Header", "which the proxy decides"),
        (header("Connection", "close"), "additionHttpHeaders[1].Header", "which the proxy decides"),
        (header("Host", "x"), "additionHttpHeaders[1].Header", "only on requests"),
        (header("", ""), "additionHttpHeaders[1].Header", "is missing"),
        (header("A", "a\nb"), "additionHttpHeaders[1].Value", "control character"),
        (json!({ "additionHttpHeaders": ["A: b"] }), "additionHttpHeaders[0]", "JSON object"),
        (json!({ "additionHttpHeaders": { "A": "b" } }), "additionHttpHeaders", "a list is expected"),
        (
            json!({ "additionHttpHeaders": [{ "Header": "A", "Valeu": "b" }] }),
            "additionHttpHeaders[0].Valeu",
            "`Value`",
        ),
    ];
    for (fields, field, words) in lines {
        wrong(fields, &[(field, words)]);
    }
}

#[test]
fn variables_have_names_and_texts() {
    let fields = json!({ "environment": { "A_b.c-1": "x", "1A": "x", "A=B": "x", "N": 5, "n": null } });
    let expected = [
        ("environment.1A", "no digit first"),
        ("environment.A=B", "is no name of a variable"),
        ("environment.N", "is the number 5; a string"),
        ("environment.n", "is null; a string"),
    ];
    wrong(fields, &expected);
    assert_eq!(good(json!({ "environment": { "a": "1", "A": "2" } })).environment.len(), 2);
}

#[test]
fn health_is_asked_at_a_path_and_a_port() {
    let lines = [
        (json!({ "healthCheckPath": "a b" }), "healthCheckPath", "a path is expected"),
        (json!({ "healthCheckPath": "http://x/health" }), "healthCheckPath", "a path is expected"),
        (json!({ "healthCheckPort": 70000 }), "healthCheckPort", "65535"),
        (json!({ "healthCheckPort": "80" }), "healthCheckPort", "whole number"),
        (json!({ "healthCheckType": "smple" }), "healthCheckType", "did you mean `simple`?"),
    ];
    for (fields, field, words) in lines {
        wrong(fields, &[(field, words)]);
    }
    good(json!({ "healthCheckPath": "status/health?full=1" }));
}

#[test]
fn the_flip_is_as_it_can_be() {
    let flip =
        json!({ "minHealthy": "50%", "bake": "2m", "rollbackOn": "error_ratio > 0.01", "keepWarm": 90 });
    let plan = good(json!({ "flip": flip })).flip;
    assert_eq!(
        (&*plan.min_healthy, plan.bake, plan.keep_warm),
        ("50%", Duration::from_secs(120), Duration::from_secs(90))
    );
    assert_eq!(good(json!({ "replicas": 3, "flip": { "minHealthy": 3 } })).flip.min_healthy, "3");
    let lines = [
        (json!({ "minHealthy": "most" }), "flip.minHealthy", "like `50%`"),
        (json!({ "minHealthy": true }), "flip.minHealthy", "share like"),
        (json!({ "minHealthy": 2 }), "flip.minHealthy", "there will be 1 pods"),
        (json!({ "rollbackOn": "errors >", "bake": "1s" }), "flip.rollbackOn", "is not a condition"),
        (json!({ "rollbackOn": "errors > 5" }), "flip.rollbackOn", "`flip.bake`"),
        (json!({ "bake": "25h" }), "flip.bake", "at most 24h0m0s"),
        (json!({ "keepWarm": -1 }), "flip.keepWarm", "number of seconds"),
        (json!({ "keepWarn": "1s" }), "flip.keepWarn", "did you mean `keepWarm`?"),
    ];
    for (flip, field, words) in lines {
        wrong(json!({ "flip": flip }), &[(field, words)]);
    }
    wrong(json!({ "flip": "now" }), &[("flip", "a JSON object is expected")]);
}

#[test]
fn times_have_bounds() {
    let times = json!({ "ready": 1.5, "drain": "0s", "clusterDrain": 0, "probe": "500ms" });
    let read = good(json!({ "timeouts": times })).timeouts;
    assert_eq!((read.ready, read.probe), (Duration::from_millis(1_500), Duration::from_millis(500)));
    assert_eq!((read.drain, read.cluster_drain), (Duration::ZERO, Duration::ZERO));
    let lines = [
        (json!({ "ready": "0s" }), "timeouts.ready", "is zero; more is expected, like `5m0s`"),
        (json!({ "flip": 0 }), "timeouts.flip", "is zero"),
        (json!({ "health": "10" }), "timeouts.health", "write `10s` for seconds"),
        (json!({ "probe": "-1s" }), "timeouts.probe", "is negative"),
        (json!({ "drain": 86_401 }), "timeouts.drain", "at most 24h0m0s"),
        (json!({ "drain": 1e300 }), "timeouts.drain", "number of seconds"),
        (json!({ "drain": [] }), "timeouts.drain", "a time like `90s`"),
        (json!({ "redy": "1s" }), "timeouts.redy", "did you mean `ready`?"),
    ];
    for (times, field, words) in lines {
        wrong(json!({ "timeouts": times }), &[(field, words)]);
    }
}

#[test]
fn hooks_are_pods_that_end() {
    let hook = |policy: Value| {
        let mut podspec = json!({ "containers": [{ "name": "m", "image": "m" }] });
        podspec["restartPolicy"] = policy;
        json!({ "hooks": { "before": { "podspec": podspec, "timeout": "10m" } } })
    };
    let before = good(hook(Value::Null)).hooks.before.unwrap();
    assert_eq!(
        (&before.podspec["restartPolicy"], before.timeout),
        (&json!("Never"), Duration::from_secs(600))
    );
    assert_eq!(good(hook(json!("OnFailure"))).hooks.before.unwrap().podspec["restartPolicy"], "OnFailure");
    wrong(
        hook(json!("Always")),
        &[("hooks.before.podspec.restartPolicy", "`Never` or `OnFailure` is expected")],
    );
    let timed = good(json!({ "hooks": { "after": { "podspec": before.podspec } } })).hooks.after.unwrap();
    assert_eq!(timed.timeout, Duration::from_secs(300));
    let expected = [
        ("hooks.after.podspec", "is missing"),
        ("hooks.after.timeout", "is zero"),
        ("hooks.befor", "did you mean `before`?"),
    ];
    wrong(json!({ "hooks": { "befor": {}, "after": { "timeout": "0s" } } }), &expected);
}

#[test]
fn a_podspec_has_the_types_of_kubernetes() {
    let container = |fields: Value| {
        let mut container = json!({ "name": "main", "image": "web:7" });
        for (name, field) in fields.as_object().unwrap() {
            container[name] = field.clone();
        }
        json!({ "podspec": { "containers": [{ "name": "first", "image": "i" }, container] } })
    };
    good(container(json!({
        "resources": { "limits": { "cpu": 1, "memory": "1Gi" } }, "args": ["a"], "securityContext": {},
        "livenessProbe": { "httpGet": { "path": "/", "port": "http" }, "periodSeconds": 5 }, "env": [],
        "readinessProbe": { "httpGet": { "path": "/", "port": 80 } }, "command": null,
    })));
    let lines = [
        (json!({ "image": 7 }), "image", "is the number 7; a string"),
        (json!({ "name": "Main" }), "name", "DNS label"),
        (json!({ "name": "first" }), "name", "that of another container"),
        (json!({ "name": "" }), "name", "is missing"),
        (json!({ "args": ["a", 5] }), "args[1]", "is the number 5; a string"),
        (json!({ "args": "a" }), "args", "is a string; a list is expected"),
        (json!({ "env": [{ "name": "A", "value": 5 }] }), "env[0].value", "is the number 5; a string"),
        (
            json!({ "ports": [{ "containerPort": "80" }] }),
            "ports[0].containerPort",
            "is a string; a whole number",
        ),
        (json!({ "ports": [{ "containerPort": 70000 }] }), "ports[0].containerPort", "from 1 to 65535"),
        (json!({ "ports": [{}] }), "ports[0].containerPort", "is missing"),
        (json!({ "ports": { "containerPort": 80 } }), "ports", "is an object; a list is expected"),
        (json!({ "resources": { "limits": { "cpu": true } } }), "resources.limits.cpu", "a quantity"),
        (json!({ "imagePullPolcy": "Always" }), "imagePullPolcy", "did you mean `imagePullPolicy`?"),
        (
            json!({ "livenessProbe": { "httpGet": { "paht": "/" , "port": 1 } } }),
            "livenessProbe.httpGet.paht",
            "is no field",
        ),
    ];
    for (fields, field, words) in lines {
        wrong(container(fields), &[(&format!("podspec.containers[1].{field}"), words)]);
    }
    let many = json!({ "image": 7, "args": [1, {}, "c"], "tty": "yes", "env": "none", "workingDir": [] });
    let fields = ["image", "args[0]", "args[1]", "tty", "env", "workingDir"];
    let fields = fields.map(|field| format!("podspec.containers[1].{field}"));
    wrong(container(many), &fields.each_ref().map(|field| (field.as_str(), "is expected")));
}

#[test]
fn a_podspec_has_containers() {
    let lines = [
        (json!("web:7"), "podspec", "a PodSpec of Kubernetes"),
        (json!({}), "podspec.containers", "at least one container"),
        (json!({ "containers": [] }), "podspec.containers", "at least one container"),
        (json!({ "containers": {} }), "podspec.containers", "a list is expected"),
        (json!({ "containers": ["web"] }), "podspec.containers[0]", "an object is expected"),
    ];
    for (podspec, field, words) in lines {
        wrong(json!({ "podspec": podspec }), &[(field, words)]);
    }
    let broken = json!({
        "containers": [{ "name": "a", "image": "a" }], "initContainers": [{ "name": "a" }], "restartPolicy": "Never",
    });
    let expected = [
        ("podspec.initContainers[0].image", "is missing"),
        ("podspec.initContainers[0].name", "another container"),
        ("podspec.restartPolicy", "`Always` is expected"),
    ];
    wrong(json!({ "podspec": broken }), &expected);
}

#[test]
fn a_secret_is_not_shown() {
    let fields = json!({ "replicas": "s3cret", "podspec": { "containers": [
        { "name": "a", "image": "a", "tty": "s3cret", "ports": "s3cret" },
    ] } });
    let wrong = Descriptor::read(text(fields).as_bytes()).unwrap_err();
    assert_eq!(wrong.len(), 3);
    assert!(!format!("{wrong:?}").contains("s3cret"), "{wrong:?}");
}
