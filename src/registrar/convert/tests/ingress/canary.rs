//! Canaries.

use super::{Annotations, converted, ingress, notes, objects, plain, world};
use serde_json::{Value, json};

/// The frontend of `web` beside a canary that leads to `next`.
fn split(main: Annotations<'_>, canary: Annotations<'_>) -> Value {
    let canary = [&[("canary", "true")], canary].concat();
    let canary = ingress("web-next", &canary, "shop.example / Prefix next:80");
    let objects = objects(&converted(&world(&[plain(main), canary]), "web"));
    assert!(objects["backends"].is_null());
    objects["frontends/shop-web:shop.example/frontend"].clone()
}

fn part(id: &str, weight: u32) -> Value {
    json!({ "BackendId": id, "Weight": weight })
}

fn pin(id: &str, field: &str, value: &str) -> Value {
    json!({ "BackendId": id, "Weight": 0, field: value })
}

#[test]
fn a_canary_takes_its_part() {
    const MAIN: &str = "shop-web-80";
    const NEXT: &str = "shop-next-80";
    for (canary, expected) in [
        (&[("canary-weight", "20")][..], json!([part(MAIN, 80), part(NEXT, 20)])),
        (&[("canary-weight", "100")], json!([part(MAIN, 0), part(NEXT, 100)])),
        (&[("canary-weight", "1"), ("canary-weight-total", "1000")], json!([part(MAIN, 999), part(NEXT, 1)])),
        (
            &[("canary-weight", "50000"), ("canary-weight-total", "100000")],
            json!([part(MAIN, 5_000), part(NEXT, 5_000)]),
        ),
        (
            &[("canary-by-header", "X-Next"), ("canary-by-cookie", "next"), ("canary-weight", "5")],
            json!([
                pin(NEXT, "Header", "X-Next=always"),
                pin(MAIN, "Header", "X-Next=never"),
                pin(NEXT, "Cookie", "next=always"),
                pin(MAIN, "Cookie", "next=never"),
                part(MAIN, 95),
                part(NEXT, 5),
            ]),
        ),
        (
            &[("canary-by-header", "X-Next"), ("canary-by-header-value", "yes")],
            json!([pin(NEXT, "Header", "X-Next=yes"), part(MAIN, 100)]),
        ),
    ] {
        let frontend = split(&[], canary);
        assert_eq!(frontend["Split"], expected, "{canary:?}");
        assert!(frontend["BackendId"].is_null() && frontend["SplitBy"].is_null(), "{canary:?}");
    }
    assert_eq!(split(&[], &[])["BackendId"], MAIN);
}

#[test]
fn a_canary_has_the_main_ones_annotations() {
    let frontend = split(&[("affinity", "cookie")], &[("canary-weight", "10")]);
    assert_eq!(frontend["Split"], json!([part("shop.web-web-80", 90), part("shop.web-next-80", 10)]));
    assert_eq!(frontend["SplitBy"], "client_ip");
    let legacy = [("canary-weight", "10"), ("affinity-canary-behavior", "legacy")];
    assert!(split(&[("affinity", "cookie")], &legacy)["SplitBy"].is_null());
    let own = split(&[], &[("canary-weight", "10"), ("load-balance", "ewma")]);
    assert_eq!(own["Split"], json!([part("shop-web-80", 90), part("shop.web-next-next-80", 10)]));
}

#[test]
fn a_canary_alone_is_nothing() {
    let of = |lines: &str, annotations: Annotations<'_>| {
        let annotations = [&[("canary", "true")], annotations].concat();
        let converted = converted(&world(&[plain(&[]), ingress("next", &annotations, lines)]), "next");
        assert_eq!(objects(&converted), json!({}));
        notes(&converted)
    };
    let line = "shop.example / Prefix next:80";
    assert_eq!(of(line, &[("canary-weight", "10")]), [""; 0]);
    for other in ["other.example / Prefix next:80", "shop.example /x Prefix next:80"] {
        let said = "error ingress/shop/next spec.rules[0].http.paths[0] is no host and path of an Ingress that is no \
                    canary";
        assert_eq!(of(other, &[]), [said]);
    }
    let prefix = "ingress/shop/next nginx.ingress.kubernetes.io/canary-";
    assert_eq!(
        of(line, &[("canary-weight", "200"), ("canary-by-header", "a b"), ("canary-by-header-pattern", "x")]),
        [
            format!("error {prefix}by-header is `a b`; a name is expected"),
            format!(
                "warning {prefix}by-header-pattern is not carried over: a pin has one value; \
                 `canary-by-header-value` is carried over"
            ),
            format!("error {prefix}weight is `200`; a whole number from 0 to 100 is expected"),
        ]
    );
}
