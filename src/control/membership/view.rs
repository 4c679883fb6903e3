//! What a member says of backends and flips.

use super::super::Control;
use crate::flip::OpenFlip;
use crate::flip::record::{BackendView, FlipView, LISTED_MAX, Phase, Totals, Warmth};
use crate::model::{BackendId, FrontendId, Revision, ServerId};
use crate::table::Table;
use crate::telemetry::BackendTotals;
use crate::upstream::{Backend, Server, Standing};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long the servers of a new side get to be reached.
const WARM_WITHIN: Duration = Duration::from_secs(2);
/// Backends that are told of beside those of flips.
const MORE_BACKENDS_MAX: usize = 256;
/// Every how often totals are kept for the last minute.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// The samples of one minute, and one before it.
const SAMPLES_MAX: usize = 7;
/// Backends whose totals are kept.
const SAMPLED_MAX: usize = 10_000;

/// How soon servers that could not be reached are tried again while a flip waits for them.
const WARM_AGAIN: Duration = Duration::from_millis(250);

/// What getting ready for a backend came to: flip and backend, the form of it, and which of its servers were reached.
pub(super) type Warmed = ((String, String), Ready);

/// A form of a backend, and which of its servers were reached.
pub(super) struct Ready {
    backend: Arc<Backend>,
    reached: BTreeMap<ServerId, Result<(), String>>,
}

/// That a form of a backend was made ready, or is being.
struct Asked {
    backend: Arc<Backend>,
    at: Instant,
    is_done: bool,
}

/// What is remembered from one report to the next.
pub(super) struct Memory {
    /// Backends of open flips: one that was deleted, or deleted and made anew, still has its requests.
    held: HashMap<String, Vec<Arc<Backend>>>,
    /// Since which revision nothing in force names them.
    unnamed_since: HashMap<String, Revision>,
    /// By flip and backend.
    asked: HashMap<(String, String), Asked>,
    ready: HashMap<(String, String), Ready>,
    samples: HashMap<BackendId, VecDeque<Totals>>,
    sampled_at: Instant,
    warmed: mpsc::UnboundedSender<Warmed>,
}

impl Memory {
    pub(super) fn new(now: Instant) -> (Self, mpsc::UnboundedReceiver<Warmed>) {
        let (warmed, receiver) = mpsc::unbounded_channel();
        let memory = Self {
            held: HashMap::new(),
            unnamed_since: HashMap::new(),
            asked: HashMap::new(),
            ready: HashMap::new(),
            samples: HashMap::new(),
            sampled_at: now,
            warmed,
        };
        (memory, receiver)
    }

    /// A backend is as ready as it will be for now.
    pub(super) fn note_warmed(&mut self, (key, ready): Warmed) {
        if let Some(asked) = self.asked.get_mut(&key).filter(|it| Arc::ptr_eq(&it.backend, &ready.backend)) {
            asked.is_done = true;
            self.ready.insert(key, ready);
        }
    }

    /// Gets ready for what open flips move traffic to, and forgets flips that are over.
    pub(super) fn prepare(
        &mut self,
        control: &Control,
        flips: &[OpenFlip],
        watched: &BTreeSet<String>,
        now: Instant,
    ) {
        let is_open = |id: &String| flips.iter().any(|open| open.flip.id == *id);
        self.asked.retain(|(flip, _), _| is_open(flip));
        self.ready.retain(|(flip, _), _| is_open(flip));
        let concerns = |id: &str| {
            watched.contains(id)
                || flips
                    .iter()
                    .any(|open| open.flip.old_side().contains(id) || open.flip.new_side().contains(id))
        };
        self.held.retain(|id, _| concerns(id));
        self.unnamed_since.retain(|id, _| concerns(id));
        let table = control.board().table();
        for open in flips.iter().filter(|open| open.flip.phase == Phase::Prepare) {
            for id in open.flip.new_side() {
                let key = (open.flip.id.clone(), id.to_owned());
                let Some(backend) = look_up(&table, id) else {
                    self.asked.remove(&key);
                    self.ready.remove(&key);
                    continue;
                };
                let is_reached =
                    self.ready.get(&key).is_some_and(|it| it.reached.values().all(Result::is_ok));
                let is_asked = self.asked.get(&key).is_some_and(|it| {
                    let again = it.is_done && !is_reached && now.duration_since(it.at) >= WARM_AGAIN;
                    Arc::ptr_eq(&it.backend, &backend) && !again
                });
                if is_asked {
                    continue;
                }
                self.asked.insert(key.clone(), Asked { backend: backend.clone(), at: now, is_done: false });
                let (board, warmed) = (control.board().clone(), self.warmed.clone());
                tokio::spawn(async move {
                    let reached = board.warm(&backend, WARM_WITHIN).await;
                    // Nobody listens once the process ends.
                    let _ = warmed.send((key, Ready { backend, reached }));
                });
            }
        }
    }

    /// What to say of flips.
    pub(super) fn flips(&self, control: &Control, flips: &[OpenFlip]) -> BTreeMap<String, FlipView> {
        let table = control.board().table();
        let mut views = BTreeMap::new();
        for OpenFlip { flip, .. } in flips {
            let mut view = FlipView::default();
            if flip.phase == Phase::Prepare {
                for id in flip.new_side() {
                    // How its servers stand is asked each time: checks may have answered since they were reached.
                    let warmth = match self.ready.get(&(flip.id.clone(), id.to_owned())) {
                        Some(ready) => warmth(&ready.backend, &ready.reached),
                        None if look_up(&table, id).is_none() => Warmth::default(),
                        None => continue,
                    };
                    view.prepared.insert(id.to_owned(), warmth);
                }
                let baselines = flip.old_side().into_iter().filter_map(|id| self.last_minute(&table, id));
                view.baseline = baselines.fold(Totals::default(), Totals::plus);
            } else {
                let stuck = flip.targets.iter().filter(|target| {
                    let from: BTreeSet<&str> = target.from.iter().map(String::as_str).collect();
                    let to: BTreeSet<&str> = target.to.iter().map(String::as_str).collect();
                    let led = leads_to(&table, &target.target);
                    from != to && led.iter().map(|id| id.as_str()).eq(from.iter().copied())
                });
                view.not_in_force = stuck.take(LISTED_MAX).map(|target| target.target.clone()).collect();
            }
            views.insert(flip.id.clone(), view);
        }
        views
    }

    /// What to say of the backends of flips.
    pub(super) fn backends(
        &mut self,
        control: &Control,
        flips: &[OpenFlip],
        watched: &BTreeSet<String>,
        quiet: Revision,
    ) -> BTreeMap<String, BackendView> {
        let table = control.board().table();
        let mut views = BTreeMap::new();
        let of_flips =
            flips.iter().flat_map(|open| open.flip.old_side().into_iter().chain(open.flip.new_side()));
        for id in of_flips.chain(watched.iter().map(String::as_str)) {
            if views.contains_key(id) {
                continue;
            }
            if let Some(backend) = look_up(&table, id) {
                let held = self.held.entry(id.to_owned()).or_default();
                // Forms of one backend count together, and so have the same counters.
                held.retain(|old| old.in_flight() > 0 && !std::ptr::eq(old.counters(), backend.counters()));
                held.push(backend);
            }
            let (named, at) = match BackendId::try_from(id) {
                Ok(id) => control.naming(&id),
                Err(_) => (false, Revision(0)),
            };
            if named {
                self.unnamed_since.remove(id);
            } else {
                self.unnamed_since.entry(id.to_owned()).or_insert(at);
            }
            let free = self.unnamed_since.get(id).is_some_and(|since| quiet >= *since);
            let held = self.held.get(id).map(Vec::as_slice).unwrap_or_default();
            let view = match held.split_last() {
                Some((newest, others)) => {
                    let mut view = seen(newest);
                    view.in_flight += others.iter().map(|old| u64::from(old.in_flight())).sum::<u64>();
                    view
                }
                None => BackendView::default(),
            };
            views.insert(id.to_owned(), BackendView { named, free, ..view });
        }
        views
    }

    /// Backends that nothing names but that have requests open.
    pub(super) fn leftovers(control: &Control) -> BTreeMap<String, BackendView> {
        let table = control.board().table();
        let left = table.backends().filter(|it| it.in_flight() > 0 && !control.naming(&it.id).0);
        left.take(MORE_BACKENDS_MAX).map(|backend| (backend.id.to_string(), seen(backend))).collect()
    }

    /// Keeps totals for the last minute, when it is time to.
    pub(super) fn sample(&mut self, control: &Control, now: Instant) {
        if now < self.sampled_at {
            return;
        }
        self.sampled_at = now + SAMPLE_EVERY;
        let table = control.board().table();
        let mut samples = HashMap::new();
        for backend in table.backends() {
            let totals = totals(backend);
            if totals.attempts == 0 || samples.len() >= SAMPLED_MAX {
                continue;
            }
            // One that had nothing before has its first minute now.
            let mut kept =
                self.samples.remove(&backend.id).unwrap_or_else(|| VecDeque::from([Totals::default()]));
            if kept.len() >= SAMPLES_MAX {
                kept.pop_front();
            }
            kept.push_back(totals);
            samples.insert(backend.id.clone(), kept);
        }
        self.samples = samples;
    }

    fn last_minute(&self, table: &Table, id: &str) -> Option<Totals> {
        let backend = look_up(table, id)?;
        let before = self.samples.get(&backend.id).and_then(|kept| kept.front()).copied().unwrap_or_default();
        Some(totals(&backend).since(before))
    }
}

fn look_up(table: &Table, id: &str) -> Option<Arc<Backend>> {
    table.backend(&BackendId::try_from(id).ok()?).cloned()
}

fn totals(backend: &Backend) -> Totals {
    let BackendTotals { attempts, failures, micros } = BackendTotals::of(backend.counters());
    Totals { attempts, failures, micros }
}

/// Whether a server is to be counted as well, as far as checks and requests tell.
fn is_well(server: &Server) -> bool {
    server.standing(Instant::now().into_std()) == Standing::Well
}

fn seen(backend: &Backend) -> BackendView {
    let (active, well): (Vec<_>, Vec<_>) =
        backend.servers().iter().filter(|server| server.takes_requests()).map(|it| (it, is_well(it))).unzip();
    let unwell =
        active.iter().zip(&well).filter(|(_, well)| !**well).map(|(server, _)| server.id.to_string());
    BackendView {
        active: count(active.len()),
        well: count(well.iter().filter(|well| **well).count()),
        unwell: unwell.take(LISTED_MAX).collect(),
        in_flight: u64::from(backend.in_flight()),
        named: false,
        free: false,
        totals: totals(backend),
    }
}

fn warmth(backend: &Backend, reached: &BTreeMap<ServerId, Result<(), String>>) -> Warmth {
    let mut warmth = Warmth::default();
    for server in backend.servers().iter().filter(|server| server.takes_requests()) {
        warmth.active += 1;
        let reason = match reached.get(&server.id) {
            Some(Ok(())) if is_well(server) => {
                warmth.well += 1;
                continue;
            }
            Some(Ok(())) => "its checks say that it is not well".to_owned(),
            Some(Err(reason)) => reason.clone(),
            None => "it was not asked".to_owned(),
        };
        if warmth.unwell.len() < LISTED_MAX {
            warmth.unwell.insert(server.id.to_string(), reason);
        }
    }
    warmth
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The backends that a target in force leads to. One that is not in force leads nowhere.
fn leads_to(table: &Table, target: &str) -> BTreeSet<BackendId> {
    match target.split_once('/') {
        Some(("frontend", id)) => {
            let frontend = FrontendId::try_from(id).ok().and_then(|id| table.frontend(&id).cloned());
            frontend.iter().flat_map(|it| it.object.backends().cloned()).collect()
        }
        Some((_, id)) => look_up(table, id).map(|backend| backend.id.clone()).into_iter().collect(),
        None => BTreeSet::new(),
    }
}
