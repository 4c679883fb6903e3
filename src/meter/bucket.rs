//! Token buckets: so many requests in a period on average, and so many at once after a rest.
//!
//! A bucket is one number, the time at which it is full again (the generic cell rate algorithm): nothing is lost to
//! rounding between requests, and a bucket that is full is the same as none.

use smallvec::SmallVec;
use std::time::Duration;

/// How fast a bucket fills, and how much it holds. Its period names it among the buckets of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    period: u64,
    /// Nanoseconds in which a token comes, rounded up: never more than the rate says.
    interval: u64,
    /// Nanoseconds in which an empty bucket fills up.
    refill: u64,
}

impl Rate {
    /// So many `requests` in `period`, at most `burst` at once. Numbers below 1 are taken as 1; an empty bucket takes at
    /// most 290 years to fill.
    pub fn new(requests: u32, period: Duration, burst: u32) -> Self {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
        let interval = period.div_ceil(u64::from(requests.max(1)));
        let refill = interval.saturating_mul(u64::from(burst.max(1))).min(i64::MAX as u64);
        Self { period, interval, refill }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    period: u64,
    interval: u64,
    refill: u64,
    full_at: u64,
}

impl Bucket {
    fn full(rate: &Rate, now: u64) -> Self {
        Self { period: rate.period, interval: rate.interval, refill: rate.refill, full_at: now }
    }

    /// As it is at `now` under `rate`, which may have changed: the tokens that are missing go on missing.
    fn under(mut self, rate: &Rate, now: u64) -> Self {
        if (self.interval, self.refill) != (rate.interval, rate.refill) {
            let missing = u128::from(self.full_at.saturating_sub(now));
            let scaled = missing * u128::from(rate.interval) / u128::from(self.interval.max(1));
            // A smaller bucket is at most empty.
            let missing = u64::try_from(scaled).unwrap_or(u64::MAX).min(rate.refill);
            self = Self { full_at: now.saturating_add(missing), ..Self::full(rate, now) };
        }
        self.full_at = self.full_at.max(now);
        self
    }

    /// How long until there is a token, in nanoseconds.
    fn wait(&self, now: u64) -> u64 {
        let without_one = self.full_at.saturating_add(self.interval);
        without_one.saturating_sub(now).saturating_sub(self.refill)
    }
}

/// The buckets of one key, one for each period.
#[derive(Debug, Clone, Default)]
pub struct Buckets(SmallVec<[Bucket; 1]>);

impl Buckets {
    /// Takes a token out of the bucket of every rate at `now`, in nanoseconds, or out of none. Of rates with one period the
    /// last counts; buckets of other periods are given up.
    ///
    /// # Errors
    /// How long until there is a token in each, in nanoseconds.
    pub fn take(&mut self, now: u64, rates: &[Rate]) -> Result<(), u64> {
        self.0.retain(|bucket| rates.iter().any(|rate| rate.period == bucket.period));
        for rate in rates {
            if !self.0.iter().any(|bucket| bucket.period == rate.period) {
                self.0.push(Bucket::full(rate, now));
            }
        }
        let rate_of = |bucket: &Bucket| rates.iter().rfind(|rate| rate.period == bucket.period);
        let mut wait = 0;
        for bucket in &mut self.0 {
            let Some(rate) = rate_of(bucket) else { continue };
            *bucket = bucket.under(rate, now);
            wait = wait.max(bucket.wait(now));
        }
        if wait > 0 {
            return Err(wait);
        }
        for bucket in &mut self.0 {
            bucket.full_at = bucket.full_at.saturating_add(bucket.interval);
        }
        Ok(())
    }

    /// When all are full: from then on they are as none, in nanoseconds.
    pub fn full_at(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.full_at).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn rate(requests: u32, seconds: u64, burst: u32) -> Rate {
        Rate::new(requests, Duration::from_secs(seconds), burst)
    }

    /// Each step: milliseconds, rates, and what comes: 0 for a token, else how long to wait in milliseconds.
    #[track_caller]
    fn check(steps: &[(u64, &[Rate], u64)]) -> Buckets {
        let mut buckets = Buckets::default();
        for (at, rates, expected) in steps {
            let wait = buckets.take(at * MS, rates).err().unwrap_or(0);
            assert_eq!(wait.div_ceil(MS), *expected, "at {at} ms");
        }
        buckets
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let two = [rate(2, 1, 3)];
        check(&[
            (1_000, &two, 0),
            (1_000, &two, 0),
            (1_000, &two, 0),
            (1_000, &two, 500),
            // Half a token is kept: vulcand would have lost it.
            (1_250, &two, 250),
            (1_500, &two, 0),
            (1_500, &two, 500),
            // After a rest it is full, and no fuller.
            (60_000, &two, 0),
            (60_000, &two, 0),
            (60_000, &two, 0),
            (60_000, &two, 500),
            // A clock of another thread that lags.
            (59_990, &two, 510),
        ]);
    }

    #[test]
    fn several_periods_hold_together() {
        let both = [rate(2, 1, 2), rate(3, 60, 3)];
        check(&[
            (0, &both, 0),
            (0, &both, 0),
            (0, &both, 500),
            (1_000, &both, 0),
            // The second has tokens, the minute has none; nothing is taken of either.
            (2_000, &both, 18_000),
            (2_000, &both, 18_000),
            (20_000, &both, 0),
            (20_000, &both, 20_000),
        ]);
        // Of the same period the last counts.
        check(&[(0, &[rate(9, 1, 9), rate(1, 1, 1)], 0), (0, &[rate(9, 1, 9), rate(1, 1, 1)], 1_000)]);
    }

    #[test]
    fn an_edit_keeps_the_tokens_that_are_missing() {
        let (slow, fast) = ([rate(1, 10, 5)], [rate(10, 10, 5)]);
        let emptied = [(0, &slow[..], 0); 5];
        // Five tokens are missing, at one a second instead of one in ten.
        check(&[&emptied[..], &[(0, &slow, 10_000), (0, &fast, 1_000), (1_000, &fast, 0)]].concat());
        check(&[&emptied[..], &[(0, &fast, 1_000), (0, &slow, 10_000)]].concat());
        // A smaller bucket is at most empty, a larger one has more.
        check(&[&emptied[..], &[(0, &[rate(1, 10, 2)], 10_000)]].concat());
        check(&[&emptied[..], &[(0, &[rate(1, 10, 6)], 0), (0, &[rate(1, 10, 6)], 10_000)]].concat());
        // Another period is another bucket.
        check(&[&emptied[..], &[(0, &[rate(1, 11, 1)], 0), (0, &[rate(1, 11, 1)], 11_000)]].concat());
    }

    #[test]
    fn a_full_bucket_is_as_none() {
        let rates = [rate(4, 1, 4)];
        let buckets = check(&[(1_000, &rates, 0), (1_000, &rates, 0)]);
        assert_eq!(buckets.full_at(), 1_500 * MS);
        assert_eq!(Buckets::default().full_at(), 0);
    }

    #[test]
    fn no_rate_gives_more_than_it_says() {
        for (requests, seconds, burst) in
            [(3, 1, 1), (7, 10, 7), (1_000_000_000, 1, 5), (1, 31_536_000, 2), (999, 1, 1)]
        {
            let rates = [rate(requests, seconds, burst)];
            let mut buckets = Buckets::default();
            let (mut now, mut taken) = (7 * MS, 0_u64);
            let most = u64::from(burst) + u64::from(requests.min(20_000));
            let end = now + u64::from(requests.min(20_000)) * (seconds * 1_000_000_000 / u64::from(requests));
            while now < end {
                match buckets.take(now, &rates) {
                    Ok(()) => taken += 1,
                    Err(wait) => now += wait,
                }
            }
            assert!(
                taken <= most && taken + 2 >= most.min(20_000),
                "{taken} of {most}: {requests} in {seconds} s"
            );
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let rates = [Rate::new(0, Duration::MAX, u32::MAX), Rate::new(u32::MAX, Duration::ZERO, 0)];
        let mut buckets = Buckets::default();
        for now in [0, u64::MAX, 1, u64::MAX / 2] {
            let _ = buckets.take(now, &rates);
        }
    }
}
