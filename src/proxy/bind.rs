//! Sockets that listen: one for each worker, all at one address that nobody else has.

use super::listeners::{Acceptor, RawTcp, RawUnix};
use crate::model::ListenAddress;
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Connections the kernel may hold for us before we accept them.
const BACKLOG: i32 = 4096;
/// Bytes that the kernel takes for a client beyond what is on the wire: a client that reads slowly costs no more.
const UNSENT_MAX: u32 = 128 * 1024;

/// One bound socket a worker, all on the same address.
pub(super) struct Sockets {
    pub address: ListenAddress,
    pub sockets: Vec<Acceptor>,
    pub file: Option<SocketFile>,
}

/// The file of a Unix socket of ours. Dropping it removes the file, if it still is the one that was made.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// The file that a socket of ours has just made, or one of ours that another process has left to this one.
    pub(super) fn made(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Leaves the file where it is: it belongs to another process now.
    pub(super) fn leave(&mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // What cannot be removed is found stale by the next who binds there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Which file lies at a path: device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

pub(super) fn bind(address: &ListenAddress, workers: usize) -> io::Result<Sockets> {
    match address {
        ListenAddress::Tcp(address) => bind_tcp(*address, workers),
        ListenAddress::Unix(path) => bind_unix(path, workers),
    }
}

fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Sockets> {
    if address.port() != 0 {
        // Fails where another process listens, even one with SO_REUSEPORT.
        let probe = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        only_v6(&probe, address)?;
        probe.bind(&address.into())?;
        probe.listen(1)?;
    }
    let mut bound = address;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = tcp_socket(bound)?;
        bound = socket.local_addr()?;
        sockets.push(Acceptor::Tcp(RawTcp::Bound(socket)));
    }
    Ok(Sockets { address: ListenAddress::Tcp(bound), sockets, file: None })
}

/// One socket more at an address that is ours.
pub(super) fn tcp_socket(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    only_v6(&socket, address)?;
    socket.set_nonblocking(true)?;
    // Accepted ones have it from here. It only tunes.
    let _ = socket.set_tcp_notsent_lowat(UNSENT_MAX);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// `[::]` takes IPv4 too, as most expect of it.
fn only_v6(socket: &RawSocket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() && address.ip().is_unspecified() { socket.set_only_v6(false) } else { Ok(()) }
}

fn bind_unix(path: &Path, workers: usize) -> io::Result<Sockets> {
    make_way(path)?;
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::made(path)?;
    socket.listen(BACKLOG)?;
    let socket = std::os::unix::net::UnixListener::from(socket);
    let sockets = (0..workers).map(|_| Ok(Acceptor::Unix(RawUnix::Bound(socket.try_clone()?))));
    Ok(Sockets {
        address: ListenAddress::Unix(path.to_owned()),
        sockets: sockets.collect::<io::Result<_>>()?,
        file: Some(file),
    })
}

/// Removes a socket that a dead process has left behind.
///
/// # Errors
/// Somebody listens there, or it is no socket.
fn make_way(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    // Who listens and does not come to accept anybody must not hold us up.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Ok(()) => return Err(ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::AddrInUse.into()),
        Err(error) => return Err(error),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn kind(path: &Path) -> Option<ErrorKind> {
        bind(&ListenAddress::Unix(path.to_owned()), 2).err().map(|error| error.kind())
    }

    #[test]
    fn a_unix_socket_takes_the_place_of_a_dead_one_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "it is stale");
        let bound = bind(&ListenAddress::Unix(path.clone()), 2).unwrap();
        assert_eq!(bound.sockets.len(), 2);
        UnixStream::connect(&path).unwrap();
        assert_eq!(kind(&path), Some(ErrorKind::AddrInUse));
        drop(bound);
        assert!(!path.exists(), "it is removed with its listener");

        let busy = UnixListener::bind(&path).unwrap();
        assert_eq!(kind(&path), Some(ErrorKind::AddrInUse));
        drop(busy);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(kind(&path), Some(ErrorKind::AlreadyExists));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert_eq!(kind(&dir.path().join("absent/socket")), Some(ErrorKind::NotFound));
    }

    #[test]
    fn a_socket_that_took_our_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let bound = bind(&ListenAddress::Unix(path.clone()), 1).unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(bound);
        UnixStream::connect(&path).unwrap();
    }
}
