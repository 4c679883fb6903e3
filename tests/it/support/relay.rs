//! A wire that can be cut: bytes between the program and a server go through it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[derive(Default)]
struct Wire {
    cut: AtomicBool,
    ended: AtomicBool,
    accepted: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
}

/// Listens on a port of its own and passes everything on. Dropping it cuts it for good.
pub struct Relay {
    address: SocketAddr,
    wire: Arc<Wire>,
}

impl Relay {
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(Wire::default());
        let for_thread = wire.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if for_thread.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                for_thread.accepted.fetch_add(1, Ordering::SeqCst);
                if for_thread.cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect_timeout(&server, Duration::from_secs(1)) else {
                    continue;
                };
                // Small messages must not wait for each other.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let mut streams = for_thread.streams.lock().unwrap_or_else(PoisonError::into_inner);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    streams.push(from.try_clone().unwrap());
                    std::thread::spawn(move || copy(from, to));
                }
            }
        });
        Self { address, wire }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were ever tried.
    pub fn accepted(&self) -> u64 {
        self.wire.accepted.load(Ordering::SeqCst)
    }

    /// Breaks every connection and refuses new ones.
    pub fn cut(&self) {
        self.wire.cut.store(true, Ordering::SeqCst);
        for stream in self.wire.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.wire.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.wire.ended.store(true, Ordering::SeqCst);
        self.cut();
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
