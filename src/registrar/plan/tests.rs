use super::*;
use crate::kubernetes::Name;
use crate::model::Revision;
use crate::registrar::Unit;
use crate::registrar::convert::{Converted, Desired};
use crate::registrar::ledger::Ledger;
use crate::store::{Batch, Change, Entry};
use serde_json::json;
use zeroize::Zeroizing;

const SEAL: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_SEAL: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn planner(seal_keys: &[&str], plain_keys: bool) -> Planner {
    Planner { cluster: "c".into(), seal_keys: SealKeys::parse(seal_keys).unwrap(), plain_keys }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn unit(name: &str) -> Unit {
    Unit::Service(Name::new("s", name))
}

fn wanting(at: &str, value: Value) -> Ledger {
    let mut converted = Converted::default();
    converted.put(key(at), value.as_object().unwrap().clone());
    let mut ledger = Ledger::default();
    ledger.state(&unit("a"), 1, converted);
    ledger
}

fn storing(all: &[(&str, &str)]) -> Image {
    let mut image = Image::new("c");
    let put = |(key, value): &(&str, &str)| {
        Change::Put(Entry {
            key: (*key).into(),
            value: (*value).to_owned().into(),
            version: 5,
            created: 1,
            lease: None,
        })
    };
    image.apply(Batch { revision: Revision(5), changes: all.iter().map(put).collect() });
    image
}

fn decide(planner: &Planner, ledger: &Ledger, image: &Image, at: &str) -> Decision {
    planner.decide(&key(at), ledger.wanted(&key(at)), image)
}

/// `put PATH if VERSION`, `delete PATH if VERSION`, `note FIELD REASON`
fn shown(decision: &Decision) -> Vec<String> {
    let step = |step: &Step| {
        let act = if step.is_delete() { "delete" } else { "put" };
        let expected = match step.expected {
            Expected::Version(version) => version.to_string(),
            _ => "absent".to_owned(),
        };
        format!("{act} {} if {expected}", step.path)
    };
    let notes =
        decision.notes.iter().map(|note| format!("note {}: {} {}", note.about, note.field, note.reason));
    decision.steps.iter().map(step).chain(notes).collect()
}

#[track_caller]
fn check(wanted: Option<Value>, stored: &[(&str, &str)], expected: &[&str]) {
    let ledger = wanted.map_or_else(Ledger::default, |value| wanting("backends/b", value));
    let decision = decide(&planner(&[], false), &ledger, &storing(stored), "backends/b");
    let shown = shown(&decision);
    assert_eq!(shown.len(), expected.len(), "{shown:?}");
    for (shown, expected) in shown.iter().zip(expected) {
        assert!(shown.starts_with(expected), "{shown:?} does not begin with {expected:?}");
    }
}

#[test]
fn a_key_becomes_what_is_wanted() {
    let want = || Some(json!({"Type": "http", "Settings": {"SlowStart": "5s"}}));
    let same = r#"{"Owner": "c:service/s/a", "Settings": {"SlowStart": "5s"}, "Type": "http"}"#;
    let other = r#"{"Owner": "c:service/s/other", "Settings": {"SlowStart": "5s"}, "Type": "http"}"#;
    let (long, short) = ("backends/b/backend", "backends/b");
    check(want(), &[], &["put backends/b/backend if absent"]);
    check(want(), &[(long, same)], &[]);
    check(want(), &[(long, other)], &["put backends/b/backend if 5"]);
    check(want(), &[(long, "{}")], &["note service/s/a: backends/b/backend is held by somebody else"]);
    check(want(), &[(short, "{}")], &["note service/s/a: backends/b/backend is held by somebody else"]);
    check(want(), &[(long, same), (short, "{}")], &[]);
    check(want(), &[(short, same)], &["put backends/b/backend if absent", "delete backends/b if 5"]);
    check(want(), &[(long, same), (short, same)], &["delete backends/b if 5"]);
    check(None, &[(long, same)], &["delete backends/b/backend if 5"]);
    check(None, &[(long, "{}")], &[]);
    check(None, &[(short, same)], &["delete backends/b if 5"]);
    check(None, &[], &[]);
}

#[test]
fn what_would_not_be_in_force_is_not_written() {
    let stored = r#"{"Owner": "c:service/s/a", "Type": "http"}"#;
    let wrong = || Some(json!({"Type": "http", "Settings": {"SlowStart": "soon", "Balnce": {}}}));
    let notes = [
        "note service/s/a: backends/b/backend Settings.Balnce is",
        "note service/s/a: backends/b/backend Settings.SlowStart \"soon\" is no",
    ];
    check(wrong(), &[], &notes);
    check(wrong(), &[("backends/b/backend", stored)], &notes);
}

#[test]
fn the_owner_stands_behind_the_fields() {
    let text = |object: &str| String::from_utf8(with_owner(object.as_bytes(), "c:\"x")).unwrap();
    assert_eq!(text("{}"), r#"{"Owner":"c:\"x"}"#);
    assert_eq!(text(r#"{"a":1}"#), r#"{"a":1,"Owner":"c:\"x"}"#);
}

fn pair() -> (Vec<u8>, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes())
}

fn certificate((certificate, private): &(Vec<u8>, Vec<u8>)) -> Ledger {
    let mut converted = Converted::default();
    let (certificate, private) = (Zeroizing::new(certificate.clone()), Zeroizing::new(private.clone()));
    let (value, secret) = (json!({"Settings": {"Default": true}}), Source::Secret(Name::new("s", "tls")));
    let value = value.as_object().unwrap().clone();
    converted
        .objects
        .insert(key("hosts/a.example"), Desired::Certificate { value, certificate, key: private, secret });
    let mut ledger = Ledger::default();
    ledger.state(&unit("a"), 1, converted);
    ledger
}

fn written(decision: &Decision) -> String {
    match decision.steps.as_slice() {
        [Step { act: Act::Put(text), .. }] => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?} {:?}", decision.notes),
    }
}

#[test]
fn certificates_are_sealed_anew_only_when_they_change() {
    let (first, second) = (pair(), pair());
    let at = "hosts/a.example";
    let sealing = planner(&[SEAL], false);
    let text = written(&decide(&sealing, &certificate(&first), &storing(&[]), at));
    assert!(!text.contains("PRIVATE KEY") && text.contains(r#""Default":true"#), "{text}");
    let image = storing(&[("hosts/a.example/host", &text)]);
    assert_eq!(decide(&sealing, &certificate(&first), &image, at), Decision::default());
    assert_ne!(written(&decide(&sealing, &certificate(&second), &image, at)), text);
    // Another key seals first, and opens what the former one sealed.
    let turned = planner(&[OTHER_SEAL, SEAL], false);
    let again = written(&decide(&turned, &certificate(&first), &image, at));
    let image = storing(&[("hosts/a.example/host", &again)]);
    assert_eq!(decide(&turned, &certificate(&first), &image, at), Decision::default());
    // Another field.
    let edited =
        storing(&[("hosts/a.example/host", &again.replace(r#""Default":true"#, r#""Default":false"#))]);
    assert_eq!(decide(&turned, &certificate(&first), &edited, at).steps.len(), 1);
}

#[test]
fn without_a_seal_key_certificates_are_not_written_unless_plain_ones_may() {
    let pair = pair();
    let at = "hosts/a.example";
    let decision = decide(&planner(&[], false), &certificate(&pair), &storing(&[]), at);
    assert_eq!(
        shown(&decision),
        [
            "note secret/s/tls: hosts/a.example/host is not written, since there is no seal key: give --seal-key-file, or \
          --plain-keys to store it readable"
        ]
    );
    let plain = planner(&[], true);
    let text = written(&decide(&plain, &certificate(&pair), &storing(&[]), at));
    let image = storing(&[("hosts/a.example/host", &text)]);
    assert_eq!(decide(&plain, &certificate(&pair), &image, at), Decision::default());
    // A seal key came since.
    assert_eq!(decide(&planner(&[SEAL], true), &certificate(&pair), &image, at).steps.len(), 1);
}

#[test]
fn a_certificate_that_cannot_be_used_is_not_written_and_shows_no_key() {
    let (one, two) = (pair(), pair());
    let mixed = (one.0, two.1);
    let decision = decide(&planner(&[SEAL], false), &certificate(&mixed), &storing(&[]), "hosts/a.example");
    let shown = format!("{:?} {:?}", shown(&decision), decision);
    assert!(decision.steps.is_empty() && shown.contains("secret/s/tls"), "{shown}");
    assert!(!shown.contains("BEGIN"), "{shown}");
}

/// `+source key` and `-source key`, with `>backend` for where it leads.
fn steps(all: &[&str]) -> Vec<Step> {
    let step = |text: &&str| {
        let mut words = text.split(' ');
        let (source, at) = (words.next().unwrap(), words.next().unwrap());
        Step {
            key: key(at),
            path: key(at).canonical().into(),
            source: source[1..].into(),
            act: if source.starts_with('+') { Act::Put(Bytes::new()) } else { Act::Delete },
            expected: Expected::Absent,
            leads_to: words.map(|word| word[1..].parse().unwrap()).collect(),
            since: None,
        }
    };
    all.iter().map(step).collect()
}

#[track_caller]
fn check_pack(steps_max: usize, all: &[&str], expected: &[&[&str]]) {
    let shown = |step: &Step| {
        let sign = if step.is_delete() { '-' } else { '+' };
        format!("{sign}{} {}", step.source, step.path)
    };
    let packed = pack(steps(all), steps_max);
    let packed: Vec<Vec<String>> = packed.iter().map(|steps| steps.iter().map(shown).collect()).collect();
    assert_eq!(packed, expected);
}

#[test]
fn all_is_one_transaction_if_it_fits() {
    let all = ["-b backends/y/servers/1", "+a frontends/f/frontend >x", "+a backends/x/servers/1"];
    let sorted = ["+a backends/x/servers/1", "+a frontends/f/frontend", "-b backends/y/servers/1"];
    check_pack(3, &all, &[&sorted]);
    check_pack(0, &[], &[]);
}

#[test]
fn what_belongs_together_stays_together() {
    let all = [
        "+a frontends/a/frontend >x",
        "+b frontends/b/frontend >y",
        "+b backends/x/backend",
        "-c frontends/c/frontend",
        "+d backends/y/backend",
    ];
    check_pack(
        4,
        &all,
        &[
            &[
                "+b backends/x/backend",
                "+d backends/y/backend",
                "+a frontends/a/frontend",
                "+b frontends/b/frontend",
            ],
            &["-c frontends/c/frontend"],
        ],
    );
    // One service a transaction, and several where they fit.
    let all = [
        "+a backends/a/servers/1",
        "+a backends/a/servers/2",
        "+b backends/b/servers/1",
        "+c backends/c/servers/1",
    ];
    check_pack(
        3,
        &all,
        &[
            &["+a backends/a/servers/1", "+a backends/a/servers/2", "+b backends/b/servers/1"],
            &["+c backends/c/servers/1"],
        ],
    );
}

#[test]
fn what_is_too_much_is_cut_where_no_reader_sees_a_gap() {
    let all = [
        "-a backends/old/backend",
        "-a backends/old/servers/1",
        "-a frontends/old/frontend",
        "+a frontends/new/frontend >new >old",
        "+a backends/new/servers/1",
        "+a backends/new/backend",
        "+a frontends/new/middlewares/m",
        "-a hosts/old.example/host",
    ];
    check_pack(
        2,
        &all,
        &[
            &["+a frontends/new/middlewares/m", "+a backends/new/backend"],
            &["+a backends/new/servers/1", "+a frontends/new/frontend"],
            &["-a frontends/old/frontend", "-a backends/old/servers/1"],
            &["-a backends/old/backend", "-a hosts/old.example/host"],
        ],
    );
}
