//! A store that never stops changing, with a large table.

use super::scene::Scene;
use crate::support::keys::frontend;
use crate::support::{Keys, Tally, figure, full, quantile, resident_bytes, scaled, shared};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Revisions a second.
const RATE: u32 = 1_000;

/// The quick form has 5,000 keys and three seconds in place of 100,000 and a minute.
#[test]
fn e10_a_thousand_events_a_second() {
    let _machine = shared();
    let mut keys = Keys::start_with(&["--unsafe-no-fsync", "--quota-backend-bytes=4294967296"]);
    let (count, seconds) = scaled((5_000, 3), (100_000, 60));
    keys.put_many(&(0..count).map(one).collect::<Vec<_>>());
    let mut scene = Scene::on(keys);
    let load = scene.load();
    std::thread::sleep(scaled(Duration::from_secs(1), Duration::from_secs(10)));
    let quiet = p99(load.take());
    let steady = resident_bytes(scene.flipgate.pid());
    let swaps = scene.metric("flipgate_swap_seconds_count");

    let (begin, mut last, mut most) = (Instant::now(), 0, steady);
    let events = RATE * seconds;
    for event in 0..events {
        let id = event as usize * 7919 % count;
        let value = frontend(&format!("Host(`h{id}.example`) && PathPrefix(`/{event}`)"), "shop-green");
        last = scene.keys.put(&format!("frontends/f{id}/frontend"), &value);
        let due = begin + Duration::from_secs(1) / RATE * event;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if event % 500 == 0 {
            most = most.max(resident_bytes(scene.flipgate.pid()));
        }
    }
    let took = begin.elapsed().as_secs_f64();
    let ended = Instant::now();
    scene.flipgate.admin().served(last);
    let behind = ended.elapsed().as_secs_f64();
    let busy = p99(load.take());
    let swaps = scene.metric("flipgate_swap_seconds_count") - swaps;
    scene.flips(2, Duration::from_millis(50));
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);

    let details = format!("{events} revisions in {took:.1} s over {count} frontends, {swaps} swaps");
    let growth = most as f64 / steady as f64;
    let fits = [
        figure("failures E10: in sync after the end", behind, "s", &details, 1.0),
        figure("failures E10: p99 by quiet p99", busy / quiet, "", &format!("{quiet:.1} ms"), 1.2),
        figure("failures E10: memory by steady memory", growth, "", &format!("{} MB", steady >> 20), 2.0),
    ];
    assert!(swaps < f64::from(events) && behind < 10.0 && growth <= 2.0, "{details}");
    assert!(!full() || fits.iter().all(|fits| *fits));
}

fn one(number: usize) -> (String, Value) {
    let value =
        json!({"Type": "http", "BackendId": "shop-blue", "Route": format!("Host(`h{number}.example`)")});
    (format!("frontends/f{number}/frontend"), value)
}

fn p99(mut tally: Tally) -> f64 {
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
    assert!(tally.requests > 100, "{} requests are no load", tally.requests);
    quantile(&mut tally.millis, 0.99)
}
