//! The store dies, loses its data, or comes back older; traffic does not notice.
//!
//! The quick forms keep etcd away for seconds in place of ten minutes.

use super::scene::{ALIAS, HOST, Scene};
use crate::support::keys::{alias, frontend};
use crate::support::{Flipgate, Keys, Relay, figure, free_port, get, scaled, shared, until};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const MOST: Duration = Duration::from_secs(15);

/// Frontends enough for their removal to be held.
const MANY: usize = 40;

fn put_many(keys: &mut Keys) -> i64 {
    let one = |number| {
        let value = frontend(&format!("Host(`m{number}.example`)"), "shop-green");
        (format!("frontends/m{number}/frontend"), value)
    };
    keys.put_many(&(0..MANY).map(one).collect::<Vec<_>>())
}

fn is_held(status: &Value) -> bool {
    status["held"].as_u64().is_some_and(|held| held > MANY as u64)
}

#[test]
fn e01_etcd_killed_and_back() {
    let _machine = shared();
    let mut scene = Scene::start();
    let load = scene.load();
    scene.flips(3, Duration::from_millis(100));
    let before = scene.flipgate.admin().status();
    assert_eq!((&before["store"]["connected"], &before["stale"]), (&true.into(), &false.into()), "{before}");

    scene.keys.kill();
    scene.wait_connected(false, MOST);
    let age = scene.metric("flipgate_store_in_sync_seconds");
    std::thread::sleep(scaled(Duration::from_secs(3), Duration::from_secs(600)));
    let gone = scene.flipgate.admin().status();
    assert_eq!((&gone["ready"], &gone["stale"]), (&true.into(), &true.into()), "{gone}");
    assert!(gone["store"]["since"].is_string(), "since when: {gone}");
    assert_eq!(gone["revision"], before["revision"], "{gone}");
    assert_eq!(scene.asked(), scene.colour());
    assert!(scene.metric("flipgate_store_in_sync_seconds") >= age + 2.0, "the age rises");
    assert_eq!(scene.metric("flipgate_store_connected"), 0.0);
    assert_eq!(get(scene.health, "localhost", "/readyz").status, 200);

    scene.keys.restart();
    scene.wait_connected(true, MOST);
    let seen = scene.flips(5, Duration::from_millis(50));
    let fits = figure("failures E01: a flip after the return", seen.as_secs_f64(), "s", "of 5, slowest", 1.0);
    assert!(fits && seen < Duration::from_secs(5), "{seen:?}");
    let back = scene.flipgate.admin().state("in sync", MOST, |status| status["stale"] == false);
    assert_eq!(back["store"]["connected"], true, "{back}");
    load.stop_well("E01");
}

fn any_file_holds(dir: &Path, text: &[u8]) -> bool {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut contents = files.filter_map(|file| std::fs::read(file.path()).ok());
    contents.any(|content| content.windows(text.len()).any(|window| window == text))
}

#[test]
fn e02_a_start_without_etcd_serves_from_disk() {
    let _machine = shared();
    let mut scene = Scene::start();
    // The value that the store holds is not in force; its last good form is.
    let good = frontend("Host(`api.example`)", "shop-green");
    let last = scene.keys.put("frontends/api/frontend", &good);
    scene.flipgate.admin().served(last);
    let last = scene.keys.put_bytes("frontends/api/frontend", b"{\"Route\": ".to_vec());
    scene.flipgate.admin().served(last);
    assert_eq!(get(scene.address, "api.example", "/").status, 200);
    let dir = scene.flipgate.data_dir();
    until("it is on the disk", MOST, || any_file_holds(&dir, b"{\"Route\": ").then_some(()));

    for how in ["killed", "stopped"] {
        scene.keys.kill();
        if how == "killed" {
            scene.flipgate.kill();
        } else {
            assert!(scene.flipgate.stop().success());
        }
        scene.flipgate.start_again();
        scene.flipgate.wait_ready(MOST);
        let seconds = scene.flipgate.started().elapsed().as_secs_f64();
        assert!(figure("failures E02: ready without etcd", seconds, "s", how, 1.0));
        assert_eq!(scene.asked(), scene.colour());
        assert_eq!(get(scene.address, "api.example", "/").status, 200, "the last good form is kept");
        let status = scene.flipgate.admin().status();
        assert!(status["store"]["connected"] == false && status["stale"] == true, "{status}");
        let broken = |problem: &Value| problem["key"] == "frontends/api/frontend";
        let problem = scene.flipgate.admin().problem("the broken frontend", broken);
        assert_eq!(problem["inForce"], "previous", "{problem}");
        let load = scene.load();
        scene.keys.restart();
        scene.wait_connected(true, MOST);
        scene.flips(3, Duration::from_millis(50));
        load.stop_well(&format!("E02, {how}"));
    }
}

#[test]
fn e03_a_start_with_neither_etcd_nor_disk_is_not_ready() {
    let _machine = shared();
    let port = free_port();
    let health = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let url = format!("etcd://127.0.0.1:{port}");
    let arguments = ["--health", &health.to_string()];
    let mut flipgate = Flipgate::on(&url).arguments(&arguments).start();
    // It stays, is not ready, and tries again at its pace.
    std::thread::sleep(Duration::from_secs(2));
    let readiness = get(health, "localhost", "/readyz");
    assert_eq!(readiness.status, 503, "{}", readiness.text());
    assert_eq!(get(health, "localhost", "/healthz").status, 200);
    assert_eq!(flipgate.admin().status()["ready"], false);
    let lines = flipgate.output().lines().count();
    assert!(lines < 60, "a hot loop logs:\n{}", flipgate.output());
    assert!(flipgate.stop().success(), "{}", flipgate.output());

    let begin = Instant::now();
    let mut flipgate = Flipgate::on(&url).arguments(&["--require-table", "1s"]).start();
    assert_eq!(flipgate.end(MOST).code(), Some(3), "{}", flipgate.output());
    assert!(begin.elapsed() < MOST);
}

#[test]
fn e04_a_compaction_while_cut_off_ends_in_the_exact_table() {
    let _machine = shared();
    let mut keys = Keys::start_with(&["--unsafe-no-fsync"]);
    keys.put_frontend("old", "Host(`old.example`)", "shop-blue");
    let relay = Relay::to(keys.address());
    let url = format!("etcd://{}", relay.address());
    let mut scene = Scene::with(keys, &url, |builder| builder);
    assert_eq!(get(scene.address, "old.example", "/").status, 200);
    let load = scene.load();

    relay.cut();
    scene.wait_connected(false, MOST);
    let swaps = scene.metric("flipgate_swap_seconds_count");
    scene.keys.delete("frontends/old/frontend");
    scene.keys.put_frontend("new", "Host(`new.example`)", "shop-green");
    let value = scene.turn();
    let last = scene.keys.put(ALIAS, &value);
    scene.keys.compact(last);
    relay.mend();

    scene.wait_served(last);
    assert_eq!(scene.asked(), scene.colour());
    assert_eq!(get(scene.address, "new.example", "/").status, 200);
    assert_eq!(get(scene.address, "old.example", "/").status, 404);
    let swaps = scene.metric("flipgate_swap_seconds_count") - swaps;
    assert_eq!(swaps, 1.0, "swaps for everything that was missed");
    load.stop_well("E04");
}

#[test]
fn e05_a_wiped_prefix_is_held_until_confirmed() {
    let _machine = shared();
    let mut scene = Scene::start();
    let last = put_many(&mut scene.keys);
    scene.flipgate.admin().served(last);
    let load = scene.load();

    let revision = scene.keys.delete_all();
    scene.flipgate.admin().served(revision);
    let status = scene.flipgate.admin().state("objects are held", MOST, is_held);
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(get(scene.address, "m39.example", "/").status, 200);
    load.stop_well("E05, wiped prefix");

    let answer = scene.flipgate.admin().send("POST", "/v3/confirm", &[], Some(&serde_json::json!({})));
    assert_eq!(answer.status, 200, "{}", answer.text());
    scene.flipgate.admin().state("nothing is held", MOST, |status| status["held"] == 0);
    until("no route is served", MOST, || {
        scene.flipgate.admin().json("/v3/routes")["routes"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn e05_a_wiped_etcd_is_held_and_data_put_back_are_served() {
    let _machine = shared();
    let mut scene = Scene::start();
    let last = put_many(&mut scene.keys);
    scene.flipgate.admin().served(last);
    let load = scene.load();

    scene.keys.wipe();
    scene.keys.restart();
    scene.flipgate.admin().state("objects are held", Duration::from_secs(30), is_held);
    assert_eq!(scene.asked(), "blue");
    scene.put_table();
    put_many(&mut scene.keys);
    scene.flipgate.admin().state("nothing is held", MOST, |status| status["held"] == 0);
    scene.flips(3, Duration::from_millis(50));
    load.stop_well("E05, wiped etcd");
}

#[test]
fn e05_an_older_backup_is_served_as_it_is() {
    let _machine = shared();
    let mut scene = Scene::start();
    let load = scene.load();
    let backup = scene.keys.backup();
    scene.keys.restart();
    scene.flips(9, Duration::from_millis(20));
    assert_eq!(scene.colour(), "green");
    let last = scene.keys.put(ALIAS, &alias("shop-green"));
    scene.flipgate.admin().served(last);

    scene.turn();
    scene.keys.restore(&backup);
    scene.keys.restart();
    let noticed = Instant::now();
    // Once every worker serves the older table, not only the one that answered.
    scene.flipgate.admin().state("the revision goes back", Duration::from_secs(30), |status| {
        status["revision"].as_i64().is_some_and(|revision| revision < last) && status["stale"] == false
    });
    let noticed = noticed.elapsed().as_secs_f64();
    let fits = figure("failures E05: an older store is served", noticed, "s", "from its start", 6.0);
    scene.colours.served();
    assert_eq!(scene.asked(), "blue");
    scene.flips(3, Duration::from_millis(50));
    assert!(fits);
    load.stop_well("E05, older backup");
}

#[test]
fn e07_an_etcd_that_hangs_is_noticed() {
    let _machine = shared();
    let mut scene = Scene::start();
    let load = scene.load();
    scene.keys.freeze();
    let noticed = scene.wait_connected(false, Duration::from_secs(40));
    scene.keys.thaw();
    assert!(figure("failures E07: a frozen etcd is noticed", noticed.as_secs_f64(), "s", "keep-alive", 15.0));
    scene.wait_connected(true, MOST);
    scene.flips(3, Duration::from_millis(50));
    assert_eq!(get(scene.address, HOST, "/").status, 200);
    load.stop_well("E07");
}
