//! Line 1: deployments under load, in which the old pods are killed as soon as that is said to be safe.

use super::{MARK_MAX, checked};
use crate::support::fleet::HOST;
use crate::support::{Fleet, Flip, Plan, Pod, Traffic, alone, nothing, scaled, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PODS: usize = 3;

/// What pods said before they were killed.
#[derive(Default)]
struct Told {
    posts: Vec<u64>,
    begun: u64,
    /// Begun after *quiet*, at all and later than the pods' grace of 20 ms: a head may lie in a socket when the mark is
    /// read.
    after_quiet: u64,
    late: u64,
}

#[test]
fn line_1_old_pods_are_killed_when_it_is_safe() {
    let _alone = alone();
    let (deployments, requests) = scaled((10, 100_000), (200, 2_000_000));
    let mut fleet = Fleet::of(3).start();
    let mut pods = Pod::start_many("v0", PODS);
    fleet.put_backend("shop-v0", &settings(0), &pods);
    fleet.put_shop("shop-v0");
    let traffic = Traffic::start(Plan::mixed(&fleet.addresses(), HOST));
    let begin = Instant::now();

    let mut told = Told::default();
    for deployment in 1..=deployments {
        // As many requests before each flip as after it.
        let due = requests * deployment / (deployments + 1);
        until("requests before a flip", Duration::from_secs(300), || {
            (traffic.requests() >= due).then_some(())
        });
        let (old, new) = (format!("shop-v{}", deployment - 1), format!("shop-v{deployment}"));
        let fresh = Pod::start_many(&format!("v{deployment}"), PODS);
        fleet.put_backend(&new, &settings(deployment), &fresh);
        let mut flip = Flip::shop(&fleet, &new, &["--wait", "30s"]);
        flip.event("quiet", MARK_MAX);
        pods.iter().for_each(Pod::mark);
        flip.event("safe", MARK_MAX);
        for pod in &mut pods {
            told.hear(pod);
            pod.kill();
        }
        let ended = flip.end(MARK_MAX);
        assert_eq!(ended.code, 0, "{ended:#?}");
        fleet.delete_backend(&old, &pods);
        pods = fresh;
    }
    until("all requests", Duration::from_secs(300), || (traffic.requests() >= requests).then_some(()));
    let tally = traffic.stop();
    pods.iter().for_each(|pod| told.hear(pod));

    let executed = told.posts.len() as u64;
    told.posts.sort_unstable();
    told.posts.dedup();
    let twice = executed - told.posts.len() as u64;
    let line = format!(
        "flip 1: {deployments} deployments on 3 proxies, old pods killed at safe: {} failed of {} requests ({} POSTs) \
         in {:.0} s; {} begun on an old side after quiet (and {} within the 20 ms of a head on its way); {twice} POSTs \
         executed twice",
        tally.failed,
        tally.requests,
        tally.posts,
        begin.elapsed().as_secs_f64(),
        told.late,
        told.after_quiet - told.late,
    );
    nothing(&line, &[tally.failed, told.late, twice]);
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
    assert_eq!(told.late, 0, "begun on an old side after quiet");
    assert_eq!(twice, 0, "POSTs executed twice");
    assert_eq!(executed, tally.posts, "POSTs executed and answered");
    assert_eq!(told.begun, tally.requests, "requests begun and answered");
    assert_eq!(tally.by_colour.len() as u64, deployments + 1, "{}", tally.summary());
}

/// Every third deployment speaks HTTP/2 to its pods.
fn settings(deployment: u64) -> Value {
    let mut settings = checked();
    if deployment % 3 == 2 {
        settings["Protocol"] = json!("http2");
    }
    settings
}

impl Told {
    fn hear(&mut self, pod: &Pod) {
        let stats = pod.stats();
        self.posts.extend(pod.posts());
        self.begun += stats.begun;
        self.after_quiet += stats.after_mark;
        self.late += stats.late;
    }
}
