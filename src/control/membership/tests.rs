//! A member over a store in memory, with a control plane whose workers only acknowledge.

use super::*;
use crate::control::image::Environment;
use crate::control::{Parts, Publisher};
use crate::flip::record::MinHealthy;
use crate::flip::{Event, Outcome, Planned, Request};
use crate::store::memory::MemoryStore;
use crate::table::{Board, Note};
use crate::tls::SealKeys;

struct Proxy {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _draining: watch::Sender<bool>,
}

async fn proxy(store: &MemoryStore, name: &str) -> Proxy {
    let (board, inboxes) = Board::new(1);
    for (worker, mut inbox) in inboxes.into_iter().enumerate() {
        let board = board.clone();
        tokio::spawn(async move {
            while let Some(note) = inbox.recv().await {
                match note {
                    Note::Swapped { generation } => board.acknowledge(worker, generation),
                    Note::Warm(warm) => {
                        for server in warm.backend.servers() {
                            let _ = warm.done.send((server.id.clone(), Ok(())));
                        }
                    }
                    Note::CloseIdle(_) => {}
                }
            }
        });
    }
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let environment = Environment { seal_keys: SealKeys::none(), secrets_dir: None, trace_dir: None };
    let parts = Parts { store: store.clone(), board, environment, data_dir: None, lock: None };
    let (publisher, control) = Publisher::open(parts).unwrap();
    let identity = Identity { name: Some(name.into()), home: None, isolation_stop_after: None };
    let membership = Membership::register(store, identity).await;
    let stop = CancellationToken::new();
    tokio::spawn(publisher.run(stop.clone()));
    let (draining, is_draining) = watch::channel(false);
    let task = tokio::spawn(membership.run(control, is_draining, CancellationToken::new(), stop.clone()));
    Proxy { stop, task, _draining: draining }
}

fn routes() -> MemoryStore {
    let store = MemoryStore::new();
    for id in ["blue", "green"] {
        store.put(Area::Routing, &format!("backends/{id}/backend"), r#"{"Type":"http"}"#).unwrap();
        let key = format!("backends/{id}/servers/a");
        store.put(Area::Routing, &key, r#"{"URL":"http://127.0.0.1:9"}"#).unwrap();
    }
    let frontend = r#"{"BackendId":"blue","Route":"Path(`/`)"}"#;
    store.put(Area::Routing, "frontends/shop/frontend", frontend).unwrap();
    store
}

async fn flip(store: &MemoryStore, wait: Duration) -> (Outcome, Vec<Event>) {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let request = Request {
        targets: vec![("shop".into(), "green".into())],
        expect: None,
        min_healthy: MinHealthy::Count(1),
        force: false,
        bake: None,
        keep_warm_ms: None,
        by: "test".into(),
    };
    let Ok(Planned::Flip(flip)) = request.plan(&store, SystemTime::now()).await else { panic!() };
    let mut told = Vec::new();
    let mut runner = Runner::open(store).await.unwrap();
    let outcome = runner.flip(*flip, wait, &mut |event| told.push(event)).await.unwrap();
    (outcome, told)
}

#[tokio::test]
async fn two_members_carry_a_flip_to_safe_and_leave_nothing_when_they_end() {
    let store = routes();
    let (a, b) = (proxy(&store, "a").await, proxy(&store, "b").await);
    let (outcome, told) = flip(&store, Duration::from_secs(10)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?} {told:?}");
    let text: Vec<String> = told.iter().map(ToString::to_string).collect();
    for line in ["prepared 2 of 2", "served 2 of 2", "quiet", "drained 2 of 2", "safe to destroy blue"] {
        assert!(text.iter().any(|it| it == line), "{line}: {text:?}");
    }
    for proxy in [a, b] {
        proxy.stop.cancel();
        proxy.task.await.unwrap();
    }
    let left = store.list(Area::State).await.unwrap().entries;
    assert!(left.iter().all(|it| it.key.starts_with("history/")), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_killed_blocks_safe_until_it_is_forgotten() {
    let store = routes();
    let (_a, b) = (proxy(&store, "a").await, proxy(&store, "b").await);
    b.task.abort();
    tokio::time::sleep(TTL + Duration::from_secs(5)).await;
    let (outcome, _) = flip(&store, Duration::from_secs(5)).await;
    assert!(
        matches!(&outcome, Outcome::NotSafe { reason, .. } if reason.contains("b: it is lost")),
        "{outcome:?}"
    );
    store.delete(Area::State, "members/b").unwrap();
    // The living member goes on with it and writes the history.
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if store.list(Area::State).await.unwrap().entries.iter().any(|it| it.key.starts_with("history/")) {
            return;
        }
    }
    panic!("nobody has ended the flip");
}
