//! A worker: one thread with its own event loop, its own sockets and its own connections to servers.

use super::admission::{Admission, OpenConnection};
use super::client::Client;
use super::connect;
use super::gate;
use super::gate::GateRequest;
use super::generations::Generations;
use super::listeners::{Accepted, Acceptor, Listener, Opened};
use super::overload::{Lag, Memory};
use super::settings::Settings;
use super::stream::Held;
use super::timer::{Timer, Timers};
use super::upload::StreamUpload;
use super::webhooks::Effects;
use crate::message::Spare;
use crate::model::BackendSettings;
use crate::table::{Board, Inbox, NOBODY_LIVE, Note, Table, Warm};
use crate::telemetry::{
    AccessLogBuffer, FrontendCounters, Limit, Reason, RefusedCounters, Traces, WorkerSlots,
};
use crate::upstream::{Pool, StickyKey, mix};
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Commands that wait for a worker.
pub(super) const COMMANDS_MAX: usize = 1024;
/// How long accepting rests where it cannot go on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// How often it is said at most that it cannot.
const ACCEPT_WARNS: Duration = Duration::from_secs(1);
/// What a client hears for whom there is no place, where it would understand it.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\
    Connection: close\r\n\r\n";
/// Servers that are connected to at once when a backend is made ready.
const WARM_AT_ONCE: usize = 32;
/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// What a worker is told to do by the data plane's own threads.
pub(super) enum Command {
    /// Accept on a socket; a listener of that id that moved stops accepting on its old one.
    Listen(Opened),
    /// New connections of a listener that did not move get its new settings.
    Update(Arc<Listener>),
    /// Stop accepting on a listener's socket; connections stay.
    Close(crate::model::ListenerId),
    /// A request of an embedding program.
    Gate(Box<GateRequest>),
    /// Stop accepting, and end once every connection has.
    Drain,
}

/// A socket that this worker accepts on, until this is dropped: what waits in its queue by then is accepted still.
struct Accepting {
    current: Rc<RefCell<Arc<Listener>>>,
    _open: oneshot::Sender<()>,
}

/// What all workers share.
pub(super) struct Shared {
    pub board: Arc<Board>,
    pub settings: Settings,
    /// Signs the cookies that bring clients back to their servers.
    pub sticky_key: StickyKey,
    /// By what name this process adds itself to `Via`; no other process has it.
    pub via: Box<str>,
    /// Requests that no frontend took.
    pub unmatched: WorkerSlots<FrontendCounters>,
    pub refused: WorkerSlots<RefusedCounters>,
    pub traces: Traces,
    /// Copies of requests that were not sent because too many were on their way.
    pub mirror_dropped: AtomicU64,
    /// Downstream connections over all workers.
    pub admission: Admission,
    /// Whether the process holds as much as it may.
    pub memory: Memory,
    /// True once the process drains.
    pub draining: watch::Receiver<bool>,
    /// Cancelled once what is still open is to be cut off.
    pub cut: CancellationToken,
    /// What steps want done that no request waits for.
    pub effects: Effects,
}

type TableCache = arc_swap::Cache<BoardPointer, Arc<Table>>;

/// Lets the cache reach through the board to its pointer.
pub(super) struct BoardPointer(Arc<Board>);

impl std::ops::Deref for BoardPointer {
    type Target = ArcSwap<Table>;

    fn deref(&self) -> &ArcSwap<Table> {
        self.0.pointer()
    }
}

/// The time as it was when the house was last kept: reading it costs nothing.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    unix_micros: u64,
    date: [u8; 29],
}

impl Clock {
    fn read() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let date = super::date::imf_fixdate(unix.as_secs());
        Self { instant: Instant::now(), unix_micros: unix.as_micros() as u64, date }
    }
}

/// Ready once the process drains, or is gone.
pub(super) async fn until_drain(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}

/// One worker's own things; never leaves its thread.
pub(super) struct Worker {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub timers: Rc<Timers>,
    pub pool: RefCell<Pool<StreamUpload>>,
    pub spare: RefCell<Spare>,
    pub access_log: RefCell<AccessLogBuffer>,
    pub tasks: TaskTracker,
    /// Answers that clients take as streams, to see to it that they do.
    answers: RefCell<Vec<Weak<Held>>>,
    table: RefCell<TableCache>,
    generations: Generations,
    /// Of the table that was acknowledged last.
    acknowledged: Cell<u64>,
    clock: Cell<Clock>,
    /// Whether the event loop is behind.
    behind: Cell<bool>,
    requests: Cell<u64>,
    drawn: Cell<u64>,
    seed: u64,
}

impl Worker {
    pub(super) fn new(index: usize, shared: Arc<Shared>, access_log: AccessLogBuffer) -> Rc<Self> {
        let table = TableCache::new(BoardPointer(shared.board.clone()));
        Rc::new(Self {
            index,
            timers: Rc::default(),
            pool: RefCell::default(),
            spare: RefCell::default(),
            access_log: RefCell::new(access_log),
            tasks: TaskTracker::new(),
            answers: RefCell::default(),
            table: RefCell::new(table),
            generations: Generations::default(),
            acknowledged: Cell::new(0),
            clock: Cell::new(Clock::read()),
            behind: Cell::new(false),
            requests: Cell::new(0),
            drawn: Cell::new(rand::random()),
            seed: rand::random(),
            shared,
        })
    }

    /// Looks at the table in force, checking that it is the newest.
    pub(super) fn with_table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(self.table.borrow_mut().load())
    }

    /// A request loaded the table of `generation`. It counts until [`settle`](Self::settle).
    pub(super) fn enter(&self, generation: u64) {
        self.generations.enter(generation);
    }

    /// A request of `generation` can begin no further attempt.
    pub(super) fn settle(&self, generation: u64) {
        // Whoever loaded the newest table holds nobody up.
        if self.generations.leave(generation) && generation < self.acknowledged.get() {
            self.tell_oldest();
        }
    }

    /// Whether this worker has said that it uses a newer table than the one of `generation`.
    pub(super) fn is_past(&self, generation: Option<u64>) -> bool {
        generation.is_some_and(|generation| generation < self.acknowledged.get())
    }

    fn tell_oldest(&self) {
        self.shared.board.live_from(self.index, self.generations.oldest().unwrap_or(NOBODY_LIVE));
    }

    fn on_note(self: &Rc<Self>, note: Note) {
        match note {
            Note::Swapped { generation } => {
                self.with_table(|_| ());
                self.acknowledged.set(generation);
                self.tell_oldest();
                self.shared.board.acknowledge(self.index, generation);
            }
            Note::Warm(warm) => {
                self.tasks.spawn_local(self.clone().warm(warm));
            }
            Note::CloseIdle(server) => self.pool.borrow_mut().close(server),
        }
    }

    /// Connects to each server that gets requests, so that the first request need not.
    async fn warm(self: Rc<Self>, warm: Warm) {
        let Warm { backend, done } = warm;
        let servers = backend.servers().iter().filter(|server| server.takes_requests());
        futures_util::stream::iter(servers)
            .for_each_concurrent(WARM_AT_ONCE, async |server| {
                let warmed = connect::warm(&self, &backend, server).await;
                let _ = done.send((server.id.clone(), warmed));
            })
            .await;
    }

    /// How many idle connections to one server this worker keeps.
    pub(super) fn idle_connections_max(&self, settings: &BackendSettings) -> usize {
        (settings.keep_alive.idle_connections_max as usize).div_ceil(self.shared.board.workers())
    }

    /// Lets go of an answer once its client takes nothing of it for too long.
    pub(super) fn watch(&self, held: &Rc<Held>) {
        self.answers.borrow_mut().push(Rc::downgrade(held));
    }

    /// A timer of this worker.
    pub(super) fn timer(&self) -> Timer {
        self.timers.timer()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Counts a limit that was reached on this worker.
    pub(super) fn reached(&self, limit: Limit) {
        self.shared.refused.at(self.index).reached(limit);
    }

    /// The limit for the sake of which nothing new is taken on.
    pub(super) fn overload(&self) -> Option<Limit> {
        match self.behind.get() {
            true => Some(Limit::Lag),
            false => self.shared.memory.is_full().then_some(Limit::Memory),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.timers.is_draining()
    }

    /// A number that no other request of this process has, and other processes hardly.
    pub(super) fn next_request_id(&self) -> u64 {
        let number = self.requests.get() + 1;
        self.requests.set(number);
        // An odd multiplier keeps the numbers apart and spreads them.
        self.seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Any number, another one each time.
    pub(super) fn random(&self) -> u64 {
        let number = self.drawn.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.drawn.set(number);
        mix(number)
    }

    /// The `Date` of now (RFC 9110 section 6.6.1), at most one tick of the house old.
    pub(super) fn date(&self) -> [u8; 29] {
        self.clock.get().date
    }

    /// Now, at most one tick of the house ago.
    pub(super) fn now(&self) -> Instant {
        self.clock.get().instant
    }

    /// The time of day at `instant`, in microseconds since 1970.
    pub(super) fn unix_micros(&self, instant: Instant) -> u64 {
        let clock = self.clock.get();
        match instant.checked_duration_since(clock.instant) {
            Some(after) => clock.unix_micros + after.as_micros() as u64,
            None => {
                clock.unix_micros.saturating_sub(clock.instant.duration_since(instant).as_micros() as u64)
            }
        }
    }

    /// Serves until it is told to drain and every connection has ended.
    pub(super) async fn run(self: Rc<Self>, mut inbox: Inbox, mut commands: mpsc::Receiver<Command>) {
        let ticking = self.clone();
        let ticks = tokio::task::spawn_local(async move { ticking.timers.run().await });
        let housekeeping = self.clone();
        let house = tokio::task::spawn_local(async move { housekeeping.keep_house().await });
        let mut accepting = HashMap::new();
        loop {
            tokio::select! {
                biased;
                note = inbox.recv() => match note {
                    Some(note) => self.on_note(note),
                    None => break,
                },
                command = commands.recv() => match command {
                    Some(Command::Listen(Opened { listener, socket })) => {
                        let id = listener.id.clone();
                        let current = Rc::new(RefCell::new(listener));
                        let (open, closing) = oneshot::channel();
                        self.tasks.spawn_local(self.clone().accept(current.clone(), socket, closing));
                        accepting.insert(id, Accepting { current, _open: open });
                    }
                    Some(Command::Update(listener)) => {
                        if let Some(accepting) = accepting.get(&listener.id) {
                            *accepting.current.borrow_mut() = listener;
                        }
                    }
                    Some(Command::Close(id)) => {
                        accepting.remove(&id);
                    }
                    Some(Command::Gate(request)) => {
                        self.tasks.spawn_local(gate::serve(self.clone(), request));
                    }
                    Some(Command::Drain) | None => break,
                },
            }
        }
        commands.close();
        while let Ok(command) = commands.try_recv() {
            if let Command::Gate(request) = command {
                self.tasks.spawn_local(gate::serve(self.clone(), request));
            }
        }
        // Who still waits to be heard is told that nobody listens.
        drop(commands);
        self.timers.drain();
        drop(accepting);
        self.tasks.close();
        let mut ended = std::pin::pin!(self.tasks.wait());
        loop {
            tokio::select! {
                () = &mut ended => break,
                () = self.shared.cut.cancelled() => break,
                // Tables go on being swapped, and nobody is to wait for a worker that drains.
                Some(note) = inbox.recv() => self.on_note(note),
            }
        }
        self.shared.board.retire(self.index);
        ticks.abort();
        house.abort();
        self.access_log.borrow_mut().tick();
    }

    async fn keep_house(&self) {
        let mut interval = tokio::time::interval(crate::telemetry::access_log::FLUSH_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut swept = Instant::now();
        let mut lag = Lag::default();
        loop {
            let due = interval.tick().await;
            self.behind.set(lag.tick(due.elapsed(), self.settings().lag_max));
            if self.shared.memory.is_full() {
                self.timers.evict_all();
            }
            self.clock.set(Clock::read());
            self.access_log.borrow_mut().tick();
            let now = Instant::now();
            if now.duration_since(swept) >= SWEEP {
                swept = now;
                self.pool.borrow_mut().sweep(now);
                self.answers.borrow_mut().retain(|held| held.upgrade().is_some_and(|held| held.goes_on(now)));
            }
        }
    }

    async fn accept(
        self: Rc<Self>,
        current: Rc<RefCell<Arc<Listener>>>,
        mut socket: Acceptor,
        mut closing: oneshot::Receiver<()>,
    ) {
        let mut spare = spare_descriptor();
        let mut warned = None;
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = socket.accept() => accepted,
                _ = &mut closing => break,
            };
            match accepted {
                Ok((stream, peer)) => self.take_connection(&current, stream, peer),
                // The client was gone already, or there is no descriptor for it: others must not suffer, nor the
                // processor.
                Err(error) => {
                    if is_out_of_descriptors(&error) {
                        self.reached(Limit::Descriptors);
                        // It is closed for want of one, and does not hang.
                        drop(spare.take());
                        drop(socket.accept_waiting());
                        spare = spare_descriptor();
                    }
                    if warned.is_none_or(|warned: Instant| warned.elapsed() >= ACCEPT_WARNS) {
                        warned = Some(Instant::now());
                        tracing::warn!(listener = %current.borrow().id, %error, "accept failed");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // The close of the socket would reset those whose connections the system has made already.
        while let Some((stream, peer)) = socket.accept_waiting() {
            self.take_connection(&current, stream, peer);
        }
    }

    fn take_connection(
        self: &Rc<Self>,
        current: &RefCell<Arc<Listener>>,
        stream: Accepted,
        peer: Option<std::net::SocketAddr>,
    ) {
        let worker = self.clone();
        let listener = current.borrow().clone();
        let open = match self.overload() {
            Some(limit) => Err(limit),
            None => OpenConnection::enter(&worker.shared, &listener, worker.index, peer, || {
                self.timers.evict_idle()
            }),
        };
        let open = match open {
            Ok(open) => open,
            Err(limit) => return self.turn_away(&listener, &stream, limit),
        };
        self.tasks.spawn_local(async move {
            let client = Client::new(listener, peer);
            super::connection::serve(worker, client, stream).await;
            drop(open);
        });
    }

    /// Closes a connection for which there is no place. Nothing waits for its client.
    fn turn_away(&self, listener: &Listener, stream: &Accepted, limit: Limit) {
        self.reached(limit);
        self.shared.refused.at(self.index).record(Reason::Overload);
        if listener.tls.is_none() {
            stream.say(NO_PLACE);
        }
    }
}

/// Whether an error is about open files, of the process or the machine.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
    matches!(errno, Some(nix::errno::Errno::EMFILE | nix::errno::Errno::ENFILE))
}

/// One to be given up for a client that could not even be turned away otherwise.
fn spare_descriptor() -> Option<std::fs::File> {
    std::fs::File::open("/dev/null").ok()
}
