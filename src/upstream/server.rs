//! A server as requests see it, and what of it outlives tables.

use super::circuit::{Circuit, Connections};
use super::clock::whole_millis;
use super::known::{Checked, Known};
use super::latency::PeakEwma;
use super::names::LastGood;
use super::outlier::Ejection;
use super::sticky::server_hash;
use crate::meter::{RoundTrips, millis};
use crate::model::{self, ServerId, ServerState, ServerUrl};
use crate::telemetry::WorkerSlots;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// [`Identity::well_since`] of a server that was there from the start: its share need not grow.
const ALWAYS: u64 = 1;

/// One upstream address. Tables share it as long as its id and URL stay.
#[derive(Debug)]
pub struct Server {
    /// From the key.
    pub id: ServerId,
    /// Where it answers.
    pub url: ServerUrl,
    /// Where to connect, when the URL names an address and no resolving is needed.
    pub address: Option<SocketAddr>,
    /// Host and port as they go into `Host` when the client's is not passed.
    pub authority: Box<str>,
    /// Whether it gets new requests.
    pub state: ServerState,
    /// Share of the requests.
    pub weight: u16,
    /// Where it stands.
    pub zone: Option<Box<str>>,
    /// Stands for the id in sticky cookies and on the ring.
    pub(super) hash: u64,
    /// Whether active checks ask it.
    checked: bool,
    /// It had requests before there were checks, or came with its backend.
    presumed: bool,
    pub(super) identity: Arc<Identity>,
}

/// What of a server outlives tables.
#[derive(Debug)]
pub(super) struct Identity {
    number: u64,
    in_flight: AtomicU32,
    pub(super) latency: PeakEwma,
    trips: WorkerSlots<RoundTrips>,
    pub(super) ejection: Ejection,
    pub(super) connections: Arc<Connections>,
    pub(super) known: Known,
    /// Of a server with a name.
    pub(super) last_good: LastGood,
    /// In milliseconds; 0: it was not well when last looked at.
    well_since: AtomicU64,
    keeps_idle: AtomicBool,
    /// When somebody first saw that it gets no more requests, in milliseconds; 0: it does, or nobody has looked.
    left_at: AtomicU64,
}

/// How a server stands, all in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is well, as far as anybody knows: checks say so, or there are none.
    Well,
    /// Its first check has not answered.
    Unknown,
    /// Checks say that it is not well.
    Unwell,
    /// It failed requests, and is left out for a while.
    Ejected,
    /// It gets nothing new: the store says so.
    Draining,
    /// It is to be left alone: the store says so.
    Disabled,
}

impl Standing {
    /// One word, as lists show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Unknown => "unknown",
            Self::Unwell => "unwell",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// What a server's backend gives it.
pub(super) struct Birth<'a> {
    /// Where the backend's connections are counted.
    pub circuit: &'a Arc<Circuit>,
    /// Whether active checks ask its servers.
    pub checked: bool,
    /// Whether the backend is as new as the server.
    pub with_backend: bool,
    /// Threads that send requests.
    pub workers: usize,
}

impl Server {
    /// The server of `object`, with the identity of `previous` where that is the same address.
    pub(super) fn compile(object: &model::Server, previous: Option<&Server>, birth: &Birth<'_>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let same = previous.filter(|previous| previous.url == object.url);
        let identity = match same {
            Some(same) => same.identity.clone(),
            None => Arc::new(Identity {
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                in_flight: AtomicU32::new(0),
                latency: PeakEwma::default(),
                trips: WorkerSlots::new(birth.workers),
                ejection: Ejection::default(),
                connections: Arc::new(Connections::new(birth.circuit.clone())),
                known: Known::default(),
                last_good: LastGood::default(),
                well_since: AtomicU64::new(if birth.with_backend { ALWAYS } else { 0 }),
                keeps_idle: AtomicBool::new(true),
                left_at: AtomicU64::new(0),
            }),
        };
        let address = object.url.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, object.url.port));
        let authority = match address {
            Some(address) => address.to_string(),
            None => format!("{}:{}", object.url.host, object.url.port),
        };
        let server = Self {
            id: object.id.clone(),
            url: object.url.clone(),
            address,
            authority: authority.into(),
            state: object.state,
            weight: object.weight,
            zone: object.zone.clone(),
            hash: previous.map_or_else(|| server_hash(&object.id), |previous| previous.hash),
            checked: birth.checked,
            presumed: same.map_or(birth.with_backend, |same| same.presumed || !same.checked),
            identity,
        };
        server.identity.set_keeps_idle(server.takes_requests());
        server
    }

    /// Tells this server's connections apart from all others', over tables and for the life of the process.
    pub fn number(&self) -> u64 {
        self.identity.number
    }

    /// What became of attempts here, as each worker recorded it; kept over tables. The time is that of
    /// [`millis`](crate::meter::millis).
    pub fn trips(&self) -> &WorkerSlots<RoundTrips> {
        &self.identity.trips
    }

    /// Stands for the id in sticky cookies; the same in every process.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Can be upgraded as long as some table has the server.
    pub(super) fn lifetime(&self) -> Weak<Identity> {
        Arc::downgrade(&self.identity)
    }

    /// Whether the store lets it have new requests. Whether it gets any depends on how it [stands](Self::standing), too.
    pub fn takes_requests(&self) -> bool {
        self.state == ServerState::Active && self.weight > 0
    }

    /// How it stands, all in all. Whether it gets requests depends on the others, too: see
    /// [`Backend::is_eligible`](super::Backend::is_eligible).
    pub fn standing(&self, now: Instant) -> Standing {
        self.standing_at(millis(now))
    }

    pub(super) fn standing_at(&self, now: u64) -> Standing {
        let known = if self.checked { self.identity.known.get() } else { Checked::Well };
        match (self.state, known) {
            (ServerState::Disabled, _) => Standing::Disabled,
            (ServerState::Draining, _) => Standing::Draining,
            (ServerState::Active, Checked::Unwell) => Standing::Unwell,
            _ if self.identity.ejection.is_ejected(now) => Standing::Ejected,
            (ServerState::Active, Checked::Unknown) => Standing::Unknown,
            (ServerState::Active, Checked::Well) => Standing::Well,
        }
    }

    /// Whether it is thought well until its first check answers.
    pub(super) fn is_presumed(&self) -> bool {
        self.presumed
    }

    /// When its last ejection ends or ended, in milliseconds; 0: there was none.
    pub(super) fn ejected_until(&self) -> u64 {
        self.identity.ejection.until()
    }

    /// Since when it is well without a break, in milliseconds; 0: it is not. To be asked at each change of its standing.
    pub(super) fn began_well(&self, now: u64) -> u64 {
        let since = &self.identity.well_since;
        match self.standing_at(now) {
            Standing::Well if self.weight > 0 => {
                // Two workers that look at once agree on the first's time.
                let _ = since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
                since.load(Ordering::Relaxed).max(self.ejected_until())
            }
            Standing::Ejected => 0,
            Standing::Unknown if self.presumed => 0,
            _ => {
                since.store(0, Ordering::Relaxed);
                0
            }
        }
    }

    /// Once it is well again its share is to grow anew.
    pub(super) fn ended_well(&self) {
        self.identity.well_since.store(0, Ordering::Relaxed);
    }

    /// No table has it any more.
    pub(super) fn leave(&self) {
        self.identity.set_keeps_idle(false);
    }

    /// Whether it has got no requests for `bound`, as of the newest table, so that what it still has is to end. To be asked
    /// every second or so by whoever has a request there: the time runs from when that first saw it.
    pub fn is_overdue(&self, now: Instant, bound: Duration) -> bool {
        if self.identity.keeps_idle() {
            return false;
        }
        let (now, left_at) = (millis(now), &self.identity.left_at);
        match left_at.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => bound.is_zero(),
            Err(since) => now.saturating_sub(since) >= whole_millis(bound),
        }
    }

    /// Requests that have not ended, over all workers and tables.
    pub fn in_flight(&self) -> u32 {
        self.identity.in_flight.load(Ordering::Relaxed)
    }

    /// Connections that are open or being made, over all workers and tables, idle ones included.
    pub fn connections(&self) -> u32 {
        self.identity.connections.open()
    }

    /// Whether requests wait for a connection: one that is no longer used is to be closed, and not to be kept.
    pub fn is_wanted(&self) -> bool {
        self.identity.connections.is_wanted()
    }

    /// Counts one request until the guard is dropped.
    pub fn enter(&self) -> ServerGuard {
        self.identity.in_flight.fetch_add(1, Ordering::Relaxed);
        ServerGuard(self.identity.clone())
    }
}

impl Identity {
    /// Whether idle connections are kept: not where no request comes any more. As the newest table says.
    pub(super) fn keeps_idle(&self) -> bool {
        self.keeps_idle.load(Ordering::Relaxed)
    }

    fn set_keeps_idle(&self, keeps: bool) {
        self.keeps_idle.store(keeps, Ordering::Relaxed);
        if keeps {
            self.left_at.store(0, Ordering::Relaxed);
        }
    }
}

/// One request in flight to a server.
#[derive(Debug)]
pub struct ServerGuard(Arc<Identity>);

impl Drop for ServerGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
