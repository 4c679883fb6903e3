//! How slow a server was of late: an average that a slow answer raises at once and quick ones lower slowly.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After so long without a slow answer a third of the average is left.
const TIME_CONSTANT_MS: f32 = 10_000.0;
/// A failure counts as at least so long an answer: who fails fast is not to attract anybody.
const FAILURE: Duration = Duration::from_secs(1);

/// Peak-sensitive, exponentially weighted moving average of latencies; written by all workers.
///
/// One word holds the value, microseconds as the bits of an `f32`, above the low half of its time in milliseconds; 0: no
/// answer yet.
#[derive(Debug, Default)]
pub(super) struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Takes in one answer, or a failure, at `now` milliseconds.
    pub(super) fn observe(&self, now: u64, latency: Duration, failed: bool) {
        let latency = if failed { latency.max(FAILURE) } else { latency };
        let sample = (latency.as_secs_f32() * 1e6).max(1.0);
        let next = |word: u64| {
            let (value, age) = unpack(word, now)?;
            if value > sample && age == 0 {
                return None;
            }
            let kept = weight(age);
            let value = if sample >= value { sample } else { value * kept + sample * (1.0 - kept) };
            Some(pack(value, now))
        };
        let first = |word: u64| if word == 0 { Some(pack(sample, now)) } else { next(word) };
        // Who loses a race tries again; that the value stays needs no write.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, first);
    }

    /// Microseconds at `now`: without answers the average decays, so that a server that was slow is tried again.
    pub(super) fn micros(&self, now: u64) -> Option<f32> {
        let (value, age) = unpack(self.0.load(Ordering::Relaxed), now)?;
        Some(value * weight(age))
    }
}

fn pack(micros: f32, now: u64) -> u64 {
    (u64::from(micros.to_bits()) << 32) | u64::from(now as u32)
}

/// The value and its age in milliseconds; workers' clocks differ a little, so an age below zero is none.
fn unpack(word: u64, now: u64) -> Option<(f32, u32)> {
    let age = (now as u32).wrapping_sub(word as u32);
    let value = f32::from_bits((word >> 32) as u32);
    (word != 0).then_some((value, if age > u32::MAX / 2 { 0 } else { age }))
}

fn weight(age_ms: u32) -> f32 {
    if age_ms == 0 { 1.0 } else { (-(age_ms as f32) / TIME_CONSTANT_MS).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn it_jumps_up_and_decays() {
        let average = PeakEwma::default();
        assert_eq!(average.micros(5), None);
        average.observe(1_000, ms(10), false);
        assert_eq!(average.micros(1_000), Some(10_000.0));
        average.observe(1_000, ms(100), false);
        assert_eq!(average.micros(1_000), Some(100_000.0));
        // A quick answer at the same instant changes nothing; after one time constant it takes over two thirds.
        average.observe(1_000, ms(10), false);
        assert_eq!(average.micros(1_000), Some(100_000.0));
        average.observe(11_000, ms(10), false);
        let after = average.micros(11_000).unwrap();
        assert!((43_000.0..43_200.0).contains(&after), "{after}");
        // Idle, it sinks by itself.
        assert!(average.micros(61_000).unwrap() < 400.0);
        // A clock that lags behind is no age.
        assert_eq!(average.micros(10_990), Some(after));
    }

    #[test]
    fn a_quick_failure_is_a_long_latency() {
        let average = PeakEwma::default();
        average.observe(1, ms(1), true);
        assert_eq!(average.micros(1), Some(1_000_000.0));
        average.observe(1, ms(5_000), true);
        assert_eq!(average.micros(1), Some(5_000_000.0));
    }

    #[test]
    fn the_clock_may_wrap() {
        let average = PeakEwma::default();
        let before = u64::from(u32::MAX) - 10;
        average.observe(before, ms(10), false);
        assert!(average.micros(before + 100).unwrap() > 9_800.0);
    }
}
