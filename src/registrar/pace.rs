//! How the registrar, a guest, asks and writes at the Kubernetes API: not too fast, and with no more rights than it has
//! for watching. And how long it waits, there and elsewhere, after what failed.

use crate::kubernetes::explain;
use crate::meter::{Buckets, Rate};
use kube::api::ListParams;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Writes a second, on average.
const PER_SECOND: u32 = 10;
/// Writes at once after a rest.
const BURST: u32 = 50;

/// Longest time for one request to the API.
const REQUEST_MAX: Duration = Duration::from_secs(10);

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

/// Of a list only the object of this name: who may list need not have a right to get, too.
pub(super) fn only(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}")).limit(1)
}

/// Why the API did not do what it was asked. The text is for people.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The account may not.
    Forbidden(String),
    /// What is wrong with the request stays wrong.
    Final(String),
    /// It may do it later.
    Later(String),
}

/// An answer of the API, in time.
pub(super) async fn in_time<T>(asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Refusal> {
    let Ok(answer) = timeout(REQUEST_MAX, asked).await else {
        return Err(Refusal::Later(format!("no answer within {REQUEST_MAX:?}")));
    };
    answer.map_err(|error| {
        let reason = explain(&error);
        match error {
            kube::Error::Api(status) if status.is_forbidden() => Refusal::Forbidden(reason),
            kube::Error::Api(status) if matches!(status.code, 400 | 404 | 422) => Refusal::Final(reason),
            _ => Refusal::Later(reason),
        }
    })
}

/// How long is waited after failures: after the first, and at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pauses {
    pub(super) least: Duration,
    pub(super) most: Duration,
}

/// Between writes at the Kubernetes API that failed.
const GUEST: Pauses = Pauses { least: Duration::from_secs(1), most: Duration::from_secs(60) };

impl Pauses {
    /// After one more than so many failures in a row: twice as long each time. `chance`, from 0 to 1, takes up to half of
    /// it away, so that many do not come back in step.
    pub(super) fn after(self, failures: u32, chance: f64) -> Duration {
        let longest = self.least.saturating_mul(2_u32.saturating_pow(failures)).min(self.most);
        longest.mul_f64(1.0 - chance / 2.0)
    }
}

/// Waits longer after each failure, and never in step with others.
#[derive(Debug)]
pub(super) struct Backoff {
    pauses: Pauses,
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(pauses: Pauses) -> Self {
        Self { pauses, failures: 0, until: None }
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn waits(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }

    /// How many failures there were in a row.
    pub(super) fn failed(&mut self) -> u32 {
        self.until = Some(Instant::now() + self.pauses.after(self.failures, rand::random()));
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    pub(super) fn worked(&mut self) {
        *self = Self::new(self.pauses);
    }
}

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

    #[test]
    fn pauses_grow_and_are_not_the_same_for_all() {
        let check = |pauses: Pauses, failures, chance, millis| {
            let pause = pauses.after(failures, chance);
            assert_eq!(pause, Duration::from_millis(millis), "{pauses:?} {failures} {chance}");
        };
        check(GUEST, 0, 0.0, 1_000);
        check(GUEST, 4, 0.0, 16_000);
        check(GUEST, 90, 0.0, 60_000);
        let quick = Pauses { least: Duration::from_millis(200), most: Duration::from_secs(10) };
        check(quick, 0, 0.5, 150);
        check(quick, 1, 0.0, 400);
        check(quick, 4, 1.0, 1_600);
        check(quick, u32::MAX, 1.0, 5_000);
    }
}
