//! A backend as requests see it: its servers, how they stand, and what of all that outlives tables.

use super::budget::Budget;
use super::circuit::{Circuit, ConnectionPermit, Full, PendingPermit};
use super::connect::Connector;
use super::known::Checked;
use super::outlier::{Cause, Observation, may_eject};
use super::ring::Ring;
use super::server::{Birth, Server, Standing};
use super::view::{Rules, View};
use crate::meter::millis;
use crate::model::{self, BackendId, BackendSettings, Policy, Scheme};
use crate::telemetry::{BackendCounters, WorkerSlots};
use crate::tls::Certificate;
use arc_swap::ArcSwapOption;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

/// A named group of servers.
#[derive(Debug)]
pub struct Backend {
    /// From the key.
    pub id: BackendId,
    /// How its servers are spoken to.
    pub settings: Arc<BackendSettings>,
    /// Shown to servers that ask for one.
    pub certificate: Option<Arc<Certificate>>,
    pub(super) servers: Vec<Arc<Server>>,
    connector: Connector,
    /// Only for the policy `hash`.
    pub(super) ring: Option<Arc<Ring>>,
    /// Servers by hash, only where there are sticky cookies.
    by_hash: Box<[(u64, u16)]>,
    /// The servers that get requests, as they were last worked out.
    view: ArcSwapOption<View>,
    identity: Arc<Identity>,
}

/// What of a backend outlives tables.
#[derive(Debug)]
struct Identity {
    counters: WorkerSlots<BackendCounters>,
    /// One turn counter a worker, so that workers do not contend; they start apart.
    turns: Box<[AtomicU32]>,
    in_flight: AtomicU32,
    circuit: Arc<Circuit>,
    budget: Budget,
    /// Counts changes of servers' standings: views of an older epoch are made anew.
    epoch: AtomicU64,
    /// Held by who ejects, so that together they do not eject too many.
    ejecting: Mutex<()>,
}

/// How many servers stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthCounts {
    /// Those that the store lets have requests; the sum of the next four.
    pub active: usize,
    /// [`Standing::Well`]
    pub well: usize,
    /// [`Standing::Unknown`]
    pub unknown: usize,
    /// [`Standing::Unwell`]
    pub unwell: usize,
    /// [`Standing::Ejected`]
    pub ejected: usize,
    /// [`Standing::Draining`], and those of weight 0.
    pub draining: usize,
    /// [`Standing::Disabled`]
    pub disabled: usize,
}

impl Backend {
    /// The backend of `servers`, in order of their ids, with the identity of `previous` and of those of its servers
    /// that stay. `certificate` is the one that goes with the settings' key pair.
    pub fn compile<'s>(
        id: &BackendId,
        settings: Arc<BackendSettings>,
        certificate: Option<&Arc<Certificate>>,
        servers: impl Iterator<Item = &'s model::Server>,
        previous: Option<&Backend>,
        workers: usize,
    ) -> Self {
        let identity = match previous {
            Some(previous) => previous.identity.clone(),
            None => Arc::new(Identity {
                counters: WorkerSlots::new(workers),
                turns: (0..workers).map(|worker| AtomicU32::new(worker as u32)).collect(),
                in_flight: AtomicU32::new(0),
                circuit: Arc::default(),
                budget: Budget::default(),
                epoch: AtomicU64::new(0),
                ejecting: Mutex::default(),
            }),
        };
        let before = |server: &model::Server| {
            let servers = &previous?.servers;
            let place = servers.binary_search_by(|old| old.id.cmp(&server.id)).ok()?;
            servers.get(place).map(|old| &**old)
        };
        let birth = Birth {
            circuit: &identity.circuit,
            checked: settings.health.is_some(),
            with_backend: previous.is_none_or(|previous| previous.servers.is_empty()),
            workers,
        };
        let servers: Vec<_> =
            servers.map(|server| Arc::new(Server::compile(server, before(server), &birth))).collect();
        for old in previous.iter().flat_map(|previous| &previous.servers) {
            let place = servers.binary_search_by(|server| server.id.cmp(&old.id)).ok();
            let stays =
                place.and_then(|place| servers.get(place)).is_some_and(|it| it.number() == old.number());
            if !stays {
                old.leave();
            }
        }
        let ring = matches!(settings.balance.policy, Policy::Hash(_)).then(|| {
            let weight = |server: &Server| if server.takes_requests() { server.weight } else { 0 };
            let points: Box<[_]> = servers.iter().map(|server| (server.hash, weight(server))).collect();
            let same = previous.and_then(|previous| previous.ring.clone());
            same.filter(|ring| ring.is_of(&points)).unwrap_or_else(|| Arc::new(Ring::new(points)))
        });
        let mut by_hash = Vec::new();
        if settings.sticky.is_some() {
            by_hash.extend(servers.iter().map(|server| server.hash).zip(0..=u16::MAX));
            by_hash.sort_unstable();
        }
        let secure = servers.iter().any(|server| server.url.scheme == Scheme::Https);
        let before = previous.map(|previous| &previous.connector);
        let connector = Connector::new(&settings, certificate, secure, before);
        let certificate = certificate.cloned();
        let (by_hash, view) = (by_hash.into(), ArcSwapOption::empty());
        Self { id: id.clone(), settings, certificate, servers, connector, ring, by_hash, view, identity }
    }

    /// How its servers are connected to.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// No table has it any more, nor any of its servers.
    pub fn leave(&self) {
        self.servers.iter().for_each(|server| server.leave());
    }

    /// All its servers, by id, also those that get no requests.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// The server of this [`number`](Server::number).
    pub fn server(&self, number: u64) -> Option<&Arc<Server>> {
        self.servers.iter().find(|server| server.number() == number)
    }

    /// The turn counter of a worker.
    pub(super) fn turns(&self, worker: usize) -> Option<&AtomicU32> {
        self.identity.turns.get(worker)
    }

    pub(super) fn index_of_hash(&self, hash: u64) -> Option<u16> {
        let place = self.by_hash.binary_search_by_key(&hash, |(hash, _)| *hash).ok()?;
        self.by_hash.get(place).map(|(_, index)| *index)
    }

    /// Looks at who gets requests at `now`, which is worked out anew where something changed since.
    pub(super) fn with_view<T>(&self, now: u64, look: impl FnOnce(&View) -> T) -> T {
        // Read before the standings are: a change that comes between makes another view, and is never missed.
        let epoch = self.identity.epoch.load(Ordering::Acquire);
        let cached = self.view.load();
        if let Some(view) = cached.as_deref().filter(|view| view.epoch == epoch && now < view.valid_until) {
            return look(view);
        }
        let rules = Rules {
            panic_percent: self.settings.outlier.panic_percent,
            slow_start: self.settings.slow_start,
            zone: None,
        };
        let view = Arc::new(View::build(&self.servers, &rules, epoch, now));
        self.view.store(Some(view.clone()));
        look(&view)
    }

    /// A server's standing changed.
    fn turn_epoch(&self) {
        self.identity.epoch.fetch_add(1, Ordering::Release);
    }

    /// Whether `server` gets requests now.
    pub fn is_eligible(&self, server: &Server, now: Instant) -> bool {
        let place = self.servers.iter().position(|other| other.number() == server.number());
        let index = place.and_then(|place| u16::try_from(place).ok());
        let eligible = index.is_some_and(|index| self.with_view(millis(now), |view| view.is_eligible(index)));
        eligible && server.takes_requests()
    }

    /// How many of its servers stand how.
    pub fn health(&self, now: Instant) -> HealthCounts {
        let mut counts = HealthCounts::default();
        for server in &self.servers {
            let standing = server.standing(now);
            if server.takes_requests() {
                counts.active += 1;
            }
            *match standing {
                Standing::Disabled => &mut counts.disabled,
                Standing::Draining => &mut counts.draining,
                _ if server.weight == 0 => &mut counts.draining,
                Standing::Well => &mut counts.well,
                Standing::Unknown => &mut counts.unknown,
                Standing::Unwell => &mut counts.unwell,
                Standing::Ejected => &mut counts.ejected,
            } += 1;
        }
        counts
    }

    /// Takes in how an attempt at `server` went, and how long it took to its answer's head or its failure.
    pub fn observe(&self, server: &Server, now: Instant, outcome: Observation, latency: Duration) {
        let (now, rules) = (millis(now), &self.settings.outlier);
        let failed = match outcome {
            Observation::Answered(status) => rules.statuses.contains(status),
            Observation::ConnectFailed | Observation::Failed => true,
        };
        if self.settings.balance.policy == Policy::PeakEwma {
            server.identity.latency.observe(now, latency, failed);
        }
        if let Some(cause) = server.identity.ejection.note(now, outcome, failed, rules) {
            self.eject(server, cause, now);
        }
    }

    /// Leaves `server` out for a while, if enough others are left.
    fn eject(&self, server: &Server, cause: Cause, now: u64) {
        let _alone = match self.identity.ejecting.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Its next failures ask again.
            Err(TryLockError::WouldBlock) => return,
        };
        let (mut active, mut ejected, mut others) = (0, 0, 0);
        for other in self.servers.iter().filter(|other| other.takes_requests()) {
            active += 1;
            match other.standing_at(now) {
                // Another worker was first.
                Standing::Ejected if other.number() == server.number() => return,
                _ if other.number() == server.number() => {}
                Standing::Well | Standing::Unknown => others += 1,
                Standing::Ejected => ejected += 1,
                _ => {}
            }
        }
        if !may_eject(active, ejected, others, self.settings.outlier.ejected_percent_max) {
            return;
        }
        let time = server.identity.ejection.eject(now, &self.settings.outlier);
        self.turn_epoch();
        tracing::info!(backend = %self.id, server = %server.id, %cause, ?time, "server ejected");
    }

    /// Takes in a check's answer. Returns how the server stands by its checks where that changed:
    /// [`Standing::Well`] or [`Standing::Unwell`]. To be called by one checker for a server at a time.
    pub fn note_check(&self, server: &Server, good: bool) -> Option<Standing> {
        let check = self.settings.health.as_ref()?;
        let changed = server.identity.known.note(good, check.rise, check.fall)?;
        if changed == Checked::Unwell {
            server.ended_well();
        }
        self.turn_epoch();
        Some(if changed == Checked::Well { Standing::Well } else { Standing::Unwell })
    }

    /// Forgets what checks said of `server`: there are none any more.
    pub fn forget_checks(&self, server: &Server) {
        server.identity.known.forget();
        self.turn_epoch();
    }

    /// Counts a connection to `server` that is about to be made, where the backend's limits allow one more. The permit
    /// is to be kept with the connection.
    pub fn connection_permit(&self, server: &Arc<Server>) -> Option<ConnectionPermit> {
        server.identity.connections.permit(&self.settings.limits)
    }

    /// Lines up for a connection.
    ///
    /// # Errors
    /// As many as may wait already.
    pub fn wait_for_permit(&self) -> Result<PendingPermit, Full> {
        self.identity.circuit.line_up(self.settings.limits.pending)
    }

    /// Connections to all its servers that are open or being made, over all workers and tables, idle ones included.
    pub fn connections(&self) -> u32 {
        self.identity.circuit.open()
    }

    /// Requests that wait for a connection.
    pub fn pending(&self) -> u32 {
        self.identity.circuit.waiting()
    }

    /// Counts a request for the budget of further attempts.
    pub fn note_request(&self, now: Instant) {
        self.identity.budget.note_request(now);
    }

    /// Whether a request may be sent once more: further attempts are at most [`model::Retry::budget_percent`] of the
    /// requests of the last ten seconds or so, and [`model::Retry::budget_min`] a second. Takes one from the budget if so.
    pub fn may_retry(&self, retry: &model::Retry, now: Instant) -> bool {
        self.identity.budget.take(retry, now)
    }

    /// Kept over tables as long as the backend exists.
    pub fn counters(&self) -> &WorkerSlots<BackendCounters> {
        &self.identity.counters
    }

    /// Requests that have not ended, over all workers and tables.
    pub fn in_flight(&self) -> u32 {
        self.identity.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request until the guard is dropped.
    pub fn enter(&self) -> BackendGuard {
        self.identity.in_flight.fetch_add(1, Ordering::Relaxed);
        BackendGuard(self.identity.clone())
    }
}

/// One request in flight to a backend.
#[derive(Debug)]
pub struct BackendGuard(Arc<Identity>);

impl Drop for BackendGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
