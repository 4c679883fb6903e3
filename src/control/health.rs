//! Asks servers how they are, as their backends' `Settings.Health` says: one task a server, from the table that brings it
//! to the one that does not have it any more.
//!
//! What checks found is kept by the servers themselves, and outlives tables, changes of the check's settings and these
//! tasks; only where a backend is no longer checked it is forgotten.

use crate::model::{BackendId, ServerState};
use crate::table::{Board, Table};
use crate::telemetry::{PanicIn, Restarts};
use crate::upstream::{Backend, CheckFailure, Checker, Server, Standing};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
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
    let mut restarts = Restarts::of(PanicIn::Checks);
    // It begins anew: the servers keep what was found.
    while AssertUnwindSafe(follow(&board, &stop)).catch_unwind().await.is_err() {
        tokio::time::sleep(restarts.after_panic()).await;
    }
}

async fn follow(board: &Board, stop: &CancellationToken) {
    let mut swaps = board.swaps();
    let mut health = Health::new();
    loop {
        // Seen before the table is loaded: a swap that comes between brings another round.
        swaps.borrow_and_update();
        PanicIn::Checks.trip();
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
        let Some(checker) = Checker::new(&backend.settings, backend.certificate.as_ref()) else { return };
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
        if !watched.checker.is_for(&backend.settings, backend.certificate.as_ref()) {
            watched.tasks.clear();
            match Checker::new(&backend.settings, backend.certificate.as_ref()) {
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
        let missing =
            |server: &&Arc<Server>| is_checked(server) && !self.tasks.contains_key(&server.number());
        let missing: Vec<_> =
            backend.servers().iter().filter(missing).map(|server| server.number()).collect();
        let interval = self.checker.settings().interval;
        let spread = if missing.len() > AT_ONCE_MAX { interval.min(FIRST_SPREAD) } else { Duration::ZERO };
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

fn tell(backend: &Backend, server: &Server, changed: Option<Standing>, failure: Option<&CheckFailure>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{self, BackendSettings, HealthCheck, HttpProbe, Probe, Revision};
    use crate::table::{Change, Inbox, compile};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn checks_do_not_keep_in_step() {
        let second = Duration::from_secs(1);
        for (random, millis) in [(0.0, 900), (0.5, 1_000), (1.0, 1_100)] {
            assert_eq!(jittered(second, random), Duration::from_millis(millis));
        }
    }

    /// A server that is well or not, and counts how often it was asked.
    #[derive(Default)]
    struct Patient {
        sick: AtomicBool,
        asked: AtomicUsize,
    }

    impl Patient {
        async fn start() -> (Arc<Self>, String) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (patient, url) =
                (Arc::new(Self::default()), format!("http://{}", listener.local_addr().unwrap()));
            let me = patient.clone();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    me.asked.fetch_add(1, Ordering::SeqCst);
                    let status = if me.sick.load(Ordering::SeqCst) { "503 No" } else { "200 OK" };
                    let _ = stream.read(&mut [0; 1024]).await;
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
            (patient, url)
        }
    }

    struct Ward {
        board: Arc<Board>,
        stop: CancellationToken,
        _inboxes: Vec<Inbox>,
        url: String,
    }

    impl Ward {
        fn open(url: &str) -> Self {
            let (board, inboxes) = Board::new(1);
            let stop = CancellationToken::new();
            tokio::spawn(check_servers(board.clone(), stop.clone()));
            Self { board, stop, _inboxes: inboxes, url: url.to_owned() }
        }

        async fn publish(&self, health: Option<HealthCheck>, state: Option<ServerState>) {
            let id: BackendId = "shop".parse().unwrap();
            let settings = BackendSettings { health, ..BackendSettings::default() };
            let server = state.map(|state| {
                Arc::new(model::Server {
                    backend: id.clone(),
                    id: "a".parse().unwrap(),
                    url: self.url.parse().unwrap(),
                    weight: 1,
                    state,
                    zone: None,
                })
            });
            let changes = [
                Change::Backend(
                    id.clone(),
                    Some((
                        Arc::new(model::Backend::Http { id: id.clone(), settings: settings.into() }),
                        None,
                    )),
                ),
                Change::Server(id.clone(), "a".parse().unwrap(), server),
            ];
            let next = compile(&self.board.table(), Revision(1), 0, &changes);
            self.board.publish(next).await;
        }

        fn standing(&self) -> Option<Standing> {
            let table = self.board.table();
            let backend = table.backend(&"shop".parse().unwrap())?;
            backend.servers().first().map(|server| server.standing(Instant::now()))
        }

        async fn until(&self, standing: Standing) {
            let reached = async {
                while self.standing() != Some(standing) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
            assert!(reached.is_ok(), "{standing:?} was not reached; it is {:?}", self.standing());
        }
    }

    fn often() -> HealthCheck {
        HealthCheck {
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(5),
            ..HealthCheck::default()
        }
    }

    async fn asked_no_more(patient: &Patient) -> bool {
        // One check may be under way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = patient.asked.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        patient.asked.load(Ordering::SeqCst) == before
    }

    #[tokio::test]
    async fn servers_are_asked_as_long_as_their_table_wants_it() {
        let (patient, url) = Patient::start().await;
        let ward = Ward::open(&url);
        ward.publish(Some(often()), Some(ServerState::Active)).await;
        ward.until(Standing::Well).await;
        patient.sick.store(true, Ordering::SeqCst);
        ward.until(Standing::Unwell).await;
        // Another table with the same server changes nothing.
        ward.publish(Some(often()), Some(ServerState::Active)).await;
        assert_eq!(ward.standing(), Some(Standing::Unwell));
        // Another question: what was found stays until it is answered.
        let probe = Probe::Http(HttpProbe { path: "/other".into(), ..HttpProbe::default() });
        ward.publish(Some(HealthCheck { probe, ..often() }), Some(ServerState::Active)).await;
        assert_eq!(ward.standing(), Some(Standing::Unwell));
        patient.sick.store(false, Ordering::SeqCst);
        ward.until(Standing::Well).await;
        // One that drains is asked on; one that is disabled or gone is not.
        ward.publish(Some(often()), Some(ServerState::Draining)).await;
        assert!(!asked_no_more(&patient).await);
        ward.publish(Some(often()), Some(ServerState::Disabled)).await;
        assert!(asked_no_more(&patient).await);
        ward.publish(Some(often()), Some(ServerState::Active)).await;
        assert!(!asked_no_more(&patient).await);
        ward.publish(Some(often()), None).await;
        assert!(asked_no_more(&patient).await);
        ward.stop.cancel();
    }

    #[tokio::test]
    async fn without_checks_what_they_said_is_forgotten() {
        let (patient, url) = Patient::start().await;
        patient.sick.store(true, Ordering::SeqCst);
        let ward = Ward::open(&url);
        ward.publish(Some(often()), Some(ServerState::Active)).await;
        ward.until(Standing::Unwell).await;
        ward.publish(None, Some(ServerState::Active)).await;
        assert_eq!(ward.standing(), Some(Standing::Well));
        assert!(asked_no_more(&patient).await);
        let slowly = HealthCheck { interval: Duration::from_secs(3600), ..often() };
        patient.sick.store(false, Ordering::SeqCst);
        ward.publish(Some(slowly), Some(ServerState::Active)).await;
        // The first answer decides again.
        ward.until(Standing::Well).await;
        ward.stop.cancel();
    }
}
