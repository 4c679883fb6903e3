//! Line 2: traffic moves by one key edit, and nothing is dropped.

use crate::support::keys::{alias, frontend};
use crate::support::{Chance, Connection, Flipgate, Keys, Load, Nginx, Wrk, alone, scaled};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Three, so that an answer tells which of two neighbouring flips it follows, and which of the one before.
const NAMES: [&str; 3] = ["red", "green", "blue"];

const HOST: &str = "shop.example";

#[test]
fn line_2_flips_of_a_frontend_drop_nothing() {
    flips("frontend", "frontends/shop/frontend", |name| frontend("Host(`shop.example`)", name));
}

#[test]
fn line_2_flips_of_an_alias_drop_nothing() {
    flips("alias", "backends/shop/backend", alias);
}

/// What flips did, for those who check answers. Flip number n leads to `NAMES[n % 3]`.
#[derive(Default)]
struct Progress {
    /// The last flip that the proxy says it serves.
    served: AtomicU64,
    /// The last flip that may have been written.
    begun: AtomicU64,
    ended: AtomicBool,
}

fn flips(what: &str, key: &str, value: impl Fn(&str) -> Value) {
    let _alone = alone();
    let servers = NAMES.map(Nginx::named);
    let mut keys = Keys::start();
    keys.put_listener();
    for (name, server) in NAMES.iter().zip(&servers) {
        keys.put_backend(name, &[server.address()]);
    }
    if what == "alias" {
        keys.put("frontends/shop/frontend", &frontend("Host(`shop.example`)", "shop"));
    }
    let first = keys.put(key, &value(NAMES[0]));
    let flipgate = Flipgate::on(&keys.url()).ready();
    flipgate.admin().served(first);
    let address = flipgate.address("http");

    let count: u64 = scaled(50, 1_000);
    let load = Wrk::start(address, HOST, "/", 64, Duration::from_secs(600));
    let progress = Arc::new(Progress::default());
    let checkers = (0..4).map(|_| spawn_checker(address, progress.clone())).collect::<Vec<_>>();
    let mut chance = Chance::new();
    for flip in 1..=count {
        progress.begun.store(flip, Ordering::SeqCst);
        let revision = keys.etcdctl_put(key, &value(NAMES[flip as usize % 3]));
        flipgate.admin().served(revision);
        progress.served.store(flip, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(chance.below(40)));
    }
    progress.ended.store(true, Ordering::SeqCst);
    let checked = checkers.into_iter().map(|checker| checker.join().unwrap()).sum::<u64>();
    let Load { requests, failed } = load.stop();
    println!(
        "spine 2: {count} flips of the {what} under load: {failed} failed of {requests} requests, and none of \
         {checked} checked went to the old backend (bound 0) ok"
    );
    assert_eq!(failed, 0, "of {requests}");
    assert!(requests > 100 && checked > count, "{requests} requests and {checked} checked are no load");
}

/// Asks over one connection after the other and compares each answer with the flips served before it was asked and
/// begun before it came.
fn spawn_checker(address: SocketAddr, progress: Arc<Progress>) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut checked = 0;
        while !progress.ended.load(Ordering::SeqCst) {
            let mut connection = Connection::open(address);
            for _ in 0..100 {
                let served = progress.served.load(Ordering::SeqCst);
                let answer = connection.get(HOST, "/").expect("an answer");
                let begun = progress.begun.load(Ordering::SeqCst);
                assert_eq!(answer.status, 200, "{}", answer.text());
                let name = answer.text().trim_end().to_owned();
                let fits = (served..=begun).any(|flip| NAMES[flip as usize % 3] == name);
                assert!(
                    fits,
                    "{name} answered after flip {served} was served and before {} began",
                    begun + 1
                );
                checked += 1;
            }
        }
        checked
    })
}
