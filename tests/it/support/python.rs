//! Servers in Python with behaviour that nginx does not have.

use super::process::Process;
use super::until;
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

/// Google's gRPC in Python, which `tests/tools.sh` installs where there is none.
pub struct Grpc {
    process: Process,
    address: SocketAddr,
    _dir: TempDir,
}

impl Grpc {
    /// The server of `grpc_server.py`.
    pub fn server() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(&mut grpc("grpc_server.py"), &dir.path().join("output"));
        let port = process.printed("listening on port ", Duration::from_secs(20)).parse().unwrap();
        Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)), _dir: dir }
    }

    /// What `grpc_client.py` says about a server, over TLS if there is an authority to trust.
    pub fn client(address: SocketAddr, host: &str, ca: Option<&Path>, most: Duration) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut command = grpc("grpc_client.py");
        command.args([&address.to_string(), host]).args(ca);
        let mut process = Process::start(&mut command, &dir.path().join("output"));
        let status = process.end(most);
        let output = process.output();
        assert!(status.success(), "{status}: is grpcio installed? tests/run does it.\n{output}");
        output
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has said something so many times.
    pub fn says(&self, what: &str, times: usize, most: Duration) {
        until(&format!("the server says {what:?} {times} times"), most, || {
            (self.process.output().matches(what).count() >= times).then_some(())
        });
    }
}

fn grpc(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    command
        .arg(root.join("tests/it/support").join(script))
        .env("PYTHONPATH", root.join("target/tools/grpcio"));
    command
}
