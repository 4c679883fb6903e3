//! Limits, timeouts, repetitions, headers, copies, and what pages of other sites may use.

use super::{Annotations, check, converted, objects, plain, shown, usual, world};
use crate::model::edit;
use serde_json::{Value, json};

/// What of the frontend's settings is other than usual.
#[track_caller]
fn check_settings(annotations: Annotations<'_>, expected: Value, said: &[&str]) {
    let shown = shown(annotations);
    assert_eq!(shown.frontend["Settings"], edit::merge(&usual(), &expected), "{annotations:?}");
    assert_eq!(shown.notes, said, "{annotations:?}");
}

#[test]
fn times_are_bounded() {
    check_settings(&[], json!({}), &[]);
    check_settings(
        &[("proxy-read-timeout", "3600"), ("proxy-send-timeout", "10s")],
        json!({ "Timeouts": { "Response": "1h0m0s", "Idle": "1h0m0s" } }),
        &[],
    );
    check_settings(&[("proxy-send-timeout", "90")], json!({ "Timeouts": { "Idle": "1m30s" } }), &[]);
    for wrong in ["0", "-1", "5m", "99999999999"] {
        let said = format!("error proxy-read-timeout is `{wrong}`; a number of seconds is expected");
        check_settings(&[("proxy-read-timeout", wrong)], json!({}), &[&said]);
    }
}

#[test]
fn attempts_are_made_again() {
    check_settings(
        &[("proxy-next-upstream", "error timeout http_502 http_503 non_idempotent")],
        json!({ "Retry": { "On": ["502", "503", "connect", "reset", "timeout"], "AnyMethod": true } }),
        &[],
    );
    check_settings(
        &[("proxy-next-upstream", "error http_200"), ("proxy-next-upstream-tries", "0")],
        json!({ "Retry": { "On": ["connect", "reset"], "Attempts": 10 } }),
        &[
            "error proxy-next-upstream has `http_200`, which is no reason to try again here",
            "warning proxy-next-upstream-tries is 0; 10 attempts are made",
        ],
    );
    let settings = &shown(&[("proxy-next-upstream", "off")]).frontend["Settings"];
    assert!(settings.get("Retry").is_none());
}

#[test]
fn bodies_are_bounded() {
    for (text, bytes) in [("8m", 8 << 20), ("1K", 1 << 10), ("2g", 2 << 30), ("77", 77_i64)] {
        check_settings(&[("proxy-body-size", text)], json!({ "Limits": { "MaxBodyBytes": bytes } }), &[]);
    }
    check_settings(&[("proxy-body-size", "0")], json!({}), &[]);
    for wrong in ["m", "8mb", "-1", "99999999999999g"] {
        let said = format!("error proxy-body-size is `{wrong}`; a size like `8m` is expected");
        check_settings(&[("proxy-body-size", wrong)], json!({}), &[&said]);
    }
    check(
        &[("proxy-buffering", "on"), ("proxy-request-buffering", "off")],
        &[],
        &["warning proxy-buffering is not carried over: bodies always stream"],
    );
}

#[test]
fn limits_are_for_the_whole_ingress() {
    let annotations = [
        ("limit-rps", "10"),
        ("limit-rpm", "100"),
        ("limit-connections", "3"),
        ("limit-burst-multiplier", "2"),
    ];
    let objects = objects(&converted(&world(&[plain(&annotations)]), "web"));
    let limit = |name: &str| &objects[format!("middlewares/shop-web-limit-{name}")]["Middleware"];
    let rate = |requests: u64, seconds: u64, burst: u64| json!({ "Requests": requests, "PeriodSeconds": seconds, "Burst": burst, "Variable": "client.ip" });
    assert_eq!(*limit("rps"), rate(10, 1, 21));
    assert_eq!(*limit("rpm"), rate(100, 60, 201));
    assert_eq!(*limit("connections"), json!({ "Connections": 3, "Variable": "client.ip" }));
    assert_eq!(
        objects["frontends/shop-web:shop.example/frontend"]["Settings"]["Middlewares"],
        json!(["shop-web-limit-connections", "shop-web-limit-rpm", "shop-web-limit-rps"])
    );
    check_settings(&[("limit-rps", "0")], json!({}), &[]);
    check_settings(
        &[("limit-rps", "ten")],
        json!({}),
        &["error limit-rps is `ten`; a whole number from 0 to 1000000 is expected"],
    );
}

#[test]
fn servers_get_headers() {
    check(
        &[("upstream-vhost", "inner.example"), ("x-forwarded-prefix", "/shop")],
        &[r#"headers {"Request":{"Set":{"Host":"inner.example","X-Forwarded-Prefix":"/shop"}}}"#],
        &[],
    );
    check(
        &[("upstream-vhost", "$service_name.shop")],
        &[],
        &["error upstream-vhost is `$service_name.shop`, and variables are not filled in"],
    );
}

#[test]
fn copies_are_sent() {
    check(
        &[("mirror-target", "http://next.shop.svc.cluster.local/$request_uri"), ("mirror-host", "x")],
        &[r#"mirror {"BackendId":"shop-next-80"}"#],
        &["warning mirror-host is not carried over: a copy has the `Host` of the request"],
    );
    check(
        &[("mirror-target", "https://test.example"), ("mirror-request-body", "off")],
        &[r#"mirror {"BackendId":"shop.web-mirror","MaxBodyBytes":0}"#],
        &["warning mirror-request-body is `off`: only requests without a body are copied"],
    );
    check(
        &[("mirror-target", "https://test.example/other")],
        &[],
        &[
            "error mirror-target is `https://test.example/other`; a scheme and a host, with nothing behind them but \
            `$request_uri`, is expected",
        ],
    );
}

#[test]
fn pages_of_other_sites_are_told_what_they_may() {
    let headers = r#"["DNT","User-Agent","X-Requested-With","If-Modified-Since","Cache-Control","Content-Type","Range","Authorization"]"#;
    let methods = r#"["GET","PUT","POST","DELETE","PATCH","OPTIONS"]"#;
    check(
        &[("enable-cors", "true")],
        &[&format!(
            r#"cors {{"AllowCredentials":false,"AllowHeaders":{headers},"AllowMethods":{methods},"AllowOrigins":["*"],"MaxAge":"24h0m0s"}}"#
        )],
        &[],
    );
    check(
        &[
            ("enable-cors", "true"),
            ("cors-allow-origin", "https://Shop.example:443/, http://*.b.example:8080"),
            ("cors-allow-methods", "PUT"),
            ("cors-allow-headers", "X-A, Keep-Alive"),
            ("cors-expose-headers", "X-B"),
            ("cors-max-age", "600"),
        ],
        &[
            r#"cors {"AllowCredentials":true,"AllowHeaders":["X-A"],"AllowMethods":["PUT"],"AllowOrigins":["https://shop.example","http://*.b.example:8080"],"ExposeHeaders":["X-B"],"MaxAge":"10m0s"}"#,
        ],
        &["warning cors-allow-headers has `Keep-Alive`, which no page can set: it is left out"],
    );
    let shown = shown(&[
        ("enable-cors", "true"),
        ("cors-allow-origin", "https://a.b"),
        ("cors-expose-headers", "*"),
        ("cors-allow-credentials", "true"),
    ]);
    assert!(shown.middlewares[0].contains(r#""AllowCredentials":false"#));
    assert_eq!(
        shown.notes,
        ["warning cors-allow-credentials is left out: beside a `*` browsers do not heed it"]
    );
    let shown = super::shown(&[("enable-cors", "true"), ("cors-allow-origin", "shop")]);
    assert_eq!(shown.middlewares.len(), 0);
    assert!(
        shown.notes[0].starts_with("error enable-cors cannot be carried over: `Middleware.AllowOrigins[0]`")
    );
    check(&[("enable-cors", "false"), ("cors-max-age", "x")], &[], &[]);
}
