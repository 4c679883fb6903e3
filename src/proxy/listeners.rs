//! Listeners follow the table: sockets are bound, moved and closed as listeners come, change and go.
//!
//! One task binds for all workers, each of which gets a socket of its own in one `SO_REUSEPORT` group. Before a group
//! is opened the address is bound once without that option, so that an address that somebody else holds is a problem
//! that is listed, and not a silent share of somebody else's traffic.

use super::bind::{SocketFile, Sockets, bind};
use super::handshake::Secure;
use super::inherit::{Handed, Inherited};
use super::worker::{Command, Shared, until_drain};
use crate::model::{self, InForce, ListenAddress, ListenerId, ListenerProtocol, Problem, Severity};
use crate::table::{Table, Topic};
use crate::telemetry::{ListenerCounters, WorkerSlots};
use crate::tls::TicketRings;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

/// How soon a listener that cannot be opened is tried again: whoever has its address may be about to let it go.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// How often after that: so long at most a port is nobody's when it is taken over from another program.
const RETRY: Duration = Duration::from_millis(100);

/// A listener as connections see it.
pub(super) struct Listener {
    pub id: ListenerId,
    pub object: Arc<model::Listener>,
    pub tls: Option<Secure>,
    pub counters: Arc<WorkerSlots<ListenerCounters>>,
    /// Its connections, over all workers.
    pub open: Arc<AtomicUsize>,
}

/// A socket for one worker.
pub(super) struct Opened {
    pub listener: Arc<Listener>,
    pub socket: Acceptor,
}

/// A socket that accepts.
pub(super) enum Acceptor {
    Tcp(RawTcp),
    Unix(RawUnix),
}

/// Bound by the coordinator, registered with the worker's event loop at its first accept.
pub(super) enum RawTcp {
    Bound(std::net::TcpListener),
    Registered(TcpListener),
}

/// As [`RawTcp`].
pub(super) enum RawUnix {
    Bound(std::os::unix::net::UnixListener),
    Registered(UnixListener),
}

/// An accepted connection's end in the operating system.
pub(super) type Accepted = crate::wire::Socket;

impl Acceptor {
    /// The same socket once more, for another process.
    pub(super) fn keep(&self) -> io::Result<OwnedFd> {
        let socket = match self {
            Self::Tcp(RawTcp::Bound(socket)) => SockRef::from(socket),
            Self::Tcp(RawTcp::Registered(socket)) => SockRef::from(socket),
            Self::Unix(RawUnix::Bound(socket)) => SockRef::from(socket),
            Self::Unix(RawUnix::Registered(socket)) => SockRef::from(socket),
        };
        socket.try_clone().map(OwnedFd::from)
    }

    /// A connection that waits to be accepted, without waiting for one.
    pub(super) fn accept_waiting(&self) -> Option<(Accepted, Option<SocketAddr>)> {
        let (socket, unix) = match self {
            Self::Tcp(RawTcp::Bound(socket)) => (SockRef::from(socket), false),
            Self::Tcp(RawTcp::Registered(socket)) => (SockRef::from(socket), false),
            Self::Unix(RawUnix::Bound(socket)) => (SockRef::from(socket), true),
            Self::Unix(RawUnix::Registered(socket)) => (SockRef::from(socket), true),
        };
        let (stream, peer) = socket.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        if unix {
            return Some((Accepted::Unix(UnixStream::from_std(stream.into()).ok()?), None));
        }
        // Only tunes: a connection without it works.
        let _ = stream.set_tcp_nodelay(true);
        Some((Accepted::Tcp(TcpStream::from_std(stream.into()).ok()?), peer.as_socket()))
    }

    pub(super) async fn accept(&mut self) -> io::Result<(Accepted, Option<SocketAddr>)> {
        match self {
            Self::Tcp(raw) => {
                if let RawTcp::Bound(bound) = raw {
                    *raw = RawTcp::Registered(TcpListener::from_std(bound.try_clone()?)?);
                }
                let RawTcp::Registered(listener) = raw else {
                    return Err(io::ErrorKind::NotConnected.into());
                };
                let (stream, peer) = listener.accept().await?;
                // Only tunes: a connection without it works.
                let _ = stream.set_nodelay(true);
                Ok((Accepted::Tcp(stream), Some(peer)))
            }
            Self::Unix(raw) => {
                if let RawUnix::Bound(bound) = raw {
                    *raw = RawUnix::Registered(UnixListener::from_std(bound.try_clone()?)?);
                }
                let RawUnix::Registered(listener) = raw else {
                    return Err(io::ErrorKind::NotConnected.into());
                };
                let (stream, _) = listener.accept().await?;
                Ok((Accepted::Unix(stream), None))
            }
        }
    }
}

impl Listener {
    /// The way in of an embedding program, which has no address.
    pub(super) fn embedded(id: ListenerId) -> Self {
        let object = model::Listener {
            id: id.clone(),
            protocol: ListenerProtocol::Http,
            address: ListenAddress::Unix(std::path::PathBuf::new()),
            scope: None,
            proxy_protocol: None,
            tls: model::ListenerTls::default(),
            h2c: false,
            connections_max: 0,
        };
        let counters = Arc::new(WorkerSlots::new(0));
        Self { id, object: Arc::new(object), tls: None, counters, open: Arc::default() }
    }
}

/// What became of each listener, for status and tests.
#[derive(Default)]
pub struct Bound {
    open: Mutex<BTreeMap<ListenerId, Open>>,
    changed: watch::Sender<u64>,
}

struct Open {
    listener: Arc<Listener>,
    address: ListenAddress,
    /// The workers' sockets once more, for the process that takes over.
    kept: Vec<OwnedFd>,
    /// Removed with this, unless somebody else has its place by then.
    file: Option<SocketFile>,
}

impl Bound {
    /// Listeners that accept connections, with the address that was bound (the real port where 0 was asked for).
    pub fn addresses(&self) -> BTreeMap<ListenerId, ListenAddress> {
        self.lock().iter().map(|(id, open)| (id.clone(), open.address.clone())).collect()
    }

    /// Counts changes of [`addresses`](Self::addresses).
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Runs `look` over every open listener's counters.
    pub fn for_each_counters(&self, mut look: impl FnMut(&ListenerId, &WorkerSlots<ListenerCounters>)) {
        for (id, open) in self.lock().iter() {
            look(id, &open.listener.counters);
        }
    }

    /// The sockets of all listeners, for the process that takes over.
    pub fn hand_over(&self) -> io::Result<Vec<Handed>> {
        let open = self.lock();
        let handed = open.iter().map(|(id, open)| {
            let sockets = open.kept.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
            Ok(Handed { listener: Some((id.clone(), open.listener.object.address.clone())), sockets })
        });
        handed.collect()
    }

    /// Files of Unix sockets stay when their listeners close: another process has them now.
    pub fn leave_files(&self) {
        self.lock().values_mut().filter_map(|open| open.file.as_mut()).for_each(SocketFile::leave);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ListenerId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this machine's operator says about a stored listener's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Override {
    /// Listens here instead.
    Address(ListenAddress),
    /// Does not listen.
    Off,
}

/// Follows the table for ever.
pub(super) struct Coordinator {
    pub shared: Arc<Shared>,
    pub workers: Vec<mpsc::Sender<Command>>,
    pub overrides: BTreeMap<ListenerId, Override>,
    /// Listeners that no table holds.
    pub extra: Vec<Arc<model::Listener>>,
    pub bound: Arc<Bound>,
    pub tickets: Arc<TicketRings>,
    pub inherited: Inherited,
    /// No table before this revision is listened for.
    pub least: model::Revision,
}

impl Coordinator {
    pub(super) async fn run(self) {
        let board = self.shared.board.clone();
        let mut swaps = board.swaps();
        let mut draining = self.shared.draining.clone();
        let mut retry = RETRY_FIRST;
        let mut followed = None;
        loop {
            let generation = *swaps.borrow_and_update();
            let table = board.table();
            // Before there is a table nobody could be answered. Most tables have the listeners of the one before.
            let is_due = table.generation > 0 && table.revision >= self.least;
            if is_due && !followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, table.listeners())) {
                let all_open = self.follow(&table).await;
                followed = all_open.then(|| table.listeners().clone());
                self.inherited.settle();
            }
            if is_due || table.generation == 0 {
                board.listeners_follow(generation);
            }
            drop(table);
            tokio::select! {
                changed = swaps.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    retry = RETRY_FIRST;
                }
                () = tokio::time::sleep(retry), if followed.is_none() => retry = RETRY,
                () = until_drain(&mut draining) => {
                    for id in self.bound.addresses().into_keys() {
                        self.close(&id).await;
                    }
                    board.listeners_follow(u64::MAX);
                    return;
                }
            }
        }
    }

    /// Opens, moves and closes until the sockets are as the table says; false: some could not be opened.
    async fn follow(&self, table: &Table) -> bool {
        let mut wanted = BTreeMap::new();
        let extra = self.extra.iter().map(|object| (&object.id, object));
        for (id, object) in extra.chain(table.listeners().iter()) {
            match self.overrides.get(id) {
                Some(Override::Off) => {}
                Some(Override::Address(address)) => {
                    wanted.insert(id, model::Listener { address: address.clone(), ..(**object).clone() });
                }
                None => {
                    wanted.insert(id, (**object).clone());
                }
            }
        }
        let open: BTreeMap<_, _> =
            self.bound.lock().iter().map(|(id, o)| (id.clone(), o.listener.clone())).collect();
        for id in open.keys().filter(|id| !wanted.contains_key(*id)) {
            self.close(id).await;
        }
        let mut all_open = true;
        for (id, object) in wanted {
            let old = open.get(id);
            if old.is_none_or(|old| *old.object != object) {
                all_open &= self.open(id, object, old).await;
            }
        }
        all_open
    }

    /// Opens a listener, or where it stays at its address only hands out its new settings. One that moves goes on at
    /// its old address until the new one is bound; false: that failed, and is reported.
    async fn open(&self, id: &ListenerId, object: model::Listener, old: Option<&Arc<Listener>>) -> bool {
        let topic = Topic { key: model::ObjectKey::Listener(id.clone()).to_string(), aspect: "bind" };
        let stays = old.is_some_and(|old| old.object.address == object.address);
        let sockets = if stays { Ok(None) } else { self.bind(id, &object.address).map(Some) };
        let sockets = match sockets {
            Ok(sockets) => sockets,
            Err(error) => {
                let in_force = if old.is_some() { InForce::Previous } else { InForce::None };
                let board = &self.shared.board;
                let problem = problem(topic.key.clone(), &object, &error, in_force, board.table().revision);
                let known = |other: &Problem| other.key == problem.key && other.reason == problem.reason;
                if !board.problems().iter().any(known) {
                    tracing::error!(listener = %id, %error, "cannot listen");
                    board.report(topic, problem);
                }
                return false;
            }
        };
        self.shared.board.clear(&topic);
        let tls = (object.protocol == ListenerProtocol::Https).then(|| {
            let resolver = Arc::new(TableResolver(self.shared.board.clone()));
            Secure::new(object.tls.clone(), resolver, self.tickets.clone())
        });
        let (counters, count) = match old {
            Some(old) => (old.counters.clone(), old.open.clone()),
            None => (Arc::new(WorkerSlots::new(self.workers.len())), Arc::default()),
        };
        let object = Arc::new(object);
        let listener = Arc::new(Listener { id: id.clone(), object, tls, counters, open: count });
        let Some(sockets) = sockets else {
            for worker in &self.workers {
                let _ = worker.send(Command::Update(listener.clone())).await;
            }
            if let Some(open) = self.bound.lock().get_mut(id) {
                open.listener = listener;
            }
            return true;
        };
        // Without, this process only cannot be upgraded.
        let kept = sockets.sockets.iter().filter_map(|socket| socket.keep().ok()).collect();
        // As in `close`: the workers' old sockets are to be the last.
        if let Some(open) = self.bound.lock().get_mut(id) {
            open.kept.clear();
        }
        for (worker, socket) in self.workers.iter().zip(sockets.sockets) {
            let opened = Opened { listener: listener.clone(), socket };
            let _ = worker.send(Command::Listen(opened)).await;
        }
        tracing::info!(listener = %id, address = %sockets.address, "listening");
        let open = Open { listener, address: sockets.address, kept, file: sockets.file };
        self.bound.lock().insert(id.clone(), open);
        self.bound.changed.send_modify(|count| *count += 1);
        true
    }

    /// Sockets that are there already, or new ones.
    fn bind(&self, id: &ListenerId, address: &ListenAddress) -> io::Result<Sockets> {
        match self.inherited.take(id, address, self.workers.len())? {
            Some(sockets) => Ok(sockets),
            None => bind(address, self.workers.len()),
        }
    }

    async fn close(&self, id: &ListenerId) {
        // First, so that a worker's socket is the last: it accepts all that wait before it closes.
        self.bound.lock().remove(id);
        for worker in &self.workers {
            let _ = worker.send(Command::Close(id.clone())).await;
        }
        self.bound.changed.send_modify(|count| *count += 1);
        let key = model::ObjectKey::Listener(id.clone()).to_string();
        self.shared.board.clear(&Topic { key, aspect: "bind" });
    }
}

fn problem(
    key: String,
    object: &model::Listener,
    error: &io::Error,
    in_force: InForce,
    revision: model::Revision,
) -> Problem {
    let place = match &object.address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => path.display().to_string(),
    };
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there; stop it, or move this listener with --listener"
        }
        io::ErrorKind::PermissionDenied if matches!(object.address, ListenAddress::Unix(_)) => {
            "the process needs to write in its directory"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
        io::ErrorKind::AlreadyExists => {
            "what is there is no socket, and is left alone; remove it, or choose another path"
        }
        _ => "choose another address with --listener",
    };
    Problem {
        key,
        field: "Address.Address".to_owned(),
        reason: format!("cannot listen on {place}: {error}; {advice}"),
        severity: Severity::Error,
        revision,
        since: SystemTime::now(),
        in_force,
    }
}

/// Shows the certificates of the table in force, so that they change with it and no connection drops.
struct TableResolver(Arc<crate::table::Board>);

impl std::fmt::Debug for TableResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TableResolver")
    }
}

impl ResolvesServerCert for TableResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.table().certificates().resolve(hello.server_name())
    }
}
