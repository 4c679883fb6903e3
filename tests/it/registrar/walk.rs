//! The README's walk through a cluster, typed as it stands there.

use crate::readme::{Shell, blocks, readme, steps};
use crate::support::alone;
use crate::support::kubernetes::{Kubelet, in_cluster, program};

#[test]
fn the_readme_walks_through_a_cluster() {
    let _machine = alone();
    in_cluster(|cluster| {
        let _kubelet = Kubelet::start(cluster.kubeconfig());
        let text = readme();
        let parts = blocks(&text, "console kubernetes");
        assert!(parts.len() >= 2, "the chapter was not found");
        let mut shell = Shell::with(&["8080", "8182", "2379"], &[("kubectl", program("kubectl"))]);
        let export = format!("export KUBECONFIG={}", cluster.kubeconfig().display());
        shell.expect("before the walk", &export, &[]);
        for (line, block) in &parts {
            for (command, expected) in steps(block) {
                shell.expect(&format!("README.md, block at line {line}"), &command, &expected);
            }
        }
    });
}
