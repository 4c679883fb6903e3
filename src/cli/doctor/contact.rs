//! Connects to servers from this machine, as a proxy would, and says what came of each.

use super::servers::Place;
use futures_util::{StreamExt, stream};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Longest wait for a connection, and for a name's address.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Connections that are made at a time.
pub(super) const AT_ONCE: usize = 64;

/// What came of connecting to a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It accepted.
    Reached,
    /// The machine answers, and nothing listens on the port.
    Refused,
    /// Somebody, this machine or one on the way, knows no route to the network.
    NetworkUnreachable,
    /// Somebody on the way says that there is no such machine, or that it does not answer.
    HostUnreachable,
    /// A route or a firewall of this machine forbids it.
    Forbidden,
    /// A route of this machine throws the packets away.
    Discarded,
    /// Nothing came within [`CONNECT_MAX`].
    TimedOut,
    /// Its name has no address.
    Unresolved,
    /// Something else, in the system's words.
    Other(String),
}

impl Outcome {
    /// A few words behind a number of servers.
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Reached => "reached",
            Self::Refused => "refused (the port is closed)",
            Self::NetworkUnreachable => "without a route (network unreachable)",
            Self::HostUnreachable => "host unreachable",
            Self::Forbidden => "forbidden by a route or a firewall of this machine",
            Self::Discarded => "thrown away by a route of this machine",
            Self::TimedOut => "timed out",
            Self::Unresolved => "whose name has no address",
            Self::Other(words) => words,
        }
    }

    /// For programs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Refused => "refused",
            Self::NetworkUnreachable => "networkUnreachable",
            Self::HostUnreachable => "hostUnreachable",
            Self::Forbidden => "forbidden",
            Self::Discarded => "discarded",
            Self::TimedOut => "timedOut",
            Self::Unresolved => "unresolved",
            Self::Other(_) => "other",
        }
    }

    /// What the kernel's answer to `connect` means.
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED) => Self::Refused,
            Some(Errno::ENETUNREACH) => Self::NetworkUnreachable,
            Some(Errno::EHOSTUNREACH) => Self::HostUnreachable,
            Some(Errno::EACCES | Errno::EPERM) => Self::Forbidden,
            // So says a route of the type `blackhole`.
            Some(Errno::EINVAL) => Self::Discarded,
            Some(Errno::ETIMEDOUT) => Self::TimedOut,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// A place, and what came of connecting to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contact {
    /// Which servers are there.
    pub(super) names: Vec<String>,
    /// `10.244.1.2:8080`, or a name with its port.
    pub(super) place: String,
    /// Where it was looked for; none for a name without an address.
    pub(super) address: Option<IpAddr>,
    pub(super) outcome: Outcome,
}

/// Connects to every place, at most [`AT_ONCE`] at a time; the answers are in the places' order.
pub(super) async fn contact_all(places: BTreeMap<Place, Vec<String>>) -> Vec<Contact> {
    stream::iter(places).map(|(place, names)| contact(place, names)).buffered(AT_ONCE).collect().await
}

async fn contact(Place { host, port }: Place, names: Vec<String>) -> Contact {
    let address = match host.parse::<IpAddr>() {
        Ok(address) => Some(address),
        Err(_) => resolve(&host, port).await,
    };
    let (place, outcome) = match address {
        Some(address) if address.to_string() == *host => {
            let address = SocketAddr::new(address, port);
            (address.to_string(), connect(address).await)
        }
        Some(address) => {
            (format!("{host}:{port} ({address})"), connect(SocketAddr::new(address, port)).await)
        }
        None => (format!("{host}:{port}"), Outcome::Unresolved),
    };
    Contact { names, place, address, outcome }
}

async fn resolve(host: &str, port: u16) -> Option<IpAddr> {
    let found = timeout(CONNECT_MAX, lookup_host((host, port))).await.ok()?.ok()?.next()?;
    Some(found.ip())
}

async fn connect(address: SocketAddr) -> Outcome {
    match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Outcome::Reached,
        Ok(Err(error)) => Outcome::of(&error),
        Err(_) => Outcome::TimedOut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_answers_are_told_apart() {
        for (errno, outcome) in [
            (Errno::ECONNREFUSED, Outcome::Refused),
            (Errno::ENETUNREACH, Outcome::NetworkUnreachable),
            (Errno::EHOSTUNREACH, Outcome::HostUnreachable),
            (Errno::EACCES, Outcome::Forbidden),
            (Errno::EPERM, Outcome::Forbidden),
            (Errno::EINVAL, Outcome::Discarded),
            (Errno::ETIMEDOUT, Outcome::TimedOut),
        ] {
            assert_eq!(Outcome::of(&io::Error::from_raw_os_error(errno as i32)), outcome);
        }
        let reset = Outcome::of(&io::Error::from_raw_os_error(Errno::ECONNRESET as i32));
        assert!(matches!(&reset, Outcome::Other(words) if words.contains("reset")), "{reset:?}");
    }

    #[tokio::test]
    async fn places_are_connected_to_beside_each_other() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let place = |host: &str, port| (Place { host: host.into(), port }, vec![format!("b/{host}")]);
        let places = BTreeMap::from([
            place("127.0.0.1", open),
            place("127.0.0.1", closed),
            place("localhost", open),
            place("no-such-name.invalid", 80),
        ]);
        let mut outcomes = BTreeMap::new();
        for contact in contact_all(places).await {
            outcomes.insert(contact.place, (contact.outcome, contact.address.is_some()));
        }
        assert_eq!(outcomes[&format!("127.0.0.1:{open}")], (Outcome::Reached, true));
        assert_eq!(outcomes[&format!("127.0.0.1:{closed}")], (Outcome::Refused, true));
        assert_eq!(outcomes["no-such-name.invalid:80"], (Outcome::Unresolved, false));
        assert!(outcomes.keys().any(|place| place.starts_with(&format!("localhost:{open} ("))));
    }
}
