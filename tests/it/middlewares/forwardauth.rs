//! `forwardauth`: nothing passes that the auth service did not let through.

use super::way::{PROTOCOLS, Way, silent};
use crate::support::{Connection, Directory, Recorder, shared, until};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

fn auth_backend(directory: &Directory, address: SocketAddr) {
    directory.put("backends/auth/backend", &json!({"Type": "http"}));
    directory.put("backends/auth/servers/a", &json!({"URL": format!("http://{address}")}));
}

fn way(server: &Recorder, auth: SocketAddr, spec: Value) -> Way {
    let middlewares = [("b", "forwardauth", spec)];
    Way::with(server.address(), &middlewares, &[], |directory| auth_backend(directory, auth))
}

/// Lets `Bearer good` in, sends those without credentials to the login, and keeps all others out.
fn gatekeeper() -> Recorder {
    Recorder::with(|seen, stream| {
        let answer: &[u8] = match seen.all("authorization").first().map(String::as_str) {
            Some("Bearer good") => {
                b"HTTP/1.1 200 OK\r\nX-User: ann\r\nX-Group: a\r\nX-Group: b\r\nX-Other: o\r\nContent-Length: 2\r\n\r\nok"
            }
            Some(_) => b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"no\":1}\n",
            None => {
                b"HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
            }
        };
        stream.write_all(answer).is_ok()
    })
}

#[test]
fn the_service_decides() {
    let _machine = shared();
    let (server, auth) = (Recorder::start(), gatekeeper());
    let spec = json!({"BackendId": "auth", "Path": "/verify?strict=1", "ResponseHeaders": ["X-User", "X-Group", "X-Role"]});
    let way = way(&server, auth.address(), spec);
    for protocol in PROTOCOLS {
        let got = way.curl(&[protocol, "-d", "two apples", "-H", "Cookie: c=1"], "/cart?id=7");
        assert_eq!(got.status, 302, "{protocol}");
        assert_eq!(got.field("location"), "https://login.example/");
        assert_eq!(got.field("set-cookie"), "a=1 | b=2");
        let asked = auth.take().remove(0);
        assert_eq!((asked.line.as_str(), asked.body.len()), ("GET /verify?strict=1 HTTP/1.1", 0));
        for (name, value) in [
            ("host", auth.address().to_string().as_str()),
            ("cookie", "c=1"),
            ("x-forwarded-method", "POST"),
            ("x-forwarded-uri", "/cart?id=7"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-original-method", "POST"),
            ("x-original-url", "http://a.example/cart?id=7"),
        ] {
            assert_eq!(asked.all(name), [value], "{protocol} {name}");
        }
        assert!(!asked.has("content-length") && !asked.has("content-type"));

        let got = way.curl(&[protocol, "-H", "Authorization: Bearer bad"], "/");
        assert_eq!((got.status, got.field("content-type")), (403, "application/json"), "{protocol}");
        assert_eq!(got.text(), "{\"no\":1}\n");
        assert_eq!(server.take().len(), 0, "{protocol}: something reached the server");

        // What the client says of itself is not believed, in whatever spelling.
        let spoofed =
            ["-H", "X-User: root", "-H", "x_user: root", "-H", "X-Role: admin", "-H", "X-Other: mine"];
        let good = [protocol, "-H", "Authorization: Bearer good", "--data-binary", "@Cargo.toml"];
        let got = way.curl(&[good.as_slice(), &spoofed].concat(), "/pay");
        assert_eq!((got.status, got.text().as_str()), (200, "seen"), "{protocol}");
        let seen = server.take().remove(0);
        assert_eq!(
            (seen.all("x-user"), seen.all("x-group")),
            (vec!["ann".into()], vec!["a".into(), "b".into()])
        );
        assert!(!seen.has("x_user") && !seen.has("x-role"), "{seen:?}");
        assert_eq!(seen.all("x-other"), ["mine"]);
        assert_eq!(seen.body, std::fs::read("Cargo.toml").unwrap());
        auth.take();
    }
    // Questions use connections again.
    let before = auth.connections();
    for _ in 0..10 {
        assert_eq!(way.curl(&["-H", "Authorization: Bearer good"], "/").status, 200);
    }
    assert!(auth.connections() <= before + 2, "{} connections for 10 questions", auth.connections() - before);
}

#[test]
fn without_an_answer_nobody_passes() {
    let _machine = shared();
    let cut = || Recorder::with(|_, _| false);
    for (auth, name) in [(silent(Duration::from_secs(4)), "silent"), (cut(), "cut")] {
        for (fail_open, status) in [(false, 503), (true, 200)] {
            let server = Recorder::start();
            let spec = json!({"BackendId": "auth", "Timeout": "300ms", "FailOpen": fail_open, "ResponseHeaders": ["X-User"]});
            let way = way(&server, auth.address(), spec);
            for protocol in PROTOCOLS {
                let got = way.curl(&[protocol, "-H", "X-User: root"], "/");
                assert_eq!(got.status, status, "{name} {protocol} {fail_open}: {}", got.text());
                let seen = server.take();
                assert_eq!(seen.len(), usize::from(fail_open));
                assert!(seen.iter().all(|seen| !seen.has("x-user")));
            }
            let refused = way.flipgate.admin().ask("GET", "/metrics").text();
            let counted = refused.contains(r#"flipgate_refused_total{reason="auth"} 2"#);
            assert_eq!(counted, !fail_open, "{refused}");
        }
    }
}

#[test]
fn long_refusals_are_told_in_our_words() {
    let _machine = shared();
    let server = Recorder::start();
    let auth = Recorder::with(|_, stream| {
        let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Encoding: br\r\nContent-Length: 300000\r\n\r\n";
        stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&[b'x'; 300_000]).is_ok()
    });
    let way = way(&server, auth.address(), json!({"BackendId": "auth"}));
    for protocol in PROTOCOLS {
        let got = way.curl(&[protocol], "/");
        assert_eq!((got.status, got.field("www-authenticate")), (401, "Bearer"), "{protocol}");
        assert!(got.text().starts_with("401 Unauthorized\n"), "{}", got.text());
        assert_eq!(got.field("content-encoding"), "");
    }
}

/// A client that goes away while its question is asked leaves nothing behind.
#[test]
fn clients_that_leave_end_the_question() {
    let _machine = shared();
    let server = Recorder::start();
    let auth = silent(Duration::from_secs(2));
    let way = way(&server, auth.address(), json!({"BackendId": "auth", "Timeout": "10s"}));
    let mut client = Connection::open(way.address());
    client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    until("the service is asked", Duration::from_secs(5), || (auth.seen().len() == 1).then_some(()));
    client.reset();
    let counted = || way.flipgate.admin().ask("GET", "/metrics").text();
    until("the end is noticed before the service answers", Duration::from_millis(1_500), || {
        counted().contains(r#"flipgate_refused_total{reason="client_gone"} 1"#).then_some(())
    });
    assert_eq!(server.seen().len(), 0);
}

/// A frontend does not get in force without its guard, and a backend that guards is named.
#[test]
fn the_service_has_to_exist() {
    let _machine = shared();
    let (server, auth) = (Recorder::start(), gatekeeper());
    let way = way(&server, auth.address(), json!({"BackendId": "auth"}));
    let value = json!({"Type": "forwardauth", "Middleware": {"BackendId": "nobody"}});
    way.directory.put("frontends/a/middlewares/b", &value);
    let problem =
        way.flipgate.admin().problem("the edit dangles", |it| it["field"] == "Middleware.BackendId");
    assert_eq!(problem["inForce"], "previous");
    assert_eq!(way.curl(&[], "/").status, 302);
}

/// A question that a client makes too long is none that the service left without an answer.
#[test]
fn a_client_cannot_make_the_question_fail() {
    let _machine = shared();
    let (server, auth) = (Recorder::start(), gatekeeper());
    let way = way(&server, auth.address(), json!({"BackendId": "auth", "FailOpen": true}));
    let cookie = format!("Cookie: c={}", "x".repeat(45_000));
    let target = format!("/?{}", "y".repeat(15_000));
    for protocol in PROTOCOLS {
        assert_eq!(way.curl(&[protocol, "-H", &cookie], &target).status, 431, "{protocol}");
        assert_eq!(way.curl(&[protocol, "-H", &cookie], "/").status, 302, "{protocol}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[test]
fn a_proxy_that_asks_itself_is_refused() {
    let _machine = shared();
    let (server, auth) = (Recorder::start(), gatekeeper());
    let way = way(&server, auth.address(), json!({"BackendId": "auth"}));
    auth_backend(&way.directory, way.address());
    until("the proxy asks itself", Duration::from_secs(10), || {
        (way.curl(&[], "/").status == 508).then_some(())
    });
    let text = way.flipgate.admin().ask("GET", "/metrics").text();
    assert!(!text.contains(r#"frontend="a",code="503""#), "{text}");
}
