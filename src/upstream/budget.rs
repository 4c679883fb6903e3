//! How many further attempts a backend's requests may make: a share of its requests of late, and a few more each second.
//!
//! Without a lock and exact but for what changes at the turn of a second.

use crate::meter::millis;
use crate::model::Retry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Whole seconds that count as of late, besides the one that runs.
const WINDOW_SECONDS: u32 = 10;
/// At least the window, the second that runs and one spare.
const SLOTS: usize = 16;

/// What happened in one second: its number above how often, 32 bits each.
#[derive(Debug, Default)]
struct Slot(AtomicU64);

/// Counts by second.
#[derive(Debug, Default)]
struct Seconds([Slot; SLOTS]);

/// A backend's requests and further attempts of late.
#[derive(Debug, Default)]
pub(super) struct Budget {
    requests: Seconds,
    /// Further attempts that the share of the requests paid for.
    shared: Seconds,
    /// Further attempts that the least a second paid for.
    least: Slot,
}

impl Slot {
    fn count(&self, second: u32) -> u32 {
        count_at(self.0.load(Ordering::Relaxed), second)
    }

    /// Counts one in `second`, if `allowed` says so of how many there are.
    fn add(&self, second: u32, allowed: impl Fn(u32) -> bool) -> bool {
        let next = |word: u64| {
            let count = count_at(word, second);
            // A worker whose clock lags behind must not wipe out the second that runs.
            let second = second.max((word >> 32) as u32);
            allowed(count).then(|| (u64::from(second) << 32) | u64::from(count.saturating_add(1)))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

fn count_at(word: u64, second: u32) -> u32 {
    if (word >> 32) as u32 >= second { word as u32 } else { 0 }
}

impl Seconds {
    fn slot(&self, second: u32) -> Option<&Slot> {
        self.0.get(second as usize % SLOTS)
    }

    /// All of the window before `second`.
    fn before(&self, second: u32) -> u64 {
        let slot = |back: u32| {
            let at = second.saturating_sub(back);
            self.slot(at).map_or(0, |slot| {
                let word = slot.0.load(Ordering::Relaxed);
                if (word >> 32) as u32 == at { u64::from(word as u32) } else { 0 }
            })
        };
        (1..=WINDOW_SECONDS).map(slot).sum()
    }

    fn add(&self, second: u32) {
        if let Some(slot) = self.slot(second) {
            slot.add(second, |_| true);
        }
    }
}

fn second(now: Instant) -> u32 {
    (millis(now) / 1000) as u32
}

impl Budget {
    /// A request has come.
    pub(super) fn note_request(&self, now: Instant) {
        self.requests.add(second(now));
    }

    /// Whether a further attempt is within the budget; takes it from there if so.
    pub(super) fn take(&self, rules: &Retry, now: Instant) -> bool {
        let second = second(now);
        let running = self.requests.slot(second).map_or(0, |slot| slot.count(second));
        let requests = self.requests.before(second) + u64::from(running);
        let share = requests * u64::from(rules.budget_percent) / 100;
        let spent = self.shared.before(second);
        let from_share = self.shared.slot(second);
        if from_share.is_some_and(|slot| slot.add(second, |count| spent + u64::from(count) < share)) {
            return true;
        }
        self.least.add(second, |count| count < rules.budget_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    fn rules(budget_percent: u8, budget_min: u32) -> Retry {
        Retry { budget_percent, budget_min, ..Retry::default() }
    }

    fn taken(budget: &Budget, rules: &Retry, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.take(rules, now)).count()
    }

    #[test]
    fn further_attempts_are_a_share_of_requests_and_a_few() {
        // Requests, percent, least a second -> further attempts allowed at once.
        let cases = [
            (0, 20, 0, 0),
            (0, 20, 10, 10),
            (100, 20, 0, 20),
            (100, 20, 10, 30),
            (100, 0, 3, 3),
            (4, 20, 0, 0),
        ];
        for (requests, percent, least, expected) in cases {
            let (budget, now) = (Budget::default(), Instant::now());
            (0..requests).for_each(|_| budget.note_request(now));
            assert_eq!(taken(&budget, &rules(percent, least), now), expected, "{requests} {percent} {least}");
        }
    }

    #[test]
    fn the_share_is_of_the_last_ten_seconds_and_the_least_of_each() {
        let (budget, start) = (Budget::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        (0..100).for_each(|_| budget.note_request(start));
        assert_eq!(taken(&budget, &rules(20, 2), at(0)), 22);
        assert_eq!(taken(&budget, &rules(20, 2), at(5)), 2);
        (0..50).for_each(|_| budget.note_request(at(5)));
        assert_eq!(taken(&budget, &rules(20, 0), at(6)), 10);
        // What was asked and spent at the start is out of sight.
        assert_eq!(taken(&budget, &rules(20, 0), at(12)), 0);
        assert_eq!(taken(&budget, &rules(100, 0), at(12)), 40);
        assert_eq!(taken(&budget, &rules(20, 1), at(60)), 1);
    }

    #[test]
    fn threads_together_take_no_more() {
        let (budget, now, sum) = (Budget::default(), Instant::now(), AtomicU32::new(0));
        (0..1000).for_each(|_| budget.note_request(now));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mine = (0..1000).filter(|_| budget.take(&rules(20, 10), now)).count();
                    sum.fetch_add(mine as u32, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(sum.into_inner(), 210);
    }
}
