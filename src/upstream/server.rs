//! A server as requests see it, and what of it outlives tables.

use crate::model::{self, ServerId, ServerState, ServerUrl};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

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
    identity: Arc<Identity>,
}

/// What of a server outlives tables.
#[derive(Debug)]
pub(super) struct Identity {
    number: u64,
    in_flight: AtomicU32,
}

impl Server {
    /// The server of `object`, with the identity of `previous` where that is the same address.
    pub fn compile(object: &model::Server, previous: Option<&Server>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let identity = match previous {
            Some(previous) if previous.url == object.url => previous.identity.clone(),
            _ => Arc::new(Identity {
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                in_flight: AtomicU32::new(0),
            }),
        };
        let address = object.url.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, object.url.port));
        let authority = match address {
            Some(address) => address.to_string(),
            None => format!("{}:{}", object.url.host, object.url.port),
        };
        Self {
            id: object.id.clone(),
            url: object.url.clone(),
            address,
            authority: authority.into(),
            state: object.state,
            weight: object.weight,
            identity,
        }
    }

    /// Tells this server's connections apart from all others', over tables and for the life of the process.
    pub fn number(&self) -> u64 {
        self.identity.number
    }

    /// Can be upgraded as long as some table has the server.
    pub(super) fn lifetime(&self) -> Weak<Identity> {
        Arc::downgrade(&self.identity)
    }

    /// Whether it gets new requests.
    pub fn takes_requests(&self) -> bool {
        self.state == ServerState::Active && self.weight > 0
    }

    /// Requests that have not ended, over all workers and tables.
    pub fn in_flight(&self) -> u32 {
        self.identity.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request until the guard is dropped.
    pub fn enter(&self) -> ServerGuard {
        self.identity.in_flight.fetch_add(1, Ordering::Relaxed);
        ServerGuard(self.identity.clone())
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
