//! Slow clients, W01 to W07.

use crate::support::recorder::Seen;
use crate::support::{
    Answer, Connection, Directory, Flipgate, Recorder, figure, get, quantile, resident_bytes, scaled, shared,
    until,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A proxy with short times before a server that notes everything.
struct Scene {
    flipgate: Flipgate,
    server: Recorder,
    _directory: Directory,
}

impl Scene {
    fn new(server: Recorder, arguments: &[&str]) -> Self {
        let directory = Directory::with_listener();
        directory.put_way("a", "PathPrefix(`/`)", server.address());
        let flipgate = Flipgate::on(&directory.url()).arguments(arguments).ready();
        Self { flipgate, server, _directory: directory }
    }

    fn address(&self) -> SocketAddr {
        self.flipgate.address("http")
    }

    /// How often a limit was reached.
    fn reached(&self, limit: &str) -> u64 {
        let metrics = self.flipgate.admin().ask("GET", "/metrics").text();
        let mark = format!("flipgate_limit_reached_total{{limit=\"{limit}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&mark)?.parse().ok()).unwrap_or(0)
    }

    fn is_available(&self) {
        assert_eq!(get(self.address(), "a.example", "/").status, 200);
    }
}

/// Sends a byte each `pause` until the connection ends; how long that took, and what came.
fn trickle(address: SocketAddr, begin: &str, pause: Duration) -> (Duration, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(pause)).unwrap();
    let started = Instant::now();
    stream.write_all(begin.as_bytes()).unwrap();
    let mut heard = Vec::new();
    while started.elapsed() < Duration::from_secs(30) {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                if heard.is_empty() && stream.write_all(b"a").is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    (started.elapsed(), String::from_utf8_lossy(&heard).into_owned())
}

#[test]
fn w01_a_head_that_trickles_ends_at_its_total_time() {
    let _machine = shared();
    let scene = Scene::new(Recorder::start(), &["--head-timeout", "1s"]);
    let begin = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Slow: ";
    let (took, heard) = trickle(scene.address(), begin, Duration::from_millis(100));
    assert!(heard.starts_with("HTTP/1.1 408 ") && heard.contains("\r\nConnection: close\r\n"), "{heard}");
    assert!((1.0..4.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(scene.reached("head_time"), 1);
    assert!(scene.server.take().is_empty());
}

#[test]
fn w02_a_body_that_trickles_gets_408_and_its_server_is_free() {
    let _machine = shared();
    let scene = Scene::new(Recorder::start(), &["--min-body-rate", "1000"]);
    let begin = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\n";
    let (took, heard) = trickle(scene.address(), begin, Duration::from_millis(200));
    assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
    assert!((4.5..12.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(scene.reached("body_rate"), 1);
    until("the server is free", Duration::from_secs(5), || {
        (scene.server.open_connections() == 0).then_some(())
    });
}

#[test]
fn w02_a_slow_server_and_a_slow_poll_are_not_the_clients_fault() {
    let _machine = shared();
    let slow = |_: &Seen, stream: &mut TcpStream| {
        std::thread::sleep(Duration::from_secs(7));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    };
    let scene = Scene::new(Recorder::with(slow), &["--min-body-rate", "1000000"]);
    let mut connection = Connection::open(scene.address());
    connection.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(connection.answer().status, 200);
    assert_eq!(scene.reached("body_rate"), 0);
}

/// A server that answers with 10 MiB.
fn large() -> Recorder {
    Recorder::with(|_, stream| {
        let body = vec![b'x'; 10 << 20];
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_ok()
    })
}

/// A client whose window is a KiB, which asks for something.
fn small_window(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1024).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    stream
}

#[test]
fn w03_an_answer_that_is_read_too_slowly_is_cut() {
    let _machine = shared();
    let scene = Scene::new(large(), &["--body-timeout", "3s"]);
    let before = resident_bytes(scene.flipgate.pid());
    let mut streams = (0..20).map(|_| small_window(scene.address())).collect::<Vec<_>>();
    std::thread::sleep(Duration::from_secs(1));
    let each = resident_bytes(scene.flipgate.pid()).saturating_sub(before) / 20;
    println!("W03: {} KiB resident a connection", each / 1024);
    assert!(each <= 256 * 1024, "{each} bytes");
    let started = Instant::now();
    until("all were cut", Duration::from_secs(20), || {
        for stream in &mut streams {
            let _ = stream.read(&mut [0; 1]);
        }
        std::thread::sleep(Duration::from_millis(300));
        (scene.server.open_connections() == 0).then_some(())
    });
    println!("W03: cut after {:?}", started.elapsed());
    assert_eq!(scene.reached("answer_rate") + scene.reached("body_time"), 20);
}

#[test]
fn w03_events_that_come_seldom_live() {
    let _machine = shared();
    let events = |_: &Seen, stream: &mut TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(1500));
            let _ = stream.write_all(b"1\r\nx\r\n");
        }
        stream.write_all(b"0\r\n\r\n").is_ok()
    };
    let scene = Scene::new(Recorder::with(events), &["--body-timeout", "3s", "--min-answer-rate", "1000000"]);
    let answer: Answer = get(scene.address(), "a.example", "/");
    assert_eq!((answer.status, answer.text().as_str()), (200, "xxxx"));
}

#[test]
fn w04_idle_connections_end() {
    let _machine = shared();
    let scene = Scene::new(Recorder::start(), &["--head-timeout", "1s", "--idle-timeout", "3s"]);
    let idle = |mut connection: Connection| {
        let started = Instant::now();
        assert!(connection.rest().is_empty());
        started.elapsed().as_secs_f64()
    };
    let silent = idle(Connection::open(scene.address()));
    assert!((0.9..2.9).contains(&silent), "{silent}");
    let mut kept = Connection::open(scene.address());
    assert_eq!(kept.get("a.example", "/").unwrap().status, 200);
    let kept = idle(kept);
    assert!((2.9..8.0).contains(&kept), "{kept}");
    assert_eq!(scene.reached("idle_time"), 2);
}

#[test]
fn w06_normal_traffic_does_not_notice_slow_connections() {
    let _machine = shared();
    let count = scaled(1000, 10_000);
    let arguments = ["--head-timeout", "4s", "--max-connections-per-client", "0"];
    let scene = Scene::new(Recorder::start(), &arguments);
    let times = |scene: &Scene, requests: usize| {
        let mut connection = Connection::open(scene.address());
        let times = (0..requests).map(|_| {
            let started = Instant::now();
            assert_eq!(connection.get("a.example", "/").unwrap().status, 200);
            std::thread::sleep(Duration::from_millis(2));
            started.elapsed().as_secs_f64() * 1000.0
        });
        quantile(&mut times.collect::<Vec<_>>(), 0.99)
    };
    let quiet = times(&scene, 300);
    let before = resident_bytes(scene.flipgate.pid());
    let mut slow = (0..count).map(|_| TcpStream::connect(scene.address()).unwrap()).collect::<Vec<_>>();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Slow: ").unwrap();
    }
    let beside = times(&scene, 300);
    let each = resident_bytes(scene.flipgate.pid()).saturating_sub(before) as f64 / count as f64 / 1024.0;
    let details = format!("{count} connections that hold half a head");
    assert!(figure("W06: memory a slow connection", each, "KiB", &details, 24.0));
    assert!(figure(
        "W06: p99 beside them",
        beside,
        "ms",
        &format!("quiet {quiet:.2} ms"),
        (2.0 * quiet).max(20.0)
    ));
    until("all slow ones are cut", Duration::from_secs(60), || {
        (scene.reached("head_time") >= count as u64).then_some(())
    });
    scene.is_available();
}

#[test]
fn w07_the_connection_that_is_idle_longest_makes_place_and_excess_is_refused() {
    let _machine = shared();
    let arguments = ["--max-connections", "40", "--max-connections-per-client", "0"];
    let scene = Scene::new(Recorder::start(), &arguments);
    // All places are taken by connections that are idle: each newer one takes the place of the oldest.
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut connection = Connection::open(scene.address());
        assert_eq!(connection.get("a.example", "/").unwrap().status, 200);
        idle.push(connection);
    }
    assert!(scene.reached("connections") >= 55, "{}", scene.reached("connections"));
    drop(idle);
    // All places are taken by connections that are not idle: who comes then hears that at once.
    let mut busy = Vec::new();
    let mut refused = 0;
    for _ in 0..60 {
        let mut connection = Connection::open(scene.address());
        let _ = connection.try_send(b"GET / HTTP/1.1\r\nHost: a.example\r\nX: ");
        std::thread::sleep(Duration::from_millis(5));
        busy.push(connection);
    }
    for connection in &mut busy {
        connection.set_silence_max(Duration::from_millis(20));
        refused += usize::from(connection.head().is_ok_and(|answer| answer.status == 503));
    }
    assert!((15..=25).contains(&refused), "{refused} of 60 were refused");
    drop(busy);
    until("there are places again", Duration::from_secs(5), || {
        let mut connection = Connection::try_open(scene.address()).ok()?;
        connection.get("a.example", "/").ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn w07_one_client_has_its_share_and_a_listener_its_limit() {
    let _machine = shared();
    let scene = Scene::new(Recorder::start(), &["--max-connections-per-client", "10"]);
    let mut connections = (0..30).map(|_| Connection::open(scene.address())).collect::<Vec<_>>();
    let served = connections.iter_mut().filter_map(|connection| connection.get("a.example", "/").ok());
    assert_eq!(served.filter(|answer| answer.status == 200).count(), 10);
    assert_eq!(scene.reached("client_connections"), 20);
    let mut limited = crate::support::directory::listener("http");
    limited["Settings"] = serde_json::json!({"Limits": {"Connections": 3}});
    scene._directory.put("listeners/limited", &limited);
    let address = scene.flipgate.address("limited");
    drop(connections);
    until("the places are free", Duration::from_secs(5), || {
        let mut connections = (0..6).map(|_| Connection::open(address)).collect::<Vec<_>>();
        let served = connections.iter_mut().filter_map(|connection| connection.get("a.example", "/").ok());
        (served.filter(|answer| answer.status == 200).count() == 3).then_some(())
    });
}

/// One frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn w05_half_a_header_block_and_a_body_that_never_comes_end() {
    let _machine = shared();
    let scene = Scene::new(Recorder::start(), &["--head-timeout", "1s", "--idle-timeout", "2s"]);
    let mut plain = crate::support::directory::listener("http");
    plain["Settings"] = serde_json::json!({"H2C": true});
    scene._directory.put("listeners/h2c", &plain);
    let address = scene.flipgate.address("h2c");
    let begin = |headers: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend_from_slice(headers);
        stream.write_all(&bytes).unwrap();
        stream
    };
    // POST / at a.example: what HPACK has in its table, and one literal.
    let block = b"\x83\x86\x84\x01\x09a.example";
    let started = Instant::now();
    let mut half = begin(&frame(1, 0, 1, block));
    let _ = half.read_to_end(&mut Vec::new());
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    // The head is whole, the body never begins.
    let mut silent = begin(&frame(1, 4, 1, block));
    let started = Instant::now();
    let mut heard = Vec::new();
    until("the stream is answered", Duration::from_secs(20), || {
        let mut buffer = [0; 4096];
        let count = silent.read(&mut buffer).unwrap();
        heard.extend_from_slice(&buffer[..count]);
        let mut rest = heard.as_slice();
        while rest.len() >= 9 {
            let length = usize::from(rest[1]) << 8 | usize::from(rest[2]);
            // HEADERS, or RST_STREAM.
            if matches!(rest[3], 1 | 3) && rest[8] == 1 {
                return Some(());
            }
            rest = rest.get(9 + length..)?;
        }
        None
    });
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(scene.reached("body_rate"), 1);
    until("the server is free", Duration::from_secs(5), || {
        (scene.server.open_connections() == 0).then_some(())
    });
}

#[test]
fn slowhttptest_does_not_make_it_unavailable() {
    let _machine = shared();
    let scene = Scene::new(Recorder::start(), &["--head-timeout", "2s", "--max-connections-per-client", "0"]);
    let url = format!("http://{}/", scene.address());
    for mode in ["-H", "-B", "-X"] {
        let mut tool = std::process::Command::new("slowhttptest");
        tool.args([mode, "-c", "300", "-r", "300", "-i", "1", "-l", "5", "-p", "3", "-u", &url]);
        let output = tool.output().expect("tests/tools.sh installs slowhttptest");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("service available:"), "{mode}: {text}");
        let available = text.lines().rfind(|line| line.contains("service available:")).unwrap();
        assert!(available.contains("YES"), "{mode}: {text}");
        scene.is_available();
    }
}
