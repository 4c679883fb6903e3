//! `Limits.MaxBodyBytes`: a body that is too large is refused as soon as that is known, and never whole at a server.

use super::{Scene, scene};
use crate::support::echo::Echo;
use crate::support::{Recorder, shared, until};
use serde_json::json;
use std::time::{Duration, Instant};

const MOST: usize = 100_000;

/// Waits until the server has no open connection; whether it ever saw a whole request.
fn settled(server: &Recorder) -> bool {
    until("the connections to the server are closed", Duration::from_secs(5), || {
        (server.open_connections() == 0).then_some(())
    });
    server.take().iter().any(|seen| seen.complete)
}

fn refused(scene: &Scene) -> f64 {
    let metrics = scene.flipgate.admin().ask("GET", "/metrics").text();
    let line =
        metrics.lines().find(|line| line.contains("_refused_total") && line.contains("body_too_large"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// Reads bodies to their end and never answers.
fn mute() -> Recorder {
    Recorder::with(|_, _| {
        std::thread::sleep(Duration::from_secs(3));
        false
    })
}

#[test]
fn a_length_that_is_too_large_is_refused_before_any_of_the_body() {
    let _machine = shared();
    let server = Recorder::start();
    let scene = scene(&[server.address()], json!({"Limits": {"MaxBodyBytes": MOST}}));
    let head = |more: &str, length: usize| {
        format!("POST / HTTP/1.1\r\nHost: a.example\r\n{more}Content-Length: {length}\r\n\r\n")
    };
    // Nothing of the body was sent, and the answer is there.
    for more in ["", "Expect: 100-continue\r\n"] {
        let mut connection = scene.connect();
        connection.send(head(more, MOST + 1).as_bytes());
        let answer = connection.answer();
        assert_eq!(
            (answer.status, answer.interim.len(), answer.field("connection")),
            (413, 0, Some("close"))
        );
    }
    // A client that sends on all the same gets to read it.
    let mut connection = scene.connect();
    connection.send(&[head("", MOST + 1).as_bytes(), &vec![b'x'; MOST + 1]].concat());
    assert_eq!(connection.answer().status, 413);
    assert!(connection.rest().is_empty());
    assert_eq!(server.connections(), 0);
    assert_eq!(refused(&scene), 3.0);
    // What fits just so passes.
    let answer = scene.ask([head("", MOST).as_bytes(), &vec![b'x'; MOST]].concat());
    assert_eq!(answer.status, 200);
    assert_eq!(server.take()[0].body.len(), MOST);
}

#[test]
fn a_body_that_grows_too_large_is_refused_while_it_comes() {
    let _machine = shared();
    let server = mute();
    let scene = scene(&[server.address()], json!({"Limits": {"MaxBodyBytes": MOST}}));
    let chunk = [format!("{:x}\r\n", MOST / 2).as_bytes(), &vec![b'x'; MOST / 2], b"\r\n"].concat();
    let mut connection = scene.connect();
    connection.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.send(&chunk);
    connection.send(&chunk);
    // One byte more, and no end: neither server nor client says anything further.
    let began = Instant::now();
    connection.send(b"1\r\nx\r\n");
    let answer = connection.answer();
    assert_eq!((answer.status, answer.field("connection")), (413, Some("close")));
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(connection.rest().is_empty());
    assert!(!settled(&server), "the server must not take it for whole");
    assert_eq!(refused(&scene), 1.0);
}

/// The status that comes while a client of HTTP/2 has sent so much of a body and does not end it.
fn upload_http2(scene: &Scene, length: Option<usize>, sent: usize) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(scene.address()).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::builder().method("POST").uri("http://a.example/");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let mut sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(vec![b'x'; sent].into(), false).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(2), answer).await.expect("an answer in time");
        answer.unwrap().status().as_u16()
    })
}

#[test]
fn bodies_over_http2_are_held_to_the_limit_too() {
    let _machine = shared();
    let server = mute();
    let scene = scene(&[server.address()], json!({"Limits": {"MaxBodyBytes": MOST}}));
    assert_eq!(upload_http2(&scene, Some(MOST + 1), 10), 413);
    assert_eq!(server.connections(), 0);
    assert_eq!(upload_http2(&scene, None, MOST + 1), 413);
    assert_eq!(server.connections(), 1, "its length was not known before");
    assert!(!settled(&server), "the server must not take it for whole");
    assert_eq!(refused(&scene), 2.0);

    // Towards a server of HTTP/2 as well.
    let echo = Echo::plain(true);
    scene.directory.put("backends/b/servers/0", &json!({"URL": format!("http://{}", echo.address())}));
    scene.directory.put("backends/b/backend", &json!({"Type": "http", "Settings": {"Protocol": "http2"}}));
    until("the server is reached", Duration::from_secs(5), || {
        (scene.curl_http2(&["-d", "x"]).1 == "x").then_some(())
    });
    let whole = echo.requests();
    assert_eq!(upload_http2(&scene, None, MOST + 1), 413);
    assert_eq!(echo.requests(), whole);
}
