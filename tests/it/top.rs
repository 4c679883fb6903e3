//! Live statistics: what the API and `flipgate top` tell of traffic that a test made.

use crate::support::flipgate::{command, verb};
use crate::support::{Connection, Directory, Flipgate, Mode, Pod, shared, until};
use nix::pty::openpty;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Two sound servers, a failing one and a slow one behind one alias, and a frontend without traffic.
fn setup() -> (Directory, Vec<Pod>, Flipgate) {
    let directory = Directory::with_listener();
    let pods = Pod::start_all(&["sound-0", "sound-1", "failing", "slow"].map(str::to_owned));
    pods[2].mode(Mode::Error);
    pods[3].mode(Mode::Slow(40));
    directory.put("backends/shop/backend", &json!({ "Type": "alias", "Target": "green" }));
    directory.put("backends/green/backend", &json!({ "Type": "http" }));
    for pod in &pods {
        directory.put(&format!("backends/green/servers/{}", pod.name()), &pod.server());
    }
    directory.put(
        "frontends/shop/frontend",
        &json!({ "Type": "http", "BackendId": "shop", "Route": "Host(`shop`)" }),
    );
    directory.put(
        "frontends/idle/frontend",
        &json!({ "Type": "http", "BackendId": "green", "Route": "Host(`idle`)" }),
    );
    directory.put_way("gone", "Host(`gone`)", ([127, 0, 0, 1], 1).into());
    let flipgate = Flipgate::on(&directory.url()).ready();
    (directory, pods, flipgate)
}

fn ask(flipgate: &Flipgate, host: &str, count: usize) {
    let mut connection = Connection::open(flipgate.address("http"));
    for _ in 0..count {
        connection.get(host, "/").unwrap();
    }
}

fn named<'v>(list: &'v Value, id: &str) -> &'v Value {
    let found = list.as_array().unwrap().iter().find(|one| one["id"] == id || one["Id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {list:#}"))
}

#[test]
fn statistics_tell_what_happened() {
    let _shared = shared();
    let (directory, _pods, flipgate) = setup();
    ask(&flipgate, "shop", 40);
    ask(&flipgate, "gone", 3);
    // A request is counted once its answer is out, and each worker has a slot of its own.
    let top = until("all is counted", Duration::from_secs(5), || {
        let top = flipgate.admin().json("/v3/top");
        let requests = |id| named(&top["frontends"], id)["requests"].as_u64();
        (requests("shop") == Some(40) && requests("gone") == Some(3)).then_some(top)
    });
    // The worst first; what had no requests is not there.
    let ids: Vec<_> = top["frontends"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, ["gone", "shop"]);
    let gone = named(&top["frontends"], "gone");
    assert_eq!((&gone["requests"], &gone["networkErrors"]), (&json!(3), &json!(3)), "{gone}");
    let shop = named(&top["frontends"], "shop");
    assert_eq!(
        (&shop["networkErrors"], &shop["perSecond"], &shop["backend"]),
        (&json!(0), &json!(4.0), &json!("shop"))
    );
    let per_server = 10;
    let servers = &top["servers"];
    assert_eq!(named(servers, "failing")["codes"], json!({ "500": per_server }));
    assert_eq!(named(servers, "sound-0")["codes"], json!({ "200": per_server }));
    let slow = named(servers, "slow")["latencyMicros"]["p50"].as_u64().unwrap();
    assert!((40_000..400_000).contains(&slow), "{slow} us");
    assert_eq!(named(servers, "slow")["inFlight"], 0);

    // Of one backend, by the name of its alias.
    let judged = flipgate.admin().json("/v3/top?backend=shop");
    assert_eq!(judged["frontends"].as_array().unwrap().len(), 1);
    assert_eq!(judged["servers"].as_array().unwrap().len(), 4);
    assert_eq!(named(&judged["servers"], "failing")["standsOut"], json!(["appErrors"]));
    assert_eq!(named(&judged["servers"], "slow")["standsOut"], json!(["latency"]));
    assert_eq!(flipgate.admin().json("/v3/top?backend=none"), json!({ "frontends": [], "servers": [] }));
    let theirs = flipgate.admin().json("/v2/top/servers?backendId=green&limit=1");
    assert_eq!(theirs["Servers"][0]["Id"], "failing");
    assert_eq!(theirs["Servers"][0]["Stats"]["Verdict"]["Anomalies"][0]["Code"], 3);
    let theirs = flipgate.admin().json("/v2/top/frontends?backendId=green");
    assert_eq!(named(&theirs["Frontends"], "shop")["Stats"]["Counters"]["Total"], 40);

    // Statistics belong to the object: a change of something else leaves them, a removal ends them.
    directory.put(
        "frontends/shop/frontend",
        &json!({ "Type": "http", "BackendId": "shop", "Route": "Host(`shop`)", "Priority": 5 }),
    );
    std::fs::remove_file(directory.path().join("frontends/gone/frontend.json")).unwrap();
    until("the removal is served", Duration::from_secs(10), || {
        let top = flipgate.admin().json("/v3/top");
        let ids: Vec<_> = top["frontends"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
        (ids == ["shop"]).then_some(())
    });
    assert_eq!(flipgate.admin().json("/v3/top")["frontends"][0]["latencyMicros"], shop["latencyMicros"]);

    // What has not ended shows as well.
    let mut waits = Connection::open(flipgate.address("http"));
    let ends = |in_flight: u64| {
        until(&format!("{in_flight} in flight"), Duration::from_secs(5), || {
            let top = flipgate.admin().json("/v3/top");
            (named(&top["frontends"], "shop")["inFlight"] == in_flight).then_some(())
        });
    };
    ends(0);
    waits.send(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nab");
    ends(1);
    waits.send(b"cde");
    waits.answer();
    ends(0);

    let url = format!("http://{}", flipgate.admin().address());
    let here = directory.path();
    let (code, text, errors) = verb(&["top", "--once", "--backend", "shop", "--admin", &url], &here);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(text.starts_with("FRONTEND  ROUTE"), "{text}");
    let line = |start: &str| {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"))
    };
    assert!(line("green/failing").ends_with("appErrors"), "{text}");
    assert!(line("shop ").contains("Host(`shop`)"), "{text}");
    let (code, text, _) = verb(&["top", "--limit", "1", "--output", "json", "--admin", &url], &here);
    let top: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, top["servers"].as_array().unwrap().len()), (0, 1));
    let (code, _, errors) = verb(&["top", "--admin", "http://127.0.0.1:1"], &here);
    assert_eq!(code, 2, "{errors}");
}

#[test]
fn top_is_live_in_a_terminal_and_ends_with_q() {
    let _shared = shared();
    let (_directory, _pods, flipgate) = setup();
    ask(&flipgate, "shop", 4);
    let pty = openpty(None, None).unwrap();
    let ours: OwnedFd = pty.slave;
    let mut top = command();
    let child = top
        .args(["top", "--refresh", "100ms", "--admin", &format!("http://{}", flipgate.admin().address())])
        .env("TERM", "xterm")
        .stdin(ours.try_clone().unwrap())
        .stdout(ours.try_clone().unwrap())
        .stderr(ours)
        .spawn()
        .unwrap();
    // What it was started with holds the terminal's other side, too.
    drop(top);
    let mut child = Reaped(child);
    let mut terminal = File::from(pty.master);
    let (sender, pieces) = std::sync::mpsc::channel();
    let mut reader = terminal.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut seen = String::new();
    let mut shows = |what: &str, times: usize| {
        until(&format!("the terminal shows {what:?}"), Duration::from_secs(20), || {
            while let Ok(piece) = pieces.try_recv() {
                seen.push_str(&String::from_utf8_lossy(&piece));
            }
            (seen.matches(what).count() >= times).then_some(())
        });
    };
    shows("\u{1b}[?1049h", 1);
    // Drawn again and again.
    shows("Host(`shop`)", 3);
    terminal.write_all(b"xq").unwrap();
    let status = until("it ends", Duration::from_secs(10), || child.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    // The screen is as it was.
    shows("\u{1b}[?1049l", 1);
}

/// A child that does not outlive the test.
struct Reaped(std::process::Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
