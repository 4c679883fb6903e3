//! `--write-status`: where clients reach the edge, in the status of the Ingresses that are ours, where people and tools
//! such as external-dns look for it.
//!
//! Two controllers may serve one class while people move from one to the other. Each status is written once, and once
//! more if somebody else writes another; after that, the other one has the last word, and that is noted. What is written
//! stays when the registrar ends: the proxies go on serving.

mod address;

pub use address::Addresses;

use super::note::Note;
use super::notes::{Finder, Notes};
use super::pace::Turns;
use super::seen;
use super::shared::Shared;
use super::unit::Source;
use crate::kubernetes::{Name, Refusal, in_time, only};
use crate::model::Severity;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How often somebody else may write another value over ours.
const OVERWRITTEN_MAX: u8 = 2;

/// What the Ingresses that are ours tell in their status, as it was last seen. A clone is another handle of the same.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Shared<Name, Published>);

/// Addresses and names, sorted.
type Published = Box<[Box<str>]>;

impl Statuses {
    /// What an Ingress tells ([`Ingress::published`](super::seen::Ingress::published)); `None`: it is gone, or is not ours.
    pub fn saw(&self, ingress: &Name, published: Option<&[Box<str>]>) {
        self.0.set(ingress.clone(), published.map(Into::into));
    }
}

/// Whose turn it is at one Ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Record {
    /// Whether our value was written, or stood there already.
    was_ours: bool,
    overwritten: u8,
}

#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// It tells what it should.
    Rest,
    /// It is to be written.
    Write,
    /// Somebody else has the last word.
    Yield,
}

impl Record {
    /// What to do about a status that certainly is as the API told just now.
    fn judge(&mut self, is_ours: bool) -> Turn {
        if self.overwritten >= OVERWRITTEN_MAX {
            return Turn::Yield;
        }
        if !is_ours && self.was_ours {
            self.overwritten += 1;
        }
        self.was_ours = true;
        match is_ours {
            true => Turn::Rest,
            false if self.overwritten >= OVERWRITTEN_MAX => Turn::Yield,
            false => Turn::Write,
        }
    }
}

/// Writes the status of Ingresses.
pub struct StatusWriter {
    client: Client,
    addresses: Addresses,
    statuses: Statuses,
    notes: Notes,
    leads: watch::Receiver<bool>,
    records: BTreeMap<Name, Record>,
    /// Those that may have to be written, and when.
    due: BTreeMap<Name, Instant>,
    /// Whether it was said in the log that we may not.
    forbidden: bool,
}

impl StatusWriter {
    /// Writes `addresses` while `leads` is true, and notes where it does not.
    pub fn new(
        client: Client,
        addresses: Addresses,
        statuses: Statuses,
        notes: Notes,
        leads: watch::Receiver<bool>,
    ) -> Self {
        let (records, due) = (BTreeMap::new(), BTreeMap::new());
        Self { client, addresses, statuses, notes, leads, records, due, forbidden: false }
    }

    /// Writes what differs, for ever. Dropping it leaves everything as it stands.
    pub async fn run(mut self) {
        let mut version = self.statuses.0.subscribe();
        version.mark_changed();
        let mut turns = Turns::new();
        loop {
            let leads = *self.leads.borrow_and_update();
            let next = self.due.iter().min_by_key(|(_, at)| **at).map(|(name, at)| (name.clone(), *at));
            let at = next.as_ref().filter(|_| leads).map(|(_, at)| turns.at(*at));
            tokio::select! {
                changed = version.changed() => match changed {
                    Ok(()) => self.take_changed(),
                    Err(_) => return,
                },
                changed = self.leads.changed() => if changed.is_err() { return },
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    if !turns.take() {
                        continue;
                    }
                    let Some((name, _)) = next else { continue };
                    self.due.remove(&name);
                    match self.settle(&name).await {
                        Ok(()) => turns.worked(),
                        Err(error) => {
                            tracing::debug!(ingress = %name, error, "a status was not written; it is tried again");
                            self.due.insert(name, turns.failed());
                        }
                    }
                }
            }
        }
    }

    fn take_changed(&mut self) {
        let ours = self.addresses.published();
        for (name, published) in self.statuses.0.take_changed() {
            match published {
                None => self.forget(&name),
                Some(published) if *published == *ours => {
                    self.records.entry(name.clone()).or_default().was_ours = true;
                    self.due.remove(&name);
                }
                Some(_) => {
                    let record = self.records.entry(name.clone()).or_default();
                    if record.overwritten < OVERWRITTEN_MAX {
                        self.due.insert(name, Instant::now());
                    }
                }
            }
        }
    }

    fn forget(&mut self, name: &Name) {
        self.due.remove(name);
        self.records.remove(name);
        self.notes.replace(Finder::Status, &Source::Ingress(name.clone()), BTreeSet::new());
    }

    /// Looks at one Ingress and writes its status if it is our turn. What was seen on the watch may be older than what we
    /// wrote; what the API tells now is not.
    async fn settle(&mut self, name: &Name) -> Result<(), String> {
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), &name.namespace);
        let found = match in_time(api.list(&only(&name.name))).await {
            Ok(found) => found.items,
            Err(refusal) => return self.refused(refusal),
        };
        let Some(ingress) = found.first() else { return Ok(()) };
        let there = seen::Ingress::from_api(ingress).map(|seen| seen.published).unwrap_or_default();
        let record = self.records.entry(name.clone()).or_default();
        match record.judge(there == self.addresses.published()) {
            Turn::Rest => Ok(()),
            Turn::Yield => {
                self.give_up(name, &there);
                Ok(())
            }
            Turn::Write => {
                let (params, patch) = (PatchParams::default(), Patch::Merge(self.addresses.patch()));
                let Err(refusal) = in_time(api.patch_status(&name.name, &params, &patch)).await else {
                    return Ok(());
                };
                // Whatever stands there, it is not what somebody wrote over ours.
                if let Some(record) = self.records.get_mut(name) {
                    record.was_ours = false;
                }
                self.refused(refusal)
            }
        }
    }

    fn give_up(&self, name: &Name, there: &[Box<str>]) {
        let about = Source::Ingress(name.clone());
        let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
        let note = Note {
            about: about.clone(),
            field: "status.loadBalancer".into(),
            reason: format!(
                "is written by somebody else as well, who wrote {there} over --write-status twice; it is left so"
            )
            .into(),
            severity: Severity::Warning,
        };
        self.notes.replace(Finder::Status, &about, [note].into());
    }

    /// An error where it is to be tried again.
    fn refused(&mut self, refusal: Refusal) -> Result<(), String> {
        match refusal {
            Refusal::Forbidden(reason) => {
                if !std::mem::replace(&mut self.forbidden, true) {
                    tracing::warn!(
                        reason,
                        "the status of Ingresses cannot be written; allow `patch` of ingresses/status in \
                         networking.k8s.io"
                    );
                }
                Ok(())
            }
            Refusal::Final(_) => Ok(()),
            Refusal::Later(reason) => Err(reason),
        }
    }
}

#[cfg(test)]
mod tests;
