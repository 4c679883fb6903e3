//! Round trips of the last seconds: how many, with which answers, how fast.

use super::quantiles::{Latencies, Quantiles};
use super::rolling::Rolling;
use std::sync::atomic::{AtomicU16, Ordering};

/// Status codes told apart; further ones are counted by their class, as its last code (`599`).
pub const CODES_MAX: usize = 16;
/// `1xx` to `5xx`, and `other`.
const CLASSES: usize = 6;
const ERRORS: usize = CODES_MAX + CLASSES;
const COUNTERS: usize = ERRORS + 1;

/// Counts of the last ten seconds and latencies of the last minute. Single writer; 1.5 KiB and what [`Quantiles`] make.
#[derive(Debug, Default)]
pub struct RoundTrips {
    /// 0: unused. Filled from the front and never changed again.
    codes: [AtomicU16; CODES_MAX],
    counts: Rolling<COUNTERS>,
    latencies: Quantiles,
}

impl RoundTrips {
    /// Takes in one round trip that ended at `now` milliseconds: the answer's status, whether there was none that a
    /// server gave (no connection, a reset, no answer in time), and how long it took, in microseconds.
    #[inline]
    pub fn record(&self, now: u64, status: u16, network_error: bool, micros: u64) {
        self.counts.add(now, self.counter(status), 1);
        if network_error {
            self.counts.add(now, ERRORS, 1);
        }
        self.latencies.record(now, micros);
    }

    #[inline]
    fn counter(&self, status: u16) -> usize {
        for (index, code) in self.codes.iter().enumerate() {
            let known = code.load(Ordering::Relaxed);
            if known == 0 && status != 0 {
                code.store(status, Ordering::Relaxed);
                return index;
            }
            if known == status {
                return index;
            }
        }
        CODES_MAX + usize::from(status / 100).wrapping_sub(1).min(CLASSES - 1)
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.counts.reset();
        self.latencies.reset();
    }
}

/// What several [`RoundTrips`] recorded, added up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trips {
    total: u64,
    network_errors: u64,
    codes: Vec<(u16, u64)>,
    latencies: Latencies,
}

impl Trips {
    /// Adds up meters at `now` milliseconds, those of one object's workers for example.
    pub fn of<'a>(now: u64, meters: impl IntoIterator<Item = &'a RoundTrips>) -> Self {
        let mut trips = Self::default();
        meters.into_iter().for_each(|meter| trips.add(now, meter));
        trips.codes.sort_unstable();
        trips
    }

    fn add(&mut self, now: u64, meter: &RoundTrips) {
        let sums = meter.counts.sums(now);
        for (index, sum) in sums.into_iter().enumerate().filter(|(_, sum)| *sum > 0) {
            match index {
                ERRORS => {
                    self.network_errors += sum;
                    continue;
                }
                _ => self.total += sum,
            }
            let code = match (meter.codes.get(index), index - CODES_MAX.min(index)) {
                (Some(code), _) => code.load(Ordering::Relaxed),
                (None, class @ 0..5) => class as u16 * 100 + 199,
                (None, _) => 999,
            };
            match self.codes.iter_mut().find(|(known, _)| *known == code) {
                Some((_, count)) => *count += sum,
                None => self.codes.push((code, sum)),
            }
        }
        meter.latencies.add_to(now, &mut self.latencies);
    }

    /// Round trips of the last ten seconds.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Those of them that no server answered.
    pub fn network_errors(&self) -> u64 {
        self.network_errors
    }

    /// Those of them by status, in its order.
    pub fn codes(&self) -> &[(u16, u64)] {
        &self.codes
    }

    /// Latencies of the last minute.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// Share of the round trips that no server answered; 0 where there are none.
    pub fn network_error_ratio(&self) -> f64 {
        ratio(self.network_errors, self.total)
    }

    /// Round trips with a status from `a0` to below `a1` for each with one from `b0` to below `b1`; 0 where there are none
    /// of the latter.
    pub fn response_code_ratio(&self, a0: u16, a1: u16, b0: u16, b1: u16) -> f64 {
        ratio(self.with_status(a0, a1), self.with_status(b0, b1))
    }

    /// Round trips with a status from `from` to below `to`.
    pub fn with_status(&self, from: u16, to: u16) -> u64 {
        self.codes.iter().filter(|(code, _)| (from..to).contains(code)).map(|(_, count)| count).sum()
    }

    /// The latency, in microseconds, that `percent` of all do not exceed.
    pub fn latency_at_quantile(&self, percent: f64) -> u64 {
        self.latencies.at_quantile(percent)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(trips: &[(u16, bool, u64)]) -> RoundTrips {
        let meter = RoundTrips::default();
        trips.iter().for_each(|(status, error, micros)| meter.record(1_000, *status, *error, *micros));
        meter
    }

    #[test]
    fn ratios_are_of_what_was_recorded() {
        let one = recorded(&[(200, false, 10), (200, false, 10), (502, true, 10), (404, false, 10)]);
        let other = recorded(&[(500, false, 30), (200, false, 30)]);
        let trips = Trips::of(1_000, [&one, &other]);
        assert_eq!((trips.total(), trips.network_errors()), (6, 1));
        assert_eq!(trips.codes(), [(200, 3), (404, 1), (500, 1), (502, 1)]);
        assert_eq!(trips.network_error_ratio(), 1.0 / 6.0);
        for ((a0, a1, b0, b1), expected) in [
            ((500, 600, 0, 600), 2.0 / 6.0),
            ((500, 600, 200, 300), 2.0 / 3.0),
            // The upper end is not within.
            ((404, 500, 200, 404), 1.0 / 3.0),
            ((500, 600, 300, 400), 0.0),
        ] {
            assert_eq!(trips.response_code_ratio(a0, a1, b0, b1), expected, "{a0} {a1} {b0} {b1}");
        }
        assert_eq!((trips.latency_at_quantile(50.0), trips.latency_at_quantile(99.0)), (10, 30));
        assert_eq!(Trips::of(1_000, [&RoundTrips::default()]), Trips::default());
        assert_eq!(Trips::default().network_error_ratio(), 0.0);
    }

    #[test]
    fn counts_last_ten_seconds_and_latencies_a_minute() {
        let meter = recorded(&[(200, false, 10)]);
        let trips = Trips::of(11_000, [&meter]);
        assert_eq!((trips.total(), trips.codes(), trips.latencies().count()), (0, &[][..], 1));
        meter.reset();
        assert_eq!(Trips::of(1_000, [&meter]), Trips::default());
    }

    #[test]
    fn codes_beyond_the_limit_are_counted_by_class() {
        let meter = RoundTrips::default();
        (200..220).for_each(|status| meter.record(0, status, false, 1));
        [0, 42, 100, 503, 599, 600].into_iter().for_each(|status| meter.record(0, status, false, 1));
        let trips = Trips::of(0, [&meter]);
        assert_eq!(trips.total(), 26);
        assert_eq!(trips.with_status(200, 300), 20);
        assert_eq!(trips.codes().len(), CODES_MAX + 4);
        let further = &trips.codes()[..1];
        assert_eq!(further, [(199, 1)]);
        assert_eq!(trips.codes()[CODES_MAX + 1..], [(299, 4), (599, 2), (999, 3)]);
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(size_of::<RoundTrips>() <= 1_536, "{}", size_of::<RoundTrips>());
    }
}
