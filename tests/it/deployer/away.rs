//! The store or the API server is away in the middle of a deployment: it waits, and finishes.

use super::scene::{Scene, none_failed, shop_with};
use crate::support::kubernetes::in_cluster;
use crate::support::{full, scaled, shared};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long something is away: longer than a lock is good for.
fn last() {
    std::thread::sleep(Duration::from_secs(scaled(12, 30)));
}

#[test]
fn a_deployment_outlasts_a_store_and_an_api_server_that_are_away() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        scene.deploy_first(&deployer);
        let traffic = scene.traffic(200);
        // Shorter than what is away: that time does not count. Kubernetes' own controllers wait for up to a minute before
        // they ask a server again that was away.
        let times =
            json!({"timeouts": {"ready": "150s", "health": "10s", "flip": "10s"}, "flip": {"bake": "1s"}});
        let mut version = 1;
        let stages: &[&str] =
            if full() { &["validate", "create", "ready", "flip", "bake", "destroy"] } else { &["ready"] };
        for what in ["etcd", "the API server"] {
            for stage in stages {
                version += 1;
                let descriptor = shop_with(&version.to_string(), &[], times.clone());
                let id = deployer.deploy(&descriptor);
                deployer.wait_stage(&id, stage);
                let begin = Instant::now();
                if what == "etcd" {
                    scene.fleet.keys.kill();
                    last();
                    scene.fleet.keys.restart();
                } else {
                    scene.cluster.kill_server();
                    last();
                    scene.cluster.restart_server();
                    // They would wait for up to a minute before they ask it again.
                    if !full() {
                        scene.cluster.restart_controllers();
                    }
                }
                let ended = deployer.ends(&id, "DEPLOYED");
                println!(
                    "deployer 4: {what} away in {stage}: {} after {:.1?}",
                    ended["status"],
                    begin.elapsed()
                );
                scene.settled(&version.to_string(), 2);
                scene.closed();
            }
            none_failed(&format!("deployer 4: {what} away"), &traffic.take());
        }
        drop(traffic);
    });
}
