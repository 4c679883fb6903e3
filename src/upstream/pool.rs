//! A worker's idle connections to servers.

use super::server::{Identity, Server};
use crate::wire::Wire;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Idle connections of one worker, by server. The one used last is lent first, so that a lower load lets the others
/// grow old.
#[derive(Default)]
pub struct Pool {
    servers: HashMap<u64, Idle, foldhash::fast::FixedState>,
}

struct Idle {
    /// Gone when no table holds the server any more.
    server: Weak<Identity>,
    /// Each with the time at which it is closed.
    wires: Vec<(Rc<Wire>, Instant)>,
}

impl Pool {
    /// An idle connection to `server` on which nothing has arrived, or `None`.
    pub fn take(&mut self, server: &Server) -> Option<Rc<Wire>> {
        let idle = self.servers.get_mut(&server.number())?;
        while let Some((wire, _)) = idle.wires.pop() {
            if wire.is_quiet() {
                return Some(wire);
            }
        }
        None
    }

    /// Keeps a connection whose last answer has ended until `expires`, unless there are `most` already or the server takes no more
    /// requests.
    pub fn put(&mut self, server: &Arc<Server>, wire: Rc<Wire>, most: usize, expires: Instant) {
        if !server.takes_requests() {
            return;
        }
        let idle = match self.servers.entry(server.number()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Idle { server: server.lifetime(), wires: Vec::new() }),
        };
        if idle.wires.len() < most {
            idle.wires.push((wire, expires));
        }
    }

    /// Closes what has expired, what the server has closed, and what leads to servers that no table
    /// has. To be called about once a second.
    pub fn sweep(&mut self, now: Instant) {
        self.servers.retain(|_, idle| {
            if idle.server.strong_count() == 0 {
                return false;
            }
            idle.wires.retain(|(wire, expires)| now < *expires && wire.is_quiet());
            !idle.wires.is_empty()
        });
    }

    /// Closes all idle connections to the server of this number.
    pub fn close(&mut self, server: u64) {
        self.servers.remove(&server);
    }

    /// Whether a connection to `server` waits to be used.
    pub fn has_idle(&mut self, server: &Server) -> bool {
        let idle = self.servers.get(&server.number());
        idle.is_some_and(|idle| idle.wires.iter().any(|(wire, _)| wire.is_quiet()))
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.servers.values().map(|idle| idle.wires.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
