//! Answers and calls that a middleware makes: their bodies and fields.

use super::field_name_error;
use super::headers::edit_value_error;
use crate::model::fields::{Fields, quote, show};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Longest body that a middleware holds, in bytes.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;
/// A text of so many characters that reads as base64 is base64, whatever its bytes are.
const SURELY_BASE64: usize = 64;

/// Header fields with their values, in order.
pub type FieldList = Vec<(Box<str>, Box<str>)>;

/// A body as vulcand takes it: a text, an object that is sent as JSON, or base64. A text is base64 if it reads as such and
/// either has 64 characters or more or stands for UTF-8: `gone` is not.
pub(super) fn read_body(fields: &mut Fields<'_>, name: &'static str) -> Option<Box<[u8]>> {
    let bytes = match fields.value(name)? {
        Value::String(text) => of_text(text),
        object @ Value::Object(_) => object.to_string().into_bytes(),
        other => return fields.wrong(name, "a text, base64 or an object", other),
    };
    if bytes.len() > CONTENT_BYTES_MAX {
        fields.error(name, format!("has {} bytes; at most {CONTENT_BYTES_MAX} are allowed", bytes.len()));
    }
    (!bytes.is_empty()).then(|| bytes.into())
}

fn of_text(text: &str) -> Vec<u8> {
    match STANDARD.decode(text) {
        Ok(bytes) if text.len() >= SURELY_BASE64 || std::str::from_utf8(&bytes).is_ok() => bytes,
        _ => text.as_bytes().to_vec(),
    }
}

/// As text where that is read back as the same.
pub(super) fn body_to_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if of_text(text) == bytes => text.into(),
        _ => STANDARD.encode(bytes).into(),
    }
}

/// Fields by name, each with one value or a list of them.
pub(super) fn read_fields(fields: &mut Fields<'_>, name: &'static str) -> FieldList {
    fields.object(name, |fields| pairs(fields, field_error)).unwrap_or_default()
}

/// Names and values of any form, each name with one value or a list of them.
pub(super) fn read_pairs(fields: &mut Fields<'_>, name: &'static str) -> FieldList {
    fields.object(name, |fields| pairs(fields, |_, _| None)).unwrap_or_default()
}

fn field_error(name: &str, text: &str) -> Option<String> {
    if name.eq_ignore_ascii_case("host") {
        return Some("belongs to the connection or to framing, which the proxy decides".to_owned());
    }
    field_name_error(name).map(str::to_owned).or_else(|| edit_value_error(name, text))
}

fn pairs(fields: &mut Fields<'_>, error: impl Fn(&str, &str) -> Option<String>) -> FieldList {
    let (report, parent) = (fields.report(), fields.path().to_owned());
    let mut list = FieldList::new();
    for (name, value) in fields.all() {
        let path = format!("{parent}.{}", name.chars().take(60).collect::<String>());
        let values = match value {
            Value::Null => &[][..],
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            let Value::String(text) = value else {
                report.error(path.as_str(), format!("is {}; a string is expected", show(value)));
                continue;
            };
            match error(name, text.trim_matches([' ', '\t'])) {
                Some(reason) => report.error(path.as_str(), reason),
                None => list.push((name.into(), text.trim_matches([' ', '\t']).into())),
            }
        }
    }
    list
}

/// Lists where vulcand has lists.
pub(super) fn pairs_to_value(pairs: &FieldList) -> Value {
    let mut value: Map<String, Value> = Map::new();
    for (name, text) in pairs {
        let entry = value.entry(&**name).or_insert_with(|| Vec::<Value>::new().into());
        if let Value::Array(values) = entry {
            values.push((&**text).into());
        }
    }
    value.into()
}

/// A media type with its parameters.
pub(super) fn read_content_type(fields: &mut Fields<'_>) -> Option<Box<str>> {
    let text = fields.text("ContentType")?.trim();
    let valid =
        text.len() <= 256 && text.contains('/') && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if !valid {
        fields.error(
            "ContentType",
            format!("is {}; a type is expected, like `text/html; charset=utf-8`", quote(text)),
        );
    }
    Some(text.into())
}

/// The status of an answer that has a body, if there is one: 200 to 599.
pub(super) fn read_status(fields: &mut Fields<'_>, name: &'static str, has_body: bool) -> Option<u16> {
    let status = fields.integer(name, 200..=599).and_then(|status| u16::try_from(status).ok())?;
    if has_body && matches!(status, 204 | 205 | 304) {
        fields.error(name, format!("is {status}, an answer without a body, and there is one"));
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_base64_are_told_apart() {
        let long = "A".repeat(64);
        for (text, bytes) in [
            ("Come back later", &b"Come back later"[..]),
            ("gone", b"gone"),
            ("aGVsbG8=", b"hello"),
            ("aGVsbG8", b"aGVsbG8"),
            ("", b""),
            (&long, &[0; 48]),
            ("{\"a\":1}", b"{\"a\":1}"),
        ] {
            assert_eq!(of_text(text), bytes, "{text}");
            let Value::String(written) = body_to_value(bytes) else { panic!("{text}") };
            assert_eq!(of_text(&written), bytes, "{text} is written as {written}");
        }
        for bytes in [&b"aGVsbG8="[..], &[0xFF; 60], b"\xFFaa"] {
            let Value::String(written) = body_to_value(bytes) else { panic!() };
            assert!(of_text(&written) == bytes || bytes.len() < 48, "{written}");
        }
    }
}
