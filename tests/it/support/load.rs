//! Load from other people's programs, and what they say about it.

use super::process::Process;
use super::until;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// What a load was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Answers.
    pub requests: u64,
    /// Broken connections, time-outs, and answers other than 2xx and 3xx.
    pub failed: u64,
}

/// A running wrk.
pub struct Wrk {
    process: Process,
    _dir: TempDir,
}

impl Wrk {
    /// As many requests as go through `connections`, until it is stopped, but for `most` at the longest.
    pub fn start(address: SocketAddr, host: &str, path: &str, connections: usize, most: Duration) -> Self {
        Self::start_on(None, address, &["-H", &format!("Host: {host}")], path, connections, most)
    }

    /// With arguments of its own and pinned to a core.
    pub fn start_on(
        core: Option<usize>,
        address: SocketAddr,
        arguments: &[&str],
        path: &str,
        connections: usize,
        most: Duration,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("wrk");
        if let Some(core) = core {
            command = Command::new("taskset");
            command.args(["-c", &core.to_string(), "wrk"]);
        }
        command
            .args([
                "-t",
                "1",
                "-c",
                &connections.to_string(),
                "-d",
                &most.as_secs().to_string(),
                "--timeout",
                "10s",
            ])
            .args(arguments)
            .arg(format!("http://{address}{path}"));
        let process = Process::start(&mut command, &dir.path().join("output"));
        until("wrk can be stopped", Duration::from_secs(20), || {
            catches_interrupt(process.pid()).then_some(())
        });
        Self { process, _dir: dir }
    }

    /// Ends it early; what it did.
    pub fn stop(mut self) -> Load {
        assert!(self.process.ended().is_none(), "the load ended before the test:\n{}", self.process.output());
        // One that comes before the wait that it is to end is lost.
        until("wrk ends", Duration::from_secs(30), || {
            self.process.signal(Signal::SIGINT);
            std::thread::sleep(Duration::from_millis(50));
            self.process.ended()
        });
        self.result(Duration::from_secs(1))
    }

    /// Waits for its end; what it did.
    pub fn result(&mut self, most: Duration) -> Load {
        let status = self.process.end(most);
        let output = self.process.output();
        assert!(status.success(), "wrk ended with {status}:\n{output}");
        parse_wrk(&output).unwrap_or_else(|| panic!("wrk printed\n{output}"))
    }
}

/// Before it has set up its handler, the signal would kill it; after it ended, it does not matter.
fn catches_interrupt(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX);
    caught & (1 << (Signal::SIGINT as i32 - 1)) != 0
}

fn parse_wrk(output: &str) -> Option<Load> {
    let number_before = |mark: &str| {
        let line = output.lines().find(|line| line.contains(mark))?;
        line.split(mark).next()?.split_whitespace().last()?.parse::<u64>().ok()
    };
    let requests = number_before(" requests in ")?;
    let codes = output.lines().find_map(|line| line.trim().strip_prefix("Non-2xx or 3xx responses: "));
    let errors = output.lines().find_map(|line| line.trim().strip_prefix("Socket errors: "));
    let numbers =
        |text: &str| text.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    Some(Load { requests, failed: codes.map_or(0, numbers) + errors.map_or(0, numbers) })
}

/// A running h2load.
pub struct H2load {
    process: Process,
    _dir: TempDir,
}

impl H2load {
    /// An open load: `rate` requests a second over `clients` connections, for `length`. `url` names scheme, host and
    /// port; over TLS HTTP/2 is spoken, otherwise HTTP/1.1.
    pub fn start(url: &str, clients: usize, rate: usize, length: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("h2load");
        command
            .args(["-t", "1", "-c", &clients.to_string(), "-D", &length.as_secs().to_string()])
            .args([format!("--rps={}", rate.div_ceil(clients)), url.to_owned()]);
        if url.starts_with("http:") {
            command.arg("--h1");
        }
        Self { process: Process::start(&mut command, &dir.path().join("output")), _dir: dir }
    }

    pub fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Waits for its end; what it did.
    pub fn result(&mut self, most: Duration) -> Load {
        let status = self.process.end(most);
        let output = self.process.output();
        assert!(status.success(), "h2load ended with {status}:\n{output}");
        parse_h2load(&output).unwrap_or_else(|| panic!("h2load printed\n{output}"))
    }
}

fn parse_h2load(output: &str) -> Option<Load> {
    // requests: 200 total, 200 started, 200 done, 198 succeeded, 2 failed, 1 errored, 1 timeout
    let line = output.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let number = |word: &str| {
        let part = line.split(", ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse::<u64>().ok()
    };
    Some(Load { requests: number(" done")?, failed: number(" failed")? })
}

#[test]
fn what_load_drivers_print_is_understood() {
    let wrk = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  5 requests in 1.00s, 1KB read\n  \
               Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 3\nRequests/sec: 5\n";
    assert_eq!(parse_wrk(wrk), Some(Load { requests: 5, failed: 10 }));
    let quiet = "  7 requests in 1.00s, 1KB read\n";
    assert_eq!(parse_wrk(quiet), Some(Load { requests: 7, failed: 0 }));
    let h2load = "finished in 1s\nrequests: 200 total, 200 started, 199 done, 198 succeeded, 2 failed, 1 errored, 1 timeout\n";
    assert_eq!(parse_h2load(h2load), Some(Load { requests: 199, failed: 2 }));
}
