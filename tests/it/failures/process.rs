//! P01 to P05 and P14: the life of the process. Killed, drained, replaced, stopped, and hit by its own defects.

use crate::support::flipgate::{program, verb};
use crate::support::{
    Connection, Directory, Flipgate, Keys, Nginx, Plan, Pod, Python, Traffic, alone, figure, free_port, get,
    nothing, scaled, shared, until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const HOST: &str = "shop.example";

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn listener_with_http2(address: SocketAddr) -> Value {
    json!({
        "Protocol": "http", "Settings": {"H2C": true}, "Address": {"Network": "tcp", "Address": address.to_string()},
    })
}

/// Who has a data directory, by its lock.
fn owner(data_dir: &Path) -> i32 {
    std::fs::read_to_string(data_dir.join("lock")).unwrap().trim().parse().unwrap()
}

/// Whether it runs; one that has ended and that nobody has asked for does not.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The process that an upgrade has left: no child of this test. It ends with the test.
struct Heir<'a>(&'a Path);

impl Heir<'_> {
    fn stop(&self) {
        let pid = owner(self.0);
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        until("the last process ends", Duration::from_secs(40), || (!runs(pid)).then_some(()));
    }
}

impl Drop for Heir<'_> {
    fn drop(&mut self) {
        let pid = owner(self.0);
        let cmdline = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // A number may be another process's by now.
        if runs(pid) && cmdline.contains(&self.0.display().to_string()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn upgrade(data_dir: &Path) -> (i32, String, String) {
    verb(&["upgrade", "--data-dir", &data_dir.display().to_string()], Path::new("/"))
}

#[test]
fn p01_killed_it_serves_again_from_the_snapshot() {
    let _machine = shared();
    let server = Nginx::named("a");
    let mut keys = Keys::start();
    let address = local(free_port());
    keys.put("listeners/http", &listener_with_http2(address));
    keys.put("backends/a/backend", &json!({"Type": "http"}));
    keys.put("backends/a/servers/a", &json!({"URL": format!("http://{}", server.address())}));
    keys.put("frontends/a/frontend", &json!({"Type": "http", "BackendId": "a", "Route": "PathPrefix(`/`)"}));
    let mut flipgate = Flipgate::on(&keys.url()).ready();
    until("it is on the disk", Duration::from_secs(10), || {
        let files = std::fs::read_dir(flipgate.data_dir()).unwrap();
        let base = |name: String| name.ends_with(".base");
        files.flatten().any(|file| base(file.file_name().to_string_lossy().into_owned())).then_some(())
    });
    keys.kill();
    let mut slowest = 0.0_f64;
    for _ in 0..scaled(3, 20) {
        // Connections of the dead process still hold the port, in FIN_WAIT and TIME_WAIT.
        let _open: Vec<_> = (0..10).map(|_| Connection::open(address)).collect();
        flipgate.kill();
        let killed = Instant::now();
        flipgate.start_again();
        until("it serves", Duration::from_secs(20), || {
            let mut connection = Connection::try_open(address).ok()?;
            let answer = connection.get("a.example", "/").ok()?;
            (answer.status == 200).then_some(())
        });
        slowest = slowest.max(killed.elapsed().as_secs_f64());
        let halves = || {
            let files = std::fs::read_dir(flipgate.data_dir()).unwrap().flatten();
            files.filter(|file| file.file_name().to_string_lossy().ends_with(".new")).count()
        };
        until("nothing half-written is left", Duration::from_secs(10), || (halves() == 0).then_some(()));
        assert!(!flipgate.output().contains("is passed over"), "{}", flipgate.output());
    }
    assert!(figure("P01: kill -9 to the first answer", slowest, "s", "etcd away", 1.0));
}

#[test]
fn p02_a_drain_ends_what_is_open_and_cuts_what_is_stuck() {
    let _machine = shared();
    let server = Python::upstream();
    let directory = Directory::new();
    let address = local(free_port());
    directory.put("listeners/http", &listener_with_http2(address));
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let health = local(free_port());
    let mut flipgate = Flipgate::on(&directory.url())
        .arguments(&["--health", &health.to_string(), "--drain-delay", "1s", "--drain-timeout", "6s"])
        // The upload is to be cut by the drain.
        .arguments(&["--min-body-rate", "0"])
        .ready();
    let mut http2 = Connection::open(address);
    http2.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let mut busy: Vec<_> = (0..20)
        .map(|number| {
            let mut connection = Connection::open(address);
            let head = format!("GET /slow?ms={} HTTP/1.1\r\nHost: a.example\r\n\r\n", 1_500 + 50 * number);
            connection.send(head.as_bytes());
            connection
        })
        .collect();
    let mut half = Connection::open(address);
    half.send(b"GET / HTTP/1.1\r\nHost: a.exa");
    let mut stuck = Connection::open(address);
    stuck.send(b"POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\nx");
    let told = Instant::now();
    flipgate.signal(Signal::SIGTERM);
    until("readiness goes", Duration::from_millis(900), || {
        (get(health, "x", "/readyz").status == 503).then_some(())
    });
    assert_eq!(get(address, "a.example", "/slow?ms=1").status, 200, "before that it accepts");
    for connection in &mut busy {
        let answer = connection.answer();
        assert_eq!(answer.status, 200);
        assert!(answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")));
    }
    assert_eq!(goaways(&mut http2), [0x7fff_ffff, 0], "first none is refused, then what is the last is said");
    assert_eq!(flipgate.end(Duration::from_secs(20)).code(), Some(0));
    assert!(told.elapsed() >= Duration::from_secs(7), "the stuck upload has its time");
    let output = flipgate.output();
    assert!(output.contains("cut off") && output.contains("connections=1"), "{output}");
}

/// The last streams that GOAWAY frames name, until the end; pings are answered.
fn goaways(connection: &mut Connection) -> Vec<u32> {
    let mut told = Vec::new();
    let mut head = [0; 9];
    while connection.read_exact(&mut head).is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        connection.read_exact(&mut payload).unwrap();
        match (head[3], head[4]) {
            (6, 0) => {
                let mut pong = vec![0, 0, 8, 6, 1, 0, 0, 0, 0];
                pong.extend_from_slice(&payload);
                let _ = connection.try_send(&pong);
            }
            (7, _) => told.push(u32::from_be_bytes(payload[..4].try_into().unwrap())),
            _ => {}
        }
    }
    told
}

#[test]
fn p03_a_second_signal_ends_at_once() {
    let _machine = shared();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Python::upstream();
        let directory = Directory::with_listener();
        directory.put_way("a", "PathPrefix(`/`)", server.address());
        let mut flipgate = Flipgate::on(&directory.url()).arguments(&["--drain-delay", "60s"]).ready();
        flipgate.signal(Signal::SIGTERM);
        until("it drains", Duration::from_secs(5), || flipgate.output().contains("draining").then_some(()));
        let told = Instant::now();
        flipgate.signal(signal);
        assert_eq!(flipgate.end(Duration::from_secs(10)).code(), Some(130), "{signal}");
        assert!(told.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn p04_upgrades_under_load_lose_nothing() {
    let _alone = alone();
    let upgrades = scaled(2, 20);
    let pods = Pod::start_many("blue", 2);
    let (python, directory) = (Python::upstream(), Directory::new());
    directory.put("listeners/http", &listener_with_http2(local(0)));
    directory.put_way("long", "Host(`long.example`)", python.address());
    directory.put_way("shop", &format!("Host(`{HOST}`)"), pods[0].address());
    directory.put("backends/shop/servers/b", &pods[1].server());
    let mut flipgate = Flipgate::on(&directory.url()).ready();
    let address = flipgate.address("http");
    let data_dir = flipgate.data_dir();
    let heir = Heir(&data_dir);
    let mut gone = Vec::new();
    let traffic = Traffic::start(Plan {
        rate: Some(scaled(300, 1_000)),
        reconnects: true,
        ..Plan::mixed(&[address], HOST)
    });
    for number in 0..upgrades {
        let before = traffic.requests();
        until("there is traffic", Duration::from_secs(30), || {
            (traffic.requests() > before + 200).then_some(())
        });
        // Longer than the hand-over, and slower than the drain is short.
        let mut long = Connection::open(address);
        long.send(b"GET /download?bytes=50000000 HTTP/1.1\r\nHost: long.example\r\n\r\n");
        assert_eq!(long.head().unwrap().status, 200);
        let old = owner(&data_dir);
        let (code, out, error) = upgrade(&data_dir);
        assert_eq!(code, 0, "upgrade {number}: {out}{error}{}", flipgate.output());
        assert_ne!(owner(&data_dir), old, "another process has the data directory");
        assert_eq!(flipgate.admin().status()["ready"], true, "it answers where the old one did");
        let mut body = vec![0; 50_000_000];
        long.read_exact(&mut body).expect("a download goes on to its end");
        gone.push(old);
    }
    let tally = traffic.stop();
    nothing(
        &format!("P04: {upgrades} upgrades, {} requests: failed = {}", tally.requests, tally.failed),
        &[tally.failed],
    );
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
    assert_eq!(flipgate.end(Duration::from_secs(40)).code(), Some(0), "the first one has drained");
    until("all the old ones are gone", Duration::from_secs(40), || {
        gone.iter().all(|pid| !runs(*pid)).then_some(())
    });
    heir.stop();
}

#[test]
fn p04_a_new_process_that_cannot_serve_changes_nothing() {
    let _machine = shared();
    let server = Nginx::named("a");
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let settings = directory.path().with_file_name("flipgate.toml");
    std::fs::write(&settings, "").unwrap();
    let flipgate =
        Flipgate::on(&directory.url()).arguments(&["--config", settings.to_str().unwrap()]).ready();
    let address = flipgate.address("http");
    let data_dir = flipgate.data_dir();
    let _heir = Heir(&data_dir);
    for (text, reason) in
        [("colour = 7\n", "ended before it was ready"), ("upgrade-timeout = \"x\"\n", "ended")]
    {
        std::fs::write(&settings, text).unwrap();
        let (code, out, error) = upgrade(&data_dir);
        assert_eq!(code, 1, "{out}{error}");
        assert!(error.contains(reason), "{error}");
        assert!(flipgate.output().contains("this process goes on"), "{}", flipgate.output());
        assert_eq!(get(address, "a.example", "/").status, 200);
        assert_eq!(owner(&data_dir), i32::try_from(flipgate.pid()).unwrap());
    }
    let (code, _, error) = verb(&["upgrade", "--data-dir", "/nowhere"], Path::new("/"));
    assert_eq!(code, 2, "{error}");
}

#[test]
fn p05_stopped_and_continued_it_goes_on() {
    let _machine = shared();
    let pause = scaled(Duration::from_secs(4), Duration::from_secs(10));
    let server = Python::upstream();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let limits = ["--head-timeout", "3s", "--body-timeout", "3s", "--idle-timeout", "3s"];
    let flipgate = Flipgate::on(&directory.url()).arguments(&limits).ready();
    let address = flipgate.address("http");
    let mut idle: Vec<_> = (0..20).map(|_| Connection::open(address)).collect();
    idle.iter_mut()
        .for_each(|connection| assert_eq!(connection.get("a.example", "/echo").unwrap().status, 200));
    let mut upload = Connection::open(address);
    upload.send(b"POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nx");
    let mut half = Connection::open(address);
    half.send(b"GET /echo HTTP/1.1\r\nHost: a.exam");
    flipgate.signal(Signal::SIGSTOP);
    std::thread::sleep(pause);
    upload.send(b"y");
    half.send(b"ple\r\n\r\n");
    flipgate.signal(Signal::SIGCONT);
    let continued = Instant::now();
    assert_eq!(get(address, "a.example", "/echo").status, 200);
    let recovered = continued.elapsed().as_secs_f64();
    assert_eq!(upload.answer().status, 200, "its body arrived while the proxy stood still");
    assert_eq!(half.answer().status, 200, "and so did its head");
    for connection in &mut idle {
        assert_eq!(
            connection.get("a.example", "/echo").unwrap().status,
            200,
            "no time-out for what was no silence"
        );
    }
    let metrics = flipgate.admin().ask("GET", "/metrics").text();
    assert!(!metrics.contains("flipgate_limit_reached_total"), "{metrics}");
    assert!(figure("P05: from SIGCONT to the first answer", recovered, "s", "1 connection", 1.0));
}

/// How often something panicked and was caught.
fn panics(flipgate: &Flipgate, task: &str) -> bool {
    let metrics = flipgate.admin().ask("GET", "/metrics").text();
    metrics.contains(&format!("flipgate_panics_total{{task=\"{task}\"}} 1"))
}

/// Panics can be asked for in debug builds alone.
fn takes_panics() -> bool {
    let given = std::env::var_os("FLIPGATE_BIN").is_some();
    if given {
        println!(
            "not run: {} may be a release build, which has no way in for injected panics",
            program().display()
        );
    }
    !given
}

#[test]
fn p14_what_panics_is_started_again() {
    let _machine = shared();
    if !takes_panics() {
        return;
    }
    let wishes = tempfile::tempdir().unwrap();
    let log = tempfile::tempdir().unwrap();
    let file = log.path().join("access.log");
    let server = Nginx::named("a");
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let flipgate = Flipgate::on(&directory.url())
        .arguments(&["--access-log", file.to_str().unwrap()])
        .variable("FLIPGATE_PANIC_AT", wishes.path().to_str().unwrap())
        .ready();
    let address = flipgate.address("http");
    let wish = |task: &str| std::fs::write(wishes.path().join(task), "").unwrap();
    for (number, task) in ["watch", "checks", "membership", "access_log", "request"].into_iter().enumerate() {
        wish(task);
        if task == "request" {
            assert_eq!(get(address, "a.example", "/").status, 500);
        }
        // What wakes them: an edit, and a request.
        let id = format!("b{number}");
        directory.put_way(&id, &format!("Host(`{id}.example`)"), server.address());
        until(&format!("{task} has panicked, and the edit is served"), Duration::from_secs(20), || {
            get(address, "a.example", "/");
            let served = flipgate.admin().json("/v3/routes")["routes"].to_string();
            (panics(&flipgate, task) && served.contains(&format!("{id}.example"))).then_some(())
        });
        assert_eq!(get(address, &format!("{id}.example"), "/").status, 200, "after {task}");
    }
    let lines = || std::fs::read_to_string(&file).unwrap().lines().count();
    let before = lines();
    get(address, "a.example", "/");
    until("the access log goes on", Duration::from_secs(5), || (lines() > before).then_some(()));
}

/// Two proxies behind HAProxy, which asks `/readyz`.
#[test]
fn drains_behind_haproxy_lose_nothing() {
    let _alone = alone();
    let drains = scaled(2, 20);
    let pods = Pod::start_many("blue", 2);
    let mut proxies: Vec<_> = (0..2)
        .map(|_| {
            let directory = Directory::new();
            let (address, health) = (local(free_port()), local(free_port()));
            directory.put("listeners/http", &listener_with_http2(address));
            directory.put_way("shop", &format!("Host(`{HOST}`)"), pods[0].address());
            directory.put("backends/shop/servers/b", &pods[1].server());
            let arguments =
                ["--health", &health.to_string(), "--drain-delay", "2s", "--drain-timeout", "20s"];
            let flipgate = Flipgate::on(&directory.url()).arguments(&arguments).ready();
            (directory, address, health, flipgate)
        })
        .collect();
    let front = local(free_port());
    let dir = tempfile::tempdir().unwrap();
    let servers = proxies.iter().enumerate().map(|(number, (_, address, health, _))| {
        format!("  server p{number} {address} check port {} inter 200ms fall 1 rise 1\n", health.port())
    });
    let config = format!(
        "defaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n  timeout check 1s\n\
         listen edge\n  bind {front}\n  option httpchk GET /readyz\n{}",
        servers.collect::<String>()
    );
    std::fs::write(dir.path().join("haproxy.cfg"), config).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(dir.path().join("haproxy.cfg"));
    let _haproxy = crate::support::Process::start(&mut command, &dir.path().join("output"));
    until("HAProxy answers", Duration::from_secs(20), || {
        let answer = Connection::try_open(front).ok()?.get(HOST, "/").ok()?;
        (answer.status == 200).then_some(())
    });
    let plan = Plan { rate: Some(scaled(200, 600)), http2: (0, 0), ..Plan::mixed(&[front], HOST) };
    let traffic = Traffic::start(plan);
    for number in 0..drains {
        let before = traffic.requests();
        until("there is traffic", Duration::from_secs(30), || {
            (traffic.requests() > before + 100).then_some(())
        });
        let (_, _, health, flipgate) = &mut proxies[number % 2];
        assert!(flipgate.stop().success(), "{}", flipgate.output());
        flipgate.start_again();
        flipgate.wait_ready(Duration::from_secs(20));
        assert_eq!(get(*health, "x", "/readyz").status, 200);
        // HAProxy's next look.
        std::thread::sleep(Duration::from_millis(700));
    }
    let tally = traffic.stop();
    nothing(&format!("{drains} drains behind HAProxy, {} requests: failed", tally.requests), &[tally.failed]);
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
}
