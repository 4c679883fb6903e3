//! Line 8: CPU time per request, against nginx in the same run.

use crate::support::keys::frontend;
use crate::support::{Flipgate, Keys, Load, Nginx, Wrk, alone, cpu_seconds, full, get, quantile, scaled};
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

const FRONTENDS: usize = 1_000;

/// The proxies' core; client and server have the other.
const PROXY_CORE: usize = 0;
const OTHER_CORE: usize = 1;

#[test]
fn line_8_cpu_time_per_request_against_nginx() {
    let _alone = alone();
    let server = Nginx::configured(
        |address| {
            format!(
                "keepalive_timeout 3600s; server {{ listen {address}; \
                 location / {{ default_type text/plain; return 200 \"hello, world\\n\"; }} }}"
            )
        },
        Some(OTHER_CORE),
    );

    let mut keys = Keys::start_with(&["--unsafe-no-fsync"]);
    keys.put_listener();
    keys.put_backend("app", &[server.address()]);
    let one = |number| {
        (format!("frontends/f{number}/frontend"), frontend(&format!("Host(`{}`)", host(number)), "app"))
    };
    let last = keys.put_many(&(0..FRONTENDS).map(one).collect::<Vec<_>>());
    let log = tempfile::tempdir().unwrap();
    let log_file = log.path().join("access.json");
    let flipgate = Flipgate::on(&keys.url())
        .workers(1)
        .arguments(&["--access-log", log_file.to_str().unwrap(), "--log-level", "warn"])
        .ready();
    flipgate.admin().served(last);
    pin(flipgate.pid());
    let nginx = Nginx::configured(|address| nginx_proxy(address, server.address()), Some(PROXY_CORE));
    let script = log.path().join("hosts.lua");
    std::fs::write(&script, hosts_script()).unwrap();
    let script = script.to_str().unwrap().to_owned();

    let ours = (flipgate.address("http"), flipgate.pid());
    let theirs = (nginx.address(), nginx.worker_pid());
    for (address, _) in [ours, theirs] {
        assert_eq!(get(address, &host(FRONTENDS - 1), "/").text(), "hello, world\n");
    }
    let rounds = scaled(1, 7);
    let length = scaled(Duration::from_secs(2), Duration::from_secs(10));
    let mut ratios = Vec::new();
    for round in 0..rounds {
        // Both orders, so that neither always has the warmer machine.
        let (a, b) = if round % 2 == 0 { (ours, theirs) } else { (theirs, ours) };
        let (a, b) = (micros_per_request(a, &script, length), micros_per_request(b, &script, length));
        let (our, their) = if round % 2 == 0 { (a, b) } else { (b, a) };
        println!(
            "spine 8: round {}: {our:.2} us against nginx's {their:.2} us, ratio {:.3}",
            round + 1,
            our / their
        );
        ratios.push(our / their);
    }
    let median = quantile(&mut ratios, 0.5);
    println!(
        "spine 8: CPU time per request, median ratio to nginx = {median:.3} ({rounds} rounds, {FRONTENDS} frontends, \
         metrics and access log on; bound 0.95) {}",
        if median <= 0.95 {
            "ok"
        } else if full() {
            "TOO MUCH"
        } else {
            "beyond the bound, which counts at full length"
        }
    );
    assert!(median <= 0.95 || !full(), "median ratio {median:.3}");
}

fn host(number: usize) -> String {
    format!("h{number}.example")
}

/// Moves a process with all its threads to the proxies' core.
fn pin(pid: u32) {
    let status = std::process::Command::new("taskset")
        .args(["-a", "-p", "-c", &PROXY_CORE.to_string(), &pid.to_string()])
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

fn micros_per_request((address, pid): (SocketAddr, u32), script: &str, length: Duration) -> f64 {
    let run = |length: Duration| {
        let mut load = Wrk::start_on(Some(OTHER_CORE), address, &["-s", script], "/", 64, length);
        load.result(length + Duration::from_secs(20))
    };
    run(Duration::from_secs(1));
    let before = cpu_seconds(pid);
    let Load { requests, failed } = run(length);
    assert_eq!(failed, 0);
    (cpu_seconds(pid) - before) * 1e6 / requests as f64
}

/// Goes through all hosts, with requests that are made once.
fn hosts_script() -> String {
    format!(
        "local requests, at = {{}}, 0\n\
         init = function() for i = 0, {} do wrk.headers['Host'] = 'h' .. i .. '.example'; \
         requests[i] = wrk.format('GET', '/') end end\n\
         request = function() at = (at + 1) % {FRONTENDS}; return requests[at] end\n",
        FRONTENDS - 1
    )
}

/// nginx as one would set it up for the same work: as many hosts, upstream connections kept, the same fields set, a
/// buffered access log with the same things in it.
fn nginx_proxy(address: SocketAddr, server: SocketAddr) -> String {
    let mut text = format!(
        "log_format json escape=json '{{\"time\":\"$time_iso8601\",\"id\":\"$request_id\",\"client\":\"$remote_addr\",\
         \"protocol\":\"$server_protocol\",\"method\":\"$request_method\",\"host\":\"$host\",\"path\":\"$uri\",\
         \"status\":$status,\"server\":\"$upstream_addr\",\"bytes_in\":$request_length,\
         \"bytes_out\":$body_bytes_sent,\"duration\":$request_time,\"upstream\":\"$upstream_response_time\"}}';
         access_log access.log json buffer=64k flush=100ms;
         keepalive_timeout 3600s; server_names_hash_max_size 4096; server_names_hash_bucket_size 128;
         upstream app {{ server {server}; keepalive 128; keepalive_requests 1000000; }}
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host {server};
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Real-Ip $remote_addr;
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
         proxy_set_header X-Forwarded-Port $server_port;\n"
    );
    for number in 0..FRONTENDS {
        let name = host(number);
        writeln!(
            text,
            "server {{ listen {address}; server_name {name}; location / {{ proxy_pass http://app; }} }}"
        )
        .unwrap();
    }
    text
}
