//! Line 6: four servers that misbehave, each in its way, among three sound ones.

use crate::support::fleet::HOST;
use crate::support::{Fleet, Mode, Plan, Pod, Tally, Traffic, alone, figure, quantile, scaled, until};
use serde_json::json;
use std::time::Duration;

/// What a sound server takes for an answer.
const SOUND_MILLIS: u64 = 10;

const BAD: [(&str, Mode); 4] = [
    ("silent-0", Mode::Silent),
    ("reset-0", Mode::Reset),
    ("error-0", Mode::Error),
    ("slow-0", Mode::Slow(2_000)),
];

#[test]
fn line_6_bad_servers_among_sound_ones_are_not_noticed() {
    let _alone = alone();
    let length = scaled(Duration::from_secs(8), Duration::from_secs(60));
    let mut fleet = Fleet::of(1).start();
    let sound = Pod::start_many("sound", 3);
    sound.iter().for_each(|pod| pod.mode(Mode::Slow(SOUND_MILLIS)));
    let settings = json!({
        "Balance": "peak_ewma", "Outlier": {},
        "Health": {"Path": "/health", "Interval": "200ms", "Timeout": "200ms"},
    });
    fleet.put_backend("shop-mixed", &settings, &sound);
    let retry =
        json!({"Attempts": 3, "PerTryTimeout": "250ms", "On": ["connect", "reset", "timeout", "5xx"]});
    fleet.put_shop_with("shop-mixed", &json!({"Retry": retry}));

    let traffic = Traffic::start(Plan::steady(&fleet.addresses(), HOST, 16, 400));
    std::thread::sleep(Duration::from_secs(1));
    traffic.take();
    std::thread::sleep(length);
    let alone = traffic.take();
    let bad = Pod::start_all(&BAD.map(|(name, _)| name.to_owned()));
    let server = |pod: &Pod| (format!("backends/shop-mixed/servers/{}", pod.name()), pod.server());
    let revision = fleet.keys.put_together(&bad.iter().map(server).collect::<Vec<_>>());
    fleet.served(revision);
    // They have been well for a while when they go bad.
    until("all get requests", Duration::from_secs(20), || {
        bad.iter().all(|pod| pod.stats().begun > 0).then_some(())
    });
    for (pod, (_, mode)) in bad.iter().zip(BAD) {
        pod.mode(mode);
    }
    std::thread::sleep(Duration::from_secs(2));
    let first = traffic.take();
    std::thread::sleep(length);
    let mixed = traffic.stop();

    assert_eq!(alone.failed, 0, "{:?}", alone.failures);
    assert!(mixed.requests > 1_000, "{} requests are no load", mixed.requests);
    let asked = bad.iter().map(|pod| pod.stats().begun).sum::<u64>();
    let percent = |tally: &Tally| tally.failed as f64 * 100.0 / tally.requests as f64;
    let details = format!(
        "{} of {} requests after 2 s, {:.2} % before; {asked} reached a bad server",
        mixed.failed,
        mixed.requests,
        percent(&first)
    );
    let mut fits = figure(
        "flip 6: errors among four bad servers and three sound ones",
        percent(&mixed),
        "%",
        &details,
        0.1,
    );
    let p99 = |mut tally: Tally| quantile(&mut tally.millis, 0.99);
    let failures = mixed.failures.clone();
    let (alone, mixed) = (p99(alone), p99(mixed));
    let details = format!("sound ones alone {alone:.1} ms");
    fits &= figure("flip 6: p99 with bad servers", mixed, "ms", &details, (alone * 20.0).round() / 10.0);
    assert!(fits, "{failures:?}");
}
