//! What authors in the cluster must know, as it stands now: shared by whoever finds it out and whoever tells it.

use super::note::Note;
use super::shared::Shared;
use super::unit::Source;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// Who found something out. Each replaces only what it said itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finder {
    /// The conversion, and the comparison with the store.
    Sync,
    /// The writing of addresses into the status of Ingresses.
    Status,
}

/// All notes that stand, by who found them out and by the unit's object. A clone is another handle of the same.
#[derive(Debug, Clone, Default)]
pub struct Notes(Shared<(Finder, Source), BTreeSet<Note>>);

/// What is said now of one object; empty: nothing any more.
pub(super) type Said = ((Finder, Source), BTreeSet<Note>);

impl Notes {
    /// What `finder` says of `source` from now on, in place of what it said before.
    pub fn replace(&self, finder: Finder, source: &Source, notes: BTreeSet<Note>) {
        self.0.set((finder, source.clone()), (!notes.is_empty()).then_some(notes));
    }

    /// Everything that stands, each note once, by what it is about.
    pub fn all(&self) -> BTreeSet<Note> {
        self.0.all().into_values().flatten().collect()
    }

    /// Moves on whenever something changed.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    /// What changed since this was last called. There is one who calls it.
    pub(super) fn take_changed(&self) -> Vec<Said> {
        let changed = self.0.take_changed().into_iter();
        changed.map(|(key, notes)| (key, notes.unwrap_or_default())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Name;
    use crate::model::Severity;

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
}
