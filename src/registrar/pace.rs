//! How the registrar, a guest, writes at the Kubernetes API: not too fast.

use crate::kubernetes::{Backoff, Pauses};
use crate::meter::{Buckets, Rate};
use std::time::Duration;
use tokio::time::Instant;

/// Writes a second, on average.
const PER_SECOND: u32 = 10;
/// Writes at once after a rest.
const BURST: u32 = 50;

/// A bucket of tokens, one for each write.
#[derive(Debug)]
struct Pace {
    began: Instant,
    rate: Rate,
    buckets: Buckets,
}

impl Pace {
    /// A full one.
    fn new(now: Instant) -> Self {
        let rate = Rate::new(PER_SECOND, Duration::from_secs(1), BURST);
        Self { began: now, rate, buckets: Buckets::default() }
    }

    /// Takes a token at `now`.
    ///
    /// # Errors
    /// How long until there is one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        self.buckets.take(since, &[self.rate]).map_err(Duration::from_nanos)
    }
}

/// Between writes at the Kubernetes API that failed.
const GUEST: Pauses = Pauses { least: Duration::from_secs(1), most: Duration::from_secs(60) };

/// When a guest may write next: no faster than the pace, and after a pause where it failed.
#[derive(Debug)]
pub(super) struct Turns {
    pace: Pace,
    /// When there is a token again.
    free_at: Instant,
    backoff: Backoff,
}

impl Turns {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { pace: Pace::new(now), free_at: now, backoff: Backoff::new(GUEST) }
    }

    /// The moment for what is due at `due`.
    pub(super) fn at(&self, due: Instant) -> Instant {
        due.max(self.free_at).max(self.backoff.until().unwrap_or(due))
    }

    /// Whether one may write now, which takes a turn; if not, [`Turns::at`] says when.
    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        match self.pace.take(now) {
            Ok(()) => true,
            Err(wait) => {
                self.free_at = now + wait;
                false
            }
        }
    }

    pub(super) fn worked(&mut self) {
        self.backoff.worked();
    }

    /// The moment before which nothing is tried again.
    pub(super) fn failed(&mut self) -> Instant {
        self.backoff.failed();
        self.at(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_bounded() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!((0..200).filter(|_| pace.take(start).is_ok()).count(), 50);
        let wait = pace.take(start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(pace.take(start + wait).is_ok());
        let later = start + Duration::from_secs(2);
        assert_eq!((0..200).filter(|_| pace.take(later).is_ok()).count(), 19);
    }
}
