//! What the store says of all applications, descriptors and deployments, as this process last heard.

use super::record::{Application, Asked, Deployment, LogLine, ROOT, StoredDescriptor};
use crate::kubernetes::Name;
use crate::model::Revision;
use crate::store::{Change, Entry, Event};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Keys whose values could not be read, that are remembered so as to warn of each once.
const UNREADABLE_MAX: usize = 10_000;

/// Everything below `deployer/` of the state area. Most of it is logs: of each application's deployments no more are kept
/// than [`desk`](super::desk) keeps in the store, and of each deployment no more lines than
/// [`charge`](super::charge) writes.
#[derive(Debug, Default)]
pub struct Book {
    /// How far it was heard.
    pub revision: Revision,
    /// By name.
    pub applications: BTreeMap<Name, Kept<Application>>,
    /// By application and id.
    pub descriptors: BTreeMap<(Name, Box<str>), Kept<StoredDescriptor>>,
    /// By application and id.
    pub deployments: BTreeMap<(Name, Box<str>), Kept<Deployment>>,
    /// By application, deployment and number.
    pub logs: BTreeMap<(Name, Box<str>, u64), LogLine>,
    /// What pods said of their health: by application, deployment and pod.
    pub health: BTreeMap<(Name, Box<str>, Box<str>), Box<str>>,
    /// Applications whose one in charge is alive.
    pub locks: BTreeMap<Name, Box<str>>,
    /// What is asked of deployments under way, until it is taken up.
    pub asks: BTreeMap<Name, Kept<Asked>>,
    /// Variables for all pods.
    pub environment: BTreeMap<Box<str>, Box<str>>,
    /// What was warned of.
    unreadable: BTreeSet<Box<str>>,
}

/// A record with its version, which is also its `ETag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<T> {
    /// As read.
    pub value: T,
    /// Compared by expectations.
    pub version: u64,
    /// As stored.
    pub bytes: usize,
}

impl Kept<Deployment> {
    /// Deployments in the order in which they last changed. A revision orders what happened within one second.
    pub fn age(&self) -> impl Ord + '_ {
        (&*self.value.last_modified, self.version)
    }
}

impl Book {
    /// Bytes of a namespace's descriptors, deployments and logs, about.
    pub fn bytes_of(&self, namespace: &str) -> usize {
        let is_of = |app: &Name| *app.namespace == *namespace;
        let descriptors =
            self.descriptors.iter().filter(|((app, _), _)| is_of(app)).map(|(_, kept)| kept.bytes);
        let deployments =
            self.deployments.iter().filter(|((app, _), _)| is_of(app)).map(|(_, kept)| kept.bytes);
        let logs = self.logs.iter().filter(|((app, _, _), _)| is_of(app)).map(|(_, line)| line.text.len());
        descriptors.chain(deployments).chain(logs).fold(0, usize::saturating_add)
    }

    /// A deployment of a namespace by its id alone, as Amdatu's clients name it.
    pub fn deployment(&self, namespace: &str, id: &str) -> Option<(&Name, &Kept<Deployment>)> {
        let is_it = |(app, own): &&(Name, Box<str>)| &*app.namespace == namespace && **own == *id;
        self.deployments.iter().find(|(key, _)| is_it(key)).map(|((app, _), kept)| (app, kept))
    }

    /// A descriptor of a namespace by its id alone.
    pub fn descriptor(&self, namespace: &str, id: &str) -> Option<(&Name, &Kept<StoredDescriptor>)> {
        let is_it = |(app, own): &&(Name, Box<str>)| &*app.namespace == namespace && **own == *id;
        self.descriptors.iter().find(|(key, _)| is_it(key)).map(|((app, _), kept)| (app, kept))
    }

    /// A deployment's log, oldest first.
    pub fn log(&self, app: &Name, id: &str) -> impl Iterator<Item = (u64, &LogLine)> {
        let (first, last) = ((app.clone(), id.into(), 0), (app.clone(), id.into(), u64::MAX));
        self.logs.range(first..=last).map(|((_, _, number), line)| (*number, line))
    }

    /// Takes in what the store tells. Whether anything but the revision changed.
    pub fn apply(&mut self, event: &Event) -> bool {
        match event {
            Event::Snapshot(snapshot) => {
                let unreadable = std::mem::take(&mut self.unreadable);
                *self = Self { revision: snapshot.revision, unreadable, ..Self::default() };
                for entry in &snapshot.entries {
                    self.put(entry);
                }
                true
            }
            Event::Batch(batch) => {
                self.revision = batch.revision;
                let mut is_ours = false;
                for change in &batch.changes {
                    is_ours |= match change {
                        Change::Put(entry) => self.put(entry),
                        Change::Delete { key } => self.delete(key),
                    };
                }
                is_ours
            }
            Event::InSync { revision } => {
                self.revision = self.revision.max(*revision);
                false
            }
            Event::Lost { .. } => false,
        }
    }

    /// False: it is not the deployer's.
    fn put(&mut self, entry: &Entry) -> bool {
        let Some(place) = Place::of(&entry.key) else { return entry.key.starts_with(ROOT) };
        if !self.write(place, entry) {
            self.delete(&entry.key);
            if self.unreadable.len() < UNREADABLE_MAX && self.unreadable.insert(entry.key.clone()) {
                tracing::warn!(
                    key = &*entry.key,
                    "a record of the deployer cannot be read and is passed over"
                );
            }
        }
        true
    }

    /// False: the value cannot be read.
    fn write(&mut self, place: Place<'_>, entry: &Entry) -> bool {
        let version = entry.version;
        match place {
            Place::Application(app) => keep(&mut self.applications, app, entry, version),
            Place::Descriptor(app, id) => keep(&mut self.descriptors, (app, id.into()), entry, version),
            Place::Deployment(app, id) => keep(&mut self.deployments, (app, id.into()), entry, version),
            Place::Log(app, id, number) => insert(&mut self.logs, (app, id.into(), number), parse(entry)),
            Place::Health(app, id, pod) => {
                insert(&mut self.health, (app, id.into(), pod.into()), text(entry))
            }
            Place::Lock(app) => insert(&mut self.locks, app, text(entry)),
            Place::Ask(app) => keep(&mut self.asks, app, entry, version),
            Place::Environment(name) => insert(&mut self.environment, name.into(), text(entry)),
        }
    }

    fn delete(&mut self, key: &str) -> bool {
        let Some(place) = Place::of(key) else { return key.starts_with(ROOT) };
        match place {
            Place::Application(app) => drop(self.applications.remove(&app)),
            Place::Descriptor(app, id) => drop(self.descriptors.remove(&(app, id.into()))),
            Place::Deployment(app, id) => drop(self.deployments.remove(&(app, id.into()))),
            Place::Log(app, id, number) => drop(self.logs.remove(&(app, id.into(), number))),
            Place::Health(app, id, pod) => drop(self.health.remove(&(app, id.into(), pod.into()))),
            Place::Lock(app) => drop(self.locks.remove(&app)),
            Place::Ask(app) => drop(self.asks.remove(&app)),
            Place::Environment(name) => drop(self.environment.remove(name)),
        }
        true
    }
}

/// What a key is about.
enum Place<'a> {
    Application(Name),
    Lock(Name),
    Ask(Name),
    Descriptor(Name, &'a str),
    Deployment(Name, &'a str),
    Log(Name, &'a str, u64),
    Health(Name, &'a str, &'a str),
    Environment(&'a str),
}

impl<'a> Place<'a> {
    fn of(key: &'a str) -> Option<Self> {
        let mut parts = key.strip_prefix(ROOT)?.split('/');
        let kind = parts.next()?;
        if kind == "environment" {
            let name = parts.next()?;
            return parts.next().is_none().then_some(Self::Environment(name));
        }
        let app = Name::new(parts.next()?, parts.next()?);
        let (id, more, end) = (parts.next(), parts.next(), parts.next());
        Some(match (kind, id, more, end) {
            ("applications", None, None, None) => Self::Application(app),
            ("locks", None, None, None) => Self::Lock(app),
            ("asks", None, None, None) => Self::Ask(app),
            ("descriptors", Some(id), None, None) => Self::Descriptor(app, id),
            ("deployments", Some(id), None, None) => Self::Deployment(app, id),
            ("logs", Some(id), Some(number), None) => Self::Log(app, id, number.parse().ok()?),
            ("health", Some(id), Some(pod), None) => Self::Health(app, id, pod),
            _ => return None,
        })
    }
}

fn keep<K: Ord, T: DeserializeOwned>(
    map: &mut BTreeMap<K, Kept<T>>,
    key: K,
    entry: &Entry,
    version: u64,
) -> bool {
    insert(map, key, parse(entry).map(|value| Kept { value, version, bytes: entry.value.len() }))
}

fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> bool {
    value.map(|value| map.insert(key, value)).is_some()
}

fn parse<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    serde_json::from_slice(&entry.value).ok()
}

fn text(entry: &Entry) -> Option<Box<str>> {
    std::str::from_utf8(&entry.value).ok().map(Box::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Snapshot};

    fn entry(key: &str, value: &str, version: u64) -> Entry {
        Entry { key: key.into(), value: value.to_owned().into(), version, created: version, lease: None }
    }

    fn put(key: &str, value: &str, version: u64) -> Event {
        let changes = vec![Change::Put(entry(key, value, version))];
        Event::Batch(Batch { revision: Revision(version), changes })
    }

    fn delete(key: &str, version: u64) -> Event {
        let changes = vec![Change::Delete { key: key.into() }];
        Event::Batch(Batch { revision: Revision(version), changes })
    }

    const LINE: &str = r#"{"at": "2026-01-01T00:00:00Z", "text": "x"}"#;

    #[test]
    fn each_key_has_its_place_and_leaves_it() {
        let count = |book: &Book| {
            [
                book.applications.len(),
                book.logs.len(),
                book.health.len(),
                book.locks.len(),
                book.asks.len(),
                book.environment.len(),
            ]
        };
        let records = [
            ("deployer/applications/a/b", r#"{"open": "x"}"#),
            ("deployer/logs/a/b/x/000002", LINE),
            ("deployer/health/a/b/x/pod", "ill"),
            ("deployer/locks/a/b", "me"),
            ("deployer/asks/a/b", r#"{"deployment": "x", "ask": "back", "by": "me"}"#),
            ("deployer/environment/A", "1"),
        ];
        for (at, (key, value)) in records.iter().enumerate() {
            let (mut book, mut one) = (Book::default(), [0; 6]);
            one[at] = 1;
            assert!(book.apply(&put(key, value, 7)), "{key}");
            assert_eq!((count(&book), book.revision), (one, Revision(7)), "{key}");
            assert!(book.apply(&delete(key, 8)), "{key}");
            assert_eq!((count(&book), book.revision), ([0; 6], Revision(8)), "{key}");
        }
    }

    #[test]
    fn a_log_is_told_in_order() {
        let mut book = Book::default();
        for number in [11, 2, 1] {
            book.apply(&put(&format!("deployer/logs/a/b/x/{number:06}"), LINE, 3));
        }
        book.apply(&put("deployer/logs/a/b/y/000001", LINE, 4));
        let numbers: Vec<u64> = book.log(&Name::new("a", "b"), "x").map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 2, 11]);
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        let mut book = Book::default();
        assert!(book.apply(&put("deployer/applications/a/b", "{}", 3)));
        for value in ["", "1", "{\"open\": 1}"] {
            assert!(book.apply(&put("deployer/applications/a/b", value, 4)));
            assert!(book.applications.is_empty(), "{value}");
        }
        assert_eq!(book.unreadable.len(), 1);
        for key in
            ["deployer/applications/a", "deployer/logs/a/b/x/one", "deployer/what", "deployer/calls/a/b"]
        {
            assert!(book.apply(&put(key, "{}", 5)), "{key}");
        }
        assert_eq!(book.unreadable.len(), 1, "keys of others are none of the book's");
    }

    #[test]
    fn others_keys_only_move_the_revision() {
        let mut book = Book::default();
        assert!(!book.apply(&put("members/a", "{}", 9)));
        assert!(!book.apply(&Event::InSync { revision: Revision(12) }));
        assert!(!book.apply(&Event::Lost { reason: "x".into() }));
        assert_eq!(book.revision, Revision(12));
    }

    #[test]
    fn a_snapshot_is_all_there_is() {
        let mut book = Book::default();
        book.apply(&put("deployer/locks/a/b", "me", 9));
        let entries = vec![entry("deployer/locks/a/c", "you", 2), entry("members/x", "", 1)];
        assert!(book.apply(&Event::Snapshot(Snapshot { revision: Revision(3), entries })));
        assert_eq!((book.locks.len(), book.revision), (1, Revision(3)));
        assert_eq!(book.locks[&Name::new("a", "c")], "you".into());
    }
}
