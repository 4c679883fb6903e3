//! Rules of the table, with requests that try to bend them.

use super::{Scene, middleware};
use crate::support::{Recorder, shared};
use serde_json::json;

#[test]
fn s11_a_redirect_stays_where_its_rule_says() {
    let _machine = shared();
    let scene = Scene::with(Recorder::start(), |directory| {
        directory.put_way("move", "Host(`move.example`)", "127.0.0.1:9".parse().unwrap());
        let spec = json!({"Scheme": "https", "Host": "new.example", "Code": 301});
        directory.put("frontends/move/middlewares/redirect", &middleware("redirect", spec));
    });
    for path in [
        "/",
        "/a/b?c=d",
        "//evil.example/x",
        "/\\evil.example",
        "/@evil.example",
        "/%0d%0aX-Evil:%201",
        "/%5c%5cevil",
    ] {
        let answer = scene.ask(format!("GET {path} HTTP/1.1\r\nHost: move.example\r\n\r\n"));
        if answer.status == 400 {
            continue;
        }
        assert_eq!(answer.status, 301, "{path}");
        let location = answer.field("location").expect("Location");
        assert!(location.starts_with("https://new.example/"), "{path} leads to {location}");
        assert!(answer.all("x-evil").is_empty());
    }
    let answer = scene.ask("GET /a/b?c=d&e HTTP/1.1\r\nHost: move.example:8080\r\n\r\n");
    assert!(
        answer.field("location").is_some_and(|at| at.ends_with("/a/b?c=d&e")),
        "{:?}",
        answer.field("location")
    );
}

#[test]
fn s12_rewrites_with_captures() {
    let _machine = shared();
    let scene = Scene::with(Recorder::start(), |directory| {
        directory.put_way("api", "Host(`api.example`)", "127.0.0.1:9".parse().unwrap());
        let front = json!({"Type": "http", "BackendId": "a", "Route": "Host(`api.example`)"});
        directory.put("frontends/api/frontend", &front);
        let spec =
            json!({"Regexp": "^http://([^/]+)/api/v1(/[^?]*)?(.*)", "Replacement": "http://$1/v1$2$3"});
        directory.put("frontends/api/middlewares/rewrite", &middleware("rewrite", spec));
    });
    for (target, wanted) in [
        ("/api/v1/users?q=1", "/v1/users?q=1"),
        ("/api/v1?q=1", "/v1?q=1"),
        ("/api/v1/$1/${x}", "/v1/$1/${x}"),
        ("/other", "/other"),
    ] {
        let (answer, seen) = scene.pass(format!("GET {target} HTTP/1.1\r\nHost: api.example\r\n\r\n"));
        assert_eq!((answer.status, seen.line), (200, format!("GET {wanted} HTTP/1.1")));
    }
    let long = "x".repeat(15_000);
    let (answer, seen) = scene.pass(format!("GET /api/v1/{long} HTTP/1.1\r\nHost: api.example\r\n\r\n"));
    assert_eq!((answer.status, seen.line), (200, format!("GET /v1/{long} HTTP/1.1")));
}

#[test]
fn s13_each_value_of_a_field_is_judged_on_its_own() {
    let _machine = shared();
    let matching = Recorder::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nmatch");
    let scene = Scene::with(Recorder::start(), |directory| {
        directory.put_way("m", "PathPrefix(`/`) && Header(`X-Tier`, `gold`)", matching.address());
    });
    for (lines, matches) in [
        ("X-Tier: gold\r\n", true),
        ("x-tier: gold\r\n", true),
        ("X-Tier: silver\r\nX-Tier: gold\r\n", true),
        ("X-Tier: gold\r\nX-Tier: silver\r\n", true),
        ("X-Tier: golden\r\n", false),
        ("X-Tier: silver, gold\r\n", false),
        ("X-Tier: Gold\r\n", false),
        ("", false),
    ] {
        let wanted = if matches { "match" } else { "seen" };
        assert_eq!(scene.ask(super::get_with(lines)).text(), wanted, "{lines:?}");
    }
}
