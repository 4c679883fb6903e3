use super::*;
use crate::model::Severity;
use crate::registrar::Note;
use crate::registrar::mock::{MockApi, until};
use crate::registrar::notes::Finder;
use std::collections::BTreeSet;
use std::time::Duration;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses";

/// A server, a task that tells Events, and who leads.
struct Told {
    api: MockApi,
    notes: Notes,
    leads: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Told {
    fn new(leads: bool) -> Self {
        let (api, notes, leads) = (MockApi::default(), Notes::default(), watch::Sender::new(leads));
        let task = Events::new(api.client(), notes.clone(), leads.subscribe(), "edge-1").run();
        Self { task: tokio::spawn(task), api, notes, leads }
    }

    fn ingress(&self, name: &str) {
        let metadata = json!({ "name": name, "namespace": "shop", "uid": format!("uid-of-{name}") });
        let ingress =
            json!({ "kind": "Ingress", "apiVersion": "networking.k8s.io/v1", "metadata": metadata });
        self.api.put(&format!("{INGRESSES}/{name}"), ingress);
    }

    fn say(&self, name: &str, notes: &[(&str, Severity)]) {
        let about = Source::Ingress(Name::new("shop", name));
        let note = |(field, severity): &(&str, Severity)| Note {
            about: about.clone(),
            field: (*field).into(),
            reason: "is not known".into(),
            severity: *severity,
        };
        self.notes.replace(Finder::Sync, &about, notes.iter().map(note).collect());
    }

    fn events(&self) -> Vec<serde_json::Value> {
        self.api.list(EVENTS)
    }

    async fn until_events(&self, number: usize) {
        until("so many Events", || self.events().len() == number).await;
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_told_on_the_object_and_when_it_is_well_again() {
    let told = Told::new(true);
    told.ingress("web");
    told.say("web", &[("a", Severity::Warning), ("b", Severity::Warning), ("spec", Severity::Error)]);
    told.until_events(2).await;
    let mut events = told.events();
    events.sort_by_key(|event| event["reason"].to_string());
    let event = &events[1];
    for (field, value) in [
        ("reason", json!("NotCarriedOver")),
        ("note", json!("a is not known; b is not known")),
        ("type", json!("Warning")),
        ("action", json!("Sync")),
        ("reportingController", json!(CONTROLLER)),
        ("reportingInstance", json!("edge-1")),
    ] {
        assert_eq!(event[field], value, "{field}");
    }
    let regarding = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": "shop", "name": "web",
        "uid": "uid-of-web" });
    assert_eq!(event["regarding"], regarding);
    assert_eq!((&events[0]["reason"], &events[0]["note"]), (&json!("Invalid"), &json!("spec is not known")));
    told.say("web", &[]);
    told.until_events(3).await;
    let is_synced = |event: &serde_json::Value| event["reason"] == *"Synced" && event["type"] == *"Normal";
    assert_eq!(told.events().iter().filter(|event| is_synced(event)).count(), 1);
    // What comes back counts one up.
    told.say("web", &[("spec", Severity::Error)]);
    let counted = || told.events().iter().any(|event| event["series"]["count"] == 2);
    until("the Event is counted", counted).await;
    assert_eq!(told.events().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_tells() {
    let told = Told::new(false);
    told.ingress("web");
    told.say("web", &[("spec", Severity::Error)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(told.api.count(""), 0);
    told.leads.send_replace(true);
    told.until_events(1).await;
}

#[tokio::test(start_paused = true)]
async fn never_a_flood() {
    let told = Told::new(true);
    let start = Instant::now();
    for number in 0..100 {
        let name = format!("web-{number}");
        told.ingress(&name);
        told.say(&name, &[("spec", Severity::Error)]);
    }
    until("the burst", || told.events().len() >= 50).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    told.until_events(100).await;
    assert!(start.elapsed() > due::SETTLE + Duration::from_millis(4900), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_api_that_fails_is_asked_again_and_one_that_forbids_is_not() {
    let told = Told::new(true);
    told.ingress("web");
    told.api.refuse("POST", 500);
    told.say("web", &[("spec", Severity::Error)]);
    until("some tries", || told.api.count("POST") >= 3).await;
    told.api.refuse("POST", 0);
    told.until_events(1).await;
    told.api.refuse("POST", 403);
    told.ingress("other");
    let before = told.api.count("POST");
    told.say("other", &[("spec", Severity::Error)]);
    until("a try", || told.api.count("POST") > before).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(told.api.count("POST"), before + 1);
    // What is gone is not told of.
    told.say("gone", &[("spec", Severity::Error)]);
    until("a look", || told.api.count("name%3Dgone") == 1).await;
    assert_eq!(told.api.count("POST"), before + 1);
}

#[test]
fn names_are_as_long_as_the_api_takes_them() {
    let long = Name::new("shop", &format!("{}.{}", "a".repeat(199), "b".repeat(50)));
    let name = event_name(&long, Some("uid"), Reason::Invalid, "x");
    assert_eq!(name.len(), 199 + 1 + 16, "{name}");
    let other = event_name(&long, Some("uid"), Reason::Invalid, "y");
    assert_ne!(name, other);
    let texts: BTreeSet<String> = [("a", "bc"), ("ab", "c")]
        .map(|(uid, text)| event_name(&long, Some(uid), Reason::Invalid, text))
        .into();
    assert_eq!(texts.len(), 2);
}
