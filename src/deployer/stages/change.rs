//! What is to be written so that the table is as wanted, or as it was. Pure.
//!
//! Of a frontend only the fields that are wanted are touched, whether they stay with a value or go: what people added,
//! and a `Maintenance`, stays. Every other object is one piece.

use crate::deployer::routing::is_frontend;
use crate::model::edit::{last_spelled, last_spelled_mut, merge};
use crate::model::{Kind, ObjectKey};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Transaction};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What is to stand at keys of the routing area. In a frontend null is a field that is not to be there.
pub(super) type Wanted = BTreeMap<String, Value>;

/// Writes of the routing area, and what stood at their keys before.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The writes, with what they expect.
    pub transaction: Transaction,
    /// By key; none: nothing.
    pub before: BTreeMap<String, Option<String>>,
}

/// The writes that make what is `wanted` stand, and take away what stands at keys of `obsolete`.
pub(super) fn to_wanted(entries: &[Entry], wanted: &Wanted, obsolete: &[String]) -> Changes {
    let mut changes = Changes::default();
    for (key, wanted) in wanted {
        let entry = stored(entries, key);
        let new = match entry.and_then(|entry| read(&entry.value)).filter(|_| is_frontend(key)) {
            Some(old) => merge(&old, wanted),
            None => merge(&Value::Object(Map::new()), wanted),
        };
        changes.put(key, entry, &new);
    }
    for key in obsolete.iter().filter(|key| !wanted.contains_key(*key)) {
        if let Some(entry) = stored(entries, key) {
            changes.delete(entry);
        }
    }
    changes
}

/// The writes that make stand what stood at keys `before` something was wanted there.
pub(super) fn to_before(
    entries: &[Entry],
    before: &BTreeMap<String, Option<String>>,
    wanted: &Wanted,
) -> Changes {
    let mut changes = Changes::default();
    for (key, before) in before {
        let entry = stored(entries, key);
        match (before.as_deref().and_then(|text| read(text.as_bytes())), entry) {
            (Some(before), Some(entry)) if is_frontend(key) => {
                let mut value = read(&entry.value).unwrap_or_default();
                match wanted.get(key) {
                    Some(wanted) => restore(&mut value, &before, wanted),
                    None => value = before,
                }
                changes.put(key, Some(entry), &value);
            }
            (Some(before), entry) => changes.put(key, entry, &before),
            (None, Some(entry)) => changes.delete(entry),
            (None, None) => {}
        }
    }
    changes
}

/// Gives the fields that were wanted the values that they had before.
fn restore(value: &mut Value, before: &Value, wanted: &Value) {
    let (Value::Object(fields), Some(map)) = (wanted, value.as_object_mut()) else { return };
    for (name, wanted) in fields {
        let old = before.as_object().and_then(|before| last_spelled(before, name));
        let current = last_spelled_mut(map, name).filter(|current| wanted.is_object() && current.is_object());
        if let Some(current) = current {
            restore(current, old.unwrap_or(&Value::Null), wanted);
            if old.is_some() || current.as_object().is_some_and(|left| !left.is_empty()) {
                continue;
            }
        }
        map.retain(|there, _| !there.eq_ignore_ascii_case(name));
        if let Some(old) = old {
            map.insert(name.clone(), old.clone());
        }
    }
}

impl Changes {
    fn put(&mut self, key: &str, entry: Option<&Entry>, new: &Value) {
        if entry.and_then(|entry| read(&entry.value)).is_some_and(|old| old == *new) {
            return;
        }
        let at: Box<str> = entry.map_or_else(|| key.into(), |entry| entry.key.clone());
        let (area, value, lease) = (Area::Routing, new.to_string().into(), LeaseChoice::Without);
        self.note(key, entry, &at);
        self.transaction.operations.push(Operation::Put { area, key: at, value, lease });
    }

    fn delete(&mut self, entry: &Entry) {
        let (area, key) = (Area::Routing, entry.key.clone());
        self.note(&entry.key, Some(entry), &key);
        self.transaction.operations.push(Operation::Delete { area, key });
    }

    fn note(&mut self, key: &str, entry: Option<&Entry>, at: &str) {
        let expected = entry.map_or(Expected::Absent, |entry| Expected::Version(entry.version));
        self.transaction.expect.push((Area::Routing, at.into(), expected));
        let text = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        self.before.insert(key.to_owned(), text);
    }
}

/// The entry of an object, in either spelling of its key.
pub(super) fn stored<'e>(entries: &'e [Entry], key: &str) -> Option<&'e Entry> {
    let object = ObjectKey::parse(key)?;
    let same = |entry: &&Entry| *entry.key == *key;
    let other = |entry: &&Entry| ObjectKey::parse(&entry.key).as_ref() == Some(&object);
    entries.iter().find(same).or_else(|| entries.iter().find(other))
}

/// The writes that remove what was found, as it was found.
pub(super) fn removal<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Transaction {
    let mut changes = Changes::default();
    for entry in entries {
        changes.delete(entry);
    }
    changes.transaction
}

/// Whether a key is one of an object before the backends: of a frontend, a middleware or a host.
pub(super) fn is_before_backends(key: &str) -> bool {
    let kind = ObjectKey::parse(key).map(|key| key.kind());
    matches!(kind, Some(Kind::Frontend | Kind::Middleware | Kind::Host))
}

fn read(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_was_wanted_is_put_back() {
        let wanted = json!({ "BackendId": "b", "Gone": null, "Settings": { "PassHostHeader": true } });
        for (before, now, expected) in [
            (json!({ "BackendId": "a" }), json!({ "BackendId": "b" }), json!({ "BackendId": "a" })),
            (
                json!({ "backendid": "a", "Gone": 1 }),
                json!({ "backendid": "b", "Maintenance": true }),
                json!({ "Maintenance": true, "BackendId": "a", "Gone": 1 }),
            ),
            (json!({}), json!({ "BackendId": "b", "Settings": { "PassHostHeader": true } }), json!({})),
            (
                json!({}),
                json!({ "Settings": { "PassHostHeader": true, "Hostname": "h" } }),
                json!({ "Settings": { "Hostname": "h" } }),
            ),
            (
                json!({ "Settings": { "PassHostHeader": false, "Hostname": "g" } }),
                json!({ "Settings": { "PassHostHeader": true, "Hostname": "h" } }),
                json!({ "Settings": { "PassHostHeader": false, "Hostname": "h" } }),
            ),
        ] {
            let mut value = now.clone();
            restore(&mut value, &before, &wanted);
            assert_eq!(value, expected, "{before} {now}");
        }
    }
}
