use super::*;
use crate::store::conformance::{self, batch, in_sync, next, put, snapshot, write};
use crate::store::{Event, LeaseChoice, Operation, unreadable};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn new() -> (TempDir, PathBuf, DirectoryStore) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("routes");
    fs::create_dir(&root).unwrap();
    let store = DirectoryStore::new(root.clone(), None);
    (dir, root, store)
}

fn set(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn keys(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.entries.iter().map(|entry| &*entry.key).collect()
}

#[tokio::test]
async fn conforms() {
    conformance::run(|| async {
        let (dir, _, store) = new();
        (Arc::new(store) as Arc<dyn Store>, dir)
    })
    .await;
}

#[tokio::test]
async fn a_path_is_a_key() {
    let (_dir, root, store) = new();
    for path in [
        "frontends/shop/frontend.yaml",
        "frontends/bare.yml",
        "hosts/example.com/host.json",
        "frontends/.hidden.yaml",
        "frontends/old.yaml~",
        "frontends/.x.yaml.swp",
        "frontends/x.yaml.tmp",
        "frontends/.git/x.yaml",
        "README.md",
        "frontends/noending",
    ] {
        set(&root, path, "{}");
    }
    let listed = store.list(Area::Routing).await.unwrap();
    assert_eq!(keys(&listed), ["frontends/bare", "frontends/shop/frontend", "hosts/example.com/host"]);
    assert_eq!(listed.revision, Revision(1));
    assert!(!root.with_extension("state").exists(), "a mere look made the directory of state");
}

#[tokio::test]
async fn edits_that_settle_are_one_revision() {
    let (_dir, root, store) = new();
    set(&root, "backends/old.yaml", "type: http");
    let mut feed = store.follow(Area::Routing);
    let mut first = snapshot(&mut feed).await;
    first.entries.retain(|entry| &*entry.value == br#"{"type":"http"}"#);
    assert_eq!(keys(&first), ["backends/old"]);
    for n in 0..5 {
        set(&root, &format!("backends/b{n}.yaml"), "type: http");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    fs::remove_file(root.join("backends/old.yaml")).unwrap();
    let seen = batch(&mut feed).await;
    assert_eq!((seen.revision.0, seen.changes.len()), (first.revision.0 + 1, 6));
    // As editors save: another file renamed over it.
    fs::write(root.join("backends/.b0.new"), "type: alias").unwrap();
    fs::rename(root.join("backends/.b0.new"), root.join("backends/b0.yaml")).unwrap();
    let seen = batch(&mut feed).await;
    assert!(matches!(&seen.changes[..], [Change::Put(entry)] if &*entry.value == br#"{"type":"alias"}"#));
    in_sync(&mut feed, seen.revision).await;
}

#[tokio::test]
async fn a_swapped_link_is_one_revision() {
    let (_dir, root, store) = new();
    let version = |name: &str, colour: &str| {
        for n in 0..20 {
            set(&root, &format!("..{name}/backends/b{n}.yaml"), &format!("target: shop-{colour}"));
        }
        std::os::unix::fs::symlink(format!("..{name}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    version("1", "blue");
    std::os::unix::fs::symlink("..data/backends", root.join("backends")).unwrap();
    let mut feed = store.follow(Area::Routing);
    assert_eq!(snapshot(&mut feed).await.entries.len(), 20);
    version("2", "green");
    fs::remove_dir_all(root.join("..1")).unwrap();
    let seen = batch(&mut feed).await;
    assert_eq!(seen.changes.len(), 20);
    let refused = store.commit(write(vec![put(Area::Routing, "backends/b1", "{}")])).await;
    assert!(matches!(&refused, Err(StoreError::Refused(why)) if why.contains("ConfigMap")), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stays_an_object() {
    let (_dir, root, store) = new();
    set(&root, "backends/a.yaml", "type: http\n  broken: [");
    set(&root, "backends/b.json", "{broken");
    set(&root, "backends/c.json", "{}");
    set(&root, "backends/c.yaml", "{}");
    let listed = store.list(Area::Routing).await.unwrap();
    let [a, b, c] = &listed.entries[..] else { panic!("{listed:?}") };
    let said = unreadable(&a.value).unwrap();
    assert!(said.contains("broken YAML") && said.contains("line"), "{said}");
    assert_eq!(&*b.value, b"{broken");
    assert!(unreadable(&c.value).unwrap().contains("c.json, c.yaml"));
    // Writing the object puts it right.
    store.commit(write(vec![put(Area::Routing, "backends/c", r#"{"x":1}"#)])).await.unwrap();
    assert_eq!(&*store.get(Area::Routing, "backends/c").await.unwrap().1.unwrap().value, br#"{"x":1}"#);
}

#[tokio::test]
async fn a_file_keeps_its_format() {
    let (_dir, root, store) = new();
    set(&root, "backends/a.yaml", "# ours\ntype: http\n");
    store
        .commit(write(vec![put(Area::Routing, "backends/a", r#"{"type":"alias","target":"yes"}"#)]))
        .await
        .unwrap();
    store.commit(write(vec![put(Area::Routing, "backends/b/backend", r#"{"x": 1}"#)])).await.unwrap();
    let text = fs::read_to_string(root.join("backends/a.yaml")).unwrap();
    assert!(text.contains("type: alias") && !text.contains('{'), "{text}");
    assert_eq!(fs::read_to_string(root.join("backends/b/backend.json")).unwrap(), r#"{"x": 1}"#);
    store.commit(write(vec![conformance::delete(Area::Routing, "backends/b/backend")])).await.unwrap();
    assert!(!root.join("backends/b").exists(), "an empty directory stayed");
    for key in ["../x", "backends/.x", "a/../b"] {
        let refused = store.commit(write(vec![put(Area::Routing, key, "{}")])).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{key}");
    }
}

#[tokio::test]
async fn two_stores_on_one_directory_agree() {
    let (_dir, root, one) = new();
    let two = DirectoryStore::new(root.join(""), None);
    let mut feed = one.follow(Area::Routing);
    snapshot(&mut feed).await;
    let many = (0..50).map(|n| put(Area::Routing, &format!("backends/b{n}"), "{}")).collect();
    let revision = two.commit(write(many)).await.unwrap();
    let seen = batch(&mut feed).await;
    assert_eq!((seen.revision, seen.changes.len()), (revision, 50));
    let again = DirectoryStore::new(root, None);
    let listed = again.list(Area::Routing).await.unwrap();
    assert_eq!(listed.revision, revision, "the count goes on after a restart");
    assert_eq!(listed.entries, one.list(Area::Routing).await.unwrap().entries);
}

#[tokio::test]
async fn a_missing_directory_is_an_outage_until_it_appears() {
    let (_dir, root, store) = new();
    fs::remove_dir(&root).unwrap();
    let mut feed = store.follow(Area::Routing);
    loop {
        match next(&mut feed).await {
            Event::Lost { reason } if reason.contains("does not exist") => break,
            Event::Lost { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let refused = store.commit(write(vec![put(Area::Routing, "backends/a", "{}")])).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(!root.exists());
    fs::create_dir(&root).unwrap();
    set(&root, "backends/a.yaml", "{}");
    let mut seen = snapshot(&mut feed).await;
    if seen.entries.is_empty() {
        let (revision, changes) = {
            let seen = batch(&mut feed).await;
            (seen.revision, seen.changes)
        };
        assert_eq!(changes.len(), 1);
        seen.revision = revision;
    }
    // Gone again: what was told stays told.
    fs::remove_dir_all(&root).unwrap();
    assert!(matches!(next(&mut feed).await, Event::Lost { .. }));
    fs::create_dir(&root).unwrap();
    set(&root, "backends/a.yaml", "{}");
    set(&root, "backends/b.yaml", "{}");
    loop {
        match next(&mut feed).await {
            Event::Batch(batch) if batch.changes.len() == 1 => break,
            Event::Batch(batch) => assert!(batch.revision > seen.revision),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_interrupted_transaction_is_finished() {
    let (_dir, root, store) = new();
    store
        .commit(write(vec![put(Area::Routing, "backends/a", "1"), put(Area::Routing, "backends/gone", "1")]))
        .await
        .unwrap();
    // As a process leaves it that dies after its first rename.
    set(&root, "backends/.b.json.1.tmp", "2");
    let steps = [
        counter::Step::Rename { from: root.join("backends/.a.json.1.tmp"), to: root.join("backends/a.json") },
        counter::Step::Rename { from: root.join("backends/.b.json.1.tmp"), to: root.join("backends/b.json") },
        counter::Step::Remove(root.join("backends/gone.json")),
    ];
    set(&root, "backends/a.json", "2");
    let intent = store.inner.paths.state.join("intent");
    fs::write(&intent, serde_json::to_vec(&steps).unwrap()).unwrap();
    let listed = store.list(Area::Routing).await.unwrap();
    assert_eq!(keys(&listed), ["backends/a", "backends/b"]);
    assert!(listed.entries.iter().all(|entry| &*entry.value == b"2"));
    assert!(!intent.exists());
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for() {
    let (_dir, _root, store) = new();
    store.commit(write(vec![put(Area::State, "members/a", "{}")])).await.unwrap();
    let lock = Lock::take(&store.inner.paths, true).unwrap();
    let commit = store.commit(write(vec![put(Area::Routing, "backends/a", "{}")]));
    tokio::pin!(commit);
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), &mut commit).await;
    assert!(early.is_err());
    drop(lock);
    commit.await.unwrap();
}

#[tokio::test]
async fn without_a_place_for_state_it_counts_elsewhere() {
    let (dir, root, _) = new();
    // A file stands where the directory of state would be.
    fs::write(root.with_extension("state"), "").unwrap();
    let counter = dir.path().join("counter");
    let store = DirectoryStore::new(root.clone(), Some(counter.clone()));
    let mut feed = store.follow(Area::Routing);
    let first = snapshot(&mut feed).await;
    set(&root, "backends/a.yaml", "{}");
    let seen = batch(&mut feed).await;
    assert_eq!(seen.revision.0, first.revision.0 + 1);
    let refused = store.commit(write(vec![put(Area::Routing, "backends/b", "{}")])).await;
    assert!(matches!(refused, Err(StoreError::Denied(_))), "{refused:?}");
    let again = DirectoryStore::new(root, Some(counter));
    assert_eq!(again.list(Area::Routing).await.unwrap().revision, seen.revision);
}

#[tokio::test]
async fn leases_name_etcd() {
    let (_dir, _root, store) = new();
    let lease = LeaseChoice::Ttl(std::time::Duration::from_secs(1));
    let put = Operation::Put { area: Area::State, key: "alive/a".into(), value: "{}".into(), lease };
    let refused = store.commit(write(vec![put])).await;
    assert!(matches!(refused, Err(StoreError::Unsupported(why)) if why.contains("etcd")));
}
