//! The program under test.

use super::process::Process;
use super::{Admin, until};
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest time from its start to its admin API's address.
const START_MAX: Duration = Duration::from_secs(20);

/// The program: `FLIPGATE_BIN`, or the one that was built with the tests.
pub fn program() -> PathBuf {
    std::env::var_os("FLIPGATE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_flipgate").into(), PathBuf::from)
}

/// A command of the program that sees nothing of this machine's settings.
pub fn command() -> Command {
    let mut command = Command::new(program());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for kept in ["RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// How a proxy is started.
pub struct Builder {
    store: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    workers: usize,
}

impl Builder {
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| argument.to_string()));
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Starts it and waits for its admin API, not for its table.
    pub fn start(self) -> Flipgate {
        let dir = tempfile::tempdir().unwrap();
        let mut flipgate =
            Flipgate { how: self, dir, runs: 0, process: None, admin: None, started: Instant::now() };
        flipgate.start_again();
        flipgate
    }

    /// Starts it and waits until it is ready.
    pub fn ready(self) -> Flipgate {
        let flipgate = self.start();
        flipgate.wait_ready(Duration::from_secs(20));
        flipgate
    }
}

/// A running `flipgate proxy` with a data directory of its own.
pub struct Flipgate {
    how: Builder,
    runs: usize,
    // Before the directory with its output, so that it can show that when it is dropped.
    process: Option<Process>,
    dir: TempDir,
    admin: Option<Admin>,
    started: Instant,
}

impl Flipgate {
    /// A proxy on a store: `dir:PATH` or `etcd://HOST:PORT`.
    pub fn on(store: &str) -> Builder {
        Builder { store: store.to_owned(), arguments: Vec::new(), environment: Vec::new(), workers: 2 }
    }

    /// Starts a proxy that ended once more, on the same data directory, and waits for its admin API.
    pub fn start_again(&mut self) {
        self.process = None;
        self.runs += 1;
        let mut command = command();
        command
            .args(["proxy", "--store", &self.how.store, "--admin", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(["--workers", &self.how.workers.to_string()])
            .args(&self.how.arguments)
            .envs(self.how.environment.iter().map(|(name, value)| (name, value)));
        if !self.how.arguments.iter().any(|argument| argument == "--drain-delay") {
            command.args(["--drain-delay", "0s"]);
        }
        self.started = Instant::now();
        let output = self.dir.path().join(format!("output-{}", self.runs));
        let mut process = Process::start(&mut command, &output);
        let address = process.printed("admin listening on http://", START_MAX);
        let address = address.split_whitespace().next().unwrap_or_default();
        self.admin = Some(Admin::at(address.parse().unwrap_or_else(|_| panic!("no address: {address:?}"))));
        self.process = Some(process);
    }

    /// The admin API.
    pub fn admin(&self) -> &Admin {
        self.admin.as_ref().expect("it was started")
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started")
    }

    fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    /// When it was started last.
    pub fn started(&self) -> Instant {
        self.started
    }

    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// What it printed since its last start.
    pub fn output(&self) -> String {
        self.process().output()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file of the test's own that goes with the proxy.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&self, most: Duration) {
        until("the proxy is ready", most, || {
            (self.admin().status()["ready"] == serde_json::Value::Bool(true)).then_some(())
        });
    }

    /// The bound address of a listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        until(&format!("listener {listener} has an address"), Duration::from_secs(10), || {
            let status = self.admin().status();
            let listeners = status["listeners"].as_array()?.clone();
            let found = listeners.iter().find(|one| one["id"] == listener)?;
            found["address"].as_str()?.parse().ok()
        })
    }

    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// kill -9
    pub fn kill(&mut self) {
        self.process_mut().kill();
    }

    /// Waits for its end, which somebody has asked for.
    pub fn end(&mut self, most: Duration) -> ExitStatus {
        self.process_mut().end(most)
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.end(Duration::from_secs(30))
    }
}

/// Runs a verb to its end; its exit code, standard output and standard error.
pub fn verb(arguments: &[&str], current_dir: &Path) -> (i32, String, String) {
    let output = command().args(arguments).current_dir(current_dir).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}
