//! Which Events are due. Pure: notes and the time in, Events out.

use crate::registrar::Note;
use crate::registrar::notes::{Finder, Said};
use crate::registrar::unit::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a note has to stand before it is told: an Ingress is often there a moment before its Service.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// Longest text of an Event, in bytes; the API takes no more.
const TEXT_BYTES_MAX: usize = 1024;
/// What is kept of that for the words that say how much was left out.
const MORE_BYTES: usize = 32;
/// So many notes of one reason are all told, in several Events where one has no room; of more, those that fit in one.
const NOTES_MAX: usize = 64;

/// What an Event is about, in one word for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Of the object, or a part of it, nothing is in the store.
    Invalid,
    /// Somebody else holds the key that it wants.
    KeyHeldByOther,
    /// It is in the store, without this.
    NotCarriedOver,
    /// Nothing is wrong with it any more.
    Synced,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::KeyHeldByOther => "KeyHeldByOther",
            Self::NotCarriedOver => "NotCarriedOver",
            Self::Synced => "Synced",
        }
    }

    /// The Event's `type`.
    pub(super) fn kind(self) -> &'static str {
        if self == Self::Synced { "Normal" } else { "Warning" }
    }

    fn of(note: &Note) -> Self {
        match note.is_error() {
            true if note.is_about_a_held_key() => Self::KeyHeldByOther,
            true => Self::Invalid,
            false => Self::NotCarriedOver,
        }
    }
}

/// One Event to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) about: Source,
    pub(super) reason: Reason,
    /// At most a kilobyte.
    pub(super) text: String,
    notes: BTreeSet<Note>,
}

/// What stands, what was told of it, and what is to be told.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// By who found it out, as it was last told to us.
    standing: BTreeMap<(Finder, Source), BTreeSet<Note>>,
    /// How many say so.
    counts: BTreeMap<Note, usize>,
    told: BTreeSet<Note>,
    /// By object: from when on it may be told, and what.
    due: BTreeMap<Source, (Instant, BTreeSet<Note>)>,
    /// Objects of which nothing that was told stands any more.
    well: BTreeMap<Source, Instant>,
    /// Whether it is for us to tell.
    leads: bool,
}

impl Agenda {
    /// This process leads now, or another one. Who takes over tells everything that stands; Events that are there
    /// already are told from new ones by their names.
    pub(super) fn lead(&mut self, leads: bool, now: Instant) {
        if std::mem::replace(&mut self.leads, leads) == leads {
            return;
        }
        self.told.clear();
        self.due.clear();
        self.well.clear();
        let all: Vec<Note> = self.counts.keys().cloned().collect();
        all.into_iter().for_each(|note| self.owe(note, now));
    }

    /// Takes in what changed.
    pub(super) fn take(&mut self, changed: Vec<Said>, now: Instant) {
        for (key, notes) in changed {
            let before = match notes.is_empty() {
                true => self.standing.remove(&key),
                false => self.standing.insert(key, notes.clone()),
            };
            let before = before.unwrap_or_default();
            for note in notes.difference(&before) {
                let count = self.counts.entry(note.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    self.owe(note.clone(), now);
                }
            }
            for note in before.difference(&notes) {
                self.release(note, now);
            }
        }
    }

    /// When the next Event is due; none: nothing is to be told.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let due = self.due.values().map(|(at, _)| *at);
        due.chain(self.well.values().copied()).min()
    }

    /// The next Event, if one is due: all notes about one object for one reason.
    pub(super) fn next(&mut self, now: Instant) -> Option<Told> {
        if let Some(about) = self.due.iter().find(|(_, (at, _))| *at <= now).map(|(about, _)| about.clone()) {
            let (at, due) = self.due.remove(&about)?;
            let reason = due.iter().map(Reason::of).min()?;
            let (mut notes, mut others): (BTreeSet<Note>, BTreeSet<Note>) =
                due.into_iter().partition(|note| Reason::of(note) == reason);
            if notes.len() <= NOTES_MAX {
                others.append(&mut split_off(&mut notes));
            }
            if !others.is_empty() {
                self.due.insert(about.clone(), (at, others));
            }
            let text = text(&notes);
            self.told.extend(notes.iter().cloned());
            return Some(Told { about, reason, text, notes });
        }
        let about = self.well.iter().find(|(_, at)| **at <= now).map(|(about, _)| about.clone())?;
        self.well.remove(&about);
        let text = "Nothing is wrong with it any more".to_owned();
        Some(Told { about, reason: Reason::Synced, text, notes: BTreeSet::new() })
    }

    /// An Event could not be written: what stands of it is due again at `at`.
    pub(super) fn put_back(&mut self, told: Told, at: Instant) {
        for note in told.notes {
            self.told.remove(&note);
            if self.counts.contains_key(&note) {
                self.owe_at(note, at);
            }
        }
    }

    fn owe(&mut self, note: Note, now: Instant) {
        self.owe_at(note, now + SETTLE);
    }

    fn owe_at(&mut self, note: Note, at: Instant) {
        // A group of pods is no object of the cluster.
        if !self.leads || matches!(note.about, Source::Pods(_)) {
            return;
        }
        self.well.remove(&note.about);
        let due = self.due.entry(note.about.clone()).or_insert_with(|| (at, BTreeSet::new()));
        due.0 = due.0.max(at);
        due.1.insert(note);
    }

    /// One less says so.
    fn release(&mut self, note: &Note, now: Instant) {
        let Some(count) = self.counts.get_mut(note) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.counts.remove(note);
        let about = &note.about;
        if let Some((_, due)) = self.due.get_mut(about) {
            due.remove(note);
            if due.is_empty() {
                self.due.remove(about);
            }
        }
        let was_told = self.told.remove(note);
        let is_left = |others: &BTreeSet<Note>| others.iter().any(|other| other.about == *about);
        if was_told && !is_left(&self.told) && !self.due.contains_key(about) {
            self.well.insert(about.clone(), now + SETTLE);
        }
    }
}

/// Takes off what has no room in one Event; one note always stays.
fn split_off(notes: &mut BTreeSet<Note>) -> BTreeSet<Note> {
    let mut length = 0;
    let first_left = notes.iter().enumerate().find(|(index, note)| {
        length += note.sentence().len() + "; ".len();
        *index > 0 && length > TEXT_BYTES_MAX - MORE_BYTES
    });
    match first_left.map(|(_, note)| note.clone()) {
        Some(note) => notes.split_off(&note),
        None => BTreeSet::new(),
    }
}

/// The notes as sentences, as many as fit.
fn text(notes: &BTreeSet<Note>) -> String {
    let mut text = String::new();
    for (index, note) in notes.iter().enumerate() {
        let sentence = note.sentence();
        let joint = if index == 0 { "" } else { "; " };
        let room = (TEXT_BYTES_MAX - MORE_BYTES).saturating_sub(text.len() + joint.len());
        if sentence.len() <= room {
            text.push_str(joint);
            text.push_str(&sentence);
            continue;
        }
        if index == 0 {
            let whole = |(at, c): (usize, char)| at + c.len_utf8() <= room;
            text.extend(sentence.char_indices().take_while(|at| whole(*at)).map(|(_, c)| c));
            text.push_str("...");
        }
        let left = notes.len() - index - usize::from(index == 0);
        if left > 0 {
            text.push_str(&format!("; and {left} more"));
        }
        break;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Name;
    use crate::model::Severity;

    fn source(name: &str) -> Source {
        Source::Ingress(Name::new("shop", name))
    }

    fn note(name: &str, field: &str, severity: Severity) -> Note {
        Note { about: source(name), field: field.into(), reason: "is not known".into(), severity }
    }

    fn said(name: &str, notes: &[Note]) -> Vec<Said> {
        vec![((Finder::Sync, source(name)), notes.iter().cloned().collect())]
    }

    /// Everything that is due by then, as text.
    fn told(agenda: &mut Agenda, now: Instant) -> Vec<String> {
        let line = |told: Told| format!("{} {}: {}", told.about, told.reason.as_str(), told.text);
        std::iter::from_fn(|| agenda.next(now)).map(line).collect()
    }

    #[test]
    fn a_note_is_told_once_while_it_stands() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut agenda = Agenda::default();
        agenda.lead(true, start);
        let (a, b) = (note("web", "a", Severity::Warning), note("web", "b", Severity::Warning));
        let bad = note("web", "spec", Severity::Error);
        agenda.take(said("web", &[a.clone(), b.clone(), bad.clone()]), start);
        assert_eq!(told(&mut agenda, at(1)), [""; 0]);
        assert_eq!(agenda.next_at(), Some(at(2)));
        assert_eq!(
            told(&mut agenda, at(2)),
            [
                "ingress/shop/web Invalid: spec is not known",
                "ingress/shop/web NotCarriedOver: a is not known; b is not known"
            ]
        );
        let c = note("web", "c", Severity::Warning);
        agenda.take(said("web", &[a.clone(), c.clone()]), at(3));
        assert_eq!(told(&mut agenda, at(9)), ["ingress/shop/web NotCarriedOver: c is not known"]);
        // Another finder says the same.
        agenda.take(vec![((Finder::Status, source("web")), [c.clone()].into())], at(9));
        agenda.take(said("web", &[]), at(9));
        assert_eq!(told(&mut agenda, at(20)), [""; 0]);
        agenda.take(vec![((Finder::Status, source("web")), BTreeSet::new())], at(20));
        assert_eq!(told(&mut agenda, at(30)), ["ingress/shop/web Synced: Nothing is wrong with it any more"]);
        assert_eq!(agenda.next_at(), None);
        agenda.take(said("web", &[bad]), at(30));
        assert_eq!(told(&mut agenda, at(40)), ["ingress/shop/web Invalid: spec is not known"]);
    }

    #[test]
    fn what_passes_quickly_is_not_told() {
        let start = Instant::now();
        let mut agenda = Agenda::default();
        agenda.lead(true, start);
        agenda.take(said("web", &[note("web", "a", Severity::Error)]), start);
        agenda.take(said("web", &[]), start + Duration::from_secs(1));
        assert_eq!(agenda.next_at(), None);
        assert_eq!(told(&mut agenda, start + Duration::from_secs(9)), [""; 0]);
    }

    #[test]
    fn only_who_leads_tells_and_then_everything() {
        let start = Instant::now();
        let later = start + Duration::from_secs(9);
        let mut agenda = Agenda::default();
        agenda.take(said("web", &[note("web", "a", Severity::Error)]), start);
        assert_eq!(agenda.next_at(), None);
        agenda.lead(true, start);
        assert_eq!(told(&mut agenda, later).len(), 1);
        agenda.lead(false, later);
        agenda.take(said("web", &[]), later);
        assert_eq!(told(&mut agenda, later + SETTLE), [""; 0]);
    }

    #[test]
    fn what_could_not_be_written_is_due_again_if_it_stands() {
        let start = Instant::now();
        let mut agenda = Agenda::default();
        agenda.lead(true, start);
        agenda.take(said("web", &[note("web", "a", Severity::Error)]), start);
        let event = agenda.next(start + SETTLE).unwrap();
        agenda.put_back(event, start + Duration::from_secs(60));
        assert_eq!(agenda.next_at(), Some(start + Duration::from_secs(60)));
        let event = agenda.next(start + Duration::from_secs(60)).unwrap();
        agenda.take(said("web", &[]), start + Duration::from_secs(61));
        agenda.put_back(event, start + Duration::from_secs(62));
        assert!(agenda.due.is_empty());
    }

    #[test]
    fn what_has_no_room_is_told_in_further_events() {
        let start = Instant::now();
        let told = |count: usize| {
            let many: Vec<Note> = (0..count)
                .map(|index| note("web", &format!("field-{index:02}"), Severity::Warning))
                .collect();
            let mut agenda = Agenda::default();
            agenda.lead(true, start);
            agenda.take(said("web", &many), start);
            let told = told(&mut agenda, start + SETTLE);
            assert_eq!(agenda.next_at(), None);
            told
        };
        let all = told(60);
        assert_eq!(all.len(), 2, "{all:?}");
        let text = all.concat();
        assert!((0..60).all(|index| text.contains(&format!("field-{index:02}"))), "{text}");
        let some = told(100);
        assert!(some.len() == 1 && some[0].ends_with("; and 57 more"), "{some:?}");
    }

    #[test]
    fn a_text_has_an_end() {
        let many: BTreeSet<Note> =
            (0..100).map(|index| note("web", &format!("field-{index:02}"), Severity::Warning)).collect();
        let all = text(&many);
        assert!(all.len() <= TEXT_BYTES_MAX && all.ends_with("; and 57 more"), "{} {all}", all.len());
        let long = note("web", &"é".repeat(600), Severity::Warning);
        let short = note("web", "z", Severity::Warning);
        let cut = text(&[long.clone()].into());
        assert!(cut.len() <= TEXT_BYTES_MAX && cut.ends_with("é..."), "{cut}");
        let cut = text(&[Note { field: "a".repeat(2000).into(), ..long }, short].into());
        assert!(cut.len() <= TEXT_BYTES_MAX && cut.ends_with("a...; and 1 more"), "{cut}");
    }
}
