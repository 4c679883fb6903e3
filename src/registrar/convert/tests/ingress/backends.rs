//! Backends: whose they are, and what annotations change.

use super::{
    Annotations, check, converted, ingress, notes, objects, plain, secret, service, shown, shown_in, usual,
    world,
};
use crate::registrar::Change;
use crate::registrar::seen::IngressBackend;
use serde_json::{Value, json};

#[track_caller]
fn check_backend(annotations: Annotations<'_>, settings: Value, said: &[&str]) {
    let shown = shown(annotations);
    let id = if settings.is_null() { "shop-web-80" } else { "shop.web-web-80" };
    assert_eq!(shown.frontend["BackendId"], id, "{annotations:?}");
    assert_eq!(shown.backend["Settings"], settings, "{annotations:?}");
    assert_eq!(shown.notes, said, "{annotations:?}");
}

#[test]
fn what_changes_nothing_leaves_the_services_own() {
    check_backend(&[("proxy-connect-timeout", "5")], Value::Null, &[]);
    check_backend(&[("backend-protocol", "HTTP")], Value::Null, &[]);
    check_backend(
        &[("load-balance", "round_robin"), ("upstream-hash-by", "$a$b")],
        Value::Null,
        &[
            "error upstream-hash-by is `$a$b`; `$remote_addr`, `$request_uri`, `$http_NAME` or `$cookie_NAME` is expected",
        ],
    );
    check_backend(
        &[("backend-protocol", "FCGI")],
        Value::Null,
        &["error backend-protocol is `FCGI`, which is not spoken; HTTP is"],
    );
}

#[test]
fn annotations_make_a_backend_of_the_ingress() {
    check_backend(&[("proxy-connect-timeout", "2")], json!({ "Timeouts": { "Dial": "2s" } }), &[]);
    check_backend(&[("load-balance", "ewma")], json!({ "Balance": "peak_ewma" }), &[]);
    for (by, key) in [
        ("$remote_addr", "client_ip"),
        ("${request_uri}", "path"),
        ("$http_x_user", "header:x-user"),
        ("$cookie_session", "cookie:session"),
    ] {
        let settings = json!({ "Balance": { "Policy": "hash", "Key": key } });
        check_backend(&[("upstream-hash-by", by), ("load-balance", "ewma")], settings, &[]);
    }
    check_backend(&[("affinity", "cookie")], json!({ "Sticky": { "Cookie": "INGRESSCOOKIE" } }), &[]);
    check_backend(
        &[
            ("affinity", "cookie"),
            ("session-cookie-name", "route"),
            ("session-cookie-expires", "60"),
            ("session-cookie-max-age", "172800"),
            ("session-cookie-samesite", "none"),
            ("session-cookie-path", "/app"),
            ("affinity-mode", "balanced"),
        ],
        json!({ "Sticky": { "Cookie": "route", "MaxAge": "48h0m0s", "SameSite": "None" } }),
        &["warning session-cookie-path is `/app`, but the cookie's path is always `/`"],
    );
    check_backend(&[("backend-protocol", "GRPC")], json!({ "Protocol": "http2" }), &[]);
}

#[test]
fn servers_that_speak_tls() {
    let objects = objects(&converted(&world(&[plain(&[("backend-protocol", "grpcs")])]), "web"));
    assert_eq!(
        objects["backends/shop.web-web-80/servers/10.0.0.1:8080"],
        json!({ "URL": "https://10.0.0.1:8080" })
    );
    check_backend(
        &[
            ("backend-protocol", "HTTPS"),
            ("proxy-ssl-name", "web.internal"),
            ("proxy-ssl-protocols", "TLSv1.3"),
        ],
        json!({ "TLS": {
            "InsecureSkipVerify": true, "ServerName": "web.internal", "MinVersion": "VersionTLS13",
        } }),
        &[],
    );
    let annotations =
        [("backend-protocol", "HTTPS"), ("proxy-ssl-verify", "on"), ("proxy-ssl-secret", "shop/s")];
    let mut world = world(&[plain(&annotations)]);
    let pem = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let secret = secret("s", &[("ca.crt", pem.as_bytes()), ("tls.crt", b"x"), ("tls.key", b"x")]);
    world.apply(Change::Secret(secret.name.clone(), Some(secret)));
    let shown = shown_in(&world);
    assert_eq!(shown.backend["Settings"], json!({ "TLS": { "CA": pem } }));
    assert_eq!(
        shown.notes,
        ["warning proxy-ssl-secret has a certificate of the proxy's own, which is not carried over"]
    );
}

#[test]
fn what_the_service_says_of_itself_holds() {
    let mut world =
        world(&[plain(&[("affinity", "cookie")]), ingress("b", &[], "b.example / Prefix web:http")]);
    let service = service("shop", "web", &[("flipgate.io/balance", "least_requests")], &[("http", 80)]);
    world.apply(Change::Service(service.meta.name.clone(), Some(service)));
    let balance = json!("least_requests");
    assert_eq!(
        shown_in(&world).backend["Settings"],
        json!({ "Balance": balance, "Sticky": { "Cookie": "INGRESSCOOKIE" } })
    );
    let objects = objects(&converted(&world, "b"));
    assert_eq!(objects["backends/shop-web-80/backend"]["Settings"], json!({ "Balance": balance }));
}

#[test]
fn a_frontend_is_there_without_its_service() {
    let lines = "a.b /1 Prefix gone:80\na.b /2 Prefix web:metrics\na.b /3 Prefix next:80";
    let converted = converted(&world(&[ingress("web", &[], lines)]), "web");
    let objects = objects(&converted);
    for (path, backend) in [("1", "shop-gone-80"), ("2", "shop-web-metrics"), ("3", "shop-next-80")] {
        let expected = json!({
            "Type": "http", "BackendId": backend,
            "Route": format!("Host(`a.b`) && PathPrefix(`/{path}`)"), "Settings": usual(),
        });
        assert_eq!(objects[format!("frontends/shop-web:a.b:{path}/frontend")], expected);
        assert_eq!(objects[format!("backends/{backend}/backend")], json!({ "Type": "http" }));
    }
    assert_eq!(
        notes(&converted),
        [
            "error ingress/shop/web spec.rules[0].http.paths[0] leads to the Service shop/gone, which does not exist",
            "error ingress/shop/web spec.rules[1].http.paths[0] leads to port metrics of the Service shop/web, which \
             it does not have",
        ]
    );
    let mut other = plain(&[]);
    other.rules[0].paths[0].backend = IngressBackend::Resource { what: "Bucket/files".into() };
    let converted = super::converted(&world(&[other]), "web");
    assert_eq!(super::objects(&converted), json!({}));
    assert_eq!(notes(&converted).len(), 1);
}

#[test]
fn a_name_elsewhere_is_a_server() {
    let mut world = world(&[ingress("web", &[], "shop.example / Prefix far:8080")]);
    let mut far = service("shop", "far", &[], &[]);
    far.external_name = Some("far.example".into());
    world.apply(Change::Service(far.meta.name.clone(), Some(far)));
    let objects = objects(&converted(&world, "web"));
    assert_eq!(
        objects["backends/shop-far-8080/servers/far.example:8080"],
        json!({ "URL": "http://far.example:8080" })
    );
}

#[test]
fn another_service_answers_while_there_are_no_endpoints() {
    let of = |path: &str, annotation: &str| {
        let line = format!("shop.example / Prefix {path}");
        shown_in(&world(&[ingress("web", &[("default-backend", annotation)], &line)]))
    };
    assert_eq!(of("next:80", "fallback").frontend["BackendId"], "shop-fallback-80");
    assert_eq!(of("web:80", "fallback").frontend["BackendId"], "shop-web-80");
    let shown = of("next:80", "gone");
    assert_eq!(shown.frontend["BackendId"], "shop-next-80");
    assert_eq!(
        shown.notes,
        ["error default-backend names the Service shop/gone, which does not exist or has no port"]
    );
    check(
        &[("service-upstream", "true")],
        &[],
        &["warning service-upstream is not carried over: requests go to the endpoints"],
    );
}
