//! The whole loop against a store in memory, with what is seen of a cluster as a script.

mod chance;
mod leading;
mod scene;
mod size;

use crate::kubernetes::lease::Leadership;
use crate::registrar::Kind;
use scene::{Scene, Trouble, endpoint_lists, service};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_service_becomes_a_table_and_a_pod_one_transaction() {
    let scene = Scene::new();
    scene.see(service("web", Some("Host(`web.example`)"), 1));
    scene.see(endpoint_lists("web", &["10.0.0.1 ready", "10.0.0.2 ready"]));
    scene.listed();
    let runner = scene.start("one");
    scene.settled().await;
    assert_eq!(
        scene.keys().await,
        [
            "backends/shop-web-80/backend",
            "backends/shop-web-80/servers/10.0.0.1:8080",
            "backends/shop-web-80/servers/10.0.0.2:8080",
            "frontends/shop-web/frontend",
        ]
    );
    let before = scene.store.revision().0;
    scene.see(endpoint_lists("web", &["10.0.0.1 ending", "10.0.0.2 ready", "10.0.0.3 ready"]));
    scene.settled().await;
    assert_eq!(scene.store.revision().0, before + 1);
    let value = scene.value("backends/shop-web-80/servers/10.0.0.1:8080").await;
    assert_eq!(value["Owner"], json!("kubernetes:service/shop/web"));
    assert_eq!(value["State"], json!("draining"));
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_it_was_down_is_made_good() {
    let scene = Scene::new();
    for n in 0..4 {
        scene.see(service(&format!("s{n}"), Some(&format!("Host(`s{n}.example`)")), 1));
        scene.see(endpoint_lists(&format!("s{n}"), &["10.0.0.1 ready"]));
    }
    scene.listed();
    let runner = scene.start("one");
    scene.settled().await;
    runner.kill().await;
    scene.put("frontends/foreign/frontend", r#"{"BackendId": "x"}"#);
    scene.put(
        "backends/shop-s1-80/servers/10.0.0.1:8080",
        r#"{"URL": "http://1.1.1.1:1", "Owner": "kubernetes:x"}"#,
    );
    scene.delete("backends/shop-s2-80/backend");
    scene.see(service("s0", None, 1));
    scene.see(endpoint_lists("s3", &["10.0.0.9 ready"]));
    let runner = scene.start("two");
    scene.settled().await;
    let keys = scene.keys().await;
    assert!(keys.contains(&"frontends/foreign/frontend".to_owned()), "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains("s0")), "{keys:?}");
    assert_eq!(keys.len(), 1 + 3 * 3);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_by_hand_is_put_back_and_what_others_hold_stays() {
    let scene = Scene::new();
    scene.put("frontends/shop-b/frontend", r#"{"BackendId": "mine"}"#);
    for name in ["a", "b"] {
        scene.see(service(name, Some(&format!("Host(`{name}.example`)")), 1));
        scene.see(endpoint_lists(name, &["10.0.0.1 ready"]));
    }
    scene.listed();
    let runner = scene.start("one");
    scene.settled().await;
    assert_eq!(scene.value("frontends/shop-b/frontend").await, json!({"BackendId": "mine"}));
    assert_eq!(runner.progress().errors, 1);
    let ours = scene.value("frontends/shop-a/frontend").await;
    scene.put("frontends/shop-a/frontend", r#"{"BackendId": "shop-b-80", "Owner": "kubernetes:by/hand"}"#);
    scene.delete("backends/shop-a-80/servers/10.0.0.1:8080");
    scene.settled().await;
    assert_eq!(scene.value("frontends/shop-a/frontend").await, ours);
    // Without the mark it is somebody else's, and once it is gone the registrar's again.
    scene.put("frontends/shop-a/frontend", r#"{"BackendId": "shop-b-80"}"#);
    runner.until(|progress| progress.errors == 2).await;
    assert_eq!(scene.value("frontends/shop-a/frontend").await, json!({"BackendId": "shop-b-80"}));
    scene.delete("frontends/shop-a/frontend");
    runner.until(|progress| progress.errors == 1).await;
    scene.settled().await;
    assert_eq!(scene.value("frontends/shop-a/frontend").await, ours);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_before_everything_is_known_nor_while_a_kind_is_lost() {
    let scene = Scene::new();
    scene.see(service("a", Some("Host(`a.example`)"), 1));
    scene.see(endpoint_lists("a", &["10.0.0.1 ready", "10.0.0.2 ready"]));
    scene.listed();
    scene.start("one").settle(&scene).await.kill().await;
    let before = (scene.store.revision(), scene.keys().await);
    // The new one has seen only a part of the cluster so far.
    scene.forget();
    scene.see(service("a", Some("Host(`a.example`)"), 1));
    let runner = scene.start("two");
    runner.until(|progress| progress.leading && progress.store_away.is_none()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(scene.keys().await, before.1);
    scene.see(endpoint_lists("a", &["10.0.0.1 ready", "10.0.0.2 ready"]));
    scene.listed();
    scene.settled().await;
    scene.lost();
    scene.see(endpoint_lists("a", &["10.0.0.2 ready", "10.0.0.3 ready"]));
    runner.until(|progress| !progress.is_in_sync()).await;
    scene.until_key("backends/shop-a-80/servers/10.0.0.3:8080").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(scene.keys().await.contains(&"backends/shop-a-80/servers/10.0.0.1:8080".to_owned()));
    scene.listed();
    scene.settled().await;
    assert!(!scene.keys().await.contains(&"backends/shop-a-80/servers/10.0.0.1:8080".to_owned()));
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn secrets_that_may_not_be_read_keep_nothing_else() {
    let scene = Scene::new();
    scene.see(service("a", Some("Host(`a.example`)"), 1));
    scene.see(endpoint_lists("a", &["10.0.0.1 ready"]));
    scene.listed();
    // Of a time when it could be read.
    scene.put("hosts/a.example/host", r#"{"Owner": "kubernetes:secret/shop/a"}"#);
    let until = Instant::now() + Duration::from_secs(1_000_000);
    let kinds = [Kind::Service, Kind::Slice, Kind::Pod, Kind::Secret];
    let runner = scene.start_watching(&kinds, "one", Leadership::Leads { until, term: 1 });
    runner.until(|progress| progress.leading).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(scene.keys().await.len(), 1, "nothing is known of Secrets yet");
    scene.denied();
    scene.until_key("frontends/shop-a/frontend").await;
    runner.until(|progress| progress.is_in_sync() && progress.pending == 0).await;
    assert!(runner.progress().text().contains("secrets: not read: forbidden\n"));
    scene.see(endpoint_lists("a", &["10.0.0.2 ready"]));
    scene.until_key("backends/shop-a-80/servers/10.0.0.2:8080").await;
    runner.until(|progress| progress.pending == 0).await;
    let keys = scene.keys().await;
    assert!(!keys.contains(&"backends/shop-a-80/servers/10.0.0.1:8080".to_owned()), "{keys:?}");
    assert!(keys.contains(&"hosts/a.example/host".to_owned()), "{keys:?}");
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_join_a_backend_of_somebody_else_when_it_appears() {
    let scene = Scene::new();
    scene.see(scene::pod("web-1", "web", "10.0.0.7"));
    scene.listed();
    let runner = scene.start("one");
    scene.settled().await;
    assert_eq!(scene.keys().await, [""; 0]);
    scene.put("backends/shop-web", r#"{"Type": "http"}"#);
    scene.until_key("backends/shop-web/servers/10.0.0.7:8080").await;
    scene.delete("backends/shop-web");
    scene.settled().await;
    assert_eq!(scene.keys().await, [""; 0]);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mass_removal_waits_for_a_word() {
    let scene = Scene::new();
    for n in 0..30 {
        scene.see(service(&format!("s{n}"), Some(&format!("Host(`s{n}.example`)")), 1));
        scene.see(endpoint_lists(&format!("s{n}"), &["10.0.0.1 ready"]));
    }
    scene.listed();
    let runner = scene.start("one");
    scene.settled().await;
    let before = scene.keys().await;
    // The API server came back with an empty list.
    scene.forget();
    scene.listed();
    runner.until(|progress| progress.held > 0).await;
    assert_eq!(scene.keys().await, before);
    // Everything else goes on, and what comes back is free.
    scene.see(service("s0", Some("Host(`s0.example`)"), 1));
    scene.see(endpoint_lists("s0", &["10.0.0.1 ready", "10.0.0.2 ready"]));
    scene.until_key("backends/shop-s0-80/servers/10.0.0.2:8080").await;
    assert_eq!(runner.progress().held, 29 * 3);
    let confirmed = scene.store.revision();
    scene.confirm();
    scene.settled().await;
    assert_eq!(scene.keys().await.len(), 4);
    assert_eq!(runner.progress().held, 0);
    // Proxies hold by the same rule, and what they have to let go is later than the confirmation, which is later than
    // what was confirmed.
    assert!(scene.confirmed_to_proxies().await.0 >= confirmed.0 + 2);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_changed_under_its_hands_plans_again() {
    let scene = Scene::new();
    scene.see(service("a", Some("Host(`a.example`)"), 1));
    scene.see(endpoint_lists("a", &["10.0.0.1 ready"]));
    scene.listed();
    // Just before the first transaction somebody else takes one of its keys.
    scene
        .trouble
        .on_routing(Trouble::Write("backends/shop-a-80/backend", r#"{"Owner": "kubernetes:by/hand"}"#));
    let runner = scene.start("one");
    scene.settled().await;
    assert_eq!(scene.value("backends/shop-a-80/backend").await["Type"], json!("http"));
    assert!(runner.metrics().contains("flipgate_registrar_conflicts_total 1"), "{}", runner.metrics());
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_caught_up_with() {
    let scene = Scene::new();
    scene.see(service("a", Some("Host(`a.example`)"), 1));
    scene.see(endpoint_lists("a", &["10.0.0.1 ready"]));
    scene.listed();
    let runner = scene.start("one");
    scene.settled().await;
    scene.store.set_outage(Some("gone"));
    scene.see(endpoint_lists("a", &["10.0.0.2 ready"]));
    scene.see(service("b", Some("Host(`b.example`)"), 1));
    runner.until(|progress| progress.store_away.is_some()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    scene.delete("frontends/shop-a/frontend");
    scene.store.set_outage(None);
    scene.settled().await;
    // An answer that got lost: whether the transaction took place, the store itself tells.
    for trouble in [Trouble::LoseAnswer, Trouble::LoseQuestion] {
        scene.trouble.on_routing(trouble);
        scene.see(endpoint_lists("a", &["10.0.0.3 ready"]));
        scene.settled().await;
        scene.see(endpoint_lists("a", &["10.0.0.4 ready"]));
        scene.settled().await;
    }
    // A backup from before everything.
    scene.store.wipe();
    scene.settled().await;
    assert!(scene.keys().await.len() > 4);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_object_that_the_store_refuses_keeps_no_other() {
    let scene = Scene::new();
    for name in ["a", "b", "c"] {
        scene.see(service(name, Some(&format!("Host(`{name}.example`)")), 1));
    }
    scene.listed();
    scene.trouble.refuse("frontends/shop-b/frontend");
    let runner = scene.start("one");
    scene.until_key("frontends/shop-c/frontend").await;
    runner.until(|progress| progress.errors == 1).await;
    assert_eq!(scene.keys().await.len(), 5);
    runner.stop().await;
}
