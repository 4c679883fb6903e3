//! Line 6: a bad object hurts only itself, and is listed.

use crate::support::keys::frontend;
use crate::support::{Flipgate, Keys, Nginx, TestCertificate, get, scaled, shared};
use serde_json::{Value, json};

/// One bad object and what is said of it.
pub struct Bad {
    pub what: &'static str,
    pub key: &'static str,
    pub value: Vec<u8>,
    /// The field begins so.
    field: &'static str,
    /// The reason holds it, whatever the case.
    reason: &'static str,
    severity: &'static str,
    in_force: &'static str,
}

pub fn bad_objects() -> Vec<Bad> {
    let one = TestCertificate::of(&["pair.example"]);
    let other = TestCertificate::of(&["pair.example"]);
    let mixed = TestCertificate { certificate: one.certificate, key: other.key };
    let json = |value: Value| value.to_string().into_bytes();
    let bad = |what, key, value, field, reason, severity, in_force| Bad {
        what,
        key,
        value,
        field,
        reason,
        severity,
        in_force,
    };
    let mut unknown_field = frontend("Host(`field.example`)", "good");
    unknown_field["Colour"] = json!("blue");
    let mut large = frontend("Host(`large.example`)", "good");
    large["Note"] = json!("x".repeat(2_000_000));
    vec![
        bad(
            "broken JSON",
            "frontends/broken/frontend",
            b"{\"BackendId\": \"go".to_vec(),
            "",
            "json",
            "error",
            "none",
        ),
        bad(
            "an unknown field",
            "frontends/field/frontend",
            json(unknown_field),
            "Colour",
            "known field",
            "warning",
            "this",
        ),
        bad(
            "an unknown backend",
            "frontends/dangling/frontend",
            json(frontend("Host(`dangling.example`)", "nowhere")),
            "BackendId",
            "nowhere",
            "error",
            "none",
        ),
        bad(
            "a route that does not parse",
            "frontends/route/frontend",
            json(frontend("Host(`route.example`) &&", "good")),
            "Route",
            "",
            "error",
            "none",
        ),
        bad(
            "a route that another frontend has",
            "frontends/twin/frontend",
            json(frontend("Host(`first.example`)", "good")),
            "Route",
            "first",
            "error",
            "none",
        ),
        bad(
            "a private key that does not match",
            "hosts/pair.example/host",
            json(mixed.host(false)),
            "Settings.KeyPair",
            "does not belong",
            "error",
            "none",
        ),
        bad("a value of 2 MB", "frontends/large/frontend", json(large), "", "", "error", "none"),
    ]
}

#[test]
fn line_6_each_bad_object_is_a_listed_problem() {
    let _machine = shared();
    let server = Nginx::named("good");
    let mut keys = Keys::start_with(&["--max-request-bytes=4194304"]);
    keys.put_listener();
    keys.put_backend("good", &[server.address()]);
    keys.put_frontend("first", "Host(`first.example`)", "good");
    let mut last = 0;
    for bad in bad_objects() {
        last = keys.put_bytes(bad.key, bad.value);
    }
    let flipgate = Flipgate::on(&keys.url()).ready();
    flipgate.admin().served(last);
    let address = flipgate.address("http");
    assert_eq!(get(address, "first.example", "/").text(), "good\n");
    assert_eq!(get(address, "field.example", "/").text(), "good\n", "an unknown field is a warning");

    let problems = flipgate.admin().problems();
    let mut missing = Vec::new();
    for bad in bad_objects() {
        let fits = |problem: &&Value| {
            let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            problem["key"] == bad.key
                && text("field").starts_with(bad.field)
                && text("reason").to_lowercase().contains(bad.reason)
                && problem["severity"] == bad.severity
                && problem["inForce"] == bad.in_force
                && problem["revision"].is_i64()
                && problem["since"].is_string()
        };
        if !problems.iter().any(|problem| fits(&problem)) {
            let told = problems.iter().filter(|problem| problem["key"] == bad.key).collect::<Vec<_>>();
            missing.push(format!("{}: {told:?}", bad.what));
        }
    }
    assert!(missing.is_empty(), "not listed as they should be:\n{}", missing.join("\n"));
    println!(
        "spine 6: {} kinds of bad objects are listed with key, field, reason and severity ok",
        bad_objects().len()
    );
}

#[test]
fn line_6_bad_objects_among_good_ones() {
    let _machine = shared();
    let server = Nginx::named("good");
    let count = scaled(200, 1_000);
    let mut keys = Keys::start();
    keys.put_listener();
    keys.put_backend("good", &[server.address()]);
    let mut puts = Vec::new();
    for number in 0..count {
        let good = frontend(&format!("Host(`good{number}.example`)"), "good");
        puts.push((format!("frontends/good{number}/frontend"), good));
        let bad = match number % 4 {
            0 => json!([1, 2, 3]),
            1 => json!({"Type": "http", "BackendId": "good", "Route": "Host("}),
            2 => {
                json!({"Type": "smtp", "BackendId": "good", "Route": format!("Host(`bad{number}.example`)")})
            }
            _ => json!({"Type": "http", "BackendId": 7, "Route": format!("Host(`bad{number}.example`)")}),
        };
        puts.push((format!("frontends/bad{number}/frontend"), bad));
    }
    let last = keys.put_many(&puts);
    let flipgate = Flipgate::on(&keys.url()).ready();
    flipgate.admin().served(last);
    let address = flipgate.address("http");
    let mut connection = crate::support::Connection::open(address);
    for number in 0..count {
        let answer = connection.get(&format!("good{number}.example"), "/").expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "good\n"), "good{number}");
    }
    let problems = flipgate.admin().problems();
    for number in 0..count {
        let key = format!("frontends/bad{number}/frontend");
        let listed = problems.iter().any(|problem| problem["key"] == key && problem["severity"] == "error");
        assert!(listed, "{key} is not listed");
    }
    println!(
        "spine 6: {count} bad objects among {count} good ones: all good ones serve, all bad ones are listed ok"
    );
}
