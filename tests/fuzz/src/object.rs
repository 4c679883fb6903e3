//! Any bytes at any key are judged: an object or a reason, never a panic; and an object that is written reads the same.
//!
//! The first line of the input is the key, the rest is the value.

use flipgate::model::{Object, ObjectKey, Severity, Strictness, hidden};
use serde_json::Value;

/// Where a value is tried whose first line is no key: one of each kind.
const KEYS: [&str; 7] = [
    "listeners/l",
    "hosts/h.example/host",
    "frontends/f/frontend",
    "frontends/f/middlewares/m",
    "middlewares/m",
    "backends/b/backend",
    "backends/b/servers/s",
];

pub fn check(raw: &[u8]) {
    let end = raw.iter().position(|b| *b == b'\n');
    let (line, value) = match end {
        Some(at) => (&raw[..at], &raw[at + 1..]),
        None => (&b""[..], raw),
    };
    match std::str::from_utf8(line).ok().and_then(ObjectKey::parse) {
        Some(key) => {
            assert_eq!(ObjectKey::parse(&key.canonical()), Some(key.clone()));
            assert_eq!(ObjectKey::from_kind_id(key.kind(), &key.id()), Ok(key.clone()));
            check_value(&key, value);
        }
        None => KEYS.iter().filter_map(|key| ObjectKey::parse(key)).for_each(|key| check_value(&key, value)),
    }
}

fn check_value(key: &ObjectKey, raw: &[u8]) {
    let [stored, written] = [Strictness::Stored, Strictness::Written].map(|strictness| {
        let parsed = Object::parse(key, raw, strictness);
        let has_errors = parsed.findings.iter().any(|finding| finding.severity == Severity::Error);
        assert_eq!(parsed.object.is_none(), has_errors, "{:?}", parsed.findings);
        parsed.object
    });
    // Whoever writes is judged more strictly, and in no other way.
    assert!(written.is_none() || written == stored);
    if let Some(object) = stored {
        let text = object.to_value().to_string();
        let again = Object::parse(key, text.as_bytes(), Strictness::Written);
        assert_eq!(again.object, Some(object), "{text}: {:?}", again.findings);
    }
    let Ok(value) = serde_json::from_slice::<Value>(raw) else { return };
    let shown = hidden::hide(key, value.clone());
    let mut back = shown.clone();
    if !value.to_string().contains(hidden::HIDDEN) && hidden::restore(key, &mut back, Some(&value)).is_ok() {
        assert_eq!(back, value, "shown as {shown}");
    }
}
