//! The one place where a table is swapped, and what workers and the control plane tell each other around it.

use super::Table;
use crate::model::{Problem, Revision, RouteOrder, ServerId};
use crate::upstream::Backend;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Notes that wait for a worker; one that does not answer for so many swaps is behind on everything else too, and the
/// publisher waits for it.
const INBOX_NOTES_MAX: usize = 64;

/// A generation beyond all others: nobody waits for who has ended.
const ENDED: u64 = u64::MAX;

/// What a worker without requests that can still begin an attempt says to [`Board::live_from`].
pub const NOBODY_LIVE: u64 = u64::MAX;

/// What a worker is told.
#[derive(Debug, Clone)]
pub enum Note {
    /// A table was swapped in; answer with [`Board::acknowledge`] after loading it.
    Swapped {
        /// Counts swaps.
        generation: u64,
    },
    /// Get ready for requests to a backend: connect to each of its servers, and say how that went.
    Warm(Warm),
    /// Close idle connections to the server of this [`number`](crate::upstream::Server::number): others wait for one.
    CloseIdle(u64),
}

/// A backend that is to be made ready.
#[derive(Debug, Clone)]
pub struct Warm {
    /// Whose servers.
    pub backend: Arc<Backend>,
    /// Takes one answer for each server: ready, or why not.
    pub done: mpsc::UnboundedSender<(ServerId, Result<(), String>)>,
}

/// A worker's end of its queue of notes.
pub type Inbox = mpsc::Receiver<Note>;

/// How far all workers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Every worker uses a table of this revision or later. Before the first table: 0.
    pub served: Revision,
    /// Counts swaps; 0 before the first table.
    pub generation: u64,
    /// No live request that loaded a table older than this revision can still begin an attempt.
    pub quiet: Revision,
}

/// What a runtime problem is about; one problem a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// Key of the object, or empty.
    pub key: String,
    /// Tells apart problems of one object.
    pub aspect: &'static str,
}

/// The table in force and what stands around it. Shared by all threads.
pub struct Board {
    table: ArcSwap<Table>,
    generation: AtomicU64,
    inboxes: Vec<mpsc::Sender<Note>>,
    acknowledged: Vec<AtomicU64>,
    /// By worker: the oldest generation with a request that can still begin an attempt.
    live_from: Vec<AtomicU64>,
    /// As `acknowledged`, by whoever opens listeners.
    listeners_ready: AtomicU64,
    revisions: Mutex<BTreeMap<u64, Revision>>,
    marks: watch::Sender<Marks>,
    swaps: watch::Sender<u64>,
    problems: Mutex<BTreeMap<Topic, Problem>>,
}

impl Board {
    /// A board over an empty table, with the inbox of each of `workers` workers.
    pub fn new(workers: usize) -> (Arc<Self>, Vec<Inbox>) {
        Self::over(workers, Table::empty(workers))
    }

    /// As [`new`](Self::new), for tables that prefer routes in this order.
    pub fn with_order(workers: usize, order: RouteOrder) -> (Arc<Self>, Vec<Inbox>) {
        Self::over(workers, Table::with_order(workers, order))
    }

    fn over(workers: usize, table: Table) -> (Arc<Self>, Vec<Inbox>) {
        let (inboxes, receivers) = (0..workers).map(|_| mpsc::channel(INBOX_NOTES_MAX)).unzip();
        let board = Self {
            table: ArcSwap::from_pointee(table),
            generation: AtomicU64::new(0),
            inboxes,
            acknowledged: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            live_from: (0..workers).map(|_| AtomicU64::new(NOBODY_LIVE)).collect(),
            listeners_ready: AtomicU64::new(ENDED),
            revisions: Mutex::default(),
            marks: watch::Sender::new(Marks::default()),
            swaps: watch::Sender::new(0),
            problems: Mutex::default(),
        };
        (Arc::new(board), receivers)
    }

    /// The pointer that workers cache.
    pub fn pointer(&self) -> &ArcSwap<Table> {
        &self.table
    }

    /// The table in force.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.inboxes.len()
    }

    /// Swaps the table in and tells every worker. From its return on, no request loads an older table; that every
    /// worker is past the older ones is what [`Marks`] say later. Tables are published by one task alone.
    pub async fn publish(&self, mut table: Table) -> u64 {
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        lock(&self.revisions).insert(generation, table.revision);
        table.generation = generation;
        let previous = self.table.swap(Arc::new(table));
        self.generation.store(generation, Ordering::Release);
        self.swaps.send_replace(generation);
        for inbox in &self.inboxes {
            // A worker whose inbox is gone has ended, and serves nothing.
            let _ = inbox.send(Note::Swapped { generation }).await;
        }
        drop(previous);
        generation
    }

    /// From now on marks wait for [`listeners_follow`](Self::listeners_follow), too.
    pub fn await_listeners(&self) {
        self.listeners_ready.store(0, Ordering::Release);
    }

    /// The listeners of `generation` accept connections, or it was reported why not.
    pub fn listeners_follow(&self, generation: u64) {
        self.listeners_ready.fetch_max(generation, Ordering::AcqRel);
        self.raise_marks();
    }

    /// A worker says that it loads `generation` or later from now on.
    pub fn acknowledge(&self, worker: usize, generation: u64) {
        if let Some(slot) = self.acknowledged.get(worker) {
            slot.fetch_max(generation, Ordering::AcqRel);
        }
        self.raise_marks();
    }

    /// A worker says which is the oldest generation that a live request of its own loaded and can still begin an attempt
    /// with; [`NOBODY_LIVE`]: there is none. It says so before it acknowledges a younger one, and when that changes.
    pub fn live_from(&self, worker: usize, generation: u64) {
        let ended = self.acknowledged.get(worker).is_none_or(|slot| slot.load(Ordering::Acquire) == ENDED);
        if let Some(slot) = self.live_from.get(worker).filter(|_| !ended) {
            slot.store(generation, Ordering::Release);
        }
        self.raise_marks();
    }

    fn raise_marks(&self) {
        // Under one lock, so that marks never fall.
        let mut revisions = lock(&self.revisions);
        let lowest = |slots: &mut dyn Iterator<Item = &AtomicU64>| {
            slots.map(|slot| slot.load(Ordering::Acquire)).min().unwrap_or(0)
        };
        let acknowledged = lowest(&mut self.acknowledged.iter());
        let served = acknowledged.min(self.listeners_ready.load(Ordering::Acquire));
        let quiet = acknowledged.min(lowest(&mut self.live_from.iter()));
        let of = |generation: u64| revisions.range(..=generation).next_back().map(|(_, it)| *it);
        let (served_revision, quiet_revision) = (revisions.get(&served).copied(), of(quiet));
        // Of what has ended nothing is left to be told.
        let needed = served.min(quiet).min(self.generation.load(Ordering::Acquire));
        if let Some((oldest, _)) = revisions.range(..=needed).next_back() {
            let oldest = *oldest;
            *revisions = revisions.split_off(&oldest);
        }
        self.marks.send_if_modified(|marks| {
            let before = *marks;
            if let Some(served_revision) = served_revision.filter(|_| marks.generation < served) {
                (marks.served, marks.generation) = (served_revision, served);
            }
            if let Some(quiet_revision) = quiet_revision {
                marks.quiet = quiet_revision;
            }
            *marks != before
        });
    }

    /// Lets every worker connect to each server of `backend`, at most `within` long. Says of each server that gets requests
    /// whether all workers reached it; a worker that is not done in time has not.
    pub async fn warm(
        &self,
        backend: &Arc<Backend>,
        within: Duration,
    ) -> BTreeMap<ServerId, Result<(), String>> {
        let (done, mut answers) = mpsc::unbounded_channel();
        let mut missing: BTreeMap<ServerId, usize> = BTreeMap::new();
        for server in backend.servers().iter().filter(|server| server.takes_requests()) {
            missing.insert(server.id.clone(), self.inboxes.len());
        }
        let mut results: BTreeMap<ServerId, Result<(), String>> =
            missing.keys().map(|id| (id.clone(), Ok(()))).collect();
        let asked = async {
            for inbox in &self.inboxes {
                let note = Note::Warm(Warm { backend: backend.clone(), done: done.clone() });
                // A worker whose inbox is gone has ended.
                let _ = inbox.send(note).await;
            }
            drop(done);
            while let Some((server, answer)) = answers.recv().await {
                if let Some(count) = missing.get_mut(&server) {
                    *count = count.saturating_sub(1);
                }
                if let Some(result) = results.get_mut(&server)
                    && result.is_ok()
                {
                    *result = answer;
                }
            }
        };
        let _ = tokio::time::timeout(within, asked).await;
        for (server, count) in missing {
            if count > 0
                && let Some(result) = results.get_mut(&server).filter(|result| result.is_ok())
            {
                *result = Err("not connected to in time".to_owned());
            }
        }
        results
    }

    /// Tells all workers to close their idle connections to a server. One whose inbox is full has other things to do.
    pub fn close_idle(&self, server: u64) {
        for inbox in &self.inboxes {
            let _ = inbox.try_send(Note::CloseIdle(server));
        }
    }

    /// A worker has ended, and need not be waited for.
    pub fn retire(&self, worker: usize) {
        self.live_from(worker, NOBODY_LIVE);
        self.acknowledge(worker, ENDED);
    }

    /// How far all workers are; changes wake the receiver.
    pub fn marks(&self) -> watch::Receiver<Marks> {
        self.marks.subscribe()
    }

    /// Counts swaps; changes wake the receiver.
    pub fn swaps(&self) -> watch::Receiver<u64> {
        self.swaps.subscribe()
    }

    /// Lists a problem that only running shows, such as an address that is taken; replaces the topic's former one.
    pub fn report(&self, topic: Topic, problem: Problem) {
        lock(&self.problems).insert(topic, problem);
    }

    /// Takes a problem off the list.
    pub fn clear(&self, topic: &Topic) {
        lock(&self.problems).remove(topic);
    }

    /// The problems that only running showed.
    pub fn problems(&self) -> Vec<Problem> {
        lock(&self.problems).values().cloned().collect()
    }
}

/// These locks guard plain values that no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
