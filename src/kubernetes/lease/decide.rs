//! What a candidate or leader does next, from what it saw of the lease and when.

use super::Timings;
use super::object::Record;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that a lease may say it holds without being renewed; one that says more holds that long.
const DURATION_MAX: Duration = Duration::from_secs(60);

/// What a process saw of the lease.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// As it was last seen; absent: there was none.
    record: Option<Record>,
    /// When it was first seen as it is.
    since: Option<Instant>,
    /// The greatest ever seen, which outlives the lease.
    term_max: i64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Somebody else leads, until `free_at` at least.
    Follow {
        /// Who.
        holder: String,
        /// When the lease may be taken if it stays as it is.
        free_at: Instant,
    },
    /// Write the lease with this process as holder.
    Write {
        /// The term.
        term: i64,
    },
}

impl Observed {
    /// Takes in what the server said at `now`, at the latest.
    pub(super) fn see(&mut self, record: Option<Record>, now: Instant) {
        if self.since.is_none() || self.record != record {
            self.since = Some(now);
        }
        if let Some(record) = &record {
            self.term_max = self.term_max.max(record.term);
        }
        self.record = record;
    }
}

/// `term`: that of this process's leadership, if it still has one.
pub(super) fn decide(
    observed: &Observed,
    now: Instant,
    me: &str,
    term: Option<i64>,
    timings: &Timings,
) -> Action {
    let next = Action::Write { term: observed.term_max.saturating_add(1) };
    let Some(record) = observed.record.as_ref().filter(|record| !record.holder.is_empty()) else {
        return next;
    };
    if record.holder == me {
        // Without a leadership of its own, its last one was interrupted, or the answer to its last write was lost.
        return term.map_or(next, |term| Action::Write { term });
    }
    let holds = record.duration.unwrap_or(timings.duration).min(DURATION_MAX);
    let free_at = observed.since.unwrap_or(now) + holds;
    if free_at <= now { next } else { Action::Follow { holder: record.holder.clone(), free_at } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, renewed: i64, term: i64) -> Option<Record> {
        let duration = Some(Duration::from_secs(10));
        Some(Record { holder: holder.to_owned(), duration, renewed: Some(renewed), term })
    }

    /// What is seen at which second, and what follows at the last of them.
    fn check(seen: &[(u64, Option<Record>)], term: Option<i64>, expected: &str) {
        let start = Instant::now();
        let mut observed = Observed::default();
        let mut now = start;
        for (second, record) in seen {
            now = start + Duration::from_secs(*second);
            observed.see(record.clone(), now);
        }
        let action = match decide(&observed, now, "me", term, &Timings::default()) {
            Action::Follow { holder, free_at } => {
                format!("follow {holder} until {}", (free_at - start).as_secs())
            }
            Action::Write { term } => format!("write {term}"),
        };
        assert_eq!(action, expected, "{seen:?}");
    }

    #[test]
    fn the_lease_is_taken_when_it_is_free_and_only_then() {
        check(&[(0, None)], None, "write 1");
        check(&[(0, record("", 1, 4))], None, "write 5");
        check(&[(0, record("other", 1, 4))], None, "follow other until 10");
        check(&[(0, record("other", 1, 4)), (9, record("other", 1, 4))], None, "follow other until 10");
        check(&[(0, record("other", 1, 4)), (10, record("other", 1, 4))], None, "write 5");
        // Renewed, however wrong its clock is.
        check(&[(0, record("other", 9, 4)), (10, record("other", 3, 4))], None, "follow other until 20");
        check(&[(0, record("other", 9, 4)), (10, record("third", 9, 5))], None, "follow third until 20");
        // Away for long, and it was renewed meanwhile.
        check(&[(0, record("other", 1, 4)), (99, record("other", 2, 4))], None, "follow other until 109");
    }

    #[test]
    fn an_own_lease_is_renewed_in_its_term_and_retaken_in_another() {
        check(&[(0, record("me", 1, 4))], Some(4), "write 4");
        check(&[(0, record("me", 1, 4))], None, "write 5");
        // Somebody edited the term.
        check(&[(0, record("me", 1, 7))], Some(4), "write 4");
        check(&[(0, record("other", 1, 4))], Some(4), "follow other until 10");
    }

    #[test]
    fn a_deleted_lease_begins_a_term_beyond_all_before() {
        check(&[(0, record("other", 1, 41)), (2, None)], None, "write 42");
        check(&[(0, record("me", 1, 41)), (2, None)], Some(41), "write 42");
        // Made anew by another: it counts as seen for the first time.
        check(
            &[(0, record("other", 1, 41)), (2, None), (4, record("other", 1, 1))],
            None,
            "follow other until 14",
        );
    }

    #[test]
    fn odd_durations_are_bounded() {
        let odd = |duration| record("other", 1, 4).map(|record| Record { duration, ..record });
        check(&[(0, odd(None))], None, "follow other until 10");
        check(&[(0, odd(Some(Duration::from_secs(3))))], None, "follow other until 3");
        check(&[(0, odd(Some(Duration::from_secs(1_000_000))))], None, "follow other until 60");
    }
}
