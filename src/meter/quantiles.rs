//! Quantiles of the latencies of the last minute: a log-linear histogram in six windows of ten seconds.
//!
//! Each power of two has 32 buckets of equal width, below 32 us each microsecond has its own; what is read is a bucket's
//! middle, at most 1.6 % from what was recorded. The buckets of a power of two are made when the first latency falls
//! there: what answers within one order of magnitude costs about 3 KiB.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Longest latency told apart: one hour, in microseconds.
pub const MICROS_MAX: u64 = 3_600_000_000;

const WINDOWS: usize = 6;
const WINDOW_MILLIS: u64 = 10_000;
/// Buckets of one power of two, and their logarithm.
const BUCKETS: usize = 32;
const BUCKET_BITS: u32 = 5;
/// What is below 32 us, and one each for 2^5 to 2^31.
const OCTAVES: usize = 28;

type Octave = [[AtomicU32; BUCKETS]; WINDOWS];

/// Latencies of the current ten seconds and the fifty before them. Single writer.
#[derive(Debug)]
pub struct Quantiles {
    /// Which ten seconds a window is of, plus 1; 0: none.
    epochs: [AtomicU32; WINDOWS],
    octaves: [OnceLock<Box<Octave>>; OCTAVES],
}

impl Default for Quantiles {
    fn default() -> Self {
        Self { epochs: [const { AtomicU32::new(0) }; WINDOWS], octaves: [const { OnceLock::new() }; OCTAVES] }
    }
}

impl Quantiles {
    /// Takes in one latency, in microseconds, at `now` milliseconds.
    #[inline]
    pub fn record(&self, now: u64, micros: u64) {
        let epoch = epoch(now);
        let window = epoch as usize % WINDOWS;
        if self.epochs.get(window).is_some_and(|known| known.load(Ordering::Relaxed) != epoch) {
            self.begin(window, epoch);
        }
        let (octave, bucket) = place(micros);
        let Some(octave) = self.octaves.get(octave) else { return };
        let octave = octave.get_or_init(empty_octave);
        if let Some(count) = octave.get(window).and_then(|buckets| buckets.get(bucket)) {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Adds what was recorded in the minute that ends at `now` milliseconds to `latencies`.
    pub fn add_to(&self, now: u64, latencies: &mut Latencies) {
        let now = epoch(now);
        for (window, known) in self.epochs.iter().enumerate() {
            let known = known.load(Ordering::Acquire);
            if known == 0 || known > now || now - known >= WINDOWS as u32 {
                continue;
            }
            for (octave, sums) in self.octaves.iter().zip(latencies.counts.chunks_mut(BUCKETS)) {
                let Some(buckets) = octave.get().and_then(|octave| octave.get(window)) else { continue };
                for (sum, count) in sums.iter_mut().zip(buckets) {
                    *sum += u64::from(count.load(Ordering::Relaxed));
                }
            }
        }
    }

    /// Forgets everything; keeps the memory.
    pub fn reset(&self) {
        self.epochs.iter().for_each(|epoch| epoch.store(0, Ordering::Relaxed));
    }

    /// The counts go before the new window shows: a reader passes over what is too old, cleared or not.
    #[cold]
    fn begin(&self, window: usize, epoch: u32) {
        for octave in self.octaves.iter().filter_map(OnceLock::get) {
            let buckets = octave.get(window).into_iter().flatten();
            buckets.for_each(|count| count.store(0, Ordering::Relaxed));
        }
        if let Some(known) = self.epochs.get(window) {
            known.store(epoch, Ordering::Release);
        }
    }
}

#[cold]
fn empty_octave() -> Box<Octave> {
    Box::new([const { [const { AtomicU32::new(0) }; BUCKETS] }; WINDOWS])
}

/// What several [`Quantiles`] recorded, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
    counts: Vec<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; OCTAVES * BUCKETS] }
    }
}

impl Latencies {
    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latency, in microseconds, that `percent` of all do not exceed; 0 where there are none. `percent` is from 0 to
    /// 100, and what lies outside is taken as the nearer end.
    pub fn at_quantile(&self, percent: f64) -> u64 {
        let count = self.count();
        let rank = ((percent.clamp(0.0, 100.0) / 100.0 * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return middle(index / BUCKETS, index % BUCKETS);
            }
        }
        0
    }
}

/// Never 0.
fn epoch(now: u64) -> u32 {
    (now / WINDOW_MILLIS) as u32 + 1
}

/// Power of two and bucket of a latency.
fn place(micros: u64) -> (usize, usize) {
    let micros = micros.min(MICROS_MAX);
    if micros < BUCKETS as u64 {
        return (0, micros as usize);
    }
    let power = micros.ilog2();
    let shift = power - BUCKET_BITS;
    ((shift + 1) as usize, (micros >> shift) as usize % BUCKETS)
}

/// The middle of a bucket, in microseconds.
fn middle(octave: usize, bucket: usize) -> u64 {
    match octave.checked_sub(1) {
        None => bucket as u64,
        Some(shift) => (((BUCKETS + bucket) as u64) << shift) + ((1_u64 << shift) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(quantiles: &Quantiles, now: u64) -> Latencies {
        let mut latencies = Latencies::default();
        quantiles.add_to(now, &mut latencies);
        latencies
    }

    #[test]
    fn every_latency_is_read_back_within_two_percent() {
        let mut micros = 0_u64;
        while micros < MICROS_MAX * 2 {
            let quantiles = Quantiles::default();
            quantiles.record(0, micros);
            let found = read(&quantiles, 0).at_quantile(50.0);
            let expected = micros.min(MICROS_MAX);
            assert!(found.abs_diff(expected) * 63 <= expected, "{micros} us is read as {found}");
            micros += micros / 7 + 1;
        }
    }

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let quantiles = Quantiles::default();
        for micros in 1..=1_000 {
            quantiles.record(0, micros * 1_000);
        }
        let latencies = read(&quantiles, 0);
        assert_eq!(latencies.count(), 1_000);
        let cases: &[(f64, u64)] = &[
            (-1.0, 1_000),
            (0.0, 1_000),
            (50.0, 500_000),
            (75.0, 750_000),
            (95.0, 950_000),
            (99.0, 990_000),
            (99.9, 999_000),
            (100.0, 1_000_000),
            (1_000.0, 1_000_000),
        ];
        for (percent, expected) in cases {
            let found = latencies.at_quantile(*percent);
            assert!(found.abs_diff(*expected) * 60 <= *expected, "{percent} % is {found}");
        }
        assert_eq!(latencies.at_quantile(f64::NAN), latencies.at_quantile(0.0));
        assert_eq!(Latencies::default().at_quantile(99.0), 0);
    }

    #[test]
    fn a_minute_is_kept_in_windows_of_ten_seconds() {
        let quantiles = Quantiles::default();
        quantiles.record(0, 5);
        quantiles.record(9_999, 5);
        quantiles.record(10_000, 20);
        let cases: &[(u64, u64)] = &[(10_000, 3), (59_999, 3), (60_000, 1), (69_999, 1), (70_000, 0)];
        for (at, count) in cases {
            assert_eq!(read(&quantiles, *at).count(), *count, "at {at}");
        }
        // The first window is used again, in another power of two, without what it held.
        quantiles.record(60_000, 1_000);
        assert_eq!(read(&quantiles, 60_000).count(), 2);
        assert_eq!(read(&quantiles, 60_000).at_quantile(50.0), 20);
        quantiles.reset();
        assert_eq!(read(&quantiles, 60_000).count(), 0);
    }

    #[test]
    fn memory_is_small_and_grows_with_what_is_met() {
        assert!(size_of::<Quantiles>() <= 512, "{}", size_of::<Quantiles>());
        let quantiles = Quantiles::default();
        (0..10_000).for_each(|n| quantiles.record(0, 64 + n % 64));
        assert_eq!(quantiles.octaves.iter().filter(|octave| octave.get().is_some()).count(), 1);
    }
}
