//! Keeps the store in step with the cluster while this process leads, and knows both as well while it does not, so that
//! it takes over warm.
//!
//! One loop: what was seen of the cluster and what the store tells are taken in as they come; then, if there is
//! something to do and the store's own word of the last write has come back, it is planned and committed, one
//! transaction after the other. Every transaction expects the leader's [epoch] and each key as it was last
//! seen. So nothing has to be guarded beyond that: who finds something changed takes in what the store says and plans
//! again, and who finds the epoch changed leads no more.

mod core;
mod work;

pub use self::core::{Core, Known};

use super::epoch::{self, Epoch};
use super::metrics::Meters;
use super::notes::{Finder, Notes};
use super::plan::Step;
use super::progress::{KindProgress, Progress};
use super::watch::Seen;
use super::world::Kind;
use crate::control::confirm;
use crate::control::image::Now;
use crate::kubernetes::Backoff;
use crate::kubernetes::lease::Leadership;
use crate::model::Revision;
use crate::store::{self, Area, Event, Feed, Store};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use work::{PAUSES, Work};

/// Most things seen that are taken in before the loop looks at anything else.
const SEEN_BATCH: usize = 4096;
/// How often a hold is shouted about.
const SHOUT_EVERY: Duration = Duration::from_secs(60);
/// An epoch that somebody else ended is begun anew only once the lease was renewed for longer than this beyond it: a
/// process that slept past its lease must not take it from the one that leads.
const RETAKE_AFTER: Duration = Duration::from_secs(10);
/// How long the running transaction may take when the process ends.
const END_MAX: Duration = Duration::from_secs(5);

/// Who takes part.
pub struct Parts {
    /// Where the objects are to stand.
    pub store: Arc<dyn Store>,
    /// What is seen of the cluster.
    pub seen: mpsc::Receiver<Seen>,
    /// Whether this process leads.
    pub leadership: watch::Receiver<Leadership>,
    /// This process's name, for people who look at the epoch.
    pub holder: String,
    /// The cluster's name.
    pub cluster: Box<str>,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// What authors in the cluster must know.
    pub notes: Notes,
    /// Whether this process writes, for those who tell the cluster of it.
    pub leads: watch::Sender<bool>,
}

/// The loop with its state.
pub struct Runner {
    core: Core,
    parts: Parts,
    routing: Feed,
    state: Feed,
    /// The routing area's feed misses nothing: else why.
    away: Option<String>,
    /// A new feed has told the whole area.
    is_listed: bool,
    epoch: Option<Epoch>,
    /// When somebody else ended the epoch.
    dethroned: Option<Instant>,
    queue: VecDeque<Vec<Step>>,
    work: Option<Work>,
    /// The image has to reach it before anything is planned: the store's own word of the last write.
    awaited: Revision,
    backoff: Backoff,
    /// What the store refuses, for people.
    refusal: Option<String>,
    shouted: Option<Instant>,
    told: watch::Sender<Progress>,
}

impl Runner {
    /// Begins to follow the store; called within a runtime. The receiver tells how things stand.
    pub fn new(core: Core, parts: Parts) -> (Self, watch::Receiver<Progress>) {
        let (told, progress) = watch::channel(Progress::default());
        let (routing, state) = (parts.store.follow(Area::Routing), parts.store.follow(Area::State));
        let away = Some("the store was not listed yet".to_owned());
        let runner = Self {
            core,
            parts,
            routing,
            state,
            away,
            is_listed: false,
            epoch: None,
            dethroned: None,
            queue: VecDeque::new(),
            work: None,
            awaited: Revision(0),
            backoff: Backoff::new(PAUSES),
            refusal: None,
            shouted: None,
            told,
        };
        (runner, progress)
    }

    /// Runs until told to stop, and finishes the transaction that is under way then.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.advance();
            self.tell();
            let wake = self.wake();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(seen) = self.parts.seen.recv() => self.see(seen),
                event = self.routing.recv() => self.follow(event),
                event = self.state.recv() => self.follow_state(event),
                ended = Work::end(&mut self.work) => self.ended(ended),
                // A lease whose task ended is told by its time.
                Ok(()) = self.parts.leadership.changed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        if self.work.is_some() {
            // Whether it took place the next leader sees.
            let _ = tokio::time::timeout(END_MAX, Work::end(&mut self.work)).await;
        }
    }

    fn see(&mut self, first: Seen) {
        self.core.see(first);
        for _ in 1..SEEN_BATCH {
            let Ok(seen) = self.parts.seen.try_recv() else { break };
            self.core.see(seen);
        }
    }

    fn follow(&mut self, event: Option<Event>) {
        let Some(event) = event else { return self.follow_anew("the store's feed ended") };
        match &event {
            Event::Snapshot(_) => {
                // A restored backup may be far behind what was awaited.
                (self.is_listed, self.awaited) = (true, Revision(0));
                self.core.follow(event);
                self.core.soil_all();
                return;
            }
            Event::Lost { reason } => {
                tracing::warn!(reason, "the store is away");
                self.away = Some(reason.clone());
            }
            Event::InSync { revision } if self.is_listed && self.away.take().is_some() => {
                tracing::info!(%revision, "the store is followed");
                self.core.soil_all();
            }
            _ => {}
        }
        self.core.follow(event);
    }

    fn follow_state(&mut self, event: Option<Event>) {
        let changes = match event {
            Some(Event::Snapshot(snapshot)) => snapshot.entries.into_iter().map(store::Change::Put).collect(),
            Some(Event::Batch(batch)) => batch.changes,
            Some(_) => return,
            None => {
                self.state = self.parts.store.follow(Area::State);
                return;
            }
        };
        for change in changes {
            let store::Change::Put(entry) = change else { continue };
            if &*entry.key == confirm::KEY
                && let Ok(confirmation) = confirm::from_slice(&entry.value)
            {
                match self.core.confirm(confirmation) {
                    0 => {}
                    count => tracing::warn!(count, "held removals were confirmed"),
                }
            }
        }
    }

    /// Begins the next thing that is to be done.
    fn advance(&mut self) {
        self.core.convert();
        let Some(until) = self.leads_until() else {
            self.core.follow_along();
            return self.resign();
        };
        if self.work.is_some() || self.backoff.waits() {
            return;
        }
        let Some(epoch) = self.epoch.clone() else {
            if self.dethroned.is_none_or(|at| until > at + RETAKE_AFTER) {
                let Parts { store, cluster, holder, .. } = &self.parts;
                self.work = Some(Work::take_epoch(store.clone(), cluster.clone(), holder.clone()));
            }
            return;
        };
        if self.away.is_some() {
            return;
        }
        if self.queue.front().is_some_and(|steps| self.core.is_outdated(steps)) {
            self.core.requeue(std::mem::take(&mut self.queue).into_iter().flatten());
        }
        let has_arrived = self.core.image().revision() >= self.awaited;
        if self.queue.is_empty() && has_arrived && self.core.has_work() {
            // The epoch is one more expectation than there are operations.
            let steps_max = self.parts.store.capabilities().operations_max.saturating_sub(1);
            self.queue = self.core.plan(Now::read(), steps_max).into();
        }
        if let Some(steps) = self.queue.pop_front() {
            self.work = Some(Work::commit(self.parts.store.clone(), &epoch, steps));
        } else if let Some(revision) = self.core.take_confirmed() {
            self.work = Some(Work::confirm(self.parts.store.clone(), &epoch, revision));
        }
    }

    /// The end of this process's leadership as it is known now.
    fn leads_until(&self) -> Option<Instant> {
        match &*self.parts.leadership.borrow() {
            Leadership::Leads { until, .. } if *until > Instant::now() => Some(*until),
            _ => None,
        }
    }

    /// Stops writing. What was planned the next leader plans for itself.
    fn resign(&mut self) {
        if self.epoch.take().is_some() {
            tracing::info!("this process no longer leads");
            self.queue.clear();
            self.core.resign();
        }
        self.dethroned = None;
    }

    fn follow_anew(&mut self, reason: &str) {
        self.away = Some(reason.to_owned());
        self.is_listed = false;
        self.routing = self.parts.store.follow(Area::Routing);
    }

    fn wake(&self) -> Instant {
        let now = Instant::now();
        let shout = self.shouted.map_or(now + SHOUT_EVERY, |at| at + SHOUT_EVERY);
        // A leadership that lapses is looked at when it does.
        let ends = [self.backoff.until(), self.leads_until()].into_iter().flatten();
        ends.filter(|at| *at > now).chain([shout.max(now)]).min().unwrap_or(shout)
    }

    /// Publishes how things stand.
    fn tell(&mut self) {
        let held = self.core.held();
        match self.shouted {
            _ if held == 0 => self.shouted = None,
            Some(at) if at.elapsed() < SHOUT_EVERY => {}
            _ => {
                self.shouted = Some(Instant::now());
                tracing::error!(
                    held,
                    "a mass removal is held: the cluster no longer wants most of what it had in the store; \
                     `flipgate confirm --store ...` lets it go, if it is meant"
                );
            }
        }
        for source in self.core.ledger().notes().take_changed() {
            let notes: BTreeSet<_> = self.core.ledger().notes().about(&source).cloned().collect();
            if self.epoch.is_some() {
                for note in &notes {
                    tracing::warn!(about = %note.about, "{}", note.sentence());
                }
            }
            self.parts.notes.replace(Finder::Sync, &source, notes);
        }
        let leads = self.epoch.is_some();
        self.parts.leads.send_if_modified(|told| std::mem::replace(told, leads) != leads);
        let (errors, warnings) = self.core.ledger().notes().counts();
        let kinds = self
            .core
            .kinds()
            .map(|(kind, objects, known)| (kind, KindProgress { objects, known: known.clone() }));
        let progress = Progress {
            leading: self.epoch.is_some(),
            kinds: kinds.collect(),
            store_away: self.away.clone(),
            refusal: self.refusal.clone(),
            revision: self.core.image().revision(),
            pending: self.core.pending()
                + self.queue.iter().map(Vec::len).sum::<usize>()
                + self.work.as_ref().map_or(0, Work::len),
            errors,
            warnings,
            held,
        };
        self.told.send_if_modified(|told| {
            let changes = *told != progress;
            if changes {
                log_kinds(&told.kinds, &progress.kinds);
            }
            *told = progress;
            changes
        });
    }
}

/// Says which kinds of objects are followed from now on, and which no longer.
fn log_kinds(before: &BTreeMap<Kind, KindProgress>, now: &BTreeMap<Kind, KindProgress>) {
    for (kind, KindProgress { objects, known }) in now {
        if before.get(kind).is_some_and(|before| before.known == *known) {
            continue;
        }
        let kind = kind.as_str();
        match known {
            Known::Not { reason: None } => {}
            Known::Not { reason: Some(reason) } => {
                tracing::warn!(kind, reason, "cannot be listed yet; nothing is written before it is");
            }
            Known::Denied { reason } => {
                tracing::warn!(kind, reason, "may not be read; all else goes on without it");
            }
            Known::Lost { reason } => {
                tracing::warn!(
                    kind,
                    reason,
                    "cannot be followed; what is known of it counts, and nothing is removed"
                );
            }
            Known::Listed => tracing::info!(kind, objects, "followed"),
        }
    }
}

#[cfg(test)]
mod tests;
