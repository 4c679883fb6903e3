//! Asking the Kubernetes API: in time, with no more rights than it takes to watch, and after pauses where it failed.

use super::explain;
use kube::api::ListParams;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest time for one request to the API.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Of a list only the object of this name: who may list need not have a right to get, too.
pub fn only(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}")).limit(1)
}

/// Why the API did not do what it was asked. The text is for people.
#[derive(Debug)]
pub enum Refusal {
    /// The account may not.
    Forbidden(String),
    /// What is wrong with the request stays wrong.
    Final(String),
    /// It may do it later.
    Later(String),
}

/// An answer of the API, in time.
pub async fn in_time<T>(asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Refusal> {
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
pub struct Pauses {
    /// After the first failure.
    pub least: Duration,
    /// After many.
    pub most: Duration,
}

impl Pauses {
    /// After one more than so many failures in a row: twice as long each time. `chance`, from 0 to 1, takes up to half of
    /// it away, so that many do not come back in step.
    pub fn after(self, failures: u32, chance: f64) -> Duration {
        let longest = self.least.saturating_mul(2_u32.saturating_pow(failures)).min(self.most);
        longest.mul_f64(1.0 - chance / 2.0)
    }
}

/// Waits longer after each failure, and never in step with others.
#[derive(Debug)]
pub struct Backoff {
    pauses: Pauses,
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// One that has seen no failure.
    pub fn new(pauses: Pauses) -> Self {
        Self { pauses, failures: 0, until: None }
    }

    /// The end of the pause.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether it still lasts.
    pub fn waits(&self) -> bool {
        self.until.is_some_and(|until| until > Instant::now())
    }

    /// How many failures there were in a row.
    pub fn failed(&mut self) -> u32 {
        self.until = Some(Instant::now() + self.pauses.after(self.failures, rand::random()));
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// The next failure is the first one.
    pub fn worked(&mut self) {
        *self = Self::new(self.pauses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_not_the_same_for_all() {
        let check = |pauses: Pauses, failures, chance, millis| {
            let pause = pauses.after(failures, chance);
            assert_eq!(pause, Duration::from_millis(millis), "{pauses:?} {failures} {chance}");
        };
        let slow = Pauses { least: Duration::from_secs(1), most: Duration::from_secs(60) };
        check(slow, 0, 0.0, 1_000);
        check(slow, 4, 0.0, 16_000);
        check(slow, 90, 0.0, 60_000);
        let quick = Pauses { least: Duration::from_millis(200), most: Duration::from_secs(10) };
        check(quick, 0, 0.5, 150);
        check(quick, 1, 0.0, 400);
        check(quick, 4, 1.0, 1_600);
        check(quick, u32::MAX, 1.0, 5_000);
    }
}
