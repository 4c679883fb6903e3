use super::*;
use crate::kubernetes::Name;
use serde_json::json;

fn unit(name: &str) -> Unit {
    Unit::Service(Name::new("shop", name))
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn wants(objects: &[(&str, Value)]) -> Converted {
    let mut converted = Converted::default();
    for (at, value) in objects {
        converted.put(key(at), value.as_object().unwrap().clone());
    }
    converted
}

fn keys(all: &[&str]) -> BTreeSet<ObjectKey> {
    all.iter().map(|it| key(it)).collect()
}

fn holder(ledger: &Ledger, at: &str) -> Option<String> {
    ledger.wanted(&key(at)).map(|wanted| wanted.unit.source().to_string())
}

fn notes(ledger: &mut Ledger) -> Vec<String> {
    ledger.notes().all().map(|note| format!("{}: {} {}", note.about, note.field, note.reason)).collect()
}

const BACKEND: &str = "backends/b/backend";

#[test]
fn only_what_changed_is_touched() {
    let mut ledger = Ledger::default();
    let both =
        [("backends/b", json!({"Type": "http"})), ("backends/b/servers/s", json!({"URL": "http://a:1"}))];
    let touched = ledger.state(&unit("a"), 1, wants(&both));
    assert_eq!(touched, keys(&["backends/b", "backends/b/servers/s"]));
    assert_eq!(ledger.state(&unit("a"), 1, wants(&both)), keys(&[]));
    let other = [both[0].clone(), ("backends/b/servers/s", json!({"URL": "http://a:2"}))];
    assert_eq!(ledger.state(&unit("a"), 1, wants(&other)), keys(&["backends/b/servers/s"]));
    assert_eq!(ledger.state(&unit("a"), 1, wants(&other[..1])), keys(&["backends/b/servers/s"]));
    assert_eq!(ledger.state(&unit("a"), 1, Converted::default()), keys(&["backends/b"]));
    assert_eq!((ledger.keys().count(), ledger.units.len()), (0, 0));
}

#[test]
fn the_older_object_gets_the_key_and_the_other_a_note() {
    let mut ledger = Ledger::default();
    let one = [("backends/b", json!({"Type": "http"}))];
    let two = [("backends/b", json!({"Type": "http", "Settings": {"SlowStart": "5s"}}))];
    ledger.state(&unit("young"), 7, wants(&two));
    assert_eq!(holder(&ledger, BACKEND).as_deref(), Some("service/shop/young"));
    assert_eq!(ledger.state(&unit("old"), 5, wants(&one)), keys(&["backends/b"]));
    assert_eq!(holder(&ledger, BACKEND).as_deref(), Some("service/shop/old"));
    let lost = "service/shop/young: backends/b/backend is wanted with another value by service/shop/old, which is \
                older and gets it";
    assert_eq!(notes(&mut ledger), [lost]);
    // Of the same age: the unit's order.
    ledger.state(&unit("also-old"), 5, wants(&two));
    assert_eq!(holder(&ledger, BACKEND).as_deref(), Some("service/shop/also-old"));
    assert_eq!(notes(&mut ledger).len(), 1);
    // Who got it goes.
    ledger.state(&unit("also-old"), 5, Converted::default());
    assert_eq!(ledger.state(&unit("old"), 5, Converted::default()), keys(&["backends/b"]));
    assert_eq!(holder(&ledger, BACKEND).as_deref(), Some("service/shop/young"));
    assert_eq!(notes(&mut ledger), [""; 0]);
    assert!(ledger.notes().take_changed().contains(&unit("young").source()));
}

#[test]
fn the_same_wish_of_two_is_no_conflict() {
    let mut ledger = Ledger::default();
    let one = [("backends/b", json!({"Type": "http", "Settings": {"SlowStart": "5s"}}))];
    let same = [("backends/b", json!({"Settings": {"SlowStart": "5s"}, "Type": "http"}))];
    ledger.state(&unit("a"), 1, wants(&one));
    ledger.state(&Unit::Ingress(Name::new("shop", "i")), 2, wants(&same));
    assert_eq!(notes(&mut ledger), [""; 0]);
    ledger.state(&unit("a"), 1, Converted::default());
    assert_eq!(holder(&ledger, BACKEND).as_deref(), Some("ingress/shop/i"));
}

#[test]
fn a_note_stands_as_long_as_anybody_says_it() {
    let mut ledger = Ledger::default();
    let mut said = Converted::default();
    said.error(&Source::Secret(Name::new("shop", "tls")), "tls.crt", "is missing");
    ledger.state(&unit("a"), 1, said.clone());
    ledger.state(&unit("b"), 1, said);
    assert_eq!(ledger.notes().counts(), (1, 0));
    ledger.state(&unit("a"), 1, Converted::default());
    assert_eq!(notes(&mut ledger), ["secret/shop/tls: tls.crt is missing"]);
    ledger.state(&unit("b"), 1, Converted::default());
    assert_eq!((notes(&mut ledger).len(), ledger.notes().counts()), (0, (0, 0)));
}

#[test]
fn who_cannot_say_what_it_wants_keeps_what_stands_there() {
    let mut ledger = Ledger::default();
    let mut kept = Converted::default();
    kept.keep(key("backends/b"));
    ledger.state(&unit("a"), 1, wants(&[("backends/b", json!({"Type": "http"}))]));
    assert_eq!(ledger.state(&unit("a"), 1, kept), keys(&["backends/b"]));
    assert_eq!(ledger.wanted(&key("backends/b")).unwrap().want, &Want::Kept);
    ledger.state(&unit("b"), 2, wants(&[("backends/b", json!({"Type": "http"}))]));
    assert_eq!(holder(&ledger, BACKEND).as_deref(), Some("service/shop/b"));
    assert_eq!(notes(&mut ledger), [""; 0]);
}

#[test]
fn middlewares_are_of_whom_the_frontend_is() {
    let frontend = |backend: &str| json!({"Type": "http", "BackendId": backend, "Route": "Host(`a`)"});
    let middleware = json!({"Type": "respond", "Middleware": {"Status": 503}});
    let (front, part) = ("frontends/f/frontend", "frontends/f/middlewares/refuse");
    let mut ledger = Ledger::default();
    ledger.state(&unit("old"), 1, wants(&[(front, frontend("a"))]));
    ledger.state(&unit("young"), 2, wants(&[(front, frontend("b")), (part, middleware)]));
    assert_eq!(holder(&ledger, part), None);
    // The younger one has it once the frontend is its own.
    assert_eq!(ledger.state(&unit("old"), 1, Converted::default()), keys(&[front, part]));
    assert_eq!(holder(&ledger, part).as_deref(), Some("service/shop/young"));
    assert_eq!(ledger.state(&unit("old"), 1, wants(&[(front, frontend("a"))])), keys(&[front, part]));
    assert_eq!(holder(&ledger, part), None);
}
