//! A proxy with one frontend for everything, its middlewares, and curl as the client.

use crate::support::{Directory, Flipgate, Recorder};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// How curl asks, plain: HTTP/1.1, and HTTP/2 with prior knowledge.
pub const PROTOCOLS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// A server that takes requests, waits so long, and closes without an answer.
pub fn silent(wait: Duration) -> Recorder {
    Recorder::with(move |_, _| {
        std::thread::sleep(wait);
        false
    })
}

/// What curl got.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    /// By name in lower case; several values of one name are joined with ` | `.
    pub fields: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Got {
    /// A field's value; empty where it is absent.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub struct Way {
    pub flipgate: Flipgate,
    pub directory: Directory,
}

impl Way {
    /// `middlewares`: id, type and settings, in order of the ids.
    pub fn new(server: SocketAddr, middlewares: &[(&str, &str, Value)]) -> Self {
        Self::with(server, middlewares, &[], |_| ())
    }

    pub fn with(
        server: SocketAddr,
        middlewares: &[(&str, &str, Value)],
        arguments: &[&str],
        more: impl FnOnce(&Directory),
    ) -> Self {
        let directory = Directory::new();
        let listener = json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": "127.0.0.1:0"},
                              "Settings": {"H2C": true}});
        directory.put("listeners/http", &listener);
        directory.put_way("a", "PathPrefix(`/`)", server);
        more(&directory);
        for (id, kind, spec) in middlewares {
            let value = json!({"Type": kind, "Middleware": spec});
            directory.put(&format!("frontends/a/middlewares/{id}"), &value);
        }
        let flipgate = Flipgate::on(&directory.url()).workers(2).arguments(arguments).ready();
        assert_eq!(flipgate.admin().problems(), Vec::<Value>::new());
        Self { flipgate, directory }
    }

    pub fn address(&self) -> SocketAddr {
        self.flipgate.address("http")
    }

    /// Asks for `target` with further arguments of curl.
    pub fn curl(&self, arguments: &[&str], target: &str) -> Got {
        let dir = tempfile::tempdir().unwrap();
        let (head, out) = (dir.path().join("head"), dir.path().join("body"));
        let mut command = Command::new("curl");
        command
            .args(["-sS", "--max-time", "20", "-H", "Host: a.example", "-D"])
            .arg(&head)
            .arg("-o")
            .arg(&out);
        let url = format!("http://{}{target}", self.address());
        let done = command.args(arguments).arg(&url).output().unwrap();
        assert!(done.status.success(), "{arguments:?} {url}: {}", String::from_utf8_lossy(&done.stderr));
        let text = std::fs::read_to_string(head).unwrap();
        let last = text.trim_end().rsplit("\r\n\r\n").next().unwrap().to_owned();
        let mut lines = last.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let (name, value) = (name.to_ascii_lowercase(), value.trim());
            let known = fields.entry(name).and_modify(|it| *it += " | ").or_default();
            *known += value;
        }
        Got { status, fields, body: std::fs::read(out).unwrap_or_default() }
    }
}
