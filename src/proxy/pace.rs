//! How fast the other side must be: bytes a second at least, over the time in which it is waited for.

use std::time::{Duration, Instant};

/// Credit of time that waiting uses up and bytes give back.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second; 0: any.
    rate: u64,
    /// All the credit there can be.
    grace: Duration,
    credit: Duration,
    bytes: u64,
    waits_since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: u64, grace: Duration) -> Self {
        Self { rate, grace, credit: grace, bytes: 0, waits_since: None }
    }

    /// Notes how many bytes there were altogether, and whether more are waited for from now on. Whether some came.
    pub(super) fn note(&mut self, bytes: u64, waits: bool, now: Instant) -> bool {
        if self.rate == 0 {
            return false;
        }
        if let Some(since) = self.waits_since.take() {
            self.credit = self.credit.saturating_sub(now.saturating_duration_since(since));
        }
        let more = bytes.saturating_sub(std::mem::replace(&mut self.bytes, bytes));
        if more > 0 {
            let worth = Duration::from_micros(more.saturating_mul(1_000_000) / self.rate);
            self.credit = self.credit.saturating_add(worth).min(self.grace);
        }
        self.waits_since = waits.then_some(now);
        more > 0
    }

    /// Whether it is waited for.
    pub(super) fn waits(&self) -> bool {
        self.waits_since.is_some()
    }

    /// How long may be waited from now on; `None`: any time.
    pub(super) fn left(&self) -> Option<Duration> {
        (self.rate > 0).then_some(self.credit)
    }

    /// Whether it was waited for too long.
    pub(super) fn is_missed(&self, now: Instant) -> bool {
        let waited = self.waits_since.map(|since| now.saturating_duration_since(since));
        self.rate > 0 && waited.is_some_and(|waited| waited >= self.credit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    /// Each step: seconds that pass, bytes that came meanwhile, whether more are waited for then.
    fn check(rate: u64, steps: &[(u64, u64, bool)], missed: bool) {
        let mut now = Instant::now();
        let mut pace = Pace::new(rate, GRACE);
        let (mut bytes, mut was_missed) = (0, false);
        pace.note(0, true, now);
        for (seconds, more, waits) in steps {
            now += Duration::from_secs(*seconds);
            bytes += more;
            was_missed |= pace.is_missed(now);
            pace.note(bytes, *waits, now);
        }
        assert_eq!(was_missed || pace.is_missed(now), missed, "{rate} {steps:?} {pace:?}");
    }

    #[test]
    fn waiting_uses_up_what_bytes_give() {
        check(100, &[(4, 0, true)], false);
        check(100, &[(5, 0, true)], true);
        check(0, &[(500, 0, true)], false);
        // A byte a second is too slow, a hundred are not.
        check(100, &[(1, 1, true); 7], true);
        check(100, &[(1, 100, true); 60], false);
        // What came fast does not pay for a long wait behind it.
        check(100, &[(1, 100_000, true), (5, 0, true)], true);
        // Time in which nobody waits does not count.
        check(100, &[(1, 0, false), (100, 0, true), (3, 0, true)], false);
    }
}
