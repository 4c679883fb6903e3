//! What a client may send besides its messages: a bucket for each kind of frame, and one for all of them together.
//!
//! What a frame costs is given back where the traffic explains it: windows grow because data was sent, and a client that
//! measures its connection pings while data flows.

use crate::telemetry::Limit;

/// Costs are counted in parts of a frame, since tiny frames cost less than one.
pub(super) const FRAME: i64 = 16;
/// How many kinds' budgets all kinds together have.
const TOGETHER: i64 = 2;
/// How much more may be given to the windows' bucket ahead of its frames: a client with large windows answers at once for
/// all that was sent to it.
const WINDOWS_AHEAD: i64 = 64;

/// How many odd frames of a kind are too many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// What frames are odd for; in the order of [`LIMITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    Reset,
    Ping,
    Settings,
    Empty,
    WindowUpdate,
    Priority,
    Unknown,
    /// Nothing that has a limit of its own.
    Other,
}

const KINDS: usize = 7;
/// In the order of their buckets.
const LIMITS: [Limit; KINDS] = [
    Limit::H2Resets,
    Limit::H2Pings,
    Limit::H2Settings,
    Limit::H2EmptyFrames,
    Limit::H2WindowUpdates,
    Limit::H2Priorities,
    Limit::H2Unknown,
];

/// The buckets of one connection. Times are milliseconds since its beginning.
#[derive(Debug)]
pub(super) struct Budget {
    rates: Rates,
    kinds: [Bucket; KINDS],
    together: Bucket,
}

#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    /// Below zero where more was given than used.
    used: i64,
    at_ms: u32,
}

impl Odd {
    /// Its bucket, and its limit, where it has one.
    fn limit(self) -> Option<(usize, Limit)> {
        let index = self as usize;
        Some((index, *LIMITS.get(index)?))
    }
}

impl Bucket {
    /// What is above zero runs out with time.
    fn drain(&mut self, now_ms: u32, per_second: i64) {
        let passed = i64::from(now_ms.saturating_sub(self.at_ms));
        if passed > 0 {
            self.at_ms = now_ms;
            if self.used > 0 {
                self.used = (self.used - passed * per_second * FRAME / 1000).max(0);
            }
        }
    }
}

impl Budget {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, kinds: [Bucket::default(); KINDS], together: Bucket::default() }
    }

    /// Counts something odd of this cost.
    ///
    /// # Errors
    /// The limit that is passed with it.
    pub(super) fn take(&mut self, odd: Odd, cost: i64, now_ms: u32) -> Result<(), Limit> {
        let (per_second, burst) = (i64::from(self.rates.per_second), i64::from(self.rates.burst) * FRAME);
        let mut uncovered = cost;
        if let Some((index, limit)) = odd.limit()
            && let Some(kind) = self.kinds.get_mut(index)
        {
            kind.drain(now_ms, per_second);
            kind.used += cost;
            if kind.used > burst {
                return Err(limit);
            }
            uncovered = kind.used.clamp(0, cost);
        }
        self.together.drain(now_ms, per_second * TOGETHER);
        self.together.used += uncovered;
        if self.together.used > burst * TOGETHER { Err(Limit::H2Oddities) } else { Ok(()) }
    }

    /// The limit whose bucket holds most, if one holds anything.
    pub(super) fn fullest(&self) -> Option<Limit> {
        let used = self.kinds.iter().zip(LIMITS).filter(|(kind, _)| kind.used > 0);
        used.max_by_key(|(kind, _)| kind.used).map(|(_, limit)| limit)
    }

    /// The traffic explains so much of a kind.
    pub(super) fn give(&mut self, odd: Odd, worth: i64) {
        let Some(kind) = odd.limit().and_then(|(index, _)| self.kinds.get_mut(index)) else { return };
        let ahead = match odd {
            Odd::WindowUpdate => WINDOWS_AHEAD,
            Odd::Ping => 1,
            _ => 0,
        };
        let before = kind.used.max(0);
        kind.used = (kind.used - worth).max(-ahead * i64::from(self.rates.burst) * FRAME);
        self.together.used = (self.together.used - (before - kind.used.max(0))).max(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates { per_second: 10, burst: 100 };

    /// How many of `most` frames at this pace pass before a limit does not let one.
    fn passing(kinds: &[Odd], per_second: u32, most: u32) -> Result<u32, (u32, Limit)> {
        let mut budget = Budget::new(RATES);
        for number in 0..most {
            let odd = kinds[number as usize % kinds.len()];
            if let Err(limit) = budget.take(odd, FRAME, number * 1000 / per_second) {
                return Err((number, limit));
            }
        }
        Ok(most)
    }

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        assert_eq!(passing(&[Odd::Ping], 1000, 90), Ok(90));
        assert_eq!(passing(&[Odd::Ping], 10, 10_000), Ok(10_000));
        let Err((number, Limit::H2Pings)) = passing(&[Odd::Ping], 1000, 10_000) else { panic!() };
        assert!((100..110).contains(&number), "{number}");
        let Err((number, Limit::H2Oddities)) = passing(&[Odd::Other], 1000, 10_000) else { panic!() };
        assert!((200..210).contains(&number), "{number}");
    }

    #[test]
    fn the_fullest_bucket_is_known() {
        let mut budget = Budget::new(RATES);
        assert_eq!(budget.fullest(), None);
        budget.give(Odd::Ping, FRAME);
        for (odd, count) in [(Odd::Empty, 3), (Odd::Reset, 2), (Odd::Unknown, 1)] {
            (0..count).for_each(|_| budget.take(odd, FRAME, 0).unwrap());
        }
        assert_eq!(budget.fullest(), Some(Limit::H2EmptyFrames));
    }

    #[test]
    fn a_little_of_everything_is_too_much_too() {
        let kinds = [Odd::Ping, Odd::Settings, Odd::Priority, Odd::Unknown];
        let Err((number, Limit::H2Oddities)) = passing(&kinds, 1000, 10_000) else { panic!() };
        assert!((200..220).contains(&number), "{number}");
    }

    #[test]
    fn what_the_traffic_explains_costs_nothing() {
        let mut budget = Budget::new(RATES);
        for round in 0..1000 {
            budget.take(Odd::WindowUpdate, FRAME, round).unwrap();
            budget.give(Odd::WindowUpdate, 2 * FRAME);
        }
        // All that was given ahead, and no more.
        for _ in 0..1000 {
            budget.take(Odd::WindowUpdate, FRAME, 1000).unwrap();
        }
        assert!((0..200).any(|_| budget.take(Odd::WindowUpdate, FRAME, 1000) == Err(Limit::H2WindowUpdates)));
        // Resets are forgiven, not granted.
        let mut budget = Budget::new(RATES);
        budget.give(Odd::Reset, 1000 * FRAME);
        assert_eq!((0..200).take_while(|_| budget.take(Odd::Reset, FRAME, 0).is_ok()).count(), 100);
    }
}
