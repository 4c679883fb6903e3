//! What the machine, the log and the store can do to the proxy, M01 to M08.

use crate::support::{Connection, Directory, Flipgate, Python, Recorder, cpu_seconds, get, shared, until};
use serde_json::json;
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn m01_few_open_files_are_kept_for_those_that_are_served() {
    few_open_files(1000);
}

/// A proxy that may open 256 files, and so many clients that say nothing.
pub fn few_open_files(count: usize) {
    let _machine = shared();
    let server = Recorder::start();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let flipgate = Flipgate::on(&directory.url())
        .under(&["prlimit", "--nofile=256:256"])
        .arguments(&["--max-connections-per-client", "0", "--access-log", "stdout"])
        .ready();
    let address = flipgate.address("http");
    let clients = (0..count).filter_map(|_| TcpStream::connect(address).ok()).collect::<Vec<_>>();
    assert!(clients.len() > count * 9 / 10, "{} connected", clients.len());
    std::thread::sleep(Duration::from_millis(500));
    let (before, started) = (cpu_seconds(flipgate.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let share = (cpu_seconds(flipgate.pid()) - before) / started.elapsed().as_secs_f64() * 100.0;
    println!("M01: {share:.1} % of a core while nobody can be let in");
    assert!(share < 10.0, "{share} %");
    assert_eq!(flipgate.admin().status()["ready"], json!(true));
    // The client that is idle longest makes place.
    assert_eq!(get(address, "a.example", "/").status, 200);
    drop(clients);
    let started = Instant::now();
    until("it recovers", Duration::from_secs(5), || {
        let mut connection = Connection::try_open(address).ok()?;
        connection.get("a.example", "/").ok().filter(|answer| answer.status == 200)
    });
    println!("M01: recovered after {:?}", started.elapsed());
    assert!(!flipgate.output().contains("panicked"), "{}", flipgate.output());
}

#[test]
fn m03_what_clients_say_cannot_break_a_line_of_the_log() {
    let _machine = shared();
    let server = Recorder::start();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let flipgate = Flipgate::on(&directory.url()).arguments(&["--access-log", "stdout"]).ready();
    let nasty: [&[u8]; 5] =
        [b"/m03/%0d%0a", b"/m03/\xe2\x80\xae", b"/m03/\x80\xff", b"/m03/\"}", b"/m03/\x1b[2J"];
    for path in nasty {
        let mut connection = Connection::open(flipgate.address("http"));
        let mut request = b"GET ".to_vec();
        request.extend_from_slice(path);
        request.extend_from_slice(b" HTTP/1.1\r\nHost: a.example\r\nUser-Agent: \xe2\x80\xae\"\r\n\r\n");
        connection.send(&request);
        let _ = connection.answer();
    }
    let lines = until("all are logged", Duration::from_secs(10), || {
        let output = flipgate.output();
        let lines =
            output.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect::<Vec<_>>();
        (lines.len() >= nasty.len()).then_some(lines)
    });
    assert_eq!(lines.len(), nasty.len());
    for line in lines {
        assert!(line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}

#[test]
fn m05_expressions_match_in_linear_time_and_their_size_is_limited() {
    let _machine = shared();
    let server = Recorder::start();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathRegexp(`^/(a+)+$`)", server.address());
    // A thousand alternatives within the longest pattern.
    let many = (0..1000).map(|number| format!("{number:x}")).collect::<Vec<_>>().join("|");
    directory.put_way("many", &format!("PathRegexp(`^/({many})$`)"), server.address());
    directory.put_way(
        "long",
        &format!("PathRegexp(`{}`)", "(a{1,500}){1,500}".repeat(4000)),
        server.address(),
    );
    let flipgate = Flipgate::on(&directory.url()).ready();
    let started = Instant::now();
    let path = format!("/{}b", "a".repeat(8000));
    assert_eq!(get(flipgate.address("http"), "a.example", &path).status, 404);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(get(flipgate.address("http"), "a.example", "/3e7").status, 200);
    flipgate.admin().problem("the long one", |problem| {
        problem["key"].as_str().is_some_and(|key| key.contains("frontends/long"))
    });
}

#[test]
fn m07_the_admin_api_is_for_programs_of_this_machine() {
    let _machine = shared();
    let server = Recorder::start();
    let directory = Directory::with_listener();
    directory.put_way("a", "Host(`a.example`)", server.address());
    let flipgate = Flipgate::on(&directory.url()).ready();
    let admin = flipgate.admin().address();
    assert!(admin.ip().is_loopback());
    let ask = |address, request: &str| {
        let mut connection = Connection::open(address);
        connection.send(request.as_bytes());
        connection.answer().status
    };
    // No listener of the edge leads to it, whatever the name.
    for host in [admin.to_string(), "localhost".to_owned()] {
        for path in ["/v3/status", "/metrics", "/v2/frontends"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(ask(flipgate.address("http"), &request), 404, "{host}{path}");
        }
    }
    // A name of somebody else's that leads to this machine.
    assert_eq!(ask(admin, "GET /v3/status HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403);
    // A web page that the operator looks at.
    let page = format!(
        "POST /v3/transactions HTTP/1.1\r\nHost: {admin}\r\nOrigin: http://evil.example\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert_eq!(ask(admin, &page), 403);
}

#[test]
fn m08_odd_addresses_of_servers_are_refused_or_used_and_harm_nobody() {
    let _machine = shared();
    let server = Recorder::start();
    let directory = Directory::with_listener();
    directory.put_way("a", "Host(`a.example`)", server.address());
    let flipgate = Flipgate::on(&directory.url()).ready();
    let address = flipgate.address("http");
    let long = format!("http://{}:80", "a".repeat(300));
    let refused = [
        "http://[fe80::1%25eth0]:80",
        "http://0.0.0.0:80",
        "http://10.0.0.1:0",
        "http://[::]:80",
        long.as_str(),
    ];
    for (number, url) in refused.iter().enumerate() {
        directory.put(&format!("backends/odd/servers/refused{number}"), &json!({"URL": url}));
    }
    for (number, url) in refused.iter().enumerate() {
        flipgate.admin().problem(url, |problem| {
            problem["key"].as_str().is_some_and(|key| key.ends_with(&format!("refused{number}")))
                && problem["severity"] == "error"
        });
    }
    // Used as they are: who may write the table may name any machine.
    for (number, url) in
        ["http://[::1]:1", "http://[::ffff:10.0.0.1]:1", "http://169.254.169.254:1"].iter().enumerate()
    {
        directory.put(&format!("backends/used{number}/servers/a"), &json!({"URL": url}));
    }
    // The proxy's own listener is found out by what it adds to Via.
    directory.put_way("own", "Host(`own.example`)", address);
    until("the loop is in force", Duration::from_secs(10), || {
        (get(address, "own.example", "/").status == 508).then_some(())
    });
    assert_eq!(get(address, "a.example", "/").status, 200);
    let problems = flipgate.admin().problems();
    let about_used = |problem: &serde_json::Value| {
        problem["key"].as_str().is_some_and(|key| key.starts_with("backends/used"))
    };
    assert!(!problems.iter().any(about_used), "{problems:#?}");
}

#[test]
fn m02_a_log_that_takes_nothing_holds_nobody_up() {
    let _machine = shared();
    let server = Recorder::start();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Somebody has it open and reads nothing.
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    for target in [std::path::Path::new("/dev/full"), &pipe] {
        let flipgate =
            Flipgate::on(&directory.url()).arguments(&["--access-log", target.to_str().unwrap()]).ready();
        let mut connection = Connection::open(flipgate.address("http"));
        for _ in 0..1000 {
            assert_eq!(connection.get("a.example", "/").unwrap().status, 200);
        }
        if target.ends_with("full") {
            until("what was dropped is counted", Duration::from_secs(10), || {
                let metrics = flipgate.admin().ask("GET", "/metrics").text();
                let dropped = metrics.lines().find_map(|line| {
                    line.strip_prefix("flipgate_access_log_dropped_total ")?.parse::<u64>().ok()
                });
                dropped.filter(|dropped| *dropped > 0)
            });
        }
    }
}

#[test]
fn m04_objects_that_are_too_large_or_broken_hurt_only_themselves() {
    let _machine = shared();
    let server = Recorder::start();
    let directory = Directory::with_listener();
    directory.put_way("a", "Host(`a.example`)", server.address());
    let flipgate = Flipgate::on(&directory.url()).ready();
    let address = flipgate.address("http");
    let large =
        json!({"Type": "http", "BackendId": "a", "Route": "Host(`l.example`)", "X": "x".repeat(2 << 20)});
    directory.put("frontends/large/frontend", &large);
    directory.put(
        "frontends/again/frontend",
        &json!({"Type": "http", "BackendId": "a", "Route": "Host(`a.example`)"}),
    );
    directory.put(
        "frontends/odd/frontend",
        &json!({"Type": "http", "BackendId": "a", "Route": "Host(`o.example`)", "Odd": 1}),
    );
    let path = directory.path().join("frontends/bytes");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("frontend.json"), b"{\"Type\":\"http\",\"Route\":\"\xff\xfe\"}").unwrap();
    for (id, severity) in [("large", "error"), ("again", "error"), ("odd", "warning"), ("bytes", "error")] {
        flipgate.admin().problem(id, |problem| {
            problem["key"].as_str().is_some_and(|key| key.contains(&format!("frontends/{id}")))
                && problem["severity"] == severity
        });
    }
    assert_eq!(get(address, "a.example", "/").status, 200);
    assert_eq!(get(address, "o.example", "/").status, 200);
}

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
        .variable("FLIPGATE_PANIC_AT", wishes.path().to_str().unwrap())
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
