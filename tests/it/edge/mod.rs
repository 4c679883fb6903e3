//! Where clients come in: the PROXY protocol, Unix sockets, listeners that move, client certificates, ours for servers.

mod certificates;
mod moves;
mod proxied;
mod servers;

use std::collections::BTreeMap;
use std::process::Command;

/// What curl got: its exit status, and of the answer the status (0: there was none) and
/// the fields.
pub struct Got {
    pub exit: i32,
    pub status: u16,
    pub fields: BTreeMap<String, String>,
}

impl Got {
    /// What an echo server saw of a request field.
    pub fn seen(&self, name: &str) -> Option<&str> {
        self.fields.get(&format!("x-seen-{name}")).map(String::as_str)
    }
}

/// Runs curl; nothing of this machine's settings plays in.
pub fn curl<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Got {
    let dir = tempfile::tempdir().unwrap();
    let head = dir.path().join("head");
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--noproxy", "*", "--max-time", "20", "-o", "/dev/null", "-D"]).arg(&head);
    let done = command.args(arguments).output().unwrap();
    let text = std::fs::read_to_string(head).unwrap_or_default();
    let last = text.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
    let mut lines = last.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let field = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let exit = done.status.code().unwrap_or(-1);
    println!("curl {exit} {status} {}", String::from_utf8_lossy(&done.stderr).trim_end());
    Got { exit, status, fields: lines.filter_map(field).collect() }
}
