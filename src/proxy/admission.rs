//! Which connections are let in: as many as the process, their listener and their client's network may have open. The
//! counts hold over all workers and change only where a connection begins or ends; no request looks at them.

use super::listeners::Listener;
use super::worker::Shared;
use crate::model::is_listed;
use crate::telemetry::Limit;
use ipnet::IpNet;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of the map of clients, so that workers seldom wait for each other.
const SHARDS: usize = 64;

/// Who a client is where connections are counted: as many leading bits of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientBits {
    /// Of an IPv4 address, 32 at most.
    pub v4: u8,
    /// Of an IPv6 address, 128 at most.
    pub v6: u8,
}

impl ClientBits {
    /// The network's first address.
    fn network_of(self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(self.v4))).unwrap_or(0);
                Ipv4Addr::from_bits(ip.to_bits() & mask).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(self.v6))).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
        }
    }
}

/// Counts the open connections of all workers.
pub(super) struct Admission {
    open: AtomicUsize,
    connections_max: usize,
    /// 0: any number.
    per_client_max: usize,
    bits: ClientBits,
    /// Proxies, which are no clients.
    exempt: Arc<[IpNet]>,
    /// Networks with open connections; no more of them than there are connections.
    clients: Vec<Mutex<HashMap<IpAddr, usize>>>,
    hasher: RandomState,
}

impl Admission {
    pub(super) fn new(
        connections_max: usize,
        per_client_max: usize,
        bits: ClientBits,
        exempt: Arc<[IpNet]>,
    ) -> Self {
        Self {
            open: AtomicUsize::new(0),
            connections_max,
            per_client_max,
            bits,
            exempt,
            clients: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Connections that are open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whose connection this is, where that is counted.
    fn counted(&self, listener: &Listener, peer: Option<SocketAddr>) -> Option<IpAddr> {
        let ip = peer?.ip().to_canonical();
        let proxy = listener.object.proxy_protocol.as_ref().is_some_and(|it| it.trusts(Some(ip)));
        let is_client = self.per_client_max > 0 && !proxy && !is_listed(Some(ip), &self.exempt);
        is_client.then(|| self.bits.network_of(ip))
    }

    fn shard(&self, network: &IpAddr) -> Option<MutexGuard<'_, HashMap<IpAddr, usize>>> {
        let index = self.hasher.hash_one(network) as usize % SHARDS;
        self.clients.get(index).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether one more of this network's is within its limit, and counted.
    fn enter_client(&self, network: IpAddr) -> bool {
        let Some(mut clients) = self.shard(&network) else { return true };
        let count = clients.entry(network).or_default();
        let within = *count < self.per_client_max;
        *count += usize::from(within);
        within
    }

    fn leave_client(&self, network: IpAddr) {
        let Some(mut clients) = self.shard(&network) else { return };
        if let Some(count) = clients.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&network);
            }
        }
    }
}

/// One open connection, counted until it is dropped.
pub(super) struct OpenConnection {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    worker: usize,
    network: Option<IpAddr>,
}

impl OpenConnection {
    /// Lets a connection in, or says which limit stands against it. Where all places are taken, `make_place` may end
    /// one that is idle.
    pub(super) fn enter(
        shared: &Arc<Shared>,
        listener: &Arc<Listener>,
        worker: usize,
        peer: Option<SocketAddr>,
        make_place: impl FnOnce() -> bool,
    ) -> Result<Self, Limit> {
        let admission = &shared.admission;
        let most = usize::try_from(listener.object.connections_max).unwrap_or(usize::MAX);
        // Counted first: what is refused takes its counts back when this is dropped.
        let all = admission.open.fetch_add(1, Ordering::Relaxed);
        let of_listener = listener.open.fetch_add(1, Ordering::Relaxed);
        listener.counters.at(worker).opened();
        let mut open = Self { shared: shared.clone(), listener: listener.clone(), worker, network: None };
        if most > 0 && of_listener >= most {
            return Err(Limit::ListenerConnections);
        }
        if let Some(network) = admission.counted(listener, peer) {
            if !admission.enter_client(network) {
                return Err(Limit::ClientConnections);
            }
            open.network = Some(network);
        }
        if all >= admission.connections_max && !make_place() {
            return Err(Limit::Connections);
        }
        Ok(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let admission = &self.shared.admission;
        admission.open.fetch_sub(1, Ordering::Relaxed);
        self.listener.open.fetch_sub(1, Ordering::Relaxed);
        self.listener.counters.at(self.worker).closed();
        if let Some(network) = self.network {
            admission.leave_client(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_a_network() {
        let bits = ClientBits { v4: 24, v6: 64 };
        for (address, network) in [("192.0.2.77", "192.0.2.0"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")] {
            assert_eq!(bits.network_of(address.parse().unwrap()), network.parse::<IpAddr>().unwrap());
        }
        let whole = ClientBits { v4: 32, v6: 128 };
        assert_eq!(whole.network_of("::1".parse().unwrap()), "::1".parse::<IpAddr>().unwrap());
        assert_eq!(
            ClientBits { v4: 0, v6: 0 }.network_of("9.9.9.9".parse().unwrap()),
            "0.0.0.0".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn a_network_has_so_many_places_and_no_entry_without_one() {
        let admission = Admission::new(10, 2, ClientBits { v4: 32, v6: 64 }, Arc::default());
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let entered = [a, a, a, b].map(|network| admission.enter_client(network));
        assert_eq!(entered, [true, true, false, true]);
        for network in [a, a, b] {
            admission.leave_client(network);
        }
        assert!(admission.clients.iter().all(|shard| shard.lock().unwrap().is_empty()));
        assert!(admission.enter_client(a));
    }
}
