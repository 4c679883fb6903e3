//! Panics that were caught: each is a defect, costs at most what it happened in, and is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// From a panic to the next start of what panicked, at first; doubled for each further one.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
/// The longest such wait.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// What panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PanicIn {
    /// The way of one request.
    Request,
    /// What follows the store and compiles tables.
    Watch,
    /// What tells the fleet of this process.
    Membership,
    /// What checks servers.
    Checks,
    /// What writes the access log.
    AccessLog,
}

static COUNTS: [AtomicU64; PanicIn::ALL.len()] = [const { AtomicU64::new(0) }; PanicIn::ALL.len()];

impl PanicIn {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Request, Self::Watch, Self::Membership, Self::Checks, Self::AccessLog];

    /// As metrics and log call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Watch => "watch",
            Self::Membership => "membership",
            Self::Checks => "checks",
            Self::AccessLog => "access_log",
        }
    }

    /// Counts one in this process.
    pub fn count(self) {
        if let Some(count) = COUNTS.get(self as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        tracing::error!(task = self.as_str(), "a panic was caught; this is a defect of Flipgate");
    }

    /// How many there were in this process.
    pub fn counted(self) -> u64 {
        COUNTS.get(self as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Panics where a test asks for it: in debug builds only, once for each file of this name that the test makes in the
    /// directory that `FLIPGATE_PANIC_AT` named at the start.
    #[cfg(debug_assertions)]
    #[expect(clippy::panic, reason = "it is what a test asks for")]
    pub fn trip(self) {
        static DIR: std::sync::OnceLock<Option<std::path::PathBuf>> = std::sync::OnceLock::new();
        let dir = DIR.get_or_init(|| std::env::var_os("FLIPGATE_PANIC_AT").map(Into::into));
        if dir.as_ref().is_some_and(|dir| std::fs::remove_file(dir.join(self.as_str())).is_ok()) {
            std::panic::panic_any("a test asked for this panic");
        }
    }

    /// Nothing, in a release build.
    #[cfg(not(debug_assertions))]
    pub fn trip(self) {}
}

/// Starts again after panics, slower each time.
#[derive(Debug)]
pub struct Restarts {
    task: PanicIn,
    wait: Duration,
}

impl Restarts {
    /// Of a task that has not panicked yet.
    pub fn of(task: PanicIn) -> Self {
        Self { task, wait: BACK_OFF_FIRST }
    }

    /// Counts a panic; how long to wait before the next start.
    pub fn after_panic(&mut self) -> Duration {
        self.task.count();
        self.next_wait()
    }

    fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(BACK_OFF_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        // Without the count, which is the process's and would show in the metrics of other tests.
        let mut restarts = Restarts::of(PanicIn::Checks);
        let waits: Vec<u128> = (0..9).map(|_| restarts.next_wait().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    }
}
