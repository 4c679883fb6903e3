//! Listeners on Unix sockets, and listeners that change while clients use them.

use super::curl;
use crate::support::directory::listener;
use crate::support::echo::Echo;
use crate::support::{Connection, Directory, Flipgate, TestCertificate, free_port, shared, until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MOST: Duration = Duration::from_secs(10);

fn unix(path: &Path) -> Value {
    json!({"Protocol": "http", "Address": {"Network": "unix", "Address": path}})
}

/// Waits until a listener is at an address, as the status says it.
fn wait_at(flipgate: &Flipgate, id: &str, address: &str) {
    flipgate.admin().state(&format!("{id} is at {address}"), MOST, |status| {
        status["listeners"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one["id"] == id && one["address"] == address)
    });
}

/// A connection over a Unix socket that stays open.
struct Kept(UnixStream);

impl Kept {
    fn open(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(MOST)).unwrap();
        Self(stream)
    }

    /// Asks for the head of `/` over it.
    fn head(&mut self) -> String {
        self.0.write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }
}

#[test]
fn unix_sockets_serve_move_and_leave_nothing_behind() {
    let _machine = shared();
    let echo = Echo::plain(false);
    let directory = Directory::new();
    let at = |name: &str| -> PathBuf { directory.path().parent().unwrap().join(name) };
    directory.put_way("all", "PathPrefix(`/`)", echo.address());
    directory.put("listeners/l", &unix(&at("first")));
    // What a killed process leaves behind.
    drop(UnixListener::bind(at("first")).unwrap());
    let mut flipgate = Flipgate::on(&directory.url()).ready();
    wait_at(&flipgate, "l", &format!("unix:{}", at("first").display()));
    let socket = at("first");
    let got = curl(&["--unix-socket", socket.to_str().unwrap(), "http://a.example/"]);
    assert_eq!((got.status, got.seen("x-forwarded-for")), (200, Some("unknown")));

    // Moved: who is connected stays.
    let mut kept = Kept::open(&at("first"));
    assert!(kept.head().starts_with("HTTP/1.1 200"));
    directory.put("listeners/l", &unix(&at("second")));
    wait_at(&flipgate, "l", &format!("unix:{}", at("second").display()));
    until("the old socket is gone", MOST, || (!at("first").exists()).then_some(()));
    assert!(kept.head().starts_with("HTTP/1.1 200"));
    assert!(Kept::open(&at("second")).head().starts_with("HTTP/1.1 200"));

    // Somebody else's socket and somebody's file are left alone, and said.
    let other = UnixListener::bind(at("other")).unwrap();
    std::fs::write(at("file"), "precious").unwrap();
    for (name, reason) in [("other", "another process listens there"), ("file", "is no socket")] {
        directory.put("listeners/l", &unix(&at(name)));
        let problem = flipgate.admin().problem(name, |problem| {
            problem["field"] == "Address.Address" && problem["reason"].as_str().unwrap().contains(reason)
        });
        assert_eq!(problem["inForce"], "previous");
        assert!(Kept::open(&at("second")).head().starts_with("HTTP/1.1 200"));
    }
    drop(other);
    assert_eq!(std::fs::read(at("file")).unwrap(), b"precious");

    // To TCP and back.
    directory.put("listeners/l", &listener("http"));
    until("the socket is gone", MOST, || (!at("second").exists()).then_some(()));
    let got = curl(&[format!("http://{}/", flipgate.address("l"))]);
    assert_eq!((got.status, got.seen("x-forwarded-for")), (200, Some("127.0.0.1")));
    directory.put("listeners/l", &unix(&at("third")));
    wait_at(&flipgate, "l", &format!("unix:{}", at("third").display()));
    flipgate.kill();
    assert!(at("third").exists(), "it had no chance to remove it");
    flipgate.start_again();
    wait_at(&flipgate, "l", &format!("unix:{}", at("third").display()));
    assert!(Kept::open(&at("third")).head().starts_with("HTTP/1.1 200"));
    assert!(flipgate.stop().success());
    assert!(!at("third").exists());
}

#[test]
fn a_listener_that_moves_or_changes_its_protocol_drops_nobody() {
    let _machine = shared();
    let echo = Echo::plain(false);
    let directory = Directory::new();
    let certificate = TestCertificate::of(&["a.example"]);
    directory.put_way("all", "PathPrefix(`/`)", echo.address());
    directory.put("hosts/a.example/host", &certificate.host(true));
    let at = |protocol: &str, port: u16| json!({"Protocol": protocol, "Address": {"Network": "tcp", "Address": format!("127.0.0.1:{port}")}});
    let (first, second) = (free_port(), free_port());
    directory.put("listeners/l", &at("http", first));
    let flipgate = Flipgate::on(&directory.url()).ready();
    let old = flipgate.address("l");
    let mut kept = Connection::open(old);
    assert_eq!(kept.get("a.example", "/").unwrap().status, 200);

    directory.put("listeners/l", &at("http", second));
    wait_at(&flipgate, "l", &format!("127.0.0.1:{second}"));
    let new = flipgate.address("l");
    assert_eq!(kept.get("a.example", "/").unwrap().status, 200);
    let mut kept_too = Connection::open(new);
    assert_eq!(kept_too.get("a.example", "/").unwrap().status, 200);
    until("nobody listens at the old address", MOST, || Connection::try_open(old).err());

    directory.put("listeners/l", &at("https", second));
    let ca = directory.path().parent().unwrap().to_owned();
    let ca = certificate.write(&ca, "ca.pem");
    let to = format!("a.example:{second}:127.0.0.1");
    let url = format!("https://a.example:{second}/");
    until("it speaks TLS", MOST, || {
        let got = curl(&["--cacert", ca.to_str().unwrap(), "--resolve", &to, &url]);
        (got.status == 200).then_some(())
    });
    for kept in [&mut kept, &mut kept_too] {
        assert_eq!(kept.get("a.example", "/").unwrap().status, 200);
    }
}

#[test]
fn vulcands_default_listener_serves_where_it_is_asked_for() {
    let _machine = shared();
    let echo = Echo::plain(false);
    let directory = Directory::new();
    directory.put_way("all", "PathPrefix(`/`)", echo.address());
    // Elsewhere than on 8181, which this machine may use for something.
    let elsewhere = ["--listener", "default=127.0.0.1:0"];
    let flipgate =
        Flipgate::on(&directory.url()).arguments(&["--default-listener", "on"]).arguments(&elsewhere).ready();
    assert_eq!(curl(&[format!("http://{}/", flipgate.address("default"))]).status, 200);
    let flipgate = Flipgate::on(&directory.url()).arguments(&elsewhere).ready();
    assert_eq!(flipgate.admin().status()["listeners"], json!([]));
}
