//! The admin API as a client sees it.

use super::http::{Answer, Connection};
use super::until;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// The v3 API at an address. Each question goes over a connection of its own.
#[derive(Clone)]
pub struct Admin {
    address: SocketAddr,
}

impl Admin {
    pub fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An answer to a request without a body.
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, &[], None)
    }

    /// An answer to any request.
    pub fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = body.map(|body| body.to_string());
        if let Some(body) = &body {
            text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body.as_deref().unwrap_or_default());
        let mut connection = Connection::open(self.address);
        connection.send(text.as_bytes());
        connection.answer()
    }

    /// The JSON of a successful GET.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.ask("GET", path);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    pub fn status(&self) -> Value {
        self.json("/v3/status")
    }

    /// Returns when all workers serve `revision` or a later one.
    pub fn served(&self, revision: i64) {
        let answer = self.ask("GET", &format!("/v3/status?revision={revision}&timeout=10s"));
        assert_eq!(answer.status, 200, "revision {revision} is not served: {}", answer.text());
        let served = answer.json()["revision"].as_i64().expect("revision is a number");
        assert!(served >= revision, "asked for {revision}, answered at {served}");
    }

    pub fn problems(&self) -> Vec<Value> {
        self.json("/v3/problems")["problems"].as_array().expect("problems").clone()
    }

    /// Waits until a problem fits.
    pub fn problem(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Vec::new();
        let found = until_or(Duration::from_secs(15), || {
            last = self.problems();
            last.iter().find(|problem| fits(problem)).cloned()
        });
        found.unwrap_or_else(|| panic!("no problem about {what} in {last:#?}"))
    }

    /// Waits until the status fits.
    pub fn state(&self, what: &str, most: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        until(what, most, || Some(self.status()).filter(|status| fits(status)))
    }
}

fn until_or<T>(most: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let late = std::time::Instant::now() + most;
    while std::time::Instant::now() < late {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}
