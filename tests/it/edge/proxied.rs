//! The PROXY protocol: whose word about the client counts, and what comes of it.

use super::{Got, curl};
use crate::support::echo::Echo;
use crate::support::{Connection, Directory, Flipgate, TestCertificate, shared, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Version 2: 203.0.113.9 from port 4711, with a piece behind the addresses.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11".to_vec();
    header.extend_from_slice(&[203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb, 4, 0, 2, 0, 0]);
    header
}

const V1: &str = "PROXY TCP6 2001:db8::9 ::1 4711 443\r\n";

/// A proxy before ours that says something first on each connection; it ends with the test's process.
fn forwarder(to: SocketAddr, header: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(to).unwrap();
            // In two pieces, as a network may cut it.
            let (first, second) = header.split_at(header.len() / 2);
            server.set_nodelay(true).unwrap();
            server.write_all(first).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            server.write_all(second).unwrap();
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    address
}

fn listener(protocol: &str, versions: &str, from: &[&str]) -> Value {
    json!({"Protocol": protocol, "Address": {"Network": "tcp", "Address": "127.0.0.1:0"},
           "ProxyProtocol": versions, "ProxyProtocolFrom": from})
}

struct Scene {
    flipgate: Flipgate,
    _directory: Directory,
    _echo: Echo,
    ca: String,
    log: std::path::PathBuf,
    socket: std::path::PathBuf,
}

fn scene() -> Scene {
    let echo = Echo::plain(false);
    let directory = Directory::new();
    let certificate = TestCertificate::of(&["a.example"]);
    let socket = directory.path().parent().unwrap().join("socket");
    for (id, value) in [
        ("one", listener("http", "PROXY_V1", &["127.0.0.0/8"])),
        ("two", listener("http", "PROXY_V2", &[])),
        ("tls", listener("https", "PROXY", &["127.0.0.1"])),
        ("stranger", listener("http", "PROXY", &["10.0.0.0/8"])),
        ("strangertls", listener("https", "PROXY", &["10.0.0.0/8"])),
        (
            "unix",
            json!({"Protocol": "http", "Address": {"Network": "unix", "Address": socket}, "ProxyProtocol": "PROXY"}),
        ),
    ] {
        directory.put(&format!("listeners/{id}"), &value);
    }
    directory.put("hosts/a.example/host", &certificate.host(true));
    directory.put_way("all", "PathPrefix(`/`)", echo.address());
    directory.put_way("near", "ClientIP(`203.0.113.0/24`) && PathPrefix(`/near`)", echo.address());
    let ca = certificate.write(&directory.path().parent().unwrap().join(""), "ca.pem");
    let log = directory.path().parent().unwrap().join("access.log");
    let flipgate = Flipgate::on(&directory.url())
        .arguments(&[
            "--access-log",
            log.to_str().unwrap(),
            "--head-timeout",
            "400ms",
            "--log-level",
            "debug",
        ])
        .ready();
    Scene { flipgate, _directory: directory, _echo: echo, ca: ca.to_str().unwrap().to_owned(), log, socket }
}

impl Scene {
    fn last_line(&self, path: &str) -> Value {
        until("the line is logged", Duration::from_secs(5), || {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.rfind(|line| line["path"] == path)
        })
    }

    fn refused(&self) -> u64 {
        let metrics = self.flipgate.admin().ask("GET", "/metrics").text();
        let mark = "flipgate_refused_total{reason=\"bad_request\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(mark)?.parse().ok()).unwrap_or(0)
    }

    fn https(&self, through: SocketAddr, target: &str, version: &str) -> Got {
        let (port, to) = (through.port(), format!("a.example:{}:127.0.0.1", through.port()));
        let url = format!("https://a.example:{port}{target}");
        curl(&[version, "--cacert", &self.ca, "--resolve", &to, &url])
    }
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let _machine = shared();
    let scene = scene();

    // What curl writes itself: its own address, which is the peer's too.
    let url = format!("http://{}/curl", scene.flipgate.address("one"));
    let got = curl(&["--haproxy-protocol", "--interface", "127.0.0.7", &url]);
    assert_eq!((got.status, got.seen("x-forwarded-for")), (200, Some("127.0.0.7")));

    for (id, path, header, client) in [
        ("one", "/1", V1.as_bytes().to_vec(), "2001:db8::9"),
        ("two", "/2", v2(), "203.0.113.9"),
        ("one", "/3", b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        ("two", "/4", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
    ] {
        let through = forwarder(scene.flipgate.address(id), header);
        let got = curl(&[format!("http://{through}{path}")]);
        assert_eq!((got.status, got.seen("x-forwarded-for")), (200, Some(client)), "{id}");
        assert_eq!(got.seen("x-real-ip"), Some(client), "{id}");
        assert_eq!(scene.last_line(path)["client"], client, "{id}");
    }
    for (header, client) in [(V1.as_bytes().to_vec(), "2001:db8::9"), (v2(), "203.0.113.9")] {
        let through = forwarder(scene.flipgate.address("tls"), header);
        for version in ["--http1.1", "--http2"] {
            let path = format!("/near/{version}/{client}");
            let got = scene.https(through, &path, version);
            assert_eq!((got.status, got.seen("x-forwarded-for")), (200, Some(client)), "{version}");
            assert_eq!(got.seen("x-forwarded-proto"), Some("https"));
            let frontend = if client.contains(':') { "all" } else { "near" };
            assert_eq!(scene.last_line(&path)["frontend"], frontend);
            assert_eq!(scene.last_line(&path)["client"], client);
        }
    }
    let mut stream = UnixStream::connect(&scene.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&v2()).unwrap();
    stream.write_all(b"GET /unix HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("x-seen-x-forwarded-for: 203.0.113.9"), "{answer}");
    assert_eq!(scene.refused(), 0);
}

#[test]
fn a_stranger_is_not_believed_and_a_trusted_peer_must_speak() {
    let _machine = shared();
    let scene = scene();

    // A peer that is not named: its bytes are HTTP, or TLS, from the first on.
    let stranger = scene.flipgate.address("stranger");
    let got = curl(&[format!("http://{stranger}/own")]);
    assert_eq!((got.status, got.seen("x-forwarded-for")), (200, Some("127.0.0.1")));
    assert_eq!(curl(&["--haproxy-protocol", &format!("http://{stranger}/own")]).status, 400);
    let mut connection = Connection::open(stranger);
    connection.send(&[&v2()[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    assert_eq!(connection.answer().status, 400);
    assert_eq!(scene.refused(), 2);
    let direct = scene.flipgate.address("strangertls");
    assert_eq!(scene.https(direct, "/own", "--http1.1").seen("x-forwarded-for"), Some("127.0.0.1"));
    assert_ne!(scene.https(forwarder(direct, v2()), "/own", "--http1.1").exit, 0);

    // A peer that is named, and does not speak as it must: it is closed without an answer, and counted.
    let before = scene.refused();
    let one = scene.flipgate.address("one");
    for (place, bytes) in
        [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &v2(), b"PROXY TCP4 x\r\n", b"PROXY TCP4 127.0."]
            .into_iter()
            .enumerate()
    {
        let mut connection = Connection::open(one);
        connection.send(bytes);
        assert!(connection.rest().is_empty(), "{place}");
        assert_eq!(scene.refused(), before + 1 + place as u64, "{place}");
    }
    assert_ne!(scene.https(scene.flipgate.address("tls"), "/own", "--http1.1").exit, 0);
    // Who goes away without a word is not counted, as who looks whether the port is open.
    let before = scene.refused();
    let mut connection = Connection::open(one);
    connection.finish();
    assert!(connection.rest().is_empty());
    assert_eq!(scene.refused(), before);
}
