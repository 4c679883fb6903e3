//! A backend as requests see it: its servers, and whose turn it is.

use super::server::Server;
use crate::model::{self, BackendId, BackendSettings};
use crate::telemetry::{BackendCounters, WorkerSlots};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Longest rotation; weights whose sum is larger are scaled down to it, none below 1.
const ROTATION_MAX: usize = 4096;

/// A named group of servers.
#[derive(Debug)]
pub struct Backend {
    /// From the key.
    pub id: BackendId,
    /// How its servers are spoken to.
    pub settings: BackendSettings,
    servers: Vec<Arc<Server>>,
    /// Indexes into `servers` in the order of their turns: smooth weighted round robin, one whole round.
    rotation: Box<[u16]>,
    identity: Arc<Identity>,
}

/// What of a backend outlives tables.
#[derive(Debug)]
struct Identity {
    counters: WorkerSlots<BackendCounters>,
    /// One turn counter a worker, so that workers do not contend; they start apart.
    turns: Box<[AtomicU32]>,
    in_flight: AtomicU32,
}

impl Backend {
    /// The backend of `servers`, in order of their ids, with the identity of `previous` and of those of its servers
    /// that stay.
    pub fn compile<'s>(
        id: &BackendId,
        settings: BackendSettings,
        servers: impl Iterator<Item = &'s model::Server>,
        previous: Option<&Backend>,
        workers: usize,
    ) -> Self {
        let before = |server: &model::Server| {
            let servers = &previous?.servers;
            let place = servers.binary_search_by(|old| old.id.cmp(&server.id)).ok()?;
            servers.get(place).map(|old| &**old)
        };
        let servers: Vec<_> =
            servers.map(|server| Arc::new(Server::compile(server, before(server)))).collect();
        let weights: Vec<u16> =
            servers.iter().map(|s| if s.takes_requests() { s.weight } else { 0 }).collect();
        let identity = match previous {
            Some(previous) => previous.identity.clone(),
            None => Arc::new(Identity {
                counters: WorkerSlots::new(workers),
                turns: (0..workers).map(|worker| AtomicU32::new(worker as u32)).collect(),
                in_flight: AtomicU32::new(0),
            }),
        };
        Self { id: id.clone(), settings, servers, rotation: rotation(&weights), identity }
    }

    /// All its servers, by id, also those that get no requests.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// The server whose turn it is on `worker`, passing over those in `tried`. `None`: nobody is left.
    pub fn pick(&self, worker: usize, tried: &[Arc<Server>]) -> Option<&Arc<Server>> {
        let length = u32::try_from(self.rotation.len()).ok().filter(|length| *length > 0)?;
        let turn = self.identity.turns.get(worker)?;
        for _ in 0..length {
            // Only this worker writes its counter.
            let at = turn.load(Ordering::Relaxed);
            turn.store(if at + 1 >= length { 0 } else { at + 1 }, Ordering::Relaxed);
            let index = self.rotation.get((at % length) as usize)?;
            let server = self.servers.get(usize::from(*index))?;
            if !tried.iter().any(|other| other.number() == server.number()) {
                return Some(server);
            }
        }
        None
    }

    /// Kept over tables as long as the backend exists.
    pub fn counters(&self) -> &WorkerSlots<BackendCounters> {
        &self.identity.counters
    }

    /// Requests that have not ended, over all workers and tables.
    pub fn in_flight(&self) -> u32 {
        self.identity.in_flight.load(Ordering::Relaxed)
    }

    /// Counts one request until the guard is dropped.
    pub fn enter(&self) -> BackendGuard {
        self.identity.in_flight.fetch_add(1, Ordering::Relaxed);
        BackendGuard(self.identity.clone())
    }
}

/// One request in flight to a backend.
#[derive(Debug)]
pub struct BackendGuard(Arc<Identity>);

impl Drop for BackendGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One whole round of smooth weighted round robin over `weights`: each index as often as its weight, divided by what
/// all have in common, and spread as evenly as can be.
fn rotation(weights: &[u16]) -> Box<[u16]> {
    let common = weights.iter().fold(0, |a, b| greatest_common_divisor(a, *b)).max(1);
    let mut shares: Vec<i64> = weights.iter().map(|weight| i64::from(weight / common)).collect();
    let sum: i64 = shares.iter().sum();
    if sum > ROTATION_MAX as i64 {
        for share in shares.iter_mut().filter(|share| **share > 0) {
            *share = (*share * ROTATION_MAX as i64 / sum).max(1);
        }
    }
    let sum: i64 = shares.iter().sum();
    if shares.iter().all(|share| *share <= 1) {
        let present = shares.iter().zip(0..).filter(|(share, _)| **share == 1);
        return present.map(|(_, index)| index).collect();
    }
    let mut credit = vec![0; shares.len()];
    let turns = (0..sum).filter_map(|_| {
        credit.iter_mut().zip(&shares).for_each(|(credit, share)| *credit += share);
        let (best, _) = credit.iter().zip(&shares).enumerate().filter(|(_, (_, share))| **share > 0).fold(
            (None, i64::MIN),
            |(best, most), (index, (credit, _))| {
                if *credit > most { (Some(index), *credit) } else { (best, most) }
            },
        );
        *credit.get_mut(best?)? -= sum;
        u16::try_from(best?).ok()
    });
    turns.collect()
}

fn greatest_common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::rotation;

    #[test]
    fn a_round_gives_each_server_its_share_spread_out() {
        let check = |weights: &[u16], round: &[u16]| assert_eq!(&*rotation(weights), round, "{weights:?}");
        check(&[], &[]);
        check(&[0, 0], &[]);
        check(&[1, 1, 1], &[0, 1, 2]);
        check(&[7, 7], &[0, 1]);
        check(&[1, 0, 1], &[0, 2]);
        check(&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]);
        check(&[10, 20], &[1, 0, 1]);
    }

    #[test]
    fn a_round_stays_bounded() {
        let weights: Vec<u16> = (0..5000).map(|i| 1 + i % 1000).collect();
        assert!(rotation(&weights).len() <= super::ROTATION_MAX + weights.len());
    }
}
