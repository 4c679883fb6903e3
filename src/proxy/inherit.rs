//! Sockets that listen already: those of the process before this one in an upgrade, or those that systemd opened.
//!
//! A connection that the system has made waits at its socket, not with a process: as long as somebody holds the socket
//! nobody is refused or reset, whichever process accepts.

use super::bind::{SocketFile, Sockets, tcp_socket};
use super::listeners::{Acceptor, RawTcp, RawUnix};
use crate::model::{ListenAddress, ListenerId};
use socket2::{SockAddr, SockRef};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Mutex, PoisonError};

/// The sockets of one address.
#[derive(Debug)]
pub struct Handed {
    /// The listener that had them, and the address it asked for; `None`: systemd opened them.
    pub listener: Option<(ListenerId, ListenAddress)>,
    /// At least one.
    pub sockets: Vec<OwnedFd>,
}

/// Sockets that no listener has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Mutex<Vec<Handed>>);

impl Inherited {
    /// Sockets to be taken.
    pub fn new(handed: Vec<Handed>) -> Self {
        Self(Mutex::new(handed))
    }

    /// The sockets of a listener's former self, or those at its address; one for each worker.
    pub(super) fn take(
        &self,
        id: &ListenerId,
        address: &ListenAddress,
        workers: usize,
    ) -> io::Result<Option<Sockets>> {
        let mut handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = handed.iter().position(|one| match &one.listener {
            Some((of, asked)) => of == id && asked == address,
            None => one.sockets.first().is_some_and(|socket| is_at(socket, address)),
        });
        let Some(place) = place else { return Ok(None) };
        let taken = handed.swap_remove(place);
        drop(handed);
        sockets(taken, address, workers).map(Some)
    }

    /// Lets go of what the process before this one listened on and no listener of now does. What systemd opened is kept
    /// for listeners that may come.
    pub(super) fn settle(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| one.listener.is_none());
    }
}

/// Whether a socket is bound to an address of a stored listener.
fn is_at(socket: &OwnedFd, address: &ListenAddress) -> bool {
    let Ok(bound) = SockRef::from(socket).local_addr() else { return false };
    match address {
        ListenAddress::Tcp(address) => bound.as_socket() == Some(*address),
        ListenAddress::Unix(path) => bound.as_pathname() == Some(path),
    }
}

fn sockets(handed: Handed, address: &ListenAddress, workers: usize) -> io::Result<Sockets> {
    let Handed { listener, mut sockets } = handed;
    let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
    let bound: SockAddr = SockRef::from(first).local_addr()?;
    let is_shared = bound.is_unix() || !SockRef::from(first).reuse_port()?;
    let mut next = 0;
    while sockets.len() < workers {
        let more = match (bound.as_socket(), is_shared, sockets.get(next)) {
            // A group has room for more; one socket is everybody's.
            (Some(bound), false, _) => tcp_socket(bound)?.into(),
            (_, _, Some(socket)) => socket.try_clone()?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        sockets.push(more);
        next += 1;
    }
    // Of a larger group, what waits at the others is accepted by the process that hands them over.
    sockets.truncate(workers);
    let acceptor = |socket: OwnedFd| {
        SockRef::from(&socket).set_nonblocking(true)?;
        Ok(match address {
            ListenAddress::Tcp(_) => Acceptor::Tcp(RawTcp::Bound(TcpListener::from(socket))),
            ListenAddress::Unix(_) => Acceptor::Unix(RawUnix::Bound(UnixListener::from(socket))),
        })
    };
    let file = match address {
        ListenAddress::Unix(path) if listener.is_some() => Some(SocketFile::made(path)?),
        _ => None,
    };
    let address = bound.as_socket().map_or_else(|| address.clone(), ListenAddress::Tcp);
    Ok(Sockets { address, sockets: sockets.into_iter().map(acceptor).collect::<io::Result<_>>()?, file })
}

#[cfg(test)]
mod tests {
    use super::super::bind::bind;
    use super::*;

    fn fds(sockets: Sockets) -> Vec<OwnedFd> {
        sockets.sockets.iter().map(|socket| socket.keep().unwrap()).collect()
    }

    #[test]
    fn a_group_is_taken_by_its_listener_and_suits_the_workers() {
        let asked: ListenAddress = "127.0.0.1:0".parse().unwrap();
        let id: ListenerId = "http".parse().unwrap();
        for (before, now) in [(1, 3), (2, 2), (3, 1)] {
            let bound = bind(&asked, before).unwrap();
            let address = bound.address.clone();
            let handed = Handed { listener: Some((id.clone(), asked.clone())), sockets: fds(bound) };
            let inherited = Inherited::new(vec![handed]);
            let other: ListenerId = "other".parse().unwrap();
            assert!(inherited.take(&other, &asked, now).unwrap().is_none());
            let taken = inherited.take(&id, &asked, now).unwrap().unwrap();
            assert_eq!((taken.sockets.len(), taken.address), (now, address));
            assert!(inherited.take(&id, &asked, now).unwrap().is_none(), "taken once");
        }
    }

    #[test]
    fn a_socket_of_systemd_is_taken_by_whoever_listens_there() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ListenAddress::Tcp(socket.local_addr().unwrap());
        let inherited = Inherited::new(vec![Handed { listener: None, sockets: vec![socket.into()] }]);
        inherited.settle();
        let id: ListenerId = "http".parse().unwrap();
        assert!(inherited.take(&id, &"127.0.0.1:1".parse().unwrap(), 2).unwrap().is_none());
        assert_eq!(inherited.take(&id, &address, 2).unwrap().unwrap().sockets.len(), 2);
    }
}
