//! Servers with names: where a name last led to is kept for when it cannot be resolved.

use super::connect::ConnectError;
use super::server::Server;
use arc_swap::ArcSwapOption;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Addresses of a name that are tried for one connection.
const TRIED_MAX: usize = 8;

/// Longest wait for a resolver when there is an address to do without it.
const RESOLVE_MAX: Duration = Duration::from_secs(1);

/// The address that a connection to a name was last made to.
#[derive(Debug, Default)]
pub(super) struct LastGood(ArcSwapOption<SocketAddr>);

impl LastGood {
    fn get(&self) -> Option<SocketAddr> {
        self.0.load().as_deref().copied()
    }

    fn note(&self, address: SocketAddr) {
        if self.get() != Some(address) {
            self.0.store(Some(Arc::new(address)));
        }
    }
}

/// Resolves anew for each connection, as the name's owner may move it at any time. Does without an answer where the
/// resolver has none and a former one led somewhere. The caller bounds the time.
pub(super) async fn dial(server: &Server) -> Result<TcpStream, ConnectError> {
    let last_good = server.identity.last_good.get();
    let name = (&*server.url.host, server.url.port);
    let lookup = tokio::net::lookup_host(name);
    let found = match last_good {
        None => lookup.await,
        Some(_) => timeout(RESOLVE_MAX, lookup).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    };
    let addresses = choose(found.map(|found| found.take(TRIED_MAX).collect()), last_good)
        .map_err(|error| ConnectError::Resolve(server.authority.clone(), error))?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                server.identity.last_good.note(address);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Io(server.authority.clone(), last))
}

/// Where to try to connect, in order.
fn choose(found: io::Result<Vec<SocketAddr>>, last_good: Option<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    match (found, last_good) {
        (Ok(found), Some(last_good)) if found.is_empty() => Ok(vec![last_good]),
        (Ok(found), _) => Ok(found),
        (Err(_), Some(last_good)) => Ok(vec![last_good]),
        (Err(error), None) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_answer_the_last_good_address_is_used() {
        let (old, new) = (SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 2], 80)));
        let gone = || Err(io::Error::from(io::ErrorKind::NotFound));
        for (found, last_good, chosen) in [
            (Ok(vec![new]), None, Some(vec![new])),
            (Ok(vec![new]), Some(old), Some(vec![new])),
            (Ok(vec![]), Some(old), Some(vec![old])),
            (gone(), Some(old), Some(vec![old])),
            (gone(), None, None),
        ] {
            assert_eq!(choose(found, last_good).ok(), chosen);
        }
        let kept = LastGood::default();
        assert_eq!(kept.get(), None);
        kept.note(old);
        kept.note(new);
        assert_eq!(kept.get(), Some(new));
    }
}
