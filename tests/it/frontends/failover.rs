//! `FailoverPredicate`: which attempts are followed by another.

use super::{frontend, scene};
use crate::support::{Recorder, free_port, shared};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server that answers its first requests with `status` and counts.
fn ailing(times: usize, status: u16) -> (Recorder, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let recorder = Recorder::with(move |_, stream| {
        let status = if counted.fetch_add(1, Ordering::SeqCst) < times { status } else { 200 };
        let body = if status == 200 { "well" } else { "sick" };
        use std::io::Write;
        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\n{body}").is_ok()
    });
    (recorder, asked)
}

/// One request to servers that answer `ails` times with `status`: what the client gets, and the attempts.
#[track_caller]
fn check(settings: Value, request: &str, (ails, status): (usize, u16), expected: u16, attempts: usize) {
    let (server, asked) = ailing(ails, status);
    let scene = scene(&[server.address()], settings.clone());
    let answer = scene.ask(request);
    assert_eq!((answer.status, asked.load(Ordering::SeqCst)), (expected, attempts), "{settings} {request:?}");
    let log = server.take();
    assert!(log.iter().all(|seen| seen.body == log[0].body), "the body is the same each time");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\ntwo apples";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntwo \r\n6\r\napples\r\n0\r\n\r\n";

#[test]
fn the_predicate_decides_which_attempts_are_repeated() {
    let _machine = shared();
    let usual = r#"IsNetworkError() && RequestMethod() == "GET" && Attempts() < 20"#;
    check(json!({}), GET, (1, 502), 502, 1);
    check(json!({"FailoverPredicate": usual}), GET, (2, 502), 200, 3);
    check(json!({"FailoverPredicate": usual}), GET, (2, 504), 200, 3);
    check(json!({"FailoverPredicate": usual}), GET, (2, 503), 503, 1);
    check(json!({"FailoverPredicate": usual}), POST, (2, 502), 502, 1);
    // At most ten more than the first, whatever it says.
    let always = json!({"FailoverPredicate": "Attempts() < 100"});
    check(always.clone(), GET, (99, 500), 500, 11);
    let some = json!({"FailoverPredicate": "ResponseCode() == 503 && Attempts() <= 2 || RequestMethod() == \"PUT\""});
    check(some, POST, (9, 503), 503, 3);
    // The method is the predicate's affair; the body is sent whole each time, however it came.
    check(always, POST, (2, 500), 200, 11);
    let twice = json!({"FailoverPredicate": "IsNetworkError() && Attempts() < 3"});
    check(twice.clone(), POST, (2, 502), 200, 3);
    check(twice.clone(), CHUNKED, (2, 502), 200, 3);
    // A body that does not fit is streamed, and not sent again.
    let small = json!({"FailoverPredicate": "IsNetworkError()", "Limits": {"MaxMemBodyBytes": 9}});
    check(small.clone(), POST, (2, 502), 502, 1);
    check(small, GET, (2, 502), 200, 3);
    let streamed = json!({"FailoverPredicate": "IsNetworkError()", "Stream": true});
    check(streamed, POST, (2, 502), 200, 3);
}

#[test]
fn beside_a_predicate_retry_says_how() {
    let _machine = shared();
    let both = |retry: Value| json!({"FailoverPredicate": "ResponseCode() >= 500", "Retry": retry});
    check(both(json!({"Attempts": 2})), GET, (9, 500), 500, 2);
    check(both(json!({"Attempts": 1})), GET, (9, 500), 500, 1);
    check(both(json!({"BodyBytesMax": 9})), POST, (1, 500), 500, 1);
    check(both(json!({"BodyBytesMax": 10})), POST, (1, 500), 200, 2);
    // `On` and `AnyMethod` have no say.
    check(both(json!({"On": ["connect"]})), POST, (1, 500), 200, 2);
    let other =
        json!({"FailoverPredicate": "ResponseCode() == 404", "Retry": {"On": ["5xx"], "AnyMethod": true}});
    check(other, GET, (1, 500), 500, 1);
    // The budget holds: none at all here.
    check(both(json!({"BudgetPercent": 0, "BudgetMin": 0})), GET, (1, 500), 500, 1);
}

#[test]
fn failures_without_an_answer_are_network_errors() {
    let _machine = shared();
    let (well, asked) = ailing(0, 0);
    let cut = Recorder::with(|_, _| false);
    let silent = Recorder::with(|_, _| {
        std::thread::sleep(std::time::Duration::from_millis(600));
        false
    });
    let twice =
        json!({"FailoverPredicate": "IsNetworkError() && Attempts() < 2", "Timeouts": {"Response": "200ms"}});
    let never = json!({"FailoverPredicate": "ResponseCode() == 404", "Timeouts": {"Response": "200ms"}});
    for (name, other, without) in [("cut", cut.address(), 502), ("silent", silent.address(), 504)] {
        let scene = scene(&[other, well.address()], twice.clone());
        for _ in 0..6 {
            assert_eq!(scene.ask(POST).status, 200, "{name}");
        }
        scene.put(&frontend(never.clone()));
        let statuses: Vec<u16> = (0..6).map(|_| scene.ask(POST).status).collect();
        assert!(statuses.contains(&without) && statuses.contains(&200), "{name}: {statuses:?}");
    }
    assert!(asked.load(Ordering::SeqCst) >= 12);
    // Who cannot be connected to has not run it: that stays safe without a predicate's word.
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let scene = scene(&[nobody, well.address()], never);
    for _ in 0..4 {
        assert_eq!(scene.ask(POST).status, 200);
    }
}

#[test]
fn requests_over_http2_are_repeated_too() {
    let _machine = shared();
    let (server, asked) = ailing(2, 502);
    let predicate = json!({"FailoverPredicate": "IsNetworkError() && Attempts() < 3"});
    let scene = scene(&[server.address()], predicate);
    let (code, text) = scene.curl_http2(&["-d", "two apples"]);
    assert_eq!((code, text.as_str(), asked.load(Ordering::SeqCst)), (Some(0), "well", 3));
    assert!(server.take().iter().all(|seen| seen.body == b"two apples"));
}
