//! Notes as Events on the objects that they are about, where `kubectl describe` shows them.
//!
//! What is wrong is told once while it stands, all notes about one object in one Event for each reason, at most ten
//! Events a second, and only by the registrar that leads. An Event's name is made of what it says: who takes the lead
//! over does not tell a second time what still is there, and what comes back within the hour that Events are kept
//! counts one up. kube's own recorder makes a new name each time and forgets in between, so it would do neither.

mod due;

use super::digest::short_digest;
use super::notes::Notes;
use super::pace::Turns;
use super::unit::Source;
use crate::kubernetes::{Name, Refusal, in_time, only};
use due::{Agenda, Reason, Told};
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
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// `reportingController` of all Events.
pub const CONTROLLER: &str = "flipgate.io/registrar";

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
        let mut agenda = Agenda::default();
        let mut turns = Turns::new();
        loop {
            agenda.lead(*self.leads.borrow_and_update(), Instant::now());
            let at = agenda.next_at().map(|at| turns.at(at));
            tokio::select! {
                // Both ends live as long as `self` and whoever holds the lease.
                changed = version.changed() => match changed {
                    Ok(()) => agenda.take(self.notes.take_changed(), Instant::now()),
                    Err(_) => return,
                },
                changed = self.leads.changed() => if changed.is_err() { return },
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    if !turns.take() {
                        continue;
                    }
                    let Some(told) = agenda.next(Instant::now()) else { continue };
                    match self.tell(&told).await {
                        Ok(()) => turns.worked(),
                        Err(error) => {
                            tracing::debug!(about = %told.about, error, "an Event was not written; it is tried again");
                            agenda.put_back(told, turns.failed());
                        }
                    }
                }
            }
        }
    }

    /// Writes an Event, or lets it be. An error is one that is to be tried again.
    async fn tell(&mut self, told: &Told) -> Result<(), String> {
        match in_time(self.write(told)).await {
            Ok(()) => Ok(()),
            Err(Refusal::Forbidden(reason)) => {
                if !std::mem::replace(&mut self.forbidden, true) {
                    tracing::warn!(
                        reason,
                        "Events cannot be written; allow `create` and `patch` of events in events.k8s.io"
                    );
                }
                Ok(())
            }
            Err(Refusal::Final(reason)) => {
                tracing::debug!(about = %told.about, reason, "an Event was refused");
                Ok(())
            }
            Err(Refusal::Later(reason)) => Err(reason),
        }
    }

    /// There may be nobody to tell it to.
    async fn write(&mut self, told: &Told) -> Result<(), kube::Error> {
        let Some((resource, name)) = object(&told.about) else { return Ok(()) };
        let objects: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &name.namespace, &resource);
        let uid = match objects.list_metadata(&only(&name.name)).await {
            Ok(found) => match found.items.into_iter().next() {
                Some(PartialObjectMeta { metadata, .. }) => metadata.uid,
                None => return Ok(()),
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
        Ok(())
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
    let parts = [uid.unwrap_or_default(), "\0", reason.as_str(), "\0", text, "\0"];
    let base: String = name.name.chars().take(NAME_BYTES_MAX).collect();
    format!("{}.{}", base.trim_end_matches(['.', '-']), short_digest(parts))
}

#[cfg(test)]
mod tests;
