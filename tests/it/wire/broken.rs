//! Either side breaks off, says too much, or says nothing: the other side learns of it, and nobody else does.

use super::{Scene, get_with};
use crate::support::{Flipgate, Recorder, shared, until};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A proxy that waits at most a second for bodies, and whose server does as the path says.
fn impatient(server: Recorder) -> Scene {
    let scene = Scene::to(server);
    let flipgate =
        Flipgate::on(&scene.directory.url()).workers(1).arguments(&["--body-timeout", "1s"]).ready();
    Scene { flipgate, ..scene }
}

#[test]
fn interim_answers_without_end_are_a_bad_answer() {
    let _machine = shared();
    let scene = Scene::to(Recorder::with(|_, stream| {
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").is_ok() {}
        false
    }));
    let answer = scene.ask(get_with(""));
    assert_eq!(answer.status, 502);
    assert!(answer.interim.len() <= 16, "{}", answer.interim.len());
    scene.wait_for_no_upstream("the flood");
}

#[test]
fn nothing_behind_connect_is_read() {
    let _machine = shared();
    let scene = Scene::new();
    let mut connection = scene.connect();
    connection.send(b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n");
    connection.send(get_with("").as_bytes());
    assert_eq!(connection.answer().status, 405);
    assert!(connection.rest().is_empty());
    assert!(scene.server.take().is_empty());
}

#[test]
fn a_client_that_resets_while_the_server_is_silent_takes_its_upstream_connection_along() {
    let _machine = shared();
    let scene = Scene::to(Recorder::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        // Ends when the proxy closes.
        let _ = stream.read(&mut [0]);
        false
    }));
    let mut connection = scene.connect();
    connection.send(get_with("").as_bytes());
    assert_eq!(connection.head().unwrap().status, 200);
    assert_eq!(connection.chunk().unwrap().unwrap(), b"abc");
    connection.reset();
    scene.wait_for_no_upstream("a silent answer");
}

#[test]
fn u09_an_answer_in_the_middle_of_an_upload_arrives() {
    let _machine = shared();
    let scene = Scene::to(Recorder::early(|_, stream| {
        let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly";
        let _ = stream.write_all(answer);
        false
    }));
    for round in 0..50 {
        let mut connection = scene.connect();
        let size = 20_000 * (1 + round % 10);
        let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {size}\r\n\r\n");
        let _ = connection.try_send(&[head.into_bytes(), vec![b'x'; size]].concat());
        let answer = connection.answer();
        assert_eq!((answer.status, answer.text().as_str()), (413, "early"), "round {round}");
    }
}

#[test]
fn a_client_that_stops_in_its_body_is_told_so() {
    let _machine = shared();
    let scene = impatient(Recorder::start());
    for sent in ["", "hello"] {
        let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n";
        assert_eq!(scene.ask(format!("{head}{sent}")).status, 408, "after {sent:?}");
        scene.wait_for_no_upstream("a body that stopped");
    }
}

#[test]
fn an_answer_without_an_end_is_not_given_one() {
    let _machine = shared();
    let cut = Recorder::with(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        false
    });
    let resetting = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let scene = Scene::with(cut, |directory| {
        directory.put_way("reset", "Host(`reset.example`)", resetting.local_addr().unwrap());
    });
    std::thread::spawn(move || {
        let (mut stream, _) = resetting.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc");
        std::thread::sleep(Duration::from_millis(100));
        reset(&stream);
    });
    let mut connection = scene.connect();
    connection.send(b"GET / HTTP/1.1\r\nHost: reset.example\r\n\r\n");
    let text = connection.rest();
    assert!(text.ends_with(b"3\r\nabc\r\n"), "{:?}", String::from_utf8_lossy(&text));

    // HTTP/1.0 knows the end by the close alone: it must not be an orderly one.
    let mut stream = TcpStream::connect(scene.address()).unwrap();
    stream.write_all(b"GET /cut HTTP/1.0\r\nHost: a.example\r\n\r\n").unwrap();
    let ended = stream.read_to_end(&mut Vec::new());
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_body_that_is_sent_again_is_the_same_body() {
    let _machine = shared();
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    // Closes after its first answer as if it had been idle for too long, without a word.
    let scene = Scene::to(Recorder::with(move |seen, stream| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nseen");
        if seen.line.starts_with("GET") {
            // Reads the next head's first byte, and breaks off.
            let _ = stream.read(&mut [0]);
            reset(stream);
            return false;
        }
        true
    }));
    for size in [0, 100, 4_000, 20_000, 60_000] {
        let mut connection = scene.connect();
        connection.send(get_with("").as_bytes());
        assert_eq!(connection.answer().status, 200);
        scene.server.take();
        let body = (0..size).map(|at| (at % 251) as u8).collect::<Vec<_>>();
        let head = format!("PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {size}\r\n\r\n");
        connection.send(&[head.as_bytes(), &body].concat());
        assert_eq!(connection.answer().status, 200, "{size}");
        let seen = scene.server.take();
        let whole = seen.iter().filter(|seen| seen.line.starts_with("PUT")).collect::<Vec<_>>();
        assert!(whole.len() == 1 && whole[0].body == body, "{size}: {} requests", whole.len());
    }
}

#[test]
fn u08_a_change_of_protocol_that_could_not_be_asked_for_is_a_bad_answer() {
    let _machine = shared();
    let scene = Scene::to(Recorder::answering(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\ntunnel",
    ));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for request in [
        get_with(""),
        get_with("Connection: Upgrade\r\nUpgrade: foo\r\n"),
        format!("POST / HTTP/1.1\r\nHost: a.example\r\n{upgrade}Content-Length: 5\r\n\r\nhello"),
    ] {
        assert_eq!(scene.ask(&request).status, 502, "{request}");
    }
}

#[test]
fn only_a_websocket_is_told_to_the_server_as_one() {
    let _machine = shared();
    let scene = Scene::new();
    for (token, scheme) in [("h2c", "http"), ("foo", "http"), ("websocket", "ws")] {
        let (_, seen) = scene.pass(get_with(&format!("Connection: Upgrade\r\nUpgrade: {token}\r\n")));
        assert_eq!(seen.all("x-forwarded-proto"), [scheme], "{token}");
    }
}

#[test]
fn a_drain_serves_what_was_accepted_for_it() {
    let _machine = shared();
    let mut scene = Scene::new();
    let address = scene.address();
    let mut idle = scene.connect();
    assert_eq!(idle.get("a.example", "/").unwrap().status, 200);
    // While it stands still, connections and requests wait in the operating system.
    scene.flipgate.signal(Signal::SIGSTOP);
    let mut waiting = (0..20).map(|_| crate::support::Connection::open(address)).collect::<Vec<_>>();
    waiting.push(idle);
    for connection in &mut waiting {
        connection.send(get_with("").as_bytes());
    }
    scene.flipgate.signal(Signal::SIGTERM);
    scene.flipgate.signal(Signal::SIGCONT);
    for connection in &mut waiting {
        // A worker that went on before it heard of the drain says nothing of an end.
        let answer = connection.answer();
        assert_eq!(answer.status, 200);
        assert!(matches!(answer.field("connection"), None | Some("close")));
    }
    // Either way the connection ends now.
    assert!(waiting.iter_mut().all(|connection| connection.rest().is_empty()));
    drop(waiting);
    let began = Instant::now();
    assert!(scene.flipgate.end(Duration::from_secs(10)).success());
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_address_that_is_taken_is_tried_again() {
    let _machine = shared();
    let scene = Scene::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let listener = |id: &str| {
        let value = serde_json::json!({
            "Protocol": "http",
            "Address": {"Network": "tcp", "Address": address.to_string()},
        });
        scene.directory.put(&format!("listeners/{id}"), &value);
    };
    listener("late");
    std::thread::sleep(Duration::from_millis(300));
    drop(other);
    assert_eq!(scene.flipgate.address("late"), address);
    // Another listener takes its place at the same address.
    std::fs::remove_file(scene.directory.path().join("listeners/late.json")).unwrap();
    listener("later");
    until("the address has a new listener", Duration::from_secs(5), || {
        let status = scene.flipgate.admin().status();
        status["listeners"].as_array()?.iter().find(|one| one["id"] == "later").map(|_| ())
    });
    assert_eq!(crate::support::get(address, "a.example", "/").status, 200);
}
