//! The nine steps of the README, typed as they stand there.

use crate::readme::{Shell, blocks, readme, steps};
use crate::support::alone;
use crate::support::kubernetes::{Kubelet, in_cluster, program};
use std::path::Path;

#[test]
fn the_readme_takes_nine_steps_to_a_deployment() {
    let _machine = alone();
    let (text, root) = (readme(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let descriptor = std::fs::read_to_string(root.join("config/deploy/web.yaml")).unwrap();
    assert!(
        blocks(&text, "yaml").iter().any(|(_, block)| *block == descriptor),
        "the README shows another one"
    );
    let parts = blocks(&text, "console deployer");
    assert!(parts.len() >= 8, "the chapter was not found");
    in_cluster(|cluster| {
        let _kubelet = Kubelet::start(cluster.kubeconfig());
        let mut shell = Shell::with(&["8000", "8080", "8182", "2379"], &[("kubectl", program("kubectl"))]);
        for export in [
            format!("export KUBECONFIG={}", cluster.kubeconfig().display()),
            "export FLIPGATE_DEPLOY=127.0.0.1:8000 FLIPGATE_DEPLOYER=http://127.0.0.1:8000".to_owned(),
            format!("ln -s {} config", root.join("config").display()),
        ] {
            shell.expect("before the walk", &export, &[]);
        }
        for (line, block) in &parts {
            for (command, expected) in steps(block) {
                shell.expect(&format!("README.md, block at line {line}"), &command, &expected);
            }
        }
    });
}
