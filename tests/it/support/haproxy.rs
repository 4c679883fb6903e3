//! HAProxy, to compare with.

use super::process::{Process, free_port};
use super::until;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// One HAProxy with one thread.
pub struct Haproxy {
    process: Process,
    _dir: TempDir,
    address: SocketAddr,
}

impl Haproxy {
    /// Takes HTTP/2 with prior knowledge, and asks a server over HTTP/1.1.
    pub fn http2_before(server: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = dir.path().join("haproxy.cfg");
        let text = format!(
            "global\n  nbthread 1\n  maxconn 1000\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen http2\n  bind {address} proto h2\n  server a {server}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file);
        let process = Process::start(&mut command, &dir.path().join("output"));
        until("HAProxy listens", Duration::from_secs(10), || TcpStream::connect(address).ok());
        Self { process, _dir: dir, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
