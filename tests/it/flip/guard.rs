//! Line 3: a flip to a backend that is not well is refused and says what is not well.

use super::{MARK_MAX, checked};
use crate::support::fleet::HOST;
use crate::support::{Ended, Fleet, Flip, Mode, Pod, alone, get, until};
use serde_json::json;
use std::time::Duration;

/// Pods of the new side that are sick, arguments, and what a refusal names; none where it must be done.
type Case = (&'static [usize], &'static [&'static str], Option<&'static [&'static str]>);

const CASES: [Case; 7] = [
    (&[], &["--dry-run"], Some(&[])),
    (&[], &["--expect", "shop-red"], Some(&["shop-blue"])),
    (&[0, 1, 2], &[], Some(&["green-0", "green-1", "green-2"])),
    (&[1], &["--min-healthy", "3"], Some(&["green-1"])),
    (&[1, 2], &["--min-healthy", "60%"], Some(&["green-1", "green-2"])),
    (&[1], &["--min-healthy", "2"], None),
    (&[0, 1, 2], &["--force"], None),
];

#[test]
fn line_3_what_is_not_well_gets_no_traffic() {
    let _alone = alone();
    let mut fleet = Fleet::of(2).start();
    let (blue, green) = (Pod::start_many("blue", 1), Pod::start_many("green", 3));
    fleet.put_backend("shop-blue", &checked(), &blue);
    fleet.put_backend("shop-green", &checked(), &green);
    let last = fleet.put_backend("shop-none", &checked(), &[]);
    fleet.served(last);
    fleet.put_shop("shop-blue");

    for to in ["shop-none", "shop-nowhere"] {
        let ended = Flip::shop(&fleet, to, &["--wait", "5s"]).end(MARK_MAX);
        assert!(matches!(ended.code, 1 | 2), "{ended:#?}");
        assert!(ended.text().contains(to), "{to} is not named: {}", ended.text());
        assert_eq!(fleet.target(), "shop-blue");
    }

    let (mut refused, mut done) = (2, 0);
    for (sick, arguments, names) in CASES {
        for (number, pod) in green.iter().enumerate() {
            pod.mode(if sick.contains(&number) { Mode::Sick } else { Mode::Well });
        }
        checked_again(&green);
        let ended = Flip::shop(&fleet, "shop-green", &[&["--wait", "10s"], arguments].concat()).end(MARK_MAX);
        match names {
            Some(names) => {
                check_refused(&mut fleet, arguments, names, &ended);
                refused += 1;
            }
            None => {
                assert!(ended.code == 0 && ended.has("safe"), "{arguments:?}: {ended:#?}");
                assert_eq!(fleet.target(), "shop-green");
                let ended = Flip::start(&fleet, &["rollback", "alias/shop"]).end(MARK_MAX);
                assert!(ended.code == 0 && fleet.target() == "shop-blue", "{ended:#?}");
                done += 1;
            }
        }
    }
    println!(
        "flip 3: {refused} flips to what was not well refused with names, {done} done that were to be ok"
    );
}

/// Waits until every pod was asked by every proxy with its present mode.
fn checked_again(pods: &[Pod]) {
    for pod in pods {
        let before = pod.stats().checks;
        // Two to fall, at two proxies, and one that was on its way.
        until("checks go on", Duration::from_secs(20), || (pod.stats().checks > before + 6).then_some(()));
    }
}

fn check_refused(fleet: &mut Fleet, arguments: &[&str], names: &[&str], ended: &Ended) {
    let is_rehearsal = arguments == ["--dry-run"];
    assert_eq!(ended.code, i32::from(!is_rehearsal), "{arguments:?}: {ended:#?}");
    for name in names {
        assert!(ended.text().contains(name), "{arguments:?}: {name} is not named: {}", ended.text());
    }
    assert_eq!(fleet.target(), "shop-blue", "{arguments:?}");
}

#[test]
fn line_3_a_flip_is_told_in_words_and_kept_in_history() {
    let _alone = alone();
    let mut fleet = Fleet::of(3).start();
    let (blue, green) = (Pod::start_many("blue", 1), Pod::start_many("green", 1));
    fleet.put_backend("shop-blue", &checked(), &blue);
    fleet.put_backend("shop-green", &checked(), &green);
    fleet.put_shop("shop-blue");
    // A bare id is enough where it is unique; `shop` is an alias and a frontend.
    let (code, _, errors) = fleet.verb(&["flip", "shop=shop-green"]);
    assert!(code != 0 && errors.contains("alias/shop"), "{code} {errors}");

    let (code, out, errors) = fleet.verb(&["flip", "alias/shop=shop-green", "--wait", "30s"]);
    assert_eq!(code, 0, "{out}{errors}");
    let marks = [
        "prepared 3 of 3",
        "written at revision ",
        "served 3 of 3",
        "quiet",
        "drained 3 of 3",
        "safe to destroy shop-blue",
    ];
    let mut rest = out.as_str();
    for mark in marks {
        let at = rest.find(mark).unwrap_or_else(|| panic!("no {mark:?} in its place in\n{out}"));
        rest = &rest[at + mark.len()..];
    }
    assert_eq!(
        get(fleet.members[0].address, crate::support::fleet::HOST, "/").field("x-pod"),
        Some("green-0")
    );
    let (code, history, _) = fleet.verb(&["history", "alias/shop"]);
    assert!(code == 0 && history.contains("shop-blue") && history.contains("shop-green"), "{history}");
    let (code, fleet_text, _) = fleet.verb(&["fleet"]);
    assert!(code == 0 && ["p1", "p2", "p3"].iter().all(|name| fleet_text.contains(name)), "{fleet_text}");
}

#[test]
fn line_3_a_split_is_flipped_to_one_of_its_parts_and_comes_back() {
    let _alone = alone();
    let mut fleet = Fleet::of(2).start();
    let (blue, green) = (Pod::start_many("blue", 1), Pod::start_many("green", 1));
    fleet.put_backend("shop-blue", &checked(), &blue);
    fleet.put_backend("shop-green", &checked(), &green);
    let split = json!([{"BackendId": "shop-blue", "Weight": 9}, {"BackendId": "shop-green", "Weight": 1}]);
    let frontend = json!({"Type": "http", "Route": format!("Host(`{HOST}`)"), "Split": split});
    let revision = fleet.keys.put("frontends/shop/frontend", &frontend);
    fleet.served(revision);
    let flip = Flip::start(&fleet, &["flip", "frontend/shop=shop-green", "--wait", "30s"]);
    flip.end_safe(MARK_MAX);
    let flipped = fleet.keys.get("frontends/shop/frontend").unwrap();
    assert_eq!((&flipped["BackendId"], flipped.get("Split")), (&json!("shop-green"), None));
    blue.iter().for_each(Pod::mark);
    for address in fleet.addresses() {
        (0..20).for_each(|_| assert_eq!(get(address, HOST, "/").status, 200));
    }
    assert!(blue.iter().all(|pod| pod.stats().after_mark == 0), "blue is reached after safe");
    let ended = Flip::start(&fleet, &["rollback", "frontend/shop", "--wait", "30s"]).end(MARK_MAX);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let back = fleet.keys.get("frontends/shop/frontend").unwrap();
    assert_eq!((&back["Split"], back.get("BackendId")), (&split, None));
}
