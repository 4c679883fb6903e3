//! Servers that appear, times that pass, and the end of an application.

use super::{Fixture, paper};
use crate::deployer::charge::Trouble;
use crate::deployer::machine::{Course, Look, Stage};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn servers_are_waited_for() {
    let mut fixture = Fixture::new(true, json!({})).await;
    fixture.put("backends/shop-web-2/servers/a", &json!({ "URL": "http://10.0.0.1:80" }));
    fixture
        .put("backends/shop-web-2/servers/b", &json!({ "URL": "http://10.0.0.2:80", "State": "draining" }));
    fixture.put("backends/shop-web-20/servers/a", &json!({ "URL": "http://10.0.0.3:80" }));
    fixture.enter(Stage::Register, Course::Forward);
    let text = "1 of 2 servers of shop-web-2 are in the store and take requests, 1 more do not";
    assert_eq!(fixture.look().await, Ok(Look::Waits(text.into())));
    fixture.began_before(Duration::from_secs(6));
    let text = format!("{text}; is a registrar running for the namespace shop?");
    assert_eq!(fixture.look().await, Ok(Look::Waits(text)));
    fixture.put("backends/shop-web-2/servers/b", &json!({ "URL": "http://10.0.0.2:80" }));
    assert_eq!(fixture.look().await, Ok(Look::Done));
}

#[tokio::test]
async fn times_pass() {
    let descriptor = json!({ "flip": { "keepWarm": "1h" }, "timeouts": { "clusterDrain": "15s" } });
    for (stage, has_previous, passed, expected) in [
        (Stage::Drain, true, 5, Some("time for what came through the Service to end, 10s left")),
        (Stage::Drain, true, 15, None),
        (Stage::KeepWarm, true, 60, Some("version 1 is kept warm, 3540s left")),
        (Stage::KeepWarm, true, 3_600, None),
        (Stage::KeepWarm, false, 60, None),
    ] {
        let mut fixture = Fixture::new(has_previous, descriptor.clone()).await;
        fixture.put("backends/shop-web/backend", &json!({ "Type": "alias", "Target": "shop-web-2" }));
        fixture.enter(stage, Course::Forward);
        fixture.began_before(Duration::from_secs(passed));
        let expected = expected.map_or(Look::Done, |text| Look::Waits(text.into()));
        assert_eq!(fixture.look().await, Ok(expected));
    }
}

#[tokio::test]
async fn who_leads_the_alias_back_by_hand_sends_it_back() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let look = fixture.run(Stage::KeepWarm, Course::Forward).await;
    assert_eq!(look, Look::Failed("somebody has led the alias shop-web back to shop-web-1".into()));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_named_is_not_destroyed() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let alias = |target: &str| json!({ "Type": "alias", "Target": target });
    let frontend = |backend: &str| json!({ "Type": "http", "BackendId": backend, "Route": "Host(`a`)" });
    for (key, names, other) in [
        ("backends/shop-web/backend", alias("shop-web-1"), alias("shop-web-2")),
        ("backends/theirs/backend", alias("shop-web-1"), alias("shop-web-2")),
        ("frontends/theirs/frontend", frontend("shop-web-1"), frontend("shop-web-10")),
    ] {
        fixture.put(key, &names);
        fixture.enter(Stage::Destroy, Course::Forward);
        let text = format!("{key} still leads to shop-web-1");
        assert_eq!(fixture.look().await, Ok(Look::Waits(text)));
        fixture.put(key, &other);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_leads_to_an_application_that_goes() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    let frontend = json!({ "Type": "http", "BackendId": "shop-web", "Route": "Host(`a`)" });
    for key in ["frontends/shop-web/frontend", "frontends/theirs/frontend", "hosts/a/host"] {
        fixture.put(key, &frontend);
        if !key.contains("theirs") {
            fixture.charge.application.keys.push(key.into());
        }
    }
    fixture.charge.application.keys.push("backends/shop-web-1/backend".into());
    // Requests that are open may end.
    paper.open.store(3, Ordering::Relaxed);
    fixture.enter(Stage::Detach, Course::Forward);
    for _ in 0..20 {
        assert!(matches!(fixture.look().await, Ok(Look::Waits(_))));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let look = fixture.look().await;
    let ends = |look: &Result<Look, Trouble>| matches!(look, Ok(Look::Waits(text)) if text.contains("3 requests open to shop-web-2"));
    assert!(ends(&look), "{look:?}");
    paper.open.store(0, Ordering::Relaxed);
    assert_eq!(fixture.go_on().await, Look::Done);
    let left = fixture.keys(crate::store::Area::Routing, "");
    let expected =
        ["backends/shop-web-1/backend", "backends/shop-web-2/backend", "frontends/theirs/frontend"];
    assert_eq!(left, expected);
    assert_eq!(fixture.run(Stage::Detach, Course::Forward).await, Look::Done);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_somebody_else_made_is_not_taken() {
    let key = "backends/shop-web-2/backend";
    for value in [json!({ "Type": "http" }), json!({ "Type": "http", "Settings": { "Sticky": {} } })] {
        let mut fixture = Fixture::new(true, json!({})).await;
        fixture.charge.deployment.made = None;
        fixture.put(key, &value);
        let Look::Failed(reason) = fixture.run(Stage::Create, Course::Forward).await else {
            panic!("{value} was taken")
        };
        assert!(reason.contains("no deployment of shop/web has made it"), "{reason}");
        assert_eq!(fixture.run(Stage::Create, Course::Back).await, Look::Done);
        assert_eq!(fixture.value(key), Some(value));
    }
}
