//! A team's hour: the README's chapter, typed as it stands there, while clients go on asking.

use super::{PREFIX, vctl_program, vulcand_program};
use crate::readme::{Shell, blocks, readme, steps};
use crate::support::{Connection, Flipgate, Keys, alone, figure, free_port, shared, until};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PORTS: [&str; 8] = ["8181", "8182", "8191", "8192", "9001", "9002", "2379", "2380"];

/// Longest time without a listener when the port changes hands; it is tried again every 100 ms.
const GAP_MAX_MILLIS: f64 = 1_000.0;

/// What clients saw, one after the other.
#[derive(Debug, Clone)]
struct Asked {
    began: Instant,
    ended: Instant,
    /// The body, or why there is none.
    answer: Result<String, String>,
}

/// One GET over a connection of its own.
fn ask(address: SocketAddr) -> Result<String, String> {
    let mut connection = Connection::try_open(address).map_err(|error| format!("{:?}", error.kind()))?;
    let answer =
        connection.get("shop.localhost", "/").map_err(|error| format!("asked: {:?}", error.kind()))?;
    match answer.status {
        200 => Ok(answer.text().trim().to_owned()),
        status => Err(format!("{status} {}", answer.text())),
    }
}

#[test]
fn flipgate_takes_vulcands_place() {
    let (Some(vulcand), Some(vctl)) = (vulcand_program(), vctl_program()) else { return };
    let _machine = alone();
    let text = readme();
    let parts = blocks(&text, "console hour");
    assert!(parts.len() >= 6, "the chapter was not found");
    let mut shell = Shell::with(&PORTS, &[("vulcand", vulcand), ("vctl", vctl)]);
    let address = shell.address("8181");
    let asked = Mutex::new(Vec::new());
    let (begun, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                if begun.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let answer = ask(address);
                    asked.lock().unwrap().push(Asked { began, ended: Instant::now(), answer });
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        // A step that fails ends the clients too.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (line, block) in &parts {
                for (command, expected) in steps(block) {
                    shell.expect(&format!("README.md, block at line {line}"), &command, &expected);
                    // From the first answer on there is traffic.
                    let serves = command.contains(":8181") && command.starts_with("curl");
                    begun.fetch_or(serves, Ordering::SeqCst);
                }
            }
            let before = asked.lock().unwrap().len();
            until("clients go on", Duration::from_secs(10), || {
                (asked.lock().unwrap().len() > before + 200).then_some(())
            });
        }));
        ended.store(true, Ordering::SeqCst);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    judge(&asked.into_inner().unwrap());
}

#[test]
fn the_default_listener_waits_for_the_table() {
    let _machine = shared();
    let mut keys = Keys::start().below(PREFIX);
    // Slow enough to read that a listener without a table would be seen.
    let frontend = |n: u32| serde_json::json!({"Type": "http", "BackendId": "none", "Route": format!("Host(`{n}.test`)")});
    let puts = (0..2_000).map(|n| (format!("frontends/f{n}/frontend"), frontend(n))).collect::<Vec<_>>();
    keys.put_many(&puts);
    keys.put("backends/none/backend", &serde_json::json!({"Type": "http"}));
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    std::thread::scope(|scope| {
        // Without a pause: what is open for a moment only has to be found.
        let first = scope.spawn(|| {
            let late = Instant::now() + Duration::from_secs(20);
            let ask = || Connection::try_open(address).ok()?.get("7.test", "/").ok();
            loop {
                match ask() {
                    Some(answer) => return answer,
                    None => assert!(Instant::now() < late, "no answer"),
                }
            }
        });
        let moved = format!("default={address}");
        let own = ["--prefix", PREFIX, "--default-listener", "on", "--listener", &moved];
        let _flipgate = Flipgate::on(&keys.url()).arguments(&own).ready();
        assert_eq!(first.join().unwrap().status, 503, "the first answer is by the table: no server");
    });
}

/// All is answered but for one gap, in which connections are refused.
fn judge(asked: &[Asked]) {
    let failed = asked.iter().filter(|asked| asked.answer.is_err()).collect::<Vec<_>>();
    assert!(asked.len() > 200, "only {} requests", asked.len());
    for answer in asked.iter().filter_map(|asked| asked.answer.as_ref().ok()) {
        assert!(matches!(answer.as_str(), "blue" | "green"), "{answer:?}");
    }
    let gap = match (failed.first(), failed.last()) {
        (Some(first), Some(last)) => last.ended - first.began,
        _ => Duration::ZERO,
    };
    let details = format!("{} requests, {} refused", asked.len(), failed.len());
    let millis = gap.as_secs_f64() * 1_000.0;
    let fits = figure("vulcand 5: the port is nobody's for", millis, "ms", &details, GAP_MAX_MILLIS);
    let kinds = failed.iter().filter_map(|asked| asked.answer.as_ref().err());
    let others = kinds.filter(|error| error.as_str() != "ConnectionRefused").collect::<Vec<_>>();
    // What vulcand had accepted and not read when it was told to end.
    assert!(others.len() <= 2 && others.iter().all(|error| error.starts_with("asked: ")), "{others:?}");
    assert!(fits, "a gap of {gap:?}");
}
