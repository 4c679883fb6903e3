//! Flips, many and to what is dead.

use super::closing::{Closing, LINES};
use super::scene::{ALIAS, Scene};
use crate::support::keys::{alias, frontend};
use crate::support::{
    Connection, Fleet, Flip, Mode, Plan, Pod, Traffic, figure, fleet, quantile, scaled, shared, until,
};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(100);

/// Downloads one after the other until told to end; how many came whole.
fn download(address: SocketAddr, ended: &AtomicBool) -> u64 {
    let mut count = 0;
    while !ended.load(Ordering::SeqCst) {
        let answer = Connection::open(address).get("long.example", "/").expect("a whole download");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let first = text.lines().next().unwrap_or_default();
        assert!(text.lines().count() == LINES && text.lines().all(|line| line == first), "a mix: {text}");
        count += 1;
    }
    count
}

/// The quick form flips 40 times at the usual rate, in place of 600 times with as much as goes through.
#[test]
fn e11_a_flip_every_tenth_of_a_second() {
    let _machine = shared();
    let mut scene = Scene::start();
    let slow = ["blue", "green"].map(|colour| Closing::start(colour, Duration::from_millis(50)));
    for (colour, slow) in ["blue", "green"].iter().zip(&slow) {
        scene.keys.put_backend(&format!("long-{colour}"), &[slow.address]);
    }
    scene.keys.put("backends/long/backend", &alias("long-blue"));
    let last = scene.keys.put("frontends/long/frontend", &frontend("Host(`long.example`)", "long"));
    scene.flipgate.admin().served(last);
    let ended = Arc::new(AtomicBool::new(false));
    let downloads = [(); 4].map(|()| {
        let (address, ended) = (scene.address, ended.clone());
        std::thread::spawn(move || download(address, &ended))
    });
    let load = scene.load_at(scaled(Some((300, 200)), None));

    let (flips, mut waits) = (scaled(40, 600), Vec::new());
    let begin = Instant::now();
    for number in 0..flips {
        let shop = scene.turn();
        let long = alias(&format!("long-{}", scene.colour()));
        let puts = [(ALIAS.to_owned(), shop), ("backends/long/backend".to_owned(), long)];
        let revision = scene.keys.put_together(&puts);
        waits.push(scene.wait_served(revision).as_secs_f64() * 1e3);
        std::thread::sleep((begin + PERIOD * (number + 1)).saturating_duration_since(Instant::now()));
    }
    ended.store(true, Ordering::SeqCst);
    let downloads = downloads.map(|thread| thread.join().expect("downloads go well")).iter().sum::<u64>();
    let tally = load.stop_well("E11");
    assert!(tally.of("blue") > 0 && tally.of("green") > 0 && downloads > 4, "{downloads}");
    assert!(tally.requests >= scaled(500, 300_000), "{} requests", tally.requests);
    let most = quantile(&mut waits, 1.0);
    let details =
        format!("{flips} flips, median {:.1} ms, {downloads} downloads over them", quantile(&mut waits, 0.5));
    assert!(figure("failures E11: put to served, longest", most, "ms", &details, 50.0));
}

#[test]
fn e12_a_flip_to_what_is_dead() {
    let _machine = shared();
    let mut fleet = Fleet::of(1).start();
    let (blue, green) = (Pod::start_many("blue", 3), Pod::start_many("green", 3));
    let checked =
        json!({"Health": {"Path": "/health", "Interval": "200ms", "Timeout": "1s", "Rise": 1, "Fall": 2}});
    fleet.put_backend("shop-blue", &checked, &blue);
    fleet.put_backend("shop-green", &checked, &green);
    fleet.put_shop("shop-blue");
    let plan = Plan { rate: Some(300), ..Plan::mixed(&fleet.addresses(), fleet::HOST) };
    let traffic = Traffic::start(plan);
    until("requests", Duration::from_secs(20), || (traffic.requests() > 300).then_some(()));

    // Well to checks, failing otherwise: the guard lets it through, and the bake takes it back.
    green.iter().for_each(|pod| pod.mode(Mode::Failing(1_000)));
    let mut flip = Flip::shop(&fleet, "shop-green", &["--wait", "30s", "--bake", "60s"]);
    let served = flip.event("served", Duration::from_secs(30)).at;
    let back = flip.event("rolledBack", Duration::from_secs(30)).at;
    let ended = flip.end(Duration::from_secs(60));
    assert!(ended.code != 0 && fleet.target() == "shop-blue", "{ended:#?}");
    let mut failed = traffic.take();
    // Those that were open.
    until("answers on the old side", Duration::from_secs(20), || (traffic.requests() > 300).then_some(()));
    failed.add(traffic.take());
    let seconds = back.saturating_duration_since(served).as_secs_f64();
    let details = format!("{} of {} requests failed", failed.failed, failed.requests);
    let fits = figure("failures E12: rolled back", seconds, "s", &details, 1.0);

    // Failing its checks, and gone altogether: refused, before anything happens.
    green.iter().for_each(|pod| pod.mode(Mode::Sick));
    let checks = |pod: &Pod| pod.stats().checks;
    for pod in &green {
        let before = checks(pod);
        until("checks go on", Duration::from_secs(20), || (checks(pod) > before + 3).then_some(()));
    }
    refused(&mut fleet, "failing its checks");
    green.iter().for_each(Pod::kill);
    refused(&mut fleet, "dead");
    let tally = traffic.stop();
    println!("failures E12: {} while flips were refused (bound 0)", tally.summary());
    assert_eq!((tally.failed, tally.of("green")), (0, 0), "{:#?}", tally.failures);
    assert!(fits && seconds < 10.0, "{seconds} s");
}

fn refused(fleet: &mut Fleet, what: &str) {
    let begin = Instant::now();
    let ended = Flip::shop(fleet, "shop-green", &["--wait", "5s"]).end(Duration::from_secs(30));
    assert_eq!(ended.code, 1, "{what}: {ended:#?}");
    assert!(ended.text().contains("green-0") && fleet.target() == "shop-blue", "{what}: {}", ended.text());
    println!("failures E12: {what}: refused after {:.1} s", begin.elapsed().as_secs_f64());
}
