//! HTTP/1.1 over the wire, byte for byte: what is refused and reaches nobody, what passes and how. The names of the
//! cases are stable; the rules are those of RFC 9110 and RFC 9112 where they leave no choice, and the stricter choice
//! where they do.

mod bodies;
mod broken;
mod errors;
mod fields;
mod heads;
mod refused;
mod rules;

use crate::support::recorder::Seen;
use crate::support::{Answer, Connection, Directory, Flipgate, Recorder, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// A proxy with one way, which leads to a server that notes everything.
struct Scene {
    flipgate: Flipgate,
    server: Recorder,
    directory: Directory,
}

impl Scene {
    fn new() -> Self {
        Self::to(Recorder::start())
    }

    fn to(server: Recorder) -> Self {
        Self::with(server, |_| ())
    }

    /// With objects of the test's own beside the way of `a.example`.
    fn with(server: Recorder, more: impl FnOnce(&Directory)) -> Self {
        let directory = Directory::with_listener();
        directory.put_way("a", "PathPrefix(`/`)", server.address());
        more(&directory);
        let flipgate = Flipgate::on(&directory.url()).workers(1).ready();
        Self { flipgate, server, directory }
    }

    fn address(&self) -> SocketAddr {
        self.flipgate.address("http")
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(self.address());
        connection.set_silence_max(Duration::from_secs(5));
        connection
    }

    /// Sends bytes over a connection of their own; the first answer.
    fn ask(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect();
        connection.send(bytes.as_ref());
        connection.answer()
    }

    /// As [`Scene::ask`], with what the server saw of it.
    fn pass(&self, bytes: impl AsRef<[u8]>) -> (Answer, Seen) {
        self.server.take();
        let answer = self.ask(bytes.as_ref());
        let mut seen = self.server.take();
        assert_eq!(seen.len(), 1, "{} requests reached the server: {seen:?}; {answer:?}", seen.len());
        (answer, seen.remove(0))
    }

    /// Waits until the server has heard everything that it will hear: its connections are closed, or wait for requests.
    fn wait_for_no_upstream_or_idle(&self) {
        let mut before = (usize::MAX, usize::MAX);
        until("nothing more reaches the server", Duration::from_secs(5), || {
            let now = (self.server.open_connections(), self.server.seen().len());
            let same = std::mem::replace(&mut before, now) == now;
            std::thread::sleep(Duration::from_millis(50));
            same.then_some(())
        });
    }

    /// Waits until every connection to the server is closed.
    fn wait_for_no_upstream(&self, what: &str) {
        let what = format!("{what}: the connections to the server are closed");
        until(&what, Duration::from_secs(5), || (self.server.open_connections() == 0).then_some(()));
    }
}

/// A GET for `a.example` with further field lines, each with its CR LF.
fn get_with(lines: &str) -> String {
    format!("GET /path HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n")
}

/// A middleware's envelope.
fn middleware(kind: &str, spec: Value) -> Value {
    json!({"Type": kind, "Priority": 1, "Middleware": spec})
}
