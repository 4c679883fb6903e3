//! What comes from Kubernetes: each kind is listed and watched in each namespace, and cut down to what matters as it
//! arrives.
//!
//! Nothing is kept here but what is on its way. After every broken watch there is a fresh list, whose objects are told as
//! changes; only when it is complete may what it does not name be forgotten, so that nothing is removed because a
//! server was away or a list broke off.

mod follow;
mod kinds;
mod read;

use self::follow::{Follow, Part};
use self::kinds::Watched;
use super::world::{Change, Kind};
use crate::kubernetes::{Name, Pauses};
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// In which namespaces; empty: in all. IngressClasses belong to none.
    pub namespaces: Vec<String>,
    /// Only pods with this label.
    pub pod_label: Box<str>,
    /// Which kinds.
    pub kinds: Vec<Kind>,
}

/// What was seen of the cluster, kind by kind in the order in which it happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// An object is there, as it is now, or it is gone; read at this instant. Objects that did not change are told again
    /// with each list.
    Changed(Change, Instant),
    /// A list is complete, and all its objects were told: of this kind, these are there (an IngressClass with an empty
    /// namespace), and no others. With several namespaces, once all of them were listed, and again whenever one is.
    Listed(Kind, BTreeSet<Name>),
    /// A kind cannot be read. What is known of it stays; it is tried again, for ever.
    Lost {
        /// Which kind.
        kind: Kind,
        /// Why, and what would be right.
        reason: String,
        /// Whether it is known for certain that what is missing may not be read: all of it, or all of some namespaces, and
        /// the others were listed.
        is_denied: bool,
    },
    /// A kind that was lost is read again; it was listed before.
    Found {
        /// Which kind.
        kind: Kind,
    },
}

/// How many of them wait to be taken, before reading from the API server pauses.
const SEEN_MAX: usize = 1024;
/// How many wait of one kind, before they are put in line.
const REPORTS_MAX: usize = 64;

/// After a failure, for each task.
const PAUSES: Pauses = Pauses { least: Duration::from_millis(200), most: Duration::from_secs(10) };

/// Begins to watch, until the receiver is dropped.
pub fn watch(client: kube::Client, scope: Scope) -> mpsc::Receiver<Seen> {
    start(client, scope, PAUSES)
}

fn start(client: kube::Client, scope: Scope, pauses: Pauses) -> mpsc::Receiver<Seen> {
    let (tell, seen) = mpsc::channel(SEEN_MAX);
    let kinds: BTreeSet<Kind> = scope.kinds.iter().copied().collect();
    for kind in kinds {
        let (client, tell) = (client.clone(), tell.clone());
        match kind {
            Kind::Service => spawn::<Service>(client, &scope, pauses, tell),
            Kind::Slice => spawn::<EndpointSlice>(client, &scope, pauses, tell),
            Kind::Pod => spawn::<Pod>(client, &scope, pauses, tell),
            Kind::Ingress => spawn::<Ingress>(client, &scope, pauses, tell),
            Kind::Secret => spawn::<Secret>(client, &scope, pauses, tell),
            Kind::Class => spawn::<IngressClass>(client, &scope, pauses, tell),
        }
    }
    seen
}

/// One task a namespace, and one that puts what they say in line.
fn spawn<K: Watched>(client: kube::Client, scope: &Scope, pauses: Pauses, tell: mpsc::Sender<Seen>) {
    let namespaces: BTreeSet<&String> = scope.namespaces.iter().collect();
    let namespaces: Vec<Option<String>> = match K::WHICH {
        Kind::Class => vec![None],
        _ if namespaces.is_empty() => vec![None],
        _ => namespaces.into_iter().cloned().map(Some).collect(),
    };
    let (report, reports) = mpsc::channel(REPORTS_MAX);
    let line = Line { kind: K::WHICH, parts: namespaces.iter().map(|_| Place::default()).collect(), tell };
    let mut tasks = JoinSet::new();
    for (index, namespace) in namespaces.into_iter().enumerate() {
        let part = Part { index, namespace, pod_label: scope.pod_label.clone(), pauses };
        tasks.spawn(Follow::<K>::new(client.clone(), part, report.clone()).run());
    }
    tokio::spawn(line.run(reports, tasks));
}

/// What one namespace's task says.
#[allow(clippy::large_enum_variant, reason = "nearly all are changes")]
#[derive(Debug)]
enum Report {
    /// An object, and whether it is there.
    Changed { name: Name, is_there: bool, change: Change, at: Instant },
    /// A list is complete.
    Listed(BTreeSet<Name>),
    /// It cannot be read, or may not be.
    Lost { reason: String, is_denied: bool },
    /// It is read.
    Found,
}

/// Puts what the namespaces of one kind say in line.
struct Line {
    kind: Kind,
    /// One a namespace.
    parts: Vec<Place>,
    tell: mpsc::Sender<Seen>,
}

/// What is known of one namespace.
#[derive(Debug, Default)]
struct Place {
    /// The objects that are there; absent before the first list. Kept only where there are several namespaces.
    names: Option<BTreeSet<Name>>,
    /// Why it cannot be read.
    lost: Option<String>,
    /// It may not be.
    is_denied: bool,
}

impl Line {
    /// Until nobody takes what is told; the namespaces' tasks end with it.
    async fn run(mut self, mut reports: mpsc::Receiver<(usize, Report)>, tasks: JoinSet<()>) {
        let tell = self.tell.clone();
        loop {
            let told = tokio::select! {
                report = reports.recv() => match report {
                    Some((index, report)) => self.take(index, report),
                    None => break,
                },
                () = tell.closed() => break,
            };
            if let Some(seen) = told
                && tell.send(seen).await.is_err()
            {
                break;
            }
        }
        drop(tasks);
    }

    fn take(&mut self, index: usize, report: Report) -> Option<Seen> {
        let kind = self.kind;
        let is_alone = self.parts.len() == 1;
        let part = self.parts.get_mut(index)?;
        match report {
            Report::Changed { name, is_there, change, at } => {
                if let Some(names) = &mut part.names {
                    // A list of another namespace may be complete before this one's next.
                    if is_there {
                        names.insert(name)
                    } else {
                        names.remove(&name)
                    };
                }
                Some(Seen::Changed(change, at))
            }
            Report::Listed(names) if is_alone => Some(Seen::Listed(kind, names)),
            Report::Listed(names) => {
                part.names = Some(names);
                let all: Option<Vec<_>> = self.parts.iter().map(|part| part.names.as_ref()).collect();
                match all {
                    Some(all) => Some(Seen::Listed(kind, all.into_iter().flatten().cloned().collect())),
                    None => self.lost().filter(|_| self.is_denied()),
                }
            }
            Report::Lost { reason, is_denied } => {
                if part.lost.as_ref() == Some(&reason) {
                    return None;
                }
                (part.lost, part.is_denied) = (Some(reason.clone()), is_denied);
                Some(Seen::Lost { kind, reason, is_denied: self.is_denied() })
            }
            Report::Found => {
                part.lost.take()?;
                part.is_denied = false;
                self.lost().or(Some(Seen::Found { kind }))
            }
        }
    }

    /// What is to be said while a namespace cannot be read.
    fn lost(&self) -> Option<Seen> {
        let reason = self.parts.iter().find_map(|part| part.lost.clone())?;
        Some(Seen::Lost { kind: self.kind, reason, is_denied: self.is_denied() })
    }

    /// Whether all that is not listed may not be.
    fn is_denied(&self) -> bool {
        self.parts.iter().any(|part| part.is_denied)
            && self.parts.iter().all(|part| part.is_denied || part.names.is_some())
    }
}

#[cfg(test)]
mod tests;
