//! Everything at once, for long.

use super::scene::Scene;
use crate::support::{Connection, figure, full, resident_bytes, scaled, shared, until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Connections of one flood.
const FLOOD: usize = 100;

/// What clients send that are up to no good.
const BAD: [&[u8]; 6] = [
    b"",
    b"GET / HTTP/1.1\r\nHost: shop.exa",
    b"GET / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\xff\xff\x00",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\n",
];

/// One flood after the other until told to end.
fn flood(addresses: [SocketAddr; 2], ended: &AtomicBool) {
    while !ended.load(Ordering::SeqCst) {
        let mut open = Vec::new();
        for number in 0..FLOOD {
            let Ok(mut connection) = Connection::try_open(addresses[number % 2]) else { continue };
            let _ = connection.try_send(BAD[number % BAD.len()]);
            open.push(connection);
        }
        std::thread::sleep(Duration::from_millis(500));
        // Half of them end rudely.
        for (number, connection) in open.into_iter().enumerate() {
            if number % 2 == 0 {
                connection.reset();
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn count(pid: u32, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

/// Megabytes an hour, by least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, bytes) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let above = samples.iter().map(|sample| (sample.0 - time) * (sample.1 - bytes)).sum::<f64>();
    let below = samples.iter().map(|sample| (sample.0 - time).powi(2)).sum::<f64>();
    above / below * 3_600.0 / (1 << 20) as f64
}

/// At full length ten minutes, or `FLIPGATE_SOAK_MINUTES`; the quick form soaks for twelve seconds, in which a slope
/// says nothing, so that memory counts as a whole.
#[test]
fn p15_a_soak_of_load_flips_and_floods() {
    let _machine = shared();
    let minutes = std::env::var("FLIPGATE_SOAK_MINUTES").ok().and_then(|text| text.parse::<u64>().ok());
    let length = scaled(Duration::from_secs(12), Duration::from_secs(60 * minutes.unwrap_or(10)));
    let mut scene = Scene::start();
    let pid = scene.flipgate.pid();
    let load = scene.load();
    let ended = Arc::new(AtomicBool::new(false));
    let flooder = {
        let (addresses, ended) = ([scene.address, scene.secure], ended.clone());
        std::thread::spawn(move || flood(addresses, &ended))
    };
    let (begin, mut samples, mut tally) = (Instant::now(), Vec::new(), load.take());
    let (mut fds, mut tasks, mut steady) = (0, 0, 0);
    while begin.elapsed() < length {
        scene.flips(3, Duration::from_millis(300));
        tally.add(load.take());
        // What was waited for is of no use here, and would grow for hours.
        tally.millis.clear();
        if begin.elapsed() < length / 3 {
            (fds, tasks, steady) = (fds.max(count(pid, "fd")), count(pid, "task"), resident_bytes(pid));
        } else {
            samples.push((begin.elapsed().as_secs_f64(), resident_bytes(pid) as f64));
        }
    }
    ended.store(true, Ordering::SeqCst);
    flooder.join().expect("floods go on");
    tally.add(load.take());
    let most = samples.iter().map(|sample| sample.1).fold(0.0, f64::max);
    let (seconds, samples) = (length.as_secs(), slope(&samples));
    let details = format!("{seconds} s, {} requests, from {} MiB", tally.requests, steady >> 20);
    let flat = figure("failures P15: memory slope", samples, "MiB/h", &details, 1.0);
    until("descriptors of the floods are closed", Duration::from_secs(20), || {
        (count(pid, "fd") <= fds + 10).then_some(())
    });
    println!(
        "failures P15: {} descriptors after {fds}, {} threads after {tasks}",
        count(pid, "fd"),
        count(pid, "task")
    );
    assert!(count(pid, "task") <= tasks + 8, "threads grow: {tasks} to {}", count(pid, "task"));
    assert!(most < steady as f64 * 1.3 + 20e6, "memory grows from {steady} to {most}");
    tally.add(load.stop());
    println!("failures P15: {} (bound 0)", tally.summary());
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
    assert!(flat || !full());
}
