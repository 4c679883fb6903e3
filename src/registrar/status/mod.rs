//! `--write-status`: where clients reach the edge, in the status of the Ingresses that are ours, where people and tools
//! such as external-dns look for it.
//!
//! Two controllers may serve one class while people move from one to the other. Each status is written once, and once
//! more if somebody else writes another; after that, the other one has the last word, and that is noted. What is written
//! stays when the registrar ends: the proxies go on serving.

mod address;

pub use address::{ADDRESSES_MAX, Addresses};

use super::convert::Note;
use super::notes::{Finder, Notes};
use super::pace::{Pace, back_off, only};
use super::seen;
use super::unit::Source;
use crate::kubernetes::Name;
use crate::model::Severity;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// Longest time for one request to the API.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// How often somebody else may write another value over ours.
const OVERWRITTEN_MAX: u8 = 2;

/// What the Ingresses that are ours tell in their status, as it was last seen. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Statuses {
    shared: Arc<Mutex<Shared>>,
    /// Moves on whenever something changed.
    version: watch::Sender<u64>,
}

/// Addresses and names, sorted.
type Published = Box<[Box<str>]>;

#[derive(Debug, Default)]
struct Shared {
    published: BTreeMap<Name, Published>,
    changed: BTreeSet<Name>,
}

impl Default for Statuses {
    fn default() -> Self {
        Self { shared: Arc::default(), version: watch::Sender::new(0) }
    }
}

impl Statuses {
    /// What an Ingress tells ([`Ingress::published`](super::seen::Ingress::published)); `None`: it is gone, or is not ours.
    pub fn saw(&self, ingress: &Name, published: Option<&[Box<str>]>) {
        let mut shared = self.lock();
        if shared.published.get(ingress).map(|before| &**before) == published {
            return;
        }
        match published {
            Some(published) => drop(shared.published.insert(ingress.clone(), published.into())),
            None => drop(shared.published.remove(ingress)),
        }
        shared.changed.insert(ingress.clone());
        drop(shared);
        self.version.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// What changed since this was last called. There is one who calls it.
    fn take_changed(&self) -> Vec<(Name, Option<Published>)> {
        let mut shared = self.lock();
        let changed = std::mem::take(&mut shared.changed);
        let now = |name: Name| {
            let published = shared.published.get(&name).cloned();
            (name, published)
        };
        changed.into_iter().map(now).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every change is whole once the lock is free, whatever happened to its holder.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
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
enum Step {
    /// It tells what it should.
    Rest,
    /// It is to be written.
    Write,
    /// Somebody else has the last word.
    Yield,
}

impl Record {
    /// What to do about a status that certainly is as the API told just now.
    fn judge(&mut self, is_ours: bool) -> Step {
        if self.overwritten >= OVERWRITTEN_MAX {
            return Step::Yield;
        }
        if !is_ours && self.was_ours {
            self.overwritten += 1;
        }
        self.was_ours = true;
        match is_ours {
            true => Step::Rest,
            false if self.overwritten >= OVERWRITTEN_MAX => Step::Yield,
            false => Step::Write,
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
        let mut version = self.statuses.version.subscribe();
        version.mark_changed();
        let mut pace = Pace::new(Instant::now());
        let (mut not_before, mut failures) = (Instant::now(), 0);
        loop {
            let leads = *self.leads.borrow_and_update();
            let next = self.due.iter().min_by_key(|(_, at)| **at).map(|(name, at)| (name.clone(), *at));
            let at = next.as_ref().filter(|_| leads).map(|(_, at)| (*at).max(not_before));
            tokio::select! {
                changed = version.changed() => match changed {
                    Ok(()) => self.take_changed(),
                    Err(_) => return,
                },
                changed = self.leads.changed() => if changed.is_err() { return },
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    if let Err(wait) = pace.take(Instant::now()) {
                        not_before = Instant::now() + wait;
                        continue;
                    }
                    let Some((name, _)) = next else { continue };
                    self.due.remove(&name);
                    match self.settle(&name).await {
                        Ok(()) => failures = 0,
                        Err(error) => {
                            failures += 1;
                            not_before = Instant::now() + back_off(failures);
                            tracing::debug!(ingress = %name, error, "a status was not written; it is tried again");
                            self.due.insert(name, not_before);
                        }
                    }
                }
            }
        }
    }

    fn take_changed(&mut self) {
        let ours = self.addresses.published();
        for (name, published) in self.statuses.take_changed() {
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
        let asked = timeout(REQUEST_MAX, api.list(&only(&name.name))).await;
        let found = match asked.map_err(|_| format!("no answer within {REQUEST_MAX:?}"))? {
            Ok(found) => found.items,
            Err(error) => return self.failed(error),
        };
        let Some(ingress) = found.first() else { return Ok(()) };
        let there = seen::Ingress::from_api(ingress).map(|seen| seen.published).unwrap_or_default();
        let record = self.records.entry(name.clone()).or_default();
        match record.judge(there == self.addresses.published()) {
            Step::Rest => Ok(()),
            Step::Yield => {
                self.give_up(name, &there);
                Ok(())
            }
            Step::Write => {
                let (params, patch) = (PatchParams::default(), Patch::Merge(self.addresses.patch()));
                let written = timeout(REQUEST_MAX, api.patch_status(&name.name, &params, &patch)).await;
                let written = match written {
                    Err(_) => Err(format!("no answer within {REQUEST_MAX:?}")),
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(error)) => self.failed(error),
                };
                // Whatever stands there, it is not what somebody wrote over ours.
                if let Some(record) = self.records.get_mut(name) {
                    record.was_ours = false;
                }
                written
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

    /// An error that is to be tried again, or not.
    fn failed(&mut self, error: kube::Error) -> Result<(), String> {
        let kube::Error::Api(status) = &error else { return Err(error.to_string()) };
        if status.is_forbidden() {
            if !std::mem::replace(&mut self.forbidden, true) {
                tracing::warn!(
                    reason = status.message,
                    "the status of Ingresses cannot be written; allow `patch` of ingresses/status in networking.k8s.io"
                );
            }
            return Ok(());
        }
        match status.code {
            400 | 404 | 422 => Ok(()),
            _ => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
