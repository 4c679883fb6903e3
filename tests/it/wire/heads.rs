//! Targets, hosts, versions and connections.

use super::{Scene, get_with};
use crate::support::{Connection, Directory, Flipgate, Recorder, scaled, shared};
use serde_json::json;
use std::io::Write;

#[test]
fn h27_no_tunnel_without_101() {
    let _machine = shared();
    let scene = Scene::new();
    for token in ["foo", "websocket"] {
        scene.server.take();
        let mut connection = scene.connect();
        let upgrade = get_with(&format!("Connection: Upgrade\r\nUpgrade: {token}\r\n"));
        connection.send(format!("{upgrade}GET /second HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes());
        assert_eq!(connection.answer().text(), "seen");
        // Its own request in its turn, or the connection is closed; never bytes of a tunnel.
        let second = connection.try_answer(false);
        let seen = scene.server.take();
        assert_eq!(seen[0].line, "GET /path HTTP/1.1");
        assert!(seen[0].body.is_empty());
        if let Ok(second) = second {
            assert_eq!((second.text().as_str(), seen[1].line.as_str()), ("seen", "GET /second HTTP/1.1"));
        }
        assert_eq!(seen[0].has("upgrade"), token == "websocket", "only known protocols are asked for");
    }
}

#[test]
fn h28_h2c_is_not_offered_on() {
    let _machine = shared();
    let scene = Scene::new();
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let (answer, seen) = scene.pass(get_with(lines));
    assert_eq!(answer.status, 200);
    assert!(!seen.has("upgrade") && !seen.has("http2-settings"), "{:?}", seen.fields);
}

#[test]
fn h29_a_tunnel_passes_bytes_and_ends() {
    let _machine = shared();
    // Switches, echoes until the client ends its side, says `bye` and ends.
    let scene = Scene::to(Recorder::with(|_, stream| {
        use std::io::Read;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi";
        let mut buffer = [0; 4_096];
        if stream.write_all(answer).is_err() {
            return false;
        }
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                return false;
            }
        }
        let _ = stream.write_all(b"bye");
        false
    }));
    let mut connection = scene.connect();
    connection.send(
        get_with("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n").as_bytes(),
    );
    let answer = connection.answer();
    assert_eq!((answer.status, answer.field("upgrade")), (101, Some("websocket")));
    assert!(answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
    let mut first = [0; 2];
    connection.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"hi", "bytes right behind the head are the tunnel's");
    connection.send(b"GET / HTTP/1.1\r\n\r\n");
    let mut echo = [0; 18];
    connection.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"GET / HTTP/1.1\r\n\r\n", "nothing in a tunnel is a request");
    connection.finish();
    assert_eq!(connection.rest(), b"bye", "a half-close passes, and what comes after it too");
}

#[test]
fn h31_the_target_names_the_host() {
    let _machine = shared();
    let other = Recorder::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother");
    let scene = Scene::with(Recorder::start(), |directory| {
        directory.put_way("b", "Host(`b.example`)", other.address());
    });
    let answer = scene.ask("GET http://b.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n");
    if answer.status != 400 {
        assert_eq!(answer.text(), "other");
        let seen = other.take().remove(0);
        assert_eq!(
            (seen.line.as_str(), seen.all("host")),
            ("GET /x?y HTTP/1.1", vec!["b.example".to_owned()])
        );
    }
    assert!(scene.server.take().is_empty());
}

#[test]
fn h32_options_for_the_server_as_a_whole() {
    let _machine = shared();
    let scene = Scene::new();
    let answer = scene.ask("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(answer.status < 500 && answer.status != 400, "{}", answer.status);
}

#[test]
fn h34_one_host_in_many_spellings() {
    let _machine = shared();
    for hosts in [1, 101, scaled(1_000, 10_000)] {
        let right = Recorder::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright");
        let directory = Directory::with_listener();
        directory.put_way("a", "Host(`a.example`)", right.address());
        for number in 1..hosts {
            let value =
                json!({"Type": "http", "BackendId": "a", "Route": format!("Host(`h{number}.example`)")});
            directory.put(&format!("frontends/h{number}/frontend"), &value);
        }
        let flipgate = Flipgate::on(&directory.url()).workers(1).ready();
        let address = flipgate.address("http");
        for host in ["a.example", "A.Example:443", "a.example.", "a.EXAMPLE", "A.EXAMPLE.:8080"] {
            let answer = crate::support::get(address, host, "/");
            assert_eq!(answer.text(), "right", "{host} among {hosts}");
        }
        assert_eq!(crate::support::get(address, "b.a.example", "/").status, 404, "among {hosts}");
    }
}

#[test]
fn h36_one_or_two_empty_lines_before_a_request() {
    let _machine = shared();
    let scene = Scene::new();
    for count in [1, 2] {
        assert_eq!(scene.ask("\r\n".repeat(count) + &get_with("")).status, 200);
    }
}

#[test]
fn h38_the_path_that_matched_is_the_path_that_is_sent() {
    let _machine = shared();
    let protected = Recorder::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret");
    let scene = Scene::with(Recorder::start(), |directory| {
        directory.put_way("admin", "PathPrefix(`/admin`)", protected.address());
    });
    assert_eq!(scene.ask("GET /admin/x HTTP/1.1\r\nHost: a.example\r\n\r\n").text(), "secret");
    for path in [
        "/public/..%2fadmin",
        "/a/../admin",
        "/%2e%2e/admin",
        "//admin",
        "/admin%2f",
        "/api../admin",
        "/api%2e%2e/admin",
        "/./admin",
        "/a;b=c/x",
        "/%61dmin",
        "/a?x=/admin",
        "/a%20b/%E2%82%AC?q=%0d%0a",
    ] {
        let answer = scene.ask(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        let seen = scene.server.take();
        if answer.status != 400 {
            assert_eq!(seen[0].line, format!("GET {path} HTTP/1.1"), "byte for byte");
        }
    }
    assert_eq!(protected.take().len(), 1);
}

#[test]
fn h40_a_malformed_request_among_pipelined_ones() {
    let _machine = shared();
    let scene = Scene::new();
    let mut text = String::new();
    for number in 1..=100 {
        let host = if number == 50 { "a b" } else { "a.example" };
        text.push_str(&format!("GET /{number} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    let mut connection = scene.connect();
    connection.send(text.as_bytes());
    for number in 1..50 {
        assert_eq!(connection.answer().status, 200, "{number}");
    }
    let refused = connection.answer();
    assert_eq!((refused.status, refused.field("connection")), (400, Some("close")));
    assert!(connection.rest().is_empty());
    let paths = scene.server.take().into_iter().map(|seen| seen.line).collect::<Vec<_>>();
    let wanted = (1..50).map(|number| format!("GET /{number} HTTP/1.1")).collect::<Vec<_>>();
    assert_eq!(paths, wanted);
}

#[test]
fn h41_a_client_that_ends_its_side_gets_its_answer() {
    let _machine = shared();
    let scene = Scene::new();
    let mut connection = scene.connect();
    connection.send(get_with("").as_bytes());
    connection.finish();
    assert_eq!(connection.answer().text(), "seen");
    assert!(connection.rest().is_empty());
}

#[test]
fn a_head_that_comes_byte_by_byte() {
    let _machine = shared();
    let scene = Scene::new();
    let mut connection = scene.connect();
    for byte in get_with("X-Slow: yes\r\n").bytes() {
        connection.send(&[byte]);
    }
    assert_eq!(connection.answer().text(), "seen");
    assert_eq!(scene.server.take()[0].all("x-slow"), ["yes"]);
}

#[test]
fn s09_clients_of_http_1_0() {
    let _machine = shared();
    let scene = Scene::to(Recorder::answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    ));
    for lines in ["", "Connection: keep-alive\r\n"] {
        let mut connection = scene.connect();
        connection.send(format!("GET / HTTP/1.0\r\nHost: a.example\r\n{lines}\r\n").as_bytes());
        let head = connection.head().unwrap();
        assert!(head.field("transfer-encoding").is_none(), "HTTP/1.0 knows no chunks: {:?}", head.fields);
        assert_eq!(connection.rest(), b"abcdef", "it ends with the connection");
    }

    let scene = Scene::new();
    let mut connection = scene.connect();
    let kept = b"GET / HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n";
    connection.send(kept);
    let answer = connection.answer();
    assert!(answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")));
    connection.send(kept);
    assert_eq!(connection.answer().text(), "seen");
    let mut connection: Connection = scene.connect();
    connection.send(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n");
    assert_eq!(connection.answer().text(), "seen");
    assert!(connection.rest().is_empty(), "closed, since nobody asked otherwise");
}
