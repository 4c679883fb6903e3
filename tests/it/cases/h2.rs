//! From HTTP/2 to HTTP/1.1, T01 to T13.

use crate::support::directory::listener;
use crate::support::echo::Echo;
use crate::support::h2raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RawHttp2, SETTINGS, frame, get, pseudo, request, reset,
};
use crate::support::{Directory, Flipgate, Recorder, TestCertificate, scaled, shared, until};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Frames for a stream of this number.
pub(super) type Frames<'a> = &'a dyn Fn(u32) -> Vec<u8>;

/// A proxy whose plain listener takes HTTP/2, before a server that notes everything.
pub(super) struct Edge {
    pub flipgate: Flipgate,
    pub server: Recorder,
    pub directory: Directory,
}

impl Edge {
    pub(super) fn new() -> Self {
        Self::to(Recorder::start(), &[])
    }

    pub(super) fn to(server: Recorder, arguments: &[&str]) -> Self {
        let directory = Directory::new();
        let listener = json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": "127.0.0.1:0"},
                              "Settings": {"H2C": true}});
        directory.put("listeners/http", &listener);
        directory.put_way("a", "PathPrefix(`/`)", server.address());
        let flipgate = Flipgate::on(&directory.url()).workers(1).arguments(arguments).ready();
        Self { flipgate, server, directory }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.flipgate.address("http")
    }

    /// The metrics' value of a limit.
    pub(super) fn reached(&self, limit: &str) -> u64 {
        let text = self.flipgate.admin().ask("GET", "/metrics").text();
        let mark = format!("flipgate_limit_reached_total{{limit=\"{limit}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&mark)?.parse().ok()).unwrap_or(0)
    }

    /// Each of these requests, as frames on a stream of its own, is refused, and the server sees nothing of it.
    fn refuses(&self, requests: &[(&str, Frames<'_>)]) {
        for (name, frames) in requests {
            let mut client = RawHttp2::open(self.address());
            client.send(&frames(1));
            let outcome = client.outcome(1);
            assert!(outcome.is_refused(), "{name}: {outcome:?}");
        }
        self.sees_nothing();
    }

    /// As [`refuses`](Self::refuses), for requests that differ in one field.
    fn refuses_fields<N: AsRef<[u8]>, V: AsRef<[u8]>>(&self, fields: &[(N, V)]) {
        for (name, value) in fields {
            let (name, value) = (name.as_ref(), value.as_ref());
            let mut all: Vec<(&[u8], &[u8])> = vec![
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":path", b"/"),
                (b":authority", b"a.example"),
            ];
            all.push((name, value));
            let mut client = RawHttp2::open(self.address());
            client.send(&request(1, &all, true));
            let outcome = client.outcome(1);
            let shown = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            assert!(outcome.is_refused(), "{shown:?}: {outcome:?}");
        }
        self.sees_nothing();
    }

    fn sees_nothing(&self) {
        let seen = self.server.seen();
        assert!(seen.is_empty(), "{seen:?}");
        let mut client = RawHttp2::open(self.address());
        client.send(&get(1));
        assert_eq!(client.outcome(1).status, 200);
        assert_eq!(self.server.take().len(), 1);
    }
}

#[test]
fn t01_cr_lf_and_nul_in_names_and_values() {
    let edge = Edge::new();
    edge.refuses_fields(&[
        ("x\r\nhost", "b"),
        ("x\rhost", "b"),
        ("x\nhost", "b"),
        ("x\0y", "b"),
        ("x\r\n\r\nGET /b HTTP/1.1\r\nHost", "b"),
        ("x: y\r\ntransfer-encoding", "chunked"),
        ("x", "y\r\nhost: b"),
        ("x", "y\rz"),
        ("x", "y\nz"),
        ("x", "y\0z"),
        ("x", "y\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("x", "y\r\ntransfer-encoding: chunked"),
    ]);
    let one = |name: &'static str, value: &'static str| {
        move |stream| {
            let mut fields = pseudo("GET", "/");
            fields.retain(|(other, _)| *other != name);
            fields.push((name, value));
            request(stream, &fields, true)
        }
    };
    edge.refuses(&[
        ("path", &one(":path", "/ HTTP/1.1\r\nHost: b\r\n\r\n")),
        ("authority", &one(":authority", "a\r\nx: y")),
        ("method", &one(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\n")),
        ("scheme", &one(":scheme", "http\r\nx: y")),
    ]);
}

#[test]
fn t02_names_and_values_that_are_none() {
    Edge::new().refuses_fields(&[
        ("X-Upper", "a"),
        ("", "a"),
        ("a b", "a"),
        ("a:b", "a"),
        ("a\x7f", "a"),
        ("a\x01", "a"),
        (" a", "a"),
        ("x", " a"),
        ("x", "a "),
        ("x", "\ta"),
        ("x", "a\t"),
        ("x", "a\x01"),
        ("x", "a\x7f"),
    ]);
}

#[test]
fn t03_pseudo_fields() {
    let edge = Edge::new();
    let of = |fields: Vec<(&'static str, &'static str)>| move |stream| request(stream, &fields, true);
    let without = |name: &str| {
        let mut fields = pseudo("GET", "/");
        fields.retain(|(other, _)| *other != name);
        of(fields)
    };
    let with = |name, value| {
        let mut fields = pseudo("GET", "/");
        fields.push((name, value));
        of(fields)
    };
    let after = of(vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.example"),
        ("x", "y"),
        (":path", "/"),
    ]);
    let in_trailers = |stream| {
        [
            request(stream, &pseudo("POST", "/"), false),
            frame(DATA, 0, stream, b"data"),
            request(stream, &[(":path", "/b")], true),
        ]
        .concat()
    };
    edge.refuses(&[
        ("no method", &without(":method")),
        ("no scheme", &without(":scheme")),
        ("no path", &without(":path")),
        ("method twice", &with(":method", "GET")),
        ("path twice", &with(":path", "/b")),
        ("scheme twice", &with(":scheme", "http")),
        ("authority twice", &with(":authority", "b.example")),
        ("unknown", &with(":unknown", "x")),
        ("of an answer", &with(":status", "200")),
        ("after a field", &after),
    ]);
    // Of trailers hyper shows the fields alone: what would be a pseudo-field reaches no server.
    let mut client = RawHttp2::open(edge.address());
    client.send(&in_trailers(1));
    let outcome = client.outcome(1);
    let seen = edge.server.take();
    assert!(outcome.is_refused() || seen[0].trailers.is_empty(), "{outcome:?} {seen:?}");
}

#[test]
fn t04_paths_that_are_none() {
    let edge = Edge::new();
    let path = |path: &'static str| move |stream| request(stream, &pseudo("GET", path), true);
    edge.refuses(&[
        ("no slash", &path("hello")),
        ("empty", &path("")),
        ("space", &path("/a b")),
        ("asterisk", &path("*")),
        ("absolute", &path("http://b.example/")),
        ("backslash", &path("/a\\b")),
    ]);
    // hyper takes a fragment off before anyone sees it: it reaches no server.
    let mut client = RawHttp2::open(edge.address());
    client.send(&path("/a#f")(1));
    let outcome = client.outcome(1);
    let seen = edge.server.take();
    assert!(
        outcome.is_refused() || seen.iter().all(|seen| seen.line == "GET /a HTTP/1.1"),
        "{outcome:?} {seen:?}"
    );
}

#[test]
fn t05_pseudo_fields_that_would_be_more() {
    let of = |name: &'static str, value: &'static str| {
        move |stream| {
            let mut fields = pseudo("GET", "/");
            fields.iter_mut().filter(|(other, _)| *other == name).for_each(|field| field.1 = value);
            request(stream, &fields, true)
        }
    };
    Edge::new().refuses(&[
        ("method", &of(":method", "GET /x HTTP/1.1")),
        ("empty method", &of(":method", "")),
        ("scheme", &of(":scheme", "http://h/?")),
        ("empty scheme", &of(":scheme", "")),
        ("user", &of(":authority", "u@a.example")),
        ("control character", &of(":authority", "a\x01.example")),
        ("path in the authority", &of(":authority", "a.example/b")),
        ("port", &of(":authority", "a.example:x")),
    ]);
}

#[test]
fn t06_authority_and_host() {
    let edge = Edge::new();
    let base = || vec![(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let of = |more: &[(&'static str, &'static str)]| {
        let fields = [base().as_slice(), more].concat();
        move |stream| request(stream, &fields, true)
    };
    edge.refuses(&[
        ("they differ", &of(&[(":authority", "a.example"), ("host", "b.example")])),
        ("neither", &of(&[])),
        ("host twice", &of(&[("host", "a.example"), ("host", "b.example")])),
        ("the same host twice", &of(&[("host", "a.example"), ("host", "a.example")])),
    ]);
    let fine: [&[(&str, &str)]; 3] = [
        &[(":authority", "a.example"), ("host", "a.example")],
        &[(":authority", "a.example")],
        &[("host", "a.example")],
    ];
    for more in fine {
        let mut client = RawHttp2::open(edge.address());
        client.send(&request(1, &[base().as_slice(), more].concat(), true));
        assert_eq!(client.outcome(1).status, 200, "{more:?}");
        assert_eq!(edge.server.take()[0].all("host"), ["a.example"], "{more:?}");
    }
}

#[test]
fn t07_a_length_that_is_not_the_bodys() {
    let edge = Edge::new();
    let post = |stream, ended| {
        let fields = [pseudo("POST", "/").as_slice(), &[("content-length", "5")]].concat();
        request(stream, &fields, ended)
    };
    edge.refuses(&[("5 and none", &|stream| post(stream, true))]);
    for (name, data) in [("less", b"abc".as_slice()), ("more", b"abcdefgh")] {
        let before = edge.server.connections();
        let mut client = RawHttp2::open(edge.address());
        client.send(&post(1, false));
        until("the server hears of it", Duration::from_secs(5), || {
            (edge.server.connections() > before || edge.server.open_connections() > 0).then_some(())
        });
        client.send(&frame(DATA, END_STREAM, 1, data));
        let outcome = client.outcome(1);
        assert!(outcome.is_refused(), "{name}: {outcome:?}");
        until("the connection to the server is closed", Duration::from_secs(5), || {
            (edge.server.open_connections() == 0).then_some(())
        });
        assert!(edge.server.take().iter().all(|seen| !seen.complete), "{name}");
        client.send(&get(3));
        assert_eq!(client.outcome(3).status, 200, "{name}");
        edge.server.take();
    }
}

#[test]
fn t08_fields_of_a_connection() {
    Edge::new().refuses_fields(&[
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "websocket"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ]);
}

#[test]
fn t09_crumbs_of_a_cookie() {
    let edge = Edge::new();
    let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")];
    let fields = [pseudo("GET", "/").as_slice(), &crumbs].concat();
    let mut client = RawHttp2::open(edge.address());
    client.send(&request(1, &fields, true));
    assert_eq!(client.outcome(1).status, 200);
    assert_eq!(edge.server.take()[0].all("cookie"), ["a=1; b=2; c=3"]);
}

#[test]
fn t11_extended_connect() {
    let server = Recorder::with(|seen, stream| {
        if !seen.has("upgrade") || seen.line.contains("refused") {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nseen").is_ok();
        }
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: x\r\nX-Tunnel: open\r\n\r\n";
        let mut buffer = [0; 1024];
        let mut open = stream.write_all(head.as_bytes()).is_ok();
        while open {
            let count = stream.read(&mut buffer).unwrap_or(0);
            open = count > 0 && stream.write_all(&buffer[..count]).is_ok();
        }
        false
    });
    let edge = Edge::to(server, &[]);
    let connect = |path: &'static str, protocol: Option<&'static str>| {
        let mut fields = pseudo("CONNECT", path);
        match protocol {
            Some(protocol) => fields.push((":protocol", protocol)),
            None => fields.retain(|(name, _)| !matches!(*name, ":path" | ":scheme")),
        }
        fields.push(("sec-websocket-version", "13"));
        move |stream| request(stream, &fields, false)
    };
    edge.refuses(&[
        ("no protocol", &connect("/", None)),
        ("another protocol", &connect("/", Some("connect-udp"))),
        ("not CONNECT", &|stream| {
            let fields = [pseudo("GET", "/").as_slice(), &[(":protocol", "websocket")]].concat();
            request(stream, &fields, true)
        }),
    ]);

    let mut client = RawHttp2::open(edge.address());
    let offered = until("its settings", Duration::from_secs(5), || {
        client.next(Duration::from_secs(5)).ok().filter(|frame| frame.kind == SETTINGS && frame.flags == 0)
    });
    assert!(offered.payload.chunks(6).any(|entry| entry == [0, 8, 0, 0, 0, 1]), "{offered:?}");
    client.send(&connect("/chat", Some("websocket"))(1));
    for text in [b"there and back".as_slice(), b"once more"] {
        client.send(&frame(DATA, 0, 1, text));
        let back = until("an echo", Duration::from_secs(5), || {
            client
                .next(Duration::from_secs(5))
                .ok()
                .filter(|frame| frame.kind == DATA && !frame.payload.is_empty())
        });
        assert_eq!(back.payload, text);
    }
    client.send(&frame(DATA, END_STREAM, 1, b""));
    assert!(client.outcome(1).ended);
    until("the tunnel is closed", Duration::from_secs(5), || {
        (edge.server.open_connections() == 0).then_some(())
    });
    let seen = edge.server.take();
    assert_eq!(seen[0].line, "GET /chat HTTP/1.1");
    assert_eq!(seen[0].all("upgrade"), ["websocket"]);
    assert_eq!(seen[0].all("sec-websocket-version"), ["13"]);
    assert_eq!(seen[0].all("sec-websocket-key")[0].len(), 24);
    // A server that answers as to any request has opened no tunnel.
    client.send(&connect("/refused", Some("websocket"))(3));
    assert_eq!(client.outcome(3).status, 502);
}

#[test]
fn t12_trailers() {
    let server = Recorder::with(|seen, stream| {
        let answer = if seen.line.starts_with("GET") {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\ngrpc-status: 0\r\nset-cookie: a=b\r\n\r\n"
        } else {
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nseen"
        };
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let edge = Edge::to(server, &[]);
    let second = Echo::plain(true);
    edge.directory.put("backends/b/backend", &json!({"Type": "http", "Settings": {"Protocol": "http2"}}));
    edge.directory.put("backends/b/servers/a", &json!({"URL": format!("http://{}", second.address())}));
    let frontend = json!({"Type": "http", "BackendId": "b", "Route": "PathPrefix(`/http2`)"});
    edge.directory.put("frontends/b/frontend", &frontend);
    let trailers =
        [("x-checksum", "abc"), ("authorization", "b"), ("content-length", "3"), ("x-forwarded-for", "c")];

    let (_, back) = until("the second way is open", Duration::from_secs(10), || {
        let (status, body, back) = call(edge.address(), "POST", "/http2", &trailers);
        (status == 200 && body == "data").then_some((status, back))
    });
    assert_eq!(back, [("x-checksum".to_owned(), "abc".to_owned())], "over HTTP/2 there and back");

    edge.server.take();
    let (status, _, _) = call(edge.address(), "POST", "/", &trailers);
    let seen = edge.server.take();
    assert_eq!((status, seen[0].body.as_slice()), (200, b"data".as_slice()));
    assert_eq!(seen[0].trailers, [("x-checksum".to_owned(), b"abc".to_vec())], "to HTTP/1.1");

    let (_, body, back) = call(edge.address(), "GET", "/", &[]);
    assert_eq!(
        (body.as_str(), back),
        ("data", vec![("grpc-status".to_owned(), "0".to_owned())]),
        "from HTTP/1.1"
    );
}

#[test]
fn a_request_that_is_refused_has_its_line_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.json");
    let edge = Edge::to(Recorder::start(), &["--access-log", log.to_str().unwrap()]);
    let mut client = RawHttp2::open(edge.address());
    client.send(&request(1, &[pseudo("GET", "/").as_slice(), &[("host", "b.example")]].concat(), true));
    assert_eq!(client.outcome(1).status, 400);
    client.send(&request(3, &[pseudo("GET", "/"), vec![("cookie", "a=b"); 101]].concat(), true));
    assert_eq!(client.outcome(3).status, 431);
    let lines = until("two lines", Duration::from_secs(5), || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines =
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>();
        (lines.len() == 2).then_some(lines)
    });
    let told = lines.iter().map(|line| {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        (line["status"].as_u64().unwrap(), text("protocol"), text("reason"), text("detail"))
    });
    let expected = |status, reason: &str, detail: &str| {
        (status, "HTTP/2".to_owned(), reason.to_owned(), detail.to_owned())
    };
    assert_eq!(
        told.collect::<Vec<_>>(),
        [expected(400, "bad_request", "host_repeated"), expected(431, "head_too_large", "too_many_fields")]
    );
    edge.sees_nothing();
}

/// Everything that h2spec asks for, of a listener with TLS.
#[test]
fn h2spec_is_content() {
    if std::env::var("FLIPGATE_WITHOUT_H2SPEC").is_ok_and(|value| value == "1") {
        println!("SKIPPED without h2spec: FLIPGATE_WITHOUT_H2SPEC=1");
        return;
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/h2spec");
    let program = std::env::var_os("FLIPGATE_H2SPEC").map_or(built, PathBuf::from);
    assert!(
        program.is_file(),
        "no h2spec at {}: run `. tests/tools.sh; install_h2spec`, name one with FLIPGATE_H2SPEC, or leave this test out \
         with FLIPGATE_WITHOUT_H2SPEC=1",
        program.display()
    );
    let _shared = shared();
    // Shorter answers do not do for all that it asks.
    let server = Recorder::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nseen by h2spec");
    let edge = Edge::to(server, &[]);
    let certificate = TestCertificate::of(&["a.example"]);
    edge.directory.put("hosts/a.example/host", &certificate.host(true));
    edge.directory.put("listeners/https", &listener("https"));
    let port = edge.flipgate.address("https").port().to_string();
    let output = Command::new(program)
        .args(["--host", "127.0.0.1", "--port", &port, "--tls", "--insecure", "--timeout", "5"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().find(|line| line.contains(" passed, ")).unwrap_or_default().to_owned();
    println!("h2spec: {last}");
    assert!(output.status.success() && last.starts_with("145 tests, 145 passed"), "{text}");
}

#[test]
fn h2load_is_content() {
    let _shared = shared();
    let edge = Edge::new();
    let requests = scaled(5_000, 200_000);
    let output = Command::new("h2load")
        .args(["-n", &requests.to_string(), "-c", "8", "-m", "50"])
        .arg(format!("http://{}/", edge.address()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!(
        "{requests} total, {requests} started, {requests} done, {requests} succeeded, 0 failed, 0 errored"
    );
    assert!(output.status.success() && text.contains(&all), "{text}");
    let metrics = edge.flipgate.admin().ask("GET", "/metrics").text();
    assert!(!metrics.contains("flipgate_limit_reached_total{limit=\"h2_"), "{metrics}");
}

/// One request of a real client with a body and trailers; status, body and trailers of its answer.
fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    trailers: &[(&'static str, &'static str)],
) -> (u16, String, Vec<(String, String)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let mut frames: Vec<Result<Frame<Bytes>, Infallible>> = Vec::new();
        if method == "POST" {
            frames.push(Ok(Frame::data(Bytes::from_static(b"data"))));
            let map = trailers.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            });
            frames.push(Ok(Frame::trailers(map.collect())));
        }
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://a.example{path}"))
            .header("te", "trailers")
            .body(StreamBody::new(futures_util::stream::iter(frames)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let collected = response.into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let trailers =
            trailers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let trailers = trailers.collect();
        (status, String::from_utf8_lossy(&collected.to_bytes()).into_owned(), trailers)
    })
}

#[test]
fn t13_a_reset_beside_other_frames() {
    let server = Recorder::with(|seen, stream| {
        if seen.line.contains("slow") {
            std::thread::sleep(Duration::from_millis(1500));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nseen").is_ok()
    });
    let edge = Edge::to(server, &[]);
    let mut client = RawHttp2::open(edge.address());
    assert!(client.answers());
    // Before anything was done: requests that end, and ones whose body comes behind the reset.
    let mut bytes = Vec::new();
    for index in 0..20 {
        let stream = 2 * index + 1;
        bytes.extend(request(stream, &pseudo("GET", "/before"), index % 2 == 0));
        bytes.extend(reset(stream, 8));
        if index % 2 == 1 {
            bytes.extend(frame(DATA, END_STREAM, stream, b"data"));
        }
    }
    client.send(&bytes);
    assert!(client.answers());
    assert!(edge.server.take().is_empty(), "work for streams that were reset");
    assert_eq!(edge.server.connections(), 0);

    // While the server works.
    client.send(&request(101, &pseudo("POST", "/slow"), false));
    until("the server has it", Duration::from_secs(5), || (edge.server.connections() == 1).then_some(()));
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 101, b"");
    client.send(
        &[frame(DATA, 0, 101, b"data"), reset(101, 8), frame(DATA, 0, 101, b"data"), trailers].concat(),
    );
    assert!(client.answers());
    until("its connection is closed", Duration::from_secs(5), || {
        (edge.server.open_connections() == 0).then_some(())
    });
    assert!(edge.server.take().iter().all(|seen| !seen.complete));

    // After the answer.
    client.send(&get(103));
    assert_eq!(client.outcome(103).status, 200);
    client.send(&[reset(103, 8), frame(DATA, END_STREAM, 103, b"data")].concat());
    assert!(client.answers());
    client.send(&get(105));
    assert_eq!(client.outcome(105).status, 200);
}
