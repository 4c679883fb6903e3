//! Asks servers how they are, as their backends' `Settings.Health` says: one task a server, from the table that brings it
//! to the one that does not have it any more.
//!
//! What checks found is kept by the servers themselves, and outlives tables, changes of the check's settings and these
//! tasks; only where a backend is no longer checked it is forgotten.

use crate::model::BackendId;
use crate::model::ServerState;
use crate::table::{Board, Table};
use crate::upstream::{Backend, Checker, Server, Standing};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Checks that are under way at once, over all backends.
const CHECKS_MAX: usize = 256;
/// Servers of a backend whose first checks all begin at once; those of more are spread.
const AT_ONCE_MAX: usize = 16;
/// Over how long first checks are spread, at most.
const FIRST_SPREAD: Duration = Duration::from_millis(100);

/// One backend that is checked.
struct Watched {
    /// As the newest table has it; the tasks look here.
    current: Arc<ArcSwap<Backend>>,
    checker: Arc<Checker>,
    /// By the server's number.
    tasks: HashMap<u64, AbortOnDropHandle<()>>,
    /// The round in which a table last had it.
    round: u64,
}

/// Follows the board's tables and keeps servers checked until `stop`.
pub async fn check_servers(board: Arc<Board>, stop: CancellationToken) {
    let mut swaps = board.swaps();
    let mut health = Health::new();
    loop {
        // Seen before the table is loaded: a swap that comes between brings another round.
        swaps.borrow_and_update();
        health.follow(&board.table());
        tokio::select! {
            () = stop.cancelled() => return,
            changed = swaps.changed() => if changed.is_err() { return },
        }
    }
}

struct Health {
    watched: HashMap<BackendId, Watched>,
    under_way: Arc<Semaphore>,
    round: u64,
}

impl Health {
    fn new() -> Self {
        Self { watched: HashMap::new(), under_way: Arc::new(Semaphore::new(CHECKS_MAX)), round: 0 }
    }

    /// Looks at each backend of the table, and works only on those that changed.
    fn follow(&mut self, table: &Table) {
        self.round += 1;
        for backend in table.backends() {
            match self.watched.get_mut(&backend.id) {
                Some(watched) => {
                    watched.round = self.round;
                    if Arc::as_ptr(&watched.current.load()) != Arc::as_ptr(backend) {
                        self.change(backend);
                    }
                }
                None => self.begin(backend),
            }
        }
        // Those that are gone; their tasks end with them.
        self.watched.retain(|_, watched| watched.round == self.round);
    }

    fn begin(&mut self, backend: &Arc<Backend>) {
        let Some(checker) = Checker::new(&backend.settings) else { return };
        let mut watched = Watched {
            current: Arc::new(ArcSwap::new(backend.clone())),
            checker: Arc::new(checker),
            tasks: HashMap::new(),
            round: self.round,
        };
        watched.start_missing(&self.under_way);
        self.watched.insert(backend.id.clone(), watched);
    }

    fn change(&mut self, backend: &Arc<Backend>) {
        let Some(watched) = self.watched.get_mut(&backend.id) else { return };
        watched.current.store(backend.clone());
        if !watched.checker.is_for(&backend.settings) {
            watched.tasks.clear();
            match Checker::new(&backend.settings) {
                Some(checker) => watched.checker = Arc::new(checker),
                None => {
                    self.watched.remove(&backend.id);
                    backend.servers().iter().for_each(|server| backend.forget_checks(server));
                    return;
                }
            }
        }
        watched.tasks.retain(|number, task| {
            backend.server(*number).is_some_and(|server| is_checked(server)) && !task.is_finished()
        });
        watched.start_missing(&self.under_way);
    }
}

impl Watched {
    /// Starts a task for each server that is to be checked and has none.
    fn start_missing(&mut self, under_way: &Arc<Semaphore>) {
        let backend = self.current.load_full();
        let missing = |server: &&Arc<Server>| is_checked(server) && !self.tasks.contains_key(&server.number());
        let missing: Vec<_> = backend.servers().iter().filter(missing).map(|server| server.number()).collect();
        let interval = self.checker.settings().interval;
        let spread =
            if missing.len() > AT_ONCE_MAX { interval.min(FIRST_SPREAD) } else { Duration::ZERO };
        for number in missing {
            let task = Task {
                current: self.current.clone(),
                checker: self.checker.clone(),
                number,
                under_way: under_way.clone(),
            };
            let delay = spread.mul_f64(rand::random());
            self.tasks.insert(number, AbortOnDropHandle::new(tokio::spawn(task.run(delay))));
        }
    }
}

/// Also those that drain: they may come back.
fn is_checked(server: &Server) -> bool {
    server.state != ServerState::Disabled
}

/// The checks of one server.
struct Task {
    current: Arc<ArcSwap<Backend>>,
    checker: Arc<Checker>,
    number: u64,
    under_way: Arc<Semaphore>,
}

impl Task {
    async fn run(self, first: Duration) {
        let mut delay = first;
        loop {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let Some(server) = self.server() else { return };
            let Ok(permit) = self.under_way.clone().acquire_owned().await else { return };
            let result = self.checker.check(&server).await;
            drop((permit, server));
            // The newest form of the backend: it says how many answers count.
            let backend = self.current.load_full();
            let Some(server) = backend.server(self.number) else { return };
            let changed = backend.note_check(server, result.is_ok());
            tell(&backend, server, changed, result.err().as_ref());
            delay = jittered(self.checker.settings().interval, rand::random());
        }
    }

    fn server(&self) -> Option<Arc<Server>> {
        self.current.load().server(self.number).cloned()
    }
}

fn tell(
    backend: &Backend,
    server: &Server,
    changed: Option<Standing>,
    failure: Option<&crate::upstream::CheckFailure>,
) {
    match (changed, failure) {
        (Some(_), None) => tracing::info!(backend = %backend.id, server = %server.id, "server is well"),
        (Some(_), Some(reason)) => {
            tracing::info!(backend = %backend.id, server = %server.id, %reason, "server is not well");
        }
        (None, Some(reason)) => {
            tracing::debug!(backend = %backend.id, server = %server.id, %reason, "check failed");
        }
        (None, None) => {}
    }
}

/// A tenth more or less, so that many checks do not keep in step; `random` from 0 to 1.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random)
}
