//! A changed setting is in force for the next request, also of a connection that was open before.

use super::{frontend, scene};
use crate::support::{Connection, Recorder, shared};
use serde_json::{Value, json};
use std::io::Write;

const REQUEST: &[u8] =
    b"POST /path HTTP/1.1\r\nHost: a.example\r\nX-Real-Ip: 192.0.2.7\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn a_live_change_of_any_setting_takes_effect_at_once() {
    let _machine = shared();
    let server = Recorder::with(|_, stream| {
        stream.write_all(b"HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\nsick").is_ok()
    });
    let scene = scene(&[server.address()], json!({}));
    let mut open = scene.connect();
    let ask = |open: &mut Connection, settings: &Value| {
        scene.put(&frontend(settings.clone()));
        server.take();
        open.send(REQUEST);
        let answer = open.answer();
        (answer.status, server.take())
    };
    let own = server.address().to_string();
    // A changed setting, the field that shows it, and how.
    for (settings, field, shown) in [
        (json!({"Stream": true}), "Host", vec![own.as_str()]),
        (json!({"PassHostHeader": true}), "Host", vec!["a.example"]),
        (json!({"PassHostHeader": false}), "Host", vec![own.as_str()]),
        (json!({"TrustForwardHeader": true}), "X-Real-Ip", vec!["192.0.2.7"]),
        (json!({"TrustForwardHeader": false, "Stream": true}), "X-Real-Ip", vec!["127.0.0.1"]),
        (json!({"Hostname": "edge-1"}), "X-Forwarded-Server", vec!["edge-1"]),
        (json!({"Hostname": "edge-2", "Stream": false}), "X-Forwarded-Server", vec!["edge-2"]),
        (json!({}), "X-Forwarded-Server", vec![]),
    ] {
        let (status, seen) = ask(&mut open, &settings);
        assert_eq!((status, seen.len()), (500, 1), "{settings}");
        assert_eq!(seen[0].all(field), shown, "{settings}");
    }
    for (settings, attempts) in [
        (json!({"FailoverPredicate": "ResponseCode() == 500 && Attempts() < 3"}), 3),
        (json!({"FailoverPredicate": "ResponseCode() == 500 && Attempts() < 2"}), 2),
        (json!({"FailoverPredicate": ""}), 1),
    ] {
        assert_eq!(ask(&mut open, &settings).1.len(), attempts, "{settings}");
    }
    for (most, status) in [(3, 413), (4, 500), (3, 413), (0, 500)] {
        let (got, seen) = ask(&mut open, &json!({"Limits": {"MaxBodyBytes": most}}));
        assert_eq!((got, seen.len()), (status, usize::from(status == 500)), "{most}");
        if status == 413 {
            // What was sent behind a refused head may have closed it.
            open = scene.connect();
        }
    }
}
