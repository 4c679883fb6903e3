//! Proxies before this one, and what they say of their clients.

use super::Scene;
use crate::support::{Recorder, shared};
use serde_json::{Value, json};

const TLS_ENDED: &str = "X-Forwarded-Proto: https\r\n";

/// What the server saw of a GET with these field lines.
fn seen(scene: &Scene, server: &Recorder, lines: &str) -> crate::support::recorder::Seen {
    server.take();
    let answer = scene.ask(format!("GET /path HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
    assert_eq!(answer.status, 200, "{lines:?}: {}", answer.text());
    server.take().remove(0)
}

#[track_caller]
fn check(arguments: &[&str], settings: &Value, real: &str, chain: &str) {
    let server = Recorder::start();
    let scene = Scene::with(&[server.address()], settings.clone(), arguments);
    let lines = "X-Forwarded-For: 1.1.1.1, 198.51.100.7\r\nX-Forwarded-For: 127.0.0.9\r\nX-Real-Ip: 2.2.2.2\r\n\
                 Forwarded: for=3.3.3.3\r\n";
    let seen = seen(&scene, &server, lines);
    assert_eq!(seen.all("x-real-ip"), [real], "{arguments:?} {settings}");
    assert_eq!(seen.all("x-forwarded-for"), [chain], "{arguments:?} {settings}");
    assert_eq!(seen.has("forwarded"), chain.contains(','), "{arguments:?} {settings}");
}

#[test]
fn the_client_is_who_listed_proxies_say() {
    let _machine = shared();
    let whole = "1.1.1.1, 198.51.100.7, 127.0.0.9, 127.0.0.1";
    let loopback = ["--trusted-proxies", "10.0.0.0/8", "--trusted-proxies", "127.0.0.0/8"];
    check(&[], &json!({}), "127.0.0.1", "127.0.0.1");
    check(&[], &json!({"TrustForwardHeader": true}), "2.2.2.2", whole);
    check(&[], &json!({"TrustedProxies": ["127.0.0.0/8"]}), "198.51.100.7", whole);
    check(&[], &json!({"TrustedProxies": ["127.0.0.1"]}), "127.0.0.9", whole);
    check(&loopback, &json!({}), "198.51.100.7", whole);
    check(&loopback, &json!({"TrustedProxies": ["127.0.0.0/8", "198.51.100.0/24"]}), "1.1.1.1", whole);
    // With a list, who is not in it is not believed, and `TrustForwardHeader` does not say otherwise.
    let other = json!({"TrustedProxies": ["10.0.0.0/8"], "TrustForwardHeader": true});
    check(&[], &other, "127.0.0.1", "127.0.0.1");
    check(&loopback, &other, "127.0.0.1", "127.0.0.1");
    check(
        &["--trusted-proxies", "10.0.0.0/8"],
        &json!({"TrustForwardHeader": true}),
        "127.0.0.1",
        "127.0.0.1",
    );
}

#[test]
fn routes_balance_and_log_see_the_client_behind_listed_proxies() {
    let _machine = shared();
    let servers = [Recorder::start(), Recorder::start()];
    let [first, second] = [servers[0].address(), servers[1].address()];
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("access.log");
    let arguments = ["--trusted-proxies", "127.0.0.1", "--access-log", log.to_str().unwrap()];
    let scene = Scene::with(&[first, second], json!({}), &arguments);
    let hash = json!({"Type": "http", "Settings": {"Balance": {"Policy": "hash", "Key": "client_ip"}}});
    scene.directory.put("backends/b/backend", &hash);
    let office = json!({"Type": "http", "BackendId": "none", "Route": "PathPrefix(`/`) && ClientIP(`198.51.100.0/24`)"});
    scene.directory.put("backends/none/backend", &json!({"Type": "http"}));
    scene.directory.put("frontends/office/frontend", &office);
    let from = |client: &str| {
        scene.ask(format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: {client}\r\n\r\n")).status
    };
    crate::support::until("the route is served", std::time::Duration::from_secs(5), || {
        (from("198.51.100.7") == 503).then_some(())
    });
    assert_eq!(from("192.0.2.1"), 200);
    servers.iter().for_each(|server| drop(server.take()));
    for host in 0..40 {
        for _ in 0..3 {
            assert_eq!(from(&format!("192.0.2.{host}")), 200);
        }
    }
    for server in &servers {
        let mut clients: Vec<String> =
            server.take().iter().map(|seen| seen.all("x-real-ip").concat()).collect();
        let requests = clients.len();
        clients.dedup();
        assert!(
            requests >= 15 && clients.len() * 3 == requests,
            "{requests} requests of {} clients",
            clients.len()
        );
    }
    crate::support::until("the log names the client", std::time::Duration::from_secs(5), || {
        std::fs::read_to_string(&log).ok()?.contains("\"client\":\"192.0.2.39\"").then_some(())
    });
}

#[test]
fn the_scheme_is_what_listed_proxies_say() {
    let _machine = shared();
    let server = Recorder::start();
    let scene = Scene::with(&[server.address()], json!({}), &["--trusted-proxies", "127.0.0.0/8"]);
    let redirect = json!({"Type": "redirect", "Priority": 1, "Middleware": {"Scheme": "https"}});
    scene.directory.put("frontends/f/middlewares/https", &redirect);
    let status =
        |lines: &str| scene.ask(format!("GET /path HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n")).status;
    crate::support::until("the redirect is served", std::time::Duration::from_secs(5), || {
        (status("") / 100 == 3).then_some(())
    });
    server.take();
    // Behind a balancer that ends TLS the redirect does not loop.
    assert_eq!(status(TLS_ENDED), 200);
    let seen = server.take().remove(0);
    assert_eq!(
        (seen.all("x-forwarded-proto"), seen.all("x-forwarded-port")),
        (vec!["https".into()], vec!["443".into()])
    );
    assert_eq!(status("X-Forwarded-Proto: http\r\n") / 100, 3);
    // Anyone else cannot claim it.
    scene.put(&json!({"Type": "http", "BackendId": "b", "Route": "PathPrefix(`/`)",
                      "Settings": {"TrustedProxies": ["10.0.0.0/8"], "TrustForwardHeader": true}}));
    assert_eq!(status(TLS_ENDED) / 100, 3);
    assert!(server.take().is_empty());
}

#[test]
fn a_websocket_behind_a_balancer_that_ended_tls_is_wss() {
    let _machine = shared();
    let server = Recorder::start();
    let scene = Scene::with(&[server.address()], json!({"TrustForwardHeader": true}), &[]);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (told, expected) in [(TLS_ENDED, "wss"), ("", "ws"), ("X-Forwarded-Proto: wss\r\n", "wss")] {
        let seen = seen(&scene, &server, &format!("{told}{upgrade}"));
        assert_eq!(seen.all("x-forwarded-proto"), [expected], "{told:?}");
    }
}
