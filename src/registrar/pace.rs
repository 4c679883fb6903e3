//! How the registrar, a guest, asks and writes at the Kubernetes API: not too fast, and with no more rights than it has
//! for watching.

use crate::meter::{Buckets, Rate};
use kube::api::ListParams;
use std::time::Duration;
use tokio::time::Instant;

/// Writes a second, on average.
const PER_SECOND: u32 = 10;
/// Writes at once after a rest.
const BURST: u32 = 50;

/// A bucket of tokens, one for each write.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    rate: Rate,
    buckets: Buckets,
}

impl Pace {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        let rate = Rate::new(PER_SECOND, Duration::from_secs(1), BURST);
        Self { began: now, rate, buckets: Buckets::default() }
    }

    /// Takes a token at `now`.
    ///
    /// # Errors
    /// How long until there is one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        self.buckets.take(since, &[self.rate]).map_err(Duration::from_nanos)
    }
}

/// Of a list only the object of this name: who may list need not have a right to get, too.
pub(super) fn only(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}")).limit(1)
}

/// What is waited for before the next try after so many failures in a row: 1 s, doubling, at most a minute.
pub(super) fn back_off(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
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
        assert_eq!([1, 2, 5, 90].map(|failures| back_off(failures).as_secs()), [1, 2, 16, 60]);
    }
}
