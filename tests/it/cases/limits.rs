//! Limits of the machine and of the table, M01 to M08.

use crate::support::{Connection, Directory, Flipgate, Python, shared};
use std::time::Duration;

#[test]
fn m06_a_panic_costs_the_request_that_met_it() {
    let _machine = shared();
    // Only debug builds can be asked for one.
    if std::env::var_os("FLIPGATE_BIN").is_some() {
        return;
    }
    let wishes = tempfile::tempdir().unwrap();
    let server = Python::upstream();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let flipgate = Flipgate::on(&directory.url())
        .workers(1)
        .environment("FLIPGATE_PANIC_AT", wishes.path().to_str().unwrap())
        .ready();
    let address = flipgate.address("http");
    let mut other = Connection::open(address);
    other.send(b"GET /slow?ms=500 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut kept = Connection::open(address);
    assert_eq!(kept.get("a.example", "/echo").unwrap().status, 200);
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write(wishes.path().join("request"), "").unwrap();
    let mut hit = Connection::open(address);
    let answer = hit.get("a.example", "/echo").unwrap();
    assert_eq!(answer.status, 500);
    assert!(answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")));
    assert!(hit.rest().is_empty(), "and nothing more");
    assert_eq!(other.answer().status, 200, "a request that was under way on the same worker");
    assert_eq!(kept.get("a.example", "/echo").unwrap().status, 200, "a connection that was idle there");
    let metrics = flipgate.admin().ask("GET", "/metrics").text();
    assert!(metrics.contains("flipgate_panics_total{task=\"request\"} 1"), "{metrics}");
    assert!(metrics.contains("flipgate_refused_total{reason=\"internal\"} 1"), "{metrics}");
}
