//! A real Kubernetes without machines: its API server and its controllers on an etcd of their own, and in the place of
//! nodes a kubelet of the tests', whose pods are processes.
//!
//! Everything lives in a network of the test's own ([`namespace`]), where pods have addresses as in a cluster and ports
//! are always free. Whatever a test's body starts, threads and processes, is in it too.
//!
//! `tests/tools.sh` builds the programs; `KUBEBUILDER_ASSETS` names a directory with others. Where neither is to be had,
//! `FLIPGATE_WITHOUT_KUBERNETES=1` leaves these tests out, and they say so; without it they fail.

mod client;
mod cluster;
mod control_plane;
mod kubelet;
mod life;
mod manifests;
mod namespace;
mod probe;
mod status;

pub use client::Client;
pub use cluster::{Cluster, Endpoint, FLIPGATE, NOBODY};
pub use kubelet::Kubelet;
pub use manifests::{deployment, fake_pods, ready_fake_pods, service, services, services_of_slices};
pub use namespace::within;

use std::path::{Path, PathBuf};

/// Runs a test's body in a cluster of its own, on a thread of its own. Where these tests are left out it does not run,
/// and that is said.
pub fn in_cluster(body: impl FnOnce(&mut Cluster) + Send) {
    in_cluster_with(&[], body);
}

/// As [`in_cluster`], with flags of the API server.
pub fn in_cluster_with(flags: &[&str], body: impl FnOnce(&mut Cluster) + Send) {
    if std::env::var("FLIPGATE_WITHOUT_KUBERNETES").is_ok_and(|value| value == "1") {
        println!("SKIPPED without Kubernetes: FLIPGATE_WITHOUT_KUBERNETES=1");
        return;
    }
    within(|| body(&mut Cluster::start(flags)));
}

/// One of its programs.
fn program(name: &str) -> PathBuf {
    let given = std::env::var_os("KUBEBUILDER_ASSETS").map(|dir| Path::new(&dir).join(name));
    let path = given
        .filter(|path| path.is_file())
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name));
    assert!(
        path.is_file(),
        "no {name} at {}: run `. tests/tools.sh; install_kubernetes`, or leave these tests out with \
         FLIPGATE_WITHOUT_KUBERNETES=1",
        path.display()
    );
    path
}
