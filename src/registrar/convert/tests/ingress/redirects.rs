//! Answers that lead elsewhere, and other paths.

use super::{
    Annotations, check, converted, ingress, notes, objects, plain, shown, shown_in, with_tls, world,
};
use serde_json::json;

const HTTPS: &str = r#"redirect {"Code":308,"Scheme":"https"}"#;

#[test]
fn hosts_with_tls_redirect_to_https() {
    let redirects = |annotations: Annotations<'_>, line: &str, hosts: Option<&[&str]>| {
        let mut ingress = ingress("web", annotations, line);
        if let Some(hosts) = hosts {
            ingress = with_tls(ingress, hosts, None);
        }
        let objects = objects(&converted(&world(&[ingress]), "web"));
        let keys: Vec<&String> = objects.as_object().unwrap().keys().collect();
        keys.iter().any(|key| key.ends_with("/middlewares/https"))
    };
    let line = "shop.example / Prefix web:80";
    for (annotations, line, hosts, expected) in [
        (&[][..], line, None, false),
        (&[], line, Some(&["shop.example"][..]), true),
        (&[], line, Some(&[]), true),
        (&[], line, Some(&["*.example"]), true),
        (&[], line, Some(&["other.example"]), false),
        (&[("ssl-redirect", "false")], line, Some(&["shop.example"]), false),
        (&[("ssl-redirect", "true")], line, None, false),
        (&[("force-ssl-redirect", "true")], line, None, true),
        (&[("force-ssl-redirect", "true")], "* / Prefix web:80", None, true),
        (&[], "* / Prefix web:80", Some(&[]), false),
        (
            &[("force-ssl-redirect", "true")],
            "shop.example /.well-known/acme-challenge/abc Exact web:80",
            Some(&["shop.example"]),
            false,
        ),
    ] {
        assert_eq!(redirects(annotations, line, hosts), expected, "{annotations:?} {line} {hosts:?}");
    }
    check(&[("force-ssl-redirect", "true")], &[HTTPS], &[]);
    check(&[("ssl-redirect", "no")], &[], &["error ssl-redirect is `no`; `true` or `false` is expected"]);
}

#[test]
fn paths_become_what_servers_know() {
    let rewrite = |path: &str, target: &str, regexp: &str, replacement: &str| {
        let line = format!("shop.example {path} ImplementationSpecific web:80");
        let converted = converted(&world(&[ingress("web", &[("rewrite-target", target)], &line)]), "web");
        let objects = objects(&converted);
        let mut rewrites = objects.as_object().unwrap().iter().filter(|(key, _)| key.ends_with("/rewrite"));
        let (_, value) = rewrites.next().unwrap_or_else(|| panic!("{:?}", notes(&converted)));
        let expected = json!({ "PathOnly": true, "Regexp": format!("(?i)^(?:{regexp})[\\s\\S]*$"), "Replacement": replacement });
        assert_eq!(value["Middleware"], expected, "{path} {target}");
    };
    rewrite("/", "/new", "/", "/new");
    rewrite("/api(/|$)(.*)", "/$2", "/api(/|$)(.*)", "/${2}");
    rewrite("/a.b", "/", "/a\\.b", "/");
    rewrite("/v(\\d+)/(.*)", "/$1x/$2?v=$1", "/v(\\d+)/(.*)", "/${1}x/${2}?v=${1}");
    // A group that is not there is empty.
    rewrite("/api", "/$1", "/api", "/");
    rewrite("/(?<rest>.*)", "/x/$rest", "/(?<rest>.*)", "/x/${rest}");
    check(
        &[("rewrite-target", "/$uri")],
        &[],
        &["error rewrite-target has `$uri`, and only groups of the path are filled in"],
    );
    check(&[("rewrite-target", "x")], &[], &["error rewrite-target is `x`; a path is expected"]);
}

#[test]
fn the_root_leads_to_the_application() {
    let redirect =
        r#"rewrite {"Redirect":true,"Regexp":"^(https?://[^/?]+)/?(?:\\?.*)?$","Replacement":"${1}/app"}"#;
    check(&[("app-root", "/app")], &[redirect], &[]);
    check(&[("app-root", "app")], &[], &["error app-root is `app`; a path is expected"]);
    let ingress = ingress("web", &[("app-root", "/app")], "shop.example /x Prefix web:80");
    let objects = objects(&converted(&world(&[ingress]), "web"));
    assert!(objects.get("frontends/shop-web:shop.example:x/middlewares/app-root").is_none());
}

#[test]
fn an_ingress_leads_elsewhere() {
    check(
        &[("permanent-redirect", "https://new.example/a?b=c")],
        &[r#"respond {"Headers":{"Location":"https://new.example/a?b=c"},"Status":301}"#],
        &[],
    );
    check(
        &[("permanent-redirect", "https://new.example$request_uri"), ("permanent-redirect-code", "308")],
        &[r#"redirect {"Code":308,"Host":"new.example","Scheme":"https"}"#],
        &[],
    );
    check(
        &[("temporal-redirect", "$scheme://$host:8443/$request_uri")],
        &[],
        &[
            "error temporal-redirect is `$scheme://$host:8443/$request_uri`; a URL, with no variables but `$scheme`, \
            `$host` and `$request_uri` in their places, is expected",
        ],
    );
    check(
        &[("temporal-redirect", "https://$host/new")],
        &[r#"redirect {"Code":302,"DropQuery":true,"Path":"/new","Scheme":"https"}"#],
        &[],
    );
    check(
        &[("permanent-redirect", "/here"), ("permanent-redirect-code", "304")],
        &[r#"respond {"Headers":{"Location":"/here"},"Status":301}"#],
        &["error permanent-redirect-code is `304`; 301, 302, 303, 307 or 308 is expected"],
    );
}

#[test]
fn the_other_name_of_a_host_leads_to_it() {
    let annotations = [("from-to-www-redirect", "true")];
    let of = |lines: &str| objects(&converted(&world(&[ingress("web", &annotations, lines)]), "web"));
    let found = of("shop.example /a Prefix web:80\nshop.example /b Prefix web:80");
    let frontend = &found["frontends/shop-web:www.shop.example~www/frontend"];
    assert_eq!(frontend["Route"], "Host(`www.shop.example`) && PathPrefix(`/`)");
    assert_eq!(frontend["Priority"], -1);
    let redirect = &found["frontends/shop-web:www.shop.example~www/middlewares/elsewhere"];
    assert_eq!(redirect["Middleware"], json!({ "Host": "shop.example", "Code": 308 }));
    let found = of("www.shop.example / Prefix web:80");
    assert!(found.get("frontends/shop-web:shop.example~www/frontend").is_some(), "{found}");
    for lines in ["*.shop.example / Prefix web:80", "a.b / Prefix web:80\nwww.a.b / Prefix web:80"] {
        assert!(!of(lines).to_string().contains("~www"), "{lines}");
    }
}

#[test]
fn further_names_are_of_the_first_host() {
    let annotations = [("server-alias", "b.example, *.c.example, ~^d")];
    let lines = "shop.example / Prefix web:80\nx.example / Prefix web:80";
    let converted = converted(&world(&[ingress("web", &annotations, lines)]), "web");
    let found = objects(&converted);
    assert_eq!(
        found["frontends/shop-web:shop.example/frontend"]["Route"],
        "(Host(`shop.example`) || Host(`b.example`) || Host(`*.c.example`)) && PathPrefix(`/`)"
    );
    assert_eq!(
        found["frontends/shop-web:x.example/frontend"]["Route"],
        "Host(`x.example`) && PathPrefix(`/`)"
    );
    let said =
        ["error ingress/shop/web nginx.ingress.kubernetes.io/server-alias has `~^d`; a host is expected"];
    assert_eq!(notes(&converted), said);
}

#[test]
fn steps_run_in_the_order_of_nginx() {
    let annotations = [
        ("force-ssl-redirect", "true"),
        ("rewrite-target", "/x"),
        ("enable-cors", "true"),
        ("whitelist-source-range", "10.0.0.0/8"),
        ("mirror-target", "http://web.shop.svc/$request_uri"),
        ("upstream-vhost", "inner.example"),
        ("auth-url", "http://web.shop.svc.cluster.local/auth"),
        ("app-root", "/app"),
    ];
    let kinds = |middlewares: Vec<String>| {
        let kind = |text: String| text.split(' ').next().unwrap().to_owned();
        middlewares.into_iter().map(kind).collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(shown(&annotations).middlewares),
        ["rewrite", "cors", "redirect", "ipfilter", "forwardauth", "mirror", "headers", "rewrite"]
    );
    assert_eq!(shown_in(&world(&[plain(&annotations)])).notes, [""; 0]);
}
