//! `mirror`: copies that nobody waits for.

use super::way::{PROTOCOLS, Way, silent};
use crate::support::{Recorder, shared, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn way(server: &Recorder, mirror: SocketAddr, spec: Value) -> Way {
    Way::with(server.address(), &[("a", "mirror", spec)], &[], |directory| {
        directory.put("backends/copy/backend", &json!({"Type": "http"}));
        directory.put("backends/copy/servers/a", &json!({"URL": format!("http://{mirror}")}));
    })
}

fn arrived(copies: &Recorder, count: usize) {
    let what = format!("{count} copies");
    until(&what, Duration::from_secs(5), || (copies.seen().len() >= count).then_some(()));
}

#[test]
fn copies_have_the_same_head_and_body() {
    let _machine = shared();
    let (server, copies) = (Recorder::start(), Recorder::start());
    let way = way(&server, copies.address(), json!({"BackendId": "copy", "MaxBodyBytes": 5000}));
    let chunked = ["-H", "Transfer-Encoding: chunked"];
    for protocol in PROTOCOLS {
        let bodies: [(&[&str], bool); 4] = [
            (&[], true),
            (&["-d", "two apples", "-H", "Cookie: c=1"], true),
            (&["--data-binary", "@Cargo.toml"], false),
            (&["-T", "src/main.rs"], true),
        ];
        for (arguments, copied) in bodies {
            let mut arguments = [[protocol].as_slice(), arguments].concat();
            if protocol == PROTOCOLS[0] && arguments.contains(&"-T") {
                arguments.extend(chunked);
            }
            let got = way.curl(&arguments, "/x?y=1");
            assert_eq!((got.status, got.text().as_str()), (200, "seen"), "{arguments:?}");
            let mut seen = server.take().remove(0);
            if !copied {
                continue;
            }
            arrived(&copies, 1);
            let mut copy = copies.take().remove(0);
            assert_eq!(copy.all("x-mirrored"), ["true"]);
            assert_eq!((&copy.line, &copy.body), (&seen.line, &seen.body), "{arguments:?}");
            let own = |name: &str| {
                ["x-mirrored", "content-length", "transfer-encoding", "expect"]
                    .iter()
                    .any(|own| own.eq_ignore_ascii_case(name))
            };
            copy.fields.retain(|(name, _)| !own(name));
            seen.fields.retain(|(name, _)| !own(name));
            assert_eq!(copy.fields, seen.fields);
        }
    }
    assert_eq!(copies.take().len(), 0, "a long body was copied");
}

#[test]
fn a_mirror_neither_delays_nor_fails_anything() {
    let _machine = shared();
    let server = Recorder::start();
    let mute = silent(Duration::from_secs(3));
    let cut = Recorder::with(|_, _| false);
    for (copies, name) in [(&mute, "silent"), (&cut, "cut")] {
        let way = way(&server, copies.address(), json!({"BackendId": "copy"}));
        let started = Instant::now();
        for protocol in PROTOCOLS {
            for arguments in [&[][..], &["-d", "two apples"]] {
                let got = way.curl(&[[protocol].as_slice(), arguments].concat(), "/");
                assert_eq!((got.status, got.text().as_str()), (200, "seen"), "{name}");
            }
        }
        arrived(copies, 4);
        assert!(started.elapsed() < Duration::from_secs(3), "{name}: {:?}", started.elapsed());
        let metrics = way.flipgate.admin().ask("GET", "/metrics").text();
        // Copies are no requests of the frontend.
        assert!(metrics.contains(r#"flipgate_requests_total{frontend="a",code="200"} 4"#), "{metrics}");
    }
}

#[test]
fn a_share_is_copied_and_what_is_too_much_is_counted() {
    let _machine = shared();
    let (server, copies) = (Recorder::start(), Recorder::start());
    let way = way(&server, copies.address(), json!({"BackendId": "copy", "Percent": 25}));
    for _ in 0..20 {
        assert_eq!(way.curl(&[], "/").status, 200);
    }
    arrived(&copies, 5);
    assert_eq!((server.take().len(), copies.take().len()), (20, 5));
    // A server that does not answer: its copies fill the places there are.
    let mute = silent(Duration::from_secs(3));
    way.directory.put("backends/copy/servers/a", &json!({"URL": format!("http://{}", mute.address())}));
    way.directory
        .put("frontends/a/middlewares/a", &json!({"Type": "mirror", "Middleware": {"BackendId": "copy"}}));
    let asked = Instant::now();
    until("copies are dropped", Duration::from_secs(10), || {
        let mut connection = crate::support::Connection::open(way.address());
        (0..50).for_each(|_| assert_eq!(connection.get("a.example", "/").unwrap().status, 200));
        let metrics = way.flipgate.admin().ask("GET", "/metrics").text();
        metrics.contains("flipgate_mirror_dropped_total").then_some(())
    });
    println!("dropped after {:?}", asked.elapsed());
}
