//! The machine gives too little: open files, memory, processor time.

use crate::support::directory::listener;
use crate::support::{
    Connection, Directory, Flipgate, Keys, Pod, Recorder, get, quantile, resident_bytes, scaled, shared,
    until,
};
use serde_json::json;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

#[test]
fn p08_few_open_files_and_many_idle_clients() {
    crate::cases::limits::few_open_files(scaled(1000, 10_000));
}

/// The address space of a process, in bytes.
fn address_space(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("VmSize");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn p09_memory_is_shed_before_it_is_gone() {
    let _machine = shared();
    let server = Recorder::start();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let steady = Flipgate::on(&directory.url()).ready();
    assert_eq!(get(steady.address("http"), "a.example", "/").status, 200);
    let (space, resident) = (address_space(steady.pid()), resident_bytes(steady.pid()));
    drop(steady);
    let (space, resident) = (format!("--as={0}:{0}", 2 * space), (2 * resident).to_string());
    println!("P09: {space}, --max-memory {resident}");
    let flipgate = Flipgate::on(&directory.url())
        .under(&["prlimit", &space])
        .arguments(&["--max-memory", &resident, "--max-connections-per-client", "0", "--head-timeout", "60s"])
        .ready();
    let address = flipgate.address("http");
    // One that was open before goes on being told.
    let mut kept = Connection::open(address);
    // Heads that never end, each as large as is allowed.
    let head = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Large: {}", "x".repeat(60_000));
    let mut flood = Vec::new();
    for _ in 0..4000 {
        let Ok(mut stream) = TcpStream::connect(address) else { break };
        stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let _ = stream.write_all(head.as_bytes());
        flood.push(stream);
        // Some hundred megabytes a second are enough.
        if flood.len() % 10 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        if flood.len() % 50 == 0 && reached(&flipgate, "memory") > 0 {
            break;
        }
    }
    let most = resident_bytes(flipgate.pid());
    println!("P09: {} connections, {} KiB resident when it began to shed", flood.len(), most / 1024);
    let shed = until("requests are shed", Duration::from_secs(10), || {
        // What is idle is closed, what is new refused; either is told, or sees its connection end.
        let mut connection = Connection::try_open(address).ok()?;
        connection.get("a.example", "/").ok().filter(|answer| answer.status == 503)
    });
    assert_eq!(shed.field("retry-after"), Some("1"));
    assert!(kept.get("a.example", "/").map_or(true, |answer| answer.status == 503));
    assert!(most <= resident.parse::<u64>().unwrap(), "{most} bytes of {resident}");
    assert_eq!(flipgate.admin().status()["ready"], json!(true));
    drop(flood);
    until("it goes on", Duration::from_secs(15), || {
        let mut connection = Connection::try_open(address).ok()?;
        connection.get("a.example", "/").ok().filter(|answer| answer.status == 200)
    });
}

fn reached(flipgate: &Flipgate, limit: &str) -> u64 {
    let metrics = flipgate.admin().ask("GET", "/metrics").text();
    let mark = format!("flipgate_limit_reached_total{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&mark)?.parse().ok()).unwrap_or(0)
}

/// A process that does nothing but use the first core.
struct Spinner(Child);

impl Spinner {
    fn start() -> Self {
        Self(Command::new("taskset").args(["-c", "0", "sh", "-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn p10_one_core_is_shared_with_a_spinner() {
    let _machine = shared();
    let mut keys = Keys::start_with(&["--unsafe-no-fsync"]);
    let pods = Pod::start_many("blue", 2);
    keys.put("listeners/http", &listener("http"));
    let health = json!({"Path": "/health", "Interval": "500ms"});
    let settings = json!({"Health": health, "Outlier": {"ConsecutiveFailures": 3}});
    keys.put("backends/a/backend", &json!({"Type": "http", "Settings": settings}));
    for (id, pod) in pods.iter().enumerate() {
        keys.put(&format!("backends/a/servers/{id}"), &pod.server());
    }
    let last = keys.put_frontend("a", "Host(`a.example`)", "a");
    let flipgate = Flipgate::on(&keys.url()).under(&["taskset", "-c", "0"]).ready();
    flipgate.admin().served(last);
    let address = flipgate.address("http");
    let quiet = p99(address);
    let spinner = Spinner::start();
    let starved = p99(address);
    println!("P10: p99 {quiet:.2} ms, beside the spinner {starved:.2} ms");
    assert!(starved <= (5.0 * quiet).max(100.0), "{starved} ms after {quiet} ms");
    let started = Instant::now();
    let last = keys.put_frontend("b", "Host(`b.example`)", "a");
    flipgate.admin().served(last);
    println!("P10: a change of the table is served after {:?}", started.elapsed());
    assert_eq!(get(address, "b.example", "/").status, 200);
    drop(spinner);
    let routes = flipgate.admin().json("/v3/routes?host=a.example").to_string();
    assert!(!routes.contains("ejected") && !routes.contains("unwell"), "{routes}");
    assert_eq!(reached(&flipgate, "lag"), 0);
}

/// Of requests one after the other, in milliseconds; each must be answered.
fn p99(address: SocketAddr) -> f64 {
    let mut connection = Connection::open(address);
    let mut times = (0..1000).map(|_| {
        let started = Instant::now();
        assert_eq!(connection.get("a.example", "/").unwrap().status, 200);
        started.elapsed().as_secs_f64() * 1000.0
    });
    quantile(&mut times.by_ref().collect::<Vec<_>>(), 0.99)
}
