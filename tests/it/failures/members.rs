//! An etcd of three members, of which one after the other is lost.

use super::scene::{ALIAS, Scene};
use crate::support::etcd::Etcd;
use crate::support::network::Machine;
use crate::support::{Keys, figure, scaled, shared, until};
use std::time::{Duration, Instant};

/// Longest wait for a flip.
const LATE_MAX: f64 = 3.0;

const LOCAL: [&str; 3] = ["127.0.0.1"; 3];

fn scene() -> Scene {
    let mut members = Etcd::members(&LOCAL);
    members.iter_mut().for_each(Etcd::restart_soon);
    Scene::on(Keys::on_members(members))
}

/// Flips through whichever member takes it; how late it was served, counted from the write.
fn flip(scene: &mut Scene) -> f64 {
    let value = scene.turn();
    let revision = scene.keys.put_patiently(ALIAS, &value);
    scene.wait_served(revision).as_secs_f64()
}

/// The quick form kills two leaders in place of two minutes' worth.
#[test]
fn e06_leaders_are_killed() {
    let _machine = shared();
    let mut scene = scene();
    let load = scene.load();
    let mut latest = 0.0_f64;
    for _ in 0..scaled(2, 24) {
        let leader = scene.keys.leader();
        scene.keys.member(leader).kill();
        let killed = Instant::now();
        latest = latest.max(flip(&mut scene));
        while killed.elapsed() < scaled(Duration::from_secs(1), Duration::from_secs(4)) {
            latest = latest.max(flip(&mut scene));
            std::thread::sleep(Duration::from_millis(100));
        }
        scene.keys.member(leader).restart_soon();
        let back = scene.keys.member(leader).endpoint();
        until("the member is back", Duration::from_secs(20), || std::net::TcpStream::connect(&back).ok());
    }
    let fits = figure("failures E06: a flip after its write", latest, "s", "leaders killed", LATE_MAX);
    load.stop_well("E06, leaders killed");
    assert!(fits && latest < 10.0, "{latest} s late");
}

/// One member sees the other two no more, and we are with it: it has no leader, and is left for one that has.
#[test]
fn e06_a_member_without_a_leader_is_left() {
    let _machine = shared();
    let Some(hub) = Machine::start("hub") else { return };
    let members = [1, 2, 3].map(|number| Machine::start(&format!("m{number}")).expect("as the first"));
    for (number, member) in (1..).zip(&members) {
        let (here, there) = (format!("10.77.{number}.1/24"), format!("10.77.{number}.2/24"));
        hub.wire((&format!("to{number}"), &here), member, ("peer", &there));
        member.ip(&format!("route add default via 10.77.{number}.1"));
    }
    hub.forward();
    let hosts = ["10.77.1.2", "10.77.2.2", "10.77.3.2"];
    let etcds = Etcd::members(&hosts).into_iter().zip(&members).map(|(mut etcd, member)| {
        member.run(move || {
            etcd.restart_soon();
            etcd
        })
    });
    let etcds = etcds.collect::<Vec<_>>();
    let (mut scene, load) = hub.run(move || {
        let scene = Scene::on(Keys::on_members(etcds));
        let load = scene.load();
        (scene, load)
    });
    // The first end point is the one that the proxy is connected to.
    for other in [2, 3] {
        members[0].ip(&format!("route add blackhole 10.77.{other}.2"));
        members[other - 1].ip("route add blackhole 10.77.1.2");
    }
    hub.run(move || {
        let cut = Instant::now();
        let value = scene.turn();
        let revision = scene.keys.put_patiently(ALIAS, &value);
        until("another member is followed", Duration::from_secs(40), || {
            let status = scene.flipgate.admin().status();
            status["revision"].as_i64().is_some_and(|served| served >= revision).then_some(())
        });
        scene.wait_served(revision);
        let left = cut.elapsed().as_secs_f64();
        let fits = figure("failures E06: a member without a leader is left", left, "s", "1 of 3", 15.0);
        let latest = (0..3).map(|_| flip(&mut scene)).fold(0.0, f64::max);
        load.stop_well("E06, partitioned");
        assert!(fits && latest < LATE_MAX, "{left} s, then {latest} s");
    });
}

#[test]
fn e07_another_member_is_used_for_one_that_hangs() {
    let _machine = shared();
    let mut scene = scene();
    let load = scene.load();
    scene.keys.member(0).freeze();
    let begin = Instant::now();
    let value = scene.turn();
    let revision = scene.keys.put_patiently(ALIAS, &value);
    until("another member is followed", Duration::from_secs(40), || {
        let status = scene.flipgate.admin().status();
        status["revision"].as_i64().is_some_and(|served| served >= revision).then_some(())
    });
    scene.wait_served(revision);
    let seconds = begin.elapsed().as_secs_f64();
    scene.keys.member(0).thaw();
    load.stop_well("E07, another member");
    assert!(figure("failures E07: another member is used", seconds, "s", "1 of 3 frozen", 15.0));
}
