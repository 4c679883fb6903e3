//! The forms of vulcand's JSON: which fields an object has, in which order, and what stands where nothing was said.
//!
//! Values are read as Go reads them: names without regard to case, null as nothing said, unknown fields passed over.

use crate::model::duration;
use crate::model::edit::last_spelled;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What may stand in a field.
pub(super) enum Shape {
    /// A string; else empty.
    Text,
    /// A duration in Go's form; else empty. A number of nanoseconds becomes such a text.
    Length,
    /// Else false.
    Flag,
    /// Else 0.
    Integer,
    /// A duration in nanoseconds; else 0. A text in Go's form becomes such a number.
    Nanos,
    /// A list of strings; else null.
    Texts,
    /// Base64; else null.
    Bytes,
    /// Whatever it is; else null. Names within it are sorted, as Go writes a map.
    Any,
    /// Fields of its own, always there.
    Object(&'static [Field]),
    /// Fields of its own, or null.
    Optional(&'static [Field]),
}

/// A field, by vulcand's spelling.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Left out where it is null.
    pub(super) omitted: bool,
}

/// A field that is always written.
pub(super) const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, omitted: false }
}

/// A field that is left out where it is null.
pub(super) const fn omitted(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, omitted: true }
}

/// `value` with exactly these fields, in order. The error says what stands where something else is expected; never a
/// value itself.
pub(super) fn read(fields: &[Field], value: &Value) -> Result<Value, String> {
    read_object(fields, value, "the object")
}

fn read_object(fields: &[Field], value: &Value, path: &str) -> Result<Value, String> {
    let map = match value {
        Value::Object(map) => map,
        other => return Err(mismatch(other, path, "an object")),
    };
    let mut read = Map::new();
    for field in fields {
        let found = last_spelled(map, field.name).unwrap_or(&Value::Null);
        let path =
            if path == "the object" { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let value = read_value(&field.shape, found, &path)?;
        if !(field.omitted && value.is_null()) {
            read.insert(field.name.to_owned(), value);
        }
    }
    Ok(Value::Object(read))
}

fn read_value(shape: &Shape, value: &Value, path: &str) -> Result<Value, String> {
    Ok(match (shape, value) {
        (Shape::Text | Shape::Length, Value::Null) => "".into(),
        (Shape::Text | Shape::Length, Value::String(text)) => text.as_str().into(),
        (Shape::Length, Value::Number(number)) => match number.as_u64() {
            Some(nanos) => duration::format(Duration::from_nanos(nanos)).into(),
            None => return Err(mismatch(value, path, "a duration")),
        },
        (Shape::Text, other) => return Err(mismatch(other, path, "a string")),
        (Shape::Length, other) => return Err(mismatch(other, path, "a duration")),
        (Shape::Flag, Value::Null) => false.into(),
        (Shape::Flag, Value::Bool(flag)) => (*flag).into(),
        (Shape::Flag, other) => return Err(mismatch(other, path, "true or false")),
        (Shape::Integer | Shape::Nanos, Value::Null) => 0.into(),
        (Shape::Integer | Shape::Nanos, Value::Number(number)) if number.is_i64() => value.clone(),
        (Shape::Nanos, Value::String(text)) => match duration::parse(text) {
            Ok(length) => u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).into(),
            Err(error) => return Err(format!("{path} {error}")),
        },
        (Shape::Integer, other) => return Err(mismatch(other, path, "an integer")),
        (Shape::Nanos, other) => return Err(mismatch(other, path, "a duration")),
        (Shape::Texts, Value::Array(items)) => match items.iter().find(|item| !item.is_string()) {
            None => value.clone(),
            Some(other) => return Err(mismatch(other, path, "strings")),
        },
        (Shape::Bytes, Value::String(text)) => match BASE64.decode(text) {
            Ok(_) => value.clone(),
            Err(_) => return Err(format!("{path} is no base64")),
        },
        (Shape::Any, value) => sorted(value),
        (Shape::Texts | Shape::Bytes | Shape::Optional(_), Value::Null) => Value::Null,
        (Shape::Texts, other) => return Err(mismatch(other, path, "a list of strings")),
        (Shape::Bytes, other) => return Err(mismatch(other, path, "base64")),
        (Shape::Object(fields), Value::Null) => read_object(fields, &json!({}), path)?,
        (Shape::Object(fields) | Shape::Optional(fields), value) => read_object(fields, value, path)?,
    })
}

fn mismatch(value: &Value, path: &str, expected: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {found} into {path}: {expected} is expected")
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// Puts the fields of `new`, which has this shape, into a stored value, and keeps every field that the shape does not
/// know, with its spelling and place. What `new` leaves out is taken away, but for unknown fields within it.
pub(super) fn merge(fields: &[Field], stored: &mut Value, new: &Value) {
    if !stored.is_object() {
        *stored = json!({});
    }
    let Value::Object(map) = stored else { return };
    for field in fields {
        let new = new.get(field.name).unwrap_or(&Value::Null);
        let there = map.keys().rfind(|name| name.eq_ignore_ascii_case(field.name)).cloned();
        let Some(name) = there else {
            if !(field.omitted && new.is_null()) {
                map.insert(field.name.to_owned(), new.clone());
            }
            continue;
        };
        let Some(old) = map.get_mut(&name) else { continue };
        match &field.shape {
            Shape::Object(within) | Shape::Optional(within) if old.is_object() => {
                if new.is_null() {
                    clear(within, old);
                    if old.as_object().is_some_and(Map::is_empty) {
                        map.shift_remove(&name);
                    }
                } else {
                    merge(within, old, new);
                }
            }
            _ if field.omitted && new.is_null() => {
                map.shift_remove(&name);
            }
            _ => old.clone_from(new),
        }
    }
}

/// Takes away what the shape knows.
fn clear(fields: &[Field], stored: &mut Value) {
    let Value::Object(map) = stored else { return };
    map.retain(|name, _| !fields.iter().any(|field| field.name.eq_ignore_ascii_case(name)));
}

/// As Go writes an answer: characters that mean something in HTML are escaped.
pub(super) fn escaped(value: &Value) -> String {
    let text = value.to_string();
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: &[Field] = &[field("Read", Shape::Length), field("Max", Shape::Integer)];
    const OUTER: &[Field] = &[
        field("Id", Shape::Text),
        field("On", Shape::Flag),
        field("Timeouts", Shape::Object(INNER)),
        omitted("TLS", Shape::Optional(INNER)),
        field("Cache", Shape::Optional(INNER)),
        field("Suites", Shape::Texts),
        field("Any", Shape::Any),
        field("Check", Shape::Nanos),
        field("Key", Shape::Bytes),
    ];

    #[track_caller]
    fn check(value: &str, expected: Result<&str, &str>) {
        let read = read(OUTER, &serde_json::from_str(value).unwrap()).map(|value| value.to_string());
        assert_eq!(read.as_deref().map_err(String::as_str), expected, "{value}");
    }

    #[test]
    fn what_was_not_said_is_filled_in() {
        let empty = r#"{"Id":"","On":false,"Timeouts":{"Read":"","Max":0},"Cache":null,"Suites":null,"Any":null,"Check":0,"Key":null}"#;
        check("{}", Ok(empty));
        check(r#"{"Unknown":1,"id":null,"TLS":null,"timeouts":null}"#, Ok(empty));
        check(
            r#"{"any":{"b":[{"d":1,"c":2}],"a":3},"ID":"x","tls":{"read":1500000000},"CHECK":"10s","suites":["a"],
                "key":"eA==","timeouts":{"Read":"5m"},"cache":{"max":-4},"on":true}"#,
            Ok(
                r#"{"Id":"x","On":true,"Timeouts":{"Read":"5m","Max":0},"TLS":{"Read":"1.5s","Max":0},"Cache":{"Read":"","Max":-4},"Suites":["a"],"Any":{"a":3,"b":[{"c":2,"d":1}]},"Check":10000000000,"Key":"eA=="}"#,
            ),
        );
    }

    #[test]
    fn what_does_not_fit_is_named_and_not_shown() {
        let cases = [
            (r#"{"Id":5}"#, "json: cannot unmarshal number into Id: a string is expected"),
            (r#"{"On":"x"}"#, "json: cannot unmarshal string into On: true or false is expected"),
            (
                r#"{"Timeouts":{"Max":1.5}}"#,
                "json: cannot unmarshal number into Timeouts.Max: an integer is expected",
            ),
            (
                r#"{"Timeouts":{"Read":-5}}"#,
                "json: cannot unmarshal number into Timeouts.Read: a duration is expected",
            ),
            (r#"{"Timeouts":[]}"#, "json: cannot unmarshal array into Timeouts: an object is expected"),
            (r#"{"Suites":[1]}"#, "json: cannot unmarshal number into Suites: strings is expected"),
            (r#"{"Key":"%"}"#, "Key is no base64"),
            ("[]", "json: cannot unmarshal array into the object: an object is expected"),
        ];
        for (value, expected) in cases {
            check(value, Err(expected));
        }
    }

    #[test]
    fn a_merge_keeps_what_the_shape_does_not_know() {
        let cases = [
            // New: as it is.
            (
                "null",
                r#"{"Id":"x","On":false}"#,
                r#"{"Id":"x","On":false,"Timeouts":null,"Cache":null,"Suites":null,"Any":null,"Check":null,"Key":null}"#,
            ),
            (
                r#"{"mine":1,"id":"old","Timeouts":{"read":"5s","Idle":"1s"},"ANY":{"x":1}}"#,
                r#"{"Id":"x","On":true,"Timeouts":{"Read":"9s","Max":0},"Cache":null,"Suites":null,"Any":{"y":1},"Check":0,"Key":null}"#,
                r#"{"mine":1,"id":"x","Timeouts":{"read":"9s","Idle":"1s","Max":0},"ANY":{"y":1},"On":true,"Cache":null,"Suites":null,"Check":0,"Key":null}"#,
            ),
            // A part that is left out goes, but for what is not known within it.
            (
                r#"{"TLS":{"Read":"1s","CA":"x"}}"#,
                "{}",
                r#"{"TLS":{"CA":"x"},"Id":null,"On":null,"Timeouts":null,"Cache":null,"Suites":null,"Any":null,"Check":null,"Key":null}"#,
            ),
            (
                r#"{"tls":{"Read":"1s"}}"#,
                "{}",
                r#"{"Id":null,"On":null,"Timeouts":null,"Cache":null,"Suites":null,"Any":null,"Check":null,"Key":null}"#,
            ),
        ];
        for (stored, new, expected) in cases {
            let mut value = serde_json::from_str(stored).unwrap();
            merge(OUTER, &mut value, &serde_json::from_str(new).unwrap());
            assert_eq!(value.to_string(), expected, "{stored} + {new}");
        }
    }

    #[test]
    fn answers_are_escaped_for_html() {
        assert_eq!(
            escaped(&json!({ "a": "<b> && \u{2028}" })),
            r#"{"a":"\u003cb\u003e \u0026\u0026 \u2028"}"#
        );
    }
}
