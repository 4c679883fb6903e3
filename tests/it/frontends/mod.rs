//! What a frontend's settings do to real traffic.

mod failover;
mod limits;
mod live;
mod pages;
mod trusted;

use crate::support::{Answer, Connection, Directory, Flipgate};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;

/// A proxy that listens on `http` for both protocols, with objects as the test has them.
struct Scene {
    flipgate: Flipgate,
    directory: Directory,
}

/// A backend `b` with these servers, and a frontend `f` of everything with these settings.
fn scene(servers: &[SocketAddr], settings: Value) -> Scene {
    Scene::with(servers, settings, &[])
}

fn frontend(settings: Value) -> Value {
    json!({"Type": "http", "BackendId": "b", "Route": "PathPrefix(`/`)", "Settings": settings})
}

impl Scene {
    fn with(servers: &[SocketAddr], settings: Value, arguments: &[&str]) -> Self {
        let directory = Directory::new();
        let listener = json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": "127.0.0.1:0"},
                              "Settings": {"H2C": true}});
        directory.put("listeners/http", &listener);
        let outlier = json!({"ConsecutiveFailures": 0, "ConnectFailures": 0});
        directory.put("backends/b/backend", &json!({"Type": "http", "Settings": {"Outlier": outlier}}));
        for (place, server) in servers.iter().enumerate() {
            let url = json!({"URL": format!("http://{server}")});
            directory.put(&format!("backends/b/servers/{place}"), &url);
        }
        directory.put("frontends/f/frontend", &frontend(settings));
        let flipgate = Flipgate::on(&directory.url()).workers(1).arguments(arguments).ready();
        Self { flipgate, directory }
    }

    fn address(&self) -> SocketAddr {
        self.flipgate.address("http")
    }

    fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    /// Sends bytes over a connection of their own; the first answer.
    fn ask(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect();
        connection.send(bytes.as_ref());
        connection.answer()
    }

    /// Puts another frontend `f` in force.
    fn put(&self, frontend: &Value) {
        let before = self.revision();
        self.directory.put("frontends/f/frontend", frontend);
        crate::support::until("the edit is served", std::time::Duration::from_secs(5), || {
            (self.revision() > before).then_some(())
        });
    }

    fn revision(&self) -> u64 {
        self.flipgate.admin().status()["revision"].as_u64().unwrap()
    }

    /// What curl prints over HTTP/2: `-w` says what.
    fn curl_http2(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new("curl");
        command.args(["-sS", "--http2-prior-knowledge", "--max-time", "20", "-H", "Host: a.example"]);
        let done = command.args(arguments).arg(format!("http://{}/path", self.address())).output().unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    }
}
