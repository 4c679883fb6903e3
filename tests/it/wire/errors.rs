//! Errors of the proxy's own say nothing of the inside.

use super::{Scene, get_with};
use crate::support::{Answer, Recorder, free_port, shared};
use serde_json::json;
use std::net::SocketAddr;

fn says_nothing(answer: &Answer, status: u16, hidden: &[String]) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert!(answer.field("content-length").is_some() || answer.status == 204);
    assert!(answer.all("server").is_empty(), "{:?}", answer.fields);
    let text = format!("{:?} {}", answer.fields, answer.text());
    for word in ["flipgate", "rust", "hyper", "127.0.0.1", "os error", "refused"]
        .into_iter()
        .chain(hidden.iter().map(String::as_str))
    {
        assert!(!text.to_lowercase().contains(word), "{status} tells {word:?}: {text}");
    }
}

#[test]
fn s14_errors_say_nothing_of_the_inside() {
    let _machine = shared();
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let garbage = Recorder::answering(b"SSH-2.0-OpenSSH_9\r\nConnection: close\r\n\r\n");
    let silent = Recorder::with(|_, _| {
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        false
    });
    let scene = Scene::with(Recorder::start(), |directory| {
        directory.put(
            "frontends/a/frontend",
            &json!({"Type": "http", "BackendId": "a", "Route": "Host(`a.example`)"}),
        );
        directory.put_way("dead", "Host(`dead.example`)", nobody);
        directory.put_way("garbage", "Host(`garbage.example`)", garbage.address());
        directory.put_way("silent", "Host(`silent.example`)", silent.address());
        let impatient = json!({"Type": "http", "Settings": {"Timeouts": {"Read": "300ms", "Dial": "300ms"}}});
        directory.put("backends/silent/backend", &impatient);
        directory.put("backends/empty/backend", &json!({"Type": "http"}));
        directory.put(
            "frontends/empty/frontend",
            &json!({"Type": "http", "BackendId": "empty", "Route": "Host(`empty.example`)"}),
        );
    });
    let ports = [
        nobody.port().to_string(),
        garbage.address().port().to_string(),
        silent.address().port().to_string(),
    ];
    let of = |host: &str| scene.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    says_nothing(&of("unknown.example"), 404, &ports);
    assert_eq!(of("unknown.example").text(), "{\"error\":\"not found\"}");
    says_nothing(&of("dead.example"), 502, &ports);
    says_nothing(&of("garbage.example"), 502, &ports);
    says_nothing(&of("empty.example"), 503, &ports);
    says_nothing(&of("silent.example"), 504, &ports);
    says_nothing(&of("a b"), 400, &ports);
    let many = "A: b\r\n".repeat(200);
    says_nothing(&scene.ask(get_with(&many)), 431, &ports);

    let mut connection = scene.connect();
    connection
        .send(b"HEAD / HTTP/1.1\r\nHost: unknown.example\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let head = connection.answer_to_head();
    assert_eq!((head.status, connection.answer().text().as_str()), (404, "seen"), "HEAD has no body");
}

#[test]
fn servers_that_break_off_are_told_apart_from_those_that_end() {
    let _machine = shared();
    let scene = Scene::to(Recorder::answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nshort",
    ));
    let mut connection = scene.connect();
    connection.send(get_with("").as_bytes());
    let error = connection.try_answer(false).expect_err("a truncated body never looks whole");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");

    let scene = Scene::to(Recorder::answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nshort\r\n",
    ));
    let mut connection = scene.connect();
    connection.send(get_with("").as_bytes());
    assert!(connection.try_answer(false).is_err(), "a truncated body never looks whole");

    for answer in [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello"
            .as_slice(),
        b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ] {
        let scene = Scene::to(Recorder::answering(answer));
        let told = scene.ask(get_with(""));
        assert_eq!(told.status, 502, "{}", answer.escape_ascii());
    }
}
