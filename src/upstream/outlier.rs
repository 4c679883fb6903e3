//! What the answers to requests tell of a server, and when it is left out for a while for them.

use super::clock::whole_millis;
use crate::model::Outlier;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long attempts are counted for the share of failures.
const WINDOW_MS: u64 = 10_000;
/// Attempts within a window below which no share counts.
const WINDOW_ATTEMPTS_MIN: u64 = 20;
/// Attempts that a window counts.
const WINDOW_ATTEMPTS_MAX: u64 = (1 << 20) - 1;

/// How an attempt at a server went, as far as that tells of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// The head of an answer came, with this status.
    Answered(u16),
    /// No connection could be made.
    ConnectFailed,
    /// A reset, no answer in time, or one that is none.
    Failed,
}

/// Why a server is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Failures(u32),
    ConnectFailures(u32),
    Share { failures: u64, attempts: u64 },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(count) => write!(f, "{count} failures in a row"),
            Self::ConnectFailures(count) => write!(f, "{count} connections in a row could not be made"),
            Self::Share { failures, attempts } => write!(f, "{failures} of {attempts} attempts failed"),
        }
    }
}

/// A server's failures of late, and its ejections. Written by all workers.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    failures: AtomicU32,
    connect_failures: AtomicU32,
    /// The number of the window above the attempts above the failures: 24, 20 and 20 bits.
    window: AtomicU64,
    until: AtomicU64,
    last_ms: AtomicU64,
    count: AtomicU32,
}

impl Ejection {
    /// Takes in how an attempt went; `failed` where that is a failure by `rules`. Returns why the server is to be ejected,
    /// where it is.
    pub(super) fn note(&self, now: u64, what: Observation, failed: bool, rules: &Outlier) -> Option<Cause> {
        if failed && self.is_ejected(now) {
            return None;
        }
        let share =
            if rules.error_percent > 0 { self.note_share(now, failed, rules.error_percent) } else { None };
        if what == Observation::ConnectFailed {
            let count = self.connect_failures.fetch_add(1, Relaxed).saturating_add(1);
            return reached(count, rules.connect_failures).map(Cause::ConnectFailures).or(share);
        }
        clear(&self.connect_failures);
        if !failed {
            clear(&self.failures);
            return None;
        }
        let count = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        reached(count, rules.consecutive_failures).map(Cause::Failures).or(share)
    }

    fn note_share(&self, now: u64, failed: bool, percent: u8) -> Option<Cause> {
        let number = (now / WINDOW_MS) & 0xFF_FFFF;
        let next = |word: u64| {
            let (attempts, failures) = if word >> 40 == number { counts(word) } else { (0, 0) };
            let attempts = attempts + 1;
            let failures = failures + u64::from(failed);
            (attempts <= WINDOW_ATTEMPTS_MAX).then_some((number << 40) | (attempts << 20) | failures)
        };
        let before = self.window.fetch_update(Relaxed, Relaxed, next).ok()?;
        let (attempts, failures) = counts(next(before)?);
        let is_much = attempts >= WINDOW_ATTEMPTS_MIN && failures * 100 >= u64::from(percent) * attempts;
        (failed && is_much).then_some(Cause::Share { failures, attempts })
    }

    /// Ejects from `now` on. Each ejection is one [`Outlier::ejection_time`] longer than the last, up to the longest; a
    /// quiet time as long as the last ejection makes up for one.
    pub(super) fn eject(&self, now: u64, rules: &Outlier) -> Duration {
        let quiet = now.saturating_sub(self.until.load(Relaxed));
        let forgiven = quiet.checked_div(self.last_ms.load(Relaxed)).unwrap_or(0);
        let before = self.count.load(Relaxed);
        let count = before.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX)).saturating_add(1);
        let time = rules.ejection_time.saturating_mul(count).min(rules.ejection_time_max);
        self.count.store(count, Relaxed);
        self.last_ms.store(whole_millis(time), Relaxed);
        for counter in [&self.failures, &self.connect_failures] {
            counter.store(0, Relaxed);
        }
        self.window.store(0, Relaxed);
        self.until.store(now.saturating_add(whole_millis(time)), Relaxed);
        time
    }

    pub(super) fn is_ejected(&self, now: u64) -> bool {
        now < self.until()
    }

    /// When the last ejection ends or ended; 0: there was none.
    pub(super) fn until(&self) -> u64 {
        self.until.load(Relaxed)
    }
}

fn counts(word: u64) -> (u64, u64) {
    ((word >> 20) & WINDOW_ATTEMPTS_MAX, word & WINDOW_ATTEMPTS_MAX)
}

/// Where an ejection was not allowed, the next one is asked for after as many failures again.
fn reached(count: u32, enough: u32) -> Option<u32> {
    count.checked_rem(enough).is_some_and(|rest| rest == 0).then_some(count)
}

/// Writes only where there is something to clear: the usual case shares its cache line with all workers.
fn clear(counter: &AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}

/// Whether one more of `active` servers may be ejected where `ejected` are, and `others` could take its requests.
pub(super) fn may_eject(active: usize, ejected: usize, others: usize, percent_max: u8) -> bool {
    others > 0 && (ejected == 0 || (ejected + 1) * 100 <= usize::from(percent_max) * active)
}

#[cfg(test)]
mod tests {
    use super::Observation::{Answered, ConnectFailed, Failed};
    use super::*;

    fn note(ejection: &Ejection, now: u64, what: Observation, rules: &Outlier) -> Option<Cause> {
        let failed = match what {
            Answered(status) => rules.statuses.contains(status),
            _ => true,
        };
        ejection.note(now, what, failed, rules)
    }

    #[test]
    fn failures_in_a_row_eject() {
        let check = |rules: &Outlier, seen: &[Observation], cause: Option<Cause>| {
            let ejection = Ejection::default();
            let causes: Vec<_> = seen.iter().map(|what| note(&ejection, 1, *what, rules)).collect();
            let (last, before) = causes.split_last().unwrap();
            assert!(before.iter().all(Option::is_none), "{seen:?}: {causes:?}");
            assert_eq!(*last, cause, "{seen:?}");
        };
        let standard = Outlier::default();
        let (ok, bad, app) = (Answered(200), Answered(503), Answered(500));
        check(&standard, &[bad; 5], Some(Cause::Failures(5)));
        check(&standard, &[bad, Failed, bad, Failed, bad], Some(Cause::Failures(5)));
        check(&standard, &[bad; 4], None);
        check(&standard, &[bad, bad, bad, bad, ok, bad], None);
        check(&standard, &[app; 20], None);
        check(&standard, &[ConnectFailed; 3], Some(Cause::ConnectFailures(3)));
        check(&standard, &[ConnectFailed, ConnectFailed, ok, ConnectFailed], None);
        check(&standard, &[bad, bad, bad, bad, ConnectFailed, bad], Some(Cause::Failures(5)));
        let off = Outlier { consecutive_failures: 0, connect_failures: 0, ..Outlier::default() };
        check(&off, &[bad; 30], None);
        check(&off, &[ConnectFailed; 30], None);
        let share = Outlier { error_percent: 50, ..off };
        check(&share, &[[ok, bad]; 10].concat(), Some(Cause::Share { failures: 10, attempts: 20 }));
        check(&share, &[[ok, bad]; 9].concat(), None);
        check(&share, &[[ok, ok, bad]; 12].concat(), None);
    }

    #[test]
    fn shares_are_of_one_window() {
        let rules = Outlier { error_percent: 50, consecutive_failures: 0, ..Outlier::default() };
        let ejection = Ejection::default();
        assert!((0..19).all(|_| note(&ejection, 9_999, Failed, &rules).is_none()));
        assert_eq!(note(&ejection, 10_000, Failed, &rules), None);
    }

    #[test]
    fn each_ejection_is_longer_and_quiet_makes_up() {
        let rules = Outlier { ejection_time_max: Duration::from_secs(25), ..Outlier::default() };
        let ejection = Ejection::default();
        let second = 1_000;
        // When it is ejected, in seconds, and for how long.
        for (at, time) in [(0, 10), (10, 20), (30, 25), (60, 25), (110, 25), (400, 10), (411, 20)] {
            assert!(!ejection.is_ejected(1 + at * second), "{at}");
            assert_eq!(ejection.eject(1 + at * second, &rules), Duration::from_secs(time), "{at}");
            assert!(ejection.is_ejected(1 + at * second));
        }
        // What still comes of an ejected server's requests does not count.
        assert!((0..50).all(|_| note(&ejection, 412 * second, Failed, &rules).is_none()));
        assert_eq!(note(&ejection, 500 * second, Failed, &rules), None);
    }

    #[test]
    fn ejections_are_bounded() {
        // active, ejected, others that could take its requests, percent -> allowed
        let cases = [
            (1, 0, 0, 100, false),
            (2, 0, 1, 50, true),
            (2, 1, 0, 100, false),
            (2, 0, 1, 0, true),
            (3, 1, 1, 50, false),
            (4, 1, 2, 50, true),
            (4, 2, 1, 50, false),
            (10, 3, 6, 40, true),
            (10, 4, 5, 40, false),
        ];
        for (active, ejected, others, percent, allowed) in cases {
            assert_eq!(may_eject(active, ejected, others, percent), allowed, "{active} {ejected} {percent}");
        }
    }
}
