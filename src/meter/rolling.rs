//! Counts of the last ten seconds.

use std::sync::atomic::{AtomicU32, Ordering};

/// The window's length, in seconds; each has a slot of its own.
pub const SECONDS: usize = 10;

/// `K` counters over the current second and the nine before it. Single writer; `(K + 1) * 40` bytes.
#[derive(Debug)]
pub struct Rolling<const K: usize> {
    slots: [Slot<K>; SECONDS],
}

#[derive(Debug)]
struct Slot<const K: usize> {
    /// The second that the counts are of, plus 1; 0: none.
    second: AtomicU32,
    counts: [AtomicU32; K],
}

impl<const K: usize> Default for Rolling<K> {
    fn default() -> Self {
        Self {
            slots: [const { Slot { second: AtomicU32::new(0), counts: [const { AtomicU32::new(0) }; K] } };
                SECONDS],
        }
    }
}

impl<const K: usize> Rolling<K> {
    /// Adds `n` to a counter at `now` milliseconds. A counter that there is not is passed over.
    #[inline]
    pub fn add(&self, now: u64, counter: usize, n: u32) {
        let second = second(now);
        let Some(slot) = self.slots.get(second as usize % SECONDS) else { return };
        if slot.second.load(Ordering::Relaxed) != second {
            slot.begin(second);
        }
        if let Some(count) = slot.counts.get(counter) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    /// What was counted in the window that ends at `now` milliseconds.
    pub fn sums(&self, now: u64) -> [u64; K] {
        let now = second(now);
        let mut sums = [0; K];
        for slot in &self.slots {
            let second = slot.second.load(Ordering::Acquire);
            if second == 0 || second > now || now - second >= SECONDS as u32 {
                continue;
            }
            for (sum, count) in sums.iter_mut().zip(&slot.counts) {
                *sum += u64::from(count.load(Ordering::Relaxed));
            }
        }
        sums
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.slots.iter().for_each(|slot| slot.second.store(0, Ordering::Relaxed));
    }
}

impl<const K: usize> Slot<K> {
    /// The counts go before the new second shows: a reader passes over what is too old, cleared or not.
    #[cold]
    fn begin(&self, second: u32) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.second.store(second, Ordering::Release);
    }
}

/// Never 0.
fn second(now: u64) -> u32 {
    (now / 1_000) as u32 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_leave_the_window_after_ten_seconds() {
        // (what is added: at, counter, n), (asked at, sums)
        type Case = (&'static [(u64, usize, u32)], &'static [(u64, [u64; 2])]);
        let cases: &[Case] = &[
            (&[], &[(0, [0, 0]), (50_000, [0, 0])]),
            (&[(0, 0, 1)], &[(0, [1, 0]), (9_999, [1, 0]), (10_000, [0, 0])]),
            (&[(999, 0, 1), (1_000, 1, 5)], &[(1_000, [1, 5]), (10_500, [0, 5]), (11_000, [0, 0])]),
            // The slot of second 3 is used again.
            (&[(3_000, 0, 7), (13_000, 0, 2)], &[(13_000, [2, 0]), (22_999, [2, 0])]),
            // A long pause.
            (&[(3_000, 0, 7), (3_600_000, 1, 2)], &[(3_600_000, [0, 2])]),
            // Out of range.
            (&[(0, 2, 1), (0, 9, 1)], &[(0, [0, 0])]),
        ];
        for (adds, asks) in cases {
            let rolling = Rolling::<2>::default();
            adds.iter().for_each(|(at, counter, n)| rolling.add(*at, *counter, *n));
            for (at, sums) in *asks {
                assert_eq!(rolling.sums(*at), *sums, "{adds:?} at {at}");
            }
        }
    }

    #[test]
    fn what_is_reset_is_gone_and_counting_goes_on() {
        let rolling = Rolling::<1>::default();
        rolling.add(5_000, 0, 3);
        rolling.reset();
        assert_eq!(rolling.sums(5_000), [0]);
        rolling.add(5_000, 0, 1);
        assert_eq!(rolling.sums(5_000), [1]);
    }

    #[test]
    fn a_steady_rate_gives_ten_seconds_of_it() {
        let rolling = Rolling::<1>::default();
        for now in (0..60_000).step_by(10) {
            rolling.add(now, 0, 1);
            if now >= 10_000 {
                let sum = rolling.sums(now)[0];
                assert!((901..=1_000).contains(&sum), "{sum} at {now}");
            }
        }
    }
}
