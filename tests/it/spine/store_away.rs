//! Line 5: the store may die, lose its data, or come back older; traffic does not notice.

use crate::support::keys::frontend;
use crate::support::{Flipgate, Keys, Load, Nginx, Relay, Wrk, figure, free_port, get, shared, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const HOST: &str = "shop.example";

/// A proxy on etcd with a way that leads to blue, and a green to go to.
struct Scene {
    blue: Nginx,
    green: Nginx,
    keys: Keys,
    address: SocketAddr,
}

impl Scene {
    fn new() -> Self {
        let (blue, green) = (Nginx::named("blue"), Nginx::named("green"));
        let mut keys = Keys::start();
        // A fixed port, so that load goes on over a restart of the proxy.
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener =
            json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": address.to_string()}});
        keys.put("listeners/http", &listener);
        keys.put_backend("blue", &[blue.address()]);
        keys.put_backend("green", &[green.address()]);
        keys.put_frontend("shop", "Host(`shop.example`)", "blue");
        Self { blue, green, keys, address }
    }

    fn load(&self) -> Wrk {
        Wrk::start(self.address, HOST, "/", 64, Duration::from_secs(120))
    }

    fn wait_for(&self, name: &str, most: Duration) {
        until(&format!("{name} answers"), most, || {
            (get(self.address, HOST, "/").text().trim_end() == name).then_some(())
        });
    }
}

fn nothing_failed(what: &str, load: Wrk) {
    let Load { requests, failed } = load.stop();
    println!("spine 5: {what}: {failed} failed of {requests} requests (bound 0) {}", verdict(failed));
    assert_eq!(failed, 0, "{what}: of {requests}");
    assert!(requests > 100, "{requests} requests are no load");
}

fn verdict(failed: u64) -> &'static str {
    if failed == 0 { "ok" } else { "TOO MUCH" }
}

fn is_connected(status: &Value) -> bool {
    status["store"]["connected"] == true
}

#[test]
fn line_5_etcd_killed_and_back() {
    let _machine = shared();
    let mut scene = Scene::new();
    let flipgate = Flipgate::on(&scene.keys.url()).ready();
    let load = scene.load();
    let before = flipgate.admin().status();
    assert!(is_connected(&before), "{before}");

    scene.keys.kill();
    let gone =
        flipgate.admin().state("the store is away", Duration::from_secs(15), |status| !is_connected(status));
    assert_eq!(gone["ready"], true, "{gone}");
    assert_eq!(gone["stale"], true, "{gone}");
    assert!(gone["store"]["since"].is_string(), "since when: {gone}");
    assert_eq!(gone["revision"], before["revision"], "{gone}");
    assert_eq!(get(scene.address, HOST, "/").text(), "blue\n");

    scene.keys.restart();
    let revision = scene.keys.put_frontend("shop", "Host(`shop.example`)", "green");
    flipgate.admin().served(revision);
    assert_eq!(get(scene.address, HOST, "/").text(), "green\n");
    let back = flipgate.admin().state("the store is back", Duration::from_secs(15), is_connected);
    assert_eq!(back["stale"], false, "{back}");
    nothing_failed("etcd killed and back", load);
}

fn any_file_holds(dir: &Path, text: &[u8]) -> bool {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut contents = files.filter_map(|file| std::fs::read(file.path()).ok());
    contents.any(|content| content.windows(text.len()).any(|window| window == text))
}

#[test]
fn line_5_a_start_without_etcd_serves_from_disk_within_a_second() {
    let _machine = shared();
    let mut scene = Scene::new();
    scene.keys.put_frontend("api", "Host(`api.example`)", "green");
    // The value that the store holds is not in force; its last good form is.
    let last = scene.keys.put_bytes("frontends/api/frontend", b"{\"Route\": ".to_vec());
    let mut flipgate = Flipgate::on(&scene.keys.url()).start();
    flipgate.wait_ready(Duration::from_secs(20));
    flipgate.admin().served(last);
    // It never saw the good form; one more good and bad form, and it has.
    scene.keys.put_frontend("api", "Host(`api.example`)", "green");
    let last = scene.keys.put_bytes("frontends/api/frontend", b"{\"Route\": ".to_vec());
    flipgate.admin().served(last);
    assert_eq!(get(scene.address, "api.example", "/").text(), "green\n");
    until("the good form is on the disk", Duration::from_secs(2), || {
        any_file_holds(&flipgate.data_dir(), b"api.example").then_some(())
    });

    for how in ["killed", "stopped"] {
        scene.keys.kill();
        if how == "killed" {
            flipgate.kill()
        } else {
            assert!(flipgate.stop().success())
        }
        flipgate.start_again();
        flipgate.wait_ready(Duration::from_secs(20));
        let seconds = flipgate.started().elapsed().as_secs_f64();
        assert!(figure("spine 5: ready without etcd", seconds, "s", &format!("proxy {how}"), 1.0));
        assert_eq!(get(scene.address, HOST, "/").text(), "blue\n");
        assert_eq!(
            get(scene.address, "api.example", "/").text(),
            "green\n",
            "the last good form is kept: {:?}",
            flipgate.admin().problems()
        );
        let status = flipgate.admin().status();
        assert!(!is_connected(&status) && status["stale"] == true, "{status}");
        let problem =
            flipgate.admin().problem("the broken frontend", |one| one["key"] == "frontends/api/frontend");
        assert_eq!(problem["inForce"], "previous", "{problem}");
        scene.keys.restart();
    }

    let load = scene.load();
    let revision = scene.keys.put_frontend("shop", "Host(`shop.example`)", "green");
    flipgate.admin().served(revision);
    assert_eq!(get(scene.address, HOST, "/").text(), "green\n", "it catches up");
    nothing_failed("started without etcd, then caught up", load);
}

#[test]
fn line_5_a_start_with_neither_etcd_nor_disk_is_not_ready() {
    let _machine = shared();
    let nobody = format!("etcd://127.0.0.1:{}", free_port());
    let mut flipgate = Flipgate::on(&nobody).arguments(&["--require-table", "1s"]).start();
    let begin = Instant::now();
    let asked = flipgate.admin().address();
    if let Ok(mut connection) = crate::support::Connection::try_open(asked) {
        connection
            .try_send(b"GET /v3/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        if let Ok(answer) = connection.try_answer(false) {
            assert_eq!(answer.json()["ready"], false, "{}", answer.text());
        }
    }
    let status = flipgate.end(Duration::from_secs(10));
    assert_eq!(status.code(), Some(3), "{}", flipgate.output());
    assert!(begin.elapsed() < Duration::from_secs(8));
}

#[test]
fn line_5_an_etcd_that_hangs_is_noticed() {
    let _machine = shared();
    let scene = Scene::new();
    let flipgate = Flipgate::on(&scene.keys.url()).ready();
    let load = scene.load();
    scene.keys.freeze();
    flipgate.admin().state("the store is away", Duration::from_secs(20), |status| !is_connected(status));
    scene.keys.thaw();
    flipgate.admin().state("the store is back", Duration::from_secs(20), is_connected);
    nothing_failed("etcd hangs for a while", load);
}

/// Enough frontends for their removal to be held.
fn put_more(keys: &mut Keys) -> i64 {
    let more = (0..40).map(|number| {
        let value = frontend(&format!("Host(`m{number}.example`)"), "green");
        (format!("frontends/m{number}/frontend"), value)
    });
    keys.put_many(&more.collect::<Vec<_>>())
}

#[test]
fn line_5_a_wiped_prefix_is_held_until_confirmed() {
    let _machine = shared();
    let mut scene = Scene::new();
    let last = put_more(&mut scene.keys);
    let flipgate = Flipgate::on(&scene.keys.url()).ready();
    flipgate.admin().served(last);
    let load = scene.load();

    let revision = scene.keys.delete_all();
    flipgate.admin().served(revision);
    let status = flipgate.admin().state("objects are held", Duration::from_secs(10), |status| {
        status["held"].as_u64().is_some_and(|held| held >= 41)
    });
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(get(scene.address, HOST, "/").text(), "blue\n");
    assert_eq!(get(scene.address, "m39.example", "/").text(), "green\n");
    nothing_failed("wiped prefix", load);

    let answer = flipgate.admin().send("POST", "/v3/confirm", &[], Some(&json!({})));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let held_none = |status: &Value| status["held"] == 0;
    flipgate.admin().state("nothing is held", Duration::from_secs(10), held_none);
    // What is let go leaves the table a moment later.
    until("no route is served", Duration::from_secs(10), || {
        flipgate.admin().json("/v3/routes")["routes"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn line_5_a_wiped_etcd_is_held_and_data_put_back_are_served() {
    let _machine = shared();
    let mut scene = Scene::new();
    let last = put_more(&mut scene.keys);
    let flipgate = Flipgate::on(&scene.keys.url()).ready();
    flipgate.admin().served(last);
    let load = scene.load();

    scene.keys.wipe();
    scene.keys.restart();
    flipgate.admin().state("objects are held", Duration::from_secs(30), |status| {
        status["held"].as_u64().is_some_and(|held| held >= 41)
    });
    assert_eq!(get(scene.address, HOST, "/").text(), "blue\n");

    let address = scene.address.to_string();
    let listener = json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": address}});
    scene.keys.put("listeners/http", &listener);
    scene.keys.put_backend("blue", &[scene.blue.address()]);
    scene.keys.put_backend("green", &[scene.green.address()]);
    scene.keys.put_frontend("shop", "Host(`shop.example`)", "green");
    put_more(&mut scene.keys);
    scene.wait_for("green", Duration::from_secs(10));
    flipgate.admin().state("nothing is held", Duration::from_secs(10), |status| status["held"] == 0);
    nothing_failed("wiped etcd, data put back", load);
}

#[test]
fn line_5_an_older_backup_is_served_as_it_is() {
    let _machine = shared();
    let mut scene = Scene::new();
    let flipgate = Flipgate::on(&scene.keys.url()).ready();
    let load = scene.load();
    let backup = scene.keys.backup();
    scene.keys.restart();
    let mut last = 0;
    for _ in 0..20 {
        last = scene.keys.put_frontend("shop", "Host(`shop.example`)", "green");
    }
    flipgate.admin().served(last);
    scene.wait_for("green", Duration::from_secs(1));

    scene.keys.restore(&backup);
    scene.keys.restart();
    scene.wait_for("blue", Duration::from_secs(20));
    flipgate.admin().state("it is in sync", Duration::from_secs(10), |status| status["stale"] == false);
    // Once every worker serves the older table, not only the one that answered.
    flipgate.admin().state("the revision goes back", Duration::from_secs(10), |status| {
        status["revision"].as_i64().is_some_and(|revision| revision < last)
    });
    // And from there on as ever.
    let revision = scene.keys.put_frontend("shop", "Host(`shop.example`)", "green");
    flipgate.admin().served(revision);
    assert_eq!(get(scene.address, HOST, "/").text(), "green\n");
    nothing_failed("older backup restored", load);
}

#[test]
fn line_5_a_compaction_while_cut_off_ends_in_the_exact_table() {
    let _machine = shared();
    let mut scene = Scene::new();
    let relay = Relay::to(scene.keys.address());
    scene.keys.put_frontend("old", "Host(`old.example`)", "blue");
    let flipgate = Flipgate::on(&format!("etcd://{}", relay.address())).ready();
    assert_eq!(get(scene.address, "old.example", "/").status, 200);
    let load = scene.load();

    relay.cut();
    flipgate.admin().state("the store is away", Duration::from_secs(15), |status| !is_connected(status));
    scene.keys.delete("frontends/old/frontend");
    scene.keys.put_frontend("new", "Host(`new.example`)", "green");
    let last = scene.keys.put_frontend("shop", "Host(`shop.example`)", "green");
    scene.keys.compact(last);
    relay.mend();

    flipgate.admin().served(last);
    assert_eq!(get(scene.address, HOST, "/").text(), "green\n");
    assert_eq!(get(scene.address, "new.example", "/").text(), "green\n");
    assert_eq!(get(scene.address, "old.example", "/").status, 404);
    nothing_failed("compaction while cut off", load);
}
