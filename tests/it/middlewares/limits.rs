//! Limits hold over all workers, whatever changes around them.

use super::way::Way;
use crate::support::echo::Echo;
use crate::support::{Answer, Connection, Directory, Fleet, Flipgate, Recorder, get, shared, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const HOST: &str = "shop.example";

/// A proxy with one middleware before one server.
struct Scene {
    flipgate: Flipgate,
    directory: Directory,
}

impl Scene {
    fn new(server: SocketAddr, kind: &str, spec: &Value) -> Self {
        let directory = Directory::with_listener();
        directory.put_way("shop", &format!("Host(`{HOST}`)"), server);
        directory.put("frontends/shop/middlewares/m", &json!({"Type": kind, "Middleware": spec}));
        let flipgate = Flipgate::on(&directory.url()).workers(2).ready();
        Self { flipgate, directory }
    }

    fn address(&self) -> SocketAddr {
        self.flipgate.address("http")
    }

    fn get(&self) -> Answer {
        get(self.address(), HOST, "/")
    }
}

#[test]
fn a_rate_holds_exactly_while_everything_around_it_changes() {
    const RATE: u64 = 100;
    let _shared = shared();
    let echo = Echo::plain(false);
    let mut fleet = Fleet::of(1).start();
    let server = json!({"URL": format!("http://{}", echo.address())});
    fleet.keys.put("backends/b/backend", &json!({"Type": "http"}));
    fleet.keys.put("backends/b/servers/a", &server);
    let frontend = |hostname: u64| {
        json!({"Type": "http", "BackendId": "b", "Route": format!("Host(`{HOST}`)"),
               "Settings": {"Hostname": format!("edge-{hostname}"), "Middlewares": ["all"]}})
    };
    fleet.keys.put("middlewares/all", &json!({"Type": "headers", "Middleware": {}}));
    fleet.keys.put("frontends/f/frontend", &frontend(0));
    let limit = json!({"Type": "ratelimit", "Middleware": {
        "Requests": RATE, "PeriodSeconds": 1, "Burst": RATE, "Variable": "client.ip"}});
    let revision = fleet.keys.put("frontends/f/middlewares/limit", &limit);
    fleet.served(revision);
    let address = fleet.addresses()[0];

    let (passed, limited, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    let mut last = 0;
    let edits = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                while !stop.load(Ordering::Relaxed) {
                    let answer = connection.get(HOST, "/").unwrap();
                    match answer.status {
                        200 => &passed,
                        429 => &limited,
                        other => panic!("{other}: {}", answer.text()),
                    }
                    .fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut edits = 0;
        while begin.elapsed() < Duration::from_secs(3) {
            last = match edits % 5 {
                // Pods come and go, also of the same backend.
                0 => fleet.keys.put(&format!("backends/b/servers/s{}", edits % 50), &server),
                1 => fleet.keys.delete(&format!("backends/b/servers/s{}", (edits + 24) % 50)),
                2 => fleet.keys.put("frontends/f/frontend", &frontend(edits)),
                3 => fleet.keys.put(
                    "middlewares/all",
                    &json!({"Type": "headers", "Middleware": {"Request": {"Set": {"X-N": edits.to_string()}}}}),
                ),
                _ => fleet.keys.put(
                    &format!("frontends/o{}/frontend", edits % 20),
                    &json!({"Type": "http", "BackendId": "b", "Route": format!("Host(`h{edits}.example`)")}),
                ),
            };
            edits += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
        stop.store(true, Ordering::Relaxed);
        edits
    });
    let took = begin.elapsed();
    fleet.served(last);
    let (passed, limited) = (passed.into_inner(), limited.into_inner());
    let most = RATE + (RATE as f64 * took.as_secs_f64()).ceil() as u64;
    println!("{passed} passed of at most {most}, {limited} limited, {edits} edits in {took:?}");
    assert!(passed <= most, "{passed} passed, at most {most} may");
    assert!(passed * 100 >= most * 90, "{passed} passed, {most} may");
    assert!(limited > passed && edits > 200);
    assert_eq!(echo.requests(), passed);
}

#[test]
fn who_is_limited_is_told_when_to_come_back() {
    let _shared = shared();
    let echo = Echo::plain(false);
    let spec = json!({"Requests": 2, "PeriodSeconds": 1, "Burst": 1, "Variable": "request.header.X-Key",
                      "RateVar": "request.header.X-Rates"});
    let scene = Scene::new(echo.address(), "ratelimit", &spec);
    let ask = |fields: &str| {
        let mut connection = Connection::open(scene.address());
        connection.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n").as_bytes());
        connection.answer()
    };
    assert_eq!(ask("X-Key: a\r\n").status, 200);
    let limited = ask("X-Key: a\r\n");
    assert_eq!(limited.status, 429);
    let told = limited.field("X-Retry-In").unwrap();
    assert_eq!(limited.text(), format!("max rate reached: retry-in {told}"));
    assert_eq!(limited.field("Retry-After"), Some("1"));
    assert_eq!(limited.field("Content-Type"), Some("text/plain; charset=utf-8"));
    let wait: u64 = told.strip_suffix("ms").and_then(|told| told.parse().ok()).expect(told);
    assert!(wait <= 500, "{told}");
    assert_eq!(ask("X-Key: b\r\n").status, 200);
    std::thread::sleep(Duration::from_millis(wait));
    assert_eq!(ask("X-Key: a\r\n").status, 200);
    let rates = "X-Key: c\r\nX-Rates: [{\"PeriodSeconds\":60,\"Requests\":2},{\"PeriodSeconds\":3600,\"Requests\":1000}]\r\n";
    assert_eq!((ask(rates).status, ask(rates).status), (200, 200));
    let limited = ask(rates);
    assert_eq!((limited.status, limited.field("Retry-After")), (429, Some("30")));

    // An edit that keeps the period keeps what was taken.
    scene.directory.put(
        "frontends/shop/middlewares/m",
        &json!({"Type": "ratelimit", "Middleware": {"Requests": 1, "PeriodSeconds": 60, "Variable": "request.header.X-Key"}}),
    );
    until("the edit is served", Duration::from_secs(5), || (ask("X-Key: d\r\n").status == 429).then_some(()));
    assert_eq!(ask(rates).status, 429, "the minute of c is still used up, at half the rate");
}

#[test]
fn requests_in_flight_are_limited_over_all_workers() {
    let _shared = shared();
    let echo = Echo::plain(false);
    let scene = Scene::new(echo.address(), "connlimit", &json!({"Connections": 3, "Variable": "client.ip"}));
    assert_eq!(scene.get().status, 200);
    echo.delay(Duration::from_millis(500));
    let barrier = Barrier::new(12);
    let answers = std::thread::scope(|scope| {
        let ask = || {
            let mut connection = Connection::open(scene.address());
            barrier.wait();
            connection.get(HOST, "/").unwrap()
        };
        let threads = (0..12).map(|_| scope.spawn(ask)).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((passed, echo.most_at_once()), (3, 3));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.text()), (429, "max connections reached: 3".to_owned()));
    }
    // All have ended, and so has what they held.
    echo.delay(Duration::ZERO);
    until("nothing is in flight", Duration::from_secs(5), || (scene.get().status == 200).then_some(()));
}

/// Answers each request with 101 and holds the connection until its client closes, or never answers. Tells of each.
fn switching(answers: bool) -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|length| length > 2) {
                    line.clear();
                }
                let head =
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                let _ = sender.send(());
                if answers {
                    stream.get_mut().write_all(head).unwrap();
                }
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    (address, receiver)
}

#[test]
fn tunnels_count_while_they_are_open_and_so_do_clients_that_leave() {
    let _shared = shared();
    let upgrade =
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let scene =
        Scene::new(switching(true).0, "connlimit", &json!({"Connections": 1, "Variable": "request.host"}));
    let open = || {
        let mut connection = Connection::open(scene.address());
        connection.send(upgrade.as_bytes());
        (connection.answer().status, connection)
    };
    let (first, tunnel) = open();
    assert_eq!((first, open().0), (101, 429));
    drop(tunnel);
    until("the tunnel has ended", Duration::from_secs(5), || (open().0 == 101).then_some(()));

    // A client that leaves before its answer frees its place.
    let (server, begun) = switching(false);
    let scene = Scene::new(server, "connlimit", &json!({"Connections": 1, "Variable": "request.host"}));
    let ask = || {
        let mut connection = Connection::open(scene.address());
        connection.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
        connection
    };
    let first = ask();
    begun.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(ask().answer().status, 429);
    first.reset();
    until("the place is free", Duration::from_secs(5), || {
        let mut next = ask();
        next.set_silence_max(Duration::from_millis(200));
        next.try_answer(false).is_err().then_some(())
    });
    begun.recv_timeout(Duration::from_secs(5)).unwrap();
}

/// An HTTP/2 client that lets no byte of an answer of the proxy's own come holds no place with it.
#[test]
fn answers_that_nobody_takes_do_not_count() {
    let _shared = shared();
    let limit = json!({"Connections": 1, "Variable": "request.host"});
    let door = json!({"Deny": ["127.0.0.0/8"]});
    let server = Recorder::start();
    let way = Way::new(server.address(), &[("a", "connlimit", limit), ("b", "ipfilter", door)]);
    let mut kept = TcpStream::connect(way.address()).unwrap();
    // Settings with windows of nothing, and a head of one frame that ends its stream.
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0".to_vec();
    bytes.extend_from_slice(b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x84\x41\x09a.example");
    kept.write_all(&bytes).unwrap();
    kept.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut head = [0; 9];
    while head[3] != 1 {
        kept.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        kept.read_exact(&mut vec![0; length]).unwrap();
    }
    until("the place is free", Duration::from_secs(5), || (way.curl(&[], "/").status == 403).then_some(()));
    drop(kept);
}
