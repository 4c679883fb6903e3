//! Header fields on their way: what is kept, what is dropped, what the proxy says itself.

use super::{Scene, get_with};
use crate::support::{Recorder, shared};
use serde_json::json;

#[test]
fn s01_connection_cannot_take_away_what_is_not_the_clients() {
    let _machine = shared();
    let scene = Scene::new();
    for lines in [
        "Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Real-IP, Host, Cookie, X-Own\r\n",
        "connection: close\r\nCONNECTION: x-forwarded-for, HOST, x-real-ip, cookie, x-forwarded-proto, x-own\r\n",
    ] {
        let (answer, seen) = scene.pass(get_with(&format!("{lines}Cookie: a=b\r\nX-Own: 1\r\n")));
        assert_eq!(answer.status, 200);
        assert_eq!(seen.all("host"), ["a.example"]);
        assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen.all("x-real-ip"), ["127.0.0.1"]);
        assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
        assert!(!seen.has("x-own"), "a field that Connection names is the connection's: {:?}", seen.fields);
    }
}

#[test]
fn s03_fields_of_one_connection_stay_on_it() {
    let _machine = shared();
    let scene = Scene::new();
    let (_, seen) = scene.pass(get_with(
        "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\nProxy-Authorization: Basic eDp5\r\n",
    ));
    for name in ["keep-alive", "proxy-connection", "upgrade", "http2-settings", "proxy-authorization"] {
        assert!(!seen.has(name), "{name} passes: {:?}", seen.fields);
    }
    assert!(seen.all("te").iter().all(|value| value == "trailers"), "{:?}", seen.fields);
}

#[test]
fn s03_an_answers_fields_of_one_connection_stay_on_it() {
    let _machine = shared();
    let scene = Scene::to(Recorder::answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nConnection: X-Own\r\nX-Own: 1\r\n\
          Proxy-Connection: keep-alive\r\nX-Other: 2\r\n\r\nok",
    ));
    let answer = scene.ask(get_with(""));
    for name in ["keep-alive", "x-own", "proxy-connection"] {
        assert!(answer.all(name).is_empty(), "{name} passes: {:?}", answer.fields);
    }
    assert_eq!(answer.field("x-other"), Some("2"));
}

#[test]
fn s04_what_a_client_says_about_itself_is_replaced() {
    let _machine = shared();
    let scene = Scene::with(Recorder::start(), |directory| {
        let trusting = json!({
            "Type": "http", "BackendId": "a", "Route": "Host(`trusting.example`)",
            "Settings": {"TrustForwardHeader": true, "PassHostHeader": true},
        });
        directory.put("frontends/trusting/frontend", &trusting);
    });
    let lies = "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-For: 3.3.3.3\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Server: evil\r\n\
                X-Real-IP: 4.4.4.4\r\nForwarded: for=5.5.5.5\r\n";
    let (_, seen) = scene.pass(get_with(lies));
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["a.example"]);
    assert_eq!(seen.all("x-forwarded-port"), ["80"]);
    let text = format!(
        "{:?}",
        seen.fields.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect::<Vec<_>>()
    );
    for lie in ["1.1.1.1", "3.3.3.3", "4.4.4.4", "5.5.5.5", "evil"] {
        assert!(!text.contains(lie), "{lie} passes: {text}");
    }

    let (_, seen) = scene.pass(format!("GET / HTTP/1.1\r\nHost: trusting.example\r\n{lies}\r\n"));
    let chain = seen.all("x-forwarded-for").join(", ");
    assert_eq!(chain, "1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1", "a trusted client's list goes on");

    for alias in ["X_Forwarded_For: 1.1.1.1", "X_Real_IP: 1.1.1.1", "X_Forwarded_Proto: https"] {
        scene.server.take();
        let answer = scene.ask(get_with(&format!("{alias}\r\n")));
        let seen = scene.server.take();
        let passes = seen.iter().any(|seen| seen.fields.iter().any(|(name, _)| name.contains('_')));
        assert!(answer.status == 400 || !passes, "{alias} passes");
    }
}

#[test]
fn s05_trace_is_not_offered() {
    let _machine = shared();
    let scene = Scene::new();
    let answer =
        scene.ask("TRACE / HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 5\r\nCookie: secret=1\r\n\r\n");
    assert_eq!(answer.status, 405);
    assert!(!answer.text().contains("secret"));
    assert!(scene.server.take().is_empty());
}

#[test]
fn s07_fields_keep_order_case_and_bytes() {
    let _machine = shared();
    let scene = Scene::to(Recorder::answering(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1, b\r\nX-A: 1\r\nSet-Cookie: b=2\r\nx-a: 2\r\nX-BYTES: \x80\xff\r\n\
          X-Empty:\r\nset-cookie: c=3\r\nContent-Length: 2\r\n\r\nok",
    ));
    let mut request = get_with("").into_bytes();
    request.truncate(request.len() - 2);
    request.extend_from_slice(
        b"X-A: 1\r\nx-b: 2\r\nX-a: 3\r\nX-Bytes: \x80\xe9\xff\r\nX-Empty:\r\nX-Tab: a\tb\r\n\r\n",
    );
    let (answer, seen) = scene.pass(&request);
    let own = |fields: &[(String, Vec<u8>)]| {
        let ours = |name: &str| ["x-a", "x-b", "x-bytes", "x-empty", "x-tab", "set-cookie"].contains(&name);
        let ours = fields.iter().filter(|(name, _)| ours(&name.to_lowercase())).cloned();
        ours.collect::<Vec<_>>()
    };
    let pairs = |list: &[(&str, &[u8])]| {
        list.iter().map(|(name, value)| (name.to_string(), value.to_vec())).collect::<Vec<_>>()
    };
    let wanted: [(&str, &[u8]); 6] = [
        ("X-A", b"1"),
        ("x-b", b"2"),
        ("X-a", b"3"),
        ("X-Bytes", b"\x80\xe9\xff"),
        ("X-Empty", b""),
        ("X-Tab", b"a\tb"),
    ];
    assert_eq!(own(&seen.fields), pairs(&wanted));
    let wanted: [(&str, &[u8]); 7] = [
        ("Set-Cookie", b"a=1, b"),
        ("X-A", b"1"),
        ("Set-Cookie", b"b=2"),
        ("x-a", b"2"),
        ("X-BYTES", b"\x80\xff"),
        ("X-Empty", b""),
        ("set-cookie", b"c=3"),
    ];
    assert_eq!(own(&answer.fields), pairs(&wanted));
}

#[test]
fn s10_fields_between_client_and_server_are_theirs() {
    let _machine = shared();
    let scene = Scene::to(Recorder::answering(
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nAllow: GET, HEAD\r\nETag: \"1\"\r\n\
          Cache-Control: no-transform\r\nContent-Length: 2\r\n\r\nno",
    ));
    let lines = [
        ("If-None-Match", "\"1\""),
        ("If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("Range", "bytes=0-4"),
        ("If-Range", "\"1\""),
        ("Authorization", "Basic eDp5"),
        ("Accept-Encoding", "gzip, br;q=0.5"),
        ("Cache-Control", "no-transform"),
        ("User-Agent", "test"),
    ];
    let text = lines.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let (answer, seen) = scene.pass(get_with(&text));
    for (name, value) in lines {
        assert_eq!(seen.all(name), [value]);
    }
    assert_eq!(answer.status, 401);
    assert_eq!(answer.field("www-authenticate"), Some("Basic realm=\"x\""));
    assert_eq!(answer.field("allow"), Some("GET, HEAD"));
    assert_eq!((answer.field("etag"), answer.field("cache-control")), (Some("\"1\""), Some("no-transform")));
}
