//! Processes that end with the test that started them.

use super::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A running program whose output goes to a file. Dropping it kills it, and shows the end of its output if the test
/// failed.
pub struct Process {
    name: String,
    child: Option<Child>,
    output: PathBuf,
}

impl Process {
    /// Starts a program; both its outputs go to `output`, which is emptied first.
    pub fn start(command: &mut Command, output: &Path) -> Self {
        let file = File::create(output).unwrap();
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name, child: Some(child), output: output.to_owned() }
    }

    /// Its process id, also after it ended.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Everything it printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// The rest of the first printed line that holds `mark`.
    pub fn printed(&mut self, mark: &str, most: Duration) -> String {
        until(&format!("{} prints {mark:?}", self.name), most, || {
            // Who ended has printed everything.
            let ended = self.ended();
            let output = self.output();
            // Lines that are not complete yet do not count.
            let complete = &output[..output.rfind('\n').map_or(0, |end| end + 1)];
            let found =
                complete.lines().find_map(|line| line.split_once(mark)).map(|(_, rest)| rest.to_owned());
            assert!(found.is_some() || ended.is_none(), "{} ended with {ended:?}", self.name);
            found
        })
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(&mut self, most: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        until(&what, most, || self.ended())
    }

    /// kill -9
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            let lines = output.lines().collect::<Vec<_>>();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            println!("--- the last lines of {}\n{last}\n---", self.name);
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// CPU time that a process used so far, all its threads, user and system.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = &stat[stat.rfind(')').unwrap() + 2..];
    let fields = after_name.split(' ').collect::<Vec<_>>();
    // utime and stime are fields 14 and 15 of proc(5), and the clock has 100 ticks a second on every Linux.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
