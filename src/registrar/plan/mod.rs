//! From what is wanted and what stands in the store to the fewest transactions. Pure.
//!
//! [`Planner::decide`] looks at one key, [`pack`] makes transactions of what is to be done. A value is written only if
//! it would be in force: what is not valid stays as it was in the store, and its author has a note.

mod pack;
mod seal;

pub use pack::pack;

use super::image::{Image, Standing};
use super::ledger::{Want, Wanted, is_same};
use super::note::Note;
use super::unit::Source;
use crate::model::{
    Backend, BackendId, Finding, OWNER, Object, ObjectKey, Severity, Strictness, VALUE_BYTES_MAX,
};
use crate::store::Expected;
use crate::tls::SealKeys;
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::time::Instant;

/// Makes the store's values.
#[derive(Debug)]
pub struct Planner {
    /// Whose keys are its own.
    pub cluster: Box<str>,
    /// The first key seals certificates.
    pub seal_keys: SealKeys,
    /// Without a seal key certificates are written readable.
    pub plain_keys: bool,
}

/// One key to be written or removed.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which object.
    pub key: ObjectKey,
    /// Its key as it stands in the store, in either spelling.
    pub path: Box<str>,
    /// Steps of one source belong together.
    pub source: Box<str>,
    /// What to do.
    pub act: Act,
    /// What has to stand there.
    pub expected: Expected,
    /// Backends that the object leads to, before or after.
    pub leads_to: Vec<BackendId>,
    /// When the change of the cluster was read that this comes from.
    pub since: Option<Instant>,
}

/// What is to be done with a key.
#[derive(Clone, PartialEq)]
pub enum Act {
    /// Write a value.
    Put(Bytes),
    /// Remove it.
    Delete,
}

/// What one look at a key came to.
#[derive(Debug, Default, PartialEq)]
pub struct Decision {
    /// At most one for each spelling of the key.
    pub steps: Vec<Step>,
    /// Why what is wanted does not stand there.
    pub notes: BTreeSet<Note>,
}

impl Planner {
    /// What is to be done so that at a key stands what is wanted.
    pub fn decide(&self, key: &ObjectKey, wanted: Option<Wanted<'_>>, image: &Image) -> Decision {
        let mut decision = Decision::default();
        let (standing, short) = (image.get(key), image.get_short(key));
        if wanted.is_some_and(|wanted| *wanted.want == Want::Kept) {
            return decision;
        }
        if let Some(wanted) = wanted {
            let source = wanted.unit.source();
            if matches!(
                (standing, short),
                (Some(Standing::Foreign { .. }), _) | (None, Some(Standing::Foreign { .. }))
            ) {
                decision.note(
                    key,
                    "",
                    &source,
                    "is held by somebody else, since its `Owner` is not this registrar; it stays as it is",
                );
                return decision;
            }
            self.put(key, &wanted, standing, &mut decision);
        } else if let Some(Standing::Owned { version, value }) = standing {
            decision.delete(key, key.canonical(), *version, value);
        }
        // Written by an older hand; the canonical spelling takes its place.
        if let Some(Standing::Owned { version, value }) = short
            && (wanted.is_none() || standing.is_some() || !decision.steps.is_empty())
        {
            decision.delete(key, short_path(key), *version, value);
        }
        decision
    }

    fn put(
        &self,
        key: &ObjectKey,
        wanted: &Wanted<'_>,
        standing: Option<&Standing>,
        decision: &mut Decision,
    ) {
        let source = wanted.unit.source();
        let owner = format!("{}:{source}", self.cluster);
        let stored = match standing {
            Some(Standing::Owned { version, value }) => Some((*version, &**value)),
            _ => None,
        };
        let made = match wanted.want {
            Want::Value(text) => {
                let text = with_owner(text, &owner);
                match stored {
                    Some((_, stored)) if *stored == *text => return,
                    Some((_, stored)) if is_same(stored, &text) => return,
                    _ => Ok(text),
                }
            }
            Want::Certificate(host) => {
                if stored.is_some_and(|(_, stored)| self.holds(key, host, &owner, stored)) {
                    return;
                }
                self.make(host, &owner).map_err(|reason| (host.secret.clone(), reason))
            }
            Want::Kept => return,
        };
        let text = match made {
            Ok(text) => text,
            Err((secret, reason)) => return decision.note(key, "", &secret, &reason),
        };
        match read(key, &text) {
            Ok(object) => {
                let mut leads_to = leads_to(&object);
                leads_to.extend(stored.iter().flat_map(|(_, stored)| former(key, stored)));
                decision.steps.push(Step {
                    key: key.clone(),
                    path: key.canonical().into(),
                    source: owner.into(),
                    act: Act::Put(text.into()),
                    expected: stored.map_or(Expected::Absent, |(version, _)| Expected::Version(version)),
                    leads_to,
                    since: None,
                });
            }
            Err(findings) => {
                for finding in findings.into_iter().filter(|it| it.severity == Severity::Error) {
                    decision.note(key, &finding.field, &source, &finding.reason);
                }
            }
        }
    }
}

impl Decision {
    fn note(&mut self, key: &ObjectKey, field: &str, about: &Source, reason: &str) {
        let field = format!("{key} {field}");
        self.notes.insert(Note {
            about: about.clone(),
            field: field.trim_end().into(),
            reason: reason.into(),
            severity: Severity::Error,
        });
    }

    fn delete(&mut self, key: &ObjectKey, path: String, version: u64, value: &[u8]) {
        let stored = serde_json::from_slice::<Value>(value).unwrap_or_default();
        self.steps.push(Step {
            key: key.clone(),
            path: path.into(),
            source: crate::model::owner(&stored).unwrap_or_default().into(),
            act: Act::Delete,
            expected: Expected::Version(version),
            leads_to: Vec::new(),
            since: None,
        });
    }
}

impl Step {
    /// Whether it removes its key.
    pub fn is_delete(&self) -> bool {
        self.act == Act::Delete
    }
}

impl std::fmt::Debug for Act {
    /// A value may hold a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Put(value) => write!(f, "Put({} bytes)", value.len()),
            Self::Delete => f.write_str("Delete"),
        }
    }
}

/// The text of an object with its owner behind its fields.
fn with_owner(object: &[u8], owner: &str) -> Vec<u8> {
    let owner = Value::from(owner).to_string();
    let fields = object.strip_suffix(b"}").unwrap_or(object);
    let comma = if fields.ends_with(b"{") { "" } else { "," };
    let mut text = Vec::with_capacity(fields.len() + owner.len() + 16);
    text.extend_from_slice(fields);
    text.extend_from_slice(format!("{comma}\"{OWNER}\":{owner}}}").as_bytes());
    text
}

/// The object, if it would be in force.
fn read(key: &ObjectKey, text: &[u8]) -> Result<Object, Vec<Finding>> {
    let refused = |reason: String| vec![Finding { field: String::new(), reason, severity: Severity::Error }];
    if text.len() > VALUE_BYTES_MAX {
        return Err(refused(format!("has {} bytes; at most {VALUE_BYTES_MAX} can be stored", text.len())));
    }
    let value: Value = serde_json::from_slice(text).map_err(|_| refused("is no JSON".to_owned()))?;
    let parsed = Object::parse_value(key, &value, Strictness::Written);
    parsed.object.ok_or(parsed.findings)
}

/// Where the stored form of a frontend or alias leads.
fn former(key: &ObjectKey, stored: &[u8]) -> Vec<BackendId> {
    match key {
        ObjectKey::Frontend(_) | ObjectKey::Backend(_) => {
            Object::parse(key, stored, Strictness::Stored).object.map(|it| leads_to(&it)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

fn leads_to(object: &Object) -> Vec<BackendId> {
    match object {
        Object::Frontend(frontend) => frontend.backends().cloned().collect(),
        Object::Backend(Backend::Alias { target, .. }) => vec![target.clone()],
        _ => Vec::new(),
    }
}

/// `backends/<id>` for `backends/<id>/backend`.
fn short_path(key: &ObjectKey) -> String {
    let path = key.canonical();
    let cut = ["/frontend", "/backend", "/host"].iter().find_map(|end| path.strip_suffix(end));
    cut.map(str::to_owned).unwrap_or(path)
}

#[cfg(test)]
mod tests;
