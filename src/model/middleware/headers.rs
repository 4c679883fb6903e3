//! `headers`: sets, adds and removes fields of requests and answers.

use super::field_name_error;
use crate::model::fields::{Fields, quote, show};
use serde_json::{Map, Value};

/// Longest value of a header field that a middleware sets, in bytes.
pub const FIELD_VALUE_BYTES_MAX: usize = 8_192;

/// `{"Request":{"Set":{},"Add":{},"Remove":[]},"Response":{...}}`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeadersSpec {
    /// Applied before forwarding.
    pub request: HeaderEdits,
    /// Applied to the answer's head.
    pub response: HeaderEdits,
}

/// Edits of header fields; removal runs first, then set, then add.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderEdits {
    /// Replaces all fields of that name by one.
    pub set: Vec<(Box<str>, Box<str>)>,
    /// Adds a field beside those there.
    pub add: Vec<(Box<str>, Box<str>)>,
    /// Removes all fields of that name.
    pub remove: Vec<Box<str>>,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<HeadersSpec> {
    let request = fields.object("Request", |edits| read_edits(edits, true)).unwrap_or_default();
    let response = fields.object("Response", |edits| read_edits(edits, false)).unwrap_or_default();
    Some(HeadersSpec { request, response })
}

fn read_edits(fields: &mut Fields<'_>, request: bool) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    fields.object("Set", |set| read_edit_values(set, &mut edits.set, request, false));
    fields.object("Add", |add| read_edit_values(add, &mut edits.add, false, true));
    for (path, name) in fields.texts("Remove") {
        match edit_name_error(name, false) {
            Some(reason) => fields.report().error(path, format!("{} {reason}", quote(name))),
            None => edits.remove.push(name.into()),
        }
    }
    edits
}

/// Fields by name, each with one value or, where `several` may stand, a list of them.
fn read_edit_values(
    fields: &mut Fields<'_>,
    edits: &mut Vec<(Box<str>, Box<str>)>,
    host_allowed: bool,
    several: bool,
) {
    let report = fields.report();
    let parent = fields.path().to_owned();
    for (name, value) in fields.all() {
        let path = format!("{parent}.{}", name.chars().take(60).collect::<String>());
        if let Some(reason) = edit_name_error(name, host_allowed) {
            report.error(path, reason);
            continue;
        }
        let values = match value {
            Value::Null => &[][..],
            Value::Array(values) if several => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let Value::String(text) = value else {
                report.error(path.as_str(), format!("is {}; a string is expected", show(value)));
                continue;
            };
            let text = text.trim_matches([' ', '\t']);
            match edit_value_error(name, text) {
                Some(reason) => report.error(path.as_str(), reason),
                None => edits.push((name.into(), text.into())),
            }
        }
    }
}

/// What is wrong with the value of a field; it may be a secret and is not shown.
pub(super) fn edit_value_error(name: &str, text: &str) -> Option<String> {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        Some("has a control character, which a field value cannot carry".to_owned())
    } else if text.len() > FIELD_VALUE_BYTES_MAX {
        Some(format!("has {} bytes; at most {FIELD_VALUE_BYTES_MAX} are allowed", text.len()))
    } else if name.eq_ignore_ascii_case("host") && !is_authority(text) {
        Some(format!("is {}; a host with an optional port is expected", quote(text)))
    } else {
        None
    }
}

fn is_authority(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn edit_name_error(name: &str, host_allowed: bool) -> Option<&'static str> {
    if name.eq_ignore_ascii_case("host") && !host_allowed {
        return Some("can only be set, and only on requests");
    }
    field_name_error(name)
}

impl HeadersSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        for (name, edits) in [("Request", &self.request), ("Response", &self.response)] {
            let edits = edits.to_map();
            if !edits.is_empty() {
                value.insert(name.into(), edits.into());
            }
        }
        value
    }
}

impl HeaderEdits {
    /// Nothing is removed, set or added.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        for (name, pairs) in [("Set", &self.set), ("Add", &self.add)] {
            let mut fields: Map<String, Value> = Map::new();
            for (name, text) in pairs {
                match fields.get_mut(&**name) {
                    Some(Value::Array(values)) => values.push((&**text).into()),
                    Some(other) => *other = vec![other.take(), (&**text).into()].into(),
                    None => {
                        fields.insert((&**name).into(), (&**text).into());
                    }
                }
            }
            if !fields.is_empty() {
                value.insert(name.into(), fields.into());
            }
        }
        if !self.remove.is_empty() {
            value.insert("Remove".into(), self.remove.iter().map(|name| &**name).collect::<Vec<_>>().into());
        }
        value
    }
}
