//! Services with a route of their own.

use super::{Annotations, Service, Slice, convert_service, notes, objects, service, slice};
use crate::kubernetes::Name;
use crate::model::{Object, ObjectKey, Strictness, edit};
use crate::registrar::convert::annotations::{ANNOTATIONS, Part};
use crate::registrar::convert::service::put_backend;
use crate::registrar::convert::{Converted, Remit, convert};
use crate::registrar::{Change, Unit, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ROUTE: (&str, &str) = ("route", "Host(`shop.example`)");

/// The plain frontend of the Service `web`.
fn frontend(backend: &str) -> Value {
    json!({ "Type": "http", "BackendId": backend, "Route": "Host(`shop.example`)",
        "Settings": { "PassHostHeader": true } })
}

fn one_pod() -> [Slice; 1] {
    [slice("web-1", "http:8080", &["10.0.0.1 ready"])]
}

#[track_caller]
fn check(annotations: Annotations<'_>, ports: &str, slices: &[Slice], expected: Value, said: &[&str]) {
    let converted = convert_service(&service(annotations, ports), slices);
    assert_eq!(objects(&converted), expected, "{annotations:?}");
    assert_eq!(notes(&converted), said, "{annotations:?}");
}

/// What annotations beside a route make of the frontend's and the backend's value.
#[track_caller]
fn check_settings(annotations: Annotations<'_>, frontend: Value, backend: Value, said: &[&str]) {
    let all = [&[ROUTE], annotations].concat();
    let converted = convert_service(&service(&all, "http:80"), &[]);
    let mut expected = json!({ "Type": "http", "BackendId": "shop-web-80", "Route": ROUTE.1,
        "Settings": { "PassHostHeader": true } });
    expected = edit::merge(&expected, &frontend);
    let found = objects(&converted);
    assert_eq!(found["frontends/shop-web/frontend"], expected, "{annotations:?}");
    let mut expected = json!({ "Type": "http" });
    expected = edit::merge(&expected, &backend);
    assert_eq!(found["backends/shop-web-80/backend"], expected, "{annotations:?}");
    let said: Vec<String> =
        said.iter().map(|text| format!("warning service/shop/web flipgate.io/{text}")).collect();
    assert_eq!(notes(&converted), said, "{annotations:?}");
}

#[test]
fn a_route_makes_a_frontend_and_a_backend() {
    check(
        &[ROUTE],
        "http:80",
        &one_pod(),
        json!({
            "frontends/shop-web/frontend": frontend("shop-web-80"),
            "backends/shop-web-80/backend": { "Type": "http" },
            "backends/shop-web-80/servers/10.0.0.1:8080": { "URL": "http://10.0.0.1:8080" },
        }),
        &[],
    );
    // Without pods, too: requests are answered with 503 then.
    check(
        &[ROUTE],
        ":80",
        &[],
        json!({
            "frontends/shop-web/frontend": frontend("shop-web-80"),
            "backends/shop-web-80/backend": { "Type": "http" },
        }),
        &[],
    );
    check(&[], "http:80", &one_pod(), json!({}), &[]);
    let gone = convert(&World::default(), &Unit::Service(Name::new("shop", "web")), &Remit::default());
    assert_eq!(gone, Converted::default());
}

#[test]
fn endpoints_are_servers_with_state_and_zone() {
    let slices = [
        slice("web-1", "http:8080 admin:9000", &["10.0.0.1 ready zone-a", "10.0.0.2 ending zone-b"]),
        slice("web-2", "http:8081", &["10.0.0.3 ready", "10.0.0.4 starting", "10.0.0.5 ended"]),
        // Still in both while it moves.
        slice("web-3", "http:8080", &["10.0.0.1 starting"]),
    ];
    let converted = convert_service(&service(&[ROUTE], "http:80 admin:81"), &slices);
    let mut found = objects(&converted);
    let found = found.as_object_mut().unwrap();
    found.retain(|key, _| key.contains("/servers/"));
    let expected = json!({
        "backends/shop-web-80/servers/10.0.0.1:8080": { "URL": "http://10.0.0.1:8080", "Zone": "zone-a" },
        "backends/shop-web-80/servers/10.0.0.2:8080":
            { "URL": "http://10.0.0.2:8080", "State": "draining", "Zone": "zone-b" },
        "backends/shop-web-80/servers/10.0.0.3:8081": { "URL": "http://10.0.0.3:8081" },
        "backends/shop-web-80/servers/10.0.0.5:8081": { "URL": "http://10.0.0.5:8081", "State": "draining" },
    });
    assert_eq!(Value::Object(found.clone()), expected);
}

#[test]
fn a_pod_with_two_addresses_is_one_server() {
    let slices = [slice("web-4", ":8080", &["10.0.0.1 ready"]), slice("web-6", ":8080", &["fd00::1 ready"])];
    let check = |prefers_ipv6: bool, annotations: Annotations<'_>, slices: &[Slice], expected: &[&str]| {
        let mut service = service(&[&[ROUTE], annotations].concat(), ":80");
        service.prefers_ipv6 = prefers_ipv6;
        let found = objects(&convert_service(&service, slices));
        let servers = found.as_object().unwrap().keys().filter_map(|key| key.split("/servers/").nth(1));
        assert_eq!(servers.collect::<Vec<_>>(), expected, "{annotations:?}");
    };
    check(false, &[], &slices, &["10.0.0.1:8080"]);
    check(true, &[], &slices, &["[fd00::1]:8080"]);
    check(false, &[("ip-family", "ipv6")], &slices, &["[fd00::1]:8080"]);
    check(true, &[("ip-family", "ipv4")], &slices, &["10.0.0.1:8080"]);
    check(true, &[], &slices[..1], &["10.0.0.1:8080"]);
    check(false, &[("ip-family", "ipv6")], &slices[..1], &[]);
}

#[test]
fn each_port_may_have_a_route() {
    let slices = [slice("web-1", "http:8080 admin:9000 grpc:9090", &["10.0.0.1 ready"])];
    let ports = "grpc:90:grpc admin:81 http:80";
    let annotations = [
        ROUTE,
        ("route.admin", "Host(`admin.example`)"),
        ("route.90", "Host(`grpc.example`)"),
        ("priority", "5"),
        ("priority.admin", "7"),
        ("health", "/healthz"),
        ("health.grpc", "false"),
        ("scheme.admin", "https"),
    ];
    let frontend = |backend: &str, host: &str, priority: u8| {
        json!({ "Type": "http", "BackendId": backend, "Route": format!("Host(`{host}`)"), "Priority": priority,
            "Settings": { "PassHostHeader": true } })
    };
    let health = json!({ "Type": "http", "Settings": { "Health": { "Path": "/healthz" } } });
    check(
        &annotations,
        ports,
        &slices,
        json!({
            "frontends/shop-web/frontend": frontend("shop-web-80", "shop.example", 5),
            "frontends/shop-web-81/frontend": frontend("shop-web-81", "admin.example", 7),
            "frontends/shop-web-90/frontend": frontend("shop-web-90", "grpc.example", 5),
            "backends/shop-web-80/backend": health,
            "backends/shop-web-81/backend": health,
            "backends/shop-web-90/backend": { "Type": "http", "Settings": { "Protocol": "http2" } },
            "backends/shop-web-80/servers/10.0.0.1:8080": { "URL": "http://10.0.0.1:8080" },
            "backends/shop-web-81/servers/10.0.0.1:9000": { "URL": "https://10.0.0.1:9000" },
            "backends/shop-web-90/servers/10.0.0.1:9090": { "URL": "http://10.0.0.1:9090" },
        }),
        &[],
    );
    // The main port is told, and may be named as any other.
    let server = json!({ "URL": "http://10.0.0.1:9000" });
    for annotations in [&[ROUTE, ("port", "admin")][..], &[("port", "81"), ("route.81", ROUTE.1)]] {
        check(
            annotations,
            ports,
            &slices,
            json!({
                "frontends/shop-web/frontend": super::services::frontend("shop-web-81"),
                "backends/shop-web-81/backend": { "Type": "http" },
                "backends/shop-web-81/servers/10.0.0.1:9000": server,
            }),
            &[],
        );
    }
}

#[test]
fn a_route_may_lead_to_somebody_elses_backend() {
    check(
        &[ROUTE, ("backend", "shop")],
        "http:80",
        &one_pod(),
        json!({ "frontends/shop-web/frontend": frontend("shop") }),
        &[],
    );
    // A Service without ports can do that, too.
    check(
        &[ROUTE, ("backend", "shop")],
        "",
        &[],
        json!({ "frontends/shop-web/frontend": frontend("shop") }),
        &[],
    );
    let blue = json!({
        "backends/shop-blue/backend": { "Type": "http" },
        "backends/shop-blue/servers/10.0.0.1:8080": { "URL": "http://10.0.0.1:8080" },
    });
    check(&[("backend-id", "shop-blue")], "http:80", &one_pod(), blue.clone(), &[]);
    let mut both = blue.clone();
    both["frontends/shop-web/frontend"] = frontend("shop");
    check(&[ROUTE, ("backend", "shop"), ("backend-id", "shop-blue")], "http:80", &one_pod(), both, &[]);
    let mut own = blue;
    own["frontends/shop-web/frontend"] = frontend("shop-blue");
    check(&[ROUTE, ("backend-id", "shop-blue")], "http:80", &one_pod(), own, &[]);
}

#[test]
fn two_services_are_never_one() {
    let one = |namespace: &str, name: &str, created: i64| {
        let mut service = service(&[("route", &format!("Host(`{name}`)"))], "http:80");
        service.meta.name = Name::new(namespace, name);
        service.meta.created = created;
        service
    };
    let check = |world: &World, service: &Service, frontend: &str| {
        let converted = convert(world, &Unit::Service(service.meta.name.clone()), &Remit::default());
        let keys = converted.objects.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            keys,
            [format!("frontends/{frontend}/frontend"), format!("backends/{frontend}-80/backend")]
        );
    };
    let (older, younger) = (one("shop-web", "admin", 1), one("shop", "web-admin", 2));
    let (mut world, units) = (World::default(), |name: &Name| Unit::Service(name.clone()));
    let soiled = |world: &mut World, service: &Service, is_there: bool| {
        world.apply(Change::Service(service.meta.name.clone(), is_there.then(|| service.clone())))
    };
    soiled(&mut world, &younger, true);
    check(&world, &younger, "shop-web-admin");
    let both = BTreeSet::from([units(&older.meta.name), units(&younger.meta.name)]);
    assert_eq!(soiled(&mut world, &older, true), both);
    check(&world, &older, "shop-web-admin");
    check(&world, &younger, "shop.web-admin");
    // Nor is one that does not exist yet.
    assert_eq!(world.service_id(&Name::new("shop-web-admin", "x")), "shop-web-admin-x");
    assert_eq!(soiled(&mut world, &older, false), both);
    check(&world, &younger, "shop-web-admin");
    assert_eq!(world.service_id(&older.meta.name), "shop-web.admin");
}

#[test]
fn what_cannot_be_is_no_object() {
    let web = "service/shop/web";
    let backend = json!({
        "backends/shop-web-80/backend": { "Type": "http" },
        "backends/shop-web-80/servers/10.0.0.1:8080": { "URL": "http://10.0.0.1:8080" },
    });
    let wrong = |annotations: Annotations<'_>, ports: &str, expected: Value, said: &str| {
        check(annotations, ports, &one_pod(), expected, &[said]);
    };
    wrong(
        &[("route", "Host(shop.example)")],
        "http:80",
        backend.clone(),
        &format!("error {web} flipgate.io/route is not an expression: column 10: unexpected '.'"),
    );
    wrong(
        &[("route", " ")],
        "http:80",
        backend,
        &format!(
            "error {web} flipgate.io/route is missing: an expression is expected, like \
             `Host(\"shop.example\") && PathPrefix(\"/\")`"
        ),
    );
    wrong(
        &[ROUTE, ("backend", "a/b")],
        "http:80",
        json!({}),
        &format!("error {web} flipgate.io/backend is no backend's id: an id cannot contain '/'"),
    );
    wrong(
        &[ROUTE, ("port", "htp")],
        "http:80 :81",
        json!({}),
        &format!("error {web} flipgate.io/port is \"htp\"; the Service has `http` (80), 81"),
    );
    wrong(
        &[ROUTE],
        "",
        json!({}),
        &format!(
            "error {web} spec.ports are not there; a port is needed, or its number in `flipgate.io/port`"
        ),
    );
    wrong(
        &[("backend", "shop")],
        "http:80",
        json!({}),
        &format!("warning {web} flipgate.io/backend has no effect without a route"),
    );
    wrong(
        &[("route.htp", "Path(`/`)")],
        "http:80",
        json!({}),
        &format!(
            "warning {web} flipgate.io/route.htp is for a port that is not there: the Service has `http` (80)"
        ),
    );
    // What a frontend was before its author mistyped stays.
    let mistyped = convert_service(&service(&[("route", "Host(")], "http:80"), &[]);
    let kept = mistyped.kept.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(kept, ["frontends/shop-web/frontend"]);
}

#[test]
fn a_name_stands_in_for_endpoints() {
    let check = |name: &str, annotations: Annotations<'_>, ports: &str, server: Value, said: &str| {
        let mut service = service(&[&[("backend-id", "shop-out")], annotations].concat(), ports);
        service.external_name = Some(name.into());
        let converted = convert_service(&service, &[]);
        let mut expected = json!({ "backends/shop-out/backend": { "Type": "http" } });
        expected.as_object_mut().unwrap().extend(server.as_object().unwrap().clone());
        assert_eq!(objects(&converted), expected, "{name}");
        assert_eq!(notes(&converted), [said.to_string()], "{name}");
    };
    let resolved = "warning service/shop/web spec.externalName is resolved by each proxy as it connects; it is one \
                    server for all its addresses";
    let server = |id: &str, url: &str| json!({ format!("backends/shop-out/servers/{id}"): { "URL": url } });
    check("db.example.", &[], "", server("db.example:80", "http://db.example:80"), resolved);
    check("Db.example", &[], ":8080", server("Db.example:8080", "http://db.example:8080"), resolved);
    check(
        "db.example",
        &[("scheme", "https")],
        "",
        server("db.example:443", "https://db.example:443"),
        resolved,
    );
    check("db.example", &[("port", "81")], "", server("db.example:81", "http://db.example:81"), resolved);
    for name in ["localhost", "a.localhost", "127.0.0.1", "169.254.169.254"] {
        let said = format!(
            "error service/shop/web spec.externalName is {name:?}, which is each proxy's own machine"
        );
        check(name, &[], "", json!({}), &said);
    }
    let said = "error service/shop/web spec.externalName is \"a b\", no name of a host";
    check("a b", &[], "", json!({}), said);
}

#[test]
fn a_headless_service_may_have_no_ports() {
    let annotations = [("backend-id", "shop-b"), ("port", "7000")];
    let slices = [slice("web-1", "", &["10.0.0.1 ready"])];
    let expected = json!({
        "backends/shop-b/backend": { "Type": "http" },
        "backends/shop-b/servers/10.0.0.1:7000": { "URL": "http://10.0.0.1:7000" },
    });
    check(&annotations, "", &slices, expected, &[]);
}

#[test]
fn application_protocols_are_defaults() {
    let check = |protocol: &str, annotations: Annotations<'_>, spoken: Value, scheme: &str| {
        let annotations = [&[("backend-id", "shop-b")], annotations].concat();
        let found =
            objects(&convert_service(&service(&annotations, &format!("http:80:{protocol}")), &one_pod()));
        assert_eq!(found["backends/shop-b/backend"]["Settings"]["Protocol"], spoken, "{protocol}");
        let url = found["backends/shop-b/servers/10.0.0.1:8080"]["URL"].clone();
        assert_eq!(url, format!("{scheme}://10.0.0.1:8080"), "{protocol}");
    };
    check("http", &[], Value::Null, "http");
    check("kubernetes.io/ws", &[], Value::Null, "http");
    check("kubernetes.io/h2c", &[], json!("http2"), "http");
    check("grpc", &[], json!("http2"), "http");
    check("https", &[], Value::Null, "https");
    check("kubernetes.io/wss", &[], Value::Null, "https");
    check("example.com/own", &[], Value::Null, "http");
    check("grpc", &[("scheme", "https")], json!("http2"), "https");
    check("kubernetes.io/h2c", &[("protocol", "http1")], Value::Null, "http");
    check("https", &[("protocol", "auto"), ("scheme", "http")], json!("auto"), "http");
}

#[test]
fn annotations_are_settings() {
    let none = || json!({});
    let of = |settings: Value| json!({ "Settings": settings });
    check_settings(&[("priority", "-3")], json!({ "Priority": -3 }), none(), &[]);
    check_settings(&[("middlewares", "a, b,")], of(json!({ "Middlewares": ["a", "b"] })), none(), &[]);
    check_settings(&[("pass-host-header", "false")], of(json!({ "PassHostHeader": false })), none(), &[]);
    check_settings(&[("retry", "4")], of(json!({ "Retry": { "Attempts": 4 } })), none(), &[]);
    check_settings(
        &[("retry", "{\"attempts\":4}"), ("retry-on", "connect,5xx")],
        of(json!({ "Retry": { "Attempts": 4, "On": ["connect", "500-599"] } })),
        none(),
        &[],
    );
    check_settings(
        &[("max-body-bytes", "1000")],
        of(json!({ "Limits": { "MaxBodyBytes": 1000 } })),
        none(),
        &[],
    );
    check_settings(
        &[("response-timeout", "90s"), ("idle-timeout", "1m")],
        of(json!({ "Timeouts": { "Response": "1m30s", "Idle": "1m0s" } })),
        none(),
        &[],
    );
    check_settings(&[("maintenance", "true")], json!({ "Maintenance": true }), none(), &[]);
    check_settings(&[("maintenance", "false")], none(), none(), &[]);
    check_settings(
        &[("maintenance", "{\"RetryAfter\":\"2m\"}")],
        json!({ "Maintenance": { "RetryAfter": "2m0s" } }),
        none(),
        &[],
    );
    check_settings(
        &[("frontend-settings", "{\"forwarded\":true,\"passHostHeader\":false}"), ("hostname", "edge")],
        of(json!({ "Forwarded": true, "PassHostHeader": false, "Hostname": "edge" })),
        none(),
        &[],
    );
    check_settings(&[("balance", "peak_ewma")], none(), of(json!({ "Balance": "peak_ewma" })), &[]);
    check_settings(
        &[("balance", "{\"Key\":\"cookie:s\"}")],
        none(),
        of(json!({ "Balance": { "Policy": "hash", "Key": "cookie:s" } })),
        &[],
    );
    check_settings(&[("sticky", "true")], none(), of(json!({ "Sticky": { "Cookie": "flipgate" } })), &[]);
    check_settings(&[("sticky", "sid")], none(), of(json!({ "Sticky": { "Cookie": "sid" } })), &[]);
    check_settings(&[("sticky", "false")], none(), none(), &[]);
    check_settings(
        &[("health", "/up"), ("health-interval", "2s")],
        none(),
        of(json!({ "Health": { "Path": "/up", "Interval": "2s" } })),
        &[],
    );
    check_settings(
        &[("dial-timeout", "1s"), ("read-timeout", "10s"), ("drain-timeout", "20s")],
        none(),
        of(json!({ "Timeouts": { "Read": "10s", "Dial": "1s", "Drain": "20s" } })),
        &[],
    );
    check_settings(
        &[("tls-server-name", "web.internal"), ("tls-insecure", "true")],
        none(),
        of(json!({ "TLS": { "InsecureSkipVerify": true, "ServerName": "web.internal" } })),
        &[],
    );
    check_settings(
        &[
            ("backend-settings", "{\"SlowStart\":\"30s\",\"Balance\":\"least_requests\"}"),
            ("balance", "peak_ewma"),
        ],
        none(),
        of(json!({ "Balance": "peak_ewma", "SlowStart": "30s" })),
        &[],
    );
}

#[test]
fn wrong_annotations_are_told_and_left_out() {
    let none = || json!({});
    for said in [
        "priority is \"high\"; a whole number is expected",
        "pass-host-header is \"yes\"; true or false is expected",
        "balance is \"rond_robin\"; one of round_robin, least_requests, peak_ewma, hash is expected; did you mean \
         `round_robin`?",
        "idle-timeout \"5\" lacks a unit (ns, us, ms, s, m, h): write `5s` for seconds",
        "retry would not do: `Attempts` is 99; from 1 to 10 is allowed",
        "health would not do: `Path` is \"health\"; a path is expected, like `/health`",
        "max-body-bytes is \"1Mi\"; a whole number is expected",
    ] {
        let (name, reason) = said.split_once(' ').unwrap();
        let text = match name {
            "retry" => "99",
            "health" => "health",
            _ => reason.split('"').nth(1).unwrap(),
        };
        check_settings(&[(name, text)], none(), none(), &[said]);
    }
    check_settings(
        &[("outlier", "{\"ErrorPercnt\":5}"), ("slow-start", "30s")],
        none(),
        json!({ "Settings": { "SlowStart": "30s" } }),
        &["outlier would not do: `ErrorPercnt` is not a known field; did you mean `ErrorPercent`?"],
    );
    check_settings(
        &[("error-pages", "{")],
        none(),
        none(),
        &["error-pages is not JSON: EOF while parsing an object at line 1 column 1"],
    );
    // `-----BEGIN A-----\n-----END A-----`, as far as that is looked at.
    let pem = "LS0tLS1CRUdJTiBBLS0tLS0KLS0tLS1FTkQgQS0tLS0t";
    let pair = format!("{{\"TLS\":{{\"KeyPair\":{{\"Cert\":\"{pem}\",\"Key\":\"{pem}\"}}}}}}");
    check_settings(
        &[("backend-settings", &pair)],
        none(),
        none(),
        &[
            "backend-settings shows a private key, or names a file of the proxies': only a sealed one can be given here",
        ],
    );
    check_settings(
        &[("backend-settings", r#"{"TLS": {"KeyPair": {"CertFile": "edge.crt", "KeyFile": "edge.key"}}}"#)],
        none(),
        none(),
        &[
            "backend-settings shows a private key, or names a file of the proxies': only a sealed one can be given here",
        ],
    );
    check_settings(
        &[("balence", "hash"), ("slowstart", "1s"), ("middleware.x", "a")],
        none(),
        none(),
        &[
            "balence is no annotation known here; did you mean `flipgate.io/balance`?",
            "middleware.x is no annotation known here; did you mean `flipgate.io/middlewares`?",
            "slowstart is no annotation known here; did you mean `flipgate.io/slow-start`?",
        ],
    );
    // Kept, though a proxy does not act on it.
    check_settings(
        &[("balance", "{\"PreferZone\":true}")],
        none(),
        json!({ "Settings": { "Balance": { "Policy": "round_robin", "PreferZone": true } } }),
        &["balance would not do: `PreferZone` is read and kept, but not acted on by this version"],
    );
}

#[test]
fn whoever_leads_to_a_service_wants_the_same() {
    let annotations = [ROUTE, ("health", "/up"), ("scheme", "https"), ("balance", "nonsense")];
    let (service, slices) = (service(&annotations, "http:80"), one_pod());
    let mut world = World::default();
    world.apply(Change::Service(service.meta.name.clone(), Some(service.clone())));
    for slice in &slices {
        world.apply(Change::Slice(slice.name.clone(), Some(slice.clone())));
    }
    let mut other = Converted::default();
    let id = put_backend(&world, &service, &service.ports[0], &mut other);
    assert_eq!(id.unwrap().as_str(), "shop-web-80");
    assert!(other.notes.is_empty());
    let own = convert_service(&service, &slices);
    for (key, desired) in &other.objects {
        assert_eq!(own.objects.get(key), Some(desired));
    }
    assert_eq!(own.objects.len(), other.objects.len() + 1);
}

#[test]
fn every_annotation_stands_for_a_field_that_there_is() {
    for annotation in ANNOTATIONS {
        let acted_on = matches!(annotation.part, Part::Place | Part::Service);
        assert_eq!(annotation.field.is_empty(), acted_on, "{}", annotation.name);
        let key = match annotation.part {
            Part::Frontend => ObjectKey::parse("frontends/a").unwrap(),
            _ => ObjectKey::parse("backends/a").unwrap(),
        };
        // Of a type that no field has: a field that is known says so.
        let mut value = json!({ "Type": "http" });
        if !acted_on {
            edit::set_path(&mut value, annotation.field, json!([[]])).unwrap();
        }
        let findings = Object::parse_value(&key, &value, Strictness::Written).findings;
        let unknown = findings.iter().filter(|finding| finding.reason.starts_with("is not a known field"));
        assert_eq!(unknown.count(), 0, "{}: {findings:?}", annotation.name);
    }
    let names = ANNOTATIONS.iter().map(|annotation| annotation.name);
    assert_eq!(names.clone().collect::<BTreeSet<_>>().len(), names.count());
}
