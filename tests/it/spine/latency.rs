//! Line 4: how soon an edit is served, and what a large table costs in memory.

use crate::support::keys::frontend;
use crate::support::{Flipgate, H2load, Keys, Nginx, alone, figure, get, quantile, resident_bytes, scaled};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const BACKENDS: usize = 1_000;

#[test]
fn line_4_an_edit_among_1_000_frontends_is_served_soon() {
    edits(1_000, 10.0);
}

#[test]
fn line_4_an_edit_among_100_000_frontends_is_served_soon_and_memory_is_small() {
    edits(scaled(10_000, 100_000), 20.0);
}

fn edits(frontends: usize, bound_ms: f64) {
    let _alone = alone();
    let server = Nginx::named("only");
    let mut keys = Keys::start_with(&["--unsafe-no-fsync", "--quota-backend-bytes=4294967296"]);
    keys.put_listener();
    keys.put_many(&table(frontends, server.address()));
    let last = keys.put_frontend("load", "Path(`/load`)", "b0");
    let flipgate = Flipgate::on(&keys.url()).ready();
    let loaded = Instant::now();
    flipgate.admin().served(last);
    let address = flipgate.address("http");
    let probe = format!("h{}.example", frontends - 1);
    assert_eq!(get(address, &probe, "/").status, 200);

    let mut fits = true;
    if frontends > 1_000 {
        // A minute lets the allocator give back what loading needed; the quick run does not wait.
        let wait = scaled(Duration::from_secs(1), Duration::from_secs(60)).saturating_sub(loaded.elapsed());
        std::thread::sleep(wait);
        let megabytes = resident_bytes(flipgate.pid()) as f64 / 1e6;
        let details = format!("{frontends} frontends, {BACKENDS} backends of 2 servers");
        fits &= figure("spine 4: resident memory after loading", megabytes, "MB", &details, 150.0);
    }

    let count = scaled(50, 1_000);
    let length = Duration::from_millis(100) * count + Duration::from_secs(5);
    let mut load = H2load::start(&format!("http://{address}/load"), 20, 2_000, length);
    let mut waits = Vec::new();
    let begin = Instant::now();
    for number in 0..count {
        let due = begin + Duration::from_millis(100) * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let target = if number % 2 == 0 { "b1" } else { "b2" };
        let id = number as usize * 7 % frontends;
        let value = frontend(&format!("Host(`h{id}.example`) && PathPrefix(`/`)"), target);
        let revision = keys.put(&format!("frontends/f{id}/frontend"), &value);
        let written = Instant::now();
        flipgate.admin().served(revision);
        waits.push(written.elapsed().as_secs_f64() * 1e3);
    }
    assert!(load.is_running(), "the load ended before the edits");
    let answered = load.result(length + Duration::from_secs(30));
    assert!(answered.requests > 1_000, "{answered:?} is no load");
    let (median, most) = (quantile(&mut waits, 0.5), quantile(&mut waits, 1.0));
    let p99 = quantile(&mut waits, 0.99);
    let details = format!("{frontends} frontends, {count} puts, median {median:.1}, most {most:.1}");
    fits &= figure("spine 4: put to served p99", p99, "ms", &details, bound_ms);
    assert_eq!(answered.failed, 0, "of {}", answered.requests);
    assert!(fits);
}

/// Frontends with a host each over backends of two servers.
fn table(frontends: usize, server: SocketAddr) -> Vec<(String, Value)> {
    let mut puts = Vec::new();
    for number in 0..BACKENDS {
        puts.push((format!("backends/b{number}/backend"), json!({"Type": "http"})));
        for id in ["a", "b"] {
            let url = json!({"URL": format!("http://{server}")});
            puts.push((format!("backends/b{number}/servers/{id}"), url));
        }
    }
    for number in 0..frontends {
        let route = format!("Host(`h{number}.example`) && PathPrefix(`/`)");
        let backend = format!("b{}", number % BACKENDS);
        puts.push((format!("frontends/f{number}/frontend"), frontend(&route, &backend)));
    }
    puts
}
