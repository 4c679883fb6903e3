//! Flips as scripts start them: the program's own verb, whose JSON lines are read as they come.

use super::Fleet;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A line of the verb, and when it was read.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: String,
    pub at: Instant,
    pub line: Value,
}

/// A running `flip`, `rollback` or `wait`. Dropping it kills it.
pub struct Flip {
    child: Child,
    lines: Receiver<Event>,
    pub started: Instant,
    /// Everything that came so far.
    pub events: Vec<Event>,
}

/// How one ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub events: Vec<Event>,
    pub errors: String,
}

impl Flip {
    /// Starts a verb with `--output json` on the fleet's store.
    pub fn start(fleet: &Fleet, arguments: &[&str]) -> Self {
        let mut command = fleet.command(arguments);
        command.args(["--output", "json"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let at = Instant::now();
                let Ok(line) = line else { return };
                // Anything else than an event is kept as text, for whoever looks for it.
                let line = serde_json::from_str::<Value>(&line).unwrap_or_else(|_| Value::from(line));
                let name = line["event"].as_str().unwrap_or_default().to_owned();
                if send.send(Event { name, at, line }).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, started, events: Vec::new() }
    }

    /// Flips the alias `shop`.
    pub fn shop(fleet: &Fleet, backend: &str, arguments: &[&str]) -> Self {
        let target = format!("alias/shop={backend}");
        Self::start(fleet, &[&["flip", &target], arguments].concat())
    }

    /// Waits for an event that was not waited for yet; none if it ends or `most` passes without one.
    pub fn wait(&mut self, name: &str, most: Duration) -> Option<Event> {
        let late = Instant::now() + most;
        loop {
            match self.lines.recv_timeout(late.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.events.push(event.clone());
                    if event.name == name {
                        return Some(event);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// As [`Flip::wait`], and it must come.
    pub fn event(&mut self, name: &str, most: Duration) -> Event {
        let found = self.wait(name, most);
        found.unwrap_or_else(|| {
            let errors = self.errors_if_ended();
            panic!("no {name:?} within {most:?}: {:#?}{errors}", self.events)
        })
    }

    /// What it said while `length` passes; it must not end.
    pub fn listen(&mut self, length: Duration) -> &[Event] {
        let before = self.events.len();
        let found = self.wait("\0", length);
        assert!(found.is_none() && self.child.try_wait().unwrap().is_none(), "it ended: {:#?}", self.events);
        &self.events[before..]
    }

    /// Waits for its end.
    pub fn end(mut self, most: Duration) -> Ended {
        let late = Instant::now() + most;
        let status = loop {
            while let Ok(event) = self.lines.try_recv() {
                self.events.push(event);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < late, "it goes on after {most:?}: {:#?}", self.events);
            std::thread::sleep(Duration::from_millis(2));
        };
        let rest = Duration::from_secs(1);
        while let Ok(event) = self.lines.recv_timeout(rest) {
            self.events.push(event);
        }
        let errors = self.errors_if_ended();
        Ended { code: status.code().unwrap_or(-1), events: std::mem::take(&mut self.events), errors }
    }

    /// Waits for its end, which must be with exit code 0 and `safe`.
    pub fn end_safe(self, most: Duration) -> Ended {
        let ended = self.end(most);
        assert_eq!(ended.code, 0, "{ended:#?}");
        assert!(ended.has("safe"), "{ended:#?}");
        ended
    }

    /// kill -9; what it had said.
    pub fn kill(mut self) -> Vec<Event> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        while let Ok(event) = self.lines.recv_timeout(Duration::from_secs(1)) {
            self.events.push(event);
        }
        std::mem::take(&mut self.events)
    }

    fn errors_if_ended(&mut self) -> String {
        let mut errors = String::new();
        if self.child.try_wait().unwrap().is_some()
            && let Some(mut stderr) = self.child.stderr.take()
        {
            let _ = stderr.read_to_string(&mut errors);
        }
        errors
    }
}

impl Drop for Flip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub fn has(&self, name: &str) -> bool {
        self.events.iter().any(|event| event.name == name)
    }

    /// Everything it said, for what must be named in it.
    pub fn text(&self) -> String {
        let lines = self.events.iter().map(|event| format!("{}\n", event.line)).collect::<String>();
        lines + &self.errors
    }
}
