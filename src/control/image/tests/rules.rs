//! What is in force, and what is said about the rest.

use super::*;

#[test]
fn an_invalid_edit_keeps_the_last_good_form_and_an_invalid_object_takes_no_part() {
    let mut stage = Stage::new();
    stage.batch(&[("+backends/b/backend", BACKEND), ("+backends/c/backend", "{")]);
    stage.check(&[("backends/b/backend", "this"), ("backends/c/backend", "none")]);
    stage.check_problems(&["error backends/c/backend  None"]);
    let hash = stage.image.hash();

    stage.put("backends/b/backend", r#"{"Type":"teapot"}"#);
    stage.check(&[("backends/b/backend", "previous")]);
    stage.check_problems(&["error backends/b/backend Type Previous", "error backends/c/backend  None"]);
    assert_eq!(stage.image.hash(), hash);

    // Another bad edit: the last good form is the one before both.
    stage.put("backends/b/backend", "[]");
    stage.check(&[("backends/b/backend", "previous")]);
    let applied = stage.put("backends/b/backend", BACKEND);
    stage.check(&[("backends/b/backend", "this")]);
    assert!(applied.changes.is_empty(), "going back to the form in force changes nothing");
    stage.delete("backends/c/backend");
    stage.check(&[("backends/c/backend", "absent")]);
    stage.check_problems(&[]);
}

#[test]
fn a_deletion_of_an_object_whose_previous_form_is_in_force_is_obeyed() {
    let mut stage = Stage::new();
    stage.put("backends/b/backend", BACKEND);
    stage.put("backends/b/backend", "{");
    let applied = stage.delete("backends/b/backend");
    stage.check(&[("backends/b/backend", "absent")]);
    assert_eq!((applied.changes.len(), applied.hash), (1, 0));
}

#[test]
fn warnings_leave_the_object_in_force_and_keep_their_age() {
    let mut stage = Stage::new();
    stage.put("backends/b/backend", r#"{"Type":"http","Version":"3"}"#);
    stage.check_problems(&["warning backends/b/backend Version This"]);
    let first = stage.image.problems(stage.now).problems[0].clone();
    stage.wait(5);
    stage.put("backends/b/backend", r#"{"Type":"http","Version":"3", "Id":"b"}"#);
    let second = stage.image.problems(stage.now).problems[0].clone();
    assert_eq!((first.since, first.revision), (second.since, second.revision));
}

#[test]
fn the_order_of_writes_does_not_matter() {
    let steps = [
        ("frontends/f/frontend", frontend("shop", "a.example")),
        ("backends/shop/backend", alias("blue")),
        ("backends/blue/backend", BACKEND.into()),
        ("backends/blue/servers/s", SERVER.into()),
        ("frontends/g/frontend", guarded("bare", "b.example", "m")),
        ("backends/bare/servers/s", SERVER.into()),
        ("middlewares/m", HEADERS.into()),
    ];
    let mut hashes = BTreeSet::new();
    for turn in 0..steps.len() {
        for reverse in [false, true] {
            let mut order: Vec<_> = (0..steps.len()).map(|place| (place + turn) % steps.len()).collect();
            if reverse {
                order.reverse();
            }
            let mut stage = Stage::new();
            for place in order {
                stage.put(steps[place].0, &steps[place].1);
            }
            stage.check(&steps.each_ref().map(|(key, _)| (*key, "this")));
            stage.check_problems(&[]);
            hashes.insert(stage.image.hash());
        }
    }
    assert_eq!(hashes.len(), 1);
}

#[test]
fn a_frontend_waits_for_its_backend_outside() {
    let mut stage = Stage::new();
    stage.put("frontends/f/frontend", &frontend("b", "a.example"));
    stage.check(&[("frontends/f/frontend", "none")]);
    stage.check_problems(&["error frontends/f/frontend BackendId None"]);
    stage.put("backends/b/servers/s", SERVER);
    stage.check(&[("frontends/f/frontend", "this")]);
    stage.check_problems(&[]);
}

#[test]
fn an_edit_that_dangles_keeps_the_previous_form_until_the_target_appears() {
    let mut stage = Stage::new();
    stage.batch(&[("+backends/b/backend", BACKEND), ("+frontends/f/frontend", &frontend("b", "a.example"))]);
    stage.put("frontends/f/frontend", &frontend("new", "a.example"));
    stage.check(&[("frontends/f/frontend", "previous")]);
    stage.check_problems(&["error frontends/f/frontend BackendId Previous"]);
    stage.put("backends/new/backend", BACKEND);
    stage.check(&[("frontends/f/frontend", "this")]);
    // In one revision, an edit to what the same revision deletes dangles, too.
    stage.batch(&[("+frontends/f/frontend", &frontend("b", "a.example")), ("-backends/b/backend", "")]);
    stage.check(&[("frontends/f/frontend", "previous")]);
}

#[test]
fn a_deleted_backend_leaves_what_named_it_in_force_and_listed() {
    let mut stage = Stage::new();
    stage.batch(&[
        ("+backends/b/backend", BACKEND),
        ("+backends/a/backend", &alias("b")),
        ("+frontends/f/frontend", &frontend("b", "a.example")),
        ("+frontends/g/frontend", &frontend("a", "b.example")),
    ]);
    stage.delete("backends/b/backend");
    stage.check(&[("frontends/f/frontend", "this"), ("backends/a/backend", "this")]);
    let listed = ["error frontends/f/frontend BackendId This", "error backends/a/backend Target This"];
    stage.check_problems(&listed);
    // An edit that keeps the missing target is taken.
    stage.put("frontends/f/frontend", &frontend("b", "c.example"));
    stage.check(&[("frontends/f/frontend", "this")]);
    stage.check_problems(&listed);
    stage.put("backends/b/backend", BACKEND);
    stage.check_problems(&[]);
}

#[test]
fn a_backend_that_a_middleware_names_has_to_exist_and_is_named() {
    let asks =
        |backend: &str| format!(r#"{{"Type":"forwardauth","Middleware":{{"BackendId":"{backend}"}}}}"#);
    let named = |stage: &Stage, id: &str| stage.image.is_named(&id.try_into().unwrap());
    let mut stage = Stage::new();
    stage.batch(&[
        ("+backends/b/backend", BACKEND),
        ("+frontends/f/frontend", &frontend("b", "a.example")),
        ("+frontends/f/middlewares/m", &asks("auth")),
        ("+middlewares/s", &asks("auth")),
        ("+frontends/g/frontend", &guarded("b", "b.example", "s")),
    ]);
    for key in ["frontends/f/frontend", "frontends/f/middlewares/m", "middlewares/s", "frontends/g/frontend"]
    {
        stage.check(&[(key, "none")]);
    }
    assert!(!named(&stage, "auth"));
    stage.put("backends/auth/backend", BACKEND);
    for key in ["frontends/f/frontend", "frontends/f/middlewares/m", "middlewares/s", "frontends/g/frontend"]
    {
        stage.check(&[(key, "this")]);
    }
    assert!(named(&stage, "auth"));
    // An edit that dangles keeps the previous form.
    stage.put("middlewares/s", &asks("nobody"));
    stage.check(&[("middlewares/s", "previous")]);
    stage.delete("frontends/f/middlewares/m");
    assert!(named(&stage, "auth") && !named(&stage, "nobody"));
    stage.put("middlewares/s", HEADERS);
    assert!(!named(&stage, "auth"));
    // A mirror is named through its alias, and its backend is missed once it is gone.
    stage.put("backends/copy/backend", &alias("auth"));
    stage.put("middlewares/s", r#"{"Type":"mirror","Middleware":{"BackendId":"copy"}}"#);
    assert!(named(&stage, "copy") && named(&stage, "auth"));
    stage.check_problems(&[]);
    stage.delete("backends/copy/backend");
    stage.check(&[("middlewares/s", "this")]);
    stage.check_problems(&["error middlewares/s Middleware.BackendId This"]);
}

#[test]
fn an_alias_names_a_real_backend_and_has_no_servers() {
    let mut stage = Stage::new();
    stage.batch(&[
        ("+backends/blue/backend", BACKEND),
        ("+backends/shop/backend", &alias("blue")),
        ("+backends/other/backend", &alias("shop")),
        ("+backends/shop/servers/s", SERVER),
    ]);
    stage.check(&[
        ("backends/shop/backend", "this"),
        ("backends/other/backend", "none"),
        ("backends/shop/servers/s", "none"),
    ]);
    stage
        .check_problems(&["error backends/other/backend Target None", "error backends/shop/servers/s  None"]);
    // What an alias names does not become one.
    stage.batch(&[("+backends/green/backend", BACKEND), ("+backends/blue/backend", &alias("green"))]);
    stage.check(&[("backends/blue/backend", "previous")]);
    // It does when nothing names it any more; a real backend in its place takes its servers and its alias.
    stage.put("backends/shop/backend", BACKEND);
    let expected = ["backends/blue/backend", "backends/other/backend", "backends/shop/servers/s"];
    stage.check(&expected.map(|key| (key, "this")));
    stage.check_problems(&[]);
    // A real backend that becomes an alias loses its servers.
    stage.delete("backends/other/backend");
    stage.put("backends/shop/backend", &alias("green"));
    stage.check(&[("backends/shop/backend", "this"), ("backends/shop/servers/s", "none")]);
    stage.delete("backends/shop/backend");
    stage.check(&[("backends/shop/servers/s", "this")]);
}

#[test]
fn a_missing_shared_middleware_keeps_a_frontend_from_being_served_without_it() {
    let mut stage = Stage::new();
    stage.put("backends/b/backend", BACKEND);
    stage.put("frontends/f/frontend", &guarded("b", "a.example", "m"));
    stage.check(&[("frontends/f/frontend", "none")]);
    stage.check_problems(&["error frontends/f/frontend Settings.Middlewares None"]);
    stage.put("middlewares/m", r#"{"Type":"ratelimit","Middleware":{}}"#);
    stage.check(&[("middlewares/m", "none"), ("frontends/f/frontend", "none")]);
    stage.put("middlewares/m", HEADERS);
    stage.check(&[("middlewares/m", "this"), ("frontends/f/frontend", "this")]);

    // Removed while it is named: it stays until it is not.
    stage.delete("middlewares/m");
    stage.check(&[("middlewares/m", "previous"), ("frontends/f/frontend", "this")]);
    stage.check_problems(&["error middlewares/m  Previous"]);
    stage.put("frontends/f/frontend", &frontend("b", "a.example"));
    stage.check(&[("middlewares/m", "absent"), ("frontends/f/frontend", "this")]);
    stage.check_problems(&[]);
}

#[test]
fn an_own_middleware_that_may_guard_is_not_left_out_and_one_that_shapes_is() {
    let mut stage = Stage::new();
    stage.batch(&[
        ("+backends/b/backend", BACKEND),
        ("+frontends/f/frontend", &frontend("b", "a.example")),
        ("+frontends/f/middlewares/m", r#"{"Type":"auth","Middleware":{}}"#),
        ("+frontends/g/frontend", &frontend("b", "b.example")),
        ("+frontends/g/middlewares/m", r#"{"type":"rewrite","Middleware":{}}"#),
        ("+frontends/h/frontend", &frontend("b", "c.example")),
        ("+frontends/h/middlewares/m", "not even JSON"),
    ]);
    stage.check(&[
        ("frontends/f/frontend", "none"),
        ("frontends/g/frontend", "this"),
        ("frontends/h/frontend", "none"),
    ]);
    stage.put("frontends/f/middlewares/m", HEADERS);
    stage.delete("frontends/h/middlewares/m");
    stage.check(&[("frontends/f/frontend", "this"), ("frontends/h/frontend", "this")]);
    // Once in force it is not taken out.
    stage.put("frontends/f/middlewares/n", "[");
    stage.check(&[("frontends/f/frontend", "this"), ("frontends/f/middlewares/n", "none")]);
    stage.put("frontends/f/middlewares/m", "[");
    stage.check(&[("frontends/f/frontend", "this"), ("frontends/f/middlewares/m", "previous")]);
}

#[test]
fn of_two_frontends_with_one_route_the_one_created_later_waits() {
    let mut stage = Stage::new();
    stage.put("backends/b/backend", BACKEND);
    stage.put("frontends/z/frontend", &frontend("b", "a.example"));
    stage.put("frontends/a/frontend", &frontend("b", "a.example"));
    stage.check(&[("frontends/z/frontend", "this"), ("frontends/a/frontend", "none")]);
    stage.check_problems(&["error frontends/a/frontend Route None"]);
    // One edited into it keeps its previous form; one created earlier takes it over.
    stage.put("frontends/m/frontend", &frontend("b", "m.example"));
    stage.put("frontends/m/frontend", &frontend("b", "a.example"));
    stage.check(&[("frontends/m/frontend", "previous")]);
    stage.put("frontends/z/frontend", &frontend("b", "m.example"));
    stage.check(&[
        ("frontends/z/frontend", "this"),
        ("frontends/a/frontend", "this"),
        ("frontends/m/frontend", "none"),
    ]);
    stage.delete("frontends/a/frontend");
    stage.check(&[("frontends/m/frontend", "this")]);
    stage.check_problems(&[]);
    // One that another frontend took the place of in one revision is no conflict.
    stage.batch(&[("-frontends/m/frontend", ""), ("+frontends/n/frontend", &frontend("b", "a.example"))]);
    stage.check(&[("frontends/n/frontend", "this"), ("frontends/m/frontend", "absent")]);
    // Same age: by id.
    stage.batch(&[
        ("+frontends/q/frontend", &frontend("b", "q.example")),
        ("+frontends/p/frontend", &frontend("b", "q.example")),
    ]);
    stage.check(&[("frontends/p/frontend", "this"), ("frontends/q/frontend", "none")]);
}

#[test]
fn the_nested_key_counts_where_both_exist() {
    let mut stage = Stage::new();
    stage.put("backends/b/backend", BACKEND);
    stage.put("frontends/f", &frontend("b", "short.example"));
    let hash = stage.image.hash();
    stage.put("frontends/f/frontend", &frontend("b", "nested.example"));
    stage.check_problems(&["warning frontends/f  None"]);
    assert_ne!(stage.image.hash(), hash);
    stage.put("frontends/f", &frontend("gone", "short.example"));
    stage.put("frontends/f", &frontend("b", "short.example"));
    stage.snapshot();
    stage.check_problems(&["warning frontends/f  None"]);
    stage.delete("frontends/f/frontend");
    assert_eq!(stage.image.hash(), hash);
    stage.check_problems(&[]);
    stage.put("frontends/f/frontend", &frontend("b", "nested.example"));
    stage.store.remove("frontends/f/frontend");
    stage.snapshot();
    assert_eq!(stage.image.hash(), hash);
    stage.delete("frontends/f");
    stage.check(&[("frontends/f/frontend", "absent")]);
}

#[test]
fn keys_that_are_no_objects_are_listed_and_vulcands_certificates_are_not() {
    let mut stage = Stage::new();
    stage.batch(&[("+frontends/f/extra/x", "1"), ("+autocert_cache/a", "2"), ("+host", "3")]);
    stage.check_problems(&["warning frontends/f/extra/x  None", "warning host  None"]);
    stage.delete("host");
    stage.snapshot();
    stage.check_problems(&["warning frontends/f/extra/x  None"]);
    for number in 0..PROBLEMS_MAX + 5 {
        stage.store.insert(format!("foreign-{number}"), ("x".into(), 1, 1));
    }
    stage.snapshot();
    let listing = stage.image.problems(stage.now);
    assert_eq!((listing.problems.len(), listing.counts.warnings), (PROBLEMS_MAX, PROBLEMS_MAX + 6));
}

#[test]
fn a_thousand_bad_objects_do_not_keep_a_thousand_good_ones_from_serving() {
    let mut stage = Stage::new();
    stage.store.insert("backends/b/backend".into(), (BACKEND.into(), 1, 1));
    let bad = ["", "{", "[]", "null", "\u{fffd}", r#"{"Route":7}"#, r#"{"BackendId":"b","Route":"Host("}"#];
    for number in 0..1000 {
        let good = frontend("b", &format!("h{number}.example"));
        stage.store.insert(format!("frontends/good-{number}/frontend"), (good, 1, 1));
        let bad = bad[number % bad.len()].to_owned();
        stage.store.insert(format!("frontends/bad-{number}/frontend"), (bad, 1, 1));
    }
    stage.snapshot();
    assert_eq!(stage.image.frontends_in_force(), 1000);
    let listed: BTreeSet<_> = stage.image.problems(stage.now).problems.into_iter().map(|it| it.key).collect();
    assert_eq!(listed.len(), 1000);
    assert!(listed.iter().all(|key| key.starts_with("frontends/bad-")));
}

#[test]
fn a_snapshot_changes_only_what_differs() {
    let mut stage = Stage::new();
    stage.batch(&[
        ("+backends/b/backend", BACKEND),
        ("+frontends/f/frontend", &frontend("b", "a.example")),
        ("+frontends/g/frontend", &frontend("b", "b.example")),
    ]);
    stage.put("frontends/g/frontend", "{");
    assert!(stage.snapshot().changes.is_empty());
    stage.check(&[("frontends/g/frontend", "previous")]);
    stage.store.remove("frontends/f/frontend");
    assert_eq!(stage.snapshot().changes.len(), 1);
    stage.check(&[("frontends/f/frontend", "absent"), ("frontends/g/frontend", "previous")]);
}

#[test]
fn a_restored_backup_and_a_wiped_prefix_are_obeyed_and_said() {
    let mut stage = Stage::new();
    stage.batch(&[("+backends/b/backend", BACKEND), ("+backends/c/backend", BACKEND)]);
    stage.revision = 100;
    stage.put("backends/d/backend", BACKEND);
    stage.revision = 7;
    stage.store.remove("backends/d/backend");
    assert_eq!(stage.snapshot().revision, Revision(7));
    stage.check(&[("backends/d/backend", "absent"), ("backends/b/backend", "this")]);
    stage.check_problems(&["error   This"]);
    stage.wait(600);
    stage.check_problems(&[]);
    stage.store.clear();
    stage.snapshot();
    stage.check_problems(&["error   This"]);
    assert_eq!(stage.image.hash(), 0);
}

#[test]
fn a_host_needs_a_certificate_that_fits_its_key_and_warns_before_it_expires() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |days: i64| {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("names");
        let days_from_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_after =
            epoch + Duration::from_secs(days_from_epoch) + Duration::from_secs(days as u64 * 86_400);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(dir.path().join("crt"), certificate.pem()).expect("written");
        std::fs::write(dir.path().join("key"), key.serialize_pem()).expect("written");
    };
    let mut stage = Stage::new();
    stage.image = Image::new(Environment {
        seal_keys: SealKeys::none(),
        secrets_dir: Some(dir.path().into()),
        trace_dir: None,
    });
    let host = r#"{"Settings":{"KeyPair":{"CertFile":"crt","KeyFile":"key"}}}"#;
    let apply = |stage: &mut Stage, entry: Entry| {
        let snapshot = Snapshot { revision: Revision(1), entries: vec![entry] };
        stage.image.apply(&Event::Snapshot(snapshot), stage.now).changes.len()
    };
    stage.store.insert("hosts/a.example/host".into(), (host.into(), 1, 1));
    let entry = stage.entry("hosts/a.example/host");
    assert_eq!(apply(&mut stage, entry), 0);
    stage.check(&[("hosts/a.example/host", "none")]);
    stage.check_problems(&["error hosts/a.example/host Settings.KeyPair.CertFile None"]);

    write(30);
    assert_eq!(stage.image.reload(stage.now).changes.len(), 1);
    stage.check_problems(&[]);
    assert_eq!(stage.image.reload(stage.now).changes.len(), 0);
    stage.wait(20 * 86_400);
    stage.check_problems(&["warning hosts/a.example/host Settings.KeyPair This"]);

    std::fs::write(dir.path().join("key"), "nonsense").expect("written");
    assert_eq!(stage.image.reload(stage.now).changes.len(), 0);
    assert_eq!(stage.problems()[0], "error hosts/a.example/host Settings.KeyPair Previous");
    write(90);
    assert_eq!(stage.image.reload(stage.now).changes.len(), 1);
    stage.check_problems(&[]);
}

#[test]
fn middlewares_whose_frontend_is_gone_do_nothing_until_it_comes_back() {
    let mut stage = Stage::new();
    stage.batch(&[
        ("+backends/b/backend", BACKEND),
        ("+frontends/f/frontend", &frontend("b", "a.example")),
        ("+frontends/f/middlewares/m", HEADERS),
    ]);
    // As a lease on the frontend's key alone ends it.
    stage.delete("frontends/f/frontend");
    stage.check(&[("frontends/f/frontend", "absent"), ("frontends/f/middlewares/m", "this")]);
    stage.check_problems(&[]);
    stage.put("frontends/f/frontend", &frontend("b", "a.example"));
    stage.check(&[("frontends/f/frontend", "this"), ("frontends/f/middlewares/m", "this")]);
    stage.check_problems(&[]);
}

#[test]
fn files_that_backends_and_policies_name_are_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stage = Stage::new();
    stage.image = Image::new(Environment {
        seal_keys: SealKeys::none(),
        secrets_dir: Some(dir.path().into()),
        trace_dir: None,
    });
    let backend = r#"{"Settings":{"TLS":{"KeyPair":{"CertFile":"crt","KeyFile":"key"}}}}"#;
    let host = r#"{"Settings":{"ClientAuth":{"Mode":"required","CAFile":"crt"}}}"#;
    stage.store.insert("backends/b/backend".into(), (backend.into(), 1, 1));
    stage.store.insert("hosts/a.example/host".into(), (host.into(), 1, 1));
    let entries = ["backends/b/backend", "hosts/a.example/host"].map(|key| stage.entry(key));
    let snapshot = Snapshot { revision: Revision(1), entries: entries.into() };
    assert_eq!(stage.image.apply(&Event::Snapshot(snapshot), stage.now).changes.len(), 0);
    stage.check_problems(&[
        "error hosts/a.example/host Settings.ClientAuth.CAFile None",
        "error backends/b/backend Settings.TLS.KeyPair.CertFile None",
    ]);

    let write = || {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("a certificate");
        std::fs::write(dir.path().join("crt"), made.cert.pem()).expect("written");
        std::fs::write(dir.path().join("key"), made.signing_key.serialize_pem()).expect("written");
    };
    for changed in [2, 0] {
        if changed > 0 {
            write();
        }
        assert_eq!(stage.image.reload(stage.now).changes.len(), changed);
        stage.check_problems(&[]);
    }
    std::fs::write(dir.path().join("crt"), "nonsense").expect("written");
    assert_eq!(stage.image.reload(stage.now).changes.len(), 0);
    stage.check_problems(&[
        "error hosts/a.example/host Settings.ClientAuth.CAFile Previous",
        "error backends/b/backend Settings.TLS.KeyPair Previous",
    ]);
    write();
    assert_eq!(stage.image.reload(stage.now).changes.len(), 2);
    stage.check_problems(&[]);
}
