//! What authors in the cluster must know, as it stands now: shared by whoever finds it out and whoever tells it.

use super::convert::Note;
use super::unit::Source;
use crate::model::Severity;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Who found something out. Each replaces only what it said itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finder {
    /// The conversion, and the comparison with the store.
    Sync,
    /// The writing of addresses into the status of Ingresses.
    Status,
}

/// All notes that stand, by who found them out and by the unit's object. A clone is another handle of the same; nobody
/// waits for anybody for longer than it takes to copy the notes of one object.
#[derive(Debug, Clone)]
pub struct Notes {
    shared: Arc<Mutex<Shared>>,
    /// Moves on whenever something changed.
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Shared {
    standing: Standing,
    /// What changed since it was last asked for.
    changed: BTreeSet<(Finder, Source)>,
}

type Standing = BTreeMap<(Finder, Source), BTreeSet<Note>>;

/// What is said now of one object; empty: nothing any more.
pub(super) type Said = ((Finder, Source), BTreeSet<Note>);

impl Default for Notes {
    fn default() -> Self {
        Self { shared: Arc::default(), version: watch::Sender::new(0) }
    }
}

impl Notes {
    /// What `finder` says of `source` from now on, in place of what it said before.
    pub fn replace(&self, finder: Finder, source: &Source, notes: BTreeSet<Note>) {
        let mut shared = self.lock();
        let key = (finder, source.clone());
        let is_same = match shared.standing.get(&key) {
            Some(before) => *before == notes,
            None => notes.is_empty(),
        };
        if is_same {
            return;
        }
        match notes.is_empty() {
            true => drop(shared.standing.remove(&key)),
            false => drop(shared.standing.insert(key.clone(), notes)),
        }
        shared.changed.insert(key);
        drop(shared);
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Everything that stands, each note once, by what it is about.
    pub fn all(&self) -> BTreeSet<Note> {
        self.lock().standing.values().flatten().cloned().collect()
    }

    /// Moves on whenever something changed.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What changed since this was last called. There is one who calls it.
    pub(super) fn take_changed(&self) -> Vec<Said> {
        let mut shared = self.lock();
        let changed = std::mem::take(&mut shared.changed);
        let now = |key: (Finder, Source)| {
            let notes = shared.standing.get(&key).cloned().unwrap_or_default();
            (key, notes)
        };
        changed.into_iter().map(now).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every change is whole once the lock is free, whatever happened to its holder.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As `GET /problems` of the registrar answers: `{"problems": [{"about", "field", "reason", "severity"}]}`, errors first,
/// then by what they are about.
pub fn problems<'n>(notes: impl IntoIterator<Item = &'n Note>) -> Value {
    let mut notes: Vec<&Note> = notes.into_iter().collect();
    notes.sort_by_key(|note| (std::cmp::Reverse(note.severity), *note));
    let one = |note: &Note| {
        let Note { about, field, reason, severity } = note;
        json!({ "about": about.to_string(), "field": field, "reason": reason, "severity": severity })
    };
    json!({ "problems": notes.into_iter().map(one).collect::<Vec<Value>>() })
}

impl Note {
    /// For people, in one sentence without the object: `nginx.ingress.kubernetes.io/x is not known`.
    pub fn sentence(&self) -> String {
        match &*self.field {
            "" => self.reason.to_string(),
            field => format!("{field} {}", self.reason),
        }
    }

    /// Whether the object, or the part of it that this is about, is not in the store.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Whether it is about a key in the store that somebody else has: another hand, or an older object.
    pub(super) fn is_about_a_held_key(&self) -> bool {
        ["is held by ", "is wanted "].iter().any(|said| self.reason.starts_with(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Name;

    fn source(name: &str) -> Source {
        Source::Ingress(Name::new("shop", name))
    }

    fn note(name: &str, reason: &str, severity: Severity) -> Note {
        Note { about: source(name), field: "spec".into(), reason: reason.into(), severity }
    }

    #[test]
    fn only_differences_are_told() {
        let notes = Notes::default();
        let version = notes.subscribe();
        let web: BTreeSet<Note> = [note("web", "is bad", Severity::Error)].into();
        notes.replace(Finder::Sync, &source("web"), web.clone());
        notes.replace(Finder::Sync, &source("other"), BTreeSet::new());
        assert!(version.has_changed().unwrap());
        let changed = notes.take_changed();
        assert_eq!(changed, [((Finder::Sync, source("web")), web.clone())]);
        notes.replace(Finder::Sync, &source("web"), web.clone());
        assert_eq!(notes.take_changed(), []);
        // One finder does not take away what another says.
        notes.replace(Finder::Status, &source("web"), web.clone());
        notes.replace(Finder::Sync, &source("web"), BTreeSet::new());
        assert_eq!(notes.all(), web);
        let changed = notes.take_changed();
        assert_eq!(changed.len(), 2);
        assert_eq!(changed[0], ((Finder::Sync, source("web")), BTreeSet::new()));
    }

    #[test]
    fn problems_are_listed_errors_first() {
        let notes = [note("a", "is odd", Severity::Warning), note("b", "is bad", Severity::Error)];
        assert_eq!(
            problems(&notes).to_string(),
            r#"{"problems":[{"about":"ingress/shop/b","field":"spec","reason":"is bad","severity":"error"},"#
                .to_owned()
                + r#"{"about":"ingress/shop/a","field":"spec","reason":"is odd","severity":"warning"}]}"#
        );
    }
}
