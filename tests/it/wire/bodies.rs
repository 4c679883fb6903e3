//! Bodies: broken ones never look whole to a server, and nothing behind a body is read as what it is not.

use super::Scene;
use crate::support::{Recorder, shared, until};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CHUNKED: &str = "POST /upload HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Chunked bodies that are broken at some place. The head passes; the message must not.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let mut cases: Vec<(&'static str, Vec<u8>)> = [
        ("H17", "5\nhello\r\n0\r\n\r\n"),
        ("H17", "5\r\nhello\n0\r\n\r\n"),
        ("H17", "5\r\nhello\r\n0\n\r\n"),
        ("H17", "5\r\nhello\r\n0\r\n\n"),
        ("H18", "5;a\nX\r\nhello\r\n0\r\n\r\n"),
        ("H18", "5;a\rX\r\nhello\r\n0\r\n\r\n"),
        ("H18", "2\r\r;a\r\nhe\r\n0\r\n\r\n"),
        ("H18", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        ("H18", "5;\r\nhello\r\n0\r\n\r\n"),
        ("H18", "5;=x\r\nhello\r\n0\r\n\r\n"),
        ("H21", "3\r\nhello\r\n0\r\n\r\n"),
        ("H22", "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"),
    ]
    .map(|(id, body)| (id, body.as_bytes().to_vec()))
    .into();
    let sizes =
        ["0x5", "+5", "-0", " 5", "5 ", "5_0", "", "Z", "1these", "00000000000000005", "fffffffffffffffff"];
    cases.extend(sizes.map(|size| ("H19", format!("{size}\r\nhello\r\n0\r\n\r\n").into_bytes())));
    cases.push(("H20", format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(65_536)).into_bytes()));
    let small = format!("1;{}\r\nx\r\n", "a".repeat(1_024)).repeat(1_024);
    cases.push(("H20", format!("{small}0\r\n\r\n").into_bytes()));
    cases.push(("H22", format!("0\r\n{}\r\n", "X: y\r\n".repeat(10_000)).into_bytes()));
    cases
}

#[test]
fn a_broken_chunked_body_is_never_whole_at_the_server() {
    let _machine = shared();
    let scene = Scene::new();
    let mut wrong = Vec::new();
    for (id, body) in broken() {
        scene.server.take();
        let mut connection = scene.connect();
        let _ = connection.try_send(&[CHUNKED.as_bytes(), &body].concat());
        let answer = connection.rest();
        let text = String::from_utf8_lossy(&answer).into_owned();
        scene.wait_for_no_upstream(id);
        let seen = scene.server.take();
        let refused =
            answer.is_empty() || ["HTTP/1.1 400 ", "HTTP/1.1 413 "].iter().any(|line| text.starts_with(line));
        if !refused || seen.iter().any(|seen| seen.complete) {
            let start = &body[..body.len().min(60)];
            wrong.push(format!("{id} {}: answered {text:?}, the server saw {seen:?}", start.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "broken bodies that passed:\n{}", wrong.join("\n"));
}

#[test]
fn h21_a_body_that_ends_too_soon_is_never_whole_at_the_server() {
    let _machine = shared();
    let scene = Scene::new();
    for cut in [
        format!("{CHUNKED}5\r\nhel"),
        format!("{CHUNKED}5\r\nhello\r\n"),
        format!("{CHUNKED}5\r\nhello\r\n0\r\n"),
        "POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello".to_owned(),
    ] {
        scene.server.take();
        let mut connection = scene.connect();
        connection.send(cut.as_bytes());
        connection.finish();
        let text = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400 "), "{cut:?} is answered {text:?}");
        scene.wait_for_no_upstream(&cut);
        assert!(scene.server.take().iter().all(|seen| !seen.complete), "{cut:?} is whole at the server");
    }
}

#[test]
fn chunked_bodies_pass_and_their_forbidden_trailers_do_not() {
    let _machine = shared();
    let scene = Scene::new();
    let (answer, seen) = scene.pass(format!(
        "{CHUNKED}2;name=value\r\nhe\r\n3;q=\"a;b\"\r\nllo\r\n0\r\nX-Sum: 5\r\nContent-Length: 99\r\n\
         Transfer-Encoding: gzip\r\nHost: evil.example\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-Ip: 1.2.3.4\r\n\
         Authorization: Basic eDp5\r\n\r\n"
    ));
    assert_eq!((answer.status, seen.body.as_slice(), seen.complete), (200, b"hello".as_slice(), true), "H22");
    for name in
        ["Content-Length", "Transfer-Encoding", "Host", "X-Forwarded-For", "X-Real-Ip", "Authorization"]
    {
        let named = seen.trailers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        assert!(!named, "H22: the trailer {name} passes");
    }
    assert_eq!(seen.all("host"), ["a.example"], "H22: a trailer is no header field");
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"], "H22");
    assert!(!seen.has("authorization") && !seen.has("x-sum"), "H22: a trailer is no header field");
}

#[test]
fn h07_a_length_with_leading_zeros_is_one_number_everywhere() {
    let _machine = shared();
    let scene = Scene::new();
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0005\r\n\r\nhello";
    let answer = scene.ask(request);
    if answer.status == 400 {
        assert!(scene.server.take().is_empty());
    } else {
        let seen = scene.server.take().remove(0);
        assert_eq!((seen.all("content-length"), seen.body), (vec!["5".to_owned()], b"hello".to_vec()));
    }
}

#[test]
fn h23_what_follows_a_body_and_is_no_request_is_refused() {
    let _machine = shared();
    let scene = Scene::new();
    let mut connection = scene.connect();
    connection
        .send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello\x01garbage\r\n\r\n");
    assert_eq!(connection.answer().status, 200);
    let refused = connection.answer();
    assert_eq!((refused.status, refused.field("connection")), (400, Some("close")));
    assert!(connection.rest().is_empty());
    assert_eq!(scene.server.take().len(), 1);
}

#[test]
fn h24_a_body_behind_an_early_answer_is_never_read_as_a_request() {
    let _machine = shared();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly",
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly",
    ] {
        let closes = answer.contains("close");
        let scene = Scene::to(Recorder::early(move |_, stream| {
            stream.write_all(answer.as_bytes()).is_ok() && !closes
        }));
        let mut body = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n".repeat(24_000);
        body.truncate(1 << 20);
        let mut connection = scene.connect();
        let head =
            format!("POST /first HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.send(head.as_bytes());
        // The proxy may close while this is being sent.
        let _ = connection.try_send(&body);
        let _ = connection.try_send(b"GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let early = connection.try_answer(false).expect("the early answer arrives");
        assert_eq!(early.text(), "early");
        // Either the next request is answered in its turn or the connection is closed.
        if let Ok(next) = connection.try_answer(false) {
            assert_eq!(next.text(), "early");
        }
        drop(connection);
        scene.wait_for_no_upstream_or_idle();
        let lines = scene.server.take().into_iter().map(|seen| seen.line).collect::<Vec<_>>();
        assert!(lines.iter().all(|line| !line.contains("smuggled")), "{lines:?}");
    }
}

#[test]
fn h25_bodies_of_methods_that_rarely_have_one() {
    let _machine = shared();
    let scene = Scene::new();
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        scene.server.take();
        let mut connection = scene.connect();
        let inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        let first = format!(
            "{method} /one HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{inner}",
            inner.len()
        );
        connection.send(format!("{first}GET /two HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes());
        let answer = connection.try_answer(method == "HEAD").expect("an answer");
        if answer.status == 400 {
            assert!(scene.server.take().is_empty());
            continue;
        }
        assert_eq!(connection.answer().status, 200, "{method}");
        let seen = scene.server.take();
        let lines = seen.iter().map(|seen| seen.line.as_str()).collect::<Vec<_>>();
        assert_eq!(lines, [format!("{method} /one HTTP/1.1").as_str(), "GET /two HTTP/1.1"]);
        assert_eq!(seen[0].body, inner.as_bytes(), "{method}");
    }
}

#[test]
fn h26_expectations() {
    let _machine = shared();
    let expecting = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

    // (a) A client that waits is told to go on, by the server or by the proxy; (b) one that does not wait is fine too.
    let scene = Scene::new();
    let mut connection = scene.connect();
    connection.send(expecting.as_bytes());
    assert_eq!(connection.head().unwrap().status, 100);
    connection.send(b"hello");
    assert_eq!(connection.answer().text(), "seen");
    connection.send(format!("{expecting}hello").as_bytes());
    assert_eq!(connection.answer().text(), "seen");
    let seen = scene.server.take();
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.body == b"hello" && seen.complete), "{seen:?}");

    // (c) A server that answers before the body: the body is not waited for, and what follows is not misread.
    let refusing = Recorder::early(|_, stream| {
        let _ = stream
            .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        false
    });
    let scene = Scene::to(refusing);
    let mut connection = scene.connect();
    connection.send(expecting.as_bytes());
    let answer = connection.answer();
    assert_eq!((answer.status, answer.interim.len()), (401, 0), "no 100 before the refusal");
    assert!(connection.rest().is_empty(), "the connection is closed: nobody knows whether the body comes");

    // (d) Other expectations are refused, whatever they contain.
    let scene = Scene::new();
    for expectation in ["y 100-continue", "100-continue, 100-continue", "y", "100-continue\r\nExpect: y"] {
        let answer = scene.ask(format!(
            "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: {expectation}\r\n\r\nhello"
        ));
        assert!(matches!(answer.status, 400 | 417), "{expectation:?}: {}", answer.status);
    }
    assert!(scene.server.take().is_empty());
}

#[test]
fn h42_a_client_that_goes_away_takes_its_upstream_connection_along() {
    let _machine = shared();
    let endless = Arc::new(AtomicBool::new(true));
    let goes_on = endless.clone();
    let scene = Scene::to(Recorder::early(move |seen, stream| {
        if seen.line.starts_with("POST") {
            return true;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while goes_on.load(Ordering::SeqCst) && stream.write_all(&[b'x'; 65_536]).is_ok() {}
        false
    }));
    for round in 0..20 {
        let upload = round % 2 == 0;
        let mut connection = scene.connect();
        if upload {
            connection.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\nhello");
            until("the upload reaches the server", Duration::from_secs(5), || {
                (scene.server.open_connections() > 0).then_some(())
            });
        } else {
            connection.send(super::get_with("").as_bytes());
            assert_eq!(connection.head().unwrap().status, 200);
        }
        connection.reset();
        scene.wait_for_no_upstream(if upload { "upload" } else { "download" });
    }
    endless.store(false, Ordering::SeqCst);
    assert!(scene.server.take().iter().all(|seen| seen.line.starts_with("GET") || !seen.complete));
}
