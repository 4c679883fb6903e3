//! Line 5: a new side that fails more than the old one did is rolled back, and one that does not is left alone.

use super::{MARK_MAX, checked};
use crate::support::fleet::HOST;
use crate::support::{Fleet, Flip, Mode, Plan, Pod, Tally, Traffic, alone, figure, nothing, scaled, until};
use std::time::{Duration, Instant};

/// Both sides fail as often as this, per thousand requests; a test that only waits for errors would go wrong.
const USUAL: u64 = 3;
const BAD: u64 = 20;

const RATE: u64 = 500;

#[test]
fn line_5_worse_is_rolled_back_and_as_good_stays() {
    let _alone = alone();
    let (bad, good) = scaled((3, 5), (20, 100));
    let bake = scaled("6s", "20s");
    let mut fleet = Fleet::of(3).start();
    let (blue, green) = (Pod::start_many("blue", 2), Pod::start_many("green", 2));
    blue.iter().for_each(|pod| pod.mode(Mode::Failing(USUAL)));
    fleet.put_backend("shop-blue", &checked(), &blue);
    fleet.put_backend("shop-green", &checked(), &green);
    fleet.put_shop("shop-blue");
    let traffic = Traffic::start(Plan::steady(&fleet.addresses(), HOST, 12, RATE));
    // Something to compare with.
    until("a baseline", Duration::from_secs(60), || (traffic.requests() > RATE * 5).then_some(()));

    let mut slowest = 0.0_f64;
    green.iter().for_each(|pod| pod.mode(Mode::Failing(BAD)));
    for _ in 0..bad {
        let before = begun(&green);
        let mut flip = Flip::shop(&fleet, "shop-green", &["--wait", "30s", "--bake", "60s"]);
        flip.event("served", MARK_MAX);
        // Worse may be plain before that.
        until("1,000 requests, or the way back", MARK_MAX, || {
            (begun(&green) >= before + 1_000 || fleet.target() == "shop-blue").then_some(())
        });
        let counted = Instant::now();
        flip.event("rolledBack", Duration::from_secs(60));
        until("traffic is back", MARK_MAX, || (fleet.target() == "shop-blue").then_some(()));
        slowest = slowest.max(counted.elapsed().as_secs_f64());
        let ended = flip.end(MARK_MAX);
        assert_ne!(ended.code, 0, "{ended:#?}");
    }
    let details = format!("{bad} flips, green failing {BAD} per thousand, blue {USUAL}, {RATE} requests/s");
    let fits = figure("flip 5: back after green's first 1,000 requests", slowest, "s", &details, 10.0);

    green.iter().for_each(|pod| pod.mode(Mode::Failing(USUAL)));
    let mut reverted = Vec::new();
    for round in 0..good {
        let to = if round % 2 == 0 { "shop-green" } else { "shop-blue" };
        let ended = Flip::shop(&fleet, to, &["--wait", "30s", "--bake", bake]).end(Duration::from_secs(90));
        if ended.code != 0 || ended.has("rolledBack") || fleet.target() != to {
            reverted.push(ended);
            fleet.put_shop(to);
        }
    }
    let Tally { requests, by_colour, .. } = traffic.stop();
    let line = format!(
        "flip 5: {} of {good} flips between sides that both fail {USUAL} per thousand reverted, baked {bake} each \
         ({requests} requests: {by_colour:?})",
        reverted.len()
    );
    nothing(&line, &[reverted.len() as u64]);
    assert!(reverted.is_empty(), "{reverted:#?}");
    assert!(fits);
}

fn begun(pods: &[Pod]) -> u64 {
    pods.iter().map(|pod| pod.stats().begun).sum()
}
