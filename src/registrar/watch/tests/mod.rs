//! Against an API server of our own that breaks in all ways: nothing is lost, and nothing is removed before its time.

mod server;

use self::server::{Break, Server};
use super::*;
use crate::registrar::World;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SHORT: Pauses = Pauses { least: Duration::from_millis(5), most: Duration::from_millis(50) };

/// A world that follows, as the registrar has it, and what was told.
struct Follower {
    seen: mpsc::Receiver<Seen>,
    world: World,
    /// Services that are in the cluster all the time.
    steady: Vec<Name>,
    changes: usize,
    lists: Vec<(Kind, BTreeSet<Name>)>,
    lost: BTreeMap<Kind, String>,
}

impl Follower {
    async fn start(server: &Server, namespaces: &[&str], kinds: &[Kind]) -> Self {
        let scope = Scope {
            namespaces: namespaces.iter().map(|namespace| (*namespace).to_owned()).collect(),
            pod_label: "name".into(),
            kinds: kinds.to_vec(),
        };
        Self {
            seen: start(server.client().await, scope, SHORT),
            world: World::default(),
            steady: Vec::new(),
            changes: 0,
            lists: Vec::new(),
            lost: BTreeMap::new(),
        }
    }

    async fn step(&mut self) -> Seen {
        let seen = tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await;
        let seen = seen.expect("nothing is told any more").expect("it goes on for ever");
        match seen.clone() {
            Seen::Changed(change, at) => {
                assert!(at <= Instant::now());
                self.changes += 1;
                self.world.apply(change);
            }
            Seen::Listed(kind, names) => {
                self.world.retain(kind, &names);
                self.lists.push((kind, names));
            }
            Seen::Lost { kind, reason, .. } => {
                self.lost.insert(kind, reason);
            }
            Seen::Found { kind } => assert!(self.lost.remove(&kind).is_some(), "{kind:?} was not lost"),
        }
        if !self.lists.is_empty() {
            for name in &self.steady {
                assert!(self.world.service(name).is_some(), "{name} was removed by {seen:?}");
            }
        }
        seen
    }

    async fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            self.step().await;
        }
    }

    /// Until the world knows what the server has, and every port of it.
    async fn until_equal(&mut self, server: &Server) {
        self.until(|follower| {
            let state = server.state();
            if follower.world.count(Kind::Service) != state.objects.len() {
                return false;
            }
            let wanted = state.objects.iter().filter(|(key, _)| key.0 == "services");
            let wanted: Vec<(Name, u64)> = wanted
                .map(|((_, namespace, name), object)| {
                    (Name::new(namespace, name), object["spec"]["ports"][0]["port"].as_u64().unwrap())
                })
                .collect();
            wanted.iter().all(|(name, port)| {
                follower.world.service(name).is_some_and(|known| u64::from(known.ports[0].port) == *port)
            })
        })
        .await;
    }

    fn listed(&self, kind: Kind) -> usize {
        self.lists.iter().filter(|(listed, _)| *listed == kind).count()
    }
}

fn service(port: u16) -> Value {
    json!({ "spec": { "ports": [{ "port": port }] } })
}

/// So many steady Services in a namespace.
fn fill(server: &Server, namespace: &str, count: usize) -> Vec<Name> {
    (0..count)
        .map(|at| {
            let name = format!("steady-{at:04}");
            server.put("services", namespace, &name, service(80));
            Name::new(namespace, &name)
        })
        .collect()
}

#[tokio::test]
async fn long_lists_come_in_pages_and_are_complete_at_their_end() {
    let server = Server::start().await;
    let names = fill(&server, "shop", 1203);
    let mut follower = Follower::start(&server, &[], &[Kind::Service]).await;
    follower.until(|follower| !follower.lists.is_empty()).await;
    assert_eq!(follower.changes, 1203);
    assert_eq!(follower.lists, [(Kind::Service, names.into_iter().collect())]);
    let state = server.state();
    let pages = state.asked.iter().filter(|asked| asked.contains("limit=500")).count();
    assert_eq!(pages, 3, "{:?}", state.asked);
}

#[tokio::test]
async fn changes_are_told_as_they_come() {
    let server = Server::start().await;
    fill(&server, "shop", 2);
    let mut follower = Follower::start(&server, &[], &[Kind::Service]).await;
    follower.until_equal(&server).await;
    server.until("it watches", |state| state.open_watches == 1).await;
    server.put("services", "shop", "new", service(81));
    follower.until_equal(&server).await;
    server.put("services", "shop", "new", service(82));
    follower.until_equal(&server).await;
    server.delete("services", "shop", "new");
    follower.until_equal(&server).await;
    assert_eq!(follower.listed(Kind::Service), 1, "without another list");
    assert!(follower.lost.is_empty());
}

#[tokio::test]
async fn what_happens_while_a_watch_is_broken_is_found_by_a_list() {
    for way in [Break::Clean, Break::MidLine, Break::Gone, Break::Nonsense] {
        let server = Server::start().await;
        let steady = fill(&server, "shop", 20);
        server.put("services", "shop", "old", service(80));
        let mut follower = Follower::start(&server, &[], &[Kind::Service]).await;
        follower.steady = steady;
        follower.until_equal(&server).await;
        server.until("it watches", |state| state.open_watches == 1).await;
        server.break_watches(way);
        server.delete("services", "shop", "old");
        server.put("services", "shop", "new", service(81));
        server.forget(false);
        follower.until_equal(&server).await;
        follower.until(|follower| follower.listed(Kind::Service) == 2).await;
        // And it goes on.
        server.put("services", "shop", "newer", service(82));
        follower.until_equal(&server).await;
        assert!(follower.lost.is_empty(), "{way:?}: {:?}", follower.lost);
    }
}

#[tokio::test]
async fn a_server_that_is_away_loses_nothing_even_if_it_comes_back_younger() {
    let server = Server::start().await;
    let steady = fill(&server, "shop", 20);
    server.put("services", "shop", "old", service(80));
    let mut follower = Follower::start(&server, &[], &[Kind::Service]).await;
    follower.steady = steady;
    follower.until_equal(&server).await;
    server.stop().await;
    follower.until(|follower| follower.lost.contains_key(&Kind::Service)).await;
    assert!(follower.lost[&Kind::Service].contains("refused"), "{:?}", follower.lost);
    assert_eq!(follower.world.count(Kind::Service), 21, "all is kept while it is away");
    server.delete("services", "shop", "old");
    server.put("services", "shop", "new", service(81));
    server.forget(true);
    server.start_again().await;
    follower.until_equal(&server).await;
    follower.until(|follower| follower.lost.is_empty()).await;
    server.put("services", "shop", "newer", service(82));
    follower.until_equal(&server).await;
}

#[tokio::test]
async fn a_list_that_breaks_off_removes_nothing() {
    let server = Server::start().await;
    let steady = fill(&server, "shop", 1100);
    let mut follower = Follower::start(&server, &[], &[Kind::Service]).await;
    follower.steady = steady;
    follower.until_equal(&server).await;
    follower.until(|follower| follower.listed(Kind::Service) == 1).await;
    server.until("it watches", |state| state.open_watches == 1).await;
    server.delete("services", "shop", "steady-0000");
    follower.steady.remove(0);
    // Two pages, the third fails; then all goes well.
    server.state().pages_left = Some(2);
    server.break_watches(Break::Gone);
    follower.until(|follower| follower.lost.contains_key(&Kind::Service)).await;
    assert_eq!(follower.listed(Kind::Service), 1, "no list was complete");
    follower.until(|follower| follower.lost.is_empty()).await;
    follower.until_equal(&server).await;
    assert_eq!(follower.listed(Kind::Service), 2);
}

#[tokio::test]
async fn what_may_not_be_read_hurts_only_its_own_kind() {
    let server = Server::start().await;
    fill(&server, "shop", 3);
    server.state().forbidden.insert(("secrets".to_owned(), String::new()));
    let mut follower = Follower::start(&server, &[], &[Kind::Secret, Kind::Service]).await;
    follower.until_equal(&server).await;
    follower.until(|follower| !follower.lost.is_empty()).await;
    let reason = follower.lost[&Kind::Secret].clone();
    assert!(
        reason.starts_with("this account may not list secrets in the whole cluster; a ClusterRole"),
        "{reason}"
    );
    assert!(reason.contains("no rule allows it"), "{reason}");
    server.put("services", "shop", "new", service(81));
    follower.until_equal(&server).await;
    assert_eq!(follower.listed(Kind::Secret), 0);
    server.put("secrets", "shop", "cert", json!({ "type": "kubernetes.io/tls" }));
    server.state().forbidden.clear();
    follower.until(|follower| follower.lost.is_empty()).await;
    assert_eq!(follower.world.count(Kind::Secret), 1);
}

#[tokio::test]
async fn several_namespaces_are_listed_once_all_of_them_are() {
    let server = Server::start().await;
    let steady = [fill(&server, "one", 5), fill(&server, "two", 5)].concat();
    fill(&server, "other", 5);
    server.state().forbidden.insert(("services".to_owned(), "two".to_owned()));
    let mut follower = Follower::start(&server, &["one", "two", "one"], &[Kind::Service]).await;
    follower.until(|follower| follower.world.count(Kind::Service) == 5 && !follower.lost.is_empty()).await;
    assert!(
        follower.lost[&Kind::Service].contains("in the namespace two; a Role there"),
        "{:?}",
        follower.lost
    );
    server.until("it watches", |state| state.open_watches == 1).await;
    assert_eq!(follower.listed(Kind::Service), 0);
    server.state().forbidden.clear();
    follower.until(|follower| follower.lost.is_empty()).await;
    assert_eq!(follower.lists.last().unwrap().1, steady.iter().cloned().collect());
    follower.steady = steady;

    // What one namespace's watch told stays when the other is listed anew, and what it removed stays away.
    server.until("it watches both", |state| state.open_watches == 2).await;
    server.put("services", "one", "late", service(81));
    server.put("services", "two", "later", service(81));
    follower.until(|follower| follower.world.count(Kind::Service) == 12).await;
    server.delete("services", "one", "late");
    follower.until(|follower| follower.world.count(Kind::Service) == 11).await;
    let before = follower.listed(Kind::Service);
    server.break_watches(Break::Gone);
    follower.until(|follower| follower.listed(Kind::Service) == before + 2).await;
    assert_eq!(follower.world.count(Kind::Service), 11);
}

#[tokio::test]
async fn an_object_that_cannot_be_understood_hurts_only_itself() {
    let server = Server::start().await;
    fill(&server, "shop", 3);
    server.put("services", "shop", "odd", json!({ "spec": { "ports": "many" } }));
    let mut follower = Follower::start(&server, &[], &[Kind::Service]).await;
    follower.until(|follower| follower.listed(Kind::Service) == 1).await;
    assert_eq!(follower.world.count(Kind::Service), 3);
    assert!(follower.lists[0].1.contains(&Name::new("shop", "odd")), "it is there all the same");
    server.until("it watches", |state| state.open_watches == 1).await;
    // What was understood stays when it is not any more, until it is gone.
    server.put("services", "shop", "steady-0000", json!({ "spec": { "ports": "many" } }));
    server.put("services", "shop", "next", service(81));
    follower.until(|follower| follower.world.count(Kind::Service) == 4).await;
    server.delete("services", "shop", "steady-0000");
    follower.until(|follower| follower.world.count(Kind::Service) == 3).await;
    assert_eq!(follower.listed(Kind::Service), 1, "without another list");
}

#[tokio::test]
async fn each_kind_is_asked_for_no_more_than_it_needs() {
    let server = Server::start().await;
    let mut follower = Follower::start(&server, &["shop"], &Kind::ALL).await;
    follower.until(|follower| follower.lists.len() == Kind::ALL.len()).await;
    server.until("it watches", |state| state.open_watches == Kind::ALL.len()).await;
    let state = server.state();
    let check = |path: &str, selector: &str| {
        let asked: Vec<&String> = state.asked.iter().filter(|asked| asked.starts_with(path)).collect();
        assert_eq!(asked.len(), 2, "{path}: {asked:?}");
        assert!(asked.iter().all(|asked| asked.contains(selector)), "{asked:?}");
        assert!(asked[1].contains("allowWatchBookmarks=true"), "{asked:?}");
    };
    check("/api/v1/namespaces/shop/services?", "");
    check("/api/v1/namespaces/shop/pods?", "labelSelector=name&");
    check(
        "/api/v1/namespaces/shop/secrets?",
        "type%21%3Dkubernetes.io%2Fservice-account-token%2Ctype%21%3Dhelm",
    );
    check("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?", "=kubernetes.io%2Fservice-name&");
    check("/apis/networking.k8s.io/v1/namespaces/shop/ingresses?", "");
    check("/apis/networking.k8s.io/v1/ingressclasses?", "");
}

#[tokio::test]
async fn watching_ends_when_nobody_listens() {
    let server = Server::start().await;
    let mut follower = Follower::start(&server, &[], &Kind::ALL).await;
    follower.until(|follower| follower.lists.len() == Kind::ALL.len()).await;
    server.until("it watches", |state| state.open_watches == Kind::ALL.len()).await;
    drop(follower);
    server.until("all watches end", |state| state.open_watches == 0).await;
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "a failure names its seed")]
async fn after_any_trouble_the_world_equals_the_cluster() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let server = Server::start().await;
    let steady = [fill(&server, "one", 300), fill(&server, "two", 300)].concat();
    let mut follower = Follower::start(&server, &["one", "two"], &[Kind::Service]).await;
    follower.steady = steady;
    for _ in 0..60 {
        for _ in 0..chance.random_range(1..20) {
            let namespace = if chance.random() { "one" } else { "two" };
            let name = format!("s{}", chance.random_range(0..30));
            match chance.random_ratio(1, 3) {
                true => server.delete("services", namespace, &name),
                false => server.put("services", namespace, &name, service(chance.random_range(1..1000))),
            }
        }
        match chance.random_range(0..8) {
            0 => server.break_watches(Break::Clean),
            1 => server.break_watches(Break::MidLine),
            2 => server.break_watches(Break::Nonsense),
            3 => server.forget(chance.random()),
            4 => server.state().pages_left = Some(chance.random_range(0..2)),
            5 => {
                server.stop().await;
                server.start_again().await;
            }
            _ => {}
        }
        for _ in 0..chance.random_range(0..40) {
            let step = tokio::time::timeout(Duration::from_millis(5), follower.step());
            if step.await.is_err() {
                break;
            }
        }
    }
    follower.until_equal(&server).await;
}
