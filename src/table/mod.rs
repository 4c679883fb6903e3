//! SNAPSHOT: all valid objects compiled into one immutable value, the one swap, and the board both planes share.
//!
//! A [`Table`] is never changed after it was published. [`compile`] makes the next one from the one before and the
//! changes between, and shares with it whatever did not change: one edit at 100,000 frontends copies a few shards.
//! What outlives tables (counters, requests in flight, the identity of a server's connections) hangs on the objects
//! that both tables share.

mod board;
mod compile;
mod listing;

pub use board::{Board, Inbox, Marks, NOBODY_LIVE, Note, Topic, Warm};
pub use compile::{Change, compile};
pub use listing::{ListedRoute, ListedServer};

use crate::meter::RoundTrips;
use crate::middleware::{Chain, Step};
use crate::model::{
    self, BackendId, FrontendId, HostName, ListenerId, MiddlewareId, Revision, RouteOrder, ServerId,
};
use crate::route::{Params, Query, Router, ShardedMap};
use crate::telemetry::{FrontendCounters, WorkerSlots};
use crate::tls::{Certificate, Certificates, ClientPolicies, HostTls};
use crate::upstream;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every valid object of one revision.
#[derive(Clone)]
pub struct Table {
    /// The store's revision that it shows.
    pub revision: Revision,
    /// Counts published tables from 1 on, set by [`Board::publish`]; 0 is the empty one before the first.
    pub generation: u64,
    /// Order-free sum of the hashes of all objects in force; equal tables have equal hashes.
    pub hash: u64,
    workers: usize,
    router: Router<Arc<Frontend>>,
    frontends: ShardedMap<FrontendId, Arc<Frontend>>,
    own_middlewares: ShardedMap<FrontendId, Arc<OwnMiddlewares>>,
    shared_middlewares: Arc<BTreeMap<MiddlewareId, SharedMiddleware>>,
    backends: ShardedMap<BackendId, Arc<BackendEntry>>,
    listeners: Arc<BTreeMap<ListenerId, Arc<model::Listener>>>,
    /// One route each, of the listeners that have a scope.
    scopes: Arc<BTreeMap<ListenerId, Router<()>>>,
    hosts: Arc<BTreeMap<HostName, HostEntry>>,
    certificates: Arc<Certificates>,
    client_policies: Option<Arc<ClientPolicies>>,
}

type OwnMiddlewares = BTreeMap<MiddlewareId, Arc<Step>>;
type HostEntry = (Arc<model::Host>, HostTls);

/// A shared middleware with the frontends that name it.
#[derive(Clone, Default)]
struct SharedMiddleware {
    step: Option<Arc<Step>>,
    users: BTreeSet<FrontendId>,
}

/// A frontend as requests see it.
pub struct Frontend {
    /// The object.
    pub object: Arc<model::Frontend>,
    /// Its middlewares, shared and own, in order.
    pub chain: Chain,
    /// Kept over tables as long as the frontend exists.
    pub counters: Arc<WorkerSlots<FrontendCounters>>,
    /// Its requests of late, as each worker recorded them; kept as long. The time is that of [`crate::meter::millis`].
    pub trips: Arc<WorkerSlots<RoundTrips>>,
}

/// What stands under one backend id: an object, servers, or both.
#[derive(Clone, Default)]
struct BackendEntry {
    object: Option<Arc<model::Backend>>,
    certificate: Option<Arc<Certificate>>,
    servers: BTreeMap<ServerId, Arc<model::Server>>,
    compiled: Option<Arc<upstream::Backend>>,
}

impl Table {
    /// A table of nothing at revision 0, for `workers` workers.
    pub fn empty(workers: usize) -> Self {
        Self::with_order(workers, RouteOrder::default())
    }

    /// As [`empty`](Self::empty); it and the tables made from it prefer routes in this order.
    pub fn with_order(workers: usize, order: RouteOrder) -> Self {
        Self {
            revision: Revision(0),
            generation: 0,
            hash: 0,
            workers,
            router: Router::with_order(order),
            frontends: ShardedMap::new(),
            own_middlewares: ShardedMap::new(),
            shared_middlewares: Arc::default(),
            backends: ShardedMap::new(),
            listeners: Arc::default(),
            scopes: Arc::default(),
            hosts: Arc::default(),
            certificates: Arc::default(),
            client_policies: None,
        }
    }

    /// The frontend whose route fits best; its parameters go into `params`.
    pub fn find<'t>(&'t self, query: &Query<'_>, params: &mut Params) -> Option<&'t Arc<Frontend>> {
        self.router.find(query, params)
    }

    /// In which order routes of the same priority are preferred.
    pub fn route_order(&self) -> RouteOrder {
        self.router.order()
    }

    /// The real backend behind an id, through at most one alias. `None`: neither exists.
    pub fn backend(&self, id: &BackendId) -> Option<&Arc<upstream::Backend>> {
        let entry = self.backends.get(id)?;
        match entry.object.as_deref() {
            Some(model::Backend::Alias { target, .. }) => self.backends.get(target)?.compiled.as_ref(),
            _ => entry.compiled.as_ref(),
        }
    }

    /// A frontend by its id.
    pub fn frontend(&self, id: &FrontendId) -> Option<&Arc<Frontend>> {
        self.frontends.get(id)
    }

    /// All frontends, in no order.
    pub fn frontends(&self) -> impl Iterator<Item = &Arc<Frontend>> {
        self.frontends.iter().map(|(_, frontend)| frontend)
    }

    /// All real backends, in no order.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<upstream::Backend>> {
        self.backends.iter().filter_map(|(_, entry)| entry.compiled.as_ref())
    }

    /// Whether a request that came in by `listener` is within that listener's scope.
    pub fn is_in_scope(&self, listener: &ListenerId, query: &Query<'_>) -> bool {
        match self.scopes.get(listener) {
            Some(scope) => scope.find(query, &mut Params::new()).is_some(),
            None => true,
        }
    }

    /// A listener by its id.
    pub fn listener(&self, id: &ListenerId) -> Option<&Arc<model::Listener>> {
        self.listeners.get(id)
    }

    /// All listeners by id.
    pub fn listeners(&self) -> &Arc<BTreeMap<ListenerId, Arc<model::Listener>>> {
        &self.listeners
    }

    /// All hosts by name, with the certificates they were loaded with.
    pub fn hosts(&self) -> impl Iterator<Item = (&Arc<model::Host>, Option<&Arc<Certificate>>)> {
        self.hosts.values().map(|(host, tls)| (host, tls.certificate.as_ref()))
    }

    /// The certificates by name, for the handshake.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// What hosts ask of their clients; `None`: no host asks anything.
    pub fn client_policies(&self) -> Option<&Arc<ClientPolicies>> {
        self.client_policies.as_ref()
    }

    /// How many frontends are in force.
    pub fn frontend_count(&self) -> usize {
        self.frontends.len()
    }
}
