//! A store in this process's memory, for tests and embedders: every contract of a store, and hooks to break it.

use super::check::check;
use super::log::{Log, State};
use super::{
    Area, Capabilities, Change, Entry, Expected, Feed, LeaseChoice, Operation, Snapshot, Store, StoreError,
    Transaction,
};
use crate::model::Revision;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const OFFERED: Capabilities =
    Capabilities { leases: true, operations_max: 100_000, value_bytes_max: 64 * 1024 * 1024 };

/// Keeps objects in memory. A clone is the same store.
#[derive(Clone)]
pub struct MemoryStore {
    log: Arc<Log>,
    leases: Arc<AtomicI64>,
}

/// Contents and revision as they were once, to be restored.
#[derive(Debug, Clone)]
pub struct Backup {
    revision: Revision,
    routing: Vec<Entry>,
    state: Vec<Entry>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store at revision 1.
    pub fn new() -> Self {
        Self { log: Arc::new(Log::new(false)), leases: Arc::new(AtomicI64::new(1)) }
    }

    /// Writes one key, whatever it was.
    pub fn put(&self, area: Area, key: &str, value: impl Into<Bytes>) -> Result<Revision, StoreError> {
        let put = Operation::Put { area, key: key.into(), value: value.into(), lease: LeaseChoice::Keep };
        self.apply(&Transaction { expect: Vec::new(), operations: vec![put] })
    }

    /// Removes one key, if it is there.
    pub fn delete(&self, area: Area, key: &str) -> Result<Revision, StoreError> {
        let delete = Operation::Delete { area, key: key.into() };
        self.apply(&Transaction { expect: Vec::new(), operations: vec![delete] })
    }

    /// The revision of the last change.
    pub fn revision(&self) -> Revision {
        self.log.read().revision
    }

    /// Everything in an area now, also while it does not answer.
    pub fn snapshot(&self, area: Area) -> Snapshot {
        self.log.read().snapshot(area)
    }

    /// Stops answering, with a reason, or answers again. What is written meanwhile (by [`MemoryStore::put`] alone) is
    /// seen when it answers again.
    pub fn set_outage(&self, reason: Option<&str>) {
        self.log.write(|state| state.outage = reason.map(str::to_owned));
    }

    /// What it holds now.
    pub fn backup(&self) -> Backup {
        let state = self.log.read();
        let all = |area| state.entries(area).values().cloned().collect();
        Backup { revision: state.revision, routing: all(Area::Routing), state: all(Area::State) }
    }

    /// Goes back to a backup, with its revision.
    pub fn restore(&self, backup: Backup) {
        self.log.write(|state| state.replace(backup.revision, backup.routing, backup.state));
    }

    /// Loses everything and starts to count anew.
    pub fn wipe(&self) {
        self.log.write(|state| state.replace(Revision(1), Vec::new(), Vec::new()));
    }

    fn apply(&self, transaction: &Transaction) -> Result<Revision, StoreError> {
        check(transaction, &OFFERED)?;
        let mut granted = Vec::new();
        let revision = self.log.write(|state| -> Result<Revision, StoreError> {
            expected(state, transaction)?;
            let revision = Revision(state.revision.0 + 1);
            let mut changes = Vec::new();
            for operation in &transaction.operations {
                let (area, key) = operation.target();
                let old = state.entries(area).get(key);
                match operation {
                    Operation::Put { value, lease, .. } => {
                        let lease = match lease {
                            LeaseChoice::Keep => old.and_then(|old| old.lease),
                            LeaseChoice::Ttl(ttl) => match granted.iter().find(|(_, known)| known == ttl) {
                                Some((id, _)) => Some(*id),
                                None => {
                                    let id = self.leases.fetch_add(1, Ordering::Relaxed);
                                    granted.push((id, *ttl));
                                    Some(id)
                                }
                            },
                            LeaseChoice::Existing(id) if state.has_lease(*id) => Some(*id),
                            LeaseChoice::Existing(_) => {
                                return Err(StoreError::Refused("the lease has ended".to_owned()));
                            }
                            LeaseChoice::Without => None,
                        };
                        let created = old.map_or(revision.0, |old| old.created);
                        let (key, value) = (key.into(), value.clone());
                        changes.push((
                            area,
                            Change::Put(Entry { key, value, version: revision.0, created, lease }),
                        ));
                    }
                    Operation::Delete { .. } if old.is_some() => {
                        changes.push((area, Change::Delete { key: key.into() }));
                    }
                    Operation::Delete { .. } => {}
                }
            }
            if changes.is_empty() {
                return Ok(state.revision);
            }
            state.record(revision, changes);
            Ok(revision)
        })?;
        for (lease, ttl) in granted {
            self.end_later(lease, ttl);
        }
        Ok(revision)
    }

    /// Removes what hangs on a lease when its time has come.
    fn end_later(&self, lease: i64, ttl: Duration) {
        let log = Arc::downgrade(&self.log);
        tokio::spawn(async move {
            tokio::time::sleep(ttl).await;
            let Some(log) = log.upgrade() else { return };
            log.write(|state| {
                let mut changes = Vec::new();
                for area in [Area::Routing, Area::State] {
                    let ended = state.entries(area).values().filter(|entry| entry.lease == Some(lease));
                    changes.extend(ended.map(|entry| (area, Change::Delete { key: entry.key.clone() })));
                }
                if !changes.is_empty() {
                    state.record(Revision(state.revision.0 + 1), changes);
                }
            });
        });
    }

    fn answering(&self) -> Result<(), StoreError> {
        match &self.log.read().outage {
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
            None => Ok(()),
        }
    }
}

/// Whether everything a transaction expects holds.
pub(super) fn expected(state: &State, transaction: &Transaction) -> Result<(), StoreError> {
    for (area, key, expected) in &transaction.expect {
        let found = state.entries(*area).get(key).map(|entry| entry.version);
        let holds = match expected {
            Expected::Version(version) => found == Some(*version),
            Expected::Absent => found.is_none(),
            Expected::Present => found.is_some(),
        };
        if !holds {
            return Err(StoreError::Conflict { key: key.to_string() });
        }
    }
    Ok(())
}

impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        OFFERED
    }

    fn follow(&self, area: Area) -> Feed {
        self.log.follow(area, ())
    }

    fn list(&self, area: Area) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        Box::pin(ready(self.answering().map(|()| self.log.read().snapshot(area))))
    }

    fn get<'a>(
        &'a self,
        area: Area,
        key: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, Option<Entry>), StoreError>> {
        let found = self.answering().map(|()| {
            let state = self.log.read();
            (state.revision, state.entries(area).get(key).cloned())
        });
        Box::pin(ready(found))
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            self.answering()?;
            self.apply(&transaction)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Event;
    use crate::store::conformance;

    #[tokio::test(start_paused = true)]
    async fn conforms() {
        conformance::run(|| async { (Arc::new(MemoryStore::new()) as Arc<dyn Store>, ()) }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_said_once_and_nothing_is_lost_over_it() {
        let store = MemoryStore::new();
        let mut feed = store.follow(Area::Routing);
        assert!(matches!(feed.recv().await, Some(Event::Snapshot(_))));
        assert_eq!(feed.recv().await, Some(Event::InSync { revision: Revision(1) }));
        store.set_outage(Some("gone"));
        assert_eq!(feed.recv().await, Some(Event::Lost { reason: "gone".into() }));
        assert!(matches!(store.list(Area::Routing).await, Err(StoreError::Unavailable(_))));
        store.put(Area::Routing, "a", "1").unwrap();
        store.set_outage(None);
        assert!(matches!(feed.recv().await, Some(Event::Batch(batch)) if batch.revision == Revision(2)));
        assert_eq!(feed.recv().await, Some(Event::InSync { revision: Revision(2) }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restored_backup_is_a_snapshot_at_its_own_revision() {
        let store = MemoryStore::new();
        store.put(Area::Routing, "a", "1").unwrap();
        let backup = store.backup();
        store.put(Area::Routing, "b", "1").unwrap();
        let mut feed = store.follow(Area::Routing);
        assert!(matches!(feed.recv().await, Some(Event::Snapshot(all)) if all.entries.len() == 2));
        assert!(matches!(feed.recv().await, Some(Event::InSync { .. })));
        store.restore(backup);
        match feed.recv().await {
            Some(Event::Snapshot(all)) => {
                assert_eq!((all.revision, all.entries.len()), (Revision(2), 1));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(feed.recv().await, Some(Event::InSync { revision: Revision(2) })));
        store.wipe();
        assert!(
            matches!(feed.recv().await, Some(Event::Snapshot(all)) if all.entries.is_empty() && all.revision == Revision(1))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_falls_behind_gets_a_snapshot() {
        let store = MemoryStore::new();
        let mut feed = store.follow(Area::Routing);
        assert!(matches!(feed.recv().await, Some(Event::Snapshot(_))));
        for n in 0..5000 {
            store.put(Area::Routing, &format!("k{n}"), "1").unwrap();
        }
        let mut keys = 0;
        while keys < 5000 {
            match feed.recv().await {
                Some(Event::Snapshot(all)) => keys = all.entries.len(),
                Some(Event::Batch(batch)) => keys += batch.changes.len(),
                Some(_) => {}
                None => panic!("the feed ended"),
            }
        }
    }
}
