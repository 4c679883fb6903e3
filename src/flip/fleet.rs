//! What the state area says of the fleet: who is a member, who lives, which flips are open and who runs them. Fed with
//! the store's events; time comes from outside.

use super::record::{self, ALIVE, Alive, FLIPS, Flip, LISTED_MAX, MEMBERS, Member, OWNERS, WATCH};
use crate::store::{Change, Entry, Event};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Without leases: a record that has not changed for so long while it was watched has no living writer.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);

/// A record that its writer keeps alive.
#[derive(Debug, Clone)]
struct Pulse<T> {
    value: T,
    version: u64,
    /// At which it was written, or a little later.
    revision: u64,
    leased: bool,
    changed: Instant,
}

impl<T> Pulse<T> {
    fn lives(&self, now: Instant) -> bool {
        self.leased || now.saturating_duration_since(self.changed) < SILENCE_MAX
    }
}

/// An open flip as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFlip {
    /// The record.
    pub flip: Flip,
    /// Of the key, for expectations.
    pub version: u64,
    /// At which the record came to be as it is, or a little later.
    pub revision: u64,
    /// Whose it is: text that its owner chose.
    pub owner: Option<String>,
}

/// A member as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Its name.
    pub name: String,
    /// Its living processes; none: it is lost.
    pub boots: Vec<(String, Alive)>,
}

/// The fleet as the state area tells it.
#[derive(Debug, Clone)]
pub struct Fleet {
    has_revisions: bool,
    members: BTreeMap<String, Option<Member>>,
    /// By name and boot id.
    alive: BTreeMap<(String, String), Pulse<Alive>>,
    owners: BTreeMap<String, Pulse<String>>,
    flips: BTreeMap<String, OpenFlip>,
    watched: BTreeSet<String>,
    /// Flips whose record cannot be read, and why.
    broken: BTreeMap<String, String>,
    is_known: bool,
}

impl Fleet {
    /// Nothing is known yet. `has_revisions`: versions of entries are revisions, as in etcd.
    pub fn new(has_revisions: bool) -> Self {
        Self {
            has_revisions,
            members: BTreeMap::new(),
            alive: BTreeMap::new(),
            owners: BTreeMap::new(),
            flips: BTreeMap::new(),
            watched: BTreeSet::new(),
            broken: BTreeMap::new(),
            is_known: false,
        }
    }

    /// The state area was read at least once.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Takes an event of the state area.
    pub fn apply(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Snapshot(snapshot) => {
                let before = std::mem::replace(self, Self::new(self.has_revisions));
                self.is_known = true;
                for entry in &snapshot.entries {
                    self.put(entry, snapshot.revision.0, now);
                }
                // What is as it was has not shown life.
                for (key, pulse) in &mut self.alive {
                    if let Some(old) = before.alive.get(key).filter(|old| old.version == pulse.version) {
                        pulse.changed = old.changed;
                    }
                }
                for (key, pulse) in &mut self.owners {
                    if let Some(old) = before.owners.get(key).filter(|old| old.version == pulse.version) {
                        pulse.changed = old.changed;
                    }
                }
            }
            Event::Batch(batch) => {
                for change in &batch.changes {
                    match change {
                        Change::Put(entry) => self.put(entry, batch.revision.0, now),
                        Change::Delete { key } => self.delete(key),
                    }
                }
            }
            Event::Lost { .. } | Event::InSync { .. } => {}
        }
    }

    fn put(&mut self, entry: &Entry, revision: u64, now: Instant) {
        let pulse = |changed| (entry.version, entry.lease.is_some(), changed);
        if let Some(name) = entry.key.strip_prefix(MEMBERS) {
            self.members.insert(name.to_owned(), record::read(&entry.key, &entry.value).ok());
        } else if let Some(rest) = entry.key.strip_prefix(ALIVE) {
            let Some((name, boot)) = rest.split_once('/') else { return };
            let (version, leased, changed) = pulse(now);
            match record::read(&entry.key, &entry.value) {
                Ok(value) => {
                    let pulse = Pulse { value, version, revision, leased, changed };
                    self.alive.insert((name.to_owned(), boot.to_owned()), pulse);
                }
                Err(reason) => tracing::warn!("{reason}"),
            }
        } else if let Some(id) = entry.key.strip_prefix(OWNERS) {
            let (version, leased, changed) = pulse(now);
            let value = String::from_utf8_lossy(&entry.value).into_owned();
            self.owners.insert(id.to_owned(), Pulse { value, version, revision, leased, changed });
        } else if let Some(id) = entry.key.strip_prefix(WATCH) {
            if self.watched.len() < LISTED_MAX {
                self.watched.insert(id.to_owned());
            }
        } else if let Some(id) = entry.key.strip_prefix(FLIPS) {
            let revision = if self.has_revisions { entry.version } else { revision };
            match record::read::<Flip>(&entry.key, &entry.value) {
                Ok(flip) => {
                    self.broken.remove(id);
                    let open = OpenFlip { flip, version: entry.version, revision, owner: None };
                    self.flips.insert(id.to_owned(), open);
                }
                Err(reason) => drop(self.broken.insert(id.to_owned(), reason)),
            }
        }
    }

    fn delete(&mut self, key: &str) {
        if let Some(name) = key.strip_prefix(MEMBERS) {
            self.members.remove(name);
        } else if let Some((name, boot)) = key.strip_prefix(ALIVE).and_then(|rest| rest.split_once('/')) {
            self.alive.remove(&(name.to_owned(), boot.to_owned()));
        } else if let Some(id) = key.strip_prefix(OWNERS) {
            self.owners.remove(id);
        } else if let Some(id) = key.strip_prefix(WATCH) {
            self.watched.remove(id);
        } else if let Some(id) = key.strip_prefix(FLIPS) {
            self.flips.remove(id);
            self.broken.remove(id);
        }
    }

    /// All members by name, also those that are only known by a living process.
    pub fn members(&self, now: Instant) -> Vec<MemberView> {
        let mut views: BTreeMap<&str, Vec<(String, Alive)>> =
            self.members.keys().map(|name| (name.as_str(), Vec::new())).collect();
        for ((name, boot), pulse) in self.alive.iter().filter(|(_, pulse)| pulse.lives(now)) {
            views.entry(name).or_default().push((boot.clone(), pulse.value.clone()));
        }
        views.into_iter().map(|(name, boots)| MemberView { name: name.to_owned(), boots }).collect()
    }

    /// Members without a living process: what they do is not known.
    pub fn lost(&self, now: Instant) -> Vec<String> {
        let lost = self.members(now).into_iter().filter(|member| member.boots.is_empty());
        lost.map(|member| member.name).collect()
    }

    /// Who of those that live does not serve a revision yet, or has not drained a backend that nothing leads to since
    /// then, and why: a text for each.
    pub fn behind(&self, revision: u64, drained: Option<&str>, now: Instant) -> Vec<String> {
        let mut behind = BTreeSet::new();
        for member in self.members(now) {
            let name = &member.name;
            for (_, alive) in &member.boots {
                if alive.served < revision {
                    behind.insert(format!("{name} serves revision {}", alive.served));
                } else if let Some(reason) = drained.and_then(|id| undrained(name, alive, id, revision)) {
                    behind.insert(reason);
                }
            }
        }
        behind.into_iter().collect()
    }

    /// Whether a name is on the list.
    pub fn is_member(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// When each member registered.
    pub fn registered(&self) -> impl Iterator<Item = (&str, Option<&Member>)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member.as_ref()))
    }

    /// Keys of processes of `name`, living or not.
    pub fn boots<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        self.alive
            .keys()
            .filter(move |(of, _)| of == name)
            .map(|(name, boot)| format!("{ALIVE}{name}/{boot}"))
    }

    /// Whether a process has not written since a revision.
    pub fn heard_before(&self, revision: u64) -> bool {
        self.alive.values().any(|pulse| pulse.revision < revision)
    }

    /// Open flips by age, with who runs them as far as that is known to live.
    pub fn flips(&self, now: Instant) -> Vec<OpenFlip> {
        let owner = |id: &str| self.owners.get(id).filter(|pulse| pulse.lives(now));
        let flips = self
            .flips
            .iter()
            .map(|(id, open)| OpenFlip { owner: owner(id).map(|pulse| pulse.value.clone()), ..open.clone() });
        flips.collect()
    }

    /// One open flip.
    pub fn flip(&self, id: &str) -> Option<&OpenFlip> {
        self.flips.get(id)
    }

    /// The version of the key that says who runs a flip.
    pub fn owner_version(&self, id: &str) -> Option<u64> {
        self.owners.get(id).map(|pulse| pulse.version)
    }

    /// Backends that somebody waits for beside flips.
    pub fn watched(&self) -> BTreeSet<String> {
        // Behind a slash each that watches has a name of its own.
        self.watched.iter().filter_map(|key| key.split('/').next()).map(str::to_owned).collect()
    }

    /// When the next record without a lease may turn out to have no living writer.
    pub fn next_silence(&self, now: Instant) -> Option<Instant> {
        let alive = self.alive.values().filter(|it| !it.leased).map(|it| it.changed + SILENCE_MAX);
        let owners = self.owners.values().filter(|it| !it.leased).map(|it| it.changed + SILENCE_MAX);
        alive.chain(owners).filter(|at| *at > now).min()
    }

    /// Records of flips that cannot be read.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        self.broken.values().map(String::as_str)
    }
}

/// Why a process has not drained a backend.
fn undrained(name: &str, alive: &Alive, backend: &str, revision: u64) -> Option<String> {
    match alive.backends.get(backend) {
        None => Some(format!("{name} has not told of {backend}")),
        Some(view) if view.named => Some(format!("something at {name} still names {backend}")),
        Some(view) if view.in_flight > 0 => {
            Some(format!("{name} has {} requests open to {backend}", view.in_flight))
        }
        Some(view) if !view.free || alive.quiet < revision => {
            Some(format!("requests at {name} can still begin on {backend}"))
        }
        Some(_) => None,
    }
}
