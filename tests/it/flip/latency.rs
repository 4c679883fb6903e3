//! Line 2: how far apart proxies serve a flip, and how long it takes from the command to *safe*.

use super::{MARK_MAX, checked};
use crate::support::fleet::HOST;
use crate::support::{Connection, Fleet, Flip, Pod, alone, figure, quantile, scaled};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two questions of a watcher, and so how exact it is.
const LOOK_EVERY: Duration = Duration::from_millis(2);

#[test]
fn line_2_proxies_serve_a_flip_together_and_soon() {
    let _alone = alone();
    // Even, so that the commands lead back.
    let rounds = scaled(20, 200);
    let (mut fleet, _pods) = scene();
    let fits = commands(&fleet, rounds);
    assert!(there_and_back(&mut fleet, rounds) && fits);
}

#[test]
fn line_2_proxies_serve_an_edit_by_hand_together() {
    let _alone = alone();
    let rounds = scaled(20, 200);
    let (mut fleet, _pods) = scene();
    assert!(plain_edits(&mut fleet, rounds));
}

/// Three proxies and two sides.
fn scene() -> (Fleet, [Vec<Pod>; 2]) {
    let mut fleet = Fleet::of(3).start();
    let pods = ["blue", "green"].map(|colour| Pod::start_many(colour, 2));
    fleet.put_backend("shop-blue", &checked(), &pods[0]);
    fleet.put_backend("shop-green", &checked(), &pods[1]);
    fleet.put_shop("shop-blue");
    (fleet, pods)
}

/// From the command's start to *safe*, without any traffic.
fn commands(fleet: &Fleet, rounds: usize) -> bool {
    let mut waits = Vec::new();
    for round in 0..rounds {
        let to = if round % 2 == 0 { "shop-green" } else { "shop-blue" };
        let mut flip = Flip::shop(fleet, to, &["--wait", "30s"]);
        let safe = flip.event("safe", MARK_MAX);
        waits.push(safe.at.duration_since(flip.started).as_secs_f64() * 1e3);
        assert_eq!(flip.end(MARK_MAX).code, 0);
    }
    report("command to safe, old side idle", &mut waits, rounds, 300.0)
}

/// Skew of an alias edited by hand, which needs no procedure.
fn plain_edits(fleet: &mut Fleet, rounds: usize) -> bool {
    let watchers = Watchers::start(fleet.addresses());
    let mut skews = Vec::new();
    for round in 0..rounds {
        let colour = if round % 2 == 0 { "green" } else { "blue" };
        fleet.keys.put("backends/shop/backend", &crate::support::keys::alias(&format!("shop-{colour}")));
        skews.push(skew(&watchers.changes(colour)));
    }
    report("skew of served between 3 proxies, edit by hand", &mut skews, rounds, 50.0)
}

/// Flips and rollbacks, as traffic sees them at each proxy.
fn there_and_back(fleet: &mut Fleet, rounds: usize) -> bool {
    let watchers = Watchers::start(fleet.addresses());
    let writes = fleet.keys.watch("backends/shop/backend");
    let (mut skews, mut backs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let flip = Flip::shop(fleet, "shop-green", &["--wait", "30s"]);
        skews.push(skew(&watchers.changes("green")));
        flip.end_safe(MARK_MAX);
        while writes.try_recv().is_ok() {}

        let rollback = Flip::start(fleet, &["rollback", "alias/shop"]);
        let changes = watchers.changes("blue");
        let (written, _) = writes.recv_timeout(MARK_MAX).expect("the rollback is written");
        let last = changes.iter().max().unwrap();
        backs.push(last.saturating_duration_since(written).as_secs_f64() * 1e3);
        let ended = rollback.end(MARK_MAX);
        assert_eq!(ended.code, 0, "{ended:#?}");
    }
    let fits = report("skew of served between 3 proxies", &mut skews, rounds, 50.0);
    report("rollback while warm, served after its write", &mut backs, rounds, 50.0) && fits
}

fn report(what: &str, millis: &mut [f64], rounds: usize, bound: f64) -> bool {
    let (median, most) = (quantile(millis, 0.5), quantile(millis, 1.0));
    let p99 = quantile(millis, 0.99);
    let details = format!("{rounds} rounds, median {median:.1}, most {most:.1}");
    figure(&format!("flip 2: {what} p99"), p99, "ms", &details, bound)
}

fn skew(changes: &[Instant]) -> f64 {
    let (first, last) = (changes.iter().min().unwrap(), changes.iter().max().unwrap());
    last.duration_since(*first).as_secs_f64() * 1e3
}

/// A client at each proxy that notes when the answers' colour changes.
struct Watchers {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    changes: Vec<Receiver<(String, Instant)>>,
}

impl Watchers {
    fn start(addresses: Vec<SocketAddr>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let start = |address| {
            let (send, changes) = channel();
            let ended = ended.clone();
            threads.push(std::thread::spawn(move || {
                let mut connection = Connection::open(address);
                let mut last = String::new();
                while !ended.load(Ordering::SeqCst) {
                    let answer = connection.get(HOST, "/").expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let colour = answer.text().split(' ').next().unwrap_or_default().to_owned();
                    if colour != last {
                        let _ = send.send((colour.clone(), Instant::now()));
                        last = colour;
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
            }));
            changes
        };
        let changes = addresses.into_iter().map(start).collect::<Vec<_>>();
        let watchers = Self { ended, threads, changes };
        watchers.changes("blue");
        watchers
    }

    /// Waits until every proxy's colour has changed to this one; when each did.
    fn changes(&self, colour: &str) -> Vec<Instant> {
        let change = |changes: &Receiver<(String, Instant)>| {
            let (found, at) = changes.recv_timeout(MARK_MAX).expect("the colour changes");
            assert_eq!(found, colour);
            at
        };
        self.changes.iter().map(change).collect()
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a watcher got a wrong answer");
        }
    }
}
