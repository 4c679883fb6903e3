//! What every store promises, as tests that run on each of them.
//!
//! `run` takes a way to make an empty store (and whatever must live as long as it). A check that needs what a store
//! does not offer asks [`Capabilities`](super::Capabilities) first. Panics are the verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::{
    Area, Batch, Change, Event, Expected, Feed, LeaseChoice, Operation, Snapshot, Store, StoreError,
    Transaction,
};
use crate::model::Revision;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Longest that any event may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs everything, each check on a new store.
pub async fn run<K, F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = (Arc<dyn Store>, K)>,
{
    macro_rules! checks {
        ($($check:ident),+ $(,)?) => {
            $({
                let (store, _keep) = make().await;
                $check(store.as_ref()).await;
            })+
        };
    }
    checks!(
        starts_with_a_snapshot_and_says_that_it_is_in_sync,
        a_commit_is_one_batch_at_the_revision_it_answers,
        areas_are_apart_and_count_together,
        expectations_are_all_or_nothing,
        a_delete_takes_exactly_its_key,
        versions_and_ages_follow_the_key,
        refuses_too_much_and_nonsense,
        leases_end_keys_or_are_refused,
        two_writers_meet_at_most_once,
        many_commits_arrive_in_order_and_none_is_lost,
    );
}

/// A put that keeps the lease.
pub fn put(area: Area, key: &str, value: &str) -> Operation {
    Operation::Put { area, key: key.into(), value: value.to_owned().into(), lease: LeaseChoice::Keep }
}

/// A delete.
pub fn delete(area: Area, key: &str) -> Operation {
    Operation::Delete { area, key: key.into() }
}

/// A transaction that expects nothing.
pub fn write(operations: Vec<Operation>) -> Transaction {
    Transaction { expect: Vec::new(), operations }
}

/// The next event that is not a mere sign of life.
pub async fn next(feed: &mut Feed) -> Event {
    loop {
        match tokio::time::timeout(PATIENCE, feed.recv()).await {
            Ok(Some(Event::InSync { .. })) => {}
            Ok(Some(event)) => return event,
            Ok(None) => panic!("the feed ended"),
            Err(_) => panic!("no event within {PATIENCE:?}"),
        }
    }
}

/// The next event, which must be a snapshot.
pub async fn snapshot(feed: &mut Feed) -> Snapshot {
    match next(feed).await {
        Event::Snapshot(snapshot) => snapshot,
        other => panic!("expected a snapshot, got {other:?}"),
    }
}

/// The next event, which must be a batch.
pub async fn batch(feed: &mut Feed) -> Batch {
    match next(feed).await {
        Event::Batch(batch) => batch,
        other => panic!("expected a batch, got {other:?}"),
    }
}

/// Waits until the feed says that it is in sync at `revision` or later.
pub async fn in_sync(feed: &mut Feed, revision: Revision) {
    let wait = async {
        while let Some(event) = feed.recv().await {
            if matches!(event, Event::InSync { revision: at } if at >= revision) {
                return;
            }
        }
        panic!("the feed ended");
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in sync in time");
}

/// What a feed's events make: the reader's image of the area.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub struct Image {
    /// Values by key.
    pub keys: BTreeMap<String, String>,
    /// Of the last event.
    pub revision: Revision,
    /// Snapshots seen.
    pub snapshots: usize,
    /// Outages seen.
    pub losses: usize,
}

impl Image {
    /// Takes an event in, and checks that revisions rise.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Snapshot(snapshot) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                self.keys = snapshot
                    .entries
                    .iter()
                    .map(|entry| (entry.key.to_string(), text(&entry.value)))
                    .collect();
                self.revision = snapshot.revision;
                self.snapshots += 1;
            }
            Event::Batch(batch) => {
                assert!(batch.revision > self.revision, "{} after {}", batch.revision, self.revision);
                self.revision = batch.revision;
                for change in batch.changes {
                    match change {
                        Change::Put(entry) => {
                            let value = String::from_utf8_lossy(&entry.value).into_owned();
                            self.keys.insert(entry.key.into(), value);
                        }
                        Change::Delete { key } => drop(self.keys.remove(&*key)),
                    }
                }
            }
            Event::Lost { .. } => self.losses += 1,
            Event::InSync { revision } => {
                assert!(revision >= self.revision, "{revision} < {}", self.revision)
            }
        }
    }

    /// Reads a feed until the image is as `done` wants it.
    pub async fn until(&mut self, feed: &mut Feed, patience: Duration, done: impl Fn(&Image) -> bool) {
        let wait = async {
            while !done(self) {
                let event = feed.recv().await.expect("the feed goes on");
                self.apply(event);
            }
        };
        let late = tokio::time::timeout(patience, wait).await.is_err();
        assert!(!late, "not within {patience:?}: {} keys at {}", self.keys.len(), self.revision);
    }
}

async fn starts_with_a_snapshot_and_says_that_it_is_in_sync(store: &dyn Store) {
    let mut feed = store.follow(Area::Routing);
    let first = snapshot(&mut feed).await;
    assert!(first.entries.is_empty(), "the store is not empty: {first:?}");
    in_sync(&mut feed, first.revision).await;
    let at = store
        .commit(write(vec![
            put(Area::Routing, "backends/b/backend", "{}"),
            put(Area::Routing, "backends/a", "{}"),
        ]))
        .await
        .unwrap();
    let listed = store.list(Area::Routing).await.unwrap();
    assert!(listed.revision >= at);
    let keys: Vec<&str> = listed.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["backends/a", "backends/b/backend"], "in key order");
    let mut late = store.follow(Area::Routing);
    assert_eq!(snapshot(&mut late).await.entries, listed.entries);
    let (revision, found) = store.get(Area::Routing, "backends/a").await.unwrap();
    assert!(revision >= at);
    assert_eq!(found.as_ref(), listed.entries.first());
    assert_eq!(store.get(Area::Routing, "backends/none").await.unwrap().1, None);
}

async fn a_commit_is_one_batch_at_the_revision_it_answers(store: &dyn Store) {
    let mut feed = store.follow(Area::Routing);
    snapshot(&mut feed).await;
    let count = 100.min(store.capabilities().operations_max);
    let operations =
        (0..count).map(|n| put(Area::Routing, &format!("frontends/f{n}/frontend"), "{}")).collect();
    let revision = store.commit(write(operations)).await.unwrap();
    let seen = batch(&mut feed).await;
    assert_eq!((seen.revision, seen.changes.len()), (revision, count));
    let next = store
        .commit(write(vec![
            put(Area::Routing, "frontends/f0/frontend", r#"{"x":1}"#),
            delete(Area::Routing, "frontends/f1/frontend"),
        ]))
        .await
        .unwrap();
    assert!(next > revision);
    let seen = batch(&mut feed).await;
    assert_eq!(seen.revision, next);
    assert_eq!(seen.changes.len(), 2);
    for change in seen.changes {
        match change {
            Change::Put(entry) => assert_eq!(&*entry.value, br#"{"x":1}"#),
            Change::Delete { key } => assert_eq!(&*key, "frontends/f1/frontend"),
        }
    }
}

async fn areas_are_apart_and_count_together(store: &dyn Store) {
    let mut routing = store.follow(Area::Routing);
    let mut state = store.follow(Area::State);
    snapshot(&mut routing).await;
    snapshot(&mut state).await;
    let one = store.commit(write(vec![put(Area::State, "members/a", "{}")])).await.unwrap();
    assert_eq!(batch(&mut state).await.revision, one);
    in_sync(&mut routing, one).await;
    let both = write(vec![put(Area::State, "members/b", "{}"), put(Area::Routing, "backends/b", "{}")]);
    let two = store.commit(both).await.unwrap();
    assert!(two > one);
    assert_eq!(batch(&mut state).await.revision, two);
    let seen = batch(&mut routing).await;
    assert_eq!((seen.revision, seen.changes.len()), (two, 1));
    assert_eq!(store.list(Area::Routing).await.unwrap().entries.len(), 1);
    assert_eq!(store.list(Area::State).await.unwrap().entries.len(), 2);
}

async fn expectations_are_all_or_nothing(store: &dyn Store) {
    let key: Box<str> = "backends/b".into();
    let area = Area::Routing;
    let create = Transaction {
        expect: vec![(area, key.clone(), Expected::Absent)],
        operations: vec![put(area, &key, r#"{"n":1}"#)],
    };
    store.commit(create.clone()).await.unwrap();
    assert_eq!(store.commit(create).await, Err(StoreError::Conflict { key: key.to_string() }));
    let version = store.get(area, &key).await.unwrap().1.unwrap().version;
    assert_ne!(version, 0);
    let conflict = |expect| Transaction {
        expect,
        operations: vec![put(area, "backends/other", "{}"), put(area, &key, r#"{"n":9}"#)],
    };
    for (expect, named) in [
        (vec![(area, key.clone(), Expected::Version(version + 1))], "backends/b"),
        (vec![(area, key.clone(), Expected::Version(0))], "backends/b"),
        (vec![(area, "backends/none".into(), Expected::Version(0))], "backends/none"),
        (
            vec![
                (area, key.clone(), Expected::Present),
                (area, "backends/none".into(), Expected::Version(version)),
            ],
            "backends/none",
        ),
        (vec![(area, "backends/none".into(), Expected::Present)], "backends/none"),
    ] {
        assert_eq!(store.commit(conflict(expect)).await, Err(StoreError::Conflict { key: named.to_owned() }));
    }
    assert_eq!(store.list(area).await.unwrap().entries.len(), 1, "a conflict wrote something");
    let change = Transaction {
        expect: vec![(area, key.clone(), Expected::Version(version)), (area, key.clone(), Expected::Present)],
        operations: vec![put(area, &key, r#"{"n":2}"#)],
    };
    store.commit(change).await.unwrap();
    assert_eq!(&*store.get(area, &key).await.unwrap().1.unwrap().value, br#"{"n":2}"#);
}

async fn a_delete_takes_exactly_its_key(store: &dyn Store) {
    let area = Area::Routing;
    let keys = [
        "frontends/f1/frontend",
        "frontends/f10/frontend",
        "frontends/f1/middlewares/m",
        "frontends/f1-canary/frontend",
    ];
    store.commit(write(keys.iter().map(|key| put(area, key, "{}")).collect())).await.unwrap();
    let mut feed = store.follow(area);
    snapshot(&mut feed).await;
    let absent = store.commit(write(vec![delete(area, "frontends/f1"), delete(area, "none")])).await.unwrap();
    assert_eq!(store.list(area).await.unwrap().entries.len(), keys.len());
    let revision = store.commit(write(vec![delete(area, keys[0])])).await.unwrap();
    assert!(revision > absent);
    let seen = batch(&mut feed).await;
    assert_eq!(seen, Batch { revision, changes: vec![Change::Delete { key: keys[0].into() }] });
    assert_eq!(store.list(area).await.unwrap().entries.len(), keys.len() - 1);
}

async fn versions_and_ages_follow_the_key(store: &dyn Store) {
    let area = Area::Routing;
    store.commit(write(vec![put(area, "backends/old", r#"{"n":1}"#)])).await.unwrap();
    store.commit(write(vec![put(area, "backends/new", r#"{"n":1}"#)])).await.unwrap();
    let entry = async |key| store.get(area, key).await.unwrap().1.unwrap();
    let (old, new) = (entry("backends/old").await, entry("backends/new").await);
    assert!(old.created < new.created);
    store.commit(write(vec![put(area, "backends/old", r#"{"n":2}"#)])).await.unwrap();
    let changed = entry("backends/old").await;
    assert_ne!(changed.version, old.version);
    assert_eq!(changed.created, old.created, "a change made it younger");
    store.commit(write(vec![delete(area, "backends/old")])).await.unwrap();
    store.commit(write(vec![put(area, "backends/old", r#"{"n":2}"#)])).await.unwrap();
    assert!(entry("backends/old").await.created > new.created, "it was created again");
}

async fn refuses_too_much_and_nonsense(store: &dyn Store) {
    let most = store.capabilities().operations_max;
    let many =
        |count| write((0..count).map(|n| put(Area::Routing, &format!("backends/b{n}"), "{}")).collect());
    assert!(
        matches!(store.commit(many(most + 1)).await, Err(StoreError::Refused(text)) if text.contains("alias"))
    );
    for key in ["", "/a", "a//b"] {
        let nonsense = write(vec![put(Area::Routing, key, "{}")]);
        assert!(matches!(store.commit(nonsense).await, Err(StoreError::Refused(_))), "{key:?}");
    }
    assert!(store.list(Area::Routing).await.unwrap().entries.is_empty());
    if most < 1000 {
        store.commit(many(most)).await.unwrap();
        assert_eq!(store.list(Area::Routing).await.unwrap().entries.len(), most);
    }
}

async fn leases_end_keys_or_are_refused(store: &dyn Store) {
    let area = Area::State;
    let leased = |key: &str, seconds| Operation::Put {
        area,
        key: key.into(),
        value: "{}".into(),
        lease: LeaseChoice::Ttl(Duration::from_secs(seconds)),
    };
    if !store.capabilities().leases {
        let refused = store.commit(write(vec![leased("alive/a", 2)])).await;
        assert!(matches!(refused, Err(StoreError::Unsupported(text)) if text.contains("etcd")));
        return;
    }
    store.commit(write(vec![leased("alive/a", 2), leased("alive/b", 600)])).await.unwrap();
    let lease = async |key| store.get(area, key).await.unwrap().1.and_then(|entry| entry.lease);
    let (first, second) = (lease("alive/a").await, lease("alive/b").await);
    assert!(first.is_some() && second.is_some() && first != second);
    store.commit(write(vec![put(area, "alive/a", r#"{"n":2}"#)])).await.unwrap();
    assert_eq!(lease("alive/a").await, first, "a change keeps the lease");
    store.commit(write(vec![put(area, "alive/c", "{}")])).await.unwrap();
    assert_eq!(lease("alive/c").await, None);
    let with = |key: &str, lease| Operation::Put { area, key: key.into(), value: "{}".into(), lease };
    let second = second.unwrap();
    store.commit(write(vec![with("alive/c", LeaseChoice::Existing(second))])).await.unwrap();
    assert_eq!(lease("alive/c").await, Some(second), "two keys can hang on one lease");
    store.commit(write(vec![with("alive/c", LeaseChoice::Without)])).await.unwrap();
    assert_eq!(lease("alive/c").await, None, "a key can lose its lease");
    let ended = store.commit(write(vec![with("alive/c", LeaseChoice::Existing(second + 4_711))])).await;
    assert!(matches!(ended, Err(StoreError::Refused(_))), "{ended:?}");
    store.commit(write(vec![leased("alive/d", 700), leased("alive/e", 700)])).await.unwrap();
    assert_eq!(lease("alive/d").await, lease("alive/e").await, "one lease for all of one length");
    let both = ["alive/d", "alive/e"].map(|key| Operation::Delete { area, key: key.into() });
    store.commit(write(both.to_vec())).await.unwrap();
    let mut feed = store.follow(area);
    let now = snapshot(&mut feed).await;
    assert_eq!(now.entries.len(), 3);
    let seen = batch(&mut feed).await;
    assert_eq!(seen.changes, vec![Change::Delete { key: "alive/a".into() }]);
    assert!(seen.revision > now.revision);
}

async fn two_writers_meet_at_most_once(store: &dyn Store) {
    let area = Area::Routing;
    store.commit(write(vec![put(area, "backends/n", r#"{"n":0}"#)])).await.unwrap();
    let add = async || {
        let mut done = 0;
        while done < 10 {
            let entry = store.get(area, "backends/n").await.unwrap().1.unwrap();
            let value: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
            let value = serde_json::json!({ "n": value["n"].as_u64().unwrap() + 1 });
            let transaction = Transaction {
                expect: vec![(area, entry.key.clone(), Expected::Version(entry.version))],
                operations: vec![put(area, &entry.key, &value.to_string())],
            };
            match store.commit(transaction).await {
                Ok(_) => done += 1,
                Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
    };
    futures_util::future::join(add(), add()).await;
    assert_eq!(&*store.get(area, "backends/n").await.unwrap().1.unwrap().value, br#"{"n":20}"#);
}

async fn many_commits_arrive_in_order_and_none_is_lost(store: &dyn Store) {
    let area = Area::Routing;
    let mut feed = store.follow(area);
    let mut image = Image::default();
    image.apply(Event::Snapshot(snapshot(&mut feed).await));
    let mut want = BTreeMap::new();
    let mut revisions = Vec::new();
    for n in 0..60 {
        let key = format!("backends/b{}", n % 7);
        if n % 5 == 4 {
            want.remove(&key);
            revisions.push(store.commit(write(vec![delete(area, &key)])).await.unwrap());
        } else {
            let value = format!("{{\"n\":{n}}}");
            revisions.push(store.commit(write(vec![put(area, &key, &value)])).await.unwrap());
            want.insert(key, value);
        }
    }
    let last = *revisions.last().unwrap();
    assert!(revisions.is_sorted());
    image.until(&mut feed, PATIENCE, |image| image.revision >= last).await;
    assert_eq!(image.keys, want);
}
