//! Hosts, paths, and the ids that they make.

use super::{converted, ingress, notes, objects, plain, to, usual, world};
use crate::expr::Route;
use crate::model::FrontendId;
use crate::route::{NoLookup, Params, Query, Router};
use serde_json::{Value, json};

/// The route that a rule becomes.
#[track_caller]
fn route(annotations: super::Annotations<'_>, line: &str) -> String {
    let converted = converted(&world(&[ingress("web", annotations, line)]), "web");
    let objects = objects(&converted);
    let mut frontends = objects.as_object().unwrap().iter().filter(|(key, _)| key.ends_with("/frontend"));
    let (_, value) = frontends.next().unwrap_or_else(|| panic!("{line}: {:?}", notes(&converted)));
    value["Route"].as_str().unwrap().to_owned()
}

#[test]
fn a_rule_is_a_frontend_with_its_backend() {
    let converted = converted(&world(&[plain(&[])]), "web");
    let expected = json!({
        "frontends/shop-web:shop.example/frontend": {
            "Type": "http", "BackendId": "shop-web-80", "Route": "Host(`shop.example`) && PathPrefix(`/`)",
            "Settings": usual(),
        },
        "backends/shop-web-80/backend": { "Type": "http" },
        "backends/shop-web-80/servers/10.0.0.1:8080": { "URL": "http://10.0.0.1:8080" },
    });
    assert_eq!(objects(&converted), expected);
    assert_eq!(notes(&converted), [""; 0]);
}

#[test]
fn paths_are_routes() {
    const NONE: super::Annotations<'_> = &[];
    const REGEX: super::Annotations<'_> = &[("use-regex", "true")];
    for (annotations, line, expected) in [
        (NONE, "* / Prefix web:80", "PathPrefix(`/`)"),
        (NONE, "*.shop.example /a Prefix web:80", "Host(`*.shop.example`) && PathPrefix(`/a`)"),
        (NONE, "a.b /a/b/ Prefix web:80", "Host(`a.b`) && PathPrefix(`/a/b`)"),
        (NONE, "a.b /a/ Exact web:80", "Host(`a.b`) && Path(`/a/`)"),
        (NONE, "a.b / ImplementationSpecific web:80", "Host(`a.b`) && PathPrefix(`/`)"),
        (NONE, "a.b /s/ ImplementationSpecific web:80", "Host(`a.b`) && Path(`/s/<path:rest>`)"),
        (
            NONE,
            "a.b /s ImplementationSpecific web:80",
            "Host(`a.b`) && (PathPrefix(`/s`) || PathPrefix(`/`) && PathRegexp(`^/s`))",
        ),
        (
            NONE,
            "* /a/s.x ImplementationSpecific web:80",
            "(PathPrefix(`/a/s.x`) || PathPrefix(`/a`) && PathRegexp(`^/a/s\\.x`))",
        ),
        (REGEX, "a.b /api(/|$)(.*) Prefix web:80", "Host(`a.b`) && PathPrefix(`/api`)"),
        (REGEX, "a.b /api(/|$)(.*) Exact web:80", "Host(`a.b`) && Path(`/api(/|$)(.*)`)"),
        (
            REGEX,
            "a.b /item/[0-9]+ ImplementationSpecific web:80",
            "Host(`a.b`) && PathPrefix(`/item`) && PathRegexp(`(?i)^(?:/item/[0-9]+)`)",
        ),
        (REGEX, "a.b /a Prefix web:80", "Host(`a.b`) && PathPrefix(`/a`)"),
    ] {
        assert_eq!(route(annotations, line), expected, "{line}");
    }
}

/// Which of several rules a path goes to, by the router's own order.
#[test]
fn the_more_specific_path_wins() {
    let annotations = [("rewrite-target", "/$2")];
    let ingresses = [
        ingress(
            "web",
            &[],
            "a.b / Prefix web:80\na.b /api/health Exact web:80\na.b /s ImplementationSpecific web:80",
        ),
        ingress("api", &annotations, "a.b /api(/|$)(.*) ImplementationSpecific web:80"),
        ingress(
            "items",
            &[("use-regex", "true")],
            "a.b /item/(.+) Prefix web:80\na.b /item/[0-9]+/edit$ Prefix web:80\n* /(.*) Prefix web:80",
        ),
    ];
    let world = world(&ingresses);
    let mut router = Router::new();
    for name in ["web", "api", "items"] {
        for (key, value) in objects(&converted(&world, name)).as_object().unwrap() {
            let id = key.strip_prefix("frontends/").and_then(|key| key.strip_suffix("/frontend"));
            let Some(id) = id else { continue };
            let route = Route::parse(value["Route"].as_str().unwrap()).unwrap();
            router.insert(&FrontendId::try_from(id).unwrap(), &route, 0, id.to_owned());
        }
    }
    router.settle();
    for (path, expected) in [
        ("/", "shop-web:a.b"),
        ("/other", "shop-web:a.b"),
        ("/api", "shop-api:a.b:api"),
        ("/api/x", "shop-api:a.b:api"),
        ("/apix", "shop-web:a.b"),
        ("/api/health", "shop-web:a.b:api:health="),
        ("/s", "shop-web:a.b:s*"),
        ("/swagger-ui.html", "shop-web:a.b:s*"),
        ("/item/x", "shop-items:a.b~9989"),
        ("/item/7", "shop-items:a.b~9989"),
        ("/item/7/EDIT", "shop-items:a.b~9981"),
        ("/item", "shop-web:a.b"),
    ] {
        let query = Query { host: "a.b", path, method: "GET", client: None, lookup: &NoLookup };
        let found = router.find(&query, &mut Params::default()).unwrap();
        assert!(*found == expected || found.starts_with(&format!("{expected}-")), "{path}: {found}");
    }
}

#[test]
fn ids_stay_when_rules_change_places() {
    let lines = "b.c /x Prefix web:80\nb.c /x Exact web:80\na.b /x Prefix web:80\na.b /%20 Prefix web:80";
    let reversed = lines.lines().rev().collect::<Vec<_>>().join("\n");
    let of = |lines: &str| objects(&converted(&world(&[ingress("web", &[], lines)]), "web"));
    assert_eq!(of(lines), of(&reversed));
    let keys = of(lines);
    for key in ["shop-web:b.c:x", "shop-web:b.c:x=", "shop-web:a.b:x"] {
        assert!(keys.get(format!("frontends/{key}/frontend")).is_some(), "{key}: {keys}");
    }
    let long = format!("a.b /{} Prefix web:80", "x".repeat(300));
    let long = of(&long);
    let key = long.as_object().unwrap().keys().find(|key| key.ends_with("/frontend")).unwrap().clone();
    assert!(key.len() < 200, "{key}");
}

#[test]
fn what_is_wrong_with_a_rule_leaves_the_others() {
    let check = |lines: &str, said: &[&str], frontends: usize| {
        let converted = converted(&world(&[ingress("web", &[("use-regex", "true")], lines)]), "web");
        assert_eq!(notes(&converted), said, "{lines}");
        let objects = objects(&converted);
        let found = objects.as_object().unwrap().keys().filter(|key| key.ends_with("/frontend")).count();
        assert_eq!(found, frontends, "{lines}");
    };
    check(
        "a.b /x(?=y) Prefix web:80\na.b / Prefix web:80",
        &["error ingress/shop/web spec.rules[0].http.paths[0].path is not a regular expression: \
            look-around, including look-ahead and look-behind, is not supported"],
        1,
    );
    check(
        "a.b /x Prefix web:80\na.b /x/ Prefix web:80",
        &["error ingress/shop/web spec.rules[1].http.paths[0] has host and path of another one before it"],
        1,
    );
    check(
        "a.b /<x Prefix web:80",
        &[
            "error ingress/shop/web spec.rules[0].http.paths[0].path is no route: column 27: `<` without `>`: \
            a parameter is `<name>`, `<int:name>` or `<path:name>`",
        ],
        0,
    );
}

#[test]
fn the_default_backend_takes_what_is_left() {
    let mut ingress = ingress("web", &[("force-ssl-redirect", "true")], "a.b /x Prefix web:80");
    ingress.default_backend = Some(to("next:http"));
    let objects = objects(&converted(&world(&[ingress]), "web"));
    let expected = json!({
        "Type": "http", "BackendId": "shop-next-80", "Route": "PathPrefix(`/`)", "Priority": -1,
        "Settings": usual(),
    });
    assert_eq!(objects["frontends/shop-web:any~default/frontend"], expected);
    assert_ne!(objects["frontends/shop-web:any~default/middlewares/https"], Value::Null);
}
