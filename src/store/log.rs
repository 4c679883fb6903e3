//! The revisions of a store that lives in this process: what both areas hold now, the latest batches, and the feeds
//! that follow them. Memory and directory are built on it.

use super::{Area, Batch, Change, Entry, Event, Feed, Snapshot};
use crate::model::Revision;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Batches kept for feeds; one that falls further behind gets a snapshot.
const HISTORY_BATCHES_MAX: usize = 1024;
/// Events that wait for one reader.
pub(super) const FEED_EVENTS_MAX: usize = 64;
/// How often a quiet feed says that it is in sync. Below the 5 s that are promised.
pub(super) const IN_SYNC_EVERY: Duration = Duration::from_secs(4);

/// The state of both areas with its recent past.
pub(super) struct Log {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// What a log holds, under its lock.
pub(super) struct State {
    /// Of the last change.
    pub(super) revision: Revision,
    /// Why the store does not answer, while it does not.
    pub(super) outage: Option<String>,
    /// Nothing is known yet; feeds wait.
    starting: bool,
    /// Raised when the past is replaced; feeds answer with a snapshot.
    epoch: u64,
    routing: BTreeMap<Box<str>, Entry>,
    state: BTreeMap<Box<str>, Entry>,
    history: VecDeque<(Area, Batch)>,
    /// The revision before the oldest batch of the history.
    history_after: Revision,
}

impl State {
    /// What an area holds.
    pub(super) fn entries(&self, area: Area) -> &BTreeMap<Box<str>, Entry> {
        match area {
            Area::Routing => &self.routing,
            Area::State => &self.state,
        }
    }

    /// Whether a key hangs on this lease.
    pub(super) fn has_lease(&self, lease: i64) -> bool {
        let mut entries = self.routing.values().chain(self.state.values());
        entries.any(|entry| entry.lease == Some(lease))
    }

    /// An area as a snapshot.
    pub(super) fn snapshot(&self, area: Area) -> Snapshot {
        Snapshot { revision: self.revision, entries: self.entries(area).values().cloned().collect() }
    }

    /// Makes `changes` visible at `revision`, which must be higher than before; no changes only move the revision.
    pub(super) fn record(&mut self, revision: Revision, changes: Vec<(Area, Change)>) {
        self.revision = revision;
        for area in [Area::Routing, Area::State] {
            let changes: Vec<Change> =
                changes.iter().filter(|(of, _)| *of == area).map(|(_, change)| change.clone()).collect();
            if changes.is_empty() {
                continue;
            }
            let entries = if area == Area::Routing { &mut self.routing } else { &mut self.state };
            for change in &changes {
                match change {
                    Change::Put(entry) => drop(entries.insert(entry.key.clone(), entry.clone())),
                    Change::Delete { key } => drop(entries.remove(key)),
                }
            }
            self.history.push_back((area, Batch { revision, changes }));
        }
        while self.history.len() > HISTORY_BATCHES_MAX {
            if let Some((_, batch)) = self.history.pop_front() {
                self.history_after = batch.revision;
            }
        }
    }

    /// Puts other contents in place, as a restored backup does; the revision may go back.
    pub(super) fn replace(&mut self, revision: Revision, routing: Vec<Entry>, state: Vec<Entry>) {
        let map = |entries: Vec<Entry>| entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        self.revision = revision;
        self.routing = map(routing);
        self.state = map(state);
        self.history.clear();
        self.history_after = revision;
        self.epoch += 1;
        self.starting = false;
    }
}

impl Log {
    /// An empty log, at revision 1 as an empty etcd is. While it is `starting`, feeds wait for its first contents or
    /// an outage.
    pub(super) fn new(starting: bool) -> Self {
        let state = State {
            revision: Revision(1),
            outage: None,
            starting,
            epoch: 0,
            routing: BTreeMap::new(),
            state: BTreeMap::new(),
            history: VecDeque::new(),
            history_after: Revision(1),
        };
        Self { state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    /// Looks, without waking anyone.
    pub(super) fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes, then wakes the feeds.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.read());
        self.changed.send_replace(());
        answer
    }

    /// A feed of one area. It holds the log, and whatever `keep` holds, until it is dropped.
    pub(super) fn follow(self: &Arc<Self>, area: Area, keep: impl Send + Sync + 'static) -> Feed {
        let (sender, feed) = mpsc::channel(FEED_EVENTS_MAX);
        let mut changed = self.changed.subscribe();
        let log = self.clone();
        tokio::spawn(async move {
            let _keep = keep;
            let mut reader = Reader::default();
            loop {
                changed.mark_unchanged();
                let events = reader.next(&log.read(), area);
                for event in events {
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    _ = changed.changed() => {}
                    () = tokio::time::sleep(IN_SYNC_EVERY) => reader.in_sync = false,
                    () = sender.closed() => return,
                }
            }
        });
        feed
    }
}

/// How far one feed has read.
#[derive(Default)]
struct Reader {
    /// Epoch and revision of the last event; none before the first.
    position: Option<(u64, Revision)>,
    lost: bool,
    in_sync: bool,
}

impl Reader {
    fn next(&mut self, state: &State, area: Area) -> Vec<Event> {
        if let Some(reason) = &state.outage {
            let first = !std::mem::replace(&mut self.lost, true);
            return if first { vec![Event::Lost { reason: reason.clone() }] } else { vec![] };
        }
        let mut events = Vec::new();
        if state.starting {
            return events;
        }
        match self.position {
            Some((epoch, revision)) if epoch == state.epoch && revision >= state.history_after => {
                let since =
                    state.history.iter().filter(|(of, batch)| *of == area && batch.revision > revision);
                events.extend(since.map(|(_, batch)| Event::Batch(batch.clone())));
            }
            _ => {
                events.push(Event::Snapshot(state.snapshot(area)));
                self.in_sync = false;
            }
        }
        self.position = Some((state.epoch, state.revision));
        if std::mem::replace(&mut self.lost, false) || !self.in_sync {
            events.push(Event::InSync { revision: state.revision });
            self.in_sync = true;
        }
        events
    }
}
