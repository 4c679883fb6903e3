//! Whatever happens in whatever order, the store ends equal to the conversion of the cluster, and no frontend of the
//! registrar ever leads to a backend that is not there.

use super::scene::{Running, Scene, Trouble, endpoint_lists, pod, service};
use crate::kubernetes::Name;
use crate::model::{Object, ObjectKey, Strictness, owner};
use crate::registrar::Change;
use crate::store::{self, Area, Event, Store};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn the_store_ends_equal_to_the_cluster() {
    for _ in 0..12 {
        let seed: u64 = rand::random();
        // Shown where the test fails.
        #[allow(clippy::print_stdout)]
        {
            println!("seed {seed}");
        }
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Scene::new();
    scene.trouble.operations_max.store(*[4, 16, 128].choose(&mut random).unwrap(), Ordering::Relaxed);
    let reader = tokio::spawn(read(scene.store.clone()));
    scene.listed();
    let mut runner = scene.start("0");
    let mut is_lost = false;
    for step in 0..120 {
        match random.random_range(0..100) {
            0..30 => scene.see(random_service(&mut random)),
            30..65 => scene.see(random_slice(&mut random)),
            65..72 => scene.see(random_pod(&mut random)),
            72..80 => meddle(&scene, &mut random),
            80..84 => scene.trouble.on_routing(Trouble::LoseAnswer),
            84..88 => scene.trouble.on_routing(Trouble::LoseQuestion),
            88..91 => scene.store.set_outage(Some("gone")),
            91..94 => scene.store.set_outage(None),
            94..96 => {
                is_lost = !is_lost;
                if is_lost { scene.lost() } else { scene.listed() }
            }
            96..98 => runner = restart(&scene, runner, &step.to_string(), random.random()).await,
            _ => sleep(Duration::from_millis(random.random_range(0..2_000))).await,
        }
        sleep(Duration::from_millis(random.random_range(0..20))).await;
    }
    scene.store.set_outage(None);
    scene.listed();
    for _ in 0..20 {
        // Removals that are held want a word each time.
        sleep(Duration::from_secs(20)).await;
        scene.confirm();
    }
    scene.settled().await;
    runner.stop().await;
    reader.abort();
    if let Err(error) = reader.await
        && error.is_panic()
    {
        panic!("seed {seed}: {error}");
    }
}

async fn restart(scene: &Scene, runner: Running, holder: &str, is_sudden: bool) -> Running {
    if is_sudden {
        runner.kill().await;
    } else {
        runner.stop().await;
    }
    scene.start(holder)
}

/// Reads as a proxy does, revision by revision.
async fn read(store: store::memory::MemoryStore) {
    let mut feed = store.follow(Area::Routing);
    let mut table: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    while let Some(event) = feed.recv().await {
        match event {
            Event::Snapshot(snapshot) => {
                let entries = snapshot.entries.into_iter();
                table = entries.map(|entry| (entry.key.into(), entry.value.to_vec())).collect();
            }
            Event::Batch(batch) => {
                for change in batch.changes {
                    match change {
                        store::Change::Put(entry) => {
                            table.insert(entry.key.into(), entry.value.to_vec());
                        }
                        store::Change::Delete { key } => {
                            table.remove(&*key);
                        }
                    }
                }
            }
            _ => continue,
        }
        for (key, value) in &table {
            let object_key = ObjectKey::parse(key).unwrap();
            let value: serde_json::Value = serde_json::from_slice(value).unwrap();
            let Some(Object::Frontend(frontend)) =
                Object::parse_value(&object_key, &value, Strictness::Stored).object
            else {
                continue;
            };
            let is_ours = owner(&value).is_some_and(|owner| owner.starts_with("kubernetes:service/"));
            for backend in frontend.backends().filter(|_| is_ours) {
                let is_there = table.contains_key(&format!("backends/{backend}/backend"));
                assert!(is_there, "{key} leads to {backend}, which is not there");
            }
        }
    }
}

fn random_service(random: &mut StdRng) -> Change {
    let name = format!("s{}", random.random_range(0..30));
    match random.random_range(0..4) {
        0 => Change::Service(Name::new("shop", &name), None),
        1 => service(&name, None, 1),
        2 => service(&name, Some("Nonsense("), 1),
        _ => service(&name, Some(&format!("Host(`{name}.example`)")), random.random_range(0..3)),
    }
}

fn random_slice(random: &mut StdRng) -> Change {
    let name = format!("s{}", random.random_range(0..30));
    let readiness = ["ready", "ready", "ending", "not-ready"];
    let endpoints: Vec<String> = (0..random.random_range(0..6))
        .map(|n| format!("10.0.0.{n} {}", readiness.choose(random).unwrap()))
        .collect();
    endpoint_lists(&name, &endpoints.iter().map(String::as_str).collect::<Vec<_>>())
}

fn random_pod(random: &mut StdRng) -> Change {
    let name = format!("p{}", random.random_range(0..6));
    match random.random() {
        true => pod(&name, "own", &format!("10.1.0.{}", random.random_range(0..9))),
        false => Change::Pod(Name::new("shop", &name), None),
    }
}

/// Somebody edits the store. Backends of the registrar stay, since the reader looks at every revision.
fn meddle(scene: &Scene, random: &mut StdRng) {
    let n = random.random_range(0..30);
    match random.random_range(0..6) {
        0 => scene.put("backends/shop-own/backend", r#"{"Type": "http"}"#),
        1 => scene.delete("backends/shop-own/backend"),
        2 => scene.put(
            &format!("backends/shop-s{n}-80/servers/10.0.0.1:8080"),
            r#"{"URL": "http://9.9.9.9:9", "Owner": "kubernetes:by/hand"}"#,
        ),
        3 => scene.delete(&format!("backends/shop-s{n}-80/servers/10.0.0.1:8080")),
        4 => scene.delete(&format!("frontends/shop-s{n}/frontend")),
        _ => scene
            .put(&format!("frontends/shop-s{n}"), r#"{"Owner": "kubernetes:old/hand", "BackendId": "x"}"#),
    }
}
