//! Backends as the proxy uses them: pure, with times and random numbers of the tests' own.

use super::clock::mix;
use super::*;
use crate::model::{
    self, Balance, ClientKey, HealthCheck, Outlier, Policy, ServerState, Sticky, UpstreamLimits,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Settings = model::BackendSettings;

fn server(id: &str, weight: u16) -> model::Server {
    model::Server {
        backend: "shop".parse().unwrap(),
        id: id.parse().unwrap(),
        url: format!("http://10.0.0.1:{}", 1000 + id.len() as u16 + u16::from(id.as_bytes()[0]))
            .parse()
            .unwrap(),
        weight,
        state: ServerState::Active,
        zone: None,
    }
}

fn compile(settings: &Settings, servers: &[model::Server], previous: Option<&Backend>) -> Backend {
    Backend::compile(&"shop".parse().unwrap(), settings.clone().into(), None, servers.iter(), previous, 2)
}

/// Servers of one letter each, all of weight 1.
fn backend(settings: &Settings, ids: &str) -> Backend {
    let servers: Vec<_> = ids.chars().map(|id| server(&id.to_string(), 1)).collect();
    compile(settings, &servers, None)
}

fn policy(policy: Policy) -> Settings {
    Settings { balance: Balance { policy, prefer_zone: false }, ..Settings::default() }
}

fn turn<'a>(now: Instant, seed: u64) -> Turn<'a> {
    Turn { worker: 0, now, random: mix(seed), key: None, sticky: None, tried: &[] }
}

/// How often each server is picked by a worker in so many picks.
fn picks(backend: &Backend, count: u64, turn_of: impl Fn(u64) -> Turn<'static>) -> BTreeMap<String, u64> {
    let mut hits = BTreeMap::new();
    for seed in 0..count {
        let id = backend.pick(&turn_of(seed)).map_or("-", |server| server.id.as_str()).to_owned();
        *hits.entry(id).or_insert(0) += 1;
    }
    hits
}

fn shown(hits: &BTreeMap<String, u64>) -> String {
    hits.iter().map(|(id, count)| format!("{id}{count}")).collect::<Vec<_>>().join(" ")
}

fn fail(backend: &Backend, place: usize, count: usize, now: Instant) {
    for _ in 0..count {
        backend.observe(&backend.servers()[place], now, Observation::Failed, Duration::ZERO);
    }
}

fn standings(backend: &Backend, now: Instant) -> Vec<&'static str> {
    backend.servers().iter().map(|server| server.standing(now).as_str()).collect()
}

#[test]
fn turns_are_fair_and_pass_over_who_is_ejected() {
    let (backend, now) = (backend(&Settings::default(), "abcd"), Instant::now());
    assert_eq!(shown(&picks(&backend, 400, |seed| turn(now, seed))), "a100 b100 c100 d100");
    fail(&backend, 1, 5, now);
    assert_eq!(standings(&backend, now), ["well", "ejected", "well", "well"]);
    assert_eq!(shown(&picks(&backend, 300, |seed| turn(now, seed))), "a100 c100 d100");
    assert!(!backend.is_eligible(&backend.servers()[1], now));
    // It comes back by itself.
    let later = now + Duration::from_secs(10);
    assert_eq!(shown(&picks(&backend, 400, |seed| turn(later, seed))), "a100 b100 c100 d100");
    assert!(backend.is_eligible(&backend.servers()[1], later));
}

#[test]
fn every_server_is_tried_once_by_every_policy() {
    let policies = [Policy::RoundRobin, Policy::LeastRequests, Policy::PeakEwma, Policy::Hash(ClientKey::Ip)];
    for each in policies {
        let now = Instant::now();
        let settings = policy(each);
        let mut servers: Vec<_> = "abcde".chars().map(|id| server(&id.to_string(), 1)).collect();
        servers[2].weight = 1000;
        let backend = compile(&settings, &servers, None);
        for seed in 0..50 {
            let mut tried: Vec<Arc<Server>> = Vec::new();
            while let Some(server) =
                backend.pick(&Turn { tried: &tried, key: Some(seed), ..turn(now, seed + tried.len() as u64) })
            {
                assert!(!tried.iter().any(|other| other.id == server.id), "{:?}", settings.balance);
                tried.push(server.clone());
            }
            assert_eq!(tried.len(), 5, "{:?} {seed}", settings.balance);
        }
    }
}

#[test]
fn of_two_the_less_busy_by_weight_wins() {
    let now = Instant::now();
    let backend = compile(&policy(Policy::LeastRequests), &[server("a", 1), server("b", 4)], None);
    let [a, b] = backend.servers() else { panic!() };
    let busy: Vec<_> = (0..3).map(|_| b.enter()).collect();
    let one = a.enter();
    // 1 to 1 against 3 to 4.
    assert_eq!(shown(&picks(&backend, 50, |seed| turn(now, seed))), "b50");
    drop(one);
    assert_eq!(shown(&picks(&backend, 50, |seed| turn(now, seed))), "a50");
    drop(busy);
    // Idle ones share by weight.
    let hits = picks(&backend, 5_000, |seed| turn(now, seed));
    assert!((800..1200).contains(&hits["a"]), "{hits:?}");
}

#[test]
fn the_quicker_wins_and_failing_fast_is_not_quick() {
    let now = Instant::now();
    let settings = Settings {
        outlier: Outlier { consecutive_failures: 0, ..Outlier::default() },
        ..policy(Policy::PeakEwma)
    };
    let backend = backend(&settings, "ab");
    let [a, b] = backend.servers() else { panic!() };
    backend.observe(a, now, Observation::Answered(200), Duration::from_millis(100));
    backend.observe(b, now, Observation::Answered(200), Duration::from_millis(10));
    assert_eq!(shown(&picks(&backend, 50, |seed| turn(now, seed))), "b50");
    let busy: Vec<_> = (0..20).map(|_| b.enter()).collect();
    assert_eq!(shown(&picks(&backend, 50, |seed| turn(now, seed))), "a50");
    drop(busy);
    backend.observe(b, now, Observation::Answered(503), Duration::from_millis(1));
    assert_eq!(shown(&picks(&backend, 50, |seed| turn(now, seed))), "a50");
}

#[test]
fn a_key_keeps_its_server_and_comes_back_to_it() {
    let now = Instant::now();
    let backend = backend(&policy(Policy::Hash(ClientKey::Ip)), "abcdefghij");
    let owner = |key: u64, now| {
        let picked = backend.pick(&Turn { key: Some(key), ..turn(now, key + 7) }).unwrap();
        picked.id.clone()
    };
    let before: Vec<_> = (0..2_000).map(|key| owner(key, now)).collect();
    assert_eq!(before, (0..2_000).map(|key| owner(key, now)).collect::<Vec<_>>());
    fail(&backend, 0, 5, now);
    let moved = (0..2_000).filter(|key| owner(*key, now) != before[*key as usize]).count();
    let lost = before.iter().filter(|id| id.as_str() == "a").count();
    assert_eq!(moved, lost, "only the keys of the one that is ejected move");
    assert!(lost <= 300, "{lost}");
    let later = now + Duration::from_secs(11);
    assert_eq!(before, (0..2_000).map(|key| owner(key, later)).collect::<Vec<_>>());
    // Without a key requests are spread.
    let hits = picks(&backend, 5_000, |seed| turn(later, seed));
    assert!(hits.len() == 10 && hits.values().all(|count| (350..650).contains(count)), "{hits:?}");
}

#[test]
fn a_sticky_client_comes_back_as_long_as_its_server_may_get_requests() {
    let now = Instant::now();
    let settings = Settings { sticky: Some(Sticky::default()), ..Settings::default() };
    let mut servers = ["a", "b", "c"].map(|id| server(id, 1));
    let first = compile(&settings, &servers, None);
    let key = StickyKey::random();
    let cookie = key.encode(&first.id, &first.servers()[1].id);
    let sticky = key.decode(&first.id, &cookie);
    let stuck = |backend: &Backend, tried: &[Arc<Server>]| {
        let all = (0..20).all(|seed| {
            let turn = Turn { sticky, tried, ..turn(now, seed) };
            backend.pick(&turn).is_some_and(|server| server.id.as_str() == "b")
        });
        let none = (0..20).all(|seed| {
            let turn = Turn { sticky, tried, ..turn(now, seed) };
            backend.pick(&turn).is_some_and(|server| server.id.as_str() != "b")
        });
        assert!(all || none);
        all
    };
    assert!(stuck(&first, &[]));
    assert!(!stuck(&first, &first.servers()[1..2]));
    fail(&first, 1, 5, now);
    assert!(!stuck(&first, &[]));
    servers[1].state = ServerState::Draining;
    assert!(!stuck(&compile(&settings, &servers, None), &[]));
    servers[1].state = ServerState::Active;
    servers[1].weight = 0;
    assert!(!stuck(&compile(&settings, &servers, None), &[]));
}

#[test]
fn a_full_server_is_passed_over_while_another_is_not() {
    let now = Instant::now();
    let limits = UpstreamLimits { server_connections: Some(1), ..UpstreamLimits::default() };
    for each in [Policy::RoundRobin, Policy::LeastRequests, Policy::Hash(ClientKey::Ip)] {
        let backend = backend(&Settings { limits, ..policy(each) }, "ab");
        let [a, b] = backend.servers() else { panic!() };
        let turn = |seed| Turn { key: Some(seed), ..turn(now, seed) };
        let held = (backend.connection_permit(a).unwrap(), a.enter());
        assert!(backend.connection_permit(a).is_none());
        assert_eq!(shown(&picks(&backend, 50, turn)), "b50");
        let other = (backend.connection_permit(b).unwrap(), b.enter());
        assert_eq!(picks(&backend, 50, turn).len(), 2, "where both are full they share");
        assert_eq!((a.connections(), backend.connections()), (1, 2));
        drop((held, other));
        assert_eq!((a.connections(), backend.connections(), backend.pending()), (0, 0, 0));
    }
}

#[test]
fn a_new_server_starts_slowly() {
    let (now, slow) = (Instant::now(), Duration::from_secs(10));
    for each in [Policy::RoundRobin, Policy::LeastRequests, Policy::Hash(ClientKey::Ip)] {
        let settings = Settings { slow_start: Some(slow), ..policy(each) };
        let three = ["a", "b", "c"].map(|id| server(id, 1));
        let before = compile(&settings, &three, None);
        let hits = picks(&before, 900, |seed| Turn { key: Some(seed), ..turn(now, seed) });
        assert!(hits.values().all(|count| *count > 200), "at the start nobody starts slowly: {hits:?}");
        let four = ["a", "b", "c", "d"].map(|id| server(id, 1));
        let backend = compile(&settings, &four, Some(&before));
        // Seconds after its first view, and its share of 10,000 in percent: s / (3 + s).
        for (after, least, most) in [(0, 2, 6), (5, 12, 20), (10, 18, 32)] {
            let at = now + Duration::from_secs(after);
            let hits = picks(&backend, 10_000, |seed| Turn { key: Some(mix(seed)), ..turn(at, seed) });
            let share = hits["d"] / 100;
            assert!((least..=most).contains(&share), "{:?} after {after}: {hits:?}", settings.balance);
        }
    }
}

#[test]
fn ejections_never_leave_nobody() {
    let now = Instant::now();
    let alone = backend(&Settings::default(), "a");
    fail(&alone, 0, 50, now);
    assert_eq!(standings(&alone, now), ["well"]);
    let two = backend(&Settings::default(), "ab");
    fail(&two, 0, 5, now);
    fail(&two, 1, 50, now);
    assert_eq!(standings(&two, now), ["ejected", "well"]);
    let four = backend(&Settings::default(), "abcd");
    (0..4).for_each(|place| fail(&four, place, 50, now));
    assert_eq!(standings(&four, now), ["ejected", "ejected", "well", "well"]);
    let counts = four.health(now);
    assert_eq!((counts.active, counts.well, counts.ejected), (4, 2, 2));
    // The second ejection lasts twice as long as the first.
    let later = now + Duration::from_secs(11);
    fail(&four, 0, 5, later);
    assert_eq!(standings(&four, later + Duration::from_secs(19))[0], "ejected");
    assert_eq!(standings(&four, later + Duration::from_secs(20))[0], "well");
}

#[test]
fn checks_decide_and_panic_takes_all() {
    let now = Instant::now();
    let settings = Settings { health: Some(HealthCheck::default()), ..Settings::default() };
    let backend = backend(&settings, "abcd");
    let note = |place: usize, good| backend.note_check(&backend.servers()[place], good);
    let takers = |backend: &Backend| {
        let servers = backend.servers().iter().filter(|server| backend.is_eligible(server, now));
        servers.map(|server| server.id.to_string()).collect::<String>()
    };
    assert_eq!(standings(&backend, now), ["unknown"; 4]);
    assert_eq!(takers(&backend), "abcd");
    assert_eq!(note(0, true), Some(Standing::Well));
    assert_eq!(takers(&backend), "abcd", "not all at once to the first that answers");
    assert_eq!(note(1, true), Some(Standing::Well));
    assert_eq!(takers(&backend), "ab");
    assert_eq!(note(2, false), Some(Standing::Unwell));
    assert_eq!((note(1, false), note(1, false), note(1, false)), (None, None, Some(Standing::Unwell)));
    assert_eq!(takers(&backend), "ad");
    note(3, false);
    note(0, false);
    note(0, false);
    note(0, false);
    assert_eq!(takers(&backend), "");
    assert!(backend.pick(&turn(now, 1)).is_none());
    let mut outlier = settings.outlier.clone();
    outlier.panic_percent = 50;
    let servers: Vec<_> = "abcd".chars().map(|id| server(&id.to_string(), 1)).collect();
    let panicking = compile(&Settings { outlier, ..settings.clone() }, &servers, Some(&backend));
    assert_eq!(takers(&panicking), "abcd");
    let unchecked = compile(&Settings::default(), &servers, Some(&panicking));
    assert_eq!(standings(&unchecked, now), ["well"; 4]);
    assert_eq!(takers(&unchecked), "abcd");
}

#[test]
fn a_server_keeps_what_it_is_over_tables_but_not_over_urls() {
    let now = Instant::now();
    let settings = Settings::default();
    let mut servers = ["a", "b"].map(|id| server(id, 1));
    let first = compile(&settings, &servers, None);
    fail(&first, 0, 5, now);
    let permit = first.connection_permit(&first.servers()[0]).unwrap();
    let second = compile(&settings, &servers, Some(&first));
    assert_eq!(standings(&second, now), ["ejected", "well"]);
    assert_eq!((second.servers()[0].connections(), second.connections()), (1, 1));
    servers[0].url = "http://10.9.9.9:80".parse().unwrap();
    let third = compile(&settings, &servers, Some(&second));
    assert_eq!(standings(&third, now), ["well", "well"]);
    assert_ne!(third.servers()[0].number(), second.servers()[0].number());
    assert_eq!((third.servers()[0].connections(), third.connections()), (0, 1));
    // A connection that idles somewhere does not keep its server alive.
    let lifetime = first.servers()[0].lifetime();
    drop((first, second));
    assert!(lifetime.upgrade().is_none());
    drop(permit);
    assert_eq!(third.connections(), 0);
    servers[1].state = ServerState::Draining;
    let fourth = compile(&settings, &servers, Some(&third));
    assert!(!third.servers()[1].identity.keeps_idle());
    assert_eq!(fourth.health(now), HealthCounts { active: 1, well: 1, draining: 1, ..Default::default() });
}

#[test]
fn state_in_the_hands_of_many_workers_is_seen_by_all() {
    let now = Instant::now();
    let backend = backend(&Settings::default(), "abcd");
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let backend = &backend;
            scope.spawn(move || {
                for seed in 0..20_000 {
                    let turn = Turn { worker, ..turn(now, seed) };
                    let server = backend.pick(&turn).unwrap();
                    let bad = server.id.as_str() == "c";
                    let outcome = if bad { Observation::Failed } else { Observation::Answered(200) };
                    backend.observe(server, now, outcome, Duration::ZERO);
                }
            });
        }
    });
    assert_eq!(standings(&backend, now), ["well", "well", "ejected", "well"]);
    assert_eq!(shown(&picks(&backend, 300, |seed| turn(now, seed))), "a100 b100 d100");
}
