//! Deployments that fail: the old version loses nothing, nothing of the new one is left, and it is said why.

use super::process::Deployer;
use super::scene::{Scene, hook, none_failed, shop, shop_with};
use crate::support::kubernetes::in_cluster;
use crate::support::{shared, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A deployment that ends as a failure, while version 1 is live; why.
fn fails(scene: &mut Scene<'_>, deployer: &Deployer, descriptor: &Value, said: &[&str]) -> String {
    let id = deployer.deploy(descriptor);
    let failed = deployer.ends(&id, "FAILURE");
    let reason = failed["reason"].as_str().unwrap().to_owned();
    for text in said {
        assert!(reason.contains(text), "{text:?} is not in {reason:?}");
    }
    assert!(deployer.log(&id).contains(&reason), "the log does not say {reason:?}: {}", deployer.log(&id));
    scene.settled("1", 2);
    scene.closed();
    let state = scene.fleet.keys.state("deployer/");
    let left = state.keys().filter(|key| key.contains(&id));
    let kinds =
        left.map(|key| key.split('/').nth(1).unwrap()).filter(|kind| !matches!(*kind, "logs" | "health"));
    assert_eq!(kinds.collect::<Vec<_>>(), ["deployments"], "{state:?}");
    reason
}

#[test]
fn a_version_that_never_gets_healthy_leaves_nothing() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        scene.deploy_first(&deployer);
        let traffic = scene.traffic(300);
        let times = json!({"timeouts": {"ready": "8s", "health": "4s", "probe": "500ms"}});
        // Pods that say so, that take too long to say anything, and that end as soon as they began.
        for (version, variable, said) in [
            ("3", ("HEALTH", "sick"), "health"),
            ("4", ("HEALTH", "slow"), "health"),
            ("5", ("EXIT_CODE", "7"), "ready"),
        ] {
            let begin = Instant::now();
            let reason =
                fails(&mut scene, &deployer, &shop_with(version, &[variable], times.clone()), &[said]);
            println!("deployer 2: {variable:?}: FAILURE after {:.1?}: {reason}", begin.elapsed());
        }
        let tally = traffic.stop();
        none_failed("deployer 2: three versions that never got healthy", &tally);
        assert_eq!(tally.of("1"), tally.requests, "{}", tally.summary());
    });
}

#[test]
fn a_version_that_fails_after_the_flip_goes_back_by_itself() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        scene.deploy_first(&deployer);
        let traffic = scene.traffic(300);
        let bake = json!({"flip": {"bake": "60s"}});
        let begin = Instant::now();
        // Every second answer is 500.
        let reason = fails(&mut scene, &deployer, &shop_with("4", &[("FAILING", "500")], bake), &[]);
        println!("deployer 2: rolled back by itself after {:.1?}: {reason}", begin.elapsed());
        let tally = traffic.take();
        assert!(tally.failed > 0 && tally.of("4") > 0, "it was never live: {}", tally.summary());
        let only = tally.failures.iter().all(|failure| failure.contains("500 fails now and then"));
        assert!(only, "others failed: {:?}", tally.failures);
        until("more requests", Duration::from_secs(20), || (traffic.requests() > 200).then_some(()));
        let after = traffic.stop();
        none_failed("deployer 2: after it went back", &after);
        assert_eq!(after.of("1"), after.requests, "{}", after.summary());
    });
}

#[test]
fn hooks_that_fail_stop_it_and_send_it_back() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        scene.deploy_first(&deployer);
        let traffic = scene.traffic(200);
        let history = scene.fleet.keys.history("backends/");
        let before = shop_with("2", &[], json!({"hooks": {"before": hook("3")}}));
        let reason = fails(&mut scene, &deployer, &before, &["migrate"]);
        println!("deployer 5: {reason}");
        // Nothing of the new version was ever there.
        let touched = history.try_iter().filter(|change| change.key.contains("default-shop-2")).count();
        assert_eq!(touched, 0);
        assert!(scene.kubelet.pods("default/shop-2-").is_empty());
        let tally = traffic.take();
        assert_eq!(tally.of("1"), tally.requests, "{}", tally.summary());

        let after = shop_with("2", &[], json!({"hooks": {"before": hook("0"), "after": hook("3")}}));
        let reason = fails(&mut scene, &deployer, &after, &["follow"]);
        println!("deployer 5: {reason}");
        let well = shop_with("2", &[], json!({"hooks": {"before": hook("0"), "after": hook("0")}}));
        let id = deployer.deploy(&well);
        deployer.ends(&id, "DEPLOYED");
        scene.settled("2", 2);
        none_failed("deployer 5: hooks that fail and hooks that do not", &traffic.stop());
    });
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_created() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        scene.deploy_first(&deployer);
        let history = scene.fleet.keys.history("backends/");
        let needs = |cpu: &str| {
            let mut descriptor = shop("2");
            descriptor["podspec"]["containers"][0]["resources"] =
                json!({"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": {"cpu": cpu, "memory": "64Mi"}});
            descriptor
        };
        // Two nodes of 8 processors each.
        let reason = fails(&mut scene, &deployer, &needs("9"), &["validate", "cpu"]);
        println!("deployer 5: {reason}");
        let mut many = needs("3");
        many["replicas"] = json!(5);
        let reason = fails(&mut scene, &deployer, &many, &["validate", "cpu"]);
        println!("deployer 5: {reason}");

        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
            "spec": {"hard": {"pods": "3"}},
        });
        scene.cluster.client().create(&quota);
        until("the quota counts", Duration::from_secs(60), || {
            let quota = scene.cluster.client().get(&format!("{QUOTAS}/small")).unwrap();
            (quota["status"]["used"]["pods"] == "2").then_some(())
        });
        let reason = fails(&mut scene, &deployer, &shop("2"), &["validate", "pods", "small"]);
        println!("deployer 5: {reason}");
        let touched = history.try_iter().filter(|change| change.key.contains("default-shop-2")).count();
        assert_eq!(touched, 0);

        // Once there is room, it goes well.
        scene.cluster.client().delete(&format!("{QUOTAS}/small"));
        let id = deployer.deploy(&shop("2"));
        deployer.ends(&id, "DEPLOYED");
        scene.settled("2", 2);
        assert_eq!(scene.cluster.client().list(DEPLOYMENTS).len(), 1);
    });
}
