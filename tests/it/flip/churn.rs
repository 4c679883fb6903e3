//! Line 7: pods come and go, and what has nothing to do with them keeps its connections.

use super::checked;
use crate::support::fleet::HOST;
use crate::support::keys::frontend;
use crate::support::{Fleet, Mode, Plan, Pod, Traffic, alone, figure, nothing, resident_bytes, scaled};
use serde_json::json;
use std::time::{Duration, Instant};

const REPLACED: usize = 20;
const STAY: usize = 2;

/// Clients of the backend that nothing changes.
const OTHERS: usize = 8;
const OTHER_HOST: &str = "other.example";

#[test]
fn line_7_servers_are_replaced_every_second() {
    let _alone = alone();
    let rounds: usize = scaled(15, 300);
    let mut fleet = Fleet::of(2).start();
    let stay = Pod::start_many("stay", STAY);
    let mut pods = Pod::start_many("r0", REPLACED);
    fleet.put_backend("shop-real", &checked(), &stay);
    fleet.keys.put_together(&servers(&pods));
    fleet.put_shop("shop-real");
    let other = put_other(&mut fleet);
    let traffic = Traffic::start(Plan { rate: Some(1_500), ..Plan::mixed(&fleet.addresses(), HOST) });
    let others = Traffic::start(others(&fleet));

    let mut leaving = Vec::<Pod>::new();
    let (mut connections, mut memory) = (0, 0);
    let mut reached = Vec::new();
    let begin = Instant::now();
    for round in 1..=rounds {
        let fresh = Pod::start_many(&format!("r{round}"), REPLACED);
        let gone = servers(&pods).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let revision = fleet.keys.change_together(&servers(&fresh), &gone);
        fleet.served(revision);
        // They had a second to finish what they had.
        for pod in std::mem::replace(&mut leaving, std::mem::replace(&mut pods, fresh)) {
            reached.push(pod.stats().begun);
            pod.tell_to_end();
            pod.end(Duration::from_secs(10));
        }
        if round == rounds.div_ceil(3) {
            connections = other.stats().connections;
            memory = resident(&fleet);
        }
        let due = begin + Duration::from_secs(1) * u32::try_from(round).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let took = begin.elapsed().as_secs_f64();
    let growth = (resident(&fleet) as f64 - memory as f64) / 1e6;
    let reset = other.stats().connections - connections;
    let (mut tally, others) = (traffic.stop(), others.stop());
    tally.add(others);

    let line = format!(
        "flip 7: {REPLACED} servers replaced {rounds} times in {took:.0} s: {} failed of {} requests; {reset} of an \
         unrelated backend's {connections} connections made anew",
        tally.failed, tally.requests
    );
    nothing(&line, &[tally.failed, reset]);
    let details = format!("2 proxies, from {:.0} MB", memory as f64 / 1e6);
    let fits = figure("flip 7: memory grown since a third of the time", growth, "MB", &details, 10.0);
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
    assert!(reset == 0 && fits);
    let unused = reached.iter().filter(|begun| **begun == 0).count();
    assert!(unused * 10 < reached.len(), "{unused} of {} pods got no request", reached.len());
}

#[test]
fn line_7_a_thousand_unrelated_edits_reset_nothing() {
    let _alone = alone();
    let mut fleet = Fleet::of(1).start();
    let other = put_other(&mut fleet);
    let others = Traffic::start(others(&fleet));
    std::thread::sleep(Duration::from_secs(1));
    let connections = other.stats().connections;
    let mut last = 0;
    for edit in 0..1_000 {
        let (route, id) = (format!("Host(`h{edit}.example`)"), edit % 50);
        last = match edit % 4 {
            0 => fleet.keys.put(&format!("frontends/f{id}/frontend"), &frontend(&route, "other")),
            1 => fleet.keys.put(
                &format!("backends/b{id}/servers/a"),
                &json!({"URL": format!("http://127.0.0.1:{}", 1 + edit)}),
            ),
            2 => fleet
                .keys
                .put(&format!("backends/b{id}/backend"), &json!({"Type": "http", "Settings": checked()})),
            _ => fleet.keys.delete(&format!("frontends/f{}/frontend", (edit + 25) % 50)),
        };
    }
    fleet.served(last);
    let reset = other.stats().connections - connections;
    let tally = others.stop();
    let line = format!(
        "flip 7: 1,000 unrelated edits: {} failed of {} requests, {reset} of {connections} connections made anew",
        tally.failed, tally.requests
    );
    nothing(&line, &[tally.failed, reset]);
    assert_eq!((tally.failed, reset), (0, 0), "{:?}", tally.failures);
}

/// A backend with a frontend of its own that nothing changes.
fn put_other(fleet: &mut Fleet) -> Pod {
    let pod = Pod::start("other-0");
    pod.mode(Mode::Slow(20));
    fleet.put_backend("other", &checked(), std::slice::from_ref(&pod));
    let revision = fleet.keys.put_frontend("other", &format!("Host(`{OTHER_HOST}`)"), "other");
    fleet.served(revision);
    pod
}

/// Every client always has a request open, so that there are as many connections as clients unless one is made anew.
fn others(fleet: &Fleet) -> Plan {
    let plan = Plan::steady(&fleet.addresses(), OTHER_HOST, OTHERS, 1);
    Plan { rate: None, ..plan }
}

fn servers(pods: &[Pod]) -> Vec<(String, serde_json::Value)> {
    let server = |pod: &Pod| (format!("backends/shop-real/servers/{}", pod.name()), pod.server());
    pods.iter().map(server).collect()
}

fn resident(fleet: &Fleet) -> u64 {
    fleet.members.iter().map(|member| resident_bytes(member.flipgate.pid())).sum()
}
