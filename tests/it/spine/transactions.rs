//! Line 3: one transaction is one swap.

use crate::support::keys::frontend;
use crate::support::{Connection, Flipgate, Keys, Nginx, Wrk, alone, scaled, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Keys of a transaction: as many frontends.
const FRONTENDS: usize = 100;

/// Three, so that over one connection a step back is seen as one.
const NAMES: [&str; 3] = ["red", "green", "blue"];

#[test]
fn line_3_a_transaction_of_100_keys_is_one_swap() {
    let _alone = alone();
    let servers = NAMES.map(Nginx::named);
    let mut keys = Keys::start();
    keys.put_listener();
    for (name, server) in NAMES.iter().zip(&servers) {
        keys.put_backend(name, &[server.address()]);
    }
    let mut versions = BTreeMap::new();
    let first = keys.put_together(&all_to(NAMES[0]));
    versions.insert(first, 0);
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("access.json");
    let flipgate = Flipgate::on(&keys.url()).arguments(&["--access-log", log.to_str().unwrap()]).ready();
    flipgate.admin().served(first);
    let address = flipgate.address("http");

    let ended = Arc::new(AtomicBool::new(false));
    let clients = (0..8).map(|seed| Client::spawn(address, seed, ended.clone())).collect::<Vec<_>>();
    let count = scaled(50, 500);
    for version in 1..=count {
        let revision = keys.put_together(&all_to(NAMES[version % 3]));
        versions.insert(revision, version);
        flipgate.admin().served(revision);
        // No client falls behind by more than one version.
        clients.iter().for_each(Client::wait_for_a_round);
    }
    ended.store(true, Ordering::SeqCst);
    let mut asked = clients.into_iter().map(|client| client.thread.join().unwrap()).sum::<u64>();

    // Without a wait: what is batched is still served as whole versions.
    let load = Wrk::start(address, "a.example", "/f1", 16, Duration::from_secs(120));
    for version in count + 1..=2 * count {
        versions.insert(keys.put_together(&all_to(NAMES[version % 3])), version);
    }
    flipgate.admin().served(*versions.last_key_value().unwrap().0);
    let load = load.stop();
    assert_eq!(load.failed, 0, "of {}", load.requests);
    asked += load.requests;

    let logged = until("every request is logged", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&log).unwrap();
        (text.lines().count() as u64 >= asked && text.ends_with('\n')).then_some(text)
    });
    let mut requests_of = BTreeMap::<i64, u64>::new();
    for line in logged.lines() {
        let line = serde_json::from_str::<Value>(line).unwrap();
        if line["status"] == 0 {
            // The load's last requests, which it did not wait for.
            continue;
        }
        let revision = line["revision"].as_i64().unwrap();
        let (_, version) = versions.range(..=revision).next_back().expect("a revision of the test");
        assert_eq!(line["backend"], NAMES[version % 3], "a mix at revision {revision}: {line}");
        *requests_of.entry(revision).or_default() += 1;
    }
    println!(
        "spine 3: {} transactions of {FRONTENDS} keys: none of {asked} requests saw a mix ({} tables seen; bound 0) ok",
        2 * count,
        requests_of.len()
    );
    assert!(requests_of.len() > count / 2, "only {} tables were seen", requests_of.len());
}

fn all_to(backend: &str) -> Vec<(String, Value)> {
    let one =
        |number| (format!("frontends/f{number}/frontend"), frontend(&format!("Path(`/f{number}`)"), backend));
    (0..FRONTENDS).map(one).collect()
}

/// Asks for one frontend after the other over a connection, four requests at a time. The next transaction waits for
/// it, so an answer is of the same version as the one before it or of the next, never of the last.
struct Client {
    rounds: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<u64>,
}

impl Client {
    fn spawn(address: SocketAddr, seed: usize, ended: Arc<AtomicBool>) -> Self {
        let rounds = Arc::new(AtomicU64::new(0));
        let for_thread = rounds.clone();
        let thread = std::thread::spawn(move || {
            let mut connection = Connection::open(address);
            let (mut asked, mut last, mut number) = (0, None::<usize>, seed * 13);
            while !ended.load(Ordering::SeqCst) {
                let mut requests = String::new();
                for _ in 0..4 {
                    number = (number + 37) % FRONTENDS;
                    requests.push_str(&format!("GET /f{number} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
                }
                connection.send(requests.as_bytes());
                for _ in 0..4 {
                    let answer = connection.answer();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let text = answer.text();
                    let now =
                        NAMES.iter().position(|name| *name == text.trim_end()).expect("a server's name");
                    let back = last.is_some_and(|last| (now + 1) % 3 == last);
                    assert!(!back, "{text} after {:?} over one connection", last.map(|last| NAMES[last]));
                    last = Some(now);
                    asked += 1;
                }
                for_thread.fetch_add(1, Ordering::SeqCst);
            }
            asked
        });
        Self { rounds, thread }
    }

    /// Waits until a round has begun and ended, or the client has failed.
    fn wait_for_a_round(&self) {
        let before = self.rounds.load(Ordering::SeqCst);
        until("a client goes on", Duration::from_secs(20), || {
            let gone_on = self.rounds.load(Ordering::SeqCst) >= before + 2 || self.thread.is_finished();
            gone_on.then_some(())
        });
    }
}
