//! Requests and flips against a store in memory, with nobody or a member of paper around.

use super::*;
use crate::flip::record::{ALIVE, Alive, BackendView, FlipView, MEMBERS, Warmth, write};
use crate::flip::{Event, Outcome, Runner, history};
use crate::store::StoreError;
use crate::store::memory::MemoryStore;
use std::time::Duration;

fn store() -> (MemoryStore, Arc<dyn Store>) {
    let store = MemoryStore::new();
    let put = |key: &str, value: &str| {
        store.put(Area::Routing, key, value.to_owned()).unwrap();
    };
    for id in ["blue", "green"] {
        put(&format!("backends/{id}/backend"), r#"{"Type":"http"}"#);
    }
    put("backends/shop/backend", r#"{"Type":"alias","Target":"blue"}"#);
    put("frontends/a/frontend", r#"{"x":1,"backendid":"blue","Route":"Path(`/a`)"}"#);
    put(
        "frontends/s/frontend",
        r#"{"Route":"Path(`/s`)","Split":[{"BackendId":"blue","Weight":9},{"BackendId":"shop","Weight":1}]}"#,
    );
    put("frontends/shop", r#"{"BackendId":"shop","Route":"Path(`/`)"}"#);
    let dynamic: Arc<dyn Store> = Arc::new(store.clone());
    (store, dynamic)
}

fn request(moves: &[(&str, &str)]) -> Request {
    Request {
        targets: moves.iter().map(|(target, to)| ((*target).to_owned(), (*to).to_owned())).collect(),
        expect: None,
        min_healthy: MinHealthy::Count(1),
        force: false,
        bake: None,
        keep_warm_ms: None,
        by: "test".into(),
    }
}

async fn value(store: &Arc<dyn Store>, key: &str) -> String {
    let (_, entry) = store.get(Area::Routing, key).await.unwrap();
    String::from_utf8(entry.unwrap().value.to_vec()).unwrap()
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let (_, store) = store();
    for (moves, part) in [
        (vec![("frontend/x", "green")], "frontend x does not exist"),
        (vec![("x", "green")], "neither a frontend nor an alias x"),
        (vec![("shop", "green")], "frontend/shop or alias/shop"),
        (vec![("backend/a", "green")], "is no target"),
        (vec![("a", "nosuch")], "backend nosuch does not exist"),
        (vec![("a", "shop")], "shop is an alias of blue"),
        (vec![("a", "green"), ("frontend/a", "green")], "twice"),
        (vec![], "at least one"),
    ] {
        let error = request(&moves).plan(&store, SystemTime::now()).await.unwrap_err().to_string();
        assert!(error.contains(part), "{moves:?}: {error}");
    }
    let expecting = Request { expect: Some("green".into()), ..request(&[("a", "green")]) };
    assert!(matches!(expecting.plan(&store, SystemTime::now()).await, Err(FlipError::Refused(_))));
    let there = request(&[("a", "blue")]).plan(&store, SystemTime::now()).await;
    assert_eq!(there, Ok(Planned::Already(vec!["frontend/a".into()])));
}

#[tokio::test]
async fn a_flip_moves_all_targets_and_a_rollback_brings_them_back() {
    let (_, store) = store();
    let planned = request(&[("a", "green"), ("s", "green"), ("alias/shop", "green")]);
    let Ok(Planned::Flip(flip)) = planned.plan(&store, SystemTime::now()).await else { panic!() };
    assert_eq!(flip.old_side().into_iter().collect::<Vec<_>>(), ["blue"]);
    let mut told = Vec::new();
    let mut runner = Runner::open(store.clone()).await.unwrap();
    let outcome = runner.flip(*flip, Duration::from_secs(5), &mut |event| told.push(event)).await.unwrap();
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(matches!(told.as_slice(), [Event::Written { .. }, Event::NoProxy]), "{told:?}");
    assert_eq!(
        value(&store, "frontends/a/frontend").await,
        r#"{"x":1,"backendid":"green","Route":"Path(`/a`)"}"#
    );
    assert_eq!(value(&store, "frontends/s/frontend").await, r#"{"Route":"Path(`/s`)","BackendId":"green"}"#);
    assert_eq!(value(&store, "backends/shop/backend").await, r#"{"Type":"alias","Target":"green"}"#);
    let id = runner.rollback_id();
    let back = runner.rollback(&id, "s", "test", Duration::from_secs(5), &mut |_| {}).await.unwrap();
    assert!(matches!(back, Outcome::Done { .. }), "{back:?}");
    assert!(value(&store, "frontends/a/frontend").await.contains(r#""backendid":"blue""#));
    let split = value(&store, "frontends/s/frontend").await;
    assert!(split.contains(r#""Weight":9"#) && !split.contains("green"), "{split}");
    let past = history(&store).await.unwrap();
    assert_eq!(past.iter().map(|it| it.targets.len()).collect::<Vec<_>>(), [3, 3]);
    assert!(store.list(Area::State).await.unwrap().entries.iter().all(|it| it.key.starts_with("history/")));
}

/// A member as its proxy would write it.
fn paper(store: &MemoryStore, alive: &Alive) {
    store.put(Area::State, &format!("{MEMBERS}p"), "{}").unwrap();
    store.put(Area::State, &format!("{ALIVE}p/1"), write(alive)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_member_blocks_safe_and_is_named() {
    let (memory, store) = store();
    memory.put(Area::State, "members/gone", "{}").unwrap();
    let Ok(Planned::Flip(flip)) = request(&[("a", "green")]).plan(&store, SystemTime::now()).await else {
        panic!()
    };
    let mut told = Vec::new();
    let mut runner = Runner::open(store.clone()).await.unwrap();
    let outcome = runner.flip(*flip, Duration::from_secs(3), &mut |event| told.push(event)).await.unwrap();
    assert!(matches!(&outcome, Outcome::NotSafe { reason, .. } if reason.contains("gone")), "{outcome:?}");
    assert!(told.iter().any(|it| matches!(it, Event::Waiting(list) if list[0].member == "gone")), "{told:?}");
    assert!(!told.iter().any(|it| matches!(it, Event::Safe { .. })));
    // The record stays for others, who end it once the member is forgotten.
    memory.delete(Area::State, "members/gone").unwrap();
    let mut other = Runner::open(store.clone()).await.unwrap();
    let id = other.fleet().flips(tokio::time::Instant::now())[0].flip.id.clone();
    assert!(matches!(other.resume(&id, &mut |_| {}).await, Ok(Outcome::Done { .. })));
    assert_eq!(history(&store).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_flip_leaves_nothing_behind() {
    let (memory, store) = store();
    let Ok(Planned::Flip(flip)) = request(&[("a", "green")]).plan(&store, SystemTime::now()).await else {
        panic!()
    };
    let view = FlipView { prepared: [("green".into(), Warmth::default())].into(), ..FlipView::default() };
    let backends = [("blue".to_owned(), BackendView::default())].into();
    let before = value(&store, "frontends/a/frontend").await;
    paper(&memory, &Alive { flips: [(flip.id.clone(), view)].into(), backends, ..Alive::default() });
    let mut runner = Runner::open(store.clone()).await.unwrap();
    let beats = tokio::spawn({
        let memory = memory.clone();
        async move {
            // Without a lease a member has to show that it lives.
            for beat in 0..40 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let (_, entry) = memory.get(Area::State, "alive/p/1").await.unwrap();
                let mut alive: Alive = serde_json::from_slice(&entry.unwrap().value).unwrap();
                alive.beat = beat;
                paper(&memory, &alive);
            }
        }
    });
    let outcome = runner.flip(*flip, Duration::from_secs(9), &mut |_| {}).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Refused(reason) if reason.contains("p: green has no server")),
        "{outcome:?}"
    );
    beats.abort();
    assert_eq!(value(&store, "frontends/a/frontend").await, before);
    assert!(!store.list(Area::State).await.unwrap().entries.iter().any(|it| it.key.contains("flips/")));
}

const FENCE: &str = "deployer/applications/n/a";

/// A runner that acts as long as the fence is as it is now.
async fn fenced(memory: &MemoryStore) -> Runner {
    let at = memory.put(Area::State, FENCE, "mine").unwrap();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let fence = vec![(Area::State, FENCE.into(), Expected::Version(at.0))];
    Runner::open(store).await.unwrap().with_fence(fence)
}

fn is_fence(error: &FlipError) -> bool {
    matches!(error, FlipError::Store(StoreError::Conflict { key }) if key == FENCE)
}

#[tokio::test(start_paused = true)]
async fn a_runner_behind_a_fence_writes_nothing_once_it_has_fallen() {
    let (memory, store) = store();
    let before = value(&store, "frontends/a/frontend").await;
    let Ok(Planned::Flip(flip)) = request(&[("a", "green")]).plan(&store, SystemTime::now()).await else {
        panic!()
    };
    // It has fallen before anything was written.
    let mut runner = fenced(&memory).await;
    memory.put(Area::State, FENCE, "theirs").unwrap();
    let error = runner.flip((*flip).clone(), Duration::from_secs(9), &mut |_| {}).await.unwrap_err();
    assert!(is_fence(&error), "{error}");
    // It falls while the proxies get ready.
    paper(&memory, &Alive::default());
    let mut runner = fenced(&memory).await;
    let falls = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        memory.put(Area::State, FENCE, "theirs").unwrap();
        let view = FlipView {
            prepared: [("green".into(), Warmth { active: 1, well: 1, ..Warmth::default() })].into(),
            ..FlipView::default()
        };
        paper(&memory, &Alive { flips: [(flip.id.clone(), view)].into(), ..Alive::default() });
    };
    let mut ignored = |_| {};
    let flips = runner.flip((*flip).clone(), Duration::from_secs(9), &mut ignored);
    let (error, ()) = tokio::join!(flips, falls);
    let error = error.unwrap_err();
    assert!(is_fence(&error), "{error}");
    assert_eq!(value(&store, "frontends/a/frontend").await, before);
    let left = store.list(Area::State).await.unwrap().entries;
    assert!(!left.iter().any(|it| it.key.starts_with("flips/") || it.key.starts_with("owners/")), "{left:?}");
    // Nor does it undo anything.
    memory.delete(Area::State, "alive/p/1").unwrap();
    memory.delete(Area::State, "members/p").unwrap();
    let mut free = Runner::open(store.clone()).await.unwrap();
    free.flip(*flip, Duration::from_secs(9), &mut |_| {}).await.unwrap();
    let mut runner = fenced(&memory).await;
    memory.put(Area::State, FENCE, "theirs").unwrap();
    let id = runner.rollback_id();
    let error = runner.rollback(&id, "a", "test", Duration::from_secs(5), &mut |_| {}).await.unwrap_err();
    assert!(is_fence(&error), "{error}");
    assert!(value(&store, "frontends/a/frontend").await.contains("green"));
}

#[tokio::test(start_paused = true)]
async fn a_written_flip_is_left_to_others_when_the_fence_falls() {
    let (memory, store) = store();
    let Ok(Planned::Flip(flip)) = request(&[("a", "green")]).plan(&store, SystemTime::now()).await else {
        panic!()
    };
    memory.put(Area::State, "members/gone", "{}").unwrap();
    let mut runner = fenced(&memory).await;
    let falls = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        memory.put(Area::State, FENCE, "theirs").unwrap();
        memory.delete(Area::State, "members/gone").unwrap();
    };
    let id = flip.id.clone();
    let mut ignored = |_| {};
    let flips = runner.flip(*flip, Duration::from_secs(9), &mut ignored);
    let (error, ()) = tokio::join!(flips, falls);
    let error = error.unwrap_err();
    assert!(is_fence(&error), "{error}");
    let left = store.list(Area::State).await.unwrap().entries;
    assert!(!left.iter().any(|it| it.key.starts_with("owners/")), "{left:?}");
    let mut other = Runner::open(store.clone()).await.unwrap();
    assert!(matches!(other.resume(&id, &mut |_| {}).await, Ok(Outcome::Done { .. })));
    assert!(value(&store, "frontends/a/frontend").await.contains("green"));
}
