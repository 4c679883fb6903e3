//! A new connection to a server.

use super::server::Server;
use crate::wire::{Socket, Stream, Wire};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Why a server could not be connected to. No byte of a request was written.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, no route, no descriptor left.
    #[error("connect to {0}: {1}")]
    Io(Box<str>, io::Error),
    /// The name does not resolve.
    #[error("resolve {0}: {1}")]
    Resolve(Box<str>, io::Error),
}

/// Connects to `server`. The caller bounds the time. `keep_alive` is the period of TCP keep-alive probes.
pub async fn connect(server: &Server, keep_alive: Duration) -> Result<Wire, ConnectError> {
    let stream = match server.address {
        Some(address) => dial(server, address).await?,
        None => {
            let name = (&*server.url.host, server.url.port);
            let failed = |error| ConnectError::Resolve(server.authority.clone(), error);
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            let mut connected = None;
            for address in tokio::net::lookup_host(name).await.map_err(failed)? {
                match TcpStream::connect(address).await {
                    Ok(stream) => {
                        connected = Some(stream);
                        break;
                    }
                    Err(error) => last = error,
                }
            }
            connected.ok_or_else(|| ConnectError::Io(server.authority.clone(), last))?
        }
    };
    // Both only tune: a connection without them works.
    let _ = stream.set_nodelay(true);
    let probes = TcpKeepalive::new().with_time(keep_alive).with_interval(keep_alive);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
    Ok(Wire::new(Stream::Plain(Socket::Tcp(stream))))
}

async fn dial(server: &Server, address: SocketAddr) -> Result<TcpStream, ConnectError> {
    TcpStream::connect(address).await.map_err(|error| ConnectError::Io(server.authority.clone(), error))
}
