//! Each rule of the image as data: a script of events, and what is in force and listed after it.

#![allow(clippy::print_stdout)] // Figures and seeds are for whoever runs the tests.

mod holding;
mod random;
mod rules;

use super::form::{change, object_hash};
use super::*;
use crate::model::{Backend, Severity};
use crate::store::{Batch, Change, Entry, Event, Snapshot};
use crate::tls::SealKeys;
use std::time::Duration;

pub(in crate::control) fn environment() -> Environment {
    Environment { seal_keys: SealKeys::none(), secrets_dir: None, trace_dir: None }
}

pub(super) const BACKEND: &str = r#"{"Type":"http"}"#;
pub(super) const SERVER: &str = r#"{"URL":"http://10.0.0.1:80"}"#;
pub(super) const HEADERS: &str = r#"{"Type":"headers","Middleware":{"Request":{"Set":{"X-A":"1"}}}}"#;

pub(super) fn frontend(backend: &str, route: &str) -> String {
    format!(r#"{{"Type":"http","BackendId":"{backend}","Route":"Host(\"{route}\")"}}"#)
}

pub(super) fn guarded(backend: &str, route: &str, middleware: &str) -> String {
    format!(
        r#"{{"Type":"http","BackendId":"{backend}","Route":"Host(\"{route}\")","Settings":{{"Middlewares":["{middleware}"]}}}}"#
    )
}

pub(super) fn alias(target: &str) -> String {
    format!(r#"{{"Type":"alias","Target":"{target}"}}"#)
}

/// An image with a clock, a revision, a store beside it, and the forms that a table would hold.
pub(super) struct Stage {
    pub(super) image: Image,
    pub(super) now: Now,
    pub(super) revision: u64,
    pub(super) store: BTreeMap<String, (String, u64, u64)>,
    pub(super) table: BTreeMap<String, table::Change>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            image: Image::new(environment()),
            now: Now::read(),
            revision: 0,
            store: BTreeMap::new(),
            table: BTreeMap::new(),
        }
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now.instant += Duration::from_secs(seconds);
        self.now.wall += Duration::from_secs(seconds);
    }

    /// One revision: `+key`, value; or `-key`.
    pub(super) fn batch(&mut self, changes: &[(&str, &str)]) -> Applied {
        self.revision += 1;
        let mut list = Vec::new();
        for (key, value) in changes {
            let (sign, key) = key.split_at(1);
            if sign == "-" {
                self.store.remove(key);
                list.push(Change::Delete { key: key.into() });
            } else {
                let created = self.store.get(key).map_or(self.revision, |(_, _, created)| *created);
                self.store.insert(key.into(), ((*value).into(), self.revision, created));
                list.push(Change::Put(self.entry(key)));
            }
        }
        let event = Event::Batch(Batch { revision: Revision(self.revision), changes: list });
        self.take(&event)
    }

    pub(super) fn put(&mut self, key: &str, value: &str) -> Applied {
        self.batch(&[(&format!("+{key}"), value)])
    }

    pub(super) fn delete(&mut self, key: &str) -> Applied {
        self.batch(&[(&format!("-{key}"), "")])
    }

    fn entry(&self, key: &str) -> Entry {
        let (value, version, created) = self.store[key].clone();
        Entry { key: key.into(), value: value.into(), version, created, lease: None }
    }

    /// Everything the store beside it holds, as a snapshot at the current revision.
    pub(super) fn snapshot(&mut self) -> Applied {
        let entries = self.store.keys().map(|key| self.entry(key)).collect();
        self.take(&Event::Snapshot(Snapshot { revision: Revision(self.revision), entries }))
    }

    pub(super) fn confirm(&mut self, revision: u64) -> Applied {
        let confirmation = Confirmation { revision: Revision(revision), at: self.now.wall };
        let applied = self.image.confirm(confirmation, self.now);
        self.follow(&applied);
        applied
    }

    fn take(&mut self, event: &Event) -> Applied {
        let applied = self.image.apply(event, self.now);
        self.follow(&applied);
        applied
    }

    /// Follows the changes as a table would, and checks that the image agrees with itself.
    pub(super) fn follow(&mut self, applied: &Applied) {
        for change in &applied.changes {
            let (key, is_there) = describe(change);
            if is_there {
                self.table.insert(key, change.clone());
            } else {
                assert!(self.table.remove(&key).is_some(), "{key} left the table and was not in it");
            }
        }
        let forms = |image: &Image| -> Vec<String> {
            let slots = image.slots.iter().filter(|(_, slot)| slot.form.is_some());
            let mut keys: Vec<_> = slots.map(|(key, _)| key.to_string()).collect();
            keys.sort();
            keys
        };
        assert_eq!(forms(&self.image), self.table.keys().cloned().collect::<Vec<_>>());
        let mut hash = 0_u64;
        for (key, slot) in &self.image.slots {
            assert!(slot.stored.is_some() || slot.form.is_some(), "{key} is nothing");
            assert_eq!(slot.stored.is_none(), self.image.ghosts.contains_key(key), "{key} and ghosts");
            assert_eq!(slot.form.is_none(), slot.in_force == InForce::None, "{key}");
            if slot.form.is_some() {
                hash = hash.wrapping_add(object_hash(key, slot.in_force_raw().expect("bytes in force")));
            }
        }
        assert_eq!((hash, applied.hash), (self.image.hash, self.image.hash));
        self.check_links();
        // What is on disk restores the same image.
        let restored = Restored { revision: self.image.revision, records: self.image.records() };
        let (again, all) = Image::restore(environment(), restored, self.now);
        assert_eq!(forms(&again), forms(&self.image));
        assert_eq!((again.hash, again.frontends_in_force), (hash, self.image.frontends_in_force));
        assert_eq!(forms(&again), forms(&self.image));
        assert_eq!(all.changes.len(), self.table.len());
        assert_eq!(again.records(), self.image.records());
    }

    fn check_links(&self) {
        let forms = || self.image.slots.iter().filter_map(|(key, slot)| Some((key, slot.form.as_ref()?)));
        let targets: BTreeMap<_, _> = forms()
            .filter_map(|(key, form)| match (key, form) {
                (ObjectKey::Backend(id), Form::Backend(it, _)) => match &**it {
                    Backend::Alias { target, .. } => Some((id.clone(), target.clone())),
                    Backend::Http { .. } => None,
                },
                _ => None,
            })
            .collect();
        let mut reached = BTreeSet::new();
        let mut frontends = 0;
        for (_, form) in forms() {
            if let Form::Frontend(it) = form {
                frontends += 1;
                reached.insert(targets.get(&it.backend).unwrap_or(&it.backend).clone());
                if targets.contains_key(&it.backend) {
                    reached.insert(it.backend.clone());
                }
            }
        }
        assert_eq!(self.image.frontends_in_force, frontends);
        let mut served = BTreeSet::new();
        for (key, _) in forms() {
            if let ObjectKey::Server(of, _) = key {
                assert!(!targets.contains_key(of), "{key} is in force below an alias");
                if reached.contains(of) {
                    served.insert(of.clone());
                }
            }
        }
        assert_eq!(self.image.links.served as usize, served.len());
        for target in targets.values() {
            assert!(!targets.contains_key(target), "{target} is an alias that an alias names");
        }
    }

    /// `key`, then `this`, `previous`, `none` or `absent`.
    #[track_caller]
    pub(super) fn check(&self, expected: &[(&str, &str)]) {
        for (key, expected) in expected {
            let view = self.image.object(&ObjectKey::parse(key).expect("a key of an object"));
            let found = match view.map(|view| view.in_force) {
                None => "absent",
                Some(InForce::None) => "none",
                Some(InForce::Previous) => "previous",
                Some(InForce::This) => "this",
            };
            assert_eq!((*key, found), (*key, *expected), "at revision {}", self.revision);
        }
    }

    /// Lines of `severity key field in_force`.
    pub(super) fn problems(&self) -> Vec<String> {
        let listing = self.image.problems(self.now);
        assert_eq!(self.image.counts(self.now), listing.counts);
        let line = |it: &crate::model::Problem| {
            let severity = if it.severity == Severity::Error { "error" } else { "warning" };
            format!("{severity} {} {} {:?}", it.key, it.field, it.in_force)
        };
        let lines: Vec<_> = listing.problems.iter().map(line).collect();
        assert_eq!(lines.len(), (listing.counts.errors + listing.counts.warnings).min(PROBLEMS_MAX));
        lines
    }

    #[track_caller]
    pub(super) fn check_problems(&self, expected: &[&str]) {
        assert_eq!(self.problems(), expected);
    }
}

/// The key, and whether the change puts it into the table.
fn describe(it: &table::Change) -> (String, bool) {
    use table::Change::*;
    let (key, is_there) = match it.clone() {
        Listener(id, form) => (ObjectKey::Listener(id), form.is_some()),
        Host(name, form) => (ObjectKey::Host(name), form.is_some()),
        Frontend(id, form) => (ObjectKey::Frontend(id), form.is_some()),
        OwnMiddleware(of, id, form) => (ObjectKey::OwnMiddleware(of, id), form.is_some()),
        SharedMiddleware(id, form) => (ObjectKey::SharedMiddleware(id), form.is_some()),
        Backend(id, form) => (ObjectKey::Backend(id), form.is_some()),
        Server(of, id, form) => (ObjectKey::Server(of, id), form.is_some()),
    };
    assert!(is_there || change(&key, None).is_some());
    (key.to_string(), is_there)
}
