//! Deployments that go well, under load, and what else is done with what is live.

use super::process::{Deployer, ENDS_MAX};
use super::scene::{MOST, Scene, none_failed, shop, shop_with};
use crate::support::fleet::HOST;
use crate::support::kubernetes::in_cluster;
use crate::support::{Tally, alone, figure, full, get, scaled, shared, until};
use serde_json::json;
use std::time::{Duration, Instant};

/// Requests over all flips, at full length.
const REQUESTS_MIN: u64 = 200_000;

/// Longest time from the call to the new version's first answer, in seconds, for pods that are ready within one.
const FLIPPED_MAX: f64 = 30.0;

#[test]
fn one_version_after_the_other_under_load() {
    let _machine = alone();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        // `#` is the next number: 1, 2, 3, ...
        let first = deployer.deploy(&shop("#"));
        assert_eq!(deployer.ends(&first, "DEPLOYED")["version"], "1");
        scene.wait_served("1");
        let rounds = scaled(2, 20);
        let traffic = scene.traffic_of(if full() { None } else { Some(1_000) });
        let (mut sum, mut flipped) = (Tally::default(), Vec::new());
        for round in 1..=rounds {
            let (before, after) = (round.to_string(), (round + 1).to_string());
            // The last one has all times as they are if nobody says otherwise.
            let times = if full() && round == rounds { json!({"timeouts": null}) } else { json!({}) };
            let mut descriptor = shop_with("#", &[], times);
            descriptor.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            flipped.push(flip(&scene, &deployer, &descriptor, &after));
            let tally = traffic.take();
            assert!(tally.of(&before) > 0 && tally.of(&after) > 0, "{}", tally.summary());
            none_failed(&format!("deployer 1: flip {round} to version {after}"), &tally);
            scene.settled(&after, 2);
            sum.add(tally);
        }
        sum.add(traffic.take());
        until("enough requests", Duration::from_secs(600), || {
            sum.add(traffic.take());
            (!full() || sum.requests >= REQUESTS_MIN).then_some(())
        });
        sum.add(traffic.stop());
        sum.by_colour.clear();
        scene.closed();
        none_failed(&format!("deployer 1: {rounds} flips"), &sum);
        let longest = flipped.iter().copied().fold(0.0, f64::max);
        let details = format!("the longest of {rounds} deployments, from call to end");
        assert!(figure("deployer_deployment", longest, "s", &details, FLIPPED_MAX));
    });
}

/// Deploys a version; the seconds that it took.
fn flip(scene: &Scene<'_>, deployer: &Deployer, descriptor: &serde_json::Value, version: &str) -> f64 {
    let begin = Instant::now();
    let id = deployer.deploy(descriptor);
    let deployment = deployer.ends(&id, "DEPLOYED");
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(deployment["version"], *version);
    scene.wait_served(version);
    took
}

/// While the old version is kept warm, the way back takes no pod; after that, a redeployment of the old version is one as
/// any other, under its own id.
#[test]
fn an_earlier_version_comes_back() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        let first = scene.deploy_first(&deployer);
        let traffic = scene.traffic(200);
        let second = deployer.deploy(&shop_with("2", &[], json!({"flip": {"keepWarm": "10m"}})));
        deployer.wait_stage(&second, "keepWarm");
        scene.wait_served("2");
        let pods =
            scene.kubelet.pods("default/shop-1-").iter().map(|pod| pod.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(pods.len(), 2, "the old version is not warm");
        let begin = Instant::now();
        deployer.change("PUT", &first, None);
        scene.wait_served("1");
        println!("deployer 8: back at the warm version after {:.1?}", begin.elapsed());
        let failed = deployer.ends(&second, "FAILURE");
        assert!(failed["reason"].as_str().unwrap().contains("asked"), "{}", failed["reason"]);
        scene.settled("1", 2);
        let now =
            scene.kubelet.pods("default/shop-1-").iter().map(|pod| pod.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(now, pods, "the old version's pods are others");
        assert_eq!(deployer.look(&first).unwrap()["status"], "DEPLOYED");

        // Once the old one is gone. A wish ends the time in which it is kept warm.
        let third = deployer.deploy(&shop_with("3", &[], json!({"flip": {"keepWarm": "10m"}})));
        deployer.wait_stage(&third, "keepWarm");
        deployer.change("PATCH", &third, Some(&json!({"flip": {"keepWarm": "0s"}})));
        deployer.ends(&third, "DEPLOYED");
        assert_eq!(deployer.look(&first).unwrap()["status"], "UNDEPLOYED");
        scene.settled("3", 2);
        let again = deployer.change("PUT", &first, None);
        assert_eq!(again["id"], first);
        deployer.ends(&first, "DEPLOYED");
        assert_eq!(deployer.look(&third).unwrap()["status"], "UNDEPLOYED");
        scene.settled("1", 2);
        scene.closed();
        none_failed("deployer 8: back, on, and back again", &traffic.stop());
    });
}

#[test]
fn what_is_live_is_scaled_closed_and_taken_away() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let deployer = scene.deployer();
        let id = scene.deploy_first(&deployer);
        let traffic = scene.traffic(200);
        for replicas in [4, 1] {
            deployer.change("PATCH", &id, Some(&json!({"replicas": replicas})));
            scene.settled("1", replicas);
            assert_eq!(deployer.look(&id).unwrap()["descriptor"]["replicas"], replicas);
        }
        let before = traffic.requests();
        until("more requests", MOST, || (traffic.requests() > before + 200).then_some(()));
        none_failed("deployer 8: scaled to 4 and to 1", &traffic.stop());

        let maintenance = "/applications/shop/maintenance?namespace=default";
        let page = json!({"page": "back at noon", "retryAfter": 120});
        let closed = deployer.call("PUT", maintenance, Some(&page));
        assert_eq!(closed.status, 204, "{}", closed.text());
        for address in scene.fleet.addresses() {
            let answer = until("the application is closed", MOST, || {
                Some(get(address, HOST, "/")).filter(|answer| answer.status == 503)
            });
            assert_eq!(answer.field("retry-after"), Some("120"));
            assert!(answer.text().contains("back at noon"), "{}", answer.text());
        }
        let opened = deployer.call("DELETE", maintenance, None);
        assert_eq!(opened.status, 204, "{}", opened.text());
        scene.wait_served("1");
        scene.settled("1", 1);

        deployer.change("DELETE", &id, None);
        let gone = deployer.ended(&id);
        assert_eq!(gone["status"], "UNDEPLOYED", "{}", deployer.log(&id));
        scene.gone();
        scene.closed();
        assert_eq!(get(scene.fleet.addresses()[0], HOST, "/").status, 404);
        let none = deployer.call(
            "DELETE",
            &format!("/deployments/{id}/?namespace=default&deleteDeployment=true"),
            None,
        );
        assert!(none.status < 300, "{}", none.text());
        until("no record is left", ENDS_MAX, || {
            let state = scene.fleet.keys.state("deployer/");
            let own = state.keys().filter(|key| key.contains(&id));
            (own.count() == 0).then_some(())
        });
    });
}
