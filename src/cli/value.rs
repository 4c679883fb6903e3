//! Values of objects as people and files write them: YAML and JSON in, YAML out, comparison and replacement that keep
//! a stored value's spelling.

use crate::model::edit;
use anyhow::bail;
use serde_json::{Map, Value};

/// The values of a text: one JSON value, or YAML documents. Empty documents are left out.
///
/// # Errors
/// It is neither, with line and column.
pub(super) fn parse(name: &str, text: &str) -> anyhow::Result<Vec<Value>> {
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return Ok(vec![value]);
    }
    match serde_saphyr::from_multiple::<Value>(text) {
        Ok(values) => Ok(values.into_iter().filter(|value| !value.is_null()).collect()),
        Err(error) => {
            let said = error.without_snippet().to_string();
            bail!(
                "{name} is neither YAML nor JSON: {}",
                said.lines().next().unwrap_or("it cannot be read").trim()
            )
        }
    }
}

/// The field at a path, names without regard to case; the last of several spellings.
pub(super) fn field<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let step = |here: &'v Value, name: &str| edit::last_spelled(here.as_object()?, name);
    path.split('.').try_fold(value, step).filter(|value| !value.is_null())
}

/// As [`field`], as a text for a table; empty if it is not there.
pub(super) fn shown(value: &Value, path: &str) -> String {
    match field(value, path) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The value with one more field; what is no object stays as it is.
pub(super) fn with(mut value: Value, name: &str, field: impl Into<Value>) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert(name.to_owned(), field.into());
    }
    value
}

/// YAML with field names as is the habit there: `backendId`, `url`.
pub(super) fn to_yaml(value: &Value) -> anyhow::Result<String> {
    let value = renamed(value, &|name| camel(name));
    let yaml = serde_saphyr::to_string(&value)?;
    // JSON is YAML too, and what a round trip would change is better shown so.
    let same = serde_saphyr::from_str::<Value>(&yaml).is_ok_and(|read| read == value);
    Ok(if same { yaml } else { format!("{value:#}\n") })
}

/// The value in the spelling that Flipgate writes to stores: vulcand's.
pub(super) fn spelled(value: &Value) -> Value {
    renamed(value, &|name| edit::spelling(name).to_owned())
}

fn renamed(value: &Value, rename: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => {
            let mut renamed_fields = Map::with_capacity(fields.len());
            for (name, value) in fields {
                let new = rename(name);
                // Two spellings of one field must not become one.
                let value = if edit::is_free(name) { value.clone() } else { renamed(value, rename) };
                let name = if fields.contains_key(&new) { name.clone() } else { new };
                renamed_fields.insert(name, value);
            }
            Value::Object(renamed_fields)
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, rename)).collect(),
        other => other.clone(),
    }
}

/// Whether it is a field of ours, in any spelling.
fn is_known(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    edit::spelling(&lower) != lower
}

/// `BackendId` as `backendId`, `TLSHandshake` as `tlsHandshake`; names that are not ours stay.
fn camel(name: &str) -> String {
    if !is_known(name) {
        return name.to_owned();
    }
    let spelled = edit::spelling(name);
    let capitals = spelled.chars().take_while(|c| !c.is_lowercase()).count();
    let all = capitals == spelled.chars().count();
    let lowered = if all || capitals == 1 { capitals } else { capitals - 1 };
    spelled.chars().enumerate().map(|(i, c)| if i < lowered { c.to_ascii_lowercase() } else { c }).collect()
}

/// Whether two values say the same, whatever the spelling and order of their fields.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    fn normal(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let lower = fields.iter().map(|(name, value)| {
                    let value = if edit::is_free(name) { value.clone() } else { normal(value) };
                    (name.to_ascii_lowercase(), value)
                });
                Value::Object(lower.collect())
            }
            Value::Array(items) => items.iter().map(normal).collect(),
            other => other.clone(),
        }
    }
    normal(a) == normal(b)
}

/// `new` in place of `old`: fields keep the spelling and place they had, fields that `new` lacks go, but for those of
/// the outermost object that are not ours.
pub(super) fn replaced(old: &Value, new: &Value) -> Value {
    replaced_below(old, &spelled(new), true)
}

fn replaced_below(old: &Value, new: &Value, outermost: bool) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let in_new = |name: &str| new.iter().rfind(|(there, _)| there.eq_ignore_ascii_case(name));
    let last_spelling = |name: &str| old.keys().rfind(|there| there.eq_ignore_ascii_case(name));
    let mut value = Map::new();
    for (name, old) in old {
        match in_new(name) {
            Some((_, new)) if last_spelling(name) == Some(name) => {
                let new = if edit::is_free(name) { new.clone() } else { replaced_below(old, new, false) };
                value.insert(name.clone(), new);
            }
            None if outermost && !is_known(name) => {
                value.insert(name.clone(), old.clone());
            }
            _ => {}
        }
    }
    for (name, new) in new {
        if last_spelling(name).is_none() {
            value.insert(name.clone(), new.clone());
        }
    }
    Value::Object(value)
}

/// `PATH=VALUE`: a number, `true`, `false`, `null`, a list or an object in JSON, else a text.
pub(super) fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => Ok((path.trim().to_owned(), value.to_owned())),
        _ => Err("PATH=VALUE is expected, like `Settings.Timeouts.Read=5s`".to_owned()),
    }
}

/// What the value of a `--set` means; `as_text` takes numbers and truth values for texts.
pub(super) fn set_value(text: &str, as_text: bool) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !as_text || !(value.is_number() || value.is_boolean()) => value,
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn yaml_has_its_own_habit() {
        for (name, yaml) in [
            ("BackendId", "backendId"),
            ("backendid", "backendId"),
            ("URL", "url"),
            ("TLSHandshake", "tlsHandshake"),
            ("TLS", "tls"),
            ("H2C", "h2c"),
            ("OCSP", "ocsp"),
            ("DirectoryURL", "directoryURL"),
            ("X-Frame-Options", "X-Frame-Options"),
            ("amdatu_name", "amdatu_name"),
        ] {
            assert_eq!(camel(name), yaml);
        }
        let yaml =
            to_yaml(&json(r#"{"Type":"http","Route":"Host(`a`)","Settings":{"Timeouts":{"Read":"5s"}}}"#));
        assert_eq!(yaml.unwrap(), "type: http\nroute: Host(`a`)\nsettings:\n  timeouts:\n    read: 5s\n");
    }

    #[test]
    fn documents_are_read_in_both_forms() {
        let count = |text: &str| parse("x", text).unwrap().len();
        assert_eq!(count("a: 1\n---\nb: 2\n---\n"), 2);
        assert_eq!(count(r#"{"a": 1}"#), 1);
        assert_eq!(count("# nothing\n"), 0);
        let error = parse("x.yaml", "a: [1\nb").unwrap_err().to_string();
        assert!(error.starts_with("x.yaml is neither YAML nor JSON: "), "{error}");
    }

    #[track_caller]
    fn check_replaced(old: &str, new: &str, expected: &str) {
        assert_eq!(replaced(&json(old), &json(new)).to_string(), expected, "{old} <- {new}");
    }

    #[test]
    fn a_replacement_keeps_spelling_and_what_is_not_ours() {
        check_replaced(
            r#"{"type":"http","x-amdatu":1,"backendID":"a","Priority":3}"#,
            r#"{"backendId":"b","type":"http","settings":{"passHostHeader":true}}"#,
            r#"{"type":"http","x-amdatu":1,"backendID":"b","Settings":{"PassHostHeader":true}}"#,
        );
        check_replaced(r#"{"Settings":{"mine":1,"H2C":true}}"#, r#"{"settings":{}}"#, r#"{"Settings":{}}"#);
        check_replaced(r#"{"a":1,"Type":"x","type":"y"}"#, r#"{"Type":"z"}"#, r#"{"a":1,"type":"z"}"#);
        check_replaced("null", r#"{"url":"u"}"#, r#"{"URL":"u"}"#);
        // Names of users and what an answer says are not fields of ours.
        check_replaced(
            r#"{"type":"respond","middleware":{"body":{"Status":"ok"}}}"#,
            r#"{"type":"respond","middleware":{"body":{"status":"ok"}}}"#,
            r#"{"type":"respond","middleware":{"body":{"status":"ok"}}}"#,
        );
        check_replaced(
            "null",
            r#"{"middleware":{"users":{"host":"x"}}}"#,
            r#"{"Middleware":{"Users":{"host":"x"}}}"#,
        );
        assert!(!same(&json(r#"{"Body":{"Status":1}}"#), &json(r#"{"body":{"status":1}}"#)));
        assert!(same(&json(r#"{"A":1,"b":{"C":2}}"#), &json(r#"{"B":{"c":2},"a":1}"#)));
        assert!(!same(&json(r#"{"A":1}"#), &json(r#"{"A":1,"B":2}"#)));
    }

    #[test]
    fn set_values_are_json_or_text() {
        assert_eq!(set_value("5", false), json("5"));
        assert_eq!(set_value("5", true), json("\"5\""));
        assert_eq!(set_value("null", true), Value::Null);
        assert_eq!(set_value("http://a:1", false), json("\"http://a:1\""));
        assert_eq!(set_value("[1,2]", false), json("[1,2]"));
        assert_eq!(parse_set("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(parse_set("=c").is_err() && parse_set("a").is_err());
    }
}
