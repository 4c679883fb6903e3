//! How requests reach servers: over HTTP/2, under TLS, again where a frontend asks for it, to parts of a split, back to the
//! same server, within limits.

use crate::support::echo::Echo;
use crate::support::{Directory, Flipgate, TestCertificate, shared, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// What curl got.
struct Got {
    status: u16,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn curl(address: SocketAddr, arguments: &[&str], body: Option<&[u8]>) -> Got {
    let dir = tempfile::tempdir().unwrap();
    let (head, out) = (dir.path().join("head"), dir.path().join("body"));
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-H", "Host: a.example", "-D"]).arg(&head).arg("-o").arg(&out);
    if let Some(body) = body {
        let file = dir.path().join("upload");
        std::fs::write(&file, body).unwrap();
        command.arg("--data-binary").arg(format!("@{}", file.display()));
    }
    let done = command.args(arguments).arg(format!("http://{address}/path?q=1")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = std::fs::read_to_string(head).unwrap();
    let last = text.trim_end().rsplit("\r\n\r\n").next().unwrap().to_owned();
    let mut lines = last.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let field = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Got { status, fields: lines.filter_map(field).collect(), body: std::fs::read(out).unwrap_or_default() }
}

/// A proxy with a frontend of everything, as the test has it.
struct Scene {
    flipgate: Flipgate,
    directory: Directory,
}

fn scene(objects: &[(&str, Value)]) -> Scene {
    let directory = Directory::new();
    let listener = json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": "127.0.0.1:0"},
                          "Settings": {"H2C": true}});
    directory.put("listeners/http", &listener);
    for (key, value) in objects {
        directory.put(key, value);
    }
    let flipgate = Flipgate::on(&directory.url()).workers(2).ready();
    Scene { flipgate, directory }
}

impl Scene {
    fn curl(&self, arguments: &[&str], body: Option<&[u8]>) -> Got {
        curl(self.flipgate.address("http"), arguments, body)
    }
}

fn backend(settings: Value) -> Value {
    json!({"Type": "http", "Settings": settings})
}

fn frontend(settings: Value) -> Value {
    json!({"Type": "http", "BackendId": "b", "Route": "PathPrefix(`/`)", "Settings": settings})
}

fn server(address: SocketAddr) -> Value {
    json!({"URL": format!("http://{address}")})
}

/// Bytes that differ from place to place.
fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn http2_reaches_servers_whole() {
    let _shared = shared();
    let echo = Echo::plain(true);
    let scene = scene(&[
        ("backends/b/backend", backend(json!({"Protocol": "http2"}))),
        ("backends/b/servers/a", server(echo.address())),
        ("frontends/f/frontend", frontend(json!({"PassHostHeader": true}))),
    ]);
    let large = large();
    for client in [&["--http1.1"][..], &["--http2-prior-knowledge"]] {
        for body in [None, Some(&b"two apples"[..]), Some(&large)] {
            let got = scene.curl(client, body);
            assert_eq!((got.status, &*got.fields["x-version"]), (200, "HTTP/2.0"), "{client:?}");
            assert_eq!(got.fields["x-target"], "http://a.example/path?q=1");
            assert_eq!(got.body, body.unwrap_or_default(), "{client:?}: the body differs");
        }
        // Without a length towards the server, and with a wait for its word.
        let got = scene.curl(
            &[client, &["-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue"]].concat(),
            Some(&large),
        );
        assert_eq!((got.status, got.body == large), (200, true), "{client:?}");
    }
    assert!(echo.connections() <= 2, "{} connections for two workers", echo.connections());
    assert_eq!(echo.requests(), 8);
}

#[test]
fn tls_reaches_servers_that_prove_their_name() {
    let _shared = shared();
    let certificate = TestCertificate::of(&["pod.example"]);
    let (both, only) = (Echo::secure(&certificate, true), Echo::secure(&certificate, false));
    let tls = json!({"CA": certificate.certificate, "ServerName": "pod.example"});
    let https = |echo: &Echo| json!({"URL": format!("https://{}", echo.address())});
    for (protocol, echo, version) in [
        ("http1", &both, "HTTP/1.1"),
        ("auto", &both, "HTTP/2.0"),
        ("http2", &both, "HTTP/2.0"),
        ("auto", &only, "HTTP/1.1"),
    ] {
        let scene = scene(&[
            ("backends/b/backend", backend(json!({"Protocol": protocol, "TLS": tls}))),
            ("backends/b/servers/a", https(echo)),
            ("frontends/f/frontend", frontend(json!({}))),
        ]);
        let got = scene.curl(&[], Some(b"two apples"));
        assert_eq!((got.status, &*got.fields["x-version"]), (200, version), "{protocol}");
        assert_eq!(got.body, b"two apples");
    }
    for wrong in [
        json!({"CA": certificate.certificate}),
        json!({}),
        json!({"CA": certificate.certificate, "ServerName": "other.example"}),
    ] {
        let before = both.requests();
        let scene = scene(&[
            ("backends/b/backend", backend(json!({"TLS": wrong}))),
            ("backends/b/servers/a", https(&both)),
            ("frontends/f/frontend", frontend(json!({}))),
        ]);
        assert_eq!(scene.curl(&[], None).status, 502, "{wrong}");
        assert_eq!(both.requests(), before, "{wrong}: a server that proved nothing got a request");
    }
    let scene = scene(&[
        ("backends/b/backend", backend(json!({"TLS": {"InsecureSkipVerify": true}}))),
        ("backends/b/servers/a", https(&both)),
        ("frontends/f/frontend", frontend(json!({}))),
    ]);
    assert_eq!(scene.curl(&[], None).status, 200);
}

#[test]
fn requests_are_sent_again_where_the_frontend_asks() {
    let _shared = shared();
    let echoes = [Echo::plain(false), Echo::plain(false)];
    let requests = || echoes.iter().map(Echo::requests).sum::<u64>();
    let scene = scene(&[
        ("backends/b/backend", backend(json!({}))),
        ("backends/b/servers/a", server(echoes[0].address())),
        ("backends/b/servers/b", server(echoes[1].address())),
        ("frontends/f/frontend", frontend(json!({"Retry": {"Attempts": 2, "On": ["503"]}}))),
    ]);
    let check = |ails: [u64; 2], arguments: &[&str], body: Option<&[u8]>, status: u16| {
        echoes.iter().zip(ails).for_each(|(echo, count)| echo.ail(count));
        let before = requests();
        let got = scene.curl(arguments, body);
        assert_eq!(got.status, status, "{ails:?} {arguments:?}");
        assert_eq!(got.body, body.unwrap_or_default());
        requests() - before
    };
    assert_eq!(check([0, 0], &[], None, 200), 1);
    // Whoever has its turn, the other one is well.
    let attempts = (0..8).map(|_| check([1, 0], &["-X", "PUT"], Some(b"two apples"), 200)).sum::<u64>();
    assert!((9..=16).contains(&attempts), "{attempts} attempts for 8 requests");
    assert_eq!(check([2, 2], &[], None, 503), 2);
    // What may have run is not run again.
    assert_eq!(check([1, 1], &[], Some(b"two apples"), 503), 1);
}

#[test]
fn a_split_sends_by_weight_and_pins_decide() {
    let _shared = shared();
    let (blue, green) = (Echo::plain(false), Echo::plain(false));
    let split = json!([
        {"BackendId": "blue", "Weight": 3},
        {"BackendId": "green", "Weight": 1, "Cookie": "preview=green"},
    ]);
    let scene = scene(&[
        ("backends/blue/servers/a", server(blue.address())),
        ("backends/green/servers/a", server(green.address())),
        ("frontends/f/frontend", json!({"Type": "http", "Route": "PathPrefix(`/`)", "Split": split})),
    ]);
    for _ in 0..60 {
        assert_eq!(scene.curl(&[], None).status, 200);
    }
    let share = green.requests();
    assert!((4..=30).contains(&share), "{share} of 60 went to a quarter");
    let before = blue.requests();
    for _ in 0..20 {
        scene.curl(&["-b", "preview=green"], None);
    }
    assert_eq!((blue.requests(), green.requests()), (before, share + 20), "a pin was not kept");
    // The same client stays with one part.
    scene.directory.put(
        "frontends/f/frontend",
        &json!({"Type": "http", "Route": "PathPrefix(`/`)", "Split": split, "SplitBy": "header:X-User"}),
    );
    let mut parts = BTreeMap::new();
    until("the split by user is served", Duration::from_secs(5), || {
        let before = (blue.requests(), green.requests());
        (0..8).for_each(|_| drop(scene.curl(&["-H", "X-User: seven"], None)));
        let (blue, green) = (blue.requests() - before.0, green.requests() - before.1);
        (blue == 8 || green == 8).then(|| parts.insert("seven", green == 8))
    });
    for user in 0..30 {
        let before = green.requests();
        for _ in 0..3 {
            scene.curl(&["-H", &format!("X-User: {user}")], None);
        }
        assert!(matches!(green.requests() - before, 0 | 3), "user {user} went to both parts");
    }
}

#[test]
fn a_cookie_brings_a_client_back_to_its_server() {
    let _shared = shared();
    let echoes = [Echo::plain(false), Echo::plain(false), Echo::plain(false)];
    let names = ["backends/b/servers/a", "backends/b/servers/b", "backends/b/servers/c"];
    let mut objects = vec![
        ("backends/b/backend", backend(json!({"Sticky": {"Cookie": "home", "MaxAge": "1h"}}))),
        ("frontends/f/frontend", frontend(json!({}))),
    ];
    objects.extend(names.iter().zip(&echoes).map(|(name, echo)| (*name, server(echo.address()))));
    let scene = scene(&objects);
    let first = scene.curl(&[], None);
    let given = &first.fields["set-cookie"];
    assert!(
        given.starts_with("home=") && given.contains("HttpOnly") && given.contains("Max-Age=3600"),
        "{given}"
    );
    let cookie = given.split(';').next().unwrap().to_owned();
    let counts = || echoes.each_ref().map(Echo::requests);
    let home = counts().iter().position(|count| *count == 1).unwrap();
    for _ in 0..10 {
        let got = scene.curl(&["-b", &cookie], None);
        assert_eq!((got.status, got.fields.get("set-cookie")), (200, None));
    }
    assert_eq!(counts()[home], 11);
    // It outlives tables, and one that was not given out means nothing.
    scene.directory.put("backends/other/servers/a", &server(echoes[0].address()));
    scene.curl(&["-b", &cookie], None);
    assert_eq!(counts()[home], 12);
    let forged = scene.curl(&["-b", &format!("{cookie}x")], None);
    assert!(forged.fields.contains_key("set-cookie"));
    // A server that drains gets nobody back.
    let draining = json!({"URL": format!("http://{}", echoes[home].address()), "State": "draining"});
    scene.directory.put(names[home], &draining);
    until("the client moves", Duration::from_secs(5), || {
        scene.curl(&["-b", &cookie], None).fields.get("set-cookie").cloned()
    });
}

/// A server that changes to WebSocket and says nothing more.
fn silent_tunnel() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let answer =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(answer).unwrap();
            open.push(stream);
        }
    });
    address
}

#[test]
fn a_tunnel_to_a_server_that_left_ends_within_its_bound() {
    let _shared = shared();
    let address = silent_tunnel();
    let scene = scene(&[
        ("backends/b/backend", backend(json!({"Timeouts": {"Drain": "1s"}}))),
        ("backends/b/servers/a", server(address)),
        ("backends/b/servers/b", server(address)),
        ("frontends/f/frontend", frontend(json!({}))),
    ]);
    let open = || {
        let mut stream = TcpStream::connect(scene.flipgate.address("http")).unwrap();
        let head = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 101");
        stream
    };
    // One at each server.
    let tunnels = [open(), open()];
    std::thread::sleep(Duration::from_millis(1_500));
    scene
        .directory
        .put("backends/b/servers/a", &json!({"URL": format!("http://{address}"), "State": "draining"}));
    let left = Instant::now();
    let is_open = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut rest = [0; 256];
        loop {
            match stream.read(&mut rest) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    };
    let open_tunnels = || tunnels.iter().filter(|stream| is_open(stream)).count();
    assert_eq!(open_tunnels(), 2);
    until("the tunnel to the server that drains ends", Duration::from_secs(6), || {
        (open_tunnels() == 1).then_some(())
    });
    assert!(left.elapsed() >= Duration::from_secs(1), "ended after {:?}", left.elapsed());
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(open_tunnels(), 1, "the other server's tunnel has ended too");
}
