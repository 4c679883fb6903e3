use super::*;
use crate::registrar::mock::{MockApi, until};
use serde_json::{Value, json};
use std::time::Duration;

const WEB: &str = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/web";

/// A server with one Ingress, and a task that writes its status.
struct Written {
    api: MockApi,
    statuses: Statuses,
    notes: Notes,
    leads: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn web() -> Name {
    Name::new("shop", "web")
}

impl Written {
    fn new(leads: bool) -> Self {
        let (api, statuses, notes) = (MockApi::default(), Statuses::default(), Notes::default());
        let leads = watch::Sender::new(leads);
        let addresses = "192.0.2.7,edge.example".parse().unwrap();
        let (copy, told) = (statuses.clone(), notes.clone());
        let writer = StatusWriter::new(api.client(), addresses, copy, told, leads.subscribe());
        let written = Self { task: tokio::spawn(writer.run()), api, statuses, notes, leads };
        written.api.put(WEB, json!({ "metadata": { "name": "web", "namespace": "shop" } }));
        written
    }

    /// Somebody writes a status, and the watch brings it.
    fn somebody_writes(&self, ip: &str) {
        let status = json!({ "loadBalancer": { "ingress": [{ "ip": ip }] } });
        let object = json!({ "metadata": { "name": "web", "namespace": "shop" }, "status": status });
        self.api.put(WEB, object);
        self.watch();
    }

    /// The watch brings what stands there.
    fn watch(&self) {
        let ingress: Ingress = serde_json::from_value(self.api.get(WEB)).unwrap();
        self.statuses.saw(&web(), Some(&seen::Ingress::from_api(&ingress).unwrap().published));
    }

    fn patches(&self) -> usize {
        self.api.count("PATCH")
    }

    fn status(&self) -> Value {
        self.api.get(WEB)["status"]["loadBalancer"]["ingress"].clone()
    }

    async fn until_ours(&self, patches: usize) {
        until("so many patches", || self.patches() == patches).await;
        assert_eq!(self.status(), json!([{ "ip": "192.0.2.7" }, { "hostname": "edge.example" }]));
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(300)).await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_differs_is_written_once() {
    let written = Written::new(true);
    written.watch();
    written.until_ours(1).await;
    written.watch();
    a_while().await;
    assert_eq!(written.patches(), 1);
    assert_eq!(written.api.count("PATCH") - written.api.count("/web/status"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_other_one_gets_the_last_word() {
    let written = Written::new(true);
    written.somebody_writes("198.51.100.1");
    written.until_ours(1).await;
    // What the watch tells late is not what somebody wrote over ours.
    written.statuses.saw(&web(), Some(&["203.0.113.9".into()]));
    a_while().await;
    assert_eq!((written.patches(), written.notes.all().len()), (1, 0));
    written.watch();
    written.somebody_writes("198.51.100.1");
    written.until_ours(2).await;
    written.watch();
    written.somebody_writes("198.51.100.1");
    until("it is noted", || !written.notes.all().is_empty()).await;
    let note = written.notes.all().pop_first().unwrap();
    assert!(note.reason.contains("198.51.100.1") && !note.is_error(), "{note:?}");
    written.somebody_writes("198.51.100.2");
    a_while().await;
    assert_eq!((written.patches(), &written.status()[0]["ip"]), (2, &json!("198.51.100.2")));
    // Another Ingress of the name begins anew.
    written.statuses.saw(&web(), None);
    until("it is forgotten", || written.notes.all().is_empty()).await;
    written.watch();
    written.until_ours(3).await;
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes() {
    let written = Written::new(false);
    written.watch();
    a_while().await;
    assert_eq!(written.api.count(""), 0);
    written.leads.send_replace(true);
    written.until_ours(1).await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_and_refusals_are_not() {
    let written = Written::new(true);
    written.api.refuse("PATCH", 500);
    written.watch();
    until("some tries", || written.patches() >= 3).await;
    written.api.refuse("PATCH", 0);
    until("it is written", || !written.status().is_null()).await;
    assert_eq!(written.notes.all().len(), 0);
    written.api.refuse("PATCH", 403);
    written.watch();
    let before = written.patches();
    written.somebody_writes("198.51.100.1");
    until("a try", || written.patches() > before).await;
    a_while().await;
    assert_eq!(written.patches(), before + 1);
}
