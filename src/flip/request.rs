//! What was asked, looked up in the store and turned into values to write.

use super::FlipError;
use super::record::{BakePlan, Deed, Flip, FlipTarget, MinHealthy, Phase, Totals, new_id, unix_ms};
use crate::model::edit::set_path;
use crate::model::{Backend, BackendId, FrontendId, Object, ObjectKey, Strictness, owner};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Store, Transaction};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

/// Writes of a flip beside its targets.
const OWN_WRITES: usize = 8;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `frontend/ID`, `alias/ID` or a bare id, and the backend to lead to.
    pub targets: Vec<(String, String)>,
    /// Where all targets lead now; otherwise nothing is done.
    pub expect: Option<String>,
    /// How many servers of the new side must be well in the eyes of every proxy.
    pub min_healthy: MinHealthy,
    /// It is written whatever the proxies see.
    pub force: bool,
    /// How long the new side is compared with the old one.
    pub bake: Option<BakePlan>,
    /// How long after *safe* the record stays open, in milliseconds.
    pub keep_warm_ms: Option<u64>,
    /// Who asks.
    pub by: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// All targets lead there already.
    Already(Vec<String>),
    /// This.
    Flip(Box<Flip>),
}

/// One target as it stands.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) entry: Entry,
    /// As written.
    pub(super) leads_to: Vec<String>,
    pub(super) is_split: bool,
}

impl Request {
    /// Looks up what is there, and says what would be written.
    ///
    /// # Errors
    /// A target or a backend does not exist or is not of the right kind, something is not as expected, or the store does
    /// not answer.
    pub async fn plan(&self, store: &Arc<dyn Store>, now: SystemTime) -> Result<Planned, FlipError> {
        if self.targets.is_empty() {
            return Err(FlipError::Invalid("name at least one TARGET=BACKEND".into()));
        }
        let most = store.capabilities().operations_max;
        if self.targets.len() + OWN_WRITES > most {
            return Err(FlipError::Invalid(format!(
                "one write of this store moves at most {} targets, these are {}: point the frontends at an alias once \
                 (`flipgate put backend NAME --set Type=alias --set Target=BACKEND`), and flip the alias from then on",
                most - OWN_WRITES,
                self.targets.len()
            )));
        }
        let (mut seen, mut already, mut targets) = (BTreeSet::new(), Vec::new(), Vec::new());
        for (target, to) in &self.targets {
            let found = find(store, target).await?;
            if !seen.insert(found.name.clone()) {
                return Err(FlipError::Invalid(format!("{} is named twice", found.name)));
            }
            check_real(store, to).await?;
            if let Some(owner) = kept_by(&found.entry).filter(|_| !self.force) {
                return Err(FlipError::Refused(format!(
                    "{} is kept by {owner}: the registrar would put it back; let that lead to a backend of your own \
                     (annotation `flipgate.io/backend`), such as an alias, and flip the alias; --force flips it all the \
                     same; nothing was changed",
                    found.name
                )));
            }
            let mut old = Vec::new();
            for id in &found.leads_to {
                old.push(real(store, id).await?);
            }
            if let Some(expected) = &self.expect
                && (found.leads_to != [expected.clone()] && old != [expected.clone()])
            {
                return Err(FlipError::Refused(format!(
                    "{} leads to {}, not to {expected}; nothing was changed",
                    found.name,
                    found.leads_to.join(", ")
                )));
            }
            if !found.is_split && found.leads_to == [to.clone()] {
                already.push(found.name);
                continue;
            }
            targets.push(FlipTarget {
                target: found.name,
                key: found.entry.key.to_string(),
                version: found.entry.version,
                from: found.leads_to,
                to: vec![to.clone()],
                old,
                new: vec![to.clone()],
                previous: String::from_utf8_lossy(&found.entry.value).into_owned(),
            });
        }
        if targets.is_empty() {
            return Ok(Planned::Already(already));
        }
        Ok(Planned::Flip(Box::new(Flip {
            id: new_id(now),
            deed: Deed::Flip,
            by: self.by.clone(),
            since: unix_ms(now),
            phase: Phase::Prepare,
            targets,
            min_healthy: self.min_healthy,
            force: self.force,
            bake: self.bake.clone(),
            keep_warm_ms: self.keep_warm_ms,
            owner: String::new(),
            revision: 0,
            committed_at: 0,
            safe_at: 0,
            baseline: Totals::default(),
            base: BTreeMap::new(),
            undoes: None,
        })))
    }
}

/// Who keeps an object as it is.
fn kept_by(entry: &Entry) -> Option<String> {
    let value: Value = serde_json::from_slice(&entry.value).ok()?;
    owner(&value).map(str::to_owned)
}

async fn get(store: &Arc<dyn Store>, key: &str) -> Result<Option<Entry>, FlipError> {
    Ok(store.get(Area::Routing, key).await?.1)
}

/// The entry of an object, under its canonical key or the short one.
async fn stored(store: &Arc<dyn Store>, key: &ObjectKey, short: String) -> Result<Option<Entry>, FlipError> {
    match get(store, &key.canonical()).await? {
        Some(entry) => Ok(Some(entry)),
        None => get(store, &short).await,
    }
}

async fn backend(store: &Arc<dyn Store>, id: &BackendId) -> Result<Option<Entry>, FlipError> {
    stored(store, &ObjectKey::Backend(id.clone()), format!("backends/{id}")).await
}

/// The target that a text names, with where it leads.
pub(super) async fn find(store: &Arc<dyn Store>, text: &str) -> Result<Found, FlipError> {
    let (kind, id) = match text.split_once('/') {
        Some((kind @ ("frontend" | "alias"), id)) => (Some(kind), id),
        Some(_) => {
            return Err(FlipError::Invalid(format!(
                "{text:?} is no target; frontend/ID, alias/ID or a bare id is"
            )));
        }
        None => (None, text),
    };
    let wrong = |error| FlipError::Invalid(format!("{text:?} is no target: {error}"));
    let (frontend, alias) =
        (FrontendId::try_from(id).map_err(wrong)?, BackendId::try_from(id).map_err(wrong)?);
    let as_frontend = match kind {
        Some("alias") => None,
        _ => stored(store, &ObjectKey::Frontend(frontend.clone()), format!("frontends/{id}")).await?,
    };
    let as_backend = match kind {
        Some("frontend") => None,
        _ => backend(store, &alias).await?,
    };
    let as_alias = match as_backend {
        Some(entry) => alias_target(&alias, &entry).map(|target| (entry, target)),
        None => None,
    };
    match (as_frontend, as_alias) {
        (Some(_), Some(_)) => Err(FlipError::Invalid(format!(
            "there are a frontend and an alias {id}; say which: frontend/{id} or alias/{id}"
        ))),
        (Some(entry), None) => read_frontend(&frontend, entry),
        (None, Some((entry, target))) => Ok(Found {
            name: format!("alias/{id}"),
            entry,
            leads_to: vec![target.to_string()],
            is_split: false,
        }),
        (None, None) => Err(FlipError::Refused(match kind {
            Some("frontend") => format!("frontend {id} does not exist"),
            Some(_) => format!("alias {id} does not exist"),
            None => format!("there is neither a frontend nor an alias {id}"),
        })),
    }
}

fn read_frontend(id: &FrontendId, entry: Entry) -> Result<Found, FlipError> {
    let parsed = Object::parse(&ObjectKey::Frontend(id.clone()), &entry.value, Strictness::Stored);
    let Some(Object::Frontend(object)) = parsed.object else {
        let reason =
            parsed.findings.first().map(|it| format!("{} {}", it.field, it.reason)).unwrap_or_default();
        return Err(FlipError::Refused(format!("frontend {id} is not valid as stored: {}", reason.trim())));
    };
    let leads_to = match &object.split {
        Some(split) => {
            let parts: BTreeSet<&str> = split.parts.iter().map(|part| part.backend.as_str()).collect();
            parts.into_iter().map(str::to_owned).collect()
        }
        None => vec![object.backend.to_string()],
    };
    Ok(Found { name: format!("frontend/{id}"), entry, leads_to, is_split: object.split.is_some() })
}

fn alias_target(id: &BackendId, entry: &Entry) -> Option<BackendId> {
    match Object::parse(&ObjectKey::Backend(id.clone()), &entry.value, Strictness::Stored).object {
        Some(Object::Backend(Backend::Alias { target, .. })) => Some(target),
        _ => None,
    }
}

/// The real backend behind an id.
async fn real(store: &Arc<dyn Store>, id: &str) -> Result<String, FlipError> {
    let Ok(backend_id) = BackendId::try_from(id) else { return Ok(id.to_owned()) };
    let entry = backend(store, &backend_id).await?;
    let target = entry.and_then(|entry| alias_target(&backend_id, &entry));
    Ok(target.map_or_else(|| id.to_owned(), |target| target.to_string()))
}

async fn check_real(store: &Arc<dyn Store>, id: &str) -> Result<(), FlipError> {
    let backend_id = BackendId::try_from(id)
        .map_err(|error| FlipError::Invalid(format!("{id:?} is no backend: {error}")))?;
    if let Some(entry) = backend(store, &backend_id).await? {
        if let Some(target) = alias_target(&backend_id, &entry) {
            return Err(FlipError::Refused(format!(
                "{id} is an alias of {target}; traffic is moved to a real backend"
            )));
        }
        return Ok(());
    }
    // Servers alone make a backend, too.
    let below = format!("backends/{id}/servers/");
    let all = store.list(Area::Routing).await?;
    if all.entries.iter().any(|entry| entry.key.starts_with(&below)) {
        return Ok(());
    }
    Err(FlipError::Refused(format!("backend {id} does not exist")))
}

/// What in the store leads to `backend`: frontends and aliases, at most `max`.
pub(super) async fn naming(store: &Arc<dyn Store>, backend: &str, max: usize) -> Vec<String> {
    let Ok(all) = store.list(Area::Routing).await else { return Vec::new() };
    let names = all.entries.into_iter().filter_map(|entry| match ObjectKey::parse(&entry.key)? {
        ObjectKey::Frontend(id) => {
            let found = read_frontend(&id, entry).ok()?;
            found.leads_to.iter().any(|it| it == backend).then_some(found.name)
        }
        ObjectKey::Backend(id) => {
            let target = alias_target(&id, &entry)?;
            (target.as_str() == backend).then(|| format!("alias/{id}"))
        }
        _ => None,
    });
    names.take(max).collect()
}

/// The value of a target that leads to `to`, with everything else as it was.
pub(super) fn moved(target: &FlipTarget, to: &str) -> Result<Bytes, FlipError> {
    let mut value = parse(target, target.previous.as_bytes())?;
    let failed = |error| FlipError::Refused(format!("{}: {error}", target.target));
    if target.target.starts_with("alias/") {
        set_path(&mut value, "Target", to.into()).map_err(failed)?;
    } else {
        for (field, new) in [("BackendId", to.into()), ("Split", Value::Null), ("SplitBy", Value::Null)] {
            set_path(&mut value, field, new).map_err(failed)?;
        }
    }
    Ok(value.to_string().into())
}

/// `current` leading to where `before` did, with everything else as it is now.
pub(super) fn restored(target: &FlipTarget, current: &[u8], before: &str) -> Result<Bytes, FlipError> {
    let (mut value, before) = (parse(target, current)?, parse(target, before.as_bytes())?);
    let fields: &[&str] =
        if target.target.starts_with("alias/") { &["Target"] } else { &["BackendId", "Split", "SplitBy"] };
    for field in fields {
        let old =
            before.as_object().and_then(|map| map.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(field)));
        let old = old.map_or(Value::Null, |(_, old)| old.clone());
        set_path(&mut value, field, old)
            .map_err(|error| FlipError::Refused(format!("{}: {error}", target.target)))?;
    }
    Ok(value.to_string().into())
}

fn parse(target: &FlipTarget, text: &[u8]) -> Result<Value, FlipError> {
    serde_json::from_slice(text)
        .map_err(|error| FlipError::Refused(format!("{} is not JSON: {error}", target.target)))
}

/// A write of the routing area that keeps the key's lease, and what it expects.
pub(super) fn put(transaction: &mut Transaction, key: &str, version: u64, value: Bytes) {
    transaction.expect.push((Area::Routing, key.into(), Expected::Version(version)));
    let (area, key, lease) = (Area::Routing, key.into(), LeaseChoice::Keep);
    transaction.operations.push(Operation::Put { area, key, value, lease });
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
