//! Nothing that a store holds hurts more than itself.

use super::scene::{ALIAS, Scene};
use crate::spine::bad_objects::bad_objects;
use crate::support::keys::frontend;
use crate::support::{Keys, Pod, get, shared, until};
use serde_json::{Value, json};
use std::time::Duration;

const MOST: Duration = Duration::from_secs(30);

/// Keys of one transaction.
const KEYS: usize = 10_001;

#[test]
fn e09_garbage_hurts_only_itself_also_after_a_restart() {
    let _machine = shared();
    let flags = ["--unsafe-no-fsync", "--max-request-bytes=8388608", "--max-txn-ops=20000"];
    let mut keys = Keys::start_with(&flags);
    let pod = Pod::start("good-0");
    keys.put_backend("good", &[pod.address()]);
    keys.put_frontend("first", "Host(`first.example`)", "good");
    keys.put_frontend("again", "Host(`again.example`)", "good");
    let mut scene = Scene::on(keys);
    let load = scene.load();

    for bad in bad_objects() {
        scene.keys.put_bytes(bad.key, bad.value);
    }
    // Values of another version of everything, and keys that are none.
    let mut last = 0;
    for (key, value) in [
        (
            "frontends/next/frontend",
            json!({"Type": "http/9", "BackendId": "good", "Route": "Host(`next.example`)"}),
        ),
        ("backends/next/backend", json!({"Type": "quic"})),
        ("frontends", json!(1)),
        ("frontends//frontend", json!({})),
        ("nothing/of/ours", json!({})),
    ] {
        last = scene.keys.put(key, &value);
    }
    // Deleted and made again.
    for _ in 0..20 {
        scene.keys.delete("frontends/again/frontend");
        last = scene.keys.put_frontend("again", "Host(`again.example`)", "good");
    }
    scene.flipgate.admin().served(last);

    let many = (0..KEYS).map(|number| {
        let route = format!("Host(`k{number}.example`)");
        let value = if number == 5_000 { json!("?") } else { frontend(&route, "good") };
        (format!("frontends/k{number}/frontend"), value)
    });
    let last = scene.keys.put_together(&many.collect::<Vec<_>>());
    until("a transaction of 10,001 keys is served", MOST, || {
        let served = scene.flipgate.admin().status()["revision"].as_i64();
        served.is_some_and(|served| served >= last).then_some(())
    });
    expect(&scene);
    scene.flips(3, Duration::from_millis(50));
    load.stop_well("E09");

    for store in ["with the store", "from the disk"] {
        if store == "from the disk" {
            scene.keys.kill();
        }
        scene.flipgate.kill();
        scene.flipgate.start_again();
        scene.flipgate.wait_ready(MOST);
        expect(&scene);
        assert_eq!(scene.asked(), scene.colour(), "{store}");
    }
    assert!(!scene.flipgate.output().contains("panicked"), "{}", scene.flipgate.output());
}

/// Everything good serves, everything bad is listed.
fn expect(scene: &Scene) {
    for host in ["first.example", "again.example", "field.example", "k0.example", "k10000.example"] {
        assert_eq!(get(scene.address, host, "/").status, 200, "{host}");
    }
    assert_eq!(get(scene.address, "k5000.example", "/").status, 404);
    let problems = scene.flipgate.admin().problems();
    let is_listed = |key: &str| problems.iter().any(|problem| problem["key"] == key);
    for bad in bad_objects() {
        assert!(is_listed(bad.key), "{} is not listed", bad.what);
    }
    for key in ["frontends/next/frontend", "backends/next/backend", "frontends/k5000/frontend"] {
        assert!(is_listed(key), "{key} is not listed");
    }
}

/// A backend that loses all its pods answers 503; where that is most of the backends, their pods are held.
#[test]
fn e09_leases_of_all_pods_end_at_once() {
    let _machine = shared();
    let mut scene = Scene::start();
    scene.keys.put("backends/leased/backend", &json!({"Type": "http"}));
    for pod in &scene.sides[0] {
        let key = format!("backends/leased/servers/{}", pod.name());
        scene.keys.put_leased(&key, &pod.server(), 2);
    }
    let last = scene.keys.put_frontend("leased", "Host(`leased.example`)", "leased");
    scene.flipgate.admin().served(last);
    assert_eq!(get(scene.address, "leased.example", "/").status, 200);
    let load = scene.load();
    until("their leases end", MOST, || {
        (get(scene.address, "leased.example", "/").status == 503).then_some(())
    });
    let last = scene.keys.put(ALIAS, &json!({"Type": "alias", "Target": "shop-blue"}));
    scene.flipgate.admin().served(last);
    // Back with the next heartbeat.
    let pod = &scene.sides[0][0];
    let last = scene.keys.put(&format!("backends/leased/servers/{}", pod.name()), &pod.server());
    scene.flipgate.admin().served(last);
    assert_eq!(get(scene.address, "leased.example", "/").status, 200);
    load.stop_well("E09, leases");

    // More than half of the backends, and at least five: held.
    let mut puts = Vec::new();
    for number in 0..8 {
        puts.push((format!("backends/l{number}/backend"), json!({"Type": "http"})));
        puts.push((
            format!("frontends/l{number}/frontend"),
            frontend(&format!("Host(`l{number}.example`)"), &format!("l{number}")),
        ));
    }
    scene.keys.put_together(&puts);
    let servers = (0..8).map(|number| (format!("backends/l{number}/servers/a"), scene.sides[0][0].server()));
    let servers = servers.collect::<Vec<(String, Value)>>();
    scene.keys.put_together(&servers);
    let gone = servers.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let last = scene.keys.put(ALIAS, &json!({"Type": "alias", "Target": "shop-blue"}));
    scene.flipgate.admin().served(last);
    scene.keys.change_together(&[], &gone);
    scene
        .flipgate
        .admin()
        .state("servers are held", MOST, |status| status["held"].as_u64().is_some_and(|held| held >= 8));
    assert_eq!(get(scene.address, "l7.example", "/").status, 200);
}
