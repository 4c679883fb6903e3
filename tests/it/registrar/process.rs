//! The program's registrar.

use crate::support::kubernetes::Cluster;
use crate::support::{Answer, Process, flipgate, get, until};
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const START_MAX: Duration = Duration::from_secs(30);

/// A running `flipgate registrar`. Dropping it is a kill -9.
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
        let registrar = Self::start_as(kubeconfig, store, flags);
        until("the registrar leads", START_MAX, || {
            (registrar.is_in_sync() && registrar.leads()).then_some(())
        });
        registrar
    }

    /// One that may have to wait for another's end, and knows what is there.
    pub fn beside(cluster: &Cluster, store: &str) -> Self {
        let registrar = Self::start_as(&cluster.kubeconfig(), store, &[]);
        until("the registrar follows", START_MAX, || registrar.is_in_sync().then_some(()));
        registrar
    }

    fn start_as(kubeconfig: &Path, store: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = flipgate::command();
        command.args(["registrar", "--store", store, "--health", "127.0.0.1:0"]);
        command.arg("--kubeconfig").arg(kubeconfig).args(flags);
        let mut process = Process::start(&mut command, &dir.path().join("output"));
        let address = process.printed("health listening on http://", START_MAX);
        Self { process, _dir: dir, health: address.trim().parse().unwrap() }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Whether it follows cluster and store.
    pub fn is_in_sync(&self) -> bool {
        self.readiness().status == 200
    }

    pub fn leads(&self) -> bool {
        self.readiness().text().contains("leading: yes\n")
    }

    /// How much it has to convert, to compare or to write.
    pub fn pending(&self) -> usize {
        self.said("pending: ").expect("it always says that").parse().unwrap()
    }

    /// How many removals wait to be confirmed.
    pub fn held(&self) -> usize {
        self.said("held: ").map_or(0, |text| text.split(' ').next().unwrap().parse().unwrap())
    }

    /// How many transactions of it took place.
    pub fn written(&self) -> usize {
        let text = get(self.health, "registrar", "/metrics").text();
        let mark = "flipgate_registrar_transactions_total{outcome=\"committed\"} ";
        text.lines().find_map(|line| line.strip_prefix(mark)).map_or(0, |count| count.parse().unwrap())
    }

    /// The rest of a line of its readiness.
    fn said(&self, mark: &str) -> Option<String> {
        self.readiness().text().lines().find_map(|line| line.strip_prefix(mark)).map(str::to_owned)
    }

    fn readiness(&self) -> Answer {
        get(self.health, "registrar", "/readyz")
    }

    /// What it says is wrong, or not carried over.
    pub fn problems(&self) -> String {
        get(self.health, "registrar", "/problems").text()
    }
}
