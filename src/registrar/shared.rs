//! Values by key that one part of the registrar finds out and another acts upon, each in its own time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What stands, and which of it changed. A clone is another handle of the same; nobody waits for anybody for longer than
/// it takes to copy what is asked for.
#[derive(Debug)]
pub(super) struct Shared<K, V> {
    state: Arc<Mutex<State<K, V>>>,
    /// Moves on whenever something changed.
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct State<K, V> {
    standing: BTreeMap<K, V>,
    /// Since it was last asked for.
    changed: BTreeSet<K>,
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        let state = State { standing: BTreeMap::new(), changed: BTreeSet::new() };
        Self { state: Arc::new(Mutex::new(state)), version: watch::Sender::new(0) }
    }
}

impl<K, V> Clone for Shared<K, V> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), version: self.version.clone() }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Shared<K, V> {
    /// What stands at a key from now on; `None`: nothing.
    pub(super) fn set(&self, key: K, value: Option<V>) {
        let mut state = self.lock();
        if state.standing.get(&key) == value.as_ref() {
            return;
        }
        match value {
            Some(value) => drop(state.standing.insert(key.clone(), value)),
            None => drop(state.standing.remove(&key)),
        }
        state.changed.insert(key);
        drop(state);
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Everything that stands.
    pub(super) fn all(&self) -> BTreeMap<K, V> {
        self.lock().standing.clone()
    }

    /// Moves on whenever something changed.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What changed since this was last called, as it stands now. There is one who calls it.
    pub(super) fn take_changed(&self) -> Vec<(K, Option<V>)> {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.changed);
        let now = |key: K| {
            let value = state.standing.get(&key).cloned();
            (key, value)
        };
        changed.into_iter().map(now).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        // Every change is whole once the lock is free, whatever happened to its holder.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
