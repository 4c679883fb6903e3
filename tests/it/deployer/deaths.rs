//! Deployers die, and sleep past their locks, at every stage of a deployment: it ends well all the same, with nothing
//! left over.

use super::process::{Deployer, ENDS_MAX};
use super::scene::{Scene, hook, none_failed, shop_with};
use crate::support::kubernetes::in_cluster;
use crate::support::{figure, full, shared, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Stages of a deployment, in order.
const STAGES: [&str; 14] = [
    "validate", "migrate", "create", "ready", "health", "register", "flip", "route", "service", "bake",
    "follow", "drain", "keepWarm", "destroy",
];

/// How long a lock is good for, which nobody renews.
const LOCK: Duration = Duration::from_secs(10);

/// Longest time from a death until another one has taken over, in seconds.
const TAKEOVER_MAX: f64 = 20.0;

/// The next version, with hooks, so that each stage has something to do.
fn next(version: usize) -> Value {
    let fields = json!({
        "hooks": {"before": hook("0"), "after": hook("0")}, "flip": {"bake": "1s", "keepWarm": "1s"},
    });
    shop_with(&version.to_string(), &[], fields)
}

/// What is stored of a deployment, past every deployer.
fn stored(scene: &mut Scene<'_>, id: &str) -> Value {
    let key = format!("deployer/deployments/default/shop/{id}");
    scene.fleet.keys.state(&key).remove(&key).unwrap_or_default()
}

/// Waits until it is written down that a deployment is in this stage, or in one after it; the stage.
fn reached(scene: &mut Scene<'_>, id: &str, stage: &str) -> Value {
    let place = |stage: &Value| STAGES.iter().position(|one| stage == one);
    let wanted = place(&json!(stage)).unwrap();
    let late = Instant::now() + ENDS_MAX;
    loop {
        let deployment = stored(scene, id);
        let now = &deployment["position"]["stage"];
        if place(now).is_some_and(|now| now >= wanted) || deployment["status"] == "DEPLOYED" {
            return now.clone();
        }
        assert!(Instant::now() < late, "{id} does not come to {stage}: {deployment}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Who has the application in their charge, as it is written down, and how often that has changed.
fn charge(scene: &mut Scene<'_>) -> (String, u64) {
    let key = "deployer/applications/default/shop";
    let application = scene.fleet.keys.state(key).remove(key).unwrap();
    (application["holder"].as_str().unwrap().to_owned(), application["term"].as_u64().unwrap())
}

/// kill -9 in each stage; once the same one is started again, once another one is there already.
#[test]
fn a_deployer_that_is_killed_in_any_stage_is_followed() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let mut deployers = [scene.deployer(), scene.deployer()];
        let mut live = scene.deploy_first(&deployers[0]);
        let traffic = scene.traffic(200);
        let mut longest = Duration::ZERO;
        let stages = STAGES.iter().enumerate().filter(|(at, _)| full() || at % 3 == 1);
        for (at, stage) in stages {
            let version = at + 2;
            let restarts = at % 2 == 1;
            let id = deployers[0].deploy(&next(version));
            let (_, term) = charge(&mut scene);
            let seen = reached(&mut scene, &id, stage);
            deployers[0].kill();
            let begin = Instant::now();
            if restarts {
                deployers[0].start_again();
            }
            until("another one has taken over", ENDS_MAX, || (charge(&mut scene).1 > term).then_some(()));
            let followed = begin.elapsed();
            longest = longest.max(followed);
            let ended = deployers[1].ended(&id);
            println!(
                "deployer 3: killed in {seen}, followed after {followed:.1?}, {} after {:.1?}",
                ended["status"],
                begin.elapsed()
            );
            settle(&mut scene, &deployers[1], (&mut live, &id), &ended, version);
            if !restarts {
                deployers[0].start_again();
            }
            deployers[0].wait_ready();
            none_failed(&format!("deployer 3: killed in {stage}"), &traffic.take());
        }
        drop(traffic);
        let details = "the longest, from kill -9 until another one has it in its charge";
        assert!(figure("deployer_takeover", longest.as_secs_f64(), "s", details, TAKEOVER_MAX));
    });
}

/// One of the two ends that are right, and nothing else.
fn settle(
    scene: &mut Scene<'_>,
    deployer: &Deployer,
    (live, id): (&mut String, &str),
    ended: &Value,
    version: usize,
) {
    let old = deployer.look(live).unwrap();
    if ended["status"] == "DEPLOYED" {
        assert_eq!(old["status"], "UNDEPLOYED");
        scene.settled(&version.to_string(), 2);
        *live = id.to_owned();
    } else {
        assert_eq!((&ended["status"], &old["status"]), (&json!("FAILURE"), &json!("DEPLOYED")), "{ended}");
        panic!("it went back without need: {}\n{}", ended["reason"], deployer.log(id));
    }
    scene.closed();
}

/// SIGSTOP until long after its lock is gone and another one has gone on, then SIGCONT: it does nothing more.
#[test]
fn a_deployer_that_slept_past_its_lock_does_no_harm() {
    let _machine = shared();
    in_cluster(|cluster| {
        let mut scene = Scene::begin(cluster);
        let [one, another] = [scene.deployer(), scene.deployer()];
        let mut live = scene.deploy_first(&one);
        let traffic = scene.traffic(200);
        let stages: &[&str] = if full() { &STAGES } else { &["create", "flip", "destroy"] };
        for (at, stage) in stages.iter().enumerate() {
            let version = at + 2;
            let id = one.deploy(&next(version));
            let (holder, term) = charge(&mut scene);
            let seen = reached(&mut scene, &id, stage);
            one.signal(Signal::SIGSTOP);
            let begin = Instant::now();
            until("another one has taken over", ENDS_MAX, || (charge(&mut scene).1 > term).then_some(()));
            let (took, after) = (begin.elapsed(), charge(&mut scene));
            assert!(took + Duration::from_secs(3) > LOCK, "followed after {took:?}, while its lock was good");
            assert_ne!(after.0, holder);
            // Half of the times it wakes up while the other one is at work.
            let ended = if at % 2 == 0 { Some(another.ended(&id)) } else { None };
            one.signal(Signal::SIGCONT);
            let ended = ended.unwrap_or_else(|| another.ended(&id));
            println!("deployer 3: stopped in {seen}, followed after {took:.1?}: {}", ended["status"]);
            settle(&mut scene, &another, (&mut live, &id), &ended, version);
            // It has understood, and the end stays as it is.
            one.wait_ready();
            std::thread::sleep(Duration::from_secs(1));
            scene.settled(&version.to_string(), 2);
            assert_eq!(one.ended(&id)["status"], "DEPLOYED");
            none_failed(&format!("deployer 3: stopped in {stage}"), &traffic.take());
        }
        drop(traffic);
    });
}
