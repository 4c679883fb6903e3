//! Servers that close each connection after its answer, which can take long.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Lines of an answer, each of which is the colour.
pub const LINES: usize = 20;

/// One of a colour. Dropping it ends it.
pub struct Closing {
    pub address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Closing {
    /// `pause` follows each line.
    pub fn start(colour: &'static str, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), ended: Arc::default() };
        let ended = server.ended.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::spawn(move || answer(client, colour, pause));
            }
        });
        server
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut client: TcpStream, colour: &str, pause: Duration) {
    let _ = client.read(&mut [0; 4096]);
    let line = format!("{colour}\n");
    let length = line.len() * LINES;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = client.write_all(head.as_bytes());
    for _ in 0..LINES {
        if client.write_all(line.as_bytes()).is_err() {
            return;
        }
        std::thread::sleep(pause);
    }
}
