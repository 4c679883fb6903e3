//! A worker's connections to servers that wait for requests, or take several at once.

use super::circuit::ConnectionPermit;
use super::http2::Multiplexed;
use super::server::{Identity, Server};
use crate::wire::Wire;
use http_body::Body;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Connections of one worker, by server. The idle one used last is lent first, so that a lower load lets the others
/// grow old. `B` is what HTTP/2 requests carry.
pub struct Pool<B> {
    servers: HashMap<u64, Kept<B>, foldhash::fast::FixedState>,
}

/// A connection over which one request goes at a time, with its place within the limits.
pub struct Lent {
    /// Its bytes.
    pub wire: Rc<Wire>,
    /// Given back when this is dropped.
    pub permit: ConnectionPermit,
}

struct Kept<B> {
    /// Gone when no table holds the server any more.
    server: Weak<Identity>,
    /// Each with the time at which it is closed.
    idle: Vec<(Lent, Instant)>,
    shared: Vec<Multiplexed<B>>,
    shared_age: Duration,
    /// One connects for all who wait for a shared connection.
    connecting: Rc<Mutex<()>>,
}

impl<B> Default for Pool<B> {
    fn default() -> Self {
        Self { servers: HashMap::default() }
    }
}

impl<B> Pool<B> {
    /// An idle connection to `server` on which nothing has arrived, or `None`.
    pub fn take(&mut self, server: &Server) -> Option<Lent> {
        let kept = self.servers.get_mut(&server.number())?;
        while let Some((lent, _)) = kept.idle.pop() {
            if lent.wire.is_quiet() {
                return Some(lent);
            }
        }
        None
    }

    /// Keeps a connection whose last answer has ended until `expires`, unless there are `most` already, the server takes
    /// no more requests, or somebody waits for its place.
    pub fn put(&mut self, server: &Arc<Server>, lent: Lent, most: usize, expires: Instant) {
        if !server.takes_requests() || server.is_wanted() {
            return;
        }
        let kept = self.kept(server);
        if kept.idle.len() < most {
            kept.idle.push((lent, expires));
        }
    }

    fn kept(&mut self, server: &Server) -> &mut Kept<B> {
        match self.servers.entry(server.number()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Kept {
                server: server.lifetime(),
                idle: Vec::new(),
                shared: Vec::new(),
                shared_age: Duration::ZERO,
                connecting: Rc::default(),
            }),
        }
    }

    /// Keeps a shared connection, to be closed once it had no request for `age`.
    pub fn put_shared(&mut self, server: &Server, connection: Multiplexed<B>, age: Duration) {
        let kept = self.kept(server);
        kept.shared_age = age;
        kept.shared.push(connection);
    }

    /// Held by whoever makes a shared connection to `server`.
    pub fn connecting(&mut self, server: &Server) -> Rc<Mutex<()>> {
        self.kept(server).connecting.clone()
    }

    /// Closes all idle connections to the server of this number.
    pub fn close(&mut self, server: u64) {
        if let Some(kept) = self.servers.get_mut(&server) {
            kept.idle.clear();
            kept.shared.retain(|connection| !connection.is_idle());
        }
    }

    /// Closes what has expired, what the server has closed, and what leads to servers that get no requests any more. To
    /// be called about once a second.
    pub fn sweep(&mut self, now: Instant) {
        self.servers.retain(|_, kept| {
            if kept.server.upgrade().is_none_or(|server| !server.keeps_idle()) {
                return false;
            }
            kept.idle.retain(|(lent, expires)| now < *expires && lent.wire.is_quiet());
            let age = kept.shared_age;
            kept.shared.retain(|connection| !connection.is_old(now, age));
            !kept.idle.is_empty() || !kept.shared.is_empty() || Rc::strong_count(&kept.connecting) > 1
        });
    }

    /// How many connections wait for a request or take several.
    pub fn len(&self) -> usize {
        self.servers.values().map(|kept| kept.idle.len() + kept.shared.len()).sum()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<B: Body + Unpin + 'static> Pool<B>
where
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A connection to `server` that takes another request beside those it has.
    pub fn share(&mut self, server: &Server) -> Option<Multiplexed<B>> {
        let kept = self.servers.get(&server.number())?;
        kept.shared.iter().find(|connection| connection.has_room()).cloned()
    }

    /// Whether a connection to `server` waits to be used.
    pub fn is_warm(&self, server: &Server) -> bool {
        let kept = self.servers.get(&server.number());
        kept.is_some_and(|kept| {
            kept.idle.iter().any(|(lent, _)| lent.wire.is_quiet())
                || kept.shared.iter().any(Multiplexed::has_room)
        })
    }
}
