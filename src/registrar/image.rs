//! The store's routing area as the registrar follows it: what it owns with values, of all else only that it is there.

use crate::model::edit::last_spelled;
use crate::model::{BackendId, ObjectKey, Revision, owner};
use crate::store::{Batch, Change, Entry, Snapshot};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What stands in the store. Memory for ten thousand servers and many more objects of others.
#[derive(Debug)]
pub struct Image {
    /// `CLUSTER:`, with which the `Owner` of everything owned begins.
    mark: Box<str>,
    revision: Revision,
    canonical: BTreeMap<ObjectKey, Standing>,
    /// Keys in their short spelling: `backends/<id>`. Where both stand, the canonical one counts.
    short: BTreeMap<ObjectKey, Standing>,
    frontends: usize,
    /// How many servers in each backend are owned; never 0.
    servers: BTreeMap<BackendId, usize>,
}

/// What stands at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The registrar's.
    Owned {
        /// As in [`Entry::version`].
        version: u64,
        /// As stored.
        value: Box<[u8]>,
    },
    /// Somebody else's.
    Foreign {
        /// A backend that can have servers: one that is no alias.
        takes_servers: bool,
    },
}

/// What an event changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Keys whose [`Standing`] is another now.
    pub keys: BTreeSet<ObjectKey>,
    /// Backends of somebody else that servers can join since, or no longer.
    pub backends: BTreeMap<BackendId, bool>,
}

impl Image {
    /// Of nothing yet. What begins with the cluster's name and a colon in its `Owner` is owned.
    pub fn new(cluster: &str) -> Self {
        Self {
            mark: format!("{cluster}:").into(),
            revision: Revision(0),
            canonical: BTreeMap::new(),
            short: BTreeMap::new(),
            frontends: 0,
            servers: BTreeMap::new(),
        }
    }

    /// The revision that it is complete at.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Nothing was missed up to a revision.
    pub fn reach(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Takes everything in anew: what is not in it is gone.
    pub fn reset(&mut self, snapshot: Snapshot) -> Touched {
        let mut touched = Touched::default();
        let mut gone: BTreeSet<(ObjectKey, bool)> = BTreeSet::new();
        gone.extend(self.canonical.keys().map(|key| (key.clone(), false)));
        gone.extend(self.short.keys().map(|key| (key.clone(), true)));
        for entry in snapshot.entries {
            let Some(key) = ObjectKey::parse(&entry.key) else { continue };
            let is_short = is_short(&key, &entry.key);
            let standing = self.standing(&key, entry);
            gone.remove(&(key.clone(), is_short));
            self.set(key, is_short, Some(standing), &mut touched);
        }
        for (key, is_short) in gone {
            self.set(key, is_short, None, &mut touched);
        }
        self.revision = snapshot.revision;
        touched
    }

    /// Takes the next revision in.
    pub fn apply(&mut self, batch: Batch) -> Touched {
        let mut touched = Touched::default();
        for change in batch.changes {
            let (text, entry) = match change {
                Change::Put(entry) => (entry.key.clone(), Some(entry)),
                Change::Delete { key } => (key, None),
            };
            let Some(key) = ObjectKey::parse(&text) else { continue };
            let standing = entry.map(|entry| self.standing(&key, entry));
            let is_short = is_short(&key, &text);
            self.set(key, is_short, standing, &mut touched);
        }
        self.revision = batch.revision;
        touched
    }

    /// What stands at a key in its canonical spelling.
    pub fn get(&self, key: &ObjectKey) -> Option<&Standing> {
        self.canonical.get(key)
    }

    /// What stands at a key in its short spelling.
    pub fn get_short(&self, key: &ObjectKey) -> Option<&Standing> {
        self.short.get(key)
    }

    /// Everything that is owned, in either spelling.
    pub fn owned(&self) -> impl Iterator<Item = &ObjectKey> {
        let all = self.canonical.iter().chain(&self.short);
        all.filter(|(_, standing)| standing.is_owned()).map(|(key, _)| key)
    }

    /// How many frontends are owned.
    pub fn frontends(&self) -> usize {
        self.frontends
    }

    /// How many backends have servers that are owned.
    pub fn backends(&self) -> usize {
        self.servers.len()
    }

    /// How many servers of a backend are owned.
    pub fn servers(&self, backend: &BackendId) -> usize {
        self.servers.get(backend).copied().unwrap_or_default()
    }

    fn set(&mut self, key: ObjectKey, is_short: bool, standing: Option<Standing>, touched: &mut Touched) {
        let map = if is_short { &self.short } else { &self.canonical };
        if map.get(&key) == standing.as_ref() {
            return;
        }
        let backend = match &key {
            ObjectKey::Backend(id) => Some(id.clone()),
            _ => None,
        };
        let before = backend.as_ref().map(|_| self.takes_servers(&key));
        self.count(&key, is_short, standing.as_ref().is_some_and(Standing::is_owned));
        let map = if is_short { &mut self.short } else { &mut self.canonical };
        match standing {
            Some(standing) => map.insert(key.clone(), standing),
            None => map.remove(&key),
        };
        if let Some(backend) = backend {
            let now = self.takes_servers(&key);
            if before != Some(now) {
                touched.backends.insert(backend, now);
            }
        }
        touched.keys.insert(key);
    }

    /// Counts a key that is about to be owned, or no longer.
    fn count(&mut self, key: &ObjectKey, is_short: bool, is_owned: bool) {
        let was_owned = self.canonical.get(key).is_some_and(Standing::is_owned);
        if is_short || was_owned == is_owned {
            return;
        }
        let step = |count: usize| if is_owned { count + 1 } else { count.saturating_sub(1) };
        match key {
            ObjectKey::Frontend(_) => self.frontends = step(self.frontends),
            ObjectKey::Server(backend, _) => {
                let count = step(self.servers(backend));
                if count == 0 {
                    self.servers.remove(backend);
                } else {
                    self.servers.insert(backend.clone(), count);
                }
            }
            _ => {}
        }
    }

    /// Whether a backend of somebody else stands there, in either spelling, and can have servers.
    fn takes_servers(&self, key: &ObjectKey) -> bool {
        let standing = self.canonical.get(key).or_else(|| self.short.get(key));
        matches!(standing, Some(Standing::Foreign { takes_servers: true }))
    }

    fn standing(&self, key: &ObjectKey, entry: Entry) -> Standing {
        let value = serde_json::from_slice::<Value>(&entry.value).ok();
        if value.as_ref().and_then(owner).is_some_and(|owner| owner.starts_with(&*self.mark)) {
            return Standing::Owned { version: entry.version, value: (&*entry.value).into() };
        }
        // A backend that cannot be read keeps its servers: its last good form may be in force.
        let kind = value.as_ref().and_then(Value::as_object).and_then(|value| last_spelled(value, "Type"));
        let is_alias = kind.and_then(Value::as_str) == Some("alias");
        Standing::Foreign { takes_servers: matches!(key, ObjectKey::Backend(_)) && !is_alias }
    }
}

impl Standing {
    /// Whether it is the registrar's.
    pub fn is_owned(&self) -> bool {
        matches!(self, Self::Owned { .. })
    }
}

fn is_short(key: &ObjectKey, text: &str) -> bool {
    key.canonical() != text
}

#[cfg(test)]
mod tests;
