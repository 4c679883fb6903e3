//! The loop from end to end, on the memory store, with workers that only acknowledge.

use super::image::Environment;
use super::*;
use crate::model::{FrontendId, ObjectKey, Revision, Severity};
use crate::store::Area::{Routing, State};
use crate::store::memory::MemoryStore;
use crate::table::{Board, Note};
use crate::tls::SealKeys;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(20);
const SERVER: &str = r#"{"URL":"http://10.0.0.1:80"}"#;

struct Plane {
    control: Control,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

fn frontend(host: &str) -> String {
    format!(r#"{{"Type":"http","BackendId":"b","Route":"Host(\"{host}\")"}}"#)
}

/// A control plane with two workers.
fn start(store: &MemoryStore, data_dir: Option<&Path>) -> Plane {
    let (board, inboxes) = Board::new(2);
    for (worker, mut inbox) in inboxes.into_iter().enumerate() {
        let board = board.clone();
        tokio::spawn(async move {
            while let Some(Note::Swapped { generation }) = inbox.recv().await {
                board.acknowledge(worker, generation);
            }
        });
    }
    let environment = Environment { seal_keys: SealKeys::none(), secrets_dir: None, trace_dir: None };
    let data_dir = data_dir.map(Path::to_path_buf);
    let parts = Parts { store: Arc::new(store.clone()), board, environment, data_dir, lock: None };
    let (publisher, control) = Publisher::open(parts).expect("opened");
    let stop = CancellationToken::new();
    let running = tokio::spawn(publisher.run(stop.clone()));
    Plane { control, stop, running }
}

impl Plane {
    async fn end(self) {
        self.stop.cancel();
        self.running.await.expect("ended");
    }

    fn serves(&self, id: &str) -> bool {
        let id = FrontendId::try_from(id).expect("an id");
        self.control.board().table().frontend(&id).is_some()
    }
}

fn put(store: &MemoryStore, key: &str, value: &str) -> Revision {
    store.put(Routing, key, value.to_owned()).expect("written")
}

#[tokio::test]
async fn an_edit_is_served_by_every_worker() {
    let store = MemoryStore::new();
    put(&store, "backends/b/servers/s", SERVER);
    let plane = start(&store, None);
    assert!(plane.control.wait_ready(LONG).await);
    let revision = put(&store, "frontends/f/frontend", &frontend("a.example"));
    assert!(plane.control.wait_for(revision, LONG).await);
    assert!(plane.serves("f"));
    let status = plane.control.status();
    assert_eq!(
        (status.revision, status.ready, status.stale, status.store_kind),
        (revision, true, false, "memory")
    );
    assert_eq!(status.hash, plane.control.board().table().hash);
    assert!(status.swaps.count >= 2);
    put(&store, "frontends/g/frontend", "{");
    let revision = put(&store, "frontends/h/frontend", &frontend("h.example"));
    assert!(plane.control.wait_for(revision, LONG).await);
    let (at, problems) = plane.control.problems();
    assert_eq!((at, problems.len(), problems[0].key.as_str()), (revision, 1, "frontends/g/frontend"));
    assert_eq!(plane.control.status().problems.errors, 1);
    let key = ObjectKey::parse("frontends/h/frontend").expect("a key");
    assert!(plane.control.object(&key).is_some_and(|view| view.raw.is_some()));
    plane.end().await;
}

#[tokio::test]
async fn an_empty_store_is_an_answer_and_a_silent_one_without_disk_is_none() {
    let store = MemoryStore::new();
    let plane = start(&store, None);
    assert!(plane.control.wait_ready(LONG).await);
    plane.end().await;

    let store = MemoryStore::new();
    store.set_outage(Some("away"));
    let plane = start(&store, None);
    assert!(!plane.control.wait_ready(Duration::from_millis(800)).await);
    let (_, problems) = plane.control.problems();
    assert!(problems[0].reason.contains("away"), "{problems:?}");
    store.set_outage(None);
    assert!(plane.control.wait_ready(LONG).await);
    assert_eq!(plane.control.problems().1, []);
    plane.end().await;
}

#[tokio::test]
async fn a_start_without_the_store_serves_from_disk_and_catches_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = MemoryStore::new();
    put(&store, "backends/b/servers/s", SERVER);
    put(&store, "frontends/f/frontend", &frontend("a.example"));
    let plane = start(&store, Some(dir.path()));
    assert!(plane.control.wait_ready(LONG).await);
    // The last good form of an object that is bad by now has to come from the journal.
    let revision = put(&store, "frontends/f/frontend", "{");
    assert!(plane.control.wait_for(revision, LONG).await);
    plane.end().await;

    store.set_outage(Some("away"));
    let plane = start(&store, Some(dir.path()));
    assert!(plane.control.wait_ready(LONG).await);
    assert!(plane.serves("f"));
    let status = plane.control.status();
    assert_eq!((status.revision, status.stale, status.connected), (revision, true, false));
    store.set_outage(None);
    let revision = put(&store, "frontends/g/frontend", &frontend("g.example"));
    assert!(plane.control.wait_for(revision, LONG).await);
    assert!(plane.serves("f") && plane.serves("g"));
    plane.end().await;

    // With a store that answers, the first table is the store's, with the last good form from disk.
    let plane = start(&store, Some(dir.path()));
    assert!(plane.control.wait_ready(LONG).await);
    assert_eq!(plane.control.status().swaps.count, 1);
    assert!(plane.serves("f") && plane.serves("g"));
    plane.end().await;
}

#[tokio::test]
async fn a_wiped_store_is_held_until_confirmed_in_the_state_area_over_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = MemoryStore::new();
    put(&store, "backends/b/servers/s", SERVER);
    for number in 0..30 {
        put(&store, &format!("frontends/f{number}/frontend"), &frontend(&format!("h{number}.example")));
    }
    let plane = start(&store, Some(dir.path()));
    assert!(plane.control.wait_for(store.revision(), LONG).await);
    store.wipe();
    let revision = put(&store, "backends/new/servers/s", SERVER);
    while plane.control.status().held == 0 {
        tokio::task::yield_now().await;
    }
    plane.end().await;

    let plane = start(&store, Some(dir.path()));
    assert!(plane.control.wait_ready(LONG).await);
    assert!(plane.serves("f0") && plane.serves("f29"));
    assert_eq!(plane.control.status().held, 31);
    let confirmation = image::Confirmation { revision, at: SystemTime::now() };
    let value = confirm::to_value(&confirmation, "test").to_string();
    store.put(State, confirm::KEY, value).expect("written");
    while plane.control.status().held > 0 {
        tokio::task::yield_now().await;
    }
    assert!(!plane.serves("f0"));
    let (_, problems) = plane.control.problems();
    assert!(
        problems.iter().all(|problem| problem.severity == Severity::Warning || problem.key.is_empty()),
        "{problems:?}"
    );
    plane.end().await;
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = MemoryStore::new();
    let plane = start(&store, Some(dir.path()));
    let parts = Parts {
        store: Arc::new(store.clone()),
        board: Board::new(1).0,
        environment: Environment { seal_keys: SealKeys::none(), secrets_dir: None, trace_dir: None },
        data_dir: Some(dir.path().to_path_buf()),
        lock: None,
    };
    let error = Publisher::open(parts).err().expect("refused").to_string();
    assert!(error.contains("in use by process"), "{error}");
    plane.end().await;
}
