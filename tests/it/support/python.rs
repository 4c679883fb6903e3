//! Servers in Python with behaviour that nginx does not have.

use super::process::Process;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A running script of `tests/it/support`.
pub struct Python {
    _process: Process,
    address: SocketAddr,
    _dir: TempDir,
}

impl Python {
    /// The server of `upstream.py`, whose paths say what it does.
    pub fn upstream() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/upstream.py");
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(Command::new("python3").arg(script), &dir.path().join("output"));
        let port = process.printed("listening on port ", Duration::from_secs(20)).parse().unwrap();
        Self { _process: process, address: SocketAddr::from(([127, 0, 0, 1], port)), _dir: dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
