//! Who of the servers that get requests gets this one.
//!
//! Nothing is allocated and nothing waits. `O(1)` as long as most servers can take the request.

use super::backend::Backend;
use super::clock::{mix, place};
use super::server::{Server, Standing};
use super::view::View;
use crate::meter::millis;
use crate::model::Policy;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Turns that are looked at before every server is.
const TURNS_MAX: usize = 64;
/// Points of the ring that are looked at where one that would do was found already.
const POINTS_MAX: usize = 256;
/// Latency of a server that nobody has heard of, in microseconds, where nobody has of any.
const UNHEARD_MICROS: f32 = 1_000.0;

/// What decides about a request's server besides the servers.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// Whose turn counter counts.
    pub worker: usize,
    /// Now, or a little earlier.
    pub now: Instant,
    /// A number of its own for each pick.
    pub random: u64,
    /// The hash of what tells the client apart, for [`Policy::Hash`]; without one requests are spread.
    pub key: Option<u64>,
    /// The server that the client's cookie names, from [`StickyKey::decode`](super::StickyKey::decode).
    pub sticky: Option<u64>,
    /// Servers that the request was at already.
    pub tried: &'a [Arc<Server>],
}

/// What speaks for and against a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It was tried, or gets no requests.
    Never,
    /// All its connections are in use.
    Full,
    /// Its share still grows, and this request is not part of it.
    Growing,
    Good,
}

/// The best server so far.
struct Best {
    index: Option<u16>,
    fit: Fit,
}

struct Picker<'a> {
    backend: &'a Backend,
    view: &'a View,
    turn: &'a Turn<'a>,
    now: u64,
}

impl Backend {
    /// The server that gets the request, passing over those in `tried`. `None`: nobody is left.
    ///
    /// One whose connections are all in use is passed over as long as another is not.
    pub fn pick(&self, turn: &Turn<'_>) -> Option<&Arc<Server>> {
        let now = millis(turn.now);
        let index = self.with_view(now, |view| Picker { backend: self, view, turn, now }.pick())?;
        self.servers.get(usize::from(index))
    }
}

impl Best {
    const NONE: Self = Self { index: None, fit: Fit::Never };

    /// Takes a better one; true: there is none better.
    fn offer(&mut self, index: u16, fit: Fit) -> bool {
        if fit > self.fit {
            *self = Self { index: Some(index), fit };
        }
        self.fit == Fit::Good
    }
}

impl Picker<'_> {
    fn pick(&self) -> Option<u16> {
        if let Some(index) = self.turn.sticky.and_then(|hash| self.sticky(hash)) {
            return Some(index);
        }
        match &self.backend.settings.balance.policy {
            Policy::RoundRobin => self.next_in_turn(),
            Policy::LeastRequests => self.better_of_two(|a, b| {
                let (busy_a, busy_b) = (u64::from(a.in_flight()), u64::from(b.in_flight()));
                busy_b * u64::from(a.weight) < busy_a * u64::from(b.weight)
            }),
            Policy::PeakEwma => self.better_of_two(|a, b| {
                let heard = |server: &Server| server.identity.latency.micros(self.now);
                let (heard_a, heard_b) = (heard(a), heard(b));
                // Who was never asked is thought as good as the other: then the open requests decide.
                let latency_a = heard_a.or(heard_b).unwrap_or(UNHEARD_MICROS);
                let latency_b = heard_b.or(heard_a).unwrap_or(UNHEARD_MICROS);
                let cost = |server: &Server, latency: f32| {
                    latency * (server.in_flight() as f32 + 1.0) / f32::from(server.weight.max(1))
                };
                cost(b, latency_b) < cost(a, latency_a)
            }),
            Policy::Hash(_) => match self.turn.key {
                Some(key) => self.on_ring(key),
                None => self.draw(self.turn.random, None),
            },
        }
    }

    fn server(&self, index: u16) -> Option<&Server> {
        self.backend.servers.get(usize::from(index)).map(|server| &**server)
    }

    fn fit(&self, index: u16, random: u64) -> Fit {
        let Some(server) = self.server(index) else { return Fit::Never };
        if self.turn.tried.iter().any(|tried| tried.number() == server.number()) {
            return Fit::Never;
        }
        // Connections that idle in a pool are as good as none; the server is full when all are in use.
        let most = self.backend.settings.limits.server_connections;
        if most.is_some_and(|most| server.connections() >= most && server.in_flight() >= most) {
            return Fit::Full;
        }
        if self.view.declines(index, self.now, random) { Fit::Growing } else { Fit::Good }
    }

    fn sticky(&self, hash: u64) -> Option<u16> {
        let index = self.backend.index_of_hash(hash)?;
        let server = self.server(index)?;
        let may = server.takes_requests()
            && (self.view.is_eligible(index)
                || matches!(server.standing_at(self.now), Standing::Well | Standing::Unknown));
        let tried = self.turn.tried.iter().any(|tried| tried.number() == server.number());
        (may && !tried).then_some(index)
    }

    /// Round robin by the worker's own counter. Turns that are passed over are used up, so that none gets another's
    /// for good.
    fn next_in_turn(&self) -> Option<u16> {
        let turns = self.backend.turns(self.turn.worker)?;
        let rotation = &self.view.rotation;
        let (mut best, mut random) = (Best::NONE, self.turn.random);
        let mut at = turns.load(Ordering::Relaxed) as usize;
        let mut next = at;
        for _ in 0..rotation.len().min(TURNS_MAX) {
            at = if at < rotation.len() { at } else { 0 };
            let index = *rotation.get(at)?;
            at += 1;
            let (fit, before) = (self.fit(index, random), best.fit);
            let found = best.offer(index, fit);
            // Where all are full the one behind the chosen is next, and not the same one for ever.
            next = if best.fit > before || best.index.is_none() { at } else { next };
            if found {
                break;
            }
            if fit == Fit::Growing {
                // What is not its share goes to all, and not to its neighbour.
                random = mix(random);
                best = self.drawn(random, None, best);
                break;
            }
        }
        // Only this worker writes its counter.
        turns.store(next as u32, Ordering::Relaxed);
        self.or_anybody(best, None)
    }

    /// One drawn by weight, but not `except`.
    fn draw(&self, random: u64, except: Option<u16>) -> Option<u16> {
        let best = self.drawn(random, except, Best::NONE);
        self.or_anybody(best, except)
    }

    fn drawn(&self, mut random: u64, except: Option<u16>, mut best: Best) -> Best {
        let rotation = &self.view.rotation;
        let mut at = place(random, rotation.len());
        for _ in 0..TURNS_MAX {
            let Some(index) = rotation.get(at).copied() else { break };
            random = mix(random);
            let fit = if except == Some(index) { Fit::Never } else { self.fit(index, random) };
            if best.offer(index, fit) {
                break;
            }
            at = match fit {
                Fit::Growing => place(mix(random), rotation.len()),
                _ => (at + 1) % rotation.len(),
            };
        }
        best
    }

    /// Where the turns that were looked at had nobody good: looks at every server once.
    fn or_anybody(&self, mut best: Best, except: Option<u16>) -> Option<u16> {
        if best.fit < Fit::Growing && self.view.rotation.len() > 1 {
            let others = self.view.eligible().filter(|index| Some(*index) != except);
            for index in others {
                if self.server(index).is_some_and(|server| server.weight > 0)
                    && best.offer(index, self.fit(index, 0))
                {
                    break;
                }
            }
        }
        best.index
    }

    fn better_of_two(&self, second_is_better: impl Fn(&Server, &Server) -> bool) -> Option<u16> {
        let first = self.draw(self.turn.random, None)?;
        let random = mix(self.turn.random);
        // Beside the first any good one will do; to look for one that is hardly there costs more than it gives.
        let second = self.drawn(random, Some(first), Best::NONE);
        let Some(index) = second.index else { return Some(first) };
        let (a, b) = (self.server(first)?, self.server(index)?);
        let better = match self.fit(first, 0).min(Fit::Growing).cmp(&second.fit.min(Fit::Growing)) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => second_is_better(a, b),
            std::cmp::Ordering::Greater => false,
        };
        Some(if better { index } else { first })
    }

    fn on_ring(&self, key: u64) -> Option<u16> {
        let mut best = Best::NONE;
        for (index, steps) in self.backend.ring.as_ref()?.walk(key).zip(0..) {
            if self.view.is_eligible(index) {
                // The same key goes the same way for as long as the share is the same.
                let random = self.server(index).map_or(0, |server| mix(key ^ server.hash));
                if best.offer(index, self.fit(index, random)) {
                    break;
                }
            }
            if steps >= POINTS_MAX && best.index.is_some() {
                break;
            }
        }
        best.index
    }
}
