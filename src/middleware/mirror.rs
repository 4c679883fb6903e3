//! Chooses the requests that another backend gets a copy of.

use super::{Outcome, Visit};
use crate::model::{BackendId, MirrorSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Copies of one middleware that may be on their way at once, over all workers.
pub const MIRRORED_MAX: u32 = 128;

/// What a mirror remembers over requests and over tables.
#[derive(Debug, Default)]
struct Copies {
    seen: AtomicU64,
    on_the_way: AtomicU32,
}

/// A copy to be sent.
#[derive(Debug)]
pub struct Mirror {
    /// Who gets it: a backend or an alias.
    pub backend: BackendId,
    /// A request with a longer body is not copied.
    pub body_bytes_max: usize,
    /// Held while the copy is on its way.
    pub ticket: Ticket,
}

/// One place among [`MIRRORED_MAX`]; given back when it is dropped.
#[derive(Debug)]
pub struct Ticket(Arc<Copies>);

impl Ticket {
    fn take(state: &Arc<Copies>) -> Option<Self> {
        let fits = |count: u32| (count < MIRRORED_MAX).then_some(count + 1);
        state.on_the_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Self(state.clone()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.on_the_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The middleware with its memory.
#[derive(Debug)]
pub(super) struct Mirroring {
    spec: MirrorSpec,
    copies: Arc<Copies>,
}

impl Mirroring {
    /// What is known of copies outlives every edit.
    pub(super) fn compile(spec: &MirrorSpec, previous: Option<&Self>) -> Self {
        let copies = previous.map(|previous| previous.copies.clone()).unwrap_or_default();
        Self { spec: spec.clone(), copies }
    }

    pub(super) fn run(&self, visit: &mut Visit) -> Outcome {
        let number = self.copies.seen.fetch_add(1, Ordering::Relaxed) % 100;
        let percent = u64::from(self.spec.percent);
        // Evenly spread: 25 are every fourth, not the first 25 of each hundred.
        if number * percent % 100 >= percent {
            return Outcome::Pass;
        }
        match Ticket::take(&self.copies) {
            Some(ticket) => visit.rare().mirrors.push(Mirror {
                backend: self.spec.backend.clone(),
                body_bytes_max: self.spec.body_bytes_max,
                ticket,
            }),
            None => visit.rare().mirrors_dropped += 1,
        }
        Outcome::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_exact_evenly_spread_and_bounded() {
        let backend = BackendId::try_from("b").unwrap();
        for (percent, expected) in [(1, 10), (25, 250), (33, 330), (99, 990), (100, 1000)] {
            let spec = MirrorSpec { backend: backend.clone(), percent, body_bytes_max: 0 };
            let mirror = Mirroring::compile(&spec, None);
            let mut chosen = 0;
            for _ in 0..1000 {
                let mut visit = Visit::default();
                mirror.run(&mut visit);
                chosen += visit.take_mirrors().0.len();
            }
            assert_eq!(chosen, expected, "{percent}");
            let mut visit = Visit::default();
            (0..100 * MIRRORED_MAX).for_each(|_| drop(mirror.run(&mut visit)));
            let (held, dropped) = visit.take_mirrors();
            assert_eq!(
                (held.len(), dropped),
                (MIRRORED_MAX as usize, MIRRORED_MAX * u32::from(percent) - MIRRORED_MAX)
            );
            drop(held);
            // What it remembers outlives an edit.
            let next = Mirroring::compile(&spec, Some(&mirror));
            assert_eq!(next.copies.on_the_way.load(Ordering::Relaxed), 0);
            assert!(Arc::ptr_eq(&next.copies, &mirror.copies));
        }
    }
}
