//! What the authors of the cluster's objects must know, by object.

use super::note::Note;
use super::unit::Source;
use crate::model::Severity;
use std::collections::{BTreeMap, BTreeSet};

/// All notes of now. The same note of two units is one.
#[derive(Debug, Default)]
pub struct Remarks {
    /// With how many say it.
    by_source: BTreeMap<Source, BTreeMap<Note, u32>>,
    changed: BTreeSet<Source>,
    errors: usize,
    warnings: usize,
}

impl Remarks {
    /// Puts `new` in the place of `old`, which was added before.
    pub fn replace(&mut self, old: &BTreeSet<Note>, new: &BTreeSet<Note>) {
        new.difference(old).for_each(|note| self.add(note));
        old.difference(new).for_each(|note| self.remove(note));
    }

    /// About one object, in order.
    pub fn about(&self, source: &Source) -> impl Iterator<Item = &Note> {
        self.by_source.get(source).into_iter().flat_map(BTreeMap::keys)
    }

    /// All, in the order of their objects.
    pub fn all(&self) -> impl Iterator<Item = &Note> {
        self.by_source.values().flat_map(BTreeMap::keys)
    }

    /// How many errors and warnings there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.errors, self.warnings)
    }

    /// The objects whose notes are others since this was called last.
    pub fn take_changed(&mut self) -> BTreeSet<Source> {
        std::mem::take(&mut self.changed)
    }

    fn add(&mut self, note: &Note) {
        let notes = self.by_source.entry(note.about.clone()).or_default();
        match notes.get_mut(note) {
            Some(count) => *count += 1,
            None => {
                notes.insert(note.clone(), 1);
                self.count(note, true);
            }
        }
    }

    fn remove(&mut self, note: &Note) {
        let Some(notes) = self.by_source.get_mut(&note.about) else { return };
        match notes.get_mut(note) {
            None => return,
            Some(count) if *count > 1 => {
                *count -= 1;
                return;
            }
            Some(_) => notes.remove(note),
        };
        if notes.is_empty() {
            self.by_source.remove(&note.about);
        }
        self.count(note, false);
    }

    fn count(&mut self, note: &Note, is_more: bool) {
        let count = match note.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        self.changed.insert(note.about.clone());
    }
}
