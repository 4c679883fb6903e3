//! Everything that a registrar works with dies, freezes and comes back, and so does it itself, while the cluster goes on
//! changing: the store ends as the cluster is, and nothing that was ready was ever taken from it on the way.

mod expected;
mod history;
mod scene;

use super::process::Registrar;
use crate::support::kubernetes::in_cluster_with;
use crate::support::{figure, flipgate, scaled, shared, until};
use nix::sys::signal::Signal;
use scene::{FLAGS, MOST, Scene, kept};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest time in which a cluster may be without a leader, in seconds.
const TAKEOVER_MAX: f64 = 15.0;

#[test]
fn the_store_ends_as_the_cluster_is_after_each_failure() {
    let _machine = shared();
    in_cluster_with(&FLAGS, |cluster| {
        let mut scene = Scene::begin(cluster);
        let registrar = Registrar::ready(scene.cluster, &scene.keys.url());
        scene.start_traffic();
        scene.settle("at first");
        let two = killed(&mut scene, registrar);
        server_away(&mut scene);
        watch_expired(&mut scene);
        store_away(&mut scene);
        for _ in 0..scaled(1, 3) {
            stopped(&mut scene, &two);
        }
        edited(&mut scene);
    });
}

/// kill -9, in the midst of changes, and two others at once, of which one takes over.
fn killed(scene: &mut Scene<'_>, registrar: Registrar) -> [Registrar; 2] {
    scene.change();
    drop(registrar);
    let begin = Instant::now();
    scene.change();
    let two = [(); 2].map(|()| Registrar::beside(scene.cluster, &scene.keys.url()));
    let (leader, other) = ranked(&two);
    takeover("killed and started again", begin);
    scene.settle("the registrar was killed");
    scene.change();
    scene.settle("two registrars at once");
    assert_eq!((leader.leads(), other.leads(), other.written()), (true, false, 0));
    two
}

/// Which one leads, and which does not, once exactly one does.
fn ranked(two: &[Registrar; 2]) -> (&Registrar, &Registrar) {
    let [one, another] = two;
    until("one registrar leads", MOST, || match (one.leads(), another.leads()) {
        (true, false) => Some((one, another)),
        (false, true) => Some((another, one)),
        _ => None,
    })
}

fn server_away(scene: &mut Scene<'_>) {
    scene.change();
    scene.cluster.kill_server();
    scene.change_behind();
    last(3, 30);
    scene.change_behind();
    scene.cluster.restart_server();
    scene.change();
    scene.settle("the API server was away");
    scene.change();
    scene.cluster.freeze_server();
    scene.change_behind();
    last(3, 30);
    scene.cluster.thaw_server();
    scene.change();
    scene.settle("the API server was frozen");
}

/// There are changes in between that no watch will tell.
fn watch_expired(scene: &mut Scene<'_>) {
    scene.change();
    scene.cluster.kill_server();
    scene.change_behind();
    scene.cluster.expire_watches();
    scene.change();
    scene.settle("the watches expired");
}

fn store_away(scene: &mut Scene<'_>) {
    scene.change();
    scene.keys.kill();
    scene.change();
    last(5, 60);
    scene.change();
    scene.keys.restart();
    scene.settle("etcd was away");
    scene.keys.freeze();
    scene.change();
    last(3, 30);
    scene.keys.thaw();
    scene.settle("etcd was frozen");
}

/// The leader is stopped with a transaction on its way and more to write, until long after its time: it may do nothing of
/// that when it goes on.
fn stopped(scene: &mut Scene<'_>, two: &[Registrar; 2]) {
    let (first, second) = ranked(two);
    let before = second.written();
    scene.keys.freeze();
    scene.change();
    until("the leader cannot write what it has to", MOST, || (first.pending() > 0).then_some(()));
    first.signal(Signal::SIGSTOP);
    let begin = Instant::now();
    scene.keys.thaw();
    until("the second leads", MOST, || second.leads().then_some(()));
    takeover("stopped", begin);
    let (epoch, revision) = scene.keys.epoch();
    scene.settle("the leader was stopped");

    scene.change();
    first.signal(Signal::SIGCONT);
    scene.change();
    until("the first follows", MOST, || (first.is_in_sync() && !first.leads()).then_some(()));
    scene.settle("the former leader goes on");
    assert_eq!((first.leads(), second.leads()), (false, true));
    assert_eq!(scene.keys.epoch(), (epoch, revision), "somebody else began an epoch");
    let (all, own) = (scene.history.transactions_after(revision), second.written() - before);
    assert!(own > 0 && all == own, "{all} transactions since the second leads, {own} of them its own");
}

/// A hand that takes what is ready: that is seen, and put back.
fn edited(scene: &mut Scene<'_>) {
    let mut keys =
        scene.owned().into_keys().filter(|key| key.starts_with("backends/default-steady-80/servers/"));
    let key = keys.next().unwrap();
    scene.keys.delete(&key);
    scene.wait_equal("a server was deleted by hand");
    assert_eq!(scene.judge(), (1, vec![key]));
}

#[test]
fn a_cluster_that_comes_back_empty_empties_nothing_until_it_is_confirmed() {
    let _machine = shared();
    in_cluster_with(&FLAGS, |cluster| {
        let mut scene = Scene::begin(cluster);
        let registrar = Registrar::ready(scene.cluster, &scene.keys.url());
        scene.start_traffic();
        scene.settle("a full cluster");
        let before = scene.owned();
        // Pods know nothing of it.
        scene.kubelet.pause();
        scene.cluster.start_over_empty();
        wait_held(&registrar);
        last(3, 90);
        assert_eq!(scene.owned(), before);

        // Another one begins with what is there, and holds the same.
        drop(registrar);
        scene.add("kept");
        scene.add("new");
        let registrar = Registrar::ready(scene.cluster, &scene.keys.url());
        wait_held(&registrar);
        until("what is new is in the store", MOST, || {
            (scene.keys.count("backends/default-new-0-80/servers/") == 3).then_some(())
        });
        last(3, 90);
        let owned = scene.owned();
        assert!(before.iter().all(|(key, value)| owned.get(key) == Some(value)), "something is gone");
        assert_eq!(owned.len(), before.len() + 5);
        scene.stop_traffic();

        let (code, text, error) = flipgate::verb(&["confirm", "--store", &scene.keys.url()], Path::new("/"));
        assert_eq!(code, 0, "{text}{error}");
        scene.wait_equal("the removals are confirmed");
        assert_eq!(registrar.held(), 0);
        until("the proxy has no such frontend", MOST, || (scene.status() == 404).then_some(()));
    });
}

/// Waits until at least all that is gone from Services without pods is held.
fn wait_held(registrar: &Registrar) {
    until("removals are held", MOST, || {
        (registrar.is_in_sync() && registrar.leads() && registrar.held() >= 4 * (kept() - 1)).then_some(())
    });
}

fn takeover(how: &str, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    assert!(figure("registrar_takeover", seconds, "s", &format!("the leader was {how}"), TAKEOVER_MAX));
}

/// How long something is away, in seconds.
fn last(quick: u64, at_full_length: u64) {
    std::thread::sleep(Duration::from_secs(scaled(quick, at_full_length)));
}
