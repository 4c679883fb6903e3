//! The alias moves, and back.

use super::{Fixture, paper, soon};
use crate::deployer::charge::Trouble;
use crate::deployer::machine::{Course, Look, Stage};
use crate::deployer::record::application_key;
use crate::flip::record::{Ending, FLIPS, HISTORY, OWNERS, WATCH};
use crate::flip::{Runner, history};
use crate::store::Area;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

const ALIAS: &str = "backends/shop-web/backend";

/// What a look waits for.
#[track_caller]
fn waits(look: Result<Look, Trouble>) -> String {
    match look {
        Ok(Look::Waits(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn failed(look: Look) -> String {
    match look {
        Look::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

impl Fixture {
    /// As if the lease of whoever ran flips had ended.
    fn owners_die(&self) {
        for key in self.keys(Area::State, OWNERS) {
            self.memory.delete(Area::State, &key).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_version_makes_the_alias_and_takes_it_away_again() {
    let mut fixture = Fixture::new(false, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    fixture.enter(Stage::Flip, Course::Forward);
    waits(fixture.look().await);
    assert_eq!(fixture.go_on().await, Look::Done);
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-2"));
    let mut fixture = fixture.taken_over();
    assert_eq!(fixture.charge.deployment.facts.before[ALIAS], None);
    assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
    assert_eq!(fixture.run(Stage::Bake, Course::Forward).await, Look::Done);

    paper.open.store(3, Ordering::Relaxed);
    fixture.enter(Stage::Flip, Course::Back);
    waits(fixture.look().await);
    assert_eq!(fixture.alias(), None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = waits(fixture.look().await);
    assert!(text.contains("gate-1 has 3 requests open to shop-web-2"), "{text}");
    paper.open.store(0, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = waits(fixture.look().await);
    assert!(text.contains("through the Service"), "{text}");
    fixture.began_before(Duration::from_secs(16));
    assert_eq!(fixture.look().await, Ok(Look::Done));
    assert!(fixture.keys(Area::State, WATCH).is_empty());
}

#[tokio::test(start_paused = true)]
async fn with_nobody_there_it_is_done_at_once() {
    for has_previous in [false, true] {
        let mut fixture = Fixture::new(has_previous, json!({})).await;
        assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
        assert_eq!(fixture.alias().as_deref(), Some("shop-web-2"));
        assert_eq!(fixture.run(Stage::Bake, Course::Forward).await, Look::Done);
        assert!(fixture.log().contains("no proxy is there"), "{}", fixture.log());
        assert!(fixture.keys(Area::State, FLIPS).is_empty());
    }
}

#[tokio::test]
async fn a_flip_is_baked_and_drained() {
    let mut fixture = Fixture::new(true, json!({ "flip": { "bake": "400ms" } })).await;
    let (paper, _running) = paper::start(&fixture.memory);
    paper.open.store(3, Ordering::Relaxed);
    assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-2"));
    let id = fixture.charge.deployment.facts.flip.clone().unwrap();
    fixture.enter(Stage::Bake, Course::Forward);
    let text = waits(fixture.look().await);
    assert!(text.starts_with("baking, 1s left; draining: gate-1: 3 requests are open"), "{text}");
    paper.open.store(0, Ordering::Relaxed);
    assert_eq!(fixture.go_on().await, Look::Done);
    let past = history(&fixture.world.store).await.unwrap();
    assert_eq!((past.len(), &past[0].id, past[0].ending), (1, &id, Ending::Closed));
    assert_eq!(past[0].by, "deployer web-2");
    for line in ["served 1 of 1", "drained 1 of 1", "baked", "safe to destroy shop-web-1"] {
        assert!(fixture.log().contains(line), "{line}: {}", fixture.log());
    }
    assert_eq!(fixture.look().await, Ok(Look::Done));
    // Whoever takes over finds the same.
    let mut fixture = fixture.taken_over();
    assert_eq!(fixture.look().await, Ok(Look::Done));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_well_is_not_flipped_to() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    paper.well.store(1, Ordering::Relaxed);
    let reason = failed(fixture.run(Stage::Flip, Course::Forward).await);
    assert!(reason.contains("gate-1: 1 of 2 servers of shop-web-2 are well, and 2 must be"), "{reason}");
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-1"));
    assert_eq!(fixture.run(Stage::Flip, Course::Back).await, Look::Done);
    assert!(fixture.keys(Area::State, FLIPS).is_empty() && fixture.keys(Area::State, HISTORY).is_empty());
    // With less to ask for it goes.
    let mut fixture = Fixture::new(true, json!({ "flip": { "minHealthy": "50%" } })).await;
    let (paper, _running) = paper::start(&fixture.memory);
    paper.well.store(1, Ordering::Relaxed);
    assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
}

#[tokio::test(start_paused = true)]
async fn an_alias_that_somebody_moved_is_left_alone() {
    for (value, part) in [
        (json!({ "Type": "alias", "Target": "other" }), "leads to other"),
        (json!({ "Type": "http" }), "backend shop-web is no alias"),
    ] {
        let mut fixture = Fixture::new(true, json!({})).await;
        fixture.put(ALIAS, &value);
        let reason = failed(fixture.run(Stage::Flip, Course::Forward).await);
        assert!(reason.contains(part), "{reason}");
        assert_eq!(fixture.run(Stage::Flip, Course::Back).await, Look::Done);
        assert_eq!(fixture.value(ALIAS), Some(value));
    }
}

#[tokio::test(start_paused = true)]
async fn the_way_back_leads_to_the_version_before_and_waits_for_requests() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
    assert_eq!(fixture.run(Stage::Bake, Course::Forward).await, Look::Done);
    paper.open.store(2, Ordering::Relaxed);
    fixture.enter(Stage::Flip, Course::Back);
    waits(fixture.look().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-1"));
    let text = waits(fixture.look().await);
    assert!(text.contains("2 requests are open on the old side"), "{text}");
    // Another process finds the same, and waits only for so long.
    let mut fixture = fixture.taken_over();
    waits(fixture.look().await);
    fixture.began_before(Duration::from_secs(301));
    assert_eq!(fixture.look().await, Ok(Look::Done));
    assert!(fixture.log().contains("did not end in time"), "{}", fixture.log());
    fixture.enter(Stage::Flip, Course::Back);
    fixture.owners_die();
    paper.open.store(0, Ordering::Relaxed);
    assert_eq!(fixture.go_on().await, Look::Done);
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-1"));
}

#[tokio::test(start_paused = true)]
async fn the_way_back_needs_no_history() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (_paper, _running) = paper::start(&fixture.memory);
    assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
    assert_eq!(fixture.run(Stage::Bake, Course::Forward).await, Look::Done);
    for key in fixture.keys(Area::State, HISTORY) {
        fixture.memory.delete(Area::State, &key).unwrap();
    }
    assert_eq!(fixture.run(Stage::Bake, Course::Forward).await, Look::Done);
    assert_eq!(fixture.run(Stage::Flip, Course::Back).await, Look::Done);
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-1"));
}

#[tokio::test(start_paused = true)]
async fn a_flip_that_was_not_written_lapses_with_its_owner_and_is_begun_anew() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    tokio::time::sleep(Duration::from_millis(200)).await;
    paper.stuck.store(true, Ordering::Relaxed);
    fixture.enter(Stage::Flip, Course::Forward);
    waits(fixture.look().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = waits(fixture.look().await);
    assert!(text.contains("get ready"), "{text}");
    let first = fixture.charge.deployment.facts.flip.clone();
    let mut fixture = fixture.taken_over();
    waits(fixture.look().await);
    assert_eq!(fixture.keys(Area::State, FLIPS).len(), 1);
    fixture.owners_die();
    paper.stuck.store(false, Ordering::Relaxed);
    assert_eq!(fixture.go_on().await, Look::Done);
    assert_ne!(fixture.charge.deployment.facts.flip, first);
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-2"));
}

#[tokio::test(start_paused = true)]
async fn going_back_calls_off_a_flip_that_is_not_written() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    tokio::time::sleep(Duration::from_millis(200)).await;
    paper.stuck.store(true, Ordering::Relaxed);
    fixture.enter(Stage::Flip, Course::Forward);
    waits(fixture.look().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.keys(Area::State, FLIPS).len(), 1);
    assert_eq!(fixture.run(Stage::Flip, Course::Back).await, Look::Done);
    paper.stuck.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-1"));
    assert!(fixture.keys(Area::State, FLIPS).is_empty() && fixture.keys(Area::State, OWNERS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn going_back_calls_off_a_flip_that_has_just_begun() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (_paper, _running) = paper::start(&fixture.memory);
    tokio::time::sleep(Duration::from_millis(200)).await;
    fixture.enter(Stage::Flip, Course::Forward);
    waits(fixture.look().await);
    assert!(fixture.keys(Area::State, FLIPS).is_empty(), "it is not written yet");
    assert_eq!(fixture.run(Stage::Flip, Course::Back).await, Look::Done);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-1"));
    assert!(fixture.keys(Area::State, FLIPS).is_empty() && fixture.keys(Area::State, OWNERS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_written_flip_is_gone_on_with_by_whoever_takes_over() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    paper.open.store(1, Ordering::Relaxed);
    assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
    let mut fixture = fixture.taken_over();
    fixture.owners_die();
    assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
    fixture.enter(Stage::Bake, Course::Forward);
    waits(fixture.look().await);
    paper.open.store(0, Ordering::Relaxed);
    assert_eq!(fixture.go_on().await, Look::Done);
    assert_eq!(history(&fixture.world.store).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_was_followed_by_another_flips_nothing() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    tokio::time::sleep(Duration::from_millis(200)).await;
    paper.stuck.store(true, Ordering::Relaxed);
    fixture.enter(Stage::Flip, Course::Forward);
    waits(fixture.look().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    fixture.memory.put(Area::State, &application_key(&fixture.charge.app), "{}").unwrap();
    paper.stuck.store(false, Ordering::Relaxed);
    let lost = soon(async {
        loop {
            match fixture.look().await {
                Ok(Look::Waits(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                other => return other,
            }
        }
    });
    assert!(matches!(lost.await, Err(Trouble::Lost(_))));
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-1"));
    assert!(fixture.keys(Area::State, FLIPS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_flip_that_was_undone_meanwhile_fails_and_the_new_side_is_drained() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (paper, _running) = paper::start(&fixture.memory);
    paper.open.store(1, Ordering::Relaxed);
    assert_eq!(fixture.run(Stage::Flip, Course::Forward).await, Look::Done);
    let mut somebody = Runner::open(fixture.world.store.clone()).await.unwrap();
    let id = somebody.rollback_id();
    let wait = Duration::from_secs(1);
    somebody.rollback(&id, "alias/shop-web", "somebody", wait, &mut |_| {}).await.unwrap();
    let reason = failed(fixture.run(Stage::Bake, Course::Forward).await);
    assert_eq!(reason, "the flip was rolled back: undone by somebody");
    fixture.enter(Stage::Flip, Course::Back);
    waits(fixture.look().await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let text = waits(fixture.look().await);
    assert!(text.contains("gate-1 has 1 requests open to shop-web-2"), "{text}");
    paper.open.store(0, Ordering::Relaxed);
    assert_eq!(fixture.go_on().await, Look::Done);
    assert!(fixture.keys(Area::State, WATCH).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for() {
    let mut fixture = Fixture::new(true, json!({})).await;
    let (_paper, running) = paper::start(&fixture.memory);
    drop(running);
    fixture.enter(Stage::Flip, Course::Forward);
    waits(fixture.look().await);
    fixture.memory.set_outage(Some("gone"));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(matches!(fixture.look().await, Err(Trouble::Away(_))));
    }
    fixture.memory.set_outage(None);
    fixture.owners_die();
    let (_paper, _running) = paper::start(&fixture.memory);
    assert_eq!(fixture.go_on().await, Look::Done);
    assert_eq!(fixture.alias().as_deref(), Some("shop-web-2"));
}
