use super::*;
use crate::registrar::plan::Act;
use crate::store::{Batch, Change, Entry, Expected};
use std::time::{Duration, Instant};

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

/// Backends with two servers each, and a frontend with a middleware of its own each.
fn image(count: usize) -> Image {
    let mut image = Image::new("c");
    let keys = (0..count).flat_map(|n| {
        ["1", "2"].map(|s| format!("backends/b{n}/servers/{s}")).into_iter().chain([
            format!("frontends/f{n}/frontend"),
            format!("frontends/f{n}/middlewares/m"),
            format!("backends/b{n}/backend"),
        ])
    });
    let put = |key: String| {
        let value = r#"{"Owner": "c:x"}"#.into();
        Change::Put(Entry { key: key.into(), value, version: 5, created: 1, lease: None })
    };
    image.apply(Batch { revision: Revision(5), changes: keys.map(put).collect() });
    image
}

fn deletes(keys: impl IntoIterator<Item = String>) -> Vec<Step> {
    let step = |text: String| Step {
        key: key(&text),
        path: text.into(),
        source: "c:x".into(),
        act: Act::Delete,
        expected: Expected::Version(5),
        leads_to: Vec::new(),
        since: None,
    };
    keys.into_iter().map(step).collect()
}

fn frontends(range: std::ops::Range<usize>) -> Vec<Step> {
    deletes(range.map(|n| format!("frontends/f{n}/frontend")))
}

fn servers(range: std::ops::Range<usize>, which: &[&str]) -> Vec<Step> {
    deletes(range.flat_map(|n| which.iter().map(move |s| format!("backends/b{n}/servers/{s}"))))
}

fn now(seconds: u64) -> Now {
    static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let instant = *BEGIN.get_or_init(Instant::now) + Duration::from_secs(seconds);
    Now { instant, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds) }
}

#[test]
fn more_than_half_and_at_least_twenty_frontends_are_held() {
    let image = image(40);
    let judge = |holds: &mut Holds, steps, at| holds.judge(steps, &image, now(at)).len();
    assert_eq!(judge(&mut Holds::default(), frontends(0..20), 0), 20);
    assert_eq!(judge(&mut Holds::default(), frontends(0..21), 0), 0);
    // Within 60 s they add up.
    let mut holds = Holds::default();
    assert_eq!(judge(&mut holds, frontends(0..15), 0), 15);
    assert_eq!(judge(&mut holds, frontends(15..30), 59), 0);
    assert_eq!(holds.count(), 15);
    let mut holds = Holds::default();
    assert_eq!(judge(&mut holds, frontends(0..15), 0), 15);
    assert_eq!(judge(&mut holds, frontends(15..30), 61), 15);
    // What came back does not count.
    let mut holds = Holds::default();
    assert_eq!(judge(&mut holds, frontends(0..15), 0), 15);
    (0..15).for_each(|n| holds.returned(&key(&format!("frontends/f{n}/frontend"))));
    assert_eq!(judge(&mut holds, frontends(15..30), 1), 15);
}

#[test]
fn more_than_half_and_at_least_five_backends_are_not_emptied() {
    let image = image(8);
    let judge = |holds: &mut Holds, steps| holds.judge(steps, &image, now(0)).len();
    assert_eq!(judge(&mut Holds::default(), servers(0..4, &["1", "2"])), 8);
    assert_eq!(judge(&mut Holds::default(), servers(0..8, &["1"])), 8);
    let mut holds = Holds::default();
    let steps = servers(0..5, &["1", "2"]).into_iter().chain(servers(5..8, &["1"])).collect();
    assert_eq!(judge(&mut holds, steps), 3);
    assert_eq!(holds.count(), 10);
    // While a hold is on, no backend is emptied, and others lose a server as ever.
    assert_eq!(judge(&mut holds, servers(5..6, &["1", "2"])), 0);
    assert_eq!(judge(&mut holds, servers(6..7, &["2"])), 1);
    // New servers take the place of all old ones.
    let mut moved = servers(0..8, &["1", "2"]);
    moved.extend(servers(0..8, &["3"]).into_iter().map(|step| Step { act: Act::Put("{}".into()), ..step }));
    assert_eq!(judge(&mut Holds::default(), moved), 24);
}

#[test]
fn a_middleware_is_held_with_its_frontend_and_else_goes() {
    let image = image(40);
    let mut holds = Holds::default();
    let middlewares =
        |range: std::ops::Range<usize>| deletes(range.map(|n| format!("frontends/f{n}/middlewares/m")));
    let steps = frontends(0..30).into_iter().chain(middlewares(0..40)).collect();
    assert_eq!(holds.judge(steps, &image, now(0)).len(), 10);
    assert_eq!(holds.count(), 60);
    assert_eq!(holds.judge(middlewares(5..6), &image, now(1)).len(), 0);
}

#[test]
fn a_confirmation_lets_go_what_was_held_and_no_more() {
    let image = image(40);
    let mut holds = Holds::default();
    assert_eq!(holds.judge(frontends(0..30), &image, now(0)).len(), 0);
    holds.forget(&key("frontends/f0/frontend"));
    let before = Confirmation { revision: Revision(4), at: now(1).wall };
    assert_eq!(holds.confirm(before).len(), 0);
    let freed = holds.confirm(Confirmation { revision: Revision(5), at: now(2).wall });
    assert_eq!((freed.len(), holds.count()), (29, 0));
    // What is confirmed goes, also by more steps than one.
    assert_eq!(holds.judge(frontends(1..20), &image, now(3)).len(), 19);
    assert_eq!(holds.judge(frontends(20..30), &image, now(3)).len(), 10);
}
