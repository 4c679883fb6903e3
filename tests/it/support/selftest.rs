//! The servers and clients of the tests work together without the program, so that a failure elsewhere is its own.

use super::{Connection, H2load, Keys, Nginx, Python, Recorder, Relay, Wrk, get, shared};
use serde_json::json;
use std::time::Duration;

#[test]
fn nginx_and_load() {
    let _machine = shared();
    let server = Nginx::named("blue");
    assert_eq!(get(server.address(), "a.example", "/").text(), "blue\n");
    assert!(server.worker_pid() > 0);
    let wrk = Wrk::start(server.address(), "a.example", "/", 8, Duration::from_secs(20));
    let mut h2load = H2load::start(&format!("http://{}/", server.address()), 4, 200, Duration::from_secs(2));
    let open = h2load.result(Duration::from_secs(20));
    assert!(open.failed == 0 && (300..500).contains(&open.requests), "{open:?}");
    let closed = wrk.stop();
    assert!(closed.failed == 0 && closed.requests > 300, "{closed:?}");
}

#[test]
fn load_sees_what_fails() {
    let _machine = shared();
    let server = Nginx::serving("location / { return 503; } location /close { return 444; }");
    for path in ["/", "/close"] {
        let mut wrk = Wrk::start(server.address(), "a.example", path, 4, Duration::from_secs(1));
        let load = wrk.result(Duration::from_secs(20));
        assert!(load.failed > 0, "{path}: {load:?}");
    }
    // h2load passes over connections that end without an answer; what it is used for does not rest on them.
    let mut h2load = H2load::start(&format!("http://{}/", server.address()), 4, 100, Duration::from_secs(1));
    let load = h2load.result(Duration::from_secs(20));
    assert!(load.failed > 0, "{load:?}");
}

#[test]
fn python_and_the_wire() {
    let _machine = shared();
    let server = Python::upstream();
    let relay = Relay::to(server.address());
    let mut connection = Connection::open(relay.address());
    connection.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n");
    let told = connection.answer().json();
    assert_eq!((&told["bytes"], &told["trailers"]["X"]), (&json!(3), &json!("y")));
    let progress = connection.get("a", "/progress").unwrap();
    assert_eq!(progress.interim.len(), 3);
    let trailer = connection.get("a", "/trailer").unwrap();
    assert_eq!(trailer.trailers, [("X-Sum".to_owned(), b"6".to_vec())]);
    relay.cut();
    assert!(connection.get("a", "/echo").is_err());
    relay.mend();
    assert_eq!(get(relay.address(), "a", "/echo").json()["line"], "GET /echo HTTP/1.1");
    assert_eq!(get(relay.address(), "a", "/download?bytes=3000000").body.len(), 3_000_000);
}

#[test]
fn the_recorder_notes_what_it_gets() {
    let _machine = shared();
    let server = Recorder::start();
    let mut connection = Connection::open(server.address());
    connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(connection.answer().text(), "seen");
    connection.send(b"POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhi");
    connection.finish();
    assert!(connection.rest().is_empty());
    let seen = server.take();
    assert_eq!((seen[0].body.as_slice(), seen[0].complete), (b"hi".as_slice(), true));
    assert_eq!((seen[1].body.as_slice(), seen[1].complete), (b"hi".as_slice(), false));
}

#[test]
fn etcd_and_etcdctl() {
    let _machine = shared();
    let mut keys = Keys::start();
    let first = keys.put("x", &json!({}));
    assert_eq!(keys.etcdctl_put("x", &json!({"a": 1})), first + 1);
    assert_eq!(keys.put_together(&[("y".to_owned(), json!(1)), ("z".to_owned(), json!(2))]), first + 2);
    let backup = keys.backup();
    keys.restart();
    assert_eq!(keys.put("x", &json!({})), first + 3);
    keys.restore(&backup);
    keys.restart();
    assert_eq!(keys.put("x", &json!({})), first + 3);
    keys.compact(first + 2);
}
