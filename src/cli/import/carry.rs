//! From vulcand's keys to documents of ours, with what is lost on the way. Pure.

use super::super::document::Document;
use super::super::references::Objects;
use super::super::vulcand::shared;
use super::dump::Key;
use crate::model::{Finding, Object, ObjectKey, Severity, Strictness};
use serde_json::Value;
use std::collections::BTreeMap;

/// What comes over, and what is to be said.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) documents: BTreeMap<ObjectKey, Document>,
    pub(super) notes: Vec<Note>,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) fate: Fate,
    pub(super) key: String,
    pub(super) field: String,
    pub(super) reason: String,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    NotCarried,
    Differs,
}

impl Fate {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotCarried => "not carried",
            Self::Differs => "differs",
        }
    }
}

/// Reads every key as a proxy would, and takes away what only a strict reader refuses.
pub(super) fn carry(keys: Vec<Key>) -> Carried {
    let mut carried = Carried::default();
    let mut loaded = Objects::default();
    let mut chosen: BTreeMap<ObjectKey, Key> = BTreeMap::new();
    for key in keys {
        let Some(object) = ObjectKey::parse(&key.key) else {
            let reason = match key.key.starts_with("autocert_cache/") {
                true => "is vulcand's cache of certificates that it fetched itself",
                false => "is no key of vulcand's objects",
            };
            carried.note(Fate::NotCarried, &key.key, "", reason);
            continue;
        };
        let is_canonical = object.canonical() == key.key;
        match chosen.get(&object) {
            Some(_) if !is_canonical => {
                carried.note(
                    Fate::NotCarried,
                    &key.key,
                    "",
                    "stands at the object's full key as well, which counts",
                );
            }
            _ => drop(chosen.insert(object, key)),
        }
    }
    for (object, key) in chosen {
        carried.take(object, &key, &mut loaded);
    }
    for (key, finding) in loaded.findings() {
        carried.note(Fate::Differs, &key.canonical(), &finding.field, &finding.reason);
    }
    for row in shared(&loaded) {
        carried.note(Fate::Differs, &row.place, &row.finding.field, &row.finding.reason);
    }
    carried.notes.sort();
    carried
}

impl Carried {
    fn note(&mut self, fate: Fate, key: &str, field: &str, reason: impl Into<String>) {
        let (key, field) = (key.to_owned(), field.to_owned());
        self.notes.push(Note { fate, key, field, reason: reason.into() });
    }

    fn take(&mut self, object: ObjectKey, key: &Key, loaded: &mut Objects) {
        let parsed = Object::parse(&object, &key.value, Strictness::Stored);
        for Finding { field, reason, severity } in &parsed.findings {
            let fate = if *severity == Severity::Error { Fate::NotCarried } else { Fate::Differs };
            let left_out = if is_unknown(reason) { "; it is left out" } else { "" };
            self.note(fate, &key.key, field, format!("{reason}{left_out}"));
        }
        let (Some(read), Ok(mut value)) = (parsed.object, serde_json::from_slice::<Value>(&key.value)) else {
            loaded.invalid.insert(object);
            return;
        };
        for finding in parsed.findings.iter().filter(|finding| is_unknown(&finding.reason)) {
            remove(&mut value, &finding.field);
        }
        // What a strict reader still refuses is written in our own words.
        let strict = Object::parse_value(&object, &value, Strictness::Written);
        if strict.object.as_ref() != Some(&read) {
            value = read.to_value();
            self.note(Fate::Differs, &key.key, "", "is written anew, with what counts of it");
        }
        if let Some(auto) = auto_cert(&object, &value) {
            self.note(Fate::Differs, &key.key, "Settings.AutoCert", auto);
        }
        if key.ends {
            let reason = "ends unless it is renewed, as vulcand's heartbeats do; it is written to last";
            self.note(Fate::Differs, &key.key, "", reason);
        }
        let origin = key.key.clone();
        self.documents.insert(object.clone(), Document { origin, value });
        loaded.valid.insert(object, (read, 0));
    }
}

fn is_unknown(reason: &str) -> bool {
    reason.starts_with("is not a known field")
}

fn auto_cert(key: &ObjectKey, value: &Value) -> Option<&'static str> {
    let has =
        matches!(key, ObjectKey::Host(_)) && super::super::value::field(value, "Settings.AutoCert").is_some();
    has.then_some("is kept; no certificates are fetched by it here")
}

/// Takes the field at a path away, spelled as it stands there.
fn remove(value: &mut Value, path: &str) {
    let Some(fields) = value.as_object_mut() else { return };
    if fields.shift_remove(path).is_some() {
        return;
    }
    // Names may have dots: the longest one that is there.
    let names: Vec<String> = fields.keys().cloned().collect();
    for name in names {
        let rest = path.get(..name.len()).filter(|head| head.eq_ignore_ascii_case(&name));
        let rest = rest.and_then(|_| path.get(name.len()..)).and_then(|rest| rest.strip_prefix('.'));
        if let (Some(rest), Some(inner)) = (rest, fields.get_mut(&name)) {
            remove(inner, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dump;
    use super::*;
    use serde_json::json;

    fn keys(entries: &[(&str, &str)]) -> Vec<Key> {
        let key = |(key, value): &(&str, &str)| Key {
            key: (*key).into(),
            value: value.as_bytes().into(),
            ends: false,
        };
        entries.iter().map(key).collect()
    }

    fn notes(carried: &Carried) -> Vec<String> {
        let line = |note: &Note| {
            let Note { fate, key, field, reason } = note;
            format!("{}: {key} {field}: {reason}", fate.as_str())
        };
        carried.notes.iter().map(line).collect()
    }

    const BACKEND: (&str, &str) =
        ("backends/b/backend", r#"{"Id":"b","Type":"http","Settings":{"KeepAlive":{}}}"#);
    const SERVER: (&str, &str) = ("backends/b/servers/s", r#"{"Id":"s","URL":"http://10.0.0.1:80"}"#);

    #[test]
    fn whole_objects_come_over_as_they_are() {
        let frontend = (
            "frontends/f/frontend",
            r#"{"Id":"f","Type":"http","BackendId":"b","Route":"Path(\"/\")","Settings":{"PassHostHeader":true}}"#,
        );
        let carried = carry(keys(&[BACKEND, SERVER, frontend]));
        assert_eq!(notes(&carried), [""; 0]);
        assert_eq!(carried.documents.len(), 3);
        let key = ObjectKey::parse("frontends/f").unwrap();
        assert_eq!(carried.documents[&key].value, serde_json::from_str::<Value>(frontend.1).unwrap());
    }

    #[test]
    fn stray_fields_and_strange_keys_are_told() {
        let stray = ("backends/b/backend", r#"{"Type":"http","Settings":{"MaxIdleConnsPerHost":128}}"#);
        let carried = carry(keys(&[
            stray,
            SERVER,
            ("autocert_cache/x", "y"),
            ("elsewhere", "y"),
            ("frontends/bad", "{"),
            ("frontends/f/middlewares/m", r#"{"Type":"unheard-of","Middleware":{}}"#),
        ]));
        let said = notes(&carried);
        for expected in [
            "not carried: autocert_cache/x : is vulcand's cache",
            "not carried: elsewhere : is no key",
            "not carried: frontends/bad : is not JSON",
            "not carried: frontends/f/middlewares/m Type: is \"unheard-of\"",
            "differs: backends/b/backend Settings.MaxIdleConnsPerHost: is not a known field",
        ] {
            assert!(said.iter().any(|line| line.starts_with(expected)), "{expected}: {said:#?}");
        }
        assert_eq!(carried.documents.len(), 2);
        let key = ObjectKey::parse("backends/b").unwrap();
        assert_eq!(carried.documents[&key].value, json!({"Type": "http", "Settings": {}}));
    }

    #[test]
    fn what_leads_nowhere_and_what_vulcand_confuses_is_told() {
        let frontend =
            ("frontends/f/frontend", r#"{"Type":"http","BackendId":"none","Route":"Path(\"/\")"}"#);
        let twin = ("backends/bb/servers/s", SERVER.1);
        let said = notes(&carry(keys(&[frontend, SERVER, twin])));
        assert_eq!(said.len(), 2, "{said:#?}");
        assert!(said[0].contains("begin with another: b and bb"), "{said:#?}");
        assert!(said[1].contains("names the backend none"), "{said:#?}");
    }

    #[test]
    fn a_saved_answer_is_read() {
        let text = json!({"action": "get", "node": {"key": "/vulcand", "dir": true, "nodes": [
            {"key": "/vulcand/hosts", "dir": true},
            {"key": "/vulcand/backends", "dir": true, "nodes": [
                {"key": "/vulcand/backends/b", "dir": true, "nodes": [
                    {"key": "/vulcand/backends/b/backend", "value": BACKEND.1},
                    {"key": "/vulcand/backends/b/servers", "dir": true, "nodes": [
                        {"key": "/vulcand/backends/b/servers/s", "value": SERVER.1, "ttl": 5},
                    ]},
                ]},
            ]},
        ]}});
        let (found, remarks) = dump::read(&text.to_string()).unwrap();
        assert_eq!(remarks, []);
        let names: Vec<(&str, bool)> = found.iter().map(|key| (&*key.key, key.ends)).collect();
        assert_eq!(names, [("backends/b/backend", false), ("backends/b/servers/s", true)]);
        let carried = carry(found);
        assert_eq!(carried.documents.len(), 2);
        assert!(notes(&carried)[0].contains("written to last"));
        for wrong in ["[", "{}", r#"{"errorCode":100,"message":"Key not found"}"#] {
            assert!(dump::read(wrong).is_err(), "{wrong}");
        }
    }
}
