//! Line 4: proxies and owners that stop in the middle of a flip. Whatever happens, *safe* is not said while a proxy can
//! still reach the old side, the flip names who it waits for, and it ends once that one is back or forgotten.

use super::{MARK_MAX, checked};
use crate::support::fleet::HOST;
use crate::support::{Connection, Fleet, Flip, Mode, Plan, Pod, Traffic, alone, scaled, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// The one that things happen to.
const VICTIM: &str = "p2";

/// What happens, and what ends it.
type Case = (&'static str, fn(&mut Fleet), fn(&mut Fleet));

const CASES: [Case; 5] = [
    (
        "stopped",
        |fleet| fleet.member(VICTIM).flipgate.signal(Signal::SIGSTOP),
        |fleet| fleet.member(VICTIM).flipgate.signal(Signal::SIGCONT),
    ),
    ("cut off from etcd", |fleet| fleet.cut(VICTIM), |fleet| fleet.mend(VICTIM)),
    ("killed and forgotten", |fleet| fleet.member(VICTIM).flipgate.kill(), forget),
    ("killed and started", |fleet| fleet.member(VICTIM).flipgate.kill(), start_again),
    (
        "started from disk",
        |fleet| {
            fleet.cut(VICTIM);
            fleet.member(VICTIM).flipgate.kill();
            start_again(fleet);
        },
        |fleet| fleet.mend(VICTIM),
    ),
];

fn forget(fleet: &mut Fleet) {
    // It counts as alive until its lease ends.
    until("it is lost, and forgotten", Duration::from_secs(20), || {
        let (code, _, errors) = fleet.verb(&["fleet", "forget", VICTIM]);
        assert!(code == 0 || errors.contains("lives"), "{errors}");
        (code == 0).then_some(())
    });
}

fn start_again(fleet: &mut Fleet) {
    fleet.member(VICTIM).flipgate.start_again();
}

#[test]
fn line_4_safe_is_not_said_while_a_proxy_is_away() {
    let _alone = alone();
    let silence = scaled(Duration::from_secs(3), Duration::from_secs(15));
    let mut scene = Scene::new();
    for (what, happens, ends) in CASES {
        let traffic = Traffic::start(Plan::steady(&scene.fleet.addresses(), HOST, 6, 150));
        let old = scene.here;
        happens(&mut scene.fleet);
        let reaches = scene.reaches_old(what);
        let mut flip = scene.flip(&["--wait", "120s", "--force"]);
        let said = flip.listen(silence);
        assert!(!said.iter().any(|event| event.name == "safe"), "{what}: safe is said: {said:#?}");
        let names = said.iter().any(|event| event.line.to_string().contains(VICTIM));
        assert!(names, "{what}: {VICTIM} is not named: {said:#?}");
        assert_eq!(scene.reaches_old(what), reaches, "{what}");
        ends(&mut scene.fleet);
        flip.event("safe", Duration::from_secs(60));
        scene.old_side_stays_quiet(old, what);
        let ended = flip.end(MARK_MAX);
        assert_eq!(ended.code, 0, "{what}: {ended:#?}");
        drop(traffic);
        scene.heal(what);
    }
    println!(
        "flip 4: {} ways of a proxy to be away: named, and safe only after it was back or forgotten (silent for {silence:?}) ok",
        CASES.len()
    );
}

/// What the owner had said when it was killed; the empty one stands for its start.
const PHASES: [&str; 6] = ["", "prepared", "written", "served", "quiet", "drained"];

#[test]
fn line_4_a_flip_whose_owner_dies_lapses_or_is_taken_over() {
    let _alone = alone();
    let mut scene = Scene::new();
    let (mut lapsed, mut taken) = (0, 0);
    for round in 0..scaled(1, 5) {
        for phase in PHASES {
            let what = format!("owner killed after {phase:?}, round {round}");
            let (old, before) = (scene.here, scene.fleet.target());
            // Something to wait for at each phase: a proxy that prepares nothing, and a request that holds the old side.
            if phase.is_empty() {
                scene.fleet.member(VICTIM).flipgate.signal(Signal::SIGSTOP);
            }
            scene.pods(old).iter().for_each(|pod| pod.mode(Mode::Slow(800)));
            let mut held = Connection::open(scene.fleet.members[0].address);
            held.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes());
            let open = |pods: &[Pod]| pods.iter().any(|pod| pod.stats().open > 0);
            until("a request holds the old side", MARK_MAX, || open(scene.pods(old)).then_some(()));
            let mut flip = scene.flip(&["--wait", "60s"]);
            if phase.is_empty() {
                flip.listen(Duration::from_millis(300));
            } else {
                flip.event(phase, MARK_MAX);
            }
            let was_open = open(scene.pods(old));
            let said = flip.kill();
            let safe = said.iter().any(|event| event.name == "safe");
            assert!(!(safe && was_open), "{what}: safe with a request open: {said:#?}");
            if phase.is_empty() {
                scene.fleet.member(VICTIM).flipgate.signal(Signal::SIGCONT);
            }
            assert_eq!(held.answer().status, 200, "{what}");
            scene.pods(old).iter().for_each(|pod| pod.mode(Mode::Well));

            let after = scene.fleet.target();
            let must_be_written = ["written", "served", "quiet", "drained"].contains(&phase);
            assert!(after != before || !must_be_written, "{what}: {after} is in force");
            if after == before {
                scene.here = old;
                lapsed += 1;
            } else {
                let waited = Flip::start(&scene.fleet, &["wait", "--revision", "1", "--drained", &before])
                    .end(MARK_MAX);
                assert_eq!(waited.code, 0, "{what}: {waited:#?}");
                scene.old_side_stays_quiet(old, &what);
                taken += 1;
            }
            // Nothing is left in the way of the next flip.
            let to = scene.here;
            until("the dead owner's flip is over", MARK_MAX, || {
                scene.fleet.keys.open_flips().is_empty().then_some(())
            });
            let next = scene.flip(&["--wait", "60s"]);
            next.end_safe(Duration::from_secs(90));
            scene.old_side_stays_quiet(to, &what);
        }
    }
    println!(
        "flip 4: owner killed at {} phases: {lapsed} flips lapsed, {taken} ended without it ok",
        PHASES.len()
    );
}

#[test]
fn line_4_a_proxy_that_finds_the_new_value_invalid_is_named() {
    let _alone = alone();
    let mut scene = Scene::new();
    let green = SIDES[1].1;
    let key = format!("backends/{green}/backend");
    let well = scene.fleet.keys.get(&key).unwrap();
    // Servers would make a backend by themselves.
    for pod in scene.pods(1).iter().map(|pod| pod.name().to_owned()).collect::<Vec<_>>() {
        scene.fleet.keys.delete(&format!("backends/{green}/servers/{pod}"));
    }
    // Two keep the form they have; the third starts without one, and so has nothing that the alias could lead to.
    let spoilt = scene.fleet.keys.put(&key, &json!({"Type": "nonsense"}));
    scene.fleet.served(spoilt);
    scene.fleet.member(VICTIM).flipgate.kill();
    std::fs::remove_dir_all(scene.fleet.member(VICTIM).flipgate.data_dir()).unwrap();
    start_again(&mut scene.fleet);
    scene.fleet.member(VICTIM).flipgate.wait_ready(Duration::from_secs(20));
    scene.fleet.served(spoilt);

    until("the object is named", Duration::from_secs(10), || {
        let (_, listed, _) = scene.fleet.verb(&["fleet"]);
        listed.lines().any(|line| line.contains(VICTIM) && line.contains(green)).then_some(())
    });
    let refused = scene.flip(&["--wait", "5s"]).end(MARK_MAX);
    assert!(refused.code == 1 && !refused.has("safe"), "{refused:#?}");
    assert!(refused.text().contains(VICTIM), "{VICTIM} is not named: {}", refused.text());
    assert_eq!(scene.fleet.target(), SIDES[0].1);

    scene.here = 0;
    let mut flip = scene.flip(&["--wait", "60s", "--force"]);
    let said = flip.listen(Duration::from_secs(3)).to_vec();
    assert!(!said.iter().any(|event| event.name == "safe"), "{said:#?}");
    assert!(said.iter().any(|event| event.line.to_string().contains(VICTIM)), "not named: {said:#?}");
    assert!(scene.reaches_old("invalid"), "{VICTIM} keeps what it had");
    scene.fleet.keys.put(&key, &well);
    flip.event("safe", MARK_MAX);
    scene.old_side_stays_quiet(0, "repaired");
    assert_eq!(flip.end(MARK_MAX).code, 0);
    println!("flip 4: a proxy that finds the new value invalid: named, and safe only after the repair ok");
}

const SIDES: [(&str, &str); 2] = [("blue", "shop-blue"), ("green", "shop-green")];

/// Three proxies and two sides that flips go between.
struct Scene {
    fleet: Fleet,
    sides: [Vec<Pod>; 2],
    /// The side that traffic goes to, once the last flip that was started is done.
    here: usize,
}

impl Scene {
    fn new() -> Self {
        let mut fleet = Fleet::of(3).cuttable().start();
        let sides = SIDES.map(|(colour, _)| Pod::start_many(colour, 2));
        for ((_, backend), pods) in SIDES.iter().zip(&sides) {
            fleet.put_backend(backend, &checked(), pods);
        }
        fleet.put_shop(SIDES[0].1);
        Self { fleet, sides, here: 0 }
    }

    fn pods(&self, side: usize) -> &[Pod] {
        &self.sides[side]
    }

    /// Starts a flip to the other side.
    fn flip(&mut self, arguments: &[&str]) -> Flip {
        self.here = 1 - self.here;
        Flip::shop(&self.fleet, SIDES[self.here].1, arguments)
    }

    /// Whether a request to the victim reaches the side that traffic is to leave; of a proxy that answers nothing now,
    /// that is not known and counts as no.
    fn reaches_old(&mut self, what: &str) -> bool {
        let address = self.fleet.member(VICTIM).address;
        if !matches!(what, "cut off from etcd" | "started from disk" | "invalid") {
            return false;
        }
        let answer = until("an answer of the one that is away", MARK_MAX, || {
            Connection::try_open(address).ok()?.get(HOST, "/").ok().filter(|answer| answer.status == 200)
        });
        // Away since before the flip, it is where the flip started.
        let colour = answer.text().split(' ').next().unwrap_or_default().to_owned();
        let victims = SIDES.iter().position(|(name, _)| *name == colour).expect("a side");
        assert!(self.pods(victims).iter().any(|pod| pod.stats().begun > 0));
        true
    }

    /// After *safe*, nothing reaches the old side, over whichever proxy; said by its pods.
    fn old_side_stays_quiet(&self, old: usize, what: &str) {
        self.pods(old).iter().for_each(Pod::mark);
        for _ in 0..20 {
            for member in &self.fleet.members {
                // One that was killed answers nothing.
                if let Ok(mut connection) = Connection::try_open(member.address) {
                    let _ = connection.get(HOST, "/");
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for pod in self.pods(old) {
            assert_eq!(pod.stats().late, 0, "{what}: {} was reached after safe", pod.name());
        }
    }

    /// All three are there again.
    fn heal(&mut self, what: &str) {
        if what == "killed and forgotten" {
            start_again(&mut self.fleet);
        }
        self.fleet.member(VICTIM).flipgate.wait_ready(Duration::from_secs(20));
        self.fleet.wait_members(&["p1", "p2", "p3"]);
        let target = SIDES[self.here].1;
        assert_eq!(self.fleet.target(), target, "{what}");
        let value = self.fleet.keys.get("frontends/shop/frontend").unwrap_or(Value::Null);
        let revision = self.fleet.keys.put("frontends/shop/frontend", &value);
        self.fleet.served(revision);
    }
}
