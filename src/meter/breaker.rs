//! A circuit breaker's states: standby, tripped, recovering, as vulcand has them.

/// How long a breaker stays in its states, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerTimes {
    /// How long nothing passes after it tripped.
    pub fallback: u64,
    /// How long it takes then to let more and more pass.
    pub recovery: u64,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It passes.
    Passes,
    /// It passes, and with it the breaker is in standby again.
    Restored,
    /// It does not.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Standby,
    Tripped {
        since: u64,
    },
    Recovering {
        since: u64,
    },
}

/// A breaker. Time is in milliseconds of any clock that never goes back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Breaker {
    phase: Phase,
    /// Of the requests that came while it recovers.
    passed: u64,
    refused: u64,
}

impl Breaker {
    /// A request comes at `now`.
    pub fn admit(&mut self, now: u64, times: &BreakerTimes) -> Admission {
        if let Phase::Tripped { since } = self.phase {
            if now < since.saturating_add(times.fallback) {
                return Admission::Refused;
            }
            *self = Self { phase: Phase::Recovering { since: now }, ..Self::default() };
        }
        let Phase::Recovering { since } = self.phase else { return Admission::Passes };
        if now > since.saturating_add(times.recovery) {
            *self = Self::default();
            return Admission::Restored;
        }
        // At a half as many pass as do not: from there on all would, so that is where the ramp ends.
        let target = 0.5 * now.saturating_sub(since) as f64 / times.recovery.max(1) as f64;
        let with_this = (self.passed + 1) as f64 / (self.passed + 1 + self.refused) as f64;
        if with_this < target {
            self.passed += 1;
            return Admission::Passes;
        }
        self.refused += 1;
        Admission::Refused
    }

    /// The condition holds at `now`; whether it trips by that: one that has tripped does not again.
    pub fn trip(&mut self, now: u64) -> bool {
        if self.is_tripped() {
            return false;
        }
        *self = Self { phase: Phase::Tripped { since: now }, ..Self::default() };
        true
    }

    /// Everything passes.
    pub fn is_standby(&self) -> bool {
        self.phase == Phase::Standby
    }

    /// It has tripped, and no request came since its time is over.
    pub fn is_tripped(&self) -> bool {
        matches!(self.phase, Phase::Tripped { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: BreakerTimes = BreakerTimes { fallback: 1_000, recovery: 1_000 };

    fn passes(breaker: &mut Breaker, from: u64, to: u64) -> usize {
        (from..to).filter(|now| breaker.admit(*now, &TIMES) != Admission::Refused).count()
    }

    #[test]
    fn it_trips_recovers_and_stands_by() {
        let mut breaker = Breaker::default();
        assert!(breaker.is_standby());
        assert_eq!(passes(&mut breaker, 0, 100), 100);
        assert!(breaker.trip(100) && breaker.is_tripped());
        assert!(!breaker.trip(500), "it is tripped already, and its time does not begin anew");
        assert_eq!(passes(&mut breaker, 100, 1_100), 0);
        assert_eq!(breaker.admit(1_100, &TIMES), Admission::Refused, "the ramp begins with nothing");
        assert!(!breaker.is_tripped() && !breaker.is_standby());
        assert_eq!(breaker.admit(2_101, &TIMES), Admission::Restored);
        assert!(breaker.is_standby());
        assert_eq!(breaker.admit(2_102, &TIMES), Admission::Passes);
    }

    #[test]
    fn more_and_more_pass_while_it_recovers() {
        let mut breaker = Breaker::default();
        breaker.trip(0);
        // One request in a millisecond: the share of what passed follows half of the time that has gone by.
        let mut passed = 0;
        for part in 0..10 {
            let now = passes(&mut breaker, 1_000 + part * 100, 1_100 + part * 100);
            passed += now;
            let asked = 100.0 * (part + 1) as f64;
            let target = 0.05 * (part + 1) as f64;
            assert!((passed as f64 / asked - target).abs() < 0.03, "{passed} of {asked} after part {part}");
        }
        assert_ne!(breaker.admit(2_000, &TIMES), Admission::Restored);
        assert_eq!(breaker.admit(2_001, &TIMES), Admission::Restored);
    }

    #[test]
    fn it_trips_again_while_it_recovers() {
        let mut breaker = Breaker::default();
        breaker.trip(0);
        breaker.admit(1_500, &TIMES);
        assert!(breaker.trip(1_600));
        assert_eq!(breaker.admit(2_599, &TIMES), Admission::Refused);
        assert!(breaker.is_tripped());
        breaker.admit(2_600, &TIMES);
        assert!(!breaker.is_tripped());
    }

    #[test]
    fn new_times_hold_at_once() {
        let mut breaker = Breaker::default();
        breaker.trip(0);
        let short = BreakerTimes { fallback: 10, recovery: 10 };
        assert_eq!(breaker.admit(9, &short), Admission::Refused);
        breaker.admit(10, &short);
        assert_eq!(breaker.admit(21, &short), Admission::Restored);
        let none = BreakerTimes { fallback: 0, recovery: 0 };
        breaker.trip(30);
        breaker.admit(30, &none);
        assert_eq!(breaker.admit(31, &none), Admission::Restored);
        // A clock of another thread that lags.
        breaker.trip(100);
        assert_eq!(breaker.admit(99, &TIMES), Admission::Refused);
    }
}
