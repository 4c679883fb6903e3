//! The mass removal rule.

use super::*;

fn key(number: usize) -> String {
    format!("frontends/f{number}/frontend")
}

/// `frontends` frontends on one backend that always stays.
fn with_frontends(frontends: usize) -> Stage {
    let mut stage = Stage::new();
    stage.put("backends/b/backend", BACKEND);
    for number in 0..frontends {
        stage.store.insert(key(number), (frontend("b", &format!("h{number}.example")), 1, 1));
    }
    stage.snapshot();
    stage
}

fn delete(stage: &mut Stage, numbers: std::ops::Range<usize>) {
    let keys: Vec<_> = numbers.map(|number| format!("-{}", key(number))).collect();
    let changes: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
    stage.batch(&changes);
}

#[test]
fn the_bound_is_more_than_half_and_at_least_twenty() {
    for (frontends, removed, left) in
        [(19, 19, 0), (20, 20, 20), (38, 20, 38), (40, 20, 20), (40, 21, 40), (100, 50, 50), (100, 51, 100)]
    {
        let mut stage = with_frontends(frontends);
        delete(&mut stage, 0..removed);
        assert_eq!(stage.image.frontends_in_force(), left, "{removed} of {frontends}");
        assert_eq!(stage.image.held(), if left == frontends { removed } else { 0 });
    }
}

#[test]
fn removals_add_up_over_sixty_seconds() {
    for (pause, left) in [(0, 30), (29, 30), (30, 20), (60, 0)] {
        let mut stage = with_frontends(60);
        // Ten at a time: more than half of 60 with the fourth, within the window; of 30 with the fifth, if only two fit in.
        for step in 0..6 {
            delete(&mut stage, step * 10..step * 10 + 10);
            stage.wait(pause);
        }
        assert_eq!(stage.image.frontends_in_force(), left, "{pause} s apart");
    }
}

#[test]
fn what_came_back_is_not_counted() {
    let mut stage = with_frontends(40);
    for _ in 0..5 {
        for number in 0..40 {
            let value = stage.store[&key(number)].0.clone();
            stage.delete(&key(number));
            stage.put(&key(number), &value);
        }
    }
    assert_eq!((stage.image.frontends_in_force(), stage.image.held()), (40, 0));
}

#[test]
fn while_a_hold_is_on_everything_else_applies() {
    let mut stage = with_frontends(30);
    stage.put("listeners/l", r#"{"Protocol":"http","Address":{"Network":"tcp","Address":"127.0.0.1:0"}}"#);
    stage.put("backends/idle/backend", BACKEND);
    delete(&mut stage, 0..25);
    assert_eq!(stage.image.held(), 25);
    let problems = stage.image.problems(stage.now);
    assert_eq!((problems.counts.errors, problems.problems[0].in_force), (25, InForce::Previous));
    assert!(problems.problems[0].reason.contains("flipgate confirm"));
    stage.put("frontends/new/frontend", &frontend("b", "new.example"));
    stage.put(&key(29), &frontend("b", "moved.example"));
    stage.check(&[("frontends/new/frontend", "this"), (&key(29), "this"), (&key(0), "previous")]);
    // Later removals are held as well, but for what nothing names.
    stage.batch(&[("-listeners/l", ""), ("-backends/idle/backend", ""), ("-backends/b/backend", "")]);
    stage.check(&[
        ("listeners/l", "previous"),
        ("backends/idle/backend", "absent"),
        ("backends/b/backend", "previous"),
    ]);
    delete(&mut stage, 26..27);
    assert_eq!(stage.image.held(), 28);
    // Written again, a ghost is an object; a bad value has the ghost as its last good form.
    stage.put(&key(0), &frontend("b", "h0.example"));
    stage.put(&key(1), "{");
    stage.check(&[(&key(0), "this"), (&key(1), "previous")]);
    assert_eq!(stage.image.held(), 26);
    // A new frontend with a ghost's route takes it.
    stage.put("frontends/heir/frontend", &frontend("b", "h2.example"));
    stage.check(&[("frontends/heir/frontend", "this"), (&key(2), "absent")]);
}

#[test]
fn a_confirmation_releases_what_was_removed_up_to_it() {
    let mut stage = with_frontends(50);
    delete(&mut stage, 0..30);
    let first = stage.revision;
    delete(&mut stage, 30..35);
    stage.confirm(first - 1);
    assert_eq!((stage.image.held(), stage.image.frontends_in_force()), (35, 50));
    stage.confirm(first);
    assert_eq!((stage.image.held(), stage.image.frontends_in_force()), (5, 20));
    stage.confirm(first + 1);
    assert_eq!((stage.image.held(), stage.image.frontends_in_force()), (0, 15));
    stage.check_problems(&[]);
    // One that comes before this proxy saw the removal counts for ten minutes.
    for (pause, held) in [(0, 0), (601, 30)] {
        let mut stage = with_frontends(50);
        stage.confirm(stage.revision + 1);
        stage.wait(pause);
        delete(&mut stage, 0..30);
        assert_eq!(stage.image.held(), held);
    }
}

/// `backends` backends with two servers each, every one behind an alias of its own with one frontend.
fn with_backends(backends: usize) -> Stage {
    let mut stage = Stage::new();
    for number in 0..backends {
        let mut insert = |key: String, value: String| stage.store.insert(key, (value, 1, 1));
        insert(
            format!("frontends/f{number}/frontend"),
            frontend(&format!("a{number}"), &format!("h{number}.example")),
        );
        insert(format!("backends/a{number}/backend"), alias(&format!("b{number}")));
        insert(format!("backends/b{number}/servers/s"), SERVER.into());
        insert(format!("backends/b{number}/servers/t"), SERVER.into());
    }
    for number in 0..10 {
        stage.store.insert(format!("backends/idle{number}/servers/s"), (SERVER.into(), 1, 1));
    }
    stage.snapshot();
    stage
}

fn without_servers(stage: &mut Stage, numbers: std::ops::Range<usize>, servers: &[&str]) {
    let keys: Vec<_> = numbers
        .flat_map(|number| servers.iter().map(move |server| format!("-backends/b{number}/servers/{server}")))
        .collect();
    let changes: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
    stage.batch(&changes);
}

#[test]
fn more_than_half_of_the_reached_backends_and_at_least_five_keep_their_servers() {
    for (backends, emptied, held) in [(4, 4, 0), (5, 5, 10), (8, 4, 0), (10, 5, 0), (9, 5, 10), (10, 6, 12)] {
        let mut stage = with_backends(backends);
        without_servers(&mut stage, 0..emptied, &["s", "t"]);
        assert_eq!(stage.image.held(), held, "{emptied} of {backends}");
    }
    // Scaling down is never held, nor are backends that nothing reaches.
    let mut stage = with_backends(10);
    without_servers(&mut stage, 0..10, &["s"]);
    let idle: Vec<_> = (0..10).map(|number| format!("-backends/idle{number}/servers/s")).collect();
    stage.batch(&idle.iter().map(|key| (key.as_str(), "")).collect::<Vec<_>>());
    assert_eq!(stage.image.held(), 0);
    // The last ones of more than half are.
    without_servers(&mut stage, 0..5, &["t"]);
    assert_eq!(stage.image.held(), 0);
    without_servers(&mut stage, 5..6, &["t"]);
    assert_eq!(stage.image.held(), 1);
    stage.check(&[("backends/b5/servers/t", "previous"), ("backends/b4/servers/t", "absent")]);
}

#[test]
fn ghosts_of_servers_leave_when_their_backend_has_a_server_again() {
    let mut stage = with_backends(6);
    without_servers(&mut stage, 0..6, &["s", "t"]);
    assert_eq!(stage.image.held(), 12);
    stage.put("backends/b0/servers/u", SERVER);
    stage.check(&[("backends/b0/servers/s", "absent"), ("backends/b0/servers/t", "absent")]);
    let applied = stage.put("backends/b1/servers/s", SERVER);
    stage.check(&[("backends/b1/servers/s", "this"), ("backends/b1/servers/t", "absent")]);
    assert_eq!(applied.changes.len(), 1, "the server that came back was never gone");
    // Led away from, a backend's ghosts have no reason to stay.
    stage.put("backends/a2/backend", &alias("b0"));
    stage.check(&[("backends/b2/servers/s", "absent")]);
    assert_eq!(stage.image.held(), 6);
    // While the hold is on, a backend that keeps a server may lose another, and not its last.
    stage.put("backends/b0/servers/v", SERVER);
    stage.delete("backends/b0/servers/u");
    stage.check(&[("backends/b0/servers/u", "absent")]);
    stage.delete("backends/b0/servers/v");
    stage.check(&[("backends/b0/servers/v", "previous")]);
}

#[test]
fn pods_that_come_back_are_no_mass_removal() {
    let mut stage = with_backends(8);
    for _ in 0..3 {
        for number in 0..8 {
            without_servers(&mut stage, number..number + 1, &["s", "t"]);
            stage.put(&format!("backends/b{number}/servers/s"), SERVER);
            stage.put(&format!("backends/b{number}/servers/t"), SERVER);
        }
    }
    assert_eq!(stage.image.held(), 0);
}

#[test]
fn a_wiped_prefix_serves_on() {
    for backends in [6, 30] {
        let mut stage = with_backends(backends);
        let hash = stage.image.hash();
        let idle: Vec<_> = (0..10).map(|number| format!("-backends/idle{number}/servers/s")).collect();
        stage.batch(&idle.iter().map(|key| (key.as_str(), "")).collect::<Vec<_>>());
        let without_idle = stage.image.hash();
        assert_ne!(hash, without_idle);
        let kept = stage.store.clone();
        stage.store.clear();
        stage.revision = 3;
        let applied = stage.snapshot();
        if backends == 30 {
            assert_eq!((applied.changes.len(), applied.hash), (0, without_idle));
            assert_eq!(stage.image.held(), 30 * 4);
        }
        assert!(stage.image.held() >= 12, "{} held", stage.image.held());
        // All back: no trace is left.
        stage.store = kept;
        stage.revision += 1;
        stage.snapshot();
        assert_eq!((stage.image.held(), stage.image.hash()), (0, without_idle));
        stage.wait(600);
        stage.check_problems(&[]);
    }
}

#[test]
fn a_flip_that_leaves_the_old_side_empty_is_not_held() {
    let mut stage = with_backends(6);
    let mut changes = Vec::new();
    for number in 0..6 {
        changes.push((format!("+backends/green{number}/servers/s"), SERVER.to_owned()));
        changes.push((format!("+backends/a{number}/backend"), alias(&format!("green{number}"))));
        changes.push((format!("-backends/b{number}/servers/s"), String::new()));
        changes.push((format!("-backends/b{number}/servers/t"), String::new()));
    }
    let changes: Vec<_> = changes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    stage.batch(&changes);
    assert_eq!(stage.image.held(), 0);
}
