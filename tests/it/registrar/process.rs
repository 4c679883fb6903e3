//! The program's registrar.

use crate::support::kubernetes::Cluster;
use crate::support::{Process, flipgate, get, until};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const START_MAX: Duration = Duration::from_secs(30);

/// A running `flipgate registrar`.
pub struct Registrar {
    // Before the directory with its output, so that it can show that when it is dropped.
    process: Process,
    _dir: TempDir,
    health: SocketAddr,
}

impl Registrar {
    /// One between a cluster and a store, which leads and knows what is there.
    pub fn ready(cluster: &Cluster, store: &str) -> Self {
        Self::ready_with(cluster, store, &[])
    }

    /// The same, with further arguments.
    pub fn ready_with(cluster: &Cluster, store: &str, arguments: &[&str]) -> Self {
        Self::ready_as(&cluster.kubeconfig(), store, arguments)
    }

    /// The same with another account.
    pub fn ready_as(kubeconfig: &Path, store: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = flipgate::command();
        command.args(["registrar", "--store", store, "--health", "127.0.0.1:0"]);
        command.arg("--kubeconfig").arg(kubeconfig).args(flags);
        let mut process = Process::start(&mut command, &dir.path().join("output"));
        let address = process.printed("health listening on http://", START_MAX);
        let registrar = Self { process, _dir: dir, health: address.trim().parse().unwrap() };
        registrar.wait_leading();
        registrar
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until it leads, and follows cluster and store.
    fn wait_leading(&self) {
        until("the registrar leads", START_MAX, || {
            let answer = get(self.health, "registrar", "/readyz");
            (answer.status == 200 && answer.text().contains("leading: yes\n")).then_some(())
        });
    }

    /// What it says is wrong, or not carried over.
    pub fn problems(&self) -> String {
        get(self.health, "registrar", "/problems").text()
    }
}
