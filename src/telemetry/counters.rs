//! Counters of the request path: one slot per worker, written by that worker alone, added up when scraped.
//!
//! A single writer needs no read-modify-write: a relaxed load and a relaxed store count exactly, and a reader on
//! another thread sees some recent value. Several counters of one slot may be seen at slightly different instants.

use super::limit::Limit;
use super::reason::Reason;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// Upper bounds of the latency buckets, in microseconds; what is longer falls in a last, unbounded one.
pub const BUCKET_MICROS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Bounded buckets and the unbounded one.
pub const BUCKETS: usize = BUCKET_MICROS.len() + 1;

/// Status codes told apart within one frontend and worker; further ones are counted together.
pub const CODES_MAX: usize = 24;

/// Ways of being malformed that one worker tells apart; further ones are not counted by name.
const MALFORMED_MAX: usize = 64;

/// Adds to a counter that only this thread writes.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// One `T` per worker, made when that worker first asks for it.
///
/// Costs three words until then. `T` must be written by one thread only: the worker whose slot it is.
pub struct WorkerSlots<T> {
    workers: usize,
    slots: OnceLock<Box<[OnceLock<Box<T>>]>>,
}

impl<T: Default> WorkerSlots<T> {
    /// Room for workers `0..workers`; at least one.
    pub fn new(workers: usize) -> Self {
        Self { workers: workers.max(1), slots: OnceLock::new() }
    }

    /// The slot of a worker. A number out of range shares the last slot: nothing is lost but exactness.
    #[inline]
    pub fn at(&self, worker: usize) -> &T {
        let slots = self.slots.get_or_init(|| (0..self.workers).map(|_| OnceLock::new()).collect());
        // `new` makes at least one slot.
        #[allow(clippy::indexing_slicing)]
        let slot = &slots[worker.min(slots.len() - 1)];
        slot.get_or_init(Box::default)
    }
}

impl<T> WorkerSlots<T> {
    /// The slots in use.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.get().into_iter().flatten().filter_map(|slot| slot.get().map(|boxed| &**boxed))
    }
}

impl<T> std::fmt::Debug for WorkerSlots<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerSlots").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Durations in buckets of [`BUCKET_MICROS`]. Single writer.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

impl DurationHistogram {
    /// Counts one duration, in microseconds.
    #[inline]
    pub fn record(&self, micros: u64) {
        let index = BUCKET_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(index) {
            add(bucket, 1);
        }
        add(&self.sum_micros, micros);
    }

    /// Adds what was counted so far to `total`.
    pub fn add_to(&self, total: &mut Durations) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        total.sum_micros += self.sum_micros.load(Ordering::Relaxed);
    }
}

/// What histograms counted, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// Per bucket, not cumulative.
    pub buckets: [u64; BUCKETS],
    /// All durations together, in microseconds.
    pub sum_micros: u64,
}

impl Durations {
    /// How many durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What one worker counted of one frontend's requests. Single writer; 400 bytes.
#[derive(Debug)]
pub struct FrontendCounters {
    /// 0: unused. Filled from the front and never changed again.
    codes: [AtomicU16; CODES_MAX],
    counts: [AtomicU64; CODES_MAX],
    further: AtomicU64,
    durations: DurationHistogram,
}

impl Default for FrontendCounters {
    fn default() -> Self {
        Self {
            codes: [const { AtomicU16::new(0) }; CODES_MAX],
            counts: [const { AtomicU64::new(0) }; CODES_MAX],
            further: AtomicU64::new(0),
            durations: DurationHistogram::default(),
        }
    }
}

impl FrontendCounters {
    /// Counts one request that ended: the status sent downstream and the time from its first byte to the answer's
    /// last, in microseconds.
    #[inline]
    pub fn record(&self, status: u16, micros: u64) {
        self.count_code(status.max(1));
        self.durations.record(micros);
    }

    #[inline]
    fn count_code(&self, status: u16) {
        for (code, count) in self.codes.iter().zip(&self.counts) {
            let known = code.load(Ordering::Relaxed);
            if known == status {
                return add(count, 1);
            }
            if known == 0 {
                add(count, 1);
                // A reader that sees the code sees its first count.
                return code.store(status, Ordering::Release);
            }
        }
        add(&self.further, 1);
    }

    /// Adds what was counted so far to `total`.
    pub fn add_to(&self, total: &mut FrontendTotals) {
        for (code, count) in self.codes.iter().zip(&self.counts) {
            match code.load(Ordering::Acquire) {
                0 => break,
                code => total.add_code(code, count.load(Ordering::Relaxed)),
            }
        }
        total.further += self.further.load(Ordering::Relaxed);
        self.durations.add_to(&mut total.durations);
    }
}

/// What workers counted of one frontend or of several, added up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrontendTotals {
    /// Requests by status code, in the order in which codes were first met.
    pub codes: Vec<(u16, u64)>,
    /// Requests of codes beyond [`CODES_MAX`] different ones.
    pub further: u64,
    /// How long they took.
    pub durations: Durations,
}

impl FrontendTotals {
    /// Adds up the slots of one frontend.
    pub fn of(slots: &WorkerSlots<FrontendCounters>) -> Self {
        let mut total = Self::default();
        slots.iter().for_each(|slot| slot.add_to(&mut total));
        total
    }

    /// Requests of any code.
    pub fn requests(&self) -> u64 {
        self.codes.iter().map(|(_, count)| count).sum::<u64>() + self.further
    }

    fn add_code(&mut self, code: u16, count: u64) {
        match self.codes.iter_mut().find(|(known, _)| *known == code) {
            Some((_, sum)) => *sum += count,
            None => self.codes.push((code, count)),
        }
    }
}

/// How an attempt at a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with this status.
    Status(u16),
    /// It was not.
    Failed(Reason),
}

/// `other`, `1xx` to `5xx`.
const CLASSES: usize = 6;
const OUTCOMES: usize = CLASSES + Reason::COUNT;

impl Outcome {
    #[inline]
    fn index(self) -> usize {
        match self {
            Self::Status(status @ 100..=599) => usize::from(status / 100),
            Self::Status(_) => 0,
            Self::Failed(reason) => CLASSES + reason as usize,
        }
    }
}

/// What one worker counted of the attempts at one backend's servers. Single writer.
#[derive(Debug)]
pub struct BackendCounters {
    outcomes: [AtomicU64; OUTCOMES],
    micros: AtomicU64,
}

impl Default for BackendCounters {
    fn default() -> Self {
        Self { outcomes: [const { AtomicU64::new(0) }; OUTCOMES], micros: AtomicU64::new(0) }
    }
}

impl BackendCounters {
    /// Counts one attempt that ended, and how long it took to its answer's head or its failure, in microseconds.
    #[inline]
    pub fn record(&self, outcome: Outcome, micros: u64) {
        add(&self.micros, micros);
        if let Some(count) = self.outcomes.get(outcome.index()) {
            add(count, 1);
        }
    }
}

/// What workers counted of the attempts at one backend's servers, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackendTotals {
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that failed or were answered with 500 or above; a client that went away is no failure.
    pub failures: u64,
    /// All their times together, in microseconds.
    pub micros: u64,
}

impl BackendTotals {
    /// Adds up the slots of one backend.
    pub fn of(slots: &WorkerSlots<BackendCounters>) -> Self {
        let mut total = Self::default();
        for slot in slots.iter() {
            for (index, count) in slot.outcomes.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                total.attempts += count;
                let is_failure = index == Outcome::Status(500).index()
                    || index >= CLASSES && index != Outcome::Failed(Reason::ClientGone).index();
                total.failures += if is_failure { count } else { 0 };
            }
            total.micros += slot.micros.load(Ordering::Relaxed);
        }
        total
    }
}

/// Attempts by outcome's label (`2xx`, `connect_failed`), the ones that happened.
pub fn backend_outcomes(slots: &WorkerSlots<BackendCounters>) -> Vec<(&'static str, u64)> {
    let classes = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
    let labels = classes.into_iter().chain(Reason::ALL.iter().map(|reason| reason.as_str()));
    labels
        .enumerate()
        .map(|(index, label)| (label, sum(slots.iter().filter_map(|slot| slot.outcomes.get(index)))))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// What one worker counted of one listener's connections. Single writer.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    opened: AtomicU64,
    closed: AtomicU64,
}

impl ListenerCounters {
    /// A connection was accepted.
    #[inline]
    pub fn opened(&self) {
        add(&self.opened, 1);
    }

    /// A connection ended; on the worker that accepted it.
    #[inline]
    pub fn closed(&self) {
        add(&self.closed, 1);
    }
}

/// Connections of a listener: accepted so far, and open now.
pub fn listener_connections(slots: &WorkerSlots<ListenerCounters>) -> (u64, u64) {
    let closed = sum(slots.iter().map(|slot| &slot.closed));
    let opened = sum(slots.iter().map(|slot| &slot.opened));
    (opened, opened.saturating_sub(closed))
}

/// What one worker answered or ended by itself, by reason; and what exactly, where that has a name. Single writer.
#[derive(Debug)]
pub struct RefusedCounters {
    reasons: [AtomicU64; Reason::COUNT],
    limits: [AtomicU64; Limit::COUNT],
    /// Filled from the front; a name's place never changes.
    malformed: [(OnceLock<&'static str>, AtomicU64); MALFORMED_MAX],
}

impl Default for RefusedCounters {
    fn default() -> Self {
        Self {
            reasons: [const { AtomicU64::new(0) }; Reason::COUNT],
            limits: [const { AtomicU64::new(0) }; Limit::COUNT],
            malformed: [const { (OnceLock::new(), AtomicU64::new(0)) }; MALFORMED_MAX],
        }
    }
}

impl RefusedCounters {
    /// Counts one request or connection that was refused or ended.
    #[inline]
    pub fn record(&self, reason: Reason) {
        if let Some(count) = self.reasons.get(reason as usize) {
            add(count, 1);
        }
    }

    /// Counts one connection, stream or request that reached a limit.
    #[inline]
    pub fn reached(&self, limit: Limit) {
        if let Some(count) = self.limits.get(limit as usize) {
            add(count, 1);
        }
    }

    /// Counts one message that is malformed in the way of this name, of which there are few.
    pub fn malformed(&self, problem: &'static str) {
        let place = self.malformed.iter().find(|(name, _)| *name.get_or_init(|| problem) == problem);
        if let Some((_, count)) = place {
            add(count, 1);
        }
    }
}

/// Limits that were reached, and how often.
pub fn limits_reached(slots: &WorkerSlots<RefusedCounters>) -> Vec<(Limit, u64)> {
    Limit::ALL
        .into_iter()
        .map(|limit| (limit, sum(slots.iter().filter_map(|slot| slot.limits.get(limit as usize)))))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// In what ways messages were malformed, by name, and how often.
pub fn malformed(slots: &WorkerSlots<RefusedCounters>) -> BTreeMap<&'static str, u64> {
    let mut problems = BTreeMap::new();
    for (name, count) in slots.iter().flat_map(|slot| &slot.malformed) {
        if let Some(name) = name.get() {
            *problems.entry(*name).or_default() += count.load(Ordering::Relaxed);
        }
    }
    problems
}

/// Refusals by reason, the ones that happened.
pub fn refusals(slots: &WorkerSlots<RefusedCounters>) -> Vec<(Reason, u64)> {
    Reason::ALL
        .into_iter()
        .map(|reason| (reason, sum(slots.iter().filter_map(|slot| slot.reasons.get(reason as usize)))))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn sum<'a>(counters: impl Iterator<Item = &'a AtomicU64>) -> u64 {
    counters.map(|counter| counter.load(Ordering::Relaxed)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert!(size_of::<FrontendCounters>() <= 600, "{}", size_of::<FrontendCounters>());
        assert!(size_of::<WorkerSlots<FrontendCounters>>() <= 32);
    }

    #[test]
    fn slots_are_made_on_first_use() {
        let slots: WorkerSlots<ListenerCounters> = WorkerSlots::new(4);
        assert_eq!(slots.iter().count(), 0);
        slots.at(2).opened();
        slots.at(2).opened();
        slots.at(0).opened();
        slots.at(0).closed();
        assert_eq!(slots.iter().count(), 2);
        assert_eq!(listener_connections(&slots), (3, 2));
        slots.at(99).opened();
        slots.at(3).opened();
        assert_eq!(slots.iter().count(), 3);
    }

    #[test]
    fn a_request_is_counted_by_code_and_bucket() {
        let cases: &[(u64, usize)] =
            &[(0, 0), (500, 0), (501, 1), (1_000, 1), (59_999_999, 15), (60_000_000, 15), (60_000_001, 16)];
        for (micros, bucket) in cases {
            let slots = WorkerSlots::<FrontendCounters>::new(1);
            slots.at(0).record(200, *micros);
            let total = FrontendTotals::of(&slots);
            assert_eq!(total.durations.buckets.iter().position(|n| *n == 1), Some(*bucket), "{micros}");
            assert_eq!((total.durations.count(), total.durations.sum_micros), (1, *micros));
        }
    }

    #[test]
    fn codes_beyond_the_limit_are_counted_together() {
        let slots = WorkerSlots::<FrontendCounters>::new(2);
        for status in 200..230 {
            slots.at(0).record(status, 1);
            slots.at(0).record(status, 1);
        }
        slots.at(1).record(200, 1);
        let total = FrontendTotals::of(&slots);
        assert_eq!(total.codes.len(), CODES_MAX);
        assert_eq!(total.codes.first(), Some(&(200, 3)));
        assert_eq!(total.further, 12);
        assert_eq!(total.requests(), 61);
    }

    #[test]
    fn outcomes_and_refusals_name_what_happened() {
        let backend = WorkerSlots::<BackendCounters>::new(2);
        for status in [200, 204, 503, 42, 600] {
            backend.at(0).record(Outcome::Status(status), 10);
        }
        backend.at(1).record(Outcome::Failed(Reason::ConnectFailed), 10);
        backend.at(1).record(Outcome::Failed(Reason::ClientGone), 10);
        assert_eq!(BackendTotals::of(&backend), BackendTotals { attempts: 7, failures: 2, micros: 70 });
        assert_eq!(
            backend_outcomes(&backend),
            [("other", 2), ("2xx", 2), ("5xx", 1), ("connect_failed", 1), ("client_gone", 1)]
        );
        let refused = WorkerSlots::<RefusedCounters>::new(1);
        refused.at(0).record(Reason::NoRoute);
        assert_eq!(refusals(&refused), [(Reason::NoRoute, 1)]);
        refused.at(0).reached(Limit::HeadTime);
        refused.at(0).malformed("host");
        refused.at(0).malformed("target");
        refused.at(0).malformed("host");
        assert_eq!(limits_reached(&refused), [(Limit::HeadTime, 1)]);
        assert_eq!(malformed(&refused), BTreeMap::from([("host", 2), ("target", 1)]));
    }
}
