//! What becomes of each Ingress: the registrar's own conversion, with what it says of every annotation. Pure.

use super::cluster::Cluster;
use crate::cli::document::Document;
use crate::kubernetes::Name;
use crate::model::{KeyPairSource, ObjectKey};
use crate::registrar::convert::ingress::{Annotation, PREFIX, Support, is_ours};
use crate::registrar::convert::{Converted, Desired, Remit, convert};
use crate::registrar::ledger::{Ledger, Want};
use crate::registrar::seen::Ingress;
use crate::registrar::{Note, Source, Unit};
use crate::tls::with_pair;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What would stand in the store, and what is to be said of it.
#[derive(Debug, Default)]
pub(super) struct Weighed {
    /// By what would be written; without `Owner`: they are whoever's who writes them.
    pub(super) documents: BTreeMap<ObjectKey, Document>,
    /// Hosts whose certificates would be written, with the Secrets that they come from.
    pub(super) certificates: BTreeMap<ObjectKey, Source>,
    pub(super) ingresses: Vec<Fate>,
    /// Ingresses that somebody else looks after, with their classes.
    pub(super) others: Vec<(Name, Option<String>)>,
}

/// What becomes of one Ingress.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) name: Name,
    pub(super) is_canary: bool,
    pub(super) frontends: Vec<Frontend>,
    pub(super) backends: Vec<String>,
    /// Names, with the Secrets that their certificates come from.
    pub(super) hosts: Vec<(String, Option<String>)>,
    /// Each annotation, then each field that cannot be carried over as it is.
    pub(super) verdicts: Vec<Verdict>,
}

/// A frontend to be.
#[derive(Debug)]
pub(super) struct Frontend {
    pub(super) id: String,
    pub(super) route: String,
    /// The backend, or the parts of a split with their weights.
    pub(super) leads_to: String,
    pub(super) middlewares: usize,
}

/// What becomes of an annotation or a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// An annotation without its prefix, or a field.
    pub(super) what: String,
    pub(super) support: Support,
    pub(super) reason: String,
}

impl Weighed {
    /// Whether something is lost.
    pub(super) fn is_whole(&self) -> bool {
        let verdicts = self.ingresses.iter().flat_map(|fate| &fate.verdicts);
        let is_lost = |verdict: &Verdict| verdict.support == Support::No;
        !verdicts.into_iter().any(is_lost)
    }
}

/// Converts all Ingresses of the classes.
pub(super) fn weigh(cluster: &Cluster, remit: &Remit) -> Weighed {
    let world = &cluster.world;
    let (mut ledger, mut weighed, mut converted) = (Ledger::default(), Weighed::default(), BTreeMap::new());
    for ingress in world.ingresses() {
        let name = &ingress.meta.name;
        if !is_ours(world, &remit.classes, ingress) {
            weighed.others.push((name.clone(), ingress.class_name().map(str::to_owned)));
            continue;
        }
        let unit = Unit::Ingress(name.clone());
        let wants = convert(world, &unit, remit);
        ledger.state(&unit, ingress.meta.created, wants.clone());
        converted.insert(name.clone(), (ingress, wants));
    }
    let mut notes: BTreeMap<Source, BTreeSet<Note>> = BTreeMap::new();
    for note in ledger.notes().all() {
        notes.entry(note.about.clone()).or_default().insert(note.clone());
    }
    for (name, (ingress, wants)) in converted {
        let own = notes.remove(&Source::Ingress(name)).unwrap_or_default();
        // What is wrong with a Secret or a Service is told with the Ingress that needs it.
        let others =
            wants.notes.iter().filter(|note| note.about != Source::Ingress(ingress.meta.name.clone()));
        let all: BTreeSet<Note> = own.into_iter().chain(others.cloned()).collect();
        weighed.ingresses.push(Fate::of(ingress, &wants, &all));
    }
    for key in ledger.keys() {
        let Some(wanted) = ledger.wanted(key) else { continue };
        let value = match wanted.want {
            Want::Value(text) => serde_json::from_slice(text).unwrap_or_default(),
            Want::Certificate(host) => {
                weighed.certificates.insert(key.clone(), host.secret.clone());
                let (cert, private) = ((&**host.certificate).into(), (&**host.key).into());
                with_pair(host.value.clone(), &KeyPairSource::Plain { cert, key: private }).into()
            }
            // Only a registrar knows what it wrote before.
            Want::Kept => continue,
        };
        let origin = wanted.unit.source().to_string();
        weighed.documents.insert(key.clone(), Document { origin, value });
    }
    weighed
}

impl Fate {
    fn of(ingress: &Ingress, wants: &Converted, notes: &BTreeSet<Note>) -> Self {
        let mut fate = Self {
            name: ingress.meta.name.clone(),
            is_canary: ingress.is_canary(),
            frontends: Vec::new(),
            backends: Vec::new(),
            hosts: Vec::new(),
            verdicts: verdicts(ingress, notes),
        };
        for (key, desired) in &wants.objects {
            match (key, desired) {
                (ObjectKey::Frontend(id), Desired::Value(value)) => {
                    let is_own =
                        |other: &&ObjectKey| matches!(other, ObjectKey::OwnMiddleware(of, _) if of == id);
                    let shared = value.get("Settings").and_then(|settings| settings.get("Middlewares"));
                    let shared = shared.and_then(Value::as_array).map_or(0, Vec::len);
                    fate.frontends.push(Frontend {
                        id: id.to_string(),
                        route: value.get("Route").and_then(Value::as_str).unwrap_or_default().to_owned(),
                        leads_to: leads_to(value),
                        middlewares: wants.objects.keys().filter(is_own).count() + shared,
                    });
                }
                (ObjectKey::Backend(id), _) => fate.backends.push(id.to_string()),
                (ObjectKey::Host(name), Desired::Value(_)) => fate.hosts.push((name.to_string(), None)),
                (ObjectKey::Host(name), Desired::Certificate { secret, .. }) => {
                    fate.hosts.push((name.to_string(), Some(secret.to_string())));
                }
                _ => {}
            }
        }
        fate
    }
}

/// Annotations in the order of their names, then what else was noted.
fn verdicts(ingress: &Ingress, notes: &BTreeSet<Note>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut told: BTreeSet<&Note> = BTreeSet::new();
    for key in ingress.meta.annotations.keys() {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let own: Vec<&Note> = notes.iter().filter(|note| *note.field == **key).collect();
        told.extend(&own);
        verdicts.push(verdict(name, Annotation::find(name), &own));
    }
    for note in notes.iter().filter(|note| !told.contains(note)) {
        let what = match note.about == Source::Ingress(ingress.meta.name.clone()) {
            true => note.field.to_string(),
            false => format!("{} {}", note.about, note.field).trim_end().to_owned(),
        };
        verdicts.push(Verdict { what, support: lost(note), reason: note.reason.to_string() });
    }
    verdicts
}

/// What was found out about this value goes before what is known of all.
fn verdict(name: &str, known: Option<&Annotation>, notes: &[&Note]) -> Verdict {
    let said: Vec<&str> = notes.iter().map(|note| &*note.reason).collect();
    let (support, reason) = match (known, notes.iter().map(|note| lost(note)).max()) {
        (None, _) => (Support::No, "is no annotation of ingress-nginx that is known".to_owned()),
        (Some(known), None) => (known.support, known.note.to_owned()),
        (Some(known), Some(_)) if known.support == Support::No => (Support::No, known.note.to_owned()),
        (Some(_), Some(worst)) => (worst, said.join("; ")),
    };
    Verdict { what: name.to_owned(), support, reason }
}

fn lost(note: &Note) -> Support {
    if note.is_error() { Support::No } else { Support::Partly }
}

/// `shop-web-80`, or `shop-web-80 90, shop-new-80 10`.
fn leads_to(frontend: &Map<String, Value>) -> String {
    if let Some(backend) = frontend.get("BackendId").and_then(Value::as_str) {
        return backend.to_owned();
    }
    let part = |part: &Value| {
        let backend = part.get("BackendId").and_then(Value::as_str).unwrap_or_default();
        let pin = ["Header", "Cookie"].iter().find_map(|name| Some((name, part.get(*name)?.as_str()?)));
        match pin {
            Some((field, pin)) => format!("{backend} for {} {pin}", field.to_lowercase()),
            None => format!("{backend} {}", part.get("Weight").unwrap_or(&Value::Null)),
        }
    };
    let parts = frontend.get("Split").and_then(Value::as_array).into_iter().flatten();
    parts.map(part).collect::<Vec<_>>().join(", ")
}
