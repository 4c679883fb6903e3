//! The plan, state by observation.

use super::*;
use crate::flip::record::{BackendView, Deed, FlipTarget, FlipView, MinHealthy};

fn flip(phase: Phase) -> Flip {
    Flip {
        id: "f".into(),
        deed: Deed::Flip,
        by: "me".into(),
        since: 0,
        phase,
        targets: vec![FlipTarget {
            target: "frontend/shop".into(),
            key: "frontends/shop/frontend".into(),
            version: 5,
            from: vec!["blue".into()],
            to: vec!["green".into()],
            old: vec!["blue".into()],
            new: vec!["green".into()],
            previous: "{}".into(),
        }],
        min_healthy: MinHealthy::Count(1),
        force: false,
        bake: None,
        keep_warm_ms: None,
        owner: "me".into(),
        revision: 0,
        committed_at: 0,
        safe_at: 0,
        baseline: Totals::default(),
        base: BTreeMap::new(),
        undoes: None,
    }
}

fn member(name: &str, boots: Vec<Alive>) -> MemberView {
    let boots = boots.into_iter().enumerate().map(|(n, alive)| (format!("{name}{n}"), alive)).collect();
    MemberView { name: name.into(), boots }
}

fn ready(active: u32, well: u32) -> Alive {
    let unwell = (well..active).map(|n| (format!("s{n}"), "refused".to_owned())).collect();
    let view = FlipView {
        prepared: [("green".into(), Warmth { active, well, unwell })].into(),
        ..FlipView::default()
    };
    Alive { flips: [("f".into(), view)].into(), ..Alive::default() }
}

/// A process at these marks, with requests open to blue.
fn at(served: u64, quiet: u64, open: u64, named: bool) -> Alive {
    let blue = BackendView { in_flight: open, named, free: !named, ..BackendView::default() };
    Alive {
        served,
        quiet,
        flips: [("f".into(), FlipView::default())].into(),
        backends: [("blue".into(), blue), ("green".into(), BackendView::default())].into(),
        ..Alive::default()
    }
}

#[test]
fn before_the_write() {
    let ms = Duration::from_millis;
    let lost = || member("c", vec![]);
    let refused = |text: &str| Step::Refuse(text.to_owned());
    for (what, members, asked, unwell, force, expected) in [
        ("nobody is there", vec![], ms(0), ms(0), false, Step::Commit),
        ("all are ready", vec![member("a", vec![ready(2, 2)])], ms(0), ms(0), false, Step::Commit),
        ("enough is well", vec![member("a", vec![ready(2, 1)])], ms(0), ms(0), false, Step::Commit),
        (
            "lost ones are not waited for",
            vec![member("a", vec![ready(1, 1)]), lost()],
            ms(0),
            ms(0),
            false,
            Step::Commit,
        ),
        (
            "one has not answered",
            vec![member("a", vec![Alive::default()])],
            ms(900),
            ms(0),
            false,
            Step::Wait,
        ),
        (
            "it never does",
            vec![member("a", vec![Alive::default()])],
            PREPARE_MAX,
            ms(0),
            false,
            refused("a: it has not said that it is ready"),
        ),
        (
            "one of two processes has not answered",
            vec![member("a", vec![ready(1, 1), Alive::default()])],
            ms(5),
            ms(0),
            false,
            Step::Wait,
        ),
        ("it may become well", vec![member("a", vec![ready(1, 0)])], ms(10), ms(10), false, Step::Wait),
        (
            "it does not",
            vec![member("a", vec![ready(1, 0)]), member("b", vec![ready(1, 1)])],
            GRACE,
            GRACE,
            false,
            refused("a: 0 of 1 servers of green are well, and 1 must be: s0 (refused)"),
        ),
        (
            "there are no servers",
            vec![member("a", vec![ready(0, 0)])],
            GRACE,
            GRACE,
            false,
            refused("a: green has no server that takes requests"),
        ),
        ("unwell by force", vec![member("a", vec![ready(1, 0)])], ms(1), ms(0), true, Step::Commit),
        ("silent by force", vec![member("a", vec![Alive::default()])], ms(1), ms(0), true, Step::Wait),
        (
            "silent for long by force",
            vec![member("a", vec![Alive::default()])],
            FORCED_MAX,
            ms(0),
            true,
            Step::Commit,
        ),
    ] {
        let flip = Flip { force, ..flip(Phase::Prepare) };
        let elapsed = Elapsed { asked, unwell, ..Elapsed::default() };
        let step = before_commit(&flip, &preparation(&flip, &members), elapsed, Duration::from_secs(30));
        assert_eq!(step, expected, "{what}");
    }
}

#[test]
fn after_the_write() {
    let flip = flip(Phase::Committed);
    let stuck = {
        let mut alive = at(9, 9, 0, true);
        alive.flips.insert(
            "f".into(),
            FlipView { not_in_force: vec!["frontend/shop".into()], ..FlipView::default() },
        );
        alive
    };
    let unaware = Alive { flips: BTreeMap::new(), ..at(9, 9, 0, false) };
    let untold = Alive { backends: BTreeMap::new(), ..at(9, 9, 0, false) };
    // Of two members one is always done.
    for (what, other, counts, waiting, safe) in [
        ("done", vec![at(9, 9, 0, false)], (2, 2, 2), "", true),
        ("later", vec![at(12, 10, 0, false)], (2, 2, 2), "", true),
        ("behind", vec![at(8, 8, 0, false)], (1, 1, 1), "it serves revision 8", false),
        ("not quiet", vec![at(9, 8, 0, false)], (2, 1, 1), "requests that began before", false),
        ("open", vec![at(9, 9, 3, false)], (2, 2, 1), "3 requests are open", false),
        ("still named", vec![at(9, 9, 0, true)], (2, 2, 2), "", false),
        ("lost", vec![], (1, 1, 1), "it is lost", false),
        ("not in force", vec![stuck], (1, 1, 1), "frontend/shop still leads", false),
        ("has not seen the flip", vec![unaware], (1, 1, 1), "has not told of this flip", false),
        ("has not told of blue", vec![untold], (2, 2, 1), "has not told of the old side", false),
        ("an older process", vec![at(9, 9, 0, false), at(7, 7, 0, false)], (1, 1, 1), "revision 7", false),
    ] {
        let members = [member("a", vec![at(9, 9, 0, false)]), member("b", other)];
        let found = progress(&flip, 9, &members);
        assert_eq!((found.served, found.quiet, found.drained), counts, "{what}");
        assert_eq!(found.safe, safe, "{what}");
        let said = found.waiting.first().map(|it| it.reason.as_str()).unwrap_or_default();
        assert!(said.contains(waiting) && (waiting.is_empty() == said.is_empty()), "{what}: {said}");
        let step = after_commit(&flip, &found, Elapsed::default(), None);
        assert_eq!(step, if safe { Step::Close } else { Step::Wait }, "{what}");
        if safe {
            let bake = Elapsed { bake_left: Duration::from_millis(1), ..Elapsed::default() };
            assert_eq!(after_commit(&flip, &found, bake, None), Step::Wait);
            let worse = after_commit(&flip, &found, bake, Some("bad".into()));
            assert_eq!(worse, Step::Revert("bad".into()));
        }
    }
}

#[test]
fn what_the_new_side_counted_is_since_the_write() {
    let mut flip = flip(Phase::Committed);
    let with = |attempts, failures| {
        let totals = Totals { attempts, failures, micros: 0 };
        let green = BackendView { totals, ..BackendView::default() };
        Alive { backends: [("green".into(), green)].into(), ..Alive::default() }
    };
    flip.base = base(&flip, &[member("a", vec![with(100, 3)]), member("b", vec![with(10, 0)])]);
    // A process that was started anew counts from zero.
    let now = [member("a", vec![with(150, 4)]), member("c", vec![with(7, 1)])];
    assert_eq!(counted(&flip, &now), Totals { attempts: 57, failures: 2, micros: 0 });
}
