//! Notes as Events on the objects that they are about, where `kubectl describe` shows them.
//!
//! What is wrong is told once while it stands, all notes about one object in one Event for each reason, at most ten
//! Events a second, and only by the registrar that leads. An Event's name is made of what it says: who takes the lead
//! over does not tell a second time what still is there, and what comes back within the hour that Events are kept
//! counts one up. kube's own recorder makes a new name each time and forgets in between, so it would do neither.

mod due;

use super::notes::Notes;
use super::pace::{Pace, back_off, only};
use super::unit::Source;
use crate::kubernetes::Name;
use aws_lc_rs::digest;
use due::{Ledger, Reason, Told};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Secret, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, PartialObjectMeta};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// `reportingController` of all Events.
pub const CONTROLLER: &str = "flipgate.io/registrar";

/// Longest time for one request to the API.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// Longest name that is kept of an object within an Event's own, of which the API takes 253 bytes.
const NAME_BYTES_MAX: usize = 200;

/// Longest `reportingInstance` that the API takes, in bytes.
const INSTANCE_BYTES_MAX: usize = 128;

/// Most Events whose numbers are remembered.
const COUNTS_MAX: usize = 10_000;

/// Tells notes as Events. Nobody waits for it, and what it does not come to is told later or not at all.
pub struct Events {
    client: Client,
    notes: Notes,
    leads: watch::Receiver<bool>,
    instance: String,
    /// How often an Event was told by us, by its name.
    counts: BTreeMap<String, i32>,
    /// Whether it was said in the log that we may not.
    forbidden: bool,
}

/// What became of an Event.
enum Fate {
    Written,
    /// There is nobody to tell it to, or it cannot be told.
    Dropped,
    /// The API may take it later.
    Later(kube::Error),
    /// The API did not answer in time.
    Silent,
}

impl Events {
    /// `instance` tells this registrar from others of its kind: the name under which it holds the lease.
    pub fn new(client: Client, notes: Notes, leads: watch::Receiver<bool>, instance: &str) -> Self {
        let whole = |(at, c): &(usize, char)| at + c.len_utf8() <= INSTANCE_BYTES_MAX;
        let instance = instance.char_indices().take_while(whole).map(|(_, c)| c).collect();
        Self { client, notes, leads, instance, counts: BTreeMap::new(), forbidden: false }
    }

    /// Tells what is to be told, for ever. Dropping it between two Events loses nothing but these.
    pub async fn run(mut self) {
        let mut version = self.notes.subscribe();
        version.mark_changed();
        let mut ledger = Ledger::default();
        let mut pace = Pace::new(Instant::now());
        let (mut not_before, mut failures) = (Instant::now(), 0);
        loop {
            ledger.lead(*self.leads.borrow_and_update(), Instant::now());
            let at = ledger.next_at().map(|at| at.max(not_before));
            tokio::select! {
                // Both ends live as long as `self` and whoever holds the lease.
                changed = version.changed() => match changed {
                    Ok(()) => ledger.take(self.notes.take_changed(), Instant::now()),
                    Err(_) => return,
                },
                changed = self.leads.changed() => if changed.is_err() { return },
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    if let Err(wait) = pace.take(Instant::now()) {
                        not_before = Instant::now() + wait;
                        continue;
                    }
                    let Some(told) = ledger.next(Instant::now()) else { continue };
                    let error = match self.tell(&told).await {
                        Fate::Written | Fate::Dropped => {
                            failures = 0;
                            continue;
                        }
                        Fate::Later(error) => error.to_string(),
                        Fate::Silent => format!("no answer within {REQUEST_MAX:?}"),
                    };
                    failures += 1;
                    not_before = Instant::now() + back_off(failures);
                    tracing::debug!(about = %told.about, error, "an Event was not written; it is tried again");
                    ledger.put_back(told, not_before);
                }
            }
        }
    }

    async fn tell(&mut self, told: &Told) -> Fate {
        match timeout(REQUEST_MAX, self.write(told)).await {
            Err(_) => Fate::Silent,
            Ok(Ok(fate)) => fate,
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                if !std::mem::replace(&mut self.forbidden, true) {
                    tracing::warn!(
                        reason = status.message,
                        "Events cannot be written; allow `create` and `patch` of events in events.k8s.io"
                    );
                }
                Fate::Dropped
            }
            // What is wrong with the Event itself stays wrong.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 404 | 422) => {
                tracing::debug!(about = %told.about, reason = status.message, "an Event was refused");
                Fate::Dropped
            }
            Ok(Err(error)) => Fate::Later(error),
        }
    }

    async fn write(&mut self, told: &Told) -> Result<Fate, kube::Error> {
        let Some((resource, name)) = object(&told.about) else { return Ok(Fate::Dropped) };
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &name.namespace, &resource);
        let uid = match objects.list_metadata(&only(&name.name)).await {
            Ok(found) => match found.items.into_iter().next() {
                Some(PartialObjectMeta { metadata, .. }) => metadata.uid,
                None => return Ok(Fate::Dropped),
            },
            // Without it `kubectl get events` still shows the Event.
            Err(kube::Error::Api(status)) if status.is_forbidden() => None,
            Err(error) => return Err(error),
        };
        let event = self.event(told, &resource, name, uid);
        let events: Api<Event> = Api::namespaced(self.client.clone(), &name.namespace);
        let event_name = event.metadata.name.clone().unwrap_or_default();
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => drop(self.count(&event_name)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let count = self.count(&event_name).max(2);
                let series =
                    json!({ "series": { "count": count, "lastObservedTime": MicroTime(Timestamp::now()) } });
                events.patch(&event_name, &PatchParams::default(), &Patch::Merge(series)).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(Fate::Written)
    }

    fn event(&self, told: &Told, resource: &ApiResource, name: &Name, uid: Option<String>) -> Event {
        let Told { reason, text, .. } = told;
        let metadata = ObjectMeta {
            namespace: Some(name.namespace.to_string()),
            name: Some(event_name(name, uid.as_deref(), *reason, text)),
            ..ObjectMeta::default()
        };
        let regarding = ObjectReference {
            api_version: Some(resource.api_version.clone()),
            kind: Some(resource.kind.clone()),
            namespace: Some(name.namespace.to_string()),
            name: Some(name.name.to_string()),
            uid,
            ..ObjectReference::default()
        };
        Event {
            action: Some("Sync".to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            metadata,
            note: Some(text.clone()),
            reason: Some(reason.as_str().to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(reason.kind().to_owned()),
            ..Event::default()
        }
    }

    /// One more of this name.
    fn count(&mut self, name: &str) -> i32 {
        if self.counts.len() >= COUNTS_MAX && !self.counts.contains_key(name) {
            self.counts.clear();
        }
        let count = self.counts.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

/// The kind and name of what an Event can be about.
fn object(source: &Source) -> Option<(ApiResource, &Name)> {
    Some(match source {
        Source::Pods(_) => return None,
        Source::Pod(name) => (ApiResource::erase::<Pod>(&()), name),
        Source::Service(name) => (ApiResource::erase::<Service>(&()), name),
        Source::Ingress(name) => (ApiResource::erase::<Ingress>(&()), name),
        Source::Secret(name) => (ApiResource::erase::<Secret>(&()), name),
    })
}

/// The same for the same words about the same object.
fn event_name(name: &Name, uid: Option<&str>, reason: Reason, text: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [uid.unwrap_or_default(), reason.as_str(), text] {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    let hash: String = context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let base: String = name.name.chars().take(NAME_BYTES_MAX).collect();
    format!("{}.{hash}", base.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests;
