//! Which tables' requests can still begin an attempt on a worker, so that the fleet knows when the old ones are quiet.

use std::cell::RefCell;
use std::collections::VecDeque;

/// Live requests by the generation of the table that they loaded, oldest first. Requests of few generations live at once.
#[derive(Default)]
pub(super) struct Generations(RefCell<VecDeque<(u64, u32)>>);

impl Generations {
    /// A request loaded a table of `generation`, which is no older than those before.
    pub(super) fn enter(&self, generation: u64) {
        let mut live = self.0.borrow_mut();
        match live.back_mut() {
            Some((last, count)) if *last == generation => *count += 1,
            _ => live.push_back((generation, 1)),
        }
    }

    /// One of them can begin no further attempt. Says whether the oldest generation is another one now.
    pub(super) fn leave(&self, generation: u64) -> bool {
        let mut live = self.0.borrow_mut();
        if let Some((_, count)) = live.iter_mut().rev().find(|(of, _)| *of == generation) {
            *count = count.saturating_sub(1);
        }
        let before = live.len();
        while live.front().is_some_and(|(_, count)| *count == 0) {
            live.pop_front();
        }
        live.len() != before
    }

    /// The oldest generation with a live request.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.0.borrow().front().map(|(generation, _)| *generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_rises_when_its_last_request_leaves() {
        let live = Generations::default();
        [1, 1, 2, 3].into_iter().for_each(|generation| live.enter(generation));
        assert_eq!(live.oldest(), Some(1));
        assert!(!live.leave(2));
        assert!(!live.leave(1));
        assert!(live.leave(1));
        assert_eq!(live.oldest(), Some(3));
        assert!(live.leave(3));
        assert_eq!(live.oldest(), None);
    }
}
