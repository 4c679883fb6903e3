//! What active checks know of a server.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

const UNKNOWN: u8 = 0;
const WELL: u8 = 1;
const UNWELL: u8 = 2;

/// What the checks' answers so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// None has come.
    Unknown,
    /// It is well.
    Well,
    /// It is not.
    Unwell,
}

/// Written by the server's one checker, read by all.
#[derive(Debug, Default)]
pub(super) struct Known {
    state: AtomicU8,
    /// Answers in a row that speak against the state.
    contrary: AtomicU32,
}

impl Known {
    pub(super) fn get(&self) -> Checked {
        match self.state.load(Ordering::Relaxed) {
            WELL => Checked::Well,
            UNWELL => Checked::Unwell,
            _ => Checked::Unknown,
        }
    }

    /// Takes in an answer. The first one decides; later ones change the state after `rise` or `fall` in a row. Returns
    /// the new state where it changed.
    pub(super) fn note(&self, good: bool, rise: u32, fall: u32) -> Option<Checked> {
        let (agrees, enough) = match self.get() {
            Checked::Unknown => (false, 1),
            Checked::Well => (good, fall),
            Checked::Unwell => (!good, rise),
        };
        let contrary = if agrees { 0 } else { self.contrary.load(Ordering::Relaxed).saturating_add(1) };
        if contrary < enough.max(1) {
            self.contrary.store(contrary, Ordering::Relaxed);
            return None;
        }
        self.contrary.store(0, Ordering::Relaxed);
        self.state.store(if good { WELL } else { UNWELL }, Ordering::Relaxed);
        Some(self.get())
    }

    /// As if it had never been checked.
    pub(super) fn forget(&self) {
        self.contrary.store(0, Ordering::Relaxed);
        self.state.store(UNKNOWN, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_decides_and_later_ones_need_company() {
        // Answers of a check, + good and - bad; the state after each: well, sick.
        let check = |answers: &str, states: &str| {
            let known = Known::default();
            let mut seen = String::new();
            for answer in answers.chars() {
                let before = known.get();
                let changed = known.note(answer == '+', 2, 3);
                assert_eq!(changed.is_some(), known.get() != before, "{answers}");
                seen.push(if known.get() == Checked::Well { 'w' } else { 's' });
            }
            assert_eq!(seen, states, "{answers}");
        };
        check("+", "w");
        check("-", "s");
        check("+--+---", "wwwwwws");
        check("-+-++", "ssssw");
        check("+---++", "wwwssw");
    }

    #[test]
    fn what_is_forgotten_is_decided_anew() {
        let known = Known::default();
        known.note(true, 2, 3);
        known.forget();
        assert_eq!(known.get(), Checked::Unknown);
        assert_eq!(known.note(false, 2, 3), Some(Checked::Unwell));
    }
}
