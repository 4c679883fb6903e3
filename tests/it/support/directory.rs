//! A directory store, edited as people's tools do: a new file that is moved into place.

use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory store. Dropping it removes it.
pub struct Directory {
    dir: TempDir,
}

impl Directory {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("table")).unwrap();
        Self { dir }
    }

    /// One with a plain listener `http` on a free port.
    pub fn with_listener() -> Self {
        let directory = Self::new();
        directory.put("listeners/http", &listener("http"));
        directory
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("table")
    }

    /// As `--store` takes it.
    pub fn url(&self) -> String {
        format!("dir:{}", self.path().display())
    }

    pub fn put(&self, key: &str, value: &Value) {
        self.put_text(&format!("{key}.json"), &value.to_string());
    }

    /// Writes a file by its name with ending.
    pub fn put_text(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let staged = self.dir.path().join("staged");
        fs::write(&staged, text).unwrap();
        fs::rename(&staged, path).unwrap();
    }

    /// A backend with one server, and a frontend that sends to it.
    pub fn put_way(&self, id: &str, route: &str, server: std::net::SocketAddr) {
        self.put(&format!("backends/{id}/backend"), &json!({"Type": "http"}));
        self.put(&format!("backends/{id}/servers/a"), &json!({"URL": format!("http://{server}")}));
        let frontend =
            json!({"Type": "http", "BackendId": id, "Route": route, "Settings": {"PassHostHeader": true}});
        self.put(&format!("frontends/{id}/frontend"), &frontend);
    }
}

/// A listener on a free port of loopback.
pub fn listener(protocol: &str) -> Value {
    json!({"Protocol": protocol, "Address": {"Network": "tcp", "Address": "127.0.0.1:0"}})
}
