//! DATA PLANE: workers, listeners, connections, and the way of a request.
//!
//! Whoever has read `request` (what becomes of a request), `forward` (how it reaches a server) and `http1` (how the
//! answer comes back) has read the load balancer. `stream` is the same way for requests that arrive as streams of
//! their own: over HTTP/2, or through the [`Gate`] of an embedding program.

mod admission;
mod ask;
mod bind;
mod body;
mod change;
mod choice;
mod client;
mod client_auth;
mod connect;
mod connection;
mod date;
mod error;
mod exchange;
mod forward;
mod gate;
mod generations;
mod handshake;
mod headers;
mod http1;
mod http2;
mod inherit;
mod listeners;
mod mirror;
mod outflow;
mod over_http1;
mod over_http2;
mod overload;
mod own;
mod pace;
mod pages;
mod passage;
mod proxied;
mod pump;
mod request;
mod settings;
mod stream;
mod timer;
mod trust;
mod tunnel;
mod upload;
mod webhooks;
mod worker;

pub use admission::ClientBits;
pub use body::Aborted;
pub use gate::{Gate, GateBody, GateError, Peer};
#[doc(hidden)]
pub use http2::check_meter;
pub use inherit::{Handed, Inherited};
pub use listeners::{Bound, Override};
pub use overload::MemoryMost;
pub use pages::{FILE_BYTES_MAX, FILES_MAX, PageFiles};
pub use settings::{Http2Settings, Settings};

use crate::model::{Listener, ListenerId, Revision};
use crate::table::{Board, Inbox};
use crate::telemetry::{AccessLog, FrontendCounters, RefusedCounters, Traces, WorkerSlots};
use crate::tls::TicketRings;
use crate::upstream::StickyKey;
use admission::Admission;
use listeners::Coordinator;
use overload::Memory;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use worker::{COMMANDS_MAX, Shared, Worker, until_drain};

/// How often the TLS ticket keys are looked at.
const TICKETS_TURN: Duration = Duration::from_secs(300);

/// How long workers get to drop what is cut off.
const CUT_PATIENCE: Duration = Duration::from_secs(1);

/// What a process begins with: its own, or what the one before it has left.
pub struct Estate {
    /// Signs cookies.
    pub sticky_key: StickyKey,
    /// Seals TLS sessions.
    pub tickets: TicketRings,
    /// Sockets that listen already.
    pub inherited: Inherited,
    /// Nothing is accepted before a table of this revision.
    pub least: Revision,
}

/// The running data plane.
pub struct Proxy {
    shared: Arc<Shared>,
    bound: Arc<Bound>,
    commands: Vec<mpsc::Sender<worker::Command>>,
    threads: Vec<JoinHandle<()>>,
    draining: watch::Sender<bool>,
}

impl Proxy {
    /// Starts one worker for each of `inboxes`, and the task that lets listeners follow the board's table. To be
    /// called within the control runtime. `extra` are listeners that no table holds.
    pub fn start(
        board: Arc<Board>,
        inboxes: Vec<Inbox>,
        settings: Settings,
        overrides: BTreeMap<ListenerId, Override>,
        extra: Vec<Listener>,
        estate: Estate,
        access_log: &AccessLog,
    ) -> io::Result<Self> {
        let Estate { sticky_key, tickets, inherited, least } = estate;
        let (draining, watching) = watch::channel(false);
        let workers = inboxes.len();
        let (effects, calls) = webhooks::queue();
        let admission = Admission::new(
            settings.connections_max,
            settings.connections_per_client_max,
            settings.client_bits,
            settings.trusted_proxies.clone(),
        );
        let shared = Arc::new(Shared {
            board,
            traces: Traces::new(settings.trace_dir.clone()),
            settings,
            sticky_key,
            via: format!("flipgate-{:08x}", rand::random::<u32>()).into(),
            unmatched: WorkerSlots::new(workers),
            refused: WorkerSlots::new(workers),
            mirror_dropped: AtomicU64::new(0),
            admission,
            memory: Memory::default(),
            draining: watching,
            cut: CancellationToken::new(),
            effects,
        });
        let mut commands = Vec::new();
        let mut threads = Vec::new();
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
            commands.push(sender);
            let shared = shared.clone();
            let log = access_log.buffer();
            let (made, runtime) = std::sync::mpsc::sync_channel(1);
            // The event loop is made on the thread that it never leaves.
            let run = move || {
                let options = tokio::runtime::LocalOptions::default();
                match tokio::runtime::Builder::new_current_thread().enable_all().build_local(options) {
                    Ok(runtime) => {
                        let _ = made.send(Ok(()));
                        runtime.block_on(Worker::new(index, shared, log).run(inbox, receiver));
                        // Drops what was cut off; a name that is being looked up is not waited for.
                        runtime.shutdown_background();
                    }
                    Err(error) => drop(made.send(Err(error))),
                }
            };
            threads.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(run)?);
            runtime.recv().map_err(io::Error::other)??;
        }
        let bound = Arc::new(Bound::default());
        let tickets = Arc::new(tickets);
        let coordinator = Coordinator {
            shared: shared.clone(),
            workers: commands.clone(),
            overrides,
            extra: extra.into_iter().map(Arc::new).collect(),
            bound: bound.clone(),
            tickets: tickets.clone(),
            inherited,
            least,
        };
        shared.board.await_listeners();
        tokio::spawn(coordinator.run());
        tokio::spawn(turn_tickets(tickets, shared.draining.clone()));
        tokio::spawn(calls.run());
        tokio::spawn(overload::watch(shared.clone()));
        Ok(Self { shared, bound, commands, threads, draining })
    }

    /// The listeners that accept connections.
    pub fn bound(&self) -> &Arc<Bound> {
        &self.bound
    }

    /// What can be seen of it from other threads.
    pub fn observer(&self) -> Observer {
        Observer { shared: self.shared.clone(), bound: self.bound.clone() }
    }

    /// A way in for an embedding program.
    pub fn gate(&self) -> Gate {
        Gate::new(self.commands.clone())
    }

    /// Stops accepting, lets requests in flight end, and waits until all connections have, at most `deadline` long;
    /// then, or when the future is dropped, cuts off what is left.
    ///
    /// # Errors
    /// So many connections were cut off.
    pub async fn drain(self, deadline: Duration) -> Result<(), usize> {
        let cut = self.shared.cut.clone().drop_guard();
        self.draining.send_replace(true);
        let Self { shared, commands, threads, .. } = self;
        for commands in commands {
            tokio::spawn(async move {
                // A worker that has ended already needs no telling.
                let _ = commands.send(worker::Command::Drain).await;
            });
        }
        let mut joined =
            tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        if tokio::time::timeout(deadline, &mut joined).await.is_ok() {
            return Ok(());
        }
        let left = shared.admission.open();
        drop(cut);
        // Whatever a thread is stuck in then, nobody can end it.
        let _ = tokio::time::timeout(CUT_PATIENCE, joined).await;
        Err(left)
    }
}

/// What can be seen of the data plane from other threads.
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Shared>,
    bound: Arc<Bound>,
}

impl Observer {
    /// The listeners that accept connections.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// What requests that no frontend took were counted by.
    pub fn unmatched(&self) -> &WorkerSlots<FrontendCounters> {
        &self.shared.unmatched
    }

    /// Copies of requests that were not sent because too many were on their way.
    pub fn mirror_dropped(&self) -> u64 {
        self.shared.mirror_dropped.load(Ordering::Relaxed)
    }

    /// Traces that could not be kept.
    pub fn trace_dropped(&self) -> u64 {
        self.shared.traces.dropped()
    }

    /// What the proxy refused or could not do, by reason.
    pub fn refused(&self) -> &WorkerSlots<RefusedCounters> {
        &self.shared.refused
    }
}

async fn turn_tickets(tickets: Arc<TicketRings>, mut draining: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(TICKETS_TURN);
    loop {
        tokio::select! {
            _ = interval.tick() => tickets.turn(std::time::SystemTime::now()),
            () = until_drain(&mut draining) => return,
        }
    }
}
